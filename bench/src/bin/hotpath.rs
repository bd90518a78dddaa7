//! `hotpath FAMILY`: each stage of the packet path a thousand times, for callgrind to count. `bench/instructions.sh` runs
//! it; by itself it only says what it did.
#![forbid(unsafe_code)]

use std::hint::black_box;

use bench::lab::Failure;
use bench::stages::*;
use dataplane::{Decision, Verdict};
use platform::snapshot::Refresh;

/// Calls of each stage.
const CALLS: u64 = 1000;

fn main() -> Result<(), Failure> {
    let family = std::env::args().nth(1).unwrap_or_else(|| "v4".into());
    let mut bed = Bed::new(&family)?;
    let (mut requests, mut copies) = (0, 0);
    for n in 1..=CALLS {
        bed.vary(n);
        match stage_classify(black_box(&bed.frame), black_box(&bed.view), &bed.port) {
            Verdict::Request(request) => {
                let Decision::Redirect { hash, .. } = stage_decide(black_box(&request), &bed.view) else {
                    return Err("a request got no decision".into());
                };
                let len = stage_pair_decide_answer(black_box(&mut bed.frame), black_box(&request), &bed.view);
                requests += u64::from(black_box(len).is_some());
                black_box(stage_client(&mut bed.seen, black_box(hash)));
                stage_counters(black_box(&bed.block));
            }
            verdict => {
                black_box(verdict);
                black_box(stage_police(&mut bed.police, black_box(&bed.frame), n * 1_000_000));
            }
        }
        black_box(stage_refresh_same(black_box(&bed.reader), &mut bed.copy));
        copies += u64::from(stage_refresh_moved(black_box(&bed.reader), &mut bed.copy) == Refresh::Copied);
    }
    if copies != CALLS || family.starts_with('v') && requests != CALLS {
        return Err(format!("{requests} requests answered, {copies} copies made of {CALLS}").into());
    }
    println!("{CALLS} calls");
    Ok(())
}

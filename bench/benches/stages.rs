//! Wall clock of the stages (`cargo bench -p bench`): for a look at one machine; what is compared over time are the
//! instructions of `bench/instructions.sh`. Allocations are counted along: there must be none.

use bench::request::NONCE_LEN;
use bench::stages::*;
use dataplane::{Decision, Verdict};
use divan::{Bencher, black_box};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn bed(family: &str) -> Bed {
    match Bed::new(family) {
        Ok(bed) => bed,
        Err(error) => panic!("{error}"),
    }
}

#[divan::bench(args = FAMILIES)]
fn classify(bencher: Bencher, family: &str) {
    let mut bed = bed(family);
    bed.vary(1);
    bencher.bench_local(|| stage_classify(black_box(&bed.frame), &bed.view, &bed.port));
}

#[divan::bench(args = ["v4", "v6", "v4-922", "v6-922"])]
fn decide_answer(bencher: Bencher, family: &str) {
    let mut bed = bed(family);
    bed.vary(1);
    let Verdict::Request(request) = stage_classify(&bed.frame, &bed.view, &bed.port) else { return };
    let mut frame = bed.frame.clone();
    bencher.bench_local(|| {
        // The answer destroys the request: its nonce is put back, which costs a copy of 32 bytes.
        frame[request.nonce..request.nonce + NONCE_LEN]
            .copy_from_slice(&bed.frame[request.nonce..request.nonce + NONCE_LEN]);
        stage_pair_decide_answer(black_box(&mut frame), black_box(&request), &bed.view)
    });
}

#[divan::bench]
fn decide(bencher: Bencher) {
    let mut bed = bed("v4");
    bed.vary(1);
    let Verdict::Request(request) = stage_classify(&bed.frame, &bed.view, &bed.port) else { return };
    bencher.bench_local(|| match stage_decide(black_box(&request), &bed.view) {
        Decision::Redirect { hash, .. } => hash,
        Decision::Pass(_) => 0,
    });
}

#[divan::bench]
fn client(bencher: Bencher) {
    let mut bed = bed("v4");
    let mut hash = 0u64;
    bencher.bench_local(|| {
        hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        stage_client(&mut bed.seen, hash)
    });
}

#[divan::bench]
fn counters(bencher: Bencher) {
    let bed = bed("v4");
    bencher.bench_local(|| stage_counters(black_box(&bed.block)));
}

#[divan::bench]
fn police(bencher: Bencher) {
    let mut bed = bed("unsignalled");
    let mut now = 0;
    bencher.bench_local(|| {
        now += 1000;
        stage_police(&mut bed.police, black_box(&bed.frame), now)
    });
}

#[divan::bench]
fn refresh_same(bencher: Bencher) {
    let mut bed = bed("v4");
    stage_refresh_moved(&bed.reader, &mut bed.copy);
    bencher.bench_local(|| stage_refresh_same(&bed.reader, &mut bed.copy));
}

#[divan::bench]
fn refresh_moved(bencher: Bencher) {
    let mut bed = bed("v4");
    bencher.bench_local(|| stage_refresh_moved(&bed.reader, &mut bed.copy));
}

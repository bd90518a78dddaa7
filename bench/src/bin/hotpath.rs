//! `hotpath`: the stages of the packet path, each in a function of its own that callgrind can count.
//! `bench/instructions.sh` runs it; by itself it only says that it ran.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::net::IpAddr;

use bench::request::{Kind, SMALLEST, Size, Spec, Template};
use dataplane::{Decision, PortView, Request, Verdict, View, answer, classify, decide, fixed};

/// Calls of each stage.
const CALLS: u64 = 1000;

#[inline(never)]
fn stage_classify(frame: &[u8], view: &View, port: &PortView) -> Verdict {
    classify(frame, view, port)
}

#[inline(never)]
fn stage_decide_answer(frame: &mut [u8], request: &Request, view: &View) -> Option<usize> {
    let Decision::Redirect { address, mac, .. } = decide(request, view) else { return None };
    answer(frame, request, &address, mac)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let v6 = std::env::args().nth(1).as_deref() == Some("v6");
    let addresses = if v6 {
        ["2001:db8::9", "2001:db8::1", "2001:db8::10", "2001:db8::11"]
    } else {
        ["192.0.2.9", "192.0.2.1", "192.0.2.10", "192.0.2.11"]
    };
    let [source, vip, first, second] = addresses.map(str::parse::<IpAddr>);
    let (source, vip) = (source?, vip?);
    let view = View::fixed(fixed::body(&[vip], &[first?, second?], [2; 6], [1, 2])?);
    let port = PortView { index: 0, mac: [2; 6], any_mac: false, any_address: false, checksums_good: false };
    let size = Size::Frame(if v6 { SMALLEST + 20 } else { SMALLEST });
    let template = Template::new(&Spec::plain(source, vip, size), Kind::Request)?;
    let mut frame = template.frame.clone();
    let mut answered = 0;
    for spi in 1..=CALLS {
        template.vary(&mut frame, spi.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0);
        if let Verdict::Request(request) = stage_classify(black_box(&frame), black_box(&view), &port) {
            let len = stage_decide_answer(black_box(&mut frame), black_box(&request), black_box(&view));
            answered += u64::from(black_box(len).is_some());
        }
    }
    if answered != CALLS {
        return Err(format!("{answered} of {CALLS} requests answered").into());
    }
    println!("{CALLS} calls");
    Ok(())
}

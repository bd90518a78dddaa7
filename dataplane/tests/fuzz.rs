//! Fuzz targets over raw bytes. As tests they run for a moment with random input; a coverage-guided engine drives the same
//! targets: `cargo install cargo-bolero`, then `cargo bolero test -p dataplane --test fuzz fuzz_frame`.

mod support;

use std::time::Duration;

use dataplane::{capture, reassemble};
use platform::wire::{arp, ethernet, icmpv6, ike, ipv4, ipv6, notify, redirect, udp};
use support::judge::{judge, view};

/// How long a target runs as a test.
const MOMENT: Duration = Duration::from_secs(2);

/// The whole packet path: bytes of a frame in, a verdict and perhaps an answer out.
#[test]
fn fuzz_frame() {
    let view = view();
    bolero::check!().with_max_len(2048).with_test_time(MOMENT).for_each(|frame: &[u8]| {
        judge(frame, &view);
    });
}

/// The IKE message behind headers that are right, so that an engine need not find the checksums.
#[test]
fn fuzz_message() {
    let view = view();
    bolero::check!().with_max_len(1400).with_test_time(MOMENT).for_each(|message: &[u8]| {
        judge(&support::v4(message), &view);
        judge(&support::nat(message), &view);
        judge(&support::v6(message), &view);
    });
}

/// Every view of `platform::wire` by itself.
#[test]
fn fuzz_wire() {
    bolero::check!().with_max_len(512).with_test_time(MOMENT).for_each(|data: &[u8]| {
        let _ = ethernet::Frame::new_checked(data).map(|eth| (eth.ethertype(), eth.payload().len()));
        let _ =
            arp::Packet::new_checked(data).map(|arp| (arp.sender_ip(), arp.target_ip(), arp.sender_mac()));
        let _ = icmpv6::neighbour_target(data);
        let _ = ipv4::Packet::new_checked(data)
            .map(|ip| (ip.source_routed(), ip.verify_checksum(), ip.payload().len()));
        let _ = ipv6::Packet::new_checked(data).map(|ip| (ip.upper(), ip.traffic_class(), ip.hop_limit()));
        let _ = udp::Datagram::new_checked(data).map(|udp| (udp.verify(data), udp.payload().len()));
        let _ = ike::Message::new_checked(data).map(|message| message.payloads().count());
        let _ = notify::Notify::new_checked(data).map(|notify| (notify.kind(), notify.data().len()));
        let _ = redirect::parse(data);
    });
}

/// Captures are files that anybody may hand to `replay`.
#[test]
fn fuzz_capture() {
    let file = tempfile::NamedTempFile::new().unwrap();
    bolero::check!().with_max_len(512).with_test_time(MOMENT).for_each(|data: &[u8]| {
        std::fs::write(file.path(), data).unwrap();
        let _ = capture::read(file.path());
    });
}

/// Two frames that claim to be fragments of each other.
#[test]
fn fuzz_assemble() {
    let mut scratch = vec![0; reassemble::SCRATCH_LEN];
    let view = view();
    bolero::check!().with_max_len(2048).with_test_time(MOMENT).for_each(move |data: &[u8]| {
        let (first, last) = data.split_at(data.len() / 2);
        let port = support::judge::port();
        let info = |frame: &[u8]| match dataplane::classify(frame, &view, &port) {
            dataplane::Verdict::Fragment(info) => Some(info),
            _ => None,
        };
        if let (Some(a), Some(b)) = (info(first), info(last))
            && let Some(len) = reassemble::assemble(&mut scratch, (first, &a), (last, &b))
        {
            judge(&scratch[..len], &view);
        }
    });
}

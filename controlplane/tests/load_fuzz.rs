//! A fuzz target over what answers a probe. As a test it runs for a moment with random input; a coverage-guided engine drives
//! the same target: `cargo install cargo-bolero`, then `cargo bolero test -p controlplane --test load_fuzz fuzz_answer`.

use controlplane::load::probe::{Answer, Refused, judge};
use platform::wire::ike::{self, Message};
use platform::wire::notify::{self, Notify};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MOMENT: Duration = Duration::from_secs(2);
const SPI: u64 = 0x0102_0304_0506_0708;

/// Whatever is taken for an answer is a whole response to the request, and says what it is taken for.
fn check(packet: &[u8]) -> bool {
    let Ok(answer) = judge(packet, SPI) else { return false };
    let message = Message::new_checked(packet).unwrap();
    assert!(message.spi_i() == SPI && message.length_is_exact() && message.major_version() >= 2);
    assert_eq!((message.exchange(), message.message_id()), (ike::exchange::IKE_SA_INIT, 0));
    assert_ne!(message.flags() & ike::flag::RESPONSE, 0, "an echo of the request");
    let payloads: Vec<_> = message.payloads().map(Result::unwrap).collect();
    let says = |kind: u16| {
        payloads.iter().any(|payload| {
            payload.kind == ike::payload::NOTIFY && Notify::new_checked(payload.body).unwrap().kind() == kind
        })
    };
    assert!(match answer {
        Answer::NoProposalChosen => says(14),
        Answer::Cookie => says(notify::kind::COOKIE),
        Answer::InvalidKe => says(17),
        Answer::InvalidMajorVersion => says(5),
        Answer::Redirect(_) => says(notify::kind::REDIRECT),
        Answer::Notify(kind) => says(kind),
        Answer::Accepted => payloads.iter().any(|payload| payload.kind == ike::payload::SA),
    });
    true
}

/// Any packet.
#[test]
fn fuzz_answer() {
    bolero::check!().with_max_len(600).with_test_time(MOMENT).for_each(|packet: &[u8]| {
        check(packet);
    });
}

/// A good answer of each kind, in which the input sets bytes: pairs of place and value.
#[test]
fn fuzz_changed() {
    let bodies: [&[u8]; 5] = [
        &[0, 0, 0, 8, 0, 0, 0, 14],
        &[0, 0, 0, 16, 0, 0, 0x40, 6, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 0, 0, 10, 0, 0, 0, 17, 0, 14],
        &[41, 0, 0, 8, 0, 0, 0x40, 4, 0, 0, 0, 8, 0, 0, 0, 5],
        &[0, 0, 0, 14, 0, 0, 0x40, 23, 1, 4, 192, 0, 2, 1],
    ];
    let good = bodies.map(|body| {
        let mut packet = [&[0; ike::HEADER_LEN], body].concat();
        let length = packet.len() as u32;
        ike::emit_init_response(&mut packet, SPI, ike::payload::NOTIFY, length);
        assert!(check(&packet));
        assert_eq!(judge(&packet, SPI + 1), Err(Refused::Spi));
        packet
    });
    let taken = AtomicUsize::new(0);
    bolero::check!().with_max_len(8).with_test_time(MOMENT).for_each(|changes: &[u8]| {
        for packet in &good {
            let mut packet = packet.clone();
            for [place, value] in changes.as_chunks().0 {
                let place = usize::from(*place) % packet.len();
                packet[place] = *value;
            }
            taken.fetch_add(check(&packet).into(), Ordering::Relaxed);
        }
    });
    assert!(taken.into_inner() > 0, "no input came through");
}

//! Fuzz targets over what the LAN sends to HSRP. As tests they run for a moment with random input; a coverage-guided engine
//! drives the same targets: `cargo install cargo-bolero`, then `cargo bolero test -p controlplane --test hsrp_fuzz
//! fuzz_packet`.

use controlplane::config::Family;
use controlplane::hsrp::auth::{Auth, Key, Keys};
use controlplane::hsrp::message::{Message, Opcode, State};
use controlplane::hsrp::packet::{Transport, emit, parse};
use controlplane::types::Nanos;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How long a target runs as a test.
const MOMENT: Duration = Duration::from_secs(2);
const TRANSPORTS: [Transport; 3] = [Transport::V1, Transport::V2, Transport::V2Ipv6];

fn source(transport: Transport) -> IpAddr {
    match transport.family() {
        Family::V4 => IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)),
        Family::V6 => IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    }
}

/// What is read is not believed without the key, can be sent, and reads the same again. True if it was read.
fn judge(payload: &[u8], transport: Transport, md5: &Auth) -> bool {
    let Ok(parsed) = parse(payload, transport) else { return false };
    let source = source(transport);
    let message = parsed.claimed().clone();
    assert!(
        parsed.authenticate(md5, source, Nanos::ZERO).is_err(),
        "believed without the key: {payload:02x?}"
    );
    let sent = emit(&message, md5, source).unwrap();
    let again = parse(&sent, transport).unwrap().authenticate(md5, source, Nanos::ZERO).unwrap().message;
    if transport == Transport::V1 {
        // Its hold may be raised over its hello, which leaves room for that.
        assert!(again.hold >= message.hold && again.hello <= message.hello);
        assert_eq!(Message { hello: message.hello, hold: message.hold, ..again }, message);
    } else {
        assert_eq!(again, message);
    }
    true
}

fn md5() -> Auth {
    Auth::Md5(Keys::new(Key::new("s3cret")))
}

/// Any UDP payload.
#[test]
fn fuzz_packet() {
    let md5 = md5();
    bolero::check!().with_max_len(600).with_test_time(MOMENT).for_each(|payload: &[u8]| {
        for transport in TRANSPORTS {
            judge(payload, transport, &md5);
        }
    });
}

/// A good packet, in which the input sets bytes: pairs of place and value.
#[test]
fn fuzz_changed() {
    let good = TRANSPORTS.map(|transport| {
        let message = Message {
            opcode: Opcode::Hello,
            state: State::Active,
            version: transport.version(),
            group: 1,
            priority: 110,
            hello: Duration::from_secs(3),
            hold: Duration::from_secs(10),
            virtual_ip: None,
            identifier: [0; 6],
        };
        let other = Auth::Md5(Keys::new(Key::new("other")));
        (transport, emit(&message, &other, source(transport)).unwrap())
    });
    let md5 = md5();
    let read = std::sync::atomic::AtomicUsize::new(0);
    bolero::check!().with_max_len(8).with_test_time(MOMENT).for_each(|changes: &[u8]| {
        for (transport, good) in &good {
            let mut payload = good.to_vec();
            for [place, value] in changes.as_chunks().0 {
                let place = usize::from(*place) % payload.len();
                payload[place] = *value;
            }
            read.fetch_add(judge(&payload, *transport, &md5).into(), std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(read.into_inner() > 0, "no input came through");
}

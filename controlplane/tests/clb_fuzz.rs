//! Fuzz targets over what the LAN sends to the load feed. As tests they run for a moment with random input; a
//! coverage-guided engine drives the same targets: `cargo bolero test -p controlplane --test clb_fuzz fuzz_frame`.

use controlplane::clb::channel::{Channel, ChannelEvent, Secret};
use controlplane::clb::load::Rules;
use controlplane::clb::member::Report;
use controlplane::clb::orders::{Orders, Register};
use controlplane::clb::wire::{Ack, Hello, Message, parse};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a target runs as a test.
const MOMENT: Duration = Duration::from_secs(2);
const MEMBER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn messages() -> [Message; 4] {
    let report = Report {
        priority: 90,
        load_normalization: 5,
        max_session: 9,
        fqdn: "gw".to_owned(),
        ..Report::default()
    };
    let register = |on| Register { counter: 1, on };
    let orders = Some(Orders::new(register(false), [(MEMBER, register(true))].into()));
    let members = vec![(MEMBER, report.clone(), 12), (MEMBER, report.clone(), 99)].into();
    [
        Message::Hello(Hello {
            incarnation: 1,
            address: MEMBER,
            hello_ms: 1000,
            update_ms: 3000,
            orders: orders.clone(),
        }),
        Message::Update(report),
        Message::Ack(Ack { seq: 1, primary: MEMBER, orders, rules: Rules::default(), members }),
        Message::Bye { reason: "resigns".to_owned() },
    ]
}

fn emitted(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut out).unwrap();
    out
}

/// What is read can be sent, and reads the same again. True if it was read.
fn judge(frame: &[u8]) -> bool {
    let Ok(parsed) = parse(frame) else { return false };
    let Some(message) = parsed.message else { return false };
    assert_eq!(parse(&emitted(&message)).unwrap().message, Some(message));
    true
}

/// Any frame.
#[test]
fn fuzz_frame() {
    bolero::check!().with_max_len(600).with_test_time(MOMENT).for_each(|frame: &[u8]| {
        judge(frame);
    });
}

/// A good frame, in which the input sets bytes: pairs of place and value.
#[test]
fn fuzz_changed_frame() {
    let good = messages().map(|message| emitted(&message));
    let read = AtomicUsize::new(0);
    bolero::check!().with_max_len(8).with_test_time(MOMENT).for_each(|changes: &[u8]| {
        for good in &good {
            let mut frame = good.clone();
            for [place, value] in changes.as_chunks().0 {
                let place = usize::from(*place) % frame.len();
                frame[place] = *value;
            }
            read.fetch_add(judge(&frame).into(), Ordering::Relaxed);
        }
    });
    assert!(read.into_inner() > 0, "no input came through");
}

/// All that a channel makes of bytes that come in parts of `size`, until it ends.
fn drive(mut channel: Channel, bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut out = Vec::new();
    for part in bytes.chunks(size.max(1)) {
        channel.receive(part);
        loop {
            match channel.next() {
                Ok(None) => break,
                Ok(Some(ChannelEvent::Handshake)) => channel.answer(&mut out).unwrap(),
                Ok(Some(ChannelEvent::Open)) => {}
                Ok(Some(ChannelEvent::Frame(frame))) => frames.push(frame.to_vec()),
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Any bytes of a connection, at either end, with and without a key; half of them behind a good opening.
#[test]
fn fuzz_stream() {
    let secret = Secret::new("a key").unwrap();
    let mut opening = Vec::new();
    Channel::member(None, MEMBER, &mut opening).unwrap();
    let came = AtomicUsize::new(0);
    bolero::check!().with_max_len(300).with_test_time(MOMENT).for_each(|bytes: &[u8]| {
        let size = usize::from(bytes.first().copied().unwrap_or(1));
        let opened = [&opening[..], bytes].concat();
        for bytes in [bytes, &opened[..]] {
            for key in [None, Some(&secret)] {
                let frames = drive(Channel::primary(key, MEMBER), bytes, size);
                came.fetch_add(frames.len(), Ordering::Relaxed);
                assert!(key.is_none() || frames.is_empty(), "believed without the key");
            }
            drive(Channel::member(None, MEMBER, &mut Vec::new()).unwrap(), bytes, size);
        }
    });
    // A member's own key makes its channel dear: once for all inputs, and only openings are judged.
    assert!(came.into_inner() > 0, "no frame came through");
}

/// What a member with the key sent, in which the input sets bytes, drops and repeats some: no frame comes out that it
/// did not send, nor out of turn.
#[test]
fn fuzz_changed_stream() {
    let secret = Secret::new("a key").unwrap();
    let sent: Vec<Vec<u8>> = (0..6).map(|n| vec![n; 8 * usize::from(n)]).collect();
    let whole = AtomicUsize::new(0);
    bolero::check!().with_max_len(6).with_test_time(MOMENT).for_each(|changes: &[u8]| {
        let mut out = Vec::new();
        let mut member = Channel::member(Some(&secret), MEMBER, &mut out).unwrap();
        let mut primary = Channel::primary(Some(&secret), MEMBER);
        primary.receive(&out);
        assert_eq!(primary.next(), Ok(Some(ChannelEvent::Handshake)));
        let mut answer = Vec::new();
        primary.answer(&mut answer).unwrap();
        member.receive(&answer);
        assert_eq!(member.next(), Ok(Some(ChannelEvent::Open)));
        let mut bytes = Vec::new();
        sent.iter().for_each(|frame| member.seal(frame, &mut bytes).unwrap());
        for change in changes.chunks_exact(3) {
            let place = usize::from(change[0]) * bytes.len() / 256;
            let end = (place + usize::from(change[1] >> 3)).min(bytes.len());
            match change[1] & 3 {
                0 => bytes[place] = change[2],
                1 => drop(bytes.drain(place..end)),
                2 => bytes.extend_from_within(place..end),
                _ => {}
            }
        }
        let frames = drive(primary, &bytes, usize::from(changes.first().copied().unwrap_or(200)));
        assert_eq!(frames, sent[..frames.len()]);
        whole.fetch_add(usize::from(frames.len() == sent.len()), Ordering::Relaxed);
    });
    assert!(whole.into_inner() > 0, "no input came through whole");
}

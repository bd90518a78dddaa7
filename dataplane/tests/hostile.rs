//! Frames nobody should send: no panic, no answer that breaks a rule, whatever is flipped, cut, spliced or lied about.

mod support;

use dataplane::reassemble::{self, Offer, Reassembler, SCRATCH_LEN};
use dataplane::{Verdict, classify};
use proptest::prelude::*;
use support::judge::{judge, port, view};
use support::*;

/// Frames of every kind that the parsers tell apart.
fn seeds() -> Vec<Vec<u8>> {
    let request = Ike::request().bytes();
    let from = notify(16408, &[1, 4, 203, 0, 113, 1]);
    let redirected = Ike::payloads(vec![notify(16390, &[1; 20]), sa(), ke(), nonce(256), from]).bytes();
    let [first, last] = fragments_v4(&v4(&large()), 1480, 1, 0);
    let [first6, last6] = fragments_v6(&v6(&large()), 1448, 2);
    vec![
        v4(&request),
        v6(&request),
        nat(&redirected),
        vlan(&request),
        qinq(&redirected),
        v4_options(&[148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0], &request),
        v6_extensions(
            &[(0, vec![0, 1, 4, 0, 0, 0, 0]), (43, vec![0; 7]), (60, vec![0, 1, 4, 0, 0, 0, 0])],
            &request,
        ),
        first,
        last,
        first6,
        last6,
    ]
}

/// Puts right the checksums that stand where they do in a frame without tags or options, so that what is behind them is
/// reached.
fn repair(frame: &mut [u8]) {
    let Ok(parsed) = etherparse::PacketHeaders::from_ethernet_slice(frame) else { return };
    let (Some(net), Some(etherparse::TransportHeader::Udp(udp))) = (&parsed.net, &parsed.transport) else {
        return;
    };
    let payload = parsed.payload.slice();
    let udp_at = payload.as_ptr() as usize - frame.as_ptr() as usize - 8;
    let (sum, ip) = match net {
        etherparse::NetHeaders::Ipv4(header, _) => {
            let sum = udp.calc_checksum_ipv4_raw(header.source, header.destination, payload);
            (sum, Some((udp_at - header.header_len(), header.calc_header_checksum())))
        }
        etherparse::NetHeaders::Ipv6(header, _) => {
            (udp.calc_checksum_ipv6_raw(header.source, header.destination, payload), None)
        }
        _ => return,
    };
    if let Ok(sum) = sum {
        frame[udp_at + 6..udp_at + 8].copy_from_slice(&sum.to_be_bytes());
    }
    if let Some((at, sum)) = ip {
        frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(usize, u8),
    Cut(usize),
    Grow(Vec<u8>),
    Copy(usize, usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let interesting = prop_oneof![Just(0u8), Just(1), Just(0xff), Just(0x80), 33u8..60, any::<u8>()];
    prop_oneof![
        6 => (0usize..400, interesting).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => (0usize..400).prop_map(Mutation::Cut),
        1 => proptest::collection::vec(any::<u8>(), 1..64).prop_map(Mutation::Grow),
        2 => (0usize..400, 0usize..400, 1usize..40).prop_map(|(from, to, len)| Mutation::Copy(from, to, len)),
    ]
}

fn apply(frame: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Set(at, byte) => {
            if let Some(slot) = frame.get_mut(*at) {
                *slot = *byte;
            }
        }
        Mutation::Cut(len) => frame.truncate(*len),
        Mutation::Grow(bytes) => frame.extend(bytes),
        Mutation::Copy(from, to, len) => {
            let Some(bytes) = frame.get(*from..from + len).map(<[u8]>::to_vec) else { return };
            if let Some(place) = frame.get_mut(*to..to + len) {
                place.copy_from_slice(&bytes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn mutated_frames(seed in 0usize..11, mutations in proptest::collection::vec(mutation(), 0..6), fix: bool) {
        let mut frame = seeds()[seed].clone();
        for mutation in &mutations {
            apply(&mut frame, mutation);
        }
        if fix {
            repair(&mut frame);
        }
        judge(&frame, &view());
    }

    #[test]
    fn random_bytes(mut frame in proptest::collection::vec(any::<u8>(), 0..300)) {
        if frame.len() > 14 {
            frame[..6].copy_from_slice(&NODE);
            let ethertype = if frame[14] & 1 == 0 { [8, 0] } else { [0x86, 0xdd] };
            frame[12..14].copy_from_slice(&ethertype);
        }
        judge(&frame, &view());
    }

    #[test]
    fn mutated_fragments(
        steps in proptest::collection::vec((7usize..11, proptest::collection::vec(mutation(), 0..2)), 1..12))
    {
        let view = view();
        let mut table = Reassembler::<Vec<u8>>::new(8, 1_000, [1, 2]);
        let mut scratch = vec![0xa5; SCRATCH_LEN];
        for (now, (seed, mutations)) in steps.iter().enumerate() {
            let mut frame = seeds()[*seed].clone();
            for mutation in mutations {
                apply(&mut frame, mutation);
            }
            let Verdict::Fragment(info) = classify(&frame, &view, &port()) else { continue };
            let Offer::Pair { first, last } = table.offer(info, frame, now as u64) else { continue };
            if let Some(len) = reassemble::assemble(&mut scratch, (&first.0, &first.1), (&last.0, &last.1)) {
                judge(&scratch[..len], &view);
            }
        }
    }
}

/// The properties above mean something only if the seeds themselves are answered.
#[test]
fn the_seeds_are_answered_or_are_fragments() {
    let view = view();
    for (index, seed) in seeds().iter().enumerate() {
        assert_eq!(judge(seed, &view), index < 7, "seed {index}");
        let mut broken = seed.clone();
        // These three end in REDIRECT_SUPPORTED.
        if [0, 1, 3].contains(&index) {
            let at = broken.len() - 2;
            broken[at..].copy_from_slice(&[0x40, 0x17]);
            repair(&mut broken);
            assert!(!judge(&broken, &view), "seed {index} without its signal");
        }
    }
}

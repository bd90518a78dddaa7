use super::super::auth::{Key, Keys};
use super::*;
use proptest::prelude::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const V2_LEN: usize = tlv::HEADER_LEN + v2::LEN;

fn md5() -> Auth {
    Auth::Md5(Keys::new(Key::new("s3cret")))
}

fn message(version: u8) -> Message {
    Message {
        opcode: Opcode::Hello,
        state: State::Active,
        version,
        group: 1,
        priority: 110,
        hello: Duration::from_secs(3),
        hold: Duration::from_secs(10),
        virtual_ip: Some(Ipv4Addr::new(10, 0, 0, 100).into()),
        identifier: if version == 2 { [2, 0, 0, 0, 0, 9] } else { [0; 6] },
    }
}

fn source_of(transport: Transport) -> IpAddr {
    if transport == Transport::V2Ipv6 { LINK_LOCAL } else { SOURCE }
}

fn read(payload: &[u8], transport: Transport) -> Result<Message, PacketError> {
    parse(payload, transport).map(|parsed| parsed.claimed().clone())
}

#[rustfmt::skip]
    const V1: [u8; 20] = [
        0, 0, 16, 3, 10, 110, 1, 0, b'c', b'i', b's', b'c', b'o', 0, 0, 0, 10, 0, 0, 100,
    ];

#[rustfmt::skip]
    const V2: [u8; 52] = [
        1, 40, 2, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 0, 0, 0, 110,
        0, 0, 0x0b, 0xb8, 0, 0, 0x27, 0x10, 10, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        3, 8, b'c', b'i', b's', b'c', b'o', 0, 0, 0,
    ];

#[rustfmt::skip]
    const V2_IPV6: [u8; 52] = [
        1, 40, 2, 2, 5, 6, 0x0a, 0xbc, 2, 0, 0, 0, 0, 9, 0, 0, 0, 255,
        0, 0, 0, 50, 0, 0, 0, 150, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 5, 0x73, 0xff, 0xfe, 0xa0, 0x0a, 0xbc,
        3, 8, b'c', b'i', b's', b'c', b'o', 0, 0, 0,
    ];

fn message_ipv6() -> Message {
    Message {
        opcode: Opcode::Resign,
        state: State::Standby,
        group: 0xabc,
        priority: 255,
        hello: Duration::from_millis(50),
        hold: Duration::from_millis(150),
        virtual_ip: Some("fe80::5:73ff:fea0:abc".parse().unwrap()),
        ..message(2)
    }
}

#[test]
fn literal_packets_are_read_and_written() {
    for (bytes, transport, wanted) in [
        (&V1[..], Transport::V1, message(1)),
        (&V2[..], Transport::V2, message(2)),
        (&V2_IPV6[..], Transport::V2Ipv6, message_ipv6()),
    ] {
        let source = source_of(transport);
        assert_eq!(&*emit(&wanted, &Auth::default(), source).unwrap(), bytes);
        let received =
            parse(bytes, transport).unwrap().authenticate(&Auth::default(), source, Nanos::ZERO).unwrap();
        assert_eq!(received, Received { message: wanted, source });
    }
}

#[test]
fn with_md5_the_text_is_zero_and_the_trailer_follows() {
    let v1 = emit(&message(1), &md5(), SOURCE).unwrap();
    assert_eq!((v1.len(), &v1[8..16]), (50, &[0; 8][..]));
    assert_eq!(v1[20..34], [4, 28, 1, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
    let v2 = emit(&message(2), &md5(), SOURCE).unwrap();
    assert_eq!((v2.len(), &v2[..V2_LEN]), (72, &V2[..V2_LEN]));
    assert_eq!(v2[42..56], [4, 28, 1, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
    let ipv6 = emit(&message_ipv6(), &md5(), LINK_LOCAL).unwrap();
    assert_eq!(ipv6[42..56], [4, 28, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "no IPv4 address");
}

#[test]
fn two_nodes_with_one_key_believe_each_other() {
    for (transport, message) in
        [(Transport::V1, message(1)), (Transport::V2, message(2)), (Transport::V2Ipv6, message_ipv6())]
    {
        let source = source_of(transport);
        let sent = emit(&message, &md5(), source).unwrap();
        let authenticate =
            |auth: &Auth| parse(&sent, transport).unwrap().authenticate(auth, source, Nanos::ZERO);
        assert_eq!(authenticate(&md5()).unwrap().message, message);
        assert_eq!(authenticate(&Auth::Md5(Keys::new(Key::new("other")))), Err(AuthError::Digest));
        assert_eq!(authenticate(&Auth::default()), Err(AuthError::Md5ForText));
    }
}

#[test]
fn every_changed_byte_of_a_packet_with_md5_is_caught() {
    for (transport, message) in
        [(Transport::V1, message(1)), (Transport::V2, message(2)), (Transport::V2Ipv6, message_ipv6())]
    {
        let source = source_of(transport);
        let sent = emit(&message, &md5(), source).unwrap();
        let believed = |bytes: &[u8]| {
            parse(bytes, transport)
                .is_ok_and(|parsed| parsed.authenticate(&md5(), source, Nanos::ZERO).is_ok())
        };
        assert!(believed(&sent), "unchanged");
        for at in 0..sent.len() {
            // All values of a byte: each single bit, and every combination of them.
            for difference in 1..=255 {
                let mut changed = sent.to_vec();
                changed[at] ^= difference;
                assert!(!believed(&changed), "{transport:?}: byte {at} ^ {difference:#04x}");
            }
            assert!(!believed(&sent[..at]), "{transport:?}: cut at {at}");
        }
        for appended in [&[0][..], &[9, 0], &[2, 4, 0, 1, 0, 0], &sent] {
            assert!(!believed(&[&sent, appended].concat()), "{transport:?}: with {appended:?} behind it");
        }
    }
}

#[test]
fn rules_of_version_1() {
    let with = |at: usize, value: u8| {
        let mut bytes = V1;
        bytes[at] = value;
        read(&bytes, Transport::V1)
    };
    assert_eq!(with(0, 1), Err(PacketError::Version(1)));
    assert_eq!(with(1, 3), Err(PacketError::Advertisement));
    assert_eq!(with(1, 4), Err(PacketError::Opcode(4)));
    assert_eq!(with(2, 3), Err(PacketError::State(3)), "two bits are no state");
    assert_eq!(with(16, 224), Err(PacketError::VirtualAddress(Ipv4Addr::new(224, 0, 0, 100).into())));
    assert_eq!(with(4, 0).map(|message| message.hold), Ok(Duration::ZERO), "the machine's business");
    assert_eq!(with(7, 9), read(&V1, Transport::V1), "reserved");
    let advertisement = [0, 3, 0, 1, 0, 10, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(&advertisement, Transport::V1), Err(PacketError::Advertisement), "16 bytes of it");
    let mut learning = V1;
    learning[16..].fill(0);
    assert_eq!(read(&learning, Transport::V1).map(|message| message.virtual_ip), Ok(None));
    for cut in 0..V1.len() {
        assert_eq!(read(&V1[..cut], Transport::V1), Err(PacketError::Truncated(cut)));
    }
    let behind = |tlvs: &[u8]| read(&[&V1, tlvs].concat(), Transport::V1).err();
    assert_eq!(behind(&[9, 2, 0, 0]), None, "an unknown TLV");
    assert_eq!(behind(&[9, 2, 0]), Some(PacketError::Truncated(23)));
    assert_eq!(behind(&[4, 2, 0, 0]), Some(PacketError::TlvLength { kind: 4, length: 2 }));
    let trailer = [&[4, 28][..], &[0; 28]].concat();
    assert_eq!(behind(&[&trailer[..], &trailer].concat()), Some(PacketError::TlvTwice(4)));
}

#[test]
fn rules_of_version_2() {
    let with = |at: usize, value: u8| {
        let mut bytes = V2;
        bytes[at] = value;
        read(&bytes, Transport::V2)
    };
    assert_eq!(with(1, 39), Err(PacketError::TlvLength { kind: 1, length: 39 }));
    assert_eq!(with(2, 1), Err(PacketError::Version(1)));
    assert_eq!(with(3, 3), Err(PacketError::Opcode(3)));
    assert_eq!(with(4, 7), Err(PacketError::State(7)));
    assert_eq!(with(5, 6), Err(PacketError::Family(6)));
    assert_eq!(with(6, 0x10), Err(PacketError::Group(0x1001)));
    assert_eq!(with(26, 127), Err(PacketError::VirtualAddress(Ipv4Addr::new(127, 0, 0, 100).into())));
    assert_eq!(with(43, 7), Err(PacketError::TlvLength { kind: 3, length: 7 }));
    assert_eq!(read(&V2, Transport::V2Ipv6), Err(PacketError::Family(4)));
    let mut multicast = V2_IPV6;
    multicast[26] = 0xff;
    assert!(matches!(read(&multicast, Transport::V2Ipv6), Err(PacketError::VirtualAddress(_))));

    let (state, text) = V2.split_at(V2_LEN);
    let interface = [2, 4, 0, 1, 0, 0];
    let trailer = [&[4, 28][..], &[0; 28]].concat();
    let packet = |tlvs: &[&[u8]]| read(&tlvs.concat(), Transport::V2);
    assert_eq!(packet(&[&interface, state, &[99, 3, 1, 2, 3], text, &interface]), Ok(message(2)), "skipped");
    assert_eq!(packet(&[text, state]), Err(PacketError::TlvOrder));
    assert_eq!(packet(&[&trailer, state]), Err(PacketError::TlvOrder));
    assert_eq!(packet(&[state, state, text]), Err(PacketError::TlvTwice(1)));
    assert_eq!(packet(&[state, text, text]), Err(PacketError::TlvTwice(3)));
    assert_eq!(packet(&[state, text, &trailer]), Err(PacketError::TlvTwice(4)));
    assert_eq!(packet(&[state, &trailer, text]), Err(PacketError::TlvTwice(3)));
    assert_eq!(packet(&[&interface]), Err(PacketError::Advertisement));
    assert_eq!(packet(&[&[2, 0], state]), Err(PacketError::TlvLength { kind: 2, length: 0 }));
    assert_eq!(packet(&[]), Err(PacketError::Truncated(0)));
    assert_eq!(packet(&[state, &[3]]), Err(PacketError::Truncated(43)));
    assert_eq!(packet(&[&[9, 0].repeat(MAX_TLVS - 2), state, text]), Ok(message(2)));
    assert_eq!(packet(&[&[9, 0].repeat(MAX_TLVS - 1), state, text]), Err(PacketError::TlvCount));
    assert_eq!(packet(&[&[9; MAX_LEN + 1]]), Err(PacketError::Oversized(513)));
    let parsed = parse(state, Transport::V2).unwrap();
    assert_eq!(parsed.authenticate(&Auth::default(), SOURCE, Nanos::ZERO), Err(AuthError::Missing));
}

#[test]
fn the_other_version_is_named() {
    assert_eq!(read(&V2, Transport::V1), Err(PacketError::Version(1)), "the type of the first TLV");
    assert_eq!(read(&V1, Transport::V2), Err(PacketError::Version(1)));
}

#[test]
fn what_a_version_cannot_say_is_not_sent() {
    let refused = |message: Message, source| emit(&message, &Auth::default(), source).err();
    assert_eq!(refused(Message { group: 256, ..message(1) }, SOURCE), Some(PacketError::Group(256)));
    assert_eq!(refused(Message { priority: 256, ..message(1) }, SOURCE), Some(PacketError::Priority(256)));
    assert_eq!(
        refused(Message { state: State::Disabled, ..message(1) }, SOURCE),
        Some(PacketError::State(0))
    );
    assert_eq!(refused(Message { group: 4096, ..message(2) }, SOURCE), Some(PacketError::Group(4096)));
    assert_eq!(refused(Message { version: 3, ..message(2) }, SOURCE), Some(PacketError::Version(3)));
    assert_eq!(refused(message(2), LINK_LOCAL), Some(PacketError::Family(4)));
    assert_eq!(refused(message_ipv6(), SOURCE), Some(PacketError::Family(6)));
    let silent = Message { virtual_ip: None, ..message(1) };
    assert_eq!(refused(silent, LINK_LOCAL), Some(PacketError::Family(6)));
}

#[test]
fn times_are_rounded_up_and_version_1_keeps_its_hold_over_its_hello() {
    let times = |version, hello, hold| {
        let (hello, hold) = (Duration::from_micros(hello), Duration::from_micros(hold));
        let sent = emit(&Message { hello, hold, ..message(version) }, &Auth::default(), SOURCE).unwrap();
        let transport = Transport::of(version, Family::V4).unwrap();
        let read = read(&sent, transport).unwrap();
        (read.hello.as_millis(), read.hold.as_millis())
    };
    assert_eq!(times(1, 50_000, 150_000), (1000, 2000), "a learner must not take over between two hellos");
    assert_eq!(times(1, 250_000, 2_100_000), (1000, 3000));
    assert_eq!(times(1, 254_000_000, 999_000_000), (254_000, 255_000));
    assert_eq!(times(1, 3_000_000, 0), (3000, 0), "as told");
    assert_eq!(times(2, 50_001, 150_000), (51, 150));
    assert_eq!(times(2, u64::MAX, u64::MAX), (4_294_967_295, 4_294_967_295));
}

#[test]
fn the_packet_around_it_is_looked_at() {
    let check = |transport: Transport, source: &str, hop_limit| {
        transport.check(source.parse().unwrap(), hop_limit).err()
    };
    assert_eq!(check(Transport::V1, "10.0.0.1", 1), None);
    assert_eq!(check(Transport::V2, "10.0.0.1", 1), None);
    assert_eq!(check(Transport::V2, "10.0.0.1", 255), Some(PacketError::HopLimit(255)));
    assert_eq!(check(Transport::V2Ipv6, "fe80::1", 255), None);
    assert_eq!(check(Transport::V2Ipv6, "fe80::1", 254), Some(PacketError::HopLimit(254)));
    for (transport, source) in [
        (Transport::V1, "0.0.0.0"),
        (Transport::V1, "224.0.0.2"),
        (Transport::V2, "fe80::1"),
        (Transport::V2Ipv6, "10.0.0.1"),
        (Transport::V2Ipv6, "2001:db8::1"),
    ] {
        assert!(matches!(check(transport, source, 255), Some(PacketError::Source(_))), "{source}");
    }
}

fn opcodes() -> impl Strategy<Value = Opcode> {
    prop_oneof![Just(Opcode::Hello), Just(Opcode::Coup), Just(Opcode::Resign)]
}

fn transports() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::V1), Just(Transport::V2), Just(Transport::V2Ipv6)]
}

fn auths() -> impl Strategy<Value = Auth> {
    prop_oneof![
        any::<[u8; 8]>().prop_map(Auth::Text),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(|key| Auth::Md5(Keys::new(Key::new(key)))),
    ]
}

proptest! {
    #[test]
    fn what_is_sent_is_read_as_it_was_meant(
        transport in transports(), auth in auths(), opcode in opcodes(), state in 0usize..6, group in 0u16..4096,
        priority: u32, times: (u32, u32), address: Option<(u32, u64)>, identifier: [u8; 6])
    {
        let v1 = transport == Transport::V1;
        let hello = times.0 % 255;
        let message = Message {
            opcode,
            state: if v1 { V1_STATES[state].1 } else { V2_STATES[state + 1].1 },
            version: transport.version(),
            group: if v1 { group & 0xff } else { group },
            priority: if v1 { priority & 0xff } else { priority },
            hello: if v1 { Duration::from_secs(hello.into()) } else { Duration::from_millis(times.0.into()) },
            hold: match v1 {
                true => Duration::from_secs((hello + 1 + times.1 % (255 - hello)).into()),
                false => Duration::from_millis(times.1.into()),
            },
            virtual_ip: address.map(|(v4, v6)| match transport.family() {
                Family::V4 => Ipv4Addr::from(v4 % 0x7e00_0000 + 0x0100_0000).into(),
                Family::V6 => Ipv6Addr::from(0xfe80 << 112 | u128::from(v6)).into(),
            }),
            identifier: if v1 { [0; 6] } else { identifier },
        };
        let source = source_of(transport);
        let sent = emit(&message, &auth, source).unwrap();
        let received = parse(&sent, transport).unwrap().authenticate(&auth, source, Nanos::ZERO).unwrap();
        prop_assert_eq!(&received.message, &message);
        prop_assert_eq!(&*emit(&received.message, &auth, source).unwrap(), &*sent);
    }

    #[test]
    fn no_input_panics_and_what_is_read_can_be_sent_again(
        transport in transports(), auth in auths(), head in 0usize..5,
        tail in proptest::collection::vec(prop_oneof![Just(0u8), 1u8..5, Just(8), Just(28), Just(40), any::<u8>()], 0..560),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4))
    {
        let head: &[u8] = [&V1[..], &V2, &V2_IPV6, &V2[..V2_LEN], &[]][head];
        let mut bytes = [head, &tail].concat();
        for (at, value) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        if let Ok(parsed) = parse(&bytes, transport) {
            let source = source_of(transport);
            let message = parsed.claimed().clone();
            let again = emit(&message, &auth, source).unwrap();
            prop_assert_eq!(again.is_empty(), false);
            // Whatever is believed says what was read.
            if let Ok(received) = parsed.authenticate(&auth, source, Nanos::ZERO) {
                prop_assert_eq!(received.message, message);
            }
        }
    }
}

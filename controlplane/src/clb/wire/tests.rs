use super::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

fn report() -> Report {
    let percent = Percent::hundredths;
    Report {
        version: (1_700_000_000_000, 42),
        load: Load { in_neg: percent(250), crypto: percent(4300), cpu: percent(1), mem: Percent::FULL },
        ike: 1,
        child: 2,
        max_session: 100_000,
        priority: 100,
        load_normalization: 5,
        health: Health::Unhealthy,
        draining: true,
        to_move: 9,
        fqdn: "gw.example.net".to_owned(),
        node: Some(A),
    }
}

fn messages() -> Vec<Message> {
    let register = |counter, on| Register { counter, on };
    let orders = Orders::new(
        register(3, true),
        [(A, register(1, false)), (B, register(u64::from(u32::MAX), true))].into(),
    );
    let rules = Rules { crypto_weight: 0, system_weight: 100, overload_limit: 99 };
    let members = vec![(A, report(), 0), (B, Report { node: None, ..report() }, 120_000)].into();
    vec![
        Message::Hello(Hello {
            incarnation: 5,
            address: A,
            hello_ms: 1000,
            update_ms: 3000,
            orders: Some(Orders::new(register(3, false), BTreeMap::new())),
        }),
        Message::Update(report()),
        Message::Ack(Ack { seq: 7, primary: B, orders: Some(orders), rules, members }),
        Message::Ack(Ack { seq: 0, primary: A, orders: None, rules, members: Members::default() }),
        Message::Bye { reason: "resigns".to_owned() },
    ]
}

fn emitted(message: &Message) -> Vec<u8> {
    let mut out = vec![0xa5];
    message.emit(&mut out).unwrap();
    assert_eq!(out.remove(0), 0xa5, "appended");
    out
}

#[test]
fn a_message_reads_as_it_was_sent() {
    for message in messages() {
        let parsed = parse(&emitted(&message)).unwrap();
        assert_eq!(parsed, Parsed { version: 2, capabilities: 0, message: Some(message) });
    }
}

#[test]
fn the_bytes_of_a_hello() {
    let bytes = emitted(&messages()[0]);
    // version 2; body 3 of 22 bytes: incarnation 5, address, 1000, 3000; for version 1 an order of 2 bytes: epoch 3;
    // orders of 2 bytes: the counter of shutdown
    #[rustfmt::skip]
        assert_eq!(
            bytes,
            [8, 2, 0x1a, 22, 8, 5, 0x12, 4, 192, 0, 2, 1, 0x18, 0xe8, 7, 0x20, 0xb8, 0x17, 0x2a, 2, 8, 3, 0x32, 2, 8, 3]
        );
}

#[test]
fn what_a_later_version_adds_is_skipped() {
    // Field 15 of the frame, and field 100 of the body, which is therefore four bytes longer.
    for message in messages() {
        let bytes = emitted(&message);
        let mut later = vec![0x7a, 2, 0xff, 0xff];
        later.extend_from_slice(&bytes[..3]);
        let (body, length_bytes) = match bytes[3] {
            low if low < 0x80 => (usize::from(low), 1),
            low => (usize::from(low & 0x7f) | usize::from(bytes[4]) << 7, 2),
        };
        encode_varint((body + 4) as u64, &mut later);
        later.extend_from_slice(&bytes[3 + length_bytes..]);
        later.extend_from_slice(&[0xa2, 6, 1, 0xff]);
        assert_eq!(parse(&later).unwrap().message, Some(message));
    }
    // Version 7, capability 2, body 9.
    let parsed = parse(&[8, 7, 0x10, 4, 0x4a, 2, 8, 1]).unwrap();
    assert_eq!(parsed, Parsed { version: 7, capabilities: 4, message: None });
}

#[test]
fn values_out_of_their_range_are_neither_read_nor_sent() {
    let update = |change: fn(&mut proto::Report)| {
        let mut report = proto::Report::from(&report());
        change(&mut report);
        let frame = proto::Frame { body: Some(Body::Update(report)), ..proto::Frame::default() };
        parse(&frame.encode_to_vec()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(update(|_| ()), Ok(()));
    assert_eq!(update(|r| r.cpu = 10_001).unwrap_err(), "cpu is 10001, not 0 to 10000");
    assert_eq!(update(|r| r.priority = 0).unwrap_err(), "priority is 0, not 1 to 100");
    assert_eq!(update(|r| r.priority = 256 + 5).unwrap_err(), "priority is 261, not 1 to 100");
    assert_eq!(
        update(|r| r.load_normalization = 101).unwrap_err(),
        "load-normalization is 101, not 1 to 100"
    );
    for fqdn in ["x".repeat(256), "a\x1b[2J".to_owned()] {
        let message = Message::Update(Report { fqdn: fqdn.clone(), ..report() });
        let error = WireError::Text { field: "fqdn" };
        assert_eq!(message.emit(&mut Vec::new()), Err(error.clone()));
        let frame = Body::Update(proto::Report { fqdn, ..(&report()).into() });
        let frame = proto::Frame { body: Some(frame), ..proto::Frame::default() };
        assert_eq!(parse(&frame.encode_to_vec()), Err(error));
    }
    let crowd = vec![(A, report(), 0); MAX_MEMBERS + 1];
    let ack = Ack { seq: 0, primary: A, orders: None, rules: Rules::default(), members: crowd.into() };
    let mut out = Vec::new();
    let error = Message::Ack(ack).emit(&mut out).unwrap_err();
    assert_eq!((error.to_string().as_str(), out.len()), ("members is 65, not 0 to 64", 0));
    assert!(matches!(parse(&[0x1a, 200]), Err(WireError::Undecodable(_))));
}

#[test]
fn every_field_of_an_acknowledgement_and_a_hello_is_within_its_range() {
    let refused = |body: Body| {
        let frame = proto::Frame { body: Some(body), ..proto::Frame::default() };
        parse(&frame.encode_to_vec()).map(|_| ()).map_err(|error| error.to_string())
    };
    let drain = |address: IpAddr, counter| proto::Drain { node: octets(address), counter, on: true };
    let ack = |change: &dyn Fn(&mut proto::Ack, &mut proto::Rules, &mut proto::Orders)| {
        let mut ack = proto::Ack { primary: octets(A), ..proto::Ack::default() };
        let mut rules = proto::Rules::from(&Rules::default());
        let mut orders = proto::Orders::default();
        change(&mut ack, &mut rules, &mut orders);
        refused(Body::Ack(proto::Ack { rules: Some(rules), orders: Some(orders), ..ack }))
    };
    assert_eq!(ack(&|_, _, _| ()), Ok(()));
    let error =
        |change: &dyn Fn(&mut proto::Ack, &mut proto::Rules, &mut proto::Orders)| ack(change).unwrap_err();
    assert_eq!(error(&|_, r, _| r.overload_limit = 49), "overload-limit is 49, not 50 to 99");
    assert_eq!(error(&|_, r, _| r.overload_limit = 100), "overload-limit is 100, not 50 to 99");
    assert_eq!(error(&|_, r, _| r.crypto_weight = 101), "crypto-load weight is 101, not 0 to 100");
    assert_eq!(
        error(&|_, _, o| o.shutdown_counter = u64::MAX),
        format!("an order's counter is {}, not 0 to 4294967295", u64::MAX)
    );
    let over = MAX_COUNTER + 1;
    assert!(error(&|_, _, o| o.drains.push(drain(A, over))).starts_with("an order's counter is 4294967296"));
    assert_eq!(
        error(&|_, _, o| o.drains.push(drain(Ipv4Addr::UNSPECIFIED.into(), 1))),
        "a drain's node is 0.0.0.0, which is no host's"
    );
    assert_eq!(error(&|_, _, o| o.drains = vec![drain(A, 1); 65]), "drains is 65, not 0 to 64");
    assert_eq!(
        error(&|a, _, _| a.primary = vec![224, 0, 0, 2]),
        "the primary's address is 224.0.0.2, which is no host's"
    );
    assert!(error(&|a, _, _| a.seq = u64::MAX).starts_with("the acknowledged count is"));
    let row = proto::Row { address: octets(B), report: Some((&report()).into()), age_ms: 120_001 };
    assert_eq!(error(&|a, _, _| a.members.push(row.clone())), "a member's age is 120001, not 0 to 120000");
    let hello = |hello_ms, update_ms| {
        let address = octets(A);
        refused(Body::Hello(proto::Hello { address, hello_ms, update_ms, ..proto::Hello::default() }))
    };
    assert_eq!((hello(100, 100), hello(30_000, 60_000)), (Ok(()), Ok(())));
    assert_eq!(hello(99, 100).unwrap_err(), "hello is 99, not 100 to 30000");
    assert_eq!(hello(100, 60_001).unwrap_err(), "update is 60001, not 100 to 60000");
}

/// A node of version 1 sends no registers: its orders are not taken, and it is recognised.
#[test]
fn version_1_understands_our_orders_and_gives_none() {
    let message = &messages()[2];
    let frame = proto::Frame::decode(&*emitted(message)).unwrap();
    let Some(Body::Ack(ack)) = frame.body else { panic!() };
    let order = ack.order.clone().unwrap();
    let total = 3 + 1 + u64::from(u32::MAX);
    assert_eq!((order.epoch, order.shutdown, order.draining), (total, true, vec![octets(B)]));
    let old = proto::Frame {
        version: 1,
        capabilities: 0,
        body: Some(Body::Ack(proto::Ack { orders: None, ..ack })),
    };
    let Some(Message::Ack(ack)) = parse(&old.encode_to_vec()).unwrap().message else { panic!() };
    assert_eq!(ack.orders, None);
}

#[test]
fn the_greatest_acknowledgement_keeps_its_bound() {
    let wide = Report {
        version: (MAX_VERSION, MAX_VERSION),
        load: Load { in_neg: Percent::FULL, crypto: Percent::FULL, cpu: Percent::FULL, mem: Percent::FULL },
        ike: MAX_SAS as u32,
        child: MAX_SAS as u32,
        max_session: MAX_SESSION.1 as u32,
        to_move: MAX_SAS as u32,
        node: Some(B),
        fqdn: "x".repeat(MAX_TEXT),
        ..report()
    };
    let last = Register { counter: MAX_COUNTER, on: true };
    let drains = (1..=MAX_DRAINS as u128).map(|n| (IpAddr::from(Ipv6Addr::from(n)), last));
    let orders = Some(Orders::new(last, drains.collect()));
    let members = vec![(B, wide.clone(), MAX_AGE_MS as u32); MAX_MEMBERS].into();
    let hello = Hello {
        incarnation: MAX_VERSION,
        address: B,
        hello_ms: 30_000,
        update_ms: 60_000,
        orders: orders.clone(),
    };
    let ack = Ack { seq: MAX_VERSION, primary: B, orders, rules: Rules::default(), members };
    let bytes = emitted(&Message::Ack(ack));
    assert!(bytes.len() <= 32_000, "{}", bytes.len());
    assert!(emitted(&Message::Update(wide)).len() <= 420);
    let hello = emitted(&Message::Hello(hello)).len();
    assert!(hello <= crate::clb::channel::MAX_MEMBER_FRAME, "{hello}");
}

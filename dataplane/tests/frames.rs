//! One table of (description, frames in, verdicts, answer), sent through the packet path's own functions and, where the
//! command line can express the situation, through `usher-dataplane replay` as well.

mod support;

use std::net::IpAddr;
use std::process::Command;

use dataplane::{Action, Decision, PortView, Reason, Verdict, View, answer, classify, decide, fixed, steer};
use dpdk::steer::{Counts, Egress, Program, Steering, Way};
use platform::snapshot::{NO_GATEWAY, Reader, VIP_OWN, VIP_REDIRECT_INIT, VipState, Writer, addr16};
use support::*;

/// The state of the node while a row runs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Active,
    Inactive,
    Prepared,
    LeaseOver,
    LeaseOverPeerKnown,
    RedirectOff,
    NoGateway,
    OwnTurn,
    GatewayIsVip,
    /// A member that sheds load: its own address is listed, the virtual one is another node's.
    Sheds,
}

struct Row {
    what: &'static str,
    state: State,
    frames: Vec<Vec<u8>>,
    want: Vec<Reason>,
}

const OWN: [u8; 4] = [192, 0, 2, 2];

fn rows() -> Vec<Row> {
    use Reason::*;
    let mut rows = Vec::new();
    let mut row = |what, frame: Vec<u8>, want| {
        rows.push(Row { what, state: State::Active, frames: vec![frame], want: vec![want] });
    };
    let request = Ike::request().bytes();
    let patched = |frame: Vec<u8>, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = frame;
        change(&mut frame);
        frame
    };
    let from = |address: &[u8]| {
        let kind = if address.len() == 4 { 1 } else { 2 };
        notify(16408, &[&[kind, address.len() as u8], address].concat())
    };

    row("a plain request over IPv4", v4(&request), Redirected);
    row("a plain request over IPv6", v6(&request), Redirected);
    row("on 4500 with the marker", nat(&request), Redirected);
    row("with one VLAN tag", vlan(&request), Redirected);
    row("with two VLAN tags", qinq(&request), Redirected);
    row(
        "a nonce of 15 bytes",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(15), supported()]).bytes()),
        BadNonce,
    );
    row(
        "a nonce of 16 bytes",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(16), supported()]).bytes()),
        Redirected,
    );
    row(
        "a nonce of 256 bytes",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(256), supported()]).bytes()),
        Redirected,
    );
    row(
        "a nonce of 257 bytes",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(257), supported()]).bytes()),
        BadNonce,
    );
    row(
        "two nonces",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), nonce(32), supported()]).bytes()),
        BadNonce,
    );
    let cookie = notify(16390, &[0xc0; 20]);
    row(
        "a COOKIE first",
        v4(&Ike::payloads(vec![cookie, sa(), ke(), nonce(32), supported()]).bytes()),
        Redirected,
    );
    row("Ni before SA", v4(&Ike::payloads(vec![nonce(32), sa(), ke(), supported()]).bytes()), Redirected);
    row(
        "Ni before SA over IPv6",
        v6(&Ike::payloads(vec![nonce(32), sa(), ke(), supported()]).bytes()),
        Redirected,
    );
    row(
        "payloads in reverse order",
        v4(&Ike::payloads(vec![supported(), nonce(32), ke(), sa()]).bytes()),
        Redirected,
    );
    let vendor = (V, false, vec![1; 16]);
    row(
        "vendor ids",
        v4(&Ike::payloads(vec![vendor.clone(), sa(), ke(), nonce(32), vendor, supported()]).bytes()),
        Redirected,
    );
    let private = |critical| (200, critical, vec![9; 8]);
    row(
        "an unknown payload",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), private(false), supported()]).bytes()),
        Redirected,
    );
    row(
        "an unknown critical payload",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), private(true), supported()]).bytes()),
        CriticalPayload,
    );
    let critical_sa = (SA, true, sa().2);
    row(
        "a known payload marked critical",
        v4(&Ike::payloads(vec![critical_sa, ke(), nonce(32), supported()]).bytes()),
        Redirected,
    );
    row("an IKE length one too large", v4(&Ike::with(|ike| ike.length_off = 1).bytes()), BadIke);
    row("an IKE length one too small", v4(&Ike::with(|ike| ike.length_off = -1).bytes()), BadIke);
    for (length, what) in [
        (0, "a payload length of 0"),
        (1, "a payload length of 1"),
        (2, "a payload length of 2"),
        (3, "a payload length of 3"),
    ] {
        row(what, v4(&Ike::with(|ike| ike.lying = Some((2, length))).bytes()), BadPayload);
    }
    row(
        "a payload length beyond the end",
        v4(&Ike::with(|ike| ike.lying = Some((3, 9))).bytes()),
        BadPayload,
    );
    row(
        "a payload length that ends early",
        v4(&Ike::with(|ike| ike.lying = Some((3, 7))).bytes()),
        BadPayload,
    );
    row("a chain that goes on at the end", v4(&Ike::with(|ike| ike.last_next = V).bytes()), BadPayload);
    let loop_ = Ike::payloads(vec![(V, false, vec![]); 70]);
    row("more payloads than are walked", v4(&loop_.bytes()), BadPayload);
    row(
        "bytes behind the last payload",
        v4(&Ike::with(|ike| {
            ike.trailing = vec![0; 4];
            ike.length_off = 4
        })
        .bytes()),
        BadIke,
    );
    row("bytes behind the IKE length", v4(&Ike::with(|ike| ike.trailing = vec![0; 4]).bytes()), BadIke);
    row(
        "an SPI size beyond the notify",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), (N, false, vec![0, 9, 0x40, 0x16])]).bytes()),
        BadPayload,
    );
    row(
        "REDIRECT_SUPPORTED with protocol id 1",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), (N, false, vec![1, 0, 0x40, 0x16])]).bytes()),
        Redirected,
    );
    row("a responder SPI", v4(&Ike::with(|ike| ike.spi_r = [1; 8]).bytes()), ResponderSpi);
    row("initiator SPI 0", v4(&Ike::with(|ike| ike.spi_i = [0; 8]).bytes()), ZeroSpi);
    row("the response flag", v4(&Ike::with(|ike| ike.flags = 0x28).bytes()), NotARequest);
    row("no initiator flag", v4(&Ike::with(|ike| ike.flags = 0).bytes()), NotARequest);
    row("the version flag as well", v4(&Ike::with(|ike| ike.flags = 0x18).bytes()), Redirected);
    row("message id 1", v4(&Ike::with(|ike| ike.id = 1).bytes()), MessageId);
    row("IKEv1", v4(&Ike::with(|ike| (ike.version, ike.exchange) = (0x10, 2)).bytes()), OtherVersion);
    row("version 3", v4(&Ike::with(|ike| ike.version = 0x30).bytes()), OtherVersion);
    row("minor version 1 is ignored", v4(&Ike::with(|ike| ike.version = 0x21).bytes()), Redirected);
    row("AuthIP, exchange 243", v4(&Ike::with(|ike| ike.exchange = 243).bytes()), LaterExchange);
    row(
        "IKE_AUTH",
        v4(&Ike::with(|ike| (ike.exchange, ike.id, ike.spi_r) = (35, 1, [5; 8])).bytes()),
        LaterExchange,
    );
    row("IKE_SESSION_RESUME", v4(&Ike::with(|ike| ike.exchange = 38).bytes()), LaterExchange);
    row("27 bytes of IKE", v4(&request[..27]), BadIke);
    row("no support signalled", v4(&Ike::payloads(vec![sa(), ke(), nonce(32)]).bytes()), Unsignalled);
    row("no SA", v4(&Ike::payloads(vec![ke(), nonce(32), supported()]).bytes()), Incomplete);
    row("no KE", v4(&Ike::payloads(vec![sa(), nonce(32), supported()]).bytes()), Incomplete);
    row("no nonce", v4(&Ike::payloads(vec![sa(), ke(), supported()]).bytes()), Incomplete);
    row(
        "REDIRECTED_FROM in place of REDIRECT_SUPPORTED",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), from(&[203, 0, 113, 1])]).bytes()),
        Redirected,
    );
    row(
        "REDIRECTED_FROM naming the only gateway",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), from(&GATEWAY)]).bytes()),
        NoGateway,
    );
    row(
        "REDIRECTED_FROM of the other family",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), from(&GATEWAY6)]).bytes()),
        Redirected,
    );
    row(
        "REDIRECTED_FROM whose address is cut",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), notify(16408, &[1, 4, 1, 1])]).bytes()),
        BadPayload,
    );
    row(
        "REDIRECTED_FROM with an IPv4 address of 3 bytes",
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32), notify(16408, &[1, 3, 1, 1, 1])]).bytes()),
        BadPayload,
    );
    let tiny = Ike::payloads(vec![
        (SA, false, vec![]),
        (KE, false, vec![]),
        nonce(16),
        (N, false, vec![0, 0, 0x40, 0x16]),
    ]);
    row("the answer as long as the request or shorter", v4(&tiny.bytes()), Redirected);
    row("the answer longer than the request", v6(&tiny.bytes()), AnswerTooLong);
    row("a NAT keepalive", v4_to(VIP, (32768, 4500), &[0xff]), Keepalive);
    row("ESP on 4500", v4_to(VIP, (32768, 4500), &[1, 2, 3, 4, 0, 0, 0, 1, 9, 9, 9, 9]), EspInUdp);
    row("nothing on 4500", v4_to(VIP, (32768, 4500), &[]), EspInUdp);
    row("IKE on 4500 without the marker", v4_to(VIP, (32768, 4500), &request), EspInUdp);
    row("another port", v4_to(VIP, (500, 501), &request), OtherPort);
    row("router alert", v4_options(&[148, 4, 0, 0], &request), Redirected);
    row("40 bytes of options", v4_options(&[1; 40], &request), Redirected);
    row("a loose source route", v4_options(&[131, 7, 4, 1, 1, 1, 1, 0], &request), SourceRouted);
    let pad = |next: u8| (next, vec![0, 1, 4, 0, 0, 0, 0]);
    row("IPv6 hop-by-hop options", v6_extensions(&[pad(0)], &request), Redirected);
    row("IPv6 destination options", v6_extensions(&[pad(60)], &request), Redirected);
    row("IPv6 hop-by-hop and destination options", v6_extensions(&[pad(0), pad(60)], &request), Redirected);
    row(
        "an IPv6 routing header with a segment left",
        v6_extensions(&[(43, vec![0, 0, 1, 0, 0, 0, 0])], &request),
        SourceRouted,
    );
    row(
        "a used-up IPv6 routing header",
        v6_extensions(&[(43, vec![0, 0, 0, 0, 0, 0, 0])], &request),
        Redirected,
    );
    row("an atomic IPv6 fragment", v6_extensions(&[(44, vec![0, 0, 0, 0, 0, 0, 7])], &request), Redirected);
    row(
        "an IPv6 extension header beyond the end",
        v6_extensions(&[(60, vec![255, 1, 4, 0, 0, 0, 0])], &request),
        BadIp,
    );
    row("a bad IPv4 checksum", patched(v4(&request), &|f| f[24] ^= 1), BadIpChecksum);
    row("a bad UDP checksum", patched(v4(&request), &|f| f[60] ^= 1), BadUdpChecksum);
    row("a bad UDP checksum over IPv6", patched(v6(&request), &|f| f[70] ^= 1), BadUdpChecksum);
    row("UDP checksum 0 over IPv4", patched(v4(&request), &|f| f[40..42].fill(0)), Redirected);
    row("UDP checksum 0 over IPv6", patched(v6(&request), &|f| f[60..62].fill(0)), BadUdpChecksum);
    row("a UDP length one too large", patched(v4(&request), &|f| f[39] += 1), BadUdp);
    row("a UDP length one too small", patched(v4(&request), &|f| f[39] -= 1), BadUdp);
    row("a UDP length of 7", patched(v4(&request), &|f| f[38..40].copy_from_slice(&[0, 7])), BadUdp);
    row("an IPv4 total length beyond the frame", patched(v4(&request), &|f| f[17] += 1), BadIp);
    row("an IPv4 header of 16 bytes", patched(v4(&request), &|f| f[14] = 0x44), BadIp);
    row("Ethernet padding behind the packet", patched(v4(&request), &|f| f.extend([0; 6])), Redirected);
    row("a frame of 13 bytes", v4(&request)[..13].to_vec(), BadEthernet);
    row(
        "a tag that is cut",
        [&CLIENT_MAC[..], &CLIENT_MAC, &[0x81, 0, 0]]
            .concat()
            .into_iter()
            .enumerate()
            .map(|(i, b)| if i < 6 { NODE[i] } else { b })
            .collect(),
        BadEthernet,
    );
    row("the virtual MAC", patched(v4(&request), &|f| f[..6].copy_from_slice(&VMAC)), Redirected);
    row(
        "another node's MAC",
        patched(v4(&request), &|f| f[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x77])),
        ForeignMac,
    );
    row("the broadcast MAC", patched(v4(&request), &|f| f[..6].fill(0xff)), GroupAddress);
    row("an address that is no virtual one", v4_to([192, 0, 2, 3], (500, 500), &request), OtherAddress);
    row(
        "ARP",
        [&[0xff; 6][..], &CLIENT_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &CLIENT_MAC, &CLIENT, &[0; 6], &VIP]
            .concat(),
        Arp,
    );
    row("an unknown EtherType", [&NODE[..], &CLIENT_MAC, &[0x88, 0xcc], &[0; 46]].concat(), OtherEthertype);
    row(
        "three VLAN tags",
        [&NODE[..], &CLIENT_MAC, &[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0], &[0; 46]].concat(),
        OtherEthertype,
    );
    row(
        "ESP to the virtual address",
        patched(v4(&request), &|f| {
            f[23] = 50;
            resum(f)
        }),
        OtherProtocol,
    );
    row(
        "TCP to the load feed",
        patched(v4_to(VIP, (40000, 2012), &request), &|f| {
            f[23] = 6;
            resum(f)
        }),
        Clb,
    );
    row(
        "an HSRP hello",
        patched(v4_to([224, 0, 0, 2], (1985, 1985), &[0; 20]), &|f| {
            f[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 2])
        }),
        Hsrp,
    );

    let mut in_state = |what, state, want| {
        rows.push(Row { what, state, frames: vec![v4(&Ike::request().bytes())], want: vec![want] });
    };
    in_state("the group is not active", State::Inactive, GroupInactive);
    in_state("the group is about to be active", State::Prepared, GroupInactive);
    in_state("the lease is over, no peer", State::LeaseOver, LeaseExpired);
    in_state("the lease is over, a peer is known", State::LeaseOverPeerKnown, Fenced);
    in_state("redirect is not configured", State::RedirectOff, RedirectOff);
    in_state("no gateway may be chosen", State::NoGateway, NoGateway);
    in_state("this node's own turn", State::OwnTurn, RedirectedSelf);
    in_state("the gateway is the virtual address itself", State::GatewayIsVip, GatewayRefused);
    let looped = v4(&Ike::payloads(vec![sa(), ke(), nonce(32), from(&VIP)]).bytes());
    rows.push(Row {
        what: "REDIRECTED_FROM naming our virtual address",
        state: State::OwnTurn,
        frames: vec![looped.clone()],
        want: vec![LoopSuspect],
    });
    rows.push(Row {
        what: "the same without an own address",
        state: State::Active,
        frames: vec![looped],
        want: vec![NoGateway],
    });
    let mut sheds = |what, frame, want| {
        rows.push(Row { what, state: State::Sheds, frames: vec![frame], want: vec![want] });
    };
    let to_own = |ike: &Ike| v4_to(OWN, (500, 500), &ike.bytes());
    let redirected = |address: &[u8]| Ike::payloads(vec![sa(), ke(), nonce(32), from(address)]);
    sheds("a member sheds a request to its own address", to_own(&Ike::request()), Redirected);
    sheds("sent to it by the cluster: one further hop", to_own(&redirected(&VIP)), Redirected);
    sheds("sent to it by another gateway: served here", to_own(&redirected(&[198, 51, 100, 99])), HopsSpent);
    sheds("a later exchange of its own sessions", to_own(&Ike::with(|ike| ike.exchange = 35)), LaterExchange);
    sheds("the virtual address is another node's meanwhile", v4(&Ike::request().bytes()), GroupInactive);
    let mut arp =
        [&[0xff; 6][..], &CLIENT_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &CLIENT_MAC, &CLIENT, &[0; 6], &VIP]
            .concat();
    rows.push(Row {
        what: "ARP for a fenced address",
        state: State::LeaseOverPeerKnown,
        frames: vec![arp.clone()],
        want: vec![Fenced],
    });
    arp[38..42].copy_from_slice(&[192, 0, 2, 3]);
    arp[28..32].copy_from_slice(&CLIENT);
    rows.push(Row {
        what: "ARP for another address meanwhile",
        state: State::LeaseOverPeerKnown,
        frames: vec![arp],
        want: vec![Arp],
    });
    rows
}

/// Rows of several frames: they need the worker's memory, so only replay runs them.
fn fragment_rows() -> Vec<Row> {
    use Reason::*;
    let mut rows = Vec::new();
    let mut row = |what, frames, want| rows.push(Row { what, state: State::Active, frames, want });
    let [first, last] = fragments_v4(&v4(&large()), 1480, 1, 0);
    row("a pair in order", vec![first.clone(), last.clone()], vec![FragmentJoined, Redirected]);
    row("a pair in reverse", vec![last.clone(), first.clone()], vec![FragmentJoined, Redirected]);
    let [first6, last6] = fragments_v6(&v6(&large()), 1448, 2);
    row("an IPv6 pair in order", vec![first6.clone(), last6.clone()], vec![FragmentJoined, Redirected]);
    row("an IPv6 pair in reverse", vec![last6, first6], vec![FragmentJoined, Redirected]);
    let [a, b] = fragments_v4(&v4(&large()), 1480, 3, -8);
    row("overlapping fragments", vec![a, b], vec![FragmentOverlap, FragmentOverlap]);
    let [a, b] = fragments_v4(&v4(&large()), 1480, 4, 8);
    row("a gap between fragments", vec![a, b], vec![FragmentOther, FragmentOther]);
    let [first, last] = fragments_v4(&v4(&Ike::payloads(vec![sa(), ke(), nonce(32)]).bytes()), 96, 5, 0);
    row("a pair that signals nothing passes as it came", vec![first, last], vec![Unsignalled, Unsignalled]);
    let mut bad = v4(&large());
    bad[100] ^= 1;
    let [first, last] = fragments_v4(&bad, 1480, 6, 0);
    row("a pair with a bad UDP checksum", vec![first, last], vec![BadUdpChecksum, BadUdpChecksum]);
    let [first, _] = fragments_v4(&v4(&large()), 1480, 7, 0);
    row("a first fragment alone", vec![first.clone()], vec![FragmentTimeout]);
    row("the same again", vec![first.clone(), first], vec![FragmentTimeout, FragmentOther]);
    rows
}

fn resum(frame: &mut [u8]) {
    let mut header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    header.header_checksum = header.calc_header_checksum();
    frame[14..34].copy_from_slice(&header.to_bytes());
}

/// A snapshot as usherd publishes it, its lease over at 50 or 500 ns.
fn published(state: State) -> Reader {
    let vips = [IpAddr::from(VIP), IpAddr::from(VIP6)];
    let gateways = [IpAddr::from(GATEWAY), IpAddr::from(GATEWAY6)];
    let mut body = fixed::body(&vips, &gateways, VMAC, [7, 9]).unwrap();
    for vip in &mut body.vips[..2] {
        match state {
            State::Inactive => vip.state = VipState::Inactive as u8,
            State::Prepared => vip.state = VipState::Prepared as u8,
            State::RedirectOff => vip.flags &= !VIP_REDIRECT_INIT,
            State::NoGateway => vip.slots.fill(NO_GATEWAY),
            State::OwnTurn if vip.family == 4 => {
                vip.own = addr16(IpAddr::from(OWN));
                vip.gateways[0].addr = vip.own;
                vip.gateways[0].flags |= platform::snapshot::GATEWAY_SELF;
            }
            State::GatewayIsVip => vip.gateways[0].addr = vip.addr,
            _ => {}
        }
    }
    if state == State::Sheds {
        body.vips[2] = body.vips[0].clone();
        body.vip_count = 3;
        body.vips[2].state = VipState::Inactive as u8;
        let own = &mut body.vips[0];
        (own.addr, own.mac, own.flags) = (addr16(IpAddr::from(OWN)), NODE, own.flags | VIP_OWN);
    }
    let mut writer = Writer::create().unwrap();
    writer.publish(&body);
    let until = if matches!(state, State::LeaseOver | State::LeaseOverPeerKnown) { 50 } else { 500 };
    writer.set_lease(0, until, state == State::LeaseOverPeerKnown);
    Reader::map(writer.fd().try_clone_to_owned().unwrap()).unwrap()
}

/// A view as a worker has it at 100 ns: copied, with its lease read.
fn view(state: State) -> View {
    let mut view = View::new();
    view.refresh(&published(state), 100);
    view
}

/// One frame through classify, decide and answer.
fn run(frame: &[u8], view: &View) -> (Reason, Option<Vec<u8>>) {
    let port = PortView::new(0, NODE);
    match classify(frame, view, &port) {
        Verdict::Pass(_, reason) | Verdict::Drop(reason) => (reason, None),
        Verdict::Fragment(_) => (Reason::FragmentHeld, None),
        Verdict::Request(request) => match decide(&request, view) {
            Decision::Pass(reason) => (reason, None),
            Decision::Redirect { address, mac, reason, .. } => {
                let mut out = frame.to_vec();
                let len = answer(&mut out, &request, &address, mac).expect("an answer fits its request");
                out.truncate(len);
                (reason, Some(out))
            }
        },
    }
}

/// The answer as it must look, read by etherparse and by offsets from RFC 5685.
fn check_answer(what: &str, request: &[u8], out: &[u8], gateway: IpAddr, source_mac: [u8; 6]) {
    let parsed =
        etherparse::SlicedPacket::from_ethernet(out).unwrap_or_else(|error| panic!("{what}: {error}"));
    let asked = etherparse::SlicedPacket::from_ethernet(request).unwrap();
    let eth = etherparse::Ethernet2HeaderSlice::from_slice(out).unwrap();
    assert_eq!(
        eth.destination(),
        <[u8; 6]>::try_from(&request[6..12]).unwrap(),
        "{what}: to the client's MAC"
    );
    assert_eq!(eth.source(), source_mac, "{what}: from the virtual MAC");
    assert!(out.len() <= request.len(), "{what}: not longer than asked");
    assert_eq!(parsed.vlan().is_some(), asked.vlan().is_some(), "{what}: tags stay");
    let etherparse::TransportSlice::Udp(udp) = parsed.transport.expect(what) else {
        panic!("{what}: no UDP")
    };
    let (header_ok, sum) = match parsed.net.expect(what) {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let (ttl, whole) = (header.ttl(), !header.is_fragmenting_payload());
            let options = header.options().len();
            let header = header.to_header();
            assert_eq!((ttl, options, whole), (64, 0, true), "{what}");
            let sum = udp
                .to_header()
                .calc_checksum_ipv4_raw(header.source, header.destination, udp.payload())
                .unwrap();
            (
                header.calc_header_checksum() == header.header_checksum
                    && [VIP, OWN].contains(&header.source),
                sum,
            )
        }
        etherparse::NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            assert_eq!(
                (header.hop_limit, header.flow_label.value(), header.next_header.0),
                (64, 0, 17),
                "{what}"
            );
            let sum = udp
                .to_header()
                .calc_checksum_ipv6_raw(header.source, header.destination, udp.payload())
                .unwrap();
            (header.source == VIP6, sum)
        }
        other => panic!("{what}: {other:?}"),
    };
    assert!(header_ok, "{what}: IP header");
    assert_eq!(udp.checksum(), sum, "{what}: UDP checksum");
    let marked = udp.source_port() == 4500;
    let message = if marked { &udp.payload()[4..] } else { udp.payload() };
    assert!(!marked || udp.payload()[..4] == [0; 4], "{what}: the marker");
    let identity = match gateway {
        IpAddr::V4(ip) => [&[1, 4][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[2, 16][..], &ip.octets()].concat(),
    };
    let nonce = message.len() - 36 - identity.len();
    let mut want = [&SPI[..], &[0; 8], &[41, 0x20, 34, 0x20, 0, 0, 0, 0]].concat();
    want.extend((message.len() as u32).to_be_bytes());
    want.extend([0, 0]);
    want.extend((message.len() as u16 - 28).to_be_bytes());
    want.extend([0, 0, 0x40, 0x17]);
    want.extend(identity);
    want.extend(vec![0x4e; nonce]);
    assert_eq!(message, want, "{what}: the message, byte for byte");
    assert!([16, 32, 256].contains(&nonce), "{what}: a whole nonce, {nonce} bytes");
}

fn gateway_of(row: &Row) -> IpAddr {
    let v6 = row.frames[0].windows(2).nth(12).is_some_and(|kind| kind == [0x86, 0xdd]);
    match (row.want[row.want.len() - 1], v6) {
        (Reason::RedirectedSelf | Reason::LoopSuspect, _) => OWN.into(),
        (_, true) => GATEWAY6.into(),
        (_, false) => GATEWAY.into(),
    }
}

#[test]
fn the_table() {
    let rows = rows();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for row in &rows {
        let view = view(row.state);
        let (reason, out) = run(&row.frames[0], &view);
        assert_eq!(reason, row.want[0], "{}", row.what);
        assert_eq!(out.is_some(), reason.action() == dataplane::Action::Answer, "{}", row.what);
        if let Some(out) = out {
            let mac = if row.state == State::Sheds { NODE } else { VMAC };
            check_answer(row.what, &row.frames[0], &out, gateway_of(row), mac);
        }
    }
}

#[test]
fn sessions_on_the_own_address_of_a_member_that_sheds_are_not_metered() {
    let mut esp = v4_to(OWN, (0, 0), &[0; 40]);
    esp[23] = 50;
    resum(&mut esp);
    let port = PortView::new(0, NODE);
    for (frame, reason) in [
        (esp, Reason::OtherProtocol),
        (v4_to(OWN, (4500, 4500), &[1; 40]), Reason::EspInUdp),
        (v4_to(OWN, (53, 53), &[1; 40]), Reason::OtherPort),
    ] {
        match classify(&frame, &view(State::Sheds), &port) {
            Verdict::Pass(class, why) => assert_eq!((class, why), (dataplane::Class::Rest, reason)),
            other => panic!("{other:?}"),
        }
    }
}

/// Rows that end otherwise on a port that the kernel keeps: what the worker of an owned port drops, the kernel judges itself.
/// No other difference is allowed.
const DIFFERENCES: &[(&str, &str)] = &[
    ("a tag that is cut", "the kernel has no protocol for it and drops it"),
    ("a frame of 13 bytes", "no driver of the kernel's hands it on"),
    ("an IPv4 header of 16 bytes", "the kernel counts it in IpInHdrErrors and drops it"),
    ("an IPv6 extension header beyond the end", "the kernel drops it, or says so by ICMPv6"),
    ("27 bytes of IKE", "the local IKE daemon drops it"),
    ("a bad UDP checksum", "the bit that is wrong makes it no request; the kernel drops it for the checksum"),
    ("a bad UDP checksum over IPv6", "the same"),
];

/// The same rows on a port that the kernel keeps, asked of the XDP program. What it steers ends as in the table, for the
/// same worker gets it; what it leaves to the kernel is what the worker would have passed there, or a difference by name.
#[test]
fn the_table_on_a_port_that_the_kernel_keeps() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let program = Program::load().unwrap();
    let mut steering = Steering::open(&program).unwrap();
    let mut different = Vec::new();
    for row in rows().into_iter().chain(fragment_rows()) {
        let (reader, mut copy) = (published(row.state), platform::snapshot::Copy::empty());
        reader.refresh(&mut copy);
        steering.set(&steer::rules(&copy, &reader, 0, 100)).unwrap();
        for (frame, reason) in row.frames.iter().zip(row.want) {
            // The kernel runs no program on less than an Ethernet header.
            let way = if frame.len() < 14 { Way::Kernel } else { program.way(frame).unwrap() };
            match (way, reason, reason.action()) {
                (Way::Fenced, Reason::Fenced, _) | (Way::Kernel, _, Action::Pass) => {}
                (Way::Socket, reason, _) if reason != Reason::Fenced => {}
                (Way::Kernel, _, Action::Drop) => different.push(row.what),
                other => panic!("{}: {other:?}", row.what),
            }
        }
    }
    different.sort_unstable();
    let mut named: Vec<&str> = DIFFERENCES.iter().map(|(what, _)| *what).collect();
    named.sort_unstable();
    assert_eq!(different, named);
}

/// ESP, later messages and everything to other addresses keep the kernel's speed: the sockets see none of it.
#[test]
fn the_kernel_keeps_what_is_no_request() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let program = Program::load().unwrap();
    let mut steering = Steering::open(&program).unwrap();
    let request = v4(&Ike::request().bytes());
    assert_eq!(program.way(&request).unwrap(), Way::Kernel, "without rules all is the kernel's");
    steering.set(&steer::static_rules(&[VIP.into(), VIP6.into()])).unwrap();
    assert_eq!(program.way(&request).unwrap(), Way::Socket);
    let kept = [
        "ESP on 4500",
        "ESP to the virtual address",
        "IKE_AUTH",
        "a NAT keepalive",
        "TCP to the load feed",
        "ARP",
        "an HSRP hello",
        "an address that is no virtual one",
        "another port",
        "the response flag",
        "no initiator flag",
    ];
    let rows: Vec<Row> = rows().into_iter().filter(|row| kept.contains(&row.what)).collect();
    assert_eq!(rows.len(), kept.len());
    for row in rows {
        assert_eq!(program.way(&row.frames[0]).unwrap(), Way::Kernel, "{}", row.what);
    }
    // A rule that goes, goes.
    steering.set(&steer::static_rules(&[VIP6.into()])).unwrap();
    assert_eq!(program.way(&request).unwrap(), Way::Kernel);
    assert_eq!(program.way(&v6(&Ike::request().bytes())).unwrap(), Way::Socket);
}

/// A fence holds in both directions: for the address and the group's virtual MAC nothing comes in, and in their name the
/// kernel sends nothing. Of a group that is given up the second holds. What was ended is counted.
#[test]
fn the_program_fences_addresses_and_virtual_macs() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let program = Program::load().unwrap();
    let egress = Egress::load(&program).unwrap();
    let mut steering = Steering::open(&program).unwrap();
    let arp =
        [&[0xff; 6][..], &CLIENT_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &CLIENT_MAC, &CLIENT, &[0; 6], &VIP]
            .concat();
    let group: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
    let mut solicitation = Vec::new();
    etherparse::PacketBuilder::ethernet2(CLIENT_MAC, [0x33, 0x33, 0xff, 0, 0, 1])
        .ipv6(CLIENT6, group, 255)
        .icmpv6_raw(135, 0, [0; 4])
        .write(&mut solicitation, &VIP6)
        .unwrap();
    let mut through = v4_to([198, 51, 100, 77], (500, 500), &Ike::request().bytes());
    through[..6].copy_from_slice(&VMAC);
    let mut to_node = through.clone();
    to_node[..6].copy_from_slice(&NODE);
    let frames =
        [("ARP", arp), ("a neighbour solicitation", solicitation), ("through the virtual MAC", through)];
    let mut advertisement = Vec::new();
    etherparse::PacketBuilder::ethernet2(NODE, CLIENT_MAC)
        .ipv6(VIP6, CLIENT6, 255)
        .icmpv6_raw(136, 0, [0x60, 0, 0, 0])
        .write(&mut advertisement, &VIP6)
        .unwrap();
    let reply =
        [&CLIENT_MAC[..], &NODE, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &NODE, &VIP, &CLIENT_MAC, &CLIENT].concat();
    let mut others_reply = reply.clone();
    others_reply[28..32].copy_from_slice(&[192, 0, 2, 11]);
    let mut hello = others_reply.clone();
    hello[6..12].copy_from_slice(&VMAC);
    let mut tagged = hello.clone();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let mut in_tag = reply.clone();
    in_tag.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]);
    // The second column: while the address is fenced, while the group is given up.
    let out = [
        ("an ARP reply for the address", reply, true, false),
        ("the same in two tags", in_tag, true, false),
        ("a neighbour advertisement for the address", advertisement, true, false),
        ("a frame of the virtual MAC", hello, true, true),
        ("the same in a tag", tagged, true, true),
        ("an ARP reply for the node", others_reply, false, false),
    ];
    let mut judge = |state, wanted| {
        let (reader, mut copy) = (published(state), platform::snapshot::Copy::empty());
        reader.refresh(&mut copy);
        steering.set(&steer::rules(&copy, &reader, 0, 100)).unwrap();
        for (what, frame) in &frames {
            assert_eq!(program.way(frame).unwrap(), wanted, "{what}, {state:?}");
        }
        assert_eq!(program.way(&to_node).unwrap(), Way::Kernel, "what goes to the node, {state:?}");
        let before = steering.counts().unwrap();
        let mut stopped = 0;
        for (what, frame, by_fence, given_up) in &out {
            let stops = match state {
                State::LeaseOverPeerKnown => *by_fence,
                State::Inactive => *given_up,
                _ => false,
            };
            assert_eq!(egress.lets_out(frame).unwrap(), !stops, "{what}, {state:?}");
            stopped += u64::from(stops);
        }
        let after = steering.counts().unwrap();
        assert_eq!(after, Counts { fenced_out: before.fenced_out + stopped, ..before }, "{state:?}");
    };
    judge(State::Active, Way::Kernel);
    judge(State::LeaseOverPeerKnown, Way::Fenced);
    judge(State::LeaseOver, Way::Kernel);
    judge(State::LeaseOverPeerKnown, Way::Fenced);
    judge(State::Inactive, Way::Kernel);
    judge(State::Active, Way::Kernel);
    let Counts { fenced, passed, steered, unserved, .. } = steering.counts().unwrap();
    assert_eq!(
        (fenced, passed, steered, unserved),
        (6, 18, 0, 0),
        "three frames and one to the node, six times"
    );
}

#[test]
fn the_same_request_gets_the_same_answer() {
    let view = view(State::Active);
    let frame = v4(&Ike::request().bytes());
    assert_eq!(run(&frame, &view), run(&frame, &view));
}

#[test]
fn the_table_through_the_worker_loop() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let rows: Vec<Row> =
        rows().into_iter().filter(|row| row.state == State::Active).chain(fragment_rows()).collect();
    let mut time = std::time::Duration::from_secs(1_700_000_000);
    let mut frames = Vec::new();
    for row in &rows {
        for frame in &row.frames {
            frames.push((time, frame.as_slice()));
        }
        // Far enough for the fragments of one row to be over before the next.
        time += std::time::Duration::from_secs(5);
    }
    dataplane::capture::write(&input, frames.iter().copied()).unwrap();
    let replay = || {
        let out = Command::new(env!("CARGO_BIN_EXE_usher-dataplane"))
            .args(["replay", "--json", "--mac", "02:00:00:00:00:01"])
            .args(["--vip", "192.0.2.1", "--vip", "2001:db8::1"])
            .args(["--redirect-to", "198.51.100.10", "--redirect-to", "2001:db8:1::10"])
            .args([&input, &output])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        (out.stdout, std::fs::read(&output).unwrap())
    };
    let (report, bytes) = replay();
    assert_eq!((&report, &bytes), (&replay().0, &replay().1), "a replay is repeatable, byte for byte");

    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let verdicts: Vec<_> =
        report["frame"].as_array().unwrap().iter().map(|frame| frame["verdict"].as_str().unwrap()).collect();
    let mut answers = dataplane::capture::read(&output).unwrap().into_iter();
    let mut at = 0;
    for row in &rows {
        // In replay the port's MAC stands for the virtual one.
        if row.what == "the virtual MAC" {
            assert_eq!(verdicts[at], "foreign_mac");
            at += 1;
            continue;
        }
        for (index, want) in row.want.iter().enumerate() {
            assert_eq!(verdicts[at], want.name(), "{} (frame {index})", row.what);
            at += 1;
        }
        if row.want.iter().any(|reason| reason.action() == dataplane::Action::Answer) {
            let answer = answers.next().unwrap_or_else(|| panic!("{}: no answer in the capture", row.what));
            let request = if row.frames.len() > 1 { rejoined(row) } else { row.frames[0].clone() };
            check_answer(row.what, &request, &answer.frame, gateway_of(row), NODE);
        }
    }
    assert_eq!((at, answers.next()), (verdicts.len(), None));
}

/// The whole frame of a pair, for the comparison with its answer.
fn rejoined(row: &Row) -> Vec<u8> {
    if gateway_of(row).is_ipv4() { v4(&large()) } else { v6(&large()) }
}

/// 10,000 first fragments: memory stays what it is, and every frame is accounted for.
#[test]
fn a_flood_of_first_fragments_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let whole = v4(&large());
    let flood: Vec<Vec<u8>> = (0..10_000u16).map(|id| fragments_v4(&whole, 1480, id, 0)[0].clone()).collect();
    let time = std::time::Duration::from_secs(1_700_000_000);
    dataplane::capture::write(&input, flood.iter().map(|frame| (time, frame.as_slice()))).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_usher-dataplane"))
        .args(["replay", "--json", "--vip", "192.0.2.1", "--redirect-to", "198.51.100.10"])
        .args([&input, &output])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let count = |name: &str| report["verdicts"][name].as_u64().unwrap_or(0);
    assert!(count("fragment_evicted") > 9_000, "{report}");
    assert!(count("fragment_timeout") <= 64, "{report}");
    assert_eq!(count("fragment_evicted") + count("fragment_timeout"), 10_000);
}

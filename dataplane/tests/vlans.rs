//! Subinterfaces: a frame with the one tag of a VLAN of the profile is that interface's, and no other is.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use dataplane::reassemble::Reassembler;
use dataplane::vlan::{VlanQueues, Vlans};
use dataplane::worker::{Queues, Settings, Source, Worker};
use dataplane::{Class, Police, PortView, Reason, Verdict, View, capture, classify, fixed};
use platform::snapshot::{Body, Feedback, FeedbackReader, FeedbackSpec, Reader, VipState, Writer};
use support::devices::Devices;
use support::*;

/// The virtual address of the subinterface of VLAN 100; [`VIP`] is the port's own.
const VIP_100: [u8; 4] = [203, 0, 113, 1];

/// Port 0, VLAN 100 as interface 1, VLAN 200 as interface 2. The groups of both addresses have the same number, and with it
/// the same virtual MAC.
fn body() -> Box<Body> {
    let addresses = [IpAddr::from(VIP), IpAddr::from(VIP_100), IpAddr::from(VIP6)];
    let gateways = [IpAddr::from(GATEWAY), IpAddr::from(GATEWAY6)];
    let mut body = fixed::body(&addresses, &gateways, VMAC, [7, 9]).unwrap();
    for (vip, (interface, group)) in body.vips.iter_mut().zip([(0, 0), (1, 1), (1, 1)]) {
        (vip.port, vip.group) = (interface, group);
    }
    body
}

fn port() -> PortView {
    PortView { vlans: Vlans::new(1, &[100, 200]), ..PortView::new(0, NODE) }
}

fn tagged(tags: &[u16], frame: &[u8]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|tag| [&[0x81, 0][..], &tag.to_be_bytes()].concat());
    let tags: Vec<u8> = tags.collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

fn arp(address: [u8; 4]) -> Vec<u8> {
    let head = [&[0xff; 6][..], &CLIENT_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &CLIENT_MAC, &CLIENT].concat();
    [&head[..], &[0; 6], &address].concat()
}

fn hello() -> Vec<u8> {
    let mut frame = v4_to([224, 0, 0, 102], (1985, 1985), &[0; 52]);
    frame[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 102]);
    frame
}

#[test]
fn an_address_is_answered_in_the_vlan_of_its_interface_alone() {
    let (view, port) = (View::fixed(body()), port());
    let main = v4(&Ike::request().bytes());
    let sub = v4_to(VIP_100, (500, 500), &Ike::request().bytes());
    let six = v6(&Ike::request().bytes());
    let reason = |frame: &[u8]| match classify(frame, &view, &port) {
        Verdict::Request(request) => Ok(request.vip),
        Verdict::Pass(class, reason) => Err((Some(class), reason)),
        Verdict::Drop(reason) => Err((None, reason)),
        Verdict::Fragment(_) => panic!("a fragment"),
    };
    let elsewhere = Err((Some(Class::VipOther), Reason::OtherVlan));
    for (what, tags, of_main, of_sub, of_six) in [
        ("untagged", &[][..], Ok(0), elsewhere, elsewhere),
        ("the subinterface's tag", &[100], elsewhere, Ok(1), Ok(2)),
        ("the same with priority 5", &[5 << 13 | 100], elsewhere, Ok(1), Ok(2)),
        ("another subinterface's tag", &[200], elsewhere, elsewhere, elsewhere),
        ("a tag that no subinterface has", &[300], Ok(0), elsewhere, elsewhere),
        ("a priority tag", &[6 << 13], Ok(0), elsewhere, elsewhere),
        ("a tag within the subinterface's", &[100, 7], elsewhere, elsewhere, elsewhere),
        ("the subinterface's tag within another", &[7, 100], Ok(0), elsewhere, elsewhere),
    ] {
        assert_eq!(reason(&tagged(tags, &main)), of_main, "{what}, to the port's address");
        assert_eq!(reason(&tagged(tags, &sub)), of_sub, "{what}, to the subinterface's address");
        assert_eq!(reason(&tagged(tags, &six)), of_six, "{what}, over IPv6");
    }
    // Without subinterfaces, everything is as it always was.
    let plain = PortView { vlans: Vlans::NONE, ..port };
    for tags in [&[][..], &[100], &[100, 7]] {
        assert!(matches!(classify(&tagged(tags, &main), &view, &plain), Verdict::Request(_)), "{tags:?}");
    }
    assert_eq!(reason(&tagged(&[100], &hello())), Err((Some(Class::Hsrp), Reason::Hsrp)));
    assert_eq!(reason(&tagged(&[200], &arp(VIP_100))), Err((Some(Class::ArpNd), Reason::Arp)));
    let fragment = |tags: &[u16]| classify(&tagged(tags, &fragments_v4(&sub, 64, 7, 0)[0]), &view, &port);
    assert!(matches!(fragment(&[100]), Verdict::Fragment(info) if info.vlans[0] == 100));
    assert_eq!(fragment(&[200]), Verdict::Pass(Class::VipOther, Reason::OtherVlan));
}

#[test]
fn a_fence_holds_in_its_own_vlan_and_a_virtual_mac_is_ours_where_its_group_is() {
    let mut body = body();
    let mut writer = Writer::create().unwrap();
    writer.publish(&body);
    let reader = Reader::map(writer.fd().try_clone_to_owned().unwrap()).unwrap();
    writer.set_lease(0, 500, true);
    writer.set_lease(1, 50, true);
    let mut view = View::new();
    view.refresh(&reader, 100);
    let mut to_mac = v4_to([192, 0, 2, 77], (53, 53), &[0; 8]);
    to_mac[..6].copy_from_slice(&VMAC);
    let drops = |view: &View, tags: &[u16], frame: &[u8]| match classify(&tagged(tags, frame), view, &port())
    {
        Verdict::Drop(reason) => Some(reason),
        _ => None,
    };
    let fenced = Some(Reason::Fenced);
    for (tags, of_group) in [(&[][..], None), (&[100], fenced), (&[200], None), (&[300], None)] {
        assert_eq!(drops(&view, tags, &arp(VIP_100)), of_group, "{tags:?}: ARP about the address");
    }
    assert_eq!((drops(&view, &[100], &to_mac), drops(&view, &[], &to_mac)), (fenced, None));
    assert_eq!(drops(&view, &[200], &to_mac), Some(Reason::ForeignMac), "no group of VLAN 200 has it");
    // The subinterface's group is given up: its virtual MAC is still the port's, whose group is active.
    for vip in &mut body.vips[1..3] {
        vip.state = VipState::Inactive as u8;
    }
    writer.publish(&body);
    view.refresh(&reader, 100);
    assert_eq!((drops(&view, &[100], &to_mac), drops(&view, &[], &to_mac)), (Some(Reason::ForeignMac), None));
    let gave_up: Vec<bool> = (0..3).map(|interface| view.gave_up_mac(&VMAC, interface)).collect();
    assert_eq!(gave_up, [false, true, false]);
}

#[test]
fn a_vlan_has_a_device_of_its_own_that_sees_no_tags() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (main, sub) = (v4(&Ike::request().bytes()), v4_to(VIP_100, (500, 500), &Ike::request().bytes()));
    let local = Ike::payloads(vec![sa(), ke(), nonce(32)]).bytes();
    let unsignalled = v4_to(VIP_100, (500, 500), &local);
    let halves = fragments_v4(&sub, 64, 7, 0);
    let wire = [
        tagged(&[100], &sub),
        tagged(&[100], &unsignalled),
        sub.clone(),
        tagged(&[200], &sub),
        tagged(&[5 << 13 | 200], &arp(VIP)),
        tagged(&[300], &arp(VIP)),
        tagged(&[300], &main),
        tagged(&[100], &main),
        tagged(&[100, 7], &main),
        tagged(&[100], &hello()),
        hello(),
        tagged(&[100], &halves[0]),
        tagged(&[100], &halves[1]),
    ];
    let write = |name: &str, frames: &[Vec<u8>]| {
        let frames = frames.iter().map(|frame| (Duration::from_secs(1), frame.as_slice()));
        capture::write(&file(name), frames).unwrap();
    };
    let pings =
        [[1, 1], [1, 2], [2, 1]].map(|[from, to]| v4_to([192, 0, 2, 10 * from + to], (7, 7), &[from; 9]));
    write("wire.pcap", &wire);
    write("exc.pcap", &pings[..1]);
    write("exc100.pcap", &pings[1..]);
    write("exc200.pcap", &[]);

    let vdev = |number: u8, rx: &str, tx: &str| {
        format!("net_pcap{number},rx_pcap={},tx_pcap={}", file(rx).display(), file(tx).display())
    };
    let vdevs = [
        vdev(0, "wire.pcap", "out.pcap"),
        vdev(1, "exc.pcap", "to-exc.pcap"),
        vdev(2, "exc100.pcap", "to-100.pcap"),
        vdev(3, "exc200.pcap", "to-200.pcap"),
    ];
    let mut devices = Devices::new("vlans", &vdevs.each_ref().map(String::as_str));
    let mut open = |name: &str| devices.open(name);
    let ((rx, tx), exception) = (open("net_pcap0"), open("net_pcap1"));
    let vlans = vec![VlanQueues::new(100, open("net_pcap2")), VlanQueues::new(200, open("net_pcap3"))];
    let queues = Queues {
        port: port(),
        rx,
        tx,
        exception: Some(exception),
        vlans,
        way_back: None,
        fragments: Reassembler::new(4, 1_000_000_000, [1, 2]),
    };
    let feedback =
        Feedback::create(&FeedbackSpec { workers: 1, ports: vec![], counters: Reason::COUNTERS }).unwrap();
    let told = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
    let settings = Settings { burst: 32, police: Police::new(&Default::default(), 1), limit: None };
    let block = feedback.worker(0).unwrap();
    let mut worker = Worker::new(vec![queues], View::fixed(body()), Source::Fixed, block, settings, ());
    worker.pass(1_000_000_000, &mut dpdk::rdtsc());
    let counted: Vec<(String, u64)> = (told.read().counters.into_iter())
        .filter(|row| row.total > 0)
        .map(|row| (row.name, row.total))
        .collect();
    let wanted = [
        ("redirected", 3),
        ("arp", 2),
        ("hsrp", 2),
        ("other_vlan", 4),
        ("unsignalled", 1),
        ("from_kernel", 3),
        ("fragment_held", 1),
        ("fragment_joined", 1),
    ];
    assert_eq!(counted, wanted.map(|(name, count)| (name.to_owned(), count)));
    // The captures are whole once their ports are closed.
    drop((worker, devices));

    let read = |name: &str| -> Vec<Vec<u8>> {
        capture::read(&file(name)).unwrap().into_iter().map(|read| read.frame).collect()
    };
    assert_eq!(
        read("to-100.pcap"),
        [unsignalled, main.clone(), hello()],
        "VLAN 100, without its tag, in order"
    );
    assert_eq!(read("to-200.pcap"), [sub.clone(), arp(VIP)], "VLAN 200, without its tag");
    let rest = [sub, tagged(&[300], &arp(VIP)), tagged(&[100, 7], &main), hello()];
    assert_eq!(read("to-exc.pcap"), rest, "the port's own and what no subinterface has, as it came");
    let out = read("out.pcap");
    let tags: Vec<&[u8]> = out[..3].iter().map(|answer| &answer[12..16]).collect();
    assert_eq!(
        tags,
        [[0x81, 0, 0, 100], [0x81, 0, 1, 44], [0x81, 0, 0, 100]],
        "answers in the VLAN of the request"
    );
    assert!(out[..3].iter().all(|answer| answer[..6] == CLIENT_MAC && answer[6..12] == VMAC));
    let relayed = [pings[0].clone(), tagged(&[100], &pings[1]), tagged(&[100], &pings[2])];
    assert_eq!(out[3..], relayed, "from the kernel: with the tag of the device's VLAN");
}

//! Lease and fence through the real worker loop: what happens to frames of both directions when usherd falls silent.

mod support;

use std::net::IpAddr;
use std::sync::Arc;

use dataplane::reassemble::Reassembler;
use dataplane::worker::{Queues, Settings, Source, Worker};
use dataplane::{Police, PortView, Reason, View, capture, fixed};
use platform::snapshot::{Feedback, FeedbackReader, FeedbackSpec, Reader, VipState, Writer};
use support::devices::Devices;
use support::*;

/// The capture holds, five times over: a request, ARP for the virtual address, and ARP from its virtual MAC. A pass takes
/// one of each.
#[test]
fn when_the_lease_ends_a_known_peer_fences_both_directions_and_none_lets_requests_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let arp =
        [&[0xff; 6][..], &CLIENT_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &CLIENT_MAC, &CLIENT, &[0; 6], &VIP]
            .concat();
    let mut announcement = arp.clone();
    announcement[6..12].copy_from_slice(&VMAC);
    let kinds = [v4(&Ike::request().bytes()), arp, announcement];
    let frames: Vec<_> = kinds.iter().cycle().take(15).collect();
    let time = std::time::Duration::from_secs(1);
    capture::write(&input, frames.iter().map(|frame| (time, frame.as_slice()))).unwrap();

    let vdev = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let mut devices = Devices::new("fence", &[&vdev, "net_ring0", "net_ring1", "net_ring2", "net_null0"]);
    let mut open = |name: &str| devices.open(name);
    // What the port `wire` passes goes into ring 0. The queues of `kernel` come first in a pass and read ring 0 as their
    // kernel's side: they see what was passed in the pass before.
    let ((wire_rx, wire_tx), (ring_rx, ring_tx)) = (open("net_pcap0"), open("net_ring0"));
    let ((empty_rx, _), (idle_rx, idle_tx)) = (open("net_ring1"), open("net_ring2"));
    let (_, out_tx) = open("net_null0");
    let fragments = || Reassembler::new(4, 1, [1, 2]);
    let port = PortView::new(0, NODE);
    let kernel = Queues {
        port,
        rx: empty_rx,
        tx: out_tx,
        exception: Some((ring_rx, idle_tx)),
        vlans: Vec::new(),
        way_back: None,
        fragments: fragments(),
    };
    let wire = Queues {
        port,
        rx: wire_rx,
        tx: wire_tx,
        exception: Some((idle_rx, ring_tx)),
        vlans: Vec::new(),
        way_back: None,
        fragments: fragments(),
    };

    let mut body = fixed::body(&[IpAddr::from(VIP)], &[IpAddr::from(GATEWAY)], VMAC, [7, 9]).unwrap();
    let mut writer = Writer::create().unwrap();
    writer.publish(&body);
    let reader = Arc::new(Reader::map(writer.fd().try_clone_to_owned().unwrap()).unwrap());
    let feedback =
        Feedback::create(&FeedbackSpec { workers: 1, ports: vec![], counters: Reason::COUNTERS }).unwrap();
    let told = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
    let settings = Settings { burst: 3, police: Police::new(&Default::default(), 1), limit: None };
    let block = feedback.worker(0).unwrap();
    let source = Source::Snapshot(Some(reader));
    let mut worker = Worker::new(vec![kernel, wire], View::new(), source, block, settings, ());

    let mut tsc = dpdk::rdtsc();
    let mut before = told.read().counters;
    let mut pass = |now_s: u64| {
        worker.pass(now_s * 1_000_000_000, &mut tsc);
        let after = told.read().counters;
        let moved: Vec<(String, u64)> = (before.iter().zip(&after))
            .filter(|(before, after)| before.total != after.total)
            .map(|(before, after)| (after.name.clone(), after.total - before.total))
            .collect();
        before = after;
        moved
    };
    let counted = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };

    writer.set_lease(0, 12_000_000_000, true);
    assert_eq!(pass(10), counted(&[("redirected", 1), ("arp", 2)]), "the lease runs");
    // The ARP of the pass before comes back from the kernel's side, in the name of the address.
    assert_eq!(
        pass(13),
        counted(&[("fenced", 3), ("fenced_out", 2)]),
        "over, and a peer is known: nothing moves"
    );
    writer.set_lease(0, 12_000_000_000, false);
    assert_eq!(pass(14), counted(&[("arp", 2), ("lease_expired", 1)]), "over, no peer: the kernel serves");
    writer.set_lease(0, 20_000_000_000, true);
    assert_eq!(
        pass(15),
        counted(&[("redirected", 1), ("arp", 2), ("from_kernel", 3)]),
        "renewed: all as before"
    );
    body.vips[0].state = VipState::Inactive as u8;
    writer.publish(&body);
    let given_up = [("arp", 2), ("group_inactive", 1), ("from_kernel", 1), ("fenced_out", 1)];
    assert_eq!(
        pass(16),
        counted(&given_up),
        "given up: what waited in its virtual MAC's name does not leave"
    );
    let redirects = told.redirects().unwrap();
    assert_eq!(redirects.len(), 1);
    let destination = (redirects[0].vip_address, redirects[0].gateway_address);
    assert_eq!(destination, (Some(VIP.into()), Some(GATEWAY.into())), "counts name whom they are for");
    assert_eq!((redirects[0].total, redirects[0].new_clients), (2, 1));
}

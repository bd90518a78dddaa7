//! A port that the kernel keeps: what passes goes back as the exception device wants it, and nothing is relayed from there.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use dataplane::reassemble::Reassembler;
use dataplane::worker::{Queues, Settings, Source, Worker};
use dataplane::{Police, PortView, Reason, View, capture, fixed};
use platform::snapshot::{Feedback, FeedbackReader, FeedbackSpec};
use support::devices::Devices;
use support::*;

#[test]
fn what_passes_goes_back_without_tags_to_the_exception_device_and_nothing_comes_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let unsignalled = Ike::payloads(vec![sa(), ke(), nonce(32)]).bytes();
    let (plain, request) = (v4(&unsignalled), v4(&Ike::request().bytes()));
    let tagged = [vlan(&unsignalled), qinq(&unsignalled)];
    // To the virtual MAC and with tags, as they come in; the third is answered.
    let wire = [&plain, &tagged[0], &request, &tagged[1]];
    let write = |name: &str, frames: &[&Vec<u8>]| {
        let frames = frames.iter().map(|frame| (Duration::from_secs(1), frame.as_slice()));
        capture::write(&file(name), frames).unwrap();
    };
    write("wire.pcap", &wire);
    write("kernel.pcap", &[&plain, &plain]);

    let vdev = |number: u8, rx: &str, tx: &str| {
        format!("net_pcap{number},rx_pcap={},tx_pcap={}", file(rx).display(), file(tx).display())
    };
    let (first, second) = (vdev(0, "wire.pcap", "out.pcap"), vdev(1, "kernel.pcap", "back.pcap"));
    let mut devices = Devices::new("back", &[&first, &second]);
    let mut open = |name: &str| devices.open(name);
    let ((rx, tx), exception) = (open("net_pcap0"), open("net_pcap1"));
    let queues = Queues {
        port: PortView::new(0, NODE),
        rx,
        tx,
        exception: Some(exception),
        vlans: Vec::new(),
        way_back: Some(NODE),
        fragments: Reassembler::new(4, 1, [1, 2]),
    };
    let body = fixed::body(&[IpAddr::from(VIP)], &[IpAddr::from(GATEWAY)], VMAC, [7, 9]).unwrap();
    let feedback =
        Feedback::create(&FeedbackSpec { workers: 1, ports: vec![], counters: Reason::COUNTERS }).unwrap();
    let told = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
    let settings = Settings { burst: 8, police: Police::new(&Default::default(), 1), limit: None };
    let block = feedback.worker(0).unwrap();
    let mut worker = Worker::new(vec![queues], View::fixed(body), Source::Fixed, block, settings, ());
    worker.pass(1_000_000_000, &mut dpdk::rdtsc());
    let total = |name: &str| told.read().counters.iter().find(|row| row.name == name).unwrap().total;
    assert_eq!(
        (total("redirected"), total("unsignalled"), total("not_relayed"), total("from_kernel")),
        (1, 3, 2, 0)
    );
    // The captures are whole once their ports are closed.
    drop((worker, devices));

    let back: Vec<Vec<u8>> =
        capture::read(&file("back.pcap")).unwrap().into_iter().map(|read| read.frame).collect();
    let mut wanted = plain.clone();
    wanted[..6].copy_from_slice(&NODE);
    assert_eq!(back, [wanted.clone(), wanted.clone(), wanted]);
    assert_eq!(capture::read(&file("out.pcap")).unwrap().len(), 1, "the answer, and nothing of the kernel's");
}

//! The packet path allocates nothing: the real worker loop over net_pcap, under a counting allocator.

mod support;

use std::net::IpAddr;

use dataplane::reassemble::Reassembler;
use dataplane::worker::{Queues, Settings, Source, Worker};
use dataplane::{Police, PortView, Reason, View, capture, fixed};
use dpdk::{Eal, Mempool, Port, PortConfig};
use platform::snapshot::{Feedback, FeedbackSpec, RedirectView};
use support::*;

#[test]
fn a_pass_of_the_worker_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let request = Ike::request().bytes();
    let [first, last] = fragments_v4(&v4(&large()), 1480, 1, 0);
    let [late_first, _] = fragments_v4(&v4(&large()), 1480, 2, 0);
    let kinds = [
        v4(&request),
        v6(&request),
        nat(&request),
        qinq(&request),
        v4_options(&[148, 4, 0, 0], &request),
        first,
        last,
        late_first,
        v4(&Ike::payloads(vec![sa(), ke(), nonce(32)]).bytes()),
        v4(&Ike::payloads(vec![sa(), ke(), nonce(15), supported()]).bytes()),
        v4_to([192, 0, 2, 3], (500, 500), &request),
    ];
    let frames: Vec<_> = kinds.iter().cycle().take(kinds.len() * 100).collect();
    let time = std::time::Duration::from_secs(1);
    capture::write(&input, frames.iter().map(|frame| (time, frame.as_slice()))).unwrap();

    let vdev = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let prefix = format!("--file-prefix=usher-no-alloc-{}", std::process::id());
    let eal = Eal::init(&["--no-huge", "-m64", "--no-pci", "--no-shconf", "--no-telemetry", &prefix, &vdev])
        .unwrap();
    let _registration = eal.register_thread().unwrap();
    let pool = Mempool::new(&eal, "pool", 4095, 128, 2176, -1).unwrap();
    let id = eal.port_by_name("net_pcap0").unwrap();
    let (_port, rx, tx) = Port::configure(&eal, id, &PortConfig::default(), &pool).unwrap();
    let feedback =
        Feedback::create(&FeedbackSpec { workers: 1, ports: vec![], counters: Reason::COUNTERS }).unwrap();
    let vips = [IpAddr::from(VIP), IpAddr::from(VIP6)];
    let gateways = [IpAddr::from(GATEWAY), IpAddr::from(GATEWAY6)];
    let view = View::fixed(fixed::body(&vips, &gateways, VMAC, [7, 9]).unwrap());
    let port = PortView::new(0, NODE);
    let queues = rx.into_iter().zip(tx).map(|(rx, tx)| Queues {
        port,
        rx,
        tx,
        exception: None,
        vlans: Vec::new(),
        way_back: None,
        fragments: Reassembler::new(64, 1_000_000_000, [1, 2]),
    });
    let settings = Settings { burst: 32, police: Police::new(&Default::default(), 1), limit: None };
    let block = feedback.worker(0).unwrap();
    let mut worker = Worker::new(queues.collect(), view, Source::Fixed, block, settings, ());

    let mut tsc = dpdk::rdtsc();
    let info = allocation_counter::measure(|| {
        let mut now = 1_000_000_000;
        while worker.received() < frames.len() as u64 {
            worker.pass(now, &mut tsc);
            worker.housekeep(now, false);
            now += 50_000_000;
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");

    let reader =
        platform::snapshot::FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
    let redirects = reader.redirects().unwrap();
    let sum = |of: fn(&RedirectView) -> u64| redirects.iter().map(of).sum::<u64>();
    let (redirected, clients) = (sum(|view| view.total), sum(|view| view.new_clients));
    assert_eq!((redirected, clients), (600, 2), "one SPI from an IPv4 and an IPv6 address, 600 times");
    let counters = reader.read().counters;
    let total = |name: &str| counters.iter().find(|counter| counter.name == name).unwrap().total;
    assert_eq!(total("redirected"), 600, "what was measured is the real path");
    assert_eq!((total("unsignalled"), total("bad_nonce"), total("other_address")), (100, 100, 100));
    assert!(total("fragment_held") >= 100);
}

//! Two workers on two queues of one port: no cache line is written by both on the packet path, and none by a worker and
//! anybody else.

use std::path::Path;

use dataplane::reassemble::Reassembler;
use dataplane::vlan::{VlanQueues, Vlans};
use dataplane::worker::{Queues, Settings, Source, Worker};
use dataplane::{PortView, Reason, View};
use dpdk::{Eal, Mempool, Port, PortConfig};
use platform::lines::Lines;
use platform::profile::Profile;
use platform::snapshot::{Feedback, FeedbackSpec, PortIdentity};

/// Queues of the port, and of its exception device, a worker each.
const WORKERS: usize = 2;

#[test]
fn two_workers_write_no_common_cache_line() {
    // All that there is: the limit of answers too, and the largest table of fragments.
    let profile = "[answer_limit]\nrate = 1000\n[reassembly]\nentries = 4096\n";
    let profile = Profile::parse(profile, Path::new("lines.toml")).unwrap();
    let prefix = format!("--file-prefix=usher-lines-{}", std::process::id());
    let args = ["--no-huge", "-m64", "--no-pci", "--no-shconf", "--no-telemetry", &prefix];
    let eal = Eal::init(&[&args[..], &["--vdev=net_null0", "--vdev=net_null1", "--vdev=net_null2"]].concat())
        .unwrap();
    let pool = Mempool::new(&eal, "pool", 8191, 128, 2176, -1).unwrap();
    let config = PortConfig { rx_queues: WORKERS as u16, tx_queues: WORKERS as u16, ..PortConfig::default() };
    let open = |name| Port::configure(&eal, eal.port_by_name(name).unwrap(), &config, &pool).unwrap();
    let ((port, rx, tx), (exception, back_rx, back_tx)) = (open("net_null0"), open("net_null1"));
    let (subinterface, vlan_rx, vlan_tx) = open("net_null2");
    let ports = vec![PortIdentity::default()];
    let feedback =
        Feedback::create(&FeedbackSpec { workers: WORKERS, ports, counters: Reason::COUNTERS }).unwrap();

    // Small blocks of somebody else's between those of the workers, as they come while a process starts.
    let mut neighbours: Vec<Box<[u8]>> = Vec::new();
    let (mut workers, mut built) = (Vec::with_capacity(WORKERS), Vec::new());
    let pairs = rx.into_iter().zip(tx).zip(back_rx.into_iter().zip(back_tx));
    let pairs = pairs.zip(vlan_rx.into_iter().zip(vlan_tx));
    for (index, (((rx, tx), exception), vlan)) in pairs.enumerate() {
        let block = feedback.worker(index).unwrap();
        let view = PortView { vlans: Vlans::new(1, &[100]), ..PortView::new(0, port.mac()) };
        let mut worker = None;
        built.push(allocation_counter::measure(|| {
            let entries = profile.reassembly.entries;
            let fragments = Reassembler::new(entries, 1, [1, 2]);
            let exception = Some(exception);
            let vlans = vec![VlanQueues::new(100, vlan)];
            let queues = Queues { port: view, rx, tx, exception, vlans, way_back: None, fragments };
            let settings = Settings::of(&profile, WORKERS, [1, 2]);
            let source = Source::Snapshot(None);
            worker = Some(Worker::new(vec![queues], View::new(), source, block, settings, ()));
        }));
        workers.extend(worker);
        neighbours.extend([8, 24, 40, 100, 1000].map(|len| vec![0; len].into_boxed_slice()));
    }
    let lines: Vec<Lines> = workers.iter().map(Worker::writes).collect();

    let [first, second] = &lines[..] else { panic!("two workers") };
    assert_eq!(first.shared(second), [], "lines that both write");
    let mut others = Lines::default();
    neighbours.iter().for_each(|block| others.add("neighbour", &**block));
    others.add("port", &port);
    others.add("exception device", &exception);
    others.add("subinterface", &subinterface);
    for (worker, built) in lines.iter().zip(&built) {
        assert_eq!(worker.shared(&others), []);
        // Whole pairs of lines: whatever the allocator puts beside a block lies on none of them.
        assert_eq!(worker.ragged(), [""; 0], "blocks that leave a part of a line to somebody else");
        // The list leaves nothing out: every byte on the heap that came with the worker is in it. (The worker itself lies in
        // a vector here, on its thread's stack otherwise; its counters lie in the shared memory.)
        let heap = worker.blocks().iter().filter(|(name, _)| !matches!(*name, "worker" | "counters"));
        let sizes: Vec<usize> = heap.map(|(_, range)| range.len()).collect();
        assert_eq!(
            (sizes.len() as i64, sizes.iter().sum::<usize>() as i64),
            (built.count_current, built.bytes_current)
        );
        assert!(worker.bytes() < 4 << 20, "{} bytes", worker.bytes());
    }
}

//! A port on a veth (AF_XDP) and an exception device (TAP) in a network namespace: the kernel's stack answers through
//! both. Needs root; as an ordinary user the test says that it was skipped.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dpdk::{Burst, Eal, MacFilter, Mempool, Port, PortConfig, RxQueue, TxQueue};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Two namespaces, removed at the end however the test ends.
struct Namespaces {
    node: String,
    peer: String,
}

impl Namespaces {
    fn new() -> Namespaces {
        let id = std::process::id();
        let spaces = Namespaces { node: format!("usher-node-{id}"), peer: format!("usher-peer-{id}") };
        let (node, peer) = (&spaces.node, &spaces.peer);
        for command in [
            format!("ip netns add {node}"),
            format!("ip netns add {peer}"),
            format!("ip -n {node} link add v0 type veth peer name v1 netns {peer}"),
            format!("ip -n {node} link set v0 up"),
            format!("ip -n {node} link set lo up"),
            format!("ip -n {node} tuntap add dev exc0 mode tap multi_queue"),
            format!("ip -n {peer} addr add 192.0.2.2/24 dev v1"),
            format!("ip -n {peer} link set v1 up"),
        ] {
            run(&command).unwrap();
        }
        spaces
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.node, &self.peer] {
            let _ = run(&format!("ip netns del {name}"));
        }
    }
}

fn run(command: &str) -> Result<String, String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .map_err(|err| format!("{command}: {err}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{command}: {}{}", text(&output.stdout), text(&output.stderr))),
    }
}

fn forward(rx: &RxQueue, tx: &TxQueue, burst: &mut Burst) {
    if rx.burst(burst) != 0 {
        tx.burst(burst);
        burst.clear();
    }
}

#[test]
fn the_kernel_answers_through_a_port_and_its_exception_device() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let spaces = Namespaces::new();
    let node = std::fs::File::open(format!("/run/netns/{}", spaces.node)).unwrap();
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&node), Some(LinkNameSpaceType::Network)).unwrap();

    let args = [
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-shconf",
        "--no-telemetry",
        "--iova-mode=va",
        "--lcores=0@0",
    ];
    let mut args = args.map(str::to_owned).to_vec();
    args.push(format!("--file-prefix=usher-kernel-{}", std::process::id()));
    args.push("--vdev=net_af_xdp0,iface=v0".into());
    let eal = Eal::init(&args).unwrap();
    let pool = Mempool::new(&eal, "frames", 8191, 128, 2176, -1).unwrap();

    let tap_pool = Mempool::new(&eal, "exceptions", 4095, 128, 2176, -1).unwrap();
    let config = PortConfig::default();
    let id = eal.port_by_name("net_af_xdp0").unwrap();
    let (mut port, port_rx, port_tx) = Port::configure(&eal, id, &config, &pool).unwrap();
    println!("{}: {:?} {:?} mac {:x?}", port.name(), port.capabilities(), port.link(), port.mac());
    assert_ne!(port.mac(), [0; 6]);
    assert!(port.link().up);
    assert!(port.kernel_ifindex().is_some());
    let filter = port.add_mac([0, 0, 0x0c, 7, 0xac, 1]).unwrap();
    println!("filter: {filter:?}");
    assert_ne!(filter, MacFilter::Exact);
    port.remove_mac([0, 0, 0x0c, 7, 0xac, 1]).unwrap();

    let mac = port.mac().map(|byte| format!("{byte:02x}")).join(":");
    let id = eal.plug(&format!("net_tap0,iface=exc0,mac={mac}")).unwrap();
    let exception = PortConfig { rx_checksum: false, tx_checksum: false, ..config };
    let (tap, tap_rx, tap_tx) = Port::configure(&eal, id, &exception, &tap_pool).unwrap();
    println!("{}: {:?} {:?}", tap.name(), tap.capabilities(), tap.link());
    assert_eq!(tap.mac(), port.mac(), "the exception device has the port's address");
    run(&format!("ip -n {} addr add 192.0.2.1/24 dev exc0", spaces.node)).unwrap();
    run(&format!("ip -n {} link set exc0 up", spaces.node)).unwrap();

    let stop = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let (port_rx, port_tx, tap_rx, tap_tx) = (port_rx, port_tx, tap_rx, tap_tx);
        let (eal, stop) = (&eal, &stop);
        scope.spawn(move || {
            let _lcore = eal.register_thread().unwrap();
            let mut burst = Burst::new();
            while !stop.load(Ordering::Relaxed) {
                forward(&port_rx[0], &tap_tx[0], &mut burst);
                forward(&tap_rx[0], &port_tx[0], &mut burst);
            }
        });
        let answered = run(&format!("ip netns exec {} ping -c 3 -i 0.2 -W 2 192.0.2.1", spaces.peer));
        stop.store(true, Ordering::Relaxed);
        answered
    });
    let answered = answered.unwrap_or_else(|err| panic!("{err}"));
    assert!(answered.contains("3 received"), "{answered}");
    println!("{answered}\nport {:?}\ntap {:?}", port.stats(), tap.stats());
    assert!(port.stats().ipackets >= 3 && port.stats().opackets >= 3);

    // The TAP outlives the process' hold on it, with its address.
    tap.unplug();
    drop(port);
    let left = run(&format!("ip -n {} addr show dev exc0", spaces.node)).unwrap();
    assert!(left.contains("192.0.2.1/24"), "{left}");
    assert!(eal.ports().is_empty());
    // (AF_XDP's driver keeps what it had lent to the kernel.)
    assert_eq!(tap_pool.in_use(), 0);
}

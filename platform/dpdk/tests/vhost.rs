//! A vhost port and a virtio_user port, both ends of one socket: the link of the speed tests.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{fill, numbers, pool};
use dpdk::{Burst, Port, PortConfig};

#[test]
fn frames_pass_between_vhost_and_virtio_user() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("link.sock");
    let socket = socket.display();
    let eal = common::eal(&[&format!("net_vhost0,iface={socket}")]);
    let pool = pool(&eal, "link", 8191);
    let config = PortConfig { rx_desc: 256, tx_desc: 256, ..PortConfig::default() };
    // The vhost side makes the socket when it is configured.
    let vhost = eal.port_by_name("net_vhost0").unwrap();
    let (mut vhost, vhost_rx, vhost_tx) = Port::configure(&eal, vhost, &config, &pool).unwrap();
    assert!(!vhost.link().up, "nobody is connected");
    assert_eq!(vhost_rx[0].burst(&mut Burst::new()), 0);
    println!("vhost {:?} {:?}", vhost.capabilities(), vhost.add_mac([2, 0, 0, 0, 0, 9]));
    vhost.set_allmulticast(true).unwrap();

    let virtio = eal
        .plug(&format!("net_virtio_user0,path={socket},packed_vq=1,in_order=1,mrg_rxbuf=0,queue_size=256"))
        .unwrap();
    let (mut virtio, virtio_rx, virtio_tx) = Port::configure(&eal, virtio, &config, &pool).unwrap();
    let capabilities = virtio.capabilities();
    assert!(
        !capabilities.rx_udp_cksum && !capabilities.tx_udp_cksum,
        "checksums stay whole on a virtio link"
    );
    println!("virtio {:?} {:?}", virtio.capabilities(), virtio.add_mac([2, 0, 0, 0, 0, 9]));
    let start = Instant::now();
    while !(vhost.link().up && virtio.link().up) {
        assert!(start.elapsed() < Duration::from_secs(5), "the link does not come up");
        thread::sleep(Duration::from_millis(5));
    }

    let mut out = Burst::new();
    let mut back = Burst::new();
    for (tx, rx) in [(&vhost_tx[0], &virtio_rx[0]), (&virtio_tx[0], &vhost_rx[0])] {
        fill(&mut out, &pool, 100, 32);
        assert_eq!(tx.burst(&mut out), 32);
        let start = Instant::now();
        while back.len() < 32 && start.elapsed() < Duration::from_secs(5) {
            rx.burst(&mut back);
        }
        assert_eq!(numbers(&back), (100..132).collect::<Vec<_>>());
        back.clear();
    }
    virtio.unplug();
    drop((virtio_rx, virtio_tx));
    assert_eq!(eal.port_by_name("net_virtio_user0"), None);
}

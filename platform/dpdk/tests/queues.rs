//! Ports and queues over net_ring (what is sent comes back) and net_null.

mod common;

use common::{fill, numbers, pool};
use dpdk::{Burst, MacFilter, Port, PortConfig, PortError};

/// net_ring's ring has 1024 places, of which one stays free.
const RING: usize = 1023;

#[test]
fn ports_queues_and_what_a_device_refuses() {
    let eal = common::eal(&["net_ring0", "net_null0"]);
    let pool = pool(&eal, "queues", 4095);
    assert_eq!(eal.ports().len(), 2);
    let ring = eal.port_by_name("net_ring0").expect("EAL probed the device");
    assert!(eal.port_by_name("net_ring1").is_none());

    // More queues than there are: the message has both numbers.
    let many = PortConfig { rx_queues: 5000, ..PortConfig::default() };
    let err = Port::configure(&eal, ring, &many, &pool).err().expect("5000 queues do not exist").to_string();
    assert!(err.contains("net_ring0") && err.contains("5000") && err.contains("lower `queues`"), "{err}");
    let (mut port, rx, tx) =
        Port::configure(&eal, ring, &PortConfig::default(), &pool).expect("it configures");
    let (rx, tx) = (&rx[0], &tx[0]);
    assert_eq!((port.name(), port.driver(), port.mtu()), ("net_ring0", "net_ring", 1500));
    assert!(port.link().up);
    assert!(matches!(
        Port::configure(&eal, ring, &PortConfig::default(), &pool),
        Err(PortError::InUse { port }) if port == "net_ring0"
    ));

    // A device that takes a part: the rest stays, in order.
    let mut burst = Burst::new();
    let mut sent = 0;
    while sent + 64 <= RING {
        fill(&mut burst, &pool, sent as u32, 64);
        assert_eq!(tx.burst(&mut burst), 64);
        assert!(burst.is_empty());
        sent += 64;
    }
    fill(&mut burst, &pool, sent as u32, 64);
    assert_eq!(tx.burst(&mut burst), RING - sent);
    assert_eq!(numbers(&burst), (RING as u32..sent as u32 + 64).collect::<Vec<_>>());
    assert_eq!(tx.burst(&mut burst), 0, "a full ring takes none");
    assert_eq!(burst.len(), sent + 64 - RING);
    burst.clear();

    // And back, whole, in order, never more than asked or than there is room.
    let mut back = Vec::new();
    assert_eq!(rx.burst_at_most(&mut burst, 5), 5);
    assert_eq!(rx.burst(&mut burst), 59);
    assert_eq!(rx.burst(&mut burst), 0, "a full burst takes none");
    while !burst.is_empty() {
        back.extend(numbers(&burst));
        burst.clear();
        rx.burst(&mut burst);
    }
    assert_eq!(back, (0..RING as u32).collect::<Vec<_>>());
    assert_eq!(pool.in_use(), 0);
    assert_eq!((port.stats().ipackets, port.stats().opackets), (RING as u64, RING as u64));
    assert!(port.xstats().iter().any(|(name, value)| name == "rx_good_packets" && *value == RING as u64));
    port.reset_stats();
    assert_eq!(port.stats().ipackets, 0);

    // What the port cannot carry is dropped and counted; what stands around it goes out.
    fill(&mut burst, &pool, 0, 3);
    burst.as_mut_slice()[1].set_len(1500 + 22 + 1).unwrap();
    assert!(burst.push(pool.alloc().unwrap()).is_ok(), "an empty frame");
    assert_eq!((tx.burst(&mut burst), tx.refused()), (2, 2));
    rx.burst(&mut burst);
    assert_eq!(numbers(&burst), [0, 2]);
    burst.clear();

    // A device that cannot filter by a second address says so, as long as it has to receive everything.
    let null = eal.port_by_name("net_null0").unwrap();
    let long = PortConfig { mtu: 9000, ..PortConfig::default() };
    let err = Port::configure(&eal, null, &long, &pool).err().expect("9000 bytes do not fit").to_string();
    assert!(err.contains("9000") && err.contains("2026"), "{err}");
    let (mut null, null_rx, null_tx) = Port::configure(&eal, null, &PortConfig::default(), &pool).unwrap();
    let (first, second) = ([0, 0, 0x5e, 0, 1, 1], [0, 0, 0x5e, 0, 1, 2]);
    assert_eq!(null.add_mac(first).unwrap(), MacFilter::PromiscForced);
    assert_eq!(null.add_mac(second).unwrap(), MacFilter::PromiscForced);
    null.remove_mac(first).unwrap();
    assert!(null.promisc_forced());
    null.remove_mac(second).unwrap();
    assert!(!null.promisc_forced());
    null.set_promiscuous(true).unwrap();
    null.add_mac(first).unwrap();
    assert!(!null.promisc_forced(), "what was asked for is not forced");
    null.set_allmulticast(true).unwrap();
    assert_eq!(null_rx[0].burst(&mut burst), 64);
    assert_eq!(null_tx[0].burst(&mut burst), 64);
    assert_eq!(pool.in_use(), 0);

    // A device that comes and goes while running; a queue keeps it.
    let id = eal.plug("net_null7,size=128").expect("it is added");
    let (plugged, plugged_rx, _tx) = Port::configure(&eal, id, &PortConfig::default(), &pool).unwrap();
    plugged.unplug();
    assert_eq!(plugged_rx[0].burst(&mut burst), 64);
    assert_eq!(burst.as_slice()[0].len(), 128);
    burst.clear();
    assert!(eal.port_by_name("net_null7").is_some());
    drop((plugged_rx, _tx));
    assert!(eal.port_by_name("net_null7").is_none());
    let again = eal.plug("net_null7").expect("the name is free again");
    assert!(Port::configure(&eal, again, &PortConfig::default(), &pool).is_ok());
    let err = eal.plug("net_nosuchdriver0").expect_err("no such driver").to_string();
    assert!(err.contains("net_nosuchdriver0"), "{err}");
    assert_eq!(pool.in_use(), 0);
}

//! Bonds of software devices: who carries, what each mode calls link, and that nothing is left when they close.

mod common;

use common::{eal, fill, pool};
use dpdk::{Bond, BondMode, Burst, MemberState, Port, PortConfig, PortError};

fn wait(mut until: impl FnMut() -> bool) -> bool {
    (0..5_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        until()
    })
}

#[test]
fn a_bond_is_a_port_whose_members_come_and_go_with_it() {
    let eal = eal(&["net_null0,no-rx=1", "net_null1,no-rx=1", "net_null2", "net_null3"]);
    let ids: Vec<_> = (0..4).map(|number| eal.port_by_name(&format!("net_null{number}")).unwrap()).collect();
    let pool = pool(&eal, "frames", 4095);
    let config = PortConfig { rx_desc: 64, tx_desc: 64, ..PortConfig::default() };

    let lacp = Bond::create(&eal, "net_bonding0", BondMode::Lacp, &ids[..2], 0).unwrap();
    let twice = Bond::create(&eal, "net_bonding1", BondMode::Balance, &[ids[2], ids[0]], 0);
    assert!(matches!(twice, Err(PortError::InUse { port }) if port == "net_null0"));
    let alone = Port::configure(&eal, ids[1], &config, &pool);
    assert!(matches!(alone, Err(PortError::InUse { port }) if port == "net_null1"));
    assert!(eal.port_by_name("net_bonding1").is_none(), "what failed is closed");

    let (port, rx, tx) = lacp.configure(&config, &pool).unwrap();
    assert_eq!((port.driver(), port.name()), ("net_bonding", "net_bonding0"));
    let mut burst = Burst::new();
    // Nobody answers its LACPDUs.
    let states = |port: &Port| port.members().iter().map(|member| member.state).collect::<Vec<_>>();
    assert!(wait(|| {
        rx[0].burst(&mut burst);
        tx[0].keep_alive();
        states(&port) == [MemberState::Negotiating; 2]
    }));
    assert!(!port.link().up && port.members().iter().all(|member| member.link.up));
    assert!(wait(|| {
        tx[0].keep_alive();
        port.members().iter().all(|member| member.opackets > 0)
    }));
    fill(&mut burst, &pool, 0, 4);
    assert_eq!(tx[0].burst(&mut burst), 0, "nothing leaves before the switch agrees");
    burst.clear();
    drop((port, rx, tx));
    assert!(eal.port_by_name("net_bonding0").is_none() && eal.port_by_name("net_null0").is_none());

    // net_null receives without end.
    let standby = Bond::create(&eal, "net_bonding2", BondMode::ActiveBackup, &ids[2..3], 0).unwrap();
    let (port, rx, tx) = standby.configure(&config, &pool).unwrap();
    assert!(wait(|| states(&port) == [MemberState::Active] && port.link().up));
    assert_ne!(rx[0].burst(&mut burst), 0);
    assert_ne!(tx[0].burst(&mut burst), 0);
    burst.clear();
    assert!(port.members()[0].opackets > 0 && port.stats().opackets == port.members()[0].opackets);
    drop((port, rx, tx));

    let balance = Bond::create(&eal, "net_bonding3", BondMode::Balance, &ids[3..], 0).unwrap();
    let two = PortConfig { rx_queues: 2, tx_queues: 2, ..config.clone() };
    let (port, rx, tx) = balance.configure(&two, &pool).unwrap();
    assert!(port.capabilities().rss && (rx.len(), tx.len()) == (2, 2));
    assert!(wait(|| states(&port) == [MemberState::Active] && rx[1].burst(&mut burst) > 0));
    burst.clear();
    drop((port, rx, tx));
    let unopened = Bond::create(&eal, "net_bonding4", BondMode::Balance, &[], 0).unwrap();
    drop(unopened);
    assert!(eal.ports().is_empty(), "{:?}", eal.ports());
}

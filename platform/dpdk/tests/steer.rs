//! A driver without flow rules says so: the port is not shared in silence.

mod common;

use std::collections::BTreeMap;

use dpdk::steer::{Rule, Rules, Steering};
use dpdk::{Mempool, Port, PortConfig};

#[test]
fn a_driver_without_flow_rules_is_refused_by_name() {
    let eal = common::eal(&["net_null0", "net_null1"]);
    let pool = Mempool::new(&eal, "flows", 8191, 0, 2176, -1).unwrap();
    let id = eal.port_by_name("net_null0").unwrap();
    let isolated = PortConfig { isolated: true, ..PortConfig::default() };
    let error = Port::configure(&eal, id, &isolated, &pool).err().unwrap().to_string();
    assert!(
        error.contains("net_null0") && error.contains("isolating it") && error.contains("owned"),
        "{error}"
    );

    let id = eal.port_by_name("net_null1").unwrap();
    let (port, _rx, _tx) = Port::configure(&eal, id, &PortConfig::default(), &pool).unwrap();
    let mut steering = Steering::flows(&port, 1);
    for (family, rule) in [(4, Rule::Steer), (6, Rule::Steer), (4, Rule::Fence)] {
        let rules = Rules { addresses: [(([1; 16], family), rule)].into(), macs: BTreeMap::new() };
        // Each time anew: what was refused is not taken for set.
        for _ in 0..2 {
            let error = steering.set(&rules).unwrap_err().to_string();
            assert!(error.contains("does not take the flow rule") && error.contains("owned"), "{error}");
        }
    }
    assert_eq!(steering.set(&Rules::default()).ok(), Some(false));
}

//! What the programs of a port that the kernel keeps are to do with each virtual address: from the snapshot and its
//! leases, as [`crate::View`] derives what a worker does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use dpdk::steer::{MacRule, Rule, Rules};
use platform::snapshot::{ANY_PORT, Copy, Reader, VIP_OWN, VIP_REDIRECT_INIT, Vip, VipState, addr16};

/// What the programs of port number `index` are to do with the virtual addresses and MACs on it.
pub fn rules(copy: &Copy, reader: &Reader, index: usize, now_ns: u64) -> Rules {
    let mut rules = Rules::default();
    let here = |vip: &&Vip| vip.port == ANY_PORT || usize::from(vip.port) == index;
    let mut in_force = BTreeSet::new();
    for vip in copy.body.vips().iter().filter(here) {
        let lease = reader.lease(usize::from(vip.group));
        let ours = copy.instance == reader.instance();
        let rule = match vip.state() {
            VipState::Inactive => {
                // Nothing may leave in the name of a group that is given up; what comes in is the kernel's to judge.
                rules.macs.entry(vip.mac).or_insert(MacRule::GivenUp);
                continue;
            }
            VipState::Active if ours && !lease.runs(now_ns) && lease.peer_known => Rule::Fence,
            _ if vip.flags & VIP_REDIRECT_INIT != 0 => Rule::Steer,
            _ => {
                in_force.insert(vip.mac);
                continue;
            }
        };
        rules.addresses.insert((vip.addr, vip.family), rule);
        if rule == Rule::Fence && vip.flags & VIP_OWN == 0 {
            rules.macs.insert(vip.mac, MacRule::Fence);
        } else {
            in_force.insert(vip.mac);
        }
    }
    // A MAC that a group in force shares, and the port's own, which an address without a virtual one has.
    rules.macs.retain(|mac, _| !in_force.contains(mac) && *mac != [0; 6]);
    rules
}

/// The rules of static mode: every address, for ever.
pub fn static_rules(addresses: &[IpAddr]) -> Rules {
    let rule = |address: &IpAddr| ((addr16(*address), if address.is_ipv4() { 4 } else { 6 }), Rule::Steer);
    Rules { addresses: addresses.iter().map(rule).collect(), ..Rules::default() }
}

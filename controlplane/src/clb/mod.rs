//! Cluster load balancing: which gateways a client may be sent to, and with which weight.
//!
//! In this version the members are those that the configuration names with `static-gateway`: they report no load, and
//! each is chosen in proportion to its priority. Members that report their load join this list when the load
//! feed is built; nothing outside this module knows where a member comes from.

pub mod choice;
pub mod load;
pub mod member;
pub mod pending;
pub mod table;

use crate::config::Config;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How a member came into the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Origin {
    /// `static-gateway`
    Static,
}

/// One gateway of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where clients are sent
    pub address: IpAddr,
    /// Share of the clients, relative to the others'; 0: not chosen
    pub weight: u32,
    /// 1-100, as configured
    pub priority: u8,
    /// May be chosen now
    pub usable: bool,
    /// It is this node
    pub is_self: bool,
    /// Where it comes from
    pub origin: Origin,
}

/// The members of the configured cluster, in the order of their addresses; none of a cluster that is not configured.
#[must_use]
pub fn members(config: &Config, virtual_addresses: &BTreeSet<IpAddr>) -> Vec<Member> {
    let own: BTreeSet<IpAddr> = config.own_addresses().collect();
    let gateways = config.cluster.iter().flat_map(|cluster| &cluster.static_gateways);
    gateways
        .map(|(address, priority)| Member {
            address: *address,
            weight: u32::from(*priority),
            priority: *priority,
            // A client sent to a virtual address would come back here.
            usable: !virtual_addresses.contains(address),
            is_self: own.contains(address),
            origin: Origin::Static,
        })
        .collect()
}

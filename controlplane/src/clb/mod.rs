//! Cluster load balancing: which gateways a client may be sent to, and with which weight.
//!
//! [`load`] makes percentages of what a node measures, [`table`] holds what the members report, [`pending`] what they
//! were sent since, [`choice`] who of them gets how much and [`surge`] when their differences count for nothing; [`node`]
//! is one node's part in it all, under any clock. What the nodes say to each other is in [`wire`], how it is kept from
//! strangers in [`channel`], and [`feed`] holds the connections. The daemon (`daemon::clb`) carries out what the nodes ask for.

pub mod channel;
pub mod choice;
pub mod feed;
pub mod load;
pub mod member;
pub mod node;
pub mod orders;
pub mod pending;
pub mod surge;
pub mod table;
pub mod wire;

use std::net::IpAddr;

/// How a member came into the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Origin {
    /// `static-gateway`
    Static,
    /// It reports its load, or it is this node
    Reported,
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

//! Cluster load balancing: which gateways a client may be sent to, and with which weight.
//!
//! [`load`] turns what a node measures into percentages, [`table`] holds the members' reports, [`pending`] the clients sent
//! to them since, [`choice`] picks who gets how much and [`surge`] says when differences of load count for nothing; [`orders`]
//! holds what the operator ordered, and [`node`] is one node's part in it all, under any clock. [`wire`] is what nodes send
//! each other, [`channel`] keeps it from strangers, and [`feed`] holds the connections. The daemon (`daemon::clb`) carries out
//! the nodes' actions.
//!
//! Without a cluster key the feed is open to the link: any host may report as a member and be sent clients (unless `member
//! ADDRESS` names who may), and whoever takes the virtual address may answer there. What such peers say is bounded: they give
//! no orders and no rules, take the place of no living member, and a member's report concerns the address alone that it comes
//! from.

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

/// Origin of a member.
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
    /// Address that clients are sent to
    pub address: IpAddr,
    /// Share of the clients, relative to the others'; 0: not chosen
    pub weight: u32,
    /// 1-100, as configured
    pub priority: u8,
    /// May be chosen now
    pub usable: bool,
    /// It is this node
    pub is_self: bool,
    /// Origin
    pub origin: Origin,
}

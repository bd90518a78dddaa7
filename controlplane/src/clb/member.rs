//! Report of a cluster's member.

pub use crate::types::Percent;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The four attributes of a member's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Half-open IKE SAs of the limit `max-in-negotiation-sa`
    pub in_neg: Percent,
    /// IKE and IPsec SAs of `max-session`
    pub crypto: Percent,
    /// Busy share of all cores over the last update interval
    pub cpu: Percent,
    /// Memory that is not available
    pub mem: Percent,
}

/// Health of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Its load source answers
    #[default]
    Healthy,
    /// Its load source is dead or too slow
    Unhealthy,
}

/// Report of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When the member's usherd started, in its own count, and how many reports came before this one:
    /// of two reports of a member the greater pair is the later one
    pub version: (u64, u64),
    /// Its load
    pub load: Load,
    /// IKE SAs
    pub ike: u32,
    /// IPsec SAs
    pub child: u32,
    /// `secondary max-session`, IKE and IPsec SAs
    pub max_session: u32,
    /// `secondary priority`, 1-100
    pub priority: u8,
    /// `secondary load-normalization`, percentage points, 1-100
    pub load_normalization: u8,
    /// Health
    pub health: Health,
    /// It is being taken out of service
    pub draining: bool,
    /// Sessions that wait to be moved away, while it is draining
    pub to_move: u32,
    /// `fqdn`, at most 255 characters; empty for none
    pub fqdn: String,
    /// The node whose address this is one of: the lowest of its addresses; `None`: it has this one alone
    #[serde(default)]
    pub node: Option<IpAddr>,
}

impl Report {
    /// The node that reports from `address`.
    #[must_use]
    pub fn node(&self, address: IpAddr) -> IpAddr {
        self.node.unwrap_or(address)
    }
}

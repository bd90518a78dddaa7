//! What the nodes of a cluster say to each other, as types; [`super::wire`] has the bytes.

use super::load::Rules;
use super::member::Report;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What the operator has ordered for the whole cluster. Every member keeps it, over a takeover too: a new primary
/// goes on with what it heard last. Of two orders the greater is in force: `epoch` grows with each change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Order {
    /// Grows with each change
    pub epoch: u64,
    /// The cluster is shut down
    pub shutdown: bool,
    /// Members that are taken out of service
    pub draining: BTreeSet<IpAddr>,
}

/// The primary's answer to a hello or an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The count of the report that it answers; 0 for a hello
    pub count: u64,
    /// The orders in force
    pub order: Order,
    /// How composite loads are made and judged
    pub rules: Rules,
    /// Every member, the primary among them, with the age of its report in milliseconds
    pub members: Vec<(IpAddr, Report, u32)>,
}

/// A message between a member and the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// From a member, on connecting and at each hello interval: it is alive
    Hello {
        /// The orders that it knows, so that a primary that starts cold learns them
        order: Order,
    },
    /// From a member, at each update interval
    Update(Report),
    /// From the primary
    Ack(Ack),
    /// From either side, before it closes the connection on purpose
    Bye {
        /// Why, in a few words; at most 255 characters
        reason: String,
    },
}

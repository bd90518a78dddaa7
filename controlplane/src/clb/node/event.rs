//! Input and output of a [`Node`](super::Node).

use super::Settings;
use crate::clb::member::Report;
use crate::clb::orders::{OrderError, Orders};
use crate::clb::wire::Message;
use crate::load::Sample;
use std::net::IpAddr;

/// Role of this node in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Neither: the group has no active router yet, or the cluster is down here
    #[default]
    None,
    /// The active router of the group
    Primary,
    /// Another router of the group; the active one, as HSRP knows it
    Secondary(Option<IpAddr>),
}

/// Event of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another configuration
    Configure(Settings),
    /// HSRP has decided
    Role(Role),
    /// The load source has measured, or reports why it cannot
    Local(Result<Sample, String>),
    /// A message from a member
    Member {
        /// The address that it connects from
        peer: IpAddr,
        /// It holds the cluster key
        authenticated: bool,
        /// The message
        message: Message,
    },
    /// A member said goodbye. (A connection that breaks is no death: the member has holdtime to come back.)
    MemberLeft(IpAddr, String),
    /// The connection to the primary is open
    PrimaryUp,
    /// A message from the primary
    Primary {
        /// It holds the cluster key
        authenticated: bool,
        /// The message
        message: Message,
    },
    /// The connection to the primary has ended
    PrimaryDown,
    /// The number of clients that have been sent to a gateway so far
    Sent(IpAddr, u64),
    /// A gateway that reports nothing answers its probe, or does not
    Probe(IpAddr, bool),
    /// The operator shuts the cluster down, or brings it back
    Shutdown(bool),
    /// Drains that another group of this node has learned
    Drains(Orders),
    /// A report that a node sent from its address in another group: its load and health are the node's
    NodeReport(IpAddr, Report),
    /// A node has been silent for holdtime at its address in another group
    NodeSilent(IpAddr),
    /// The number of sessions of this node that still wait to be moved away
    ToMove(u32),
    /// usherd stops, or the group is taken out of the cluster
    Stop,
    /// Time has passed; at least ten times a second
    Tick,
}

/// Why this node leaves its part in the load feed. The text goes to the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Leave {
    /// usherd stops, or the cluster is taken out of its configuration
    #[error("it leaves the cluster")]
    Stop,
    /// `shutdown` of the cluster on a member
    #[error("the cluster is shut down there")]
    Shutdown,
    /// The group cannot run
    #[error("its HSRP group is down")]
    GroupDown,
    /// HSRP has no role for this node
    #[error("its HSRP group is in Init")]
    Init,
    /// A secondary became the primary
    #[error("it has become the primary")]
    Primary,
    /// Another router is the primary now
    #[error("another router has become active")]
    OtherActive,
    /// `no secondary max-session`
    #[error("it reports no load any more")]
    NoFeed,
}

/// Action for the runner.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this to a member
    Send(IpAddr, Message),
    /// Send this to the primary
    SendPrimary(Message),
    /// Accept members' connections
    Listen,
    /// Say goodbye to the members, and accept no more connections
    StopListening(Leave),
    /// Hold a connection to the primary
    Connect,
    /// Say goodbye to the primary, and hold no connection any more
    Disconnect(Leave),
    /// Give up the connection to the primary for a new one, at once
    Reconnect,
    /// The orders have changed: they outlive a restart, and this node's other groups learn them
    Keep(Orders),
    /// A member has died: what this node's other groups know of the same node is in doubt
    NodeSilent(IpAddr),
    /// This node is to move its sessions away, or to stop doing so
    Move(bool),
    /// Something for the log
    Log(Log),
}

/// Log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the texts say it
pub enum Log {
    Role(Role),
    MemberUp(IpAddr),
    MemberDead(IpAddr),
    MemberLeft(IpAddr, String),
    Full(IpAddr),
    Unhealthy(String),
    Healthy,
    Shutdown(bool),
    Draining(IpAddr, bool),
    OrderFailed(OrderError),
    OrdersRefused(IpAddr, OrderError),
    OrdersUnauthenticated(IpAddr),
    OldVersion(IpAddr),
    OtherPrimary { answers: IpAddr, active: IpAddr },
    NobodyLeft,
    SomebodyAgain,
    Surge(bool),
}

impl Log {
    /// Its mnemonic, whose digit is the severity as on IOS (0-3 errors, 4 warnings), and its text.
    #[must_use]
    pub fn line(&self) -> (&'static str, String) {
        match self {
            Log::Role(Role::Primary) => ("CLB-5-ROLE", "this node is the primary".to_owned()),
            Log::Role(Role::Secondary(Some(active))) => {
                ("CLB-5-ROLE", format!("this node is a secondary, {active} is active"))
            }
            Log::Role(Role::Secondary(None)) => ("CLB-5-ROLE", "this node is a secondary, no router is active".to_owned()),
            Log::Role(Role::None) => ("CLB-5-ROLE", "this node has no role (HSRP state Init)".to_owned()),
            Log::MemberUp(address) => ("CLB-5-MEMBERUP", format!("member {address} is alive")),
            Log::MemberDead(address) => (
                "CLB-4-MEMBERDEAD",
                format!("member {address} has been silent for holdtime: no client is sent there"),
            ),
            Log::MemberLeft(address, reason) => {
                ("CLB-5-MEMBERLEFT", format!("member {address} leaves: {reason}: no client is sent there"))
            }
            Log::Full(address) => (
                "CLB-4-MAXNODES",
                format!("{address} is one more than `max-nodes` allows: raise it, or take a node out"),
            ),
            Log::Unhealthy(reason) => {
                ("CLB-4-UNHEALTHY", format!("this node takes no new clients, its load is not known: {reason}"))
            }
            Log::Healthy => ("CLB-5-HEALTHY", "this node's load source answers again".to_owned()),
            Log::Shutdown(true) => (
                "CLB-4-SHUTDOWN",
                "the cluster is shut down by its primary: `no shutdown` under `crypto ikev2 cluster` there brings it back"
                    .to_owned(),
            ),
            Log::Shutdown(false) => ("CLB-5-UP", "the cluster is up again".to_owned()),
            Log::Draining(node, true) => ("CLB-5-DRAIN", format!("{node} is taken out of service")),
            Log::Draining(node, false) => ("CLB-5-DRAIN", format!("{node} is back in service")),
            Log::OrderFailed(error) => ("CLB-3-ORDER", format!("the order has no effect: {error}")),
            Log::OrdersRefused(peer, error) => {
                ("CLB-3-ORDERS", format!("orders from {peer} are refused: {error}: check who that is"))
            }
            Log::OrdersUnauthenticated(peer) => (
                "CLB-4-ORDERS",
                format!(
                    "orders from {peer} are ignored: the load feed is unauthenticated: add `key STRING` under \
                     `crypto ikev2 cluster` on all nodes"
                ),
            ),
            Log::OldVersion(peer) => (
                "CLB-4-VERSION",
                format!("{peer} speaks version 1 of the load feed: its orders are not taken: upgrade it"),
            ),
            Log::OtherPrimary { answers, active } => (
                "CLB-4-PRIMARY",
                format!(
                    "the load feed at the virtual address is answered by {answers}, but HSRP's active router is {active}: \
                     check who {answers} is"
                ),
            ),
            Log::NobodyLeft => (
                "CLB-3-NOGATEWAY",
                "every member is overloaded, unhealthy, draining or dead: requests go to the local IKE daemon".to_owned(),
            ),
            Log::Surge(true) => (
                "CLB-5-SURGE",
                "more clients come at once than `load-normalization` of the least loaded: every usable member takes them"
                    .to_owned(),
            ),
            Log::Surge(false) => {
                ("CLB-5-SURGE", "the surge of clients is over: the least loaded members take them".to_owned())
            }
            Log::SomebodyAgain => ("CLB-5-GATEWAY", "there is a member again that takes clients".to_owned()),
        }
    }
}

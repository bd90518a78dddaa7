//! The cluster as `show` has it, in text and in JSON.

use crate::types::Percent;
use serde::{Serialize, Serializer};
use std::net::IpAddr;

/// Role of this node in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterRole {
    /// The active HSRP router: it keeps the list and sends the clients on
    Primary,
    /// Reports its load to the primary
    Secondary,
    /// Neither: the cluster is down here, or HSRP has not settled
    None,
}

impl ClusterRole {
    /// As `show` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClusterRole::Primary => "CLB Primary",
            ClusterRole::Secondary => "CLB Secondary",
            ClusterRole::None => "None",
        }
    }
}

/// The cluster as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// Role of this node
    pub role: ClusterRole,
    /// `Up` or `Down`
    pub status: &'static str,
    /// Why it is down, each with the line that is missing
    pub reasons: Vec<String>,
    /// Living nodes other than the primary, each counted once whatever its addresses
    pub secondaries: usize,
    /// Primary: this node, or on a secondary whoever acknowledged last
    pub primary: Option<IpAddr>,
    /// Milliseconds since the primary acknowledged; 0 on the primary. What is older than `hold_time_ms` is not relied on.
    /// `None`: this node has no table
    pub table_age_ms: Option<u64>,
    /// The virtual addresses
    pub cluster_ip: Vec<IpAddr>,
    /// The groups of the cluster, those that this node is primary of first
    pub groups: Vec<GroupRoleView>,
    /// Milliseconds
    pub hold_time_ms: u32,
    /// Percent
    pub overload_limit: u8,
    /// Milliseconds between hellos, as a secondary
    pub hello_interval_ms: u32,
    /// Milliseconds between updates, as a secondary
    pub update_interval_ms: u32,
    /// Requests are redirected in IKE_SA_INIT
    pub redirect_init: bool,
    /// The load feed between the nodes is authenticated and encrypted; `None`: this node has no feed
    pub authenticated: Option<bool>,
    /// The last peer of the load feed that was refused, or that refused this node
    pub last_refusal: Option<RefusalView>,
    /// The gateways: all that the primary knows, of a secondary those of its last acknowledgement
    pub gateways: Vec<GatewayView>,
    /// For how many milliseconds more clients have come than the least loaded gateways have room for, so that every usable
    /// one takes them; `None`: no such surge
    pub surge_ms: Option<u64>,
    /// Members whose sessions are being moved away
    pub drains: Vec<DrainView>,
    /// Events since the last `clear counters`
    pub counters: Vec<CounterView>,
    /// Requests that were not redirected, by reason
    pub not_redirected: Vec<CounterView>,
    /// Warnings: it runs, yet perhaps not as meant
    pub notes: Vec<String>,
}

/// A connection of the load feed that failed.
#[derive(Clone, Debug, Serialize)]
pub struct RefusalView {
    /// The peer
    pub peer: IpAddr,
    /// A name of the reason that stays the same between versions
    pub kind: &'static str,
    /// Why
    pub reason: String,
    /// Milliseconds since
    pub age_ms: u64,
}

/// Role of this node in one HSRP group of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRoleView {
    /// `standby G name`
    pub name: String,
    /// Its virtual addresses
    pub addresses: Vec<IpAddr>,
    /// Role of this node there
    pub role: ClusterRole,
}

/// A number that only grows.
#[derive(Clone, Debug, Serialize)]
pub struct CounterView {
    /// Name
    pub name: String,
    /// Number
    pub total: u64,
}

/// Role of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayRole {
    /// The primary itself
    Primary,
    /// A member that reports its load
    Second,
    /// `static-gateway`: it reports no load
    Static,
}

impl GatewayRole {
    pub(super) fn name(self) -> &'static str {
        match self {
            GatewayRole::Primary => "Primary",
            GatewayRole::Second => "Second",
            GatewayRole::Static => "Static",
        }
    }
}

/// Mark before a gateway in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Mark {
    /// The least loaded of all
    #[serde(rename = "*")]
    Least,
    /// Its load has reached the limit
    #[serde(rename = "-")]
    Overloaded,
    /// Not chosen for another reason: dead, draining, unhealthy, out of reach
    #[serde(rename = "!")]
    NotChosen,
}

/// A gateway of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayView {
    /// Address that clients are sent to
    pub address: IpAddr,
    /// The node that it is an address of: the lowest of its addresses
    pub node: IpAddr,
    /// Role
    pub role: GatewayRole,
    /// Heard within the hold time, or its probe answers
    pub alive: bool,
    /// Mark
    pub mark: Option<Mark>,
    /// Why no client is sent there, in a few words
    pub reason: Option<String>,
    /// Milliseconds since it was heard; of a secondary's own row, since its last acknowledgement. `None`: it is the
    /// primary itself, or reports nothing
    pub last_seen_ms: Option<u64>,
    /// 1-100
    pub priority: u8,
    /// Last report; `None`: none yet, or a static gateway
    pub load: Option<LoadView>,
    /// `fqdn`; empty for none
    pub fqdn: String,
    /// Clients may be sent there now; `None`: this node has no table that is fresh enough to know
    pub usable: Option<bool>,
    /// It is this node
    pub is_self: bool,
    /// Slots of 1024 that it holds of its family's first virtual address; `None`: only the primary knows
    pub slots: Option<usize>,
    /// Redirects to it since the data plane started
    pub redirects: u64,
}

/// A load report as it is shown.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LoadView {
    /// IKE SAs
    pub ike: u32,
    /// IPsec SAs
    pub child: u32,
    /// `max-session`, IKE and IPsec SAs; 0: not known
    pub max_session: u32,
    /// Half-open IKE SAs of their limit
    #[serde(serialize_with = "number")]
    pub in_neg: Percent,
    /// IKE and IPsec SAs of `max-session`
    #[serde(serialize_with = "number")]
    pub crypto: Percent,
    /// Busy processors
    #[serde(serialize_with = "number")]
    pub cpu: Percent,
    /// Used memory
    #[serde(serialize_with = "number")]
    pub mem: Percent,
    /// By the primary's weights
    #[serde(serialize_with = "number")]
    pub composite: Percent,
    /// Composite by the member's priority
    #[serde(serialize_with = "number")]
    pub prioritized: Percent,
}

/// A percentage as a JSON number: 26.6
fn number<S: Serializer>(percent: &Percent, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(f64::from(percent.as_hundredths()) / 100.0)
}

/// Progress of a drain.
#[derive(Clone, Debug, Serialize)]
pub struct DrainView {
    /// The node: the lowest of its addresses
    pub address: IpAddr,
    /// Its addresses in the cluster
    pub addresses: Vec<IpAddr>,
    /// Sessions that have gone elsewhere; `None`: only the member itself knows
    pub moved: Option<u64>,
    /// Sessions that still wait for their turn
    pub waiting: u64,
    /// Sessions whose client cannot be redirected: they stay; `None`: only the member itself knows
    pub staying: Option<u64>,
    /// Some of those that stay: client address and identity
    pub examples: Vec<String>,
    /// Why it does not go on, or not for all sessions; only the member itself knows
    pub problem: Option<String>,
}

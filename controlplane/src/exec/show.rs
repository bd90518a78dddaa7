//! `show ...`

use super::{Command, Row, row};

/// The views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// `show crypto ikev2 cluster`
    Cluster,
    /// `show crypto ikev2 cluster details`
    ClusterDetails,
    /// `show crypto ikev2 cluster stats`
    ClusterStats,
    /// `show dataplane`
    Dataplane,
    /// `show dataplane counters`: those that are not 0
    Counters,
    /// `show dataplane counters all`
    AllCounters,
    /// `show dataplane workers`
    Workers,
    /// `show dataplane stages`
    Stages,
    /// `show dataplane ports`
    Ports,
    /// `show redirect for ADDRESS SPI`: what such a request would get
    Redirect,
    /// `show running-config`
    RunningConfig,
    /// `show startup-config`
    StartupConfig,
    /// `show standby`
    Standby,
    /// `show standby brief`
    StandbyBrief,
    /// `show standby all`: with what was refused
    StandbyAll,
    /// `show standby internal`: how late the HSRP thread was
    StandbyInternal,
    /// `show tech-support`
    TechSupport,
    /// `show version`
    Version,
}

impl Show {
    /// Whether the shell takes it at `Device#` only.
    #[must_use]
    pub fn privileged(self) -> bool {
        matches!(self, Show::RunningConfig | Show::StartupConfig | Show::TechSupport)
    }
}

const fn view(syntax: &'static str, show: Show, help: &'static str) -> Row {
    row(syntax, Command::Show(show), help)
}

/// The table.
pub(super) const TABLE: &[Row] = &[
    view("show crypto ikev2 cluster", Show::Cluster, "the cluster and its gateways"),
    view("show crypto ikev2 cluster details", Show::ClusterDetails, "the parts of each gateway's load"),
    view("show crypto ikev2 cluster stats", Show::ClusterStats, "the parts of the loads, and counters"),
    view("show dataplane", Show::Dataplane, "the data plane and the snapshot in force"),
    view("show dataplane counters", Show::Counters, "frames by verdict, without zeros"),
    view("show dataplane counters all", Show::AllCounters, "frames by verdict"),
    view("show dataplane workers", Show::Workers, "the data plane's workers"),
    view("show dataplane stages", Show::Stages, "where the cycles of the packet path go"),
    view("show dataplane ports", Show::Ports, "the data plane's ports"),
    view(
        "show redirect for ADDRESS SPI [from FROM]",
        Show::Redirect,
        "the gateway that a client's request would get",
    ),
    view("show running-config", Show::RunningConfig, "the configuration in force, keys masked"),
    view("show startup-config", Show::StartupConfig, "the configuration file, keys masked"),
    view("show standby [GROUP|IFNAME [GROUP]]", Show::Standby, "the HSRP groups"),
    view(
        "show standby brief [GROUP|IFNAME [GROUP]]",
        Show::StandbyBrief,
        "the HSRP groups, one line per group",
    ),
    view("show standby internal", Show::StandbyInternal, "delays of the HSRP thread"),
    view(
        "show standby all [GROUP|IFNAME [GROUP]]",
        Show::StandbyAll,
        "the HSRP groups with leases and refused messages",
    ),
    view("show tech-support", Show::TechSupport, "everything that a fault report needs"),
    view("show version", Show::Version, "version and uptime"),
];

//! `show ...`

use super::command::{Command, Row, Show, row};

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

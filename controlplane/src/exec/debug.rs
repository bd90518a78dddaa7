//! `debug ...`

use super::command::{Command, Debug, Row, row};

const PACKETS: Debug = Debug { packets: true, events: false, errors: false };
pub(super) const EVENTS: Debug = Debug { packets: false, events: true, errors: false };
const ERRORS: Debug = Debug { packets: false, events: false, errors: true };
const EVERYTHING: Debug = Debug { packets: true, events: true, errors: true };

/// The table.
pub(super) const TABLE: &[Row] = &[
    row("debug standby", Command::Debug(EVERYTHING, true), "enable HSRP debugging"),
    row("debug standby packets", Command::Debug(PACKETS, true), "log each HSRP message"),
    row("debug standby events", Command::Debug(EVENTS, true), "log the events of HSRP groups"),
    row("debug standby errors", Command::Debug(ERRORS, true), "log each refused HSRP message"),
    row("no debug standby", Command::Debug(EVERYTHING, false), "disable HSRP debugging"),
    row("no debug standby packets", Command::Debug(PACKETS, false), "stop logging HSRP messages"),
    row("no debug standby events", Command::Debug(EVENTS, false), "stop logging events of HSRP groups"),
    row("no debug standby errors", Command::Debug(ERRORS, false), "stop logging refused HSRP messages"),
    row("debug crypto ikev2 cluster", Command::DebugCluster(true), "enable cluster debugging"),
    row("no debug crypto ikev2 cluster", Command::DebugCluster(false), "disable cluster debugging"),
];

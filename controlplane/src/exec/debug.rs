//! `debug ...`

use super::{Command, Row, row};

/// HSRP debugging, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debug {
    /// Each message in and out
    pub packets: bool,
    /// Each event of a group that has an effect
    pub events: bool,
    /// Each message that was refused
    pub errors: bool,
}

impl Debug {
    /// Switches the parts of `which` on or off.
    pub fn switch(&mut self, which: Debug, on: bool) {
        for (part, chosen) in [
            (&mut self.packets, which.packets),
            (&mut self.events, which.events),
            (&mut self.errors, which.errors),
        ] {
            *part = if chosen { on } else { *part };
        }
    }
}

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

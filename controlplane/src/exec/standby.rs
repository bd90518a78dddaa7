//! Orders to HSRP groups: `standby ...`

use super::command::{Command, Row, row};

/// The table.
pub(super) const TABLE: &[Row] =
    &[row("standby [IFNAME] GROUP failover", Command::Failover, "hand the role over to the standby router")];

//! `clear ...`

use super::command::{Command, Row, row};

/// The table.
pub(super) const TABLE: &[Row] = &[
    row(
        "clear counters",
        Command::ClearCounters,
        "count the data plane's frames and the cluster's events from 0",
    ),
    row(
        "clear crypto ikev2 cluster member {ADDRESS|dead}",
        Command::ClearMember,
        "remove a member, or all dead ones, from the table; a living one returns with its next report",
    ),
];

//! Orders to the cluster: `cluster ...`

use super::command::{Command, Row, row};

/// The table.
pub(super) const TABLE: &[Row] = &[
    row(
        "cluster drain [ADDRESS]",
        Command::Drain(true),
        "take a member, else this node, out of service and move its sessions away",
    ),
    row("no cluster drain [ADDRESS]", Command::Drain(false), "take a drained member, else this node, back"),
];

//! Commands that load, check and keep configurations.

use super::command::{Command, Local, Row, row};

/// The table.
pub(super) const TABLE: &[Row] = &[
    row("write [memory]", Command::Write, "write the running configuration to the file"),
    row("copy running-config startup-config", Command::Write, "write the running configuration to the file"),
    row(
        "configure terminal",
        Command::Local(Local::ConfigureTerminal),
        "change the configuration line by line",
    ),
    row(
        "configure replace FILE [force]",
        Command::Local(Local::ConfigureReplace),
        "replace the running configuration with a file",
    ),
    row("check FILE", Command::Local(Local::Check), "errors and warnings of a configuration file"),
];

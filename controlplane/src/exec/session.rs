//! Commands about the session itself, which the shell carries out.

use super::command::{Command, Local, Row, row};

/// The table.
pub(super) const TABLE: &[Row] = &[
    row("show history", Command::Local(Local::History), "the commands of this session"),
    row("enable", Command::Local(Local::Enable), "enter privileged mode"),
    row("disable", Command::Local(Local::Disable), "leave privileged mode"),
    row("terminal length LENGTH", Command::Local(Local::TerminalLength), "lines of a page"),
    row("top", Command::Local(Local::Top), "watch the cluster live"),
    row("exit", Command::Local(Local::Exit), "leave the shell"),
    row("logout", Command::Local(Local::Exit), "leave the shell"),
    row("quit", Command::Local(Local::Exit), "leave the shell"),
];

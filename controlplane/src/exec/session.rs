//! Commands about the session itself, which the shell carries out.

use super::{Command, Row, row};

/// Commands that the shell carries out itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the command of its name
pub enum Local {
    Check,
    ConfigureReplace,
    ConfigureTerminal,
    Disable,
    Enable,
    Exit,
    History,
    TerminalLength,
    Top,
}

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

//! One command of the configuration: a row of the tables.

use crate::config::builder::{Builder, Fault};
use crate::config::mode::Mode;
use crate::grammar::Matched;

/// State of a command's implementation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) enum Effect {
    Now,
    /// Parsed, kept and shown; the text says what is missing
    Later(&'static str),
    /// A slip that operators and manuals make: understood, and the command warns itself
    Slip,
}

/// One row of the table.
pub(in crate::config) struct Command {
    pub mode: Mode,
    pub syntax: &'static str,
    /// The `no` form without its first word; empty when there is none
    pub no: &'static str,
    pub effect: Effect,
    /// Effect, one sentence without its full stop
    pub help: &'static str,
    /// It belongs to a group of HSRP: its `no` form does nothing where the group does not exist
    pub of_group: bool,
    pub apply: fn(&mut Builder, &Matched, bool) -> Result<(), Fault>,
}

pub(super) const fn row(
    mode: Mode,
    syntax: &'static str,
    no: &'static str,
    effect: Effect,
    help: &'static str,
    apply: fn(&mut Builder, &Matched, bool) -> Result<(), Fault>,
) -> Command {
    Command { mode, syntax, no, effect, help, of_group: false, apply }
}

impl Command {
    /// The command, belonging to the group that its line names.
    pub(super) const fn of_group(self) -> Command {
        Command { of_group: true, ..self }
    }

    /// Returns whether a manual has it: neither a slip nor a bare `no` form.
    pub(in crate::config) fn is_documented(&self) -> bool {
        self.effect != Effect::Slip && !self.syntax.is_empty()
    }
}

//! The configuration commands: these tables alone define what is understood, where, and what it does. One file per subject.

mod cluster;
mod crypto;
mod interface;
mod key_chain;
mod params;
mod session;
mod standby;

use super::parse::{Builder, Fault, Mode};
use crate::grammar::Matched;
use crate::types::{Prefix, Secret};
use std::net::IpAddr;
use std::sync::LazyLock;

pub(super) use params::{PARAMS, SECRETS};

/// Whether a command does what it says yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Now,
    /// Parsed, kept and shown; the text says what is missing
    Later(&'static str),
    /// A slip that operators and manuals make: understood, and the command warns itself
    Slip,
}

/// One row of the table.
pub(super) struct Command {
    pub mode: Mode,
    pub syntax: &'static str,
    /// The `no` form without its first word; empty when there is none
    pub no: &'static str,
    pub effect: Effect,
    /// Effect, one sentence without its full stop
    pub help: &'static str,
    pub apply: fn(&mut Builder, &Matched, bool) -> Result<(), Fault>,
}

const fn row(
    mode: Mode,
    syntax: &'static str,
    no: &'static str,
    effect: Effect,
    help: &'static str,
    apply: fn(&mut Builder, &Matched, bool) -> Result<(), Fault>,
) -> Command {
    Command { mode, syntax, no, effect, help, apply }
}

impl Command {
    /// Whether a manual has it: neither a slip nor a bare `no` form.
    pub(super) fn is_documented(&self) -> bool {
        self.effect != Effect::Slip && !self.syntax.is_empty()
    }
}

/// All commands, in the order in which the manual lists them.
pub(super) static COMMANDS: LazyLock<Vec<&'static Command>> = LazyLock::new(|| {
    let tables =
        [session::TABLE, interface::TABLE, standby::TABLE, key_chain::TABLE, cluster::TABLE, crypto::TABLE];
    tables.into_iter().flatten().collect()
});

fn set<T>(no: bool, value: Option<T>) -> Option<T> {
    if no { None } else { value }
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn number<T: TryFrom<u64>>(m: &Matched, name: &'static str) -> Result<T, Fault> {
    m.number(name).ok_or_else(|| Fault::at(name, "the number is missing".to_owned()))
}

fn address(m: &Matched, name: &'static str) -> Result<IpAddr, Fault> {
    m.address(name).ok_or_else(|| Fault::at(name, "the address is missing".to_owned()))
}

fn prefix6(m: &Matched) -> Result<Prefix, Fault> {
    let (address, length) =
        m.prefix("PREFIX6").ok_or_else(|| Fault::at("PREFIX6", "the address is missing".to_owned()))?;
    Ok(Prefix { address, length })
}

pub(super) fn group_number(m: &Matched) -> u16 {
    m.number("GROUP").unwrap_or(0)
}

fn secret(name: &'static str, key: String) -> Result<Secret, Fault> {
    if key.chars().all(|c| c == '*') {
        return Err(Fault::at(
            name,
            "this is a key as `show` masks it: give the key itself, or copy the line from the file"
                .to_owned(),
        ));
    }
    Ok(Secret(key))
}

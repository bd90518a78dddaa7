//! The commands of the prompt: their syntax, and what each asks for. One table per subject; the configuration's own
//! commands are in [`crate::config`].

mod clear;
mod cluster;
mod command;
mod configure;
mod debug;
mod session;
mod show;
mod standby;

use crate::grammar::{Grammar, Kind, Mismatch, Offer, Param};
use crate::types::IfName;
pub use command::{Command, Debug, Local, Row, Show};
use std::net::IpAddr;
use std::sync::LazyLock;

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The command
    pub command: Command,
    /// Of this interface only
    pub interface: Option<IfName>,
    /// Of this HSRP group only
    pub group: Option<u16>,
    /// Of this client or member only
    pub address: Option<IpAddr>,
    /// Redirected by this gateway
    pub from: Option<IpAddr>,
    /// The initiator's SPI
    pub spi: Option<u64>,
    /// Lines of the terminal
    pub length: Option<u16>,
    /// A file
    pub file: Option<String>,
    /// Without confirmation
    pub force: bool,
}

impl From<Command> for Invocation {
    fn from(command: Command) -> Invocation {
        let (interface, group, address, from, spi, length, file, force) = Default::default();
        Invocation { command, interface, group, address, from, spi, length, file, force }
    }
}

const PARAMS: &[Param] = &[
    Param { name: "ADDRESS", kind: Kind::Address, help: "address" },
    Param { name: "FILE", kind: Kind::Word(4096), help: "file" },
    Param { name: "FROM", kind: Kind::Address, help: "gateway that redirected the client" },
    Param { name: "GROUP", kind: Kind::Number(0, 4095), help: "group" },
    Param { name: "IFNAME", kind: Kind::Interface, help: "interface" },
    Param { name: "LENGTH", kind: Kind::Number(0, 512), help: "lines of a page, 0 for all at once" },
    Param { name: "SPI", kind: Kind::Hex, help: "initiator's SPI, up to 16 hexadecimal digits" },
];

/// All commands, in the order in which the manual lists them.
pub static COMMANDS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let tables = [
        show::TABLE,
        clear::TABLE,
        cluster::TABLE,
        standby::TABLE,
        debug::TABLE,
        configure::TABLE,
        session::TABLE,
    ];
    tables.into_iter().flatten().copied().collect()
});

fn grammar(privileged: bool) -> Grammar {
    let mut grammar = Grammar::default();
    for (index, row) in COMMANDS.iter().enumerate() {
        if privileged || !row.command.privileged() {
            grammar.add(index, row.syntax, PARAMS, false, row.help);
        }
    }
    grammar
}

static PRIVILEGED: LazyLock<Grammar> = LazyLock::new(|| grammar(true));
static UNPRIVILEGED: LazyLock<Grammar> = LazyLock::new(|| grammar(false));

/// Returns what may stand at the end of `line` at the prompt; `privileged`: at `Device#`.
#[must_use]
pub fn offers(line: &str, privileged: bool) -> Vec<Offer> {
    if privileged { PRIVILEGED.offers(line) } else { UNPRIVILEGED.offers(line) }
}

/// Reads a command, abbreviated as on IOS; `privileged`: at `Device#`.
///
/// # Errors
/// Place and reason of the error.
pub fn parse(line: &str, privileged: bool) -> Result<Invocation, Mismatch> {
    let matched = if privileged { PRIVILEGED.parse(line)? } else { UNPRIVILEGED.parse(line)? };
    Ok(Invocation {
        command: COMMANDS[matched.command].command,
        interface: matched.interface("IFNAME"),
        group: matched.number("GROUP"),
        address: matched.address("ADDRESS"),
        from: matched.address("FROM"),
        spi: matched.number("SPI"),
        length: matched.number("LENGTH"),
        file: matched.text("FILE"),
        force: matched.has("force"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Invocation {
        parse(line, true).unwrap_or_else(|mismatch| panic!("{line}: {mismatch:?}"))
    }

    #[test]
    fn commands_may_be_abbreviated() {
        assert_eq!(parsed("sh cry ik cl"), Command::Show(Show::Cluster).into());
        assert_eq!(parsed("show crypto ikev2 cluster det"), Command::Show(Show::ClusterDetails).into());
        assert_eq!(parsed("sh da c a"), Command::Show(Show::AllCounters).into());
        assert_eq!(parsed("sh run"), Command::Show(Show::RunningConfig).into());
        assert_eq!(parsed("sh stand br"), Command::Show(Show::StandbyBrief).into());
        let group = Invocation { group: Some(7), ..Command::Failover.into() };
        assert_eq!(parsed("stand 7 fail"), group);
        let there = Invocation { interface: IfName::parse("Te0/0/1").ok(), ..group };
        assert_eq!(parsed("standby Te0/0/1 7 failover"), there);
        assert_eq!(parsed("no deb st ev"), Command::Debug(debug::EVENTS, false).into());
    }

    #[test]
    fn interfaces_may_be_written_in_two_words_everywhere() {
        for row in COMMANDS.iter().filter(|row| row.syntax.contains("IFNAME")) {
            let line = |name: &str| {
                let syntax = row.syntax.replace("GROUP|", "").replace("IFNAME", name).replace("GROUP", "7");
                syntax.replace(['[', ']'], "")
            };
            let (one, two) = (parsed(&line("GigabitEthernet0/0/0")), parsed(&line("gi 0/0/0")));
            assert_eq!(one, two, "{}", row.syntax);
            assert!(one.interface.is_some(), "{}", row.syntax);
        }
        assert_eq!(parsed("show standby GigabitEthernet 0/0/0").group, None);
    }

    #[test]
    fn what_only_administrators_may_do_needs_the_privileged_prompt() {
        for row in COMMANDS.iter().filter(|row| row.command.changes()) {
            assert!(row.command.privileged(), "{}", row.syntax);
        }
        assert!(parse("show version", false).is_ok() && parse("show running-config", false).is_err());
    }
}

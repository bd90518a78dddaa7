//! The answers to `show`: each is a plain value that goes out as JSON or is written as text in the form that
//! operators know. No value here is more than what is known when it is asked for.

pub mod cluster;
pub mod dataplane;
pub mod redirect;
pub mod standby;
pub mod version;

use crate::grammar::{Grammar, Kind, Mismatch, Offer, Param};
use crate::types::IfName;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

/// What can be asked or ordered at the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `show crypto ikev2 cluster`
    Cluster,
    /// `show crypto ikev2 cluster details`
    ClusterDetails,
    /// `show crypto ikev2 cluster stats`
    ClusterStats,
    /// `show dataplane`
    Dataplane,
    /// `show dataplane counters`: those that are not 0
    Counters,
    /// `show dataplane counters all`
    AllCounters,
    /// `show dataplane workers`
    Workers,
    /// `show dataplane stages`
    Stages,
    /// `show dataplane ports`
    Ports,
    /// `show redirect for ADDRESS SPI`: what such a request would get
    Redirect,
    /// `show running-config`
    RunningConfig,
    /// `show startup-config`
    StartupConfig,
    /// `show standby`
    Standby,
    /// `show standby brief`
    StandbyBrief,
    /// `show standby all`: with what was refused
    StandbyAll,
    /// `show tech-support`
    TechSupport,
    /// `show version`
    Version,
    /// `clear counters`
    ClearCounters,
    /// `cluster drain [ADDRESS]` (true) and its `no` form
    Drain(bool),
    /// `standby [INTERFACE] GROUP failover`
    Failover,
    /// `debug standby ...` and its `no` form
    Debug(Debug, bool),
    /// `debug crypto ikev2 cluster` and its `no` form
    DebugCluster(bool),
    /// `write memory`
    Write,
    /// What the shell does by itself
    Local(Local),
}

/// What the shell does by itself.
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

impl Question {
    /// Whether it changes something.
    #[must_use]
    pub fn changes(self) -> bool {
        use Question::{ClearCounters, Debug, DebugCluster, Drain, Failover, Write};
        matches!(self, Failover | Debug(..) | DebugCluster(_) | Drain(_) | ClearCounters | Write)
    }

    /// Whether the shell takes it at `Device#` only.
    #[must_use]
    pub fn privileged(self) -> bool {
        use Local::{ConfigureReplace, ConfigureTerminal};
        use Question::{RunningConfig, StartupConfig, TechSupport};
        self.changes()
            || matches!(self, RunningConfig | StartupConfig | TechSupport)
            || matches!(self, Question::Local(ConfigureReplace | ConfigureTerminal))
    }
}

/// A question and what it is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What is asked
    pub question: Question,
    /// Of this interface only
    pub interface: Option<IfName>,
    /// Of this HSRP group only
    pub group: Option<u16>,
    /// Of this client or member only
    pub address: Option<IpAddr>,
    /// Sent there by this gateway
    pub from: Option<IpAddr>,
    /// The initiator's SPI
    pub spi: Option<u64>,
    /// Lines of the terminal
    pub length: Option<u16>,
    /// A file
    pub file: Option<String>,
    /// Without asking back
    pub force: bool,
}

impl From<Question> for Query {
    fn from(question: Question) -> Query {
        let (interface, group, address, from, spi, length, file, force) = Default::default();
        Query { question, interface, group, address, from, spi, length, file, force }
    }
}

/// What is told of HSRP beyond the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debug {
    /// Each message in and out
    pub packets: bool,
    /// Each event of a group that does something
    pub events: bool,
    /// Each message that was refused
    pub errors: bool,
}

const PACKETS: Debug = Debug { packets: true, events: false, errors: false };
const EVENTS: Debug = Debug { packets: false, events: true, errors: false };
const ERRORS: Debug = Debug { packets: false, events: false, errors: true };
const EVERYTHING: Debug = Debug { packets: true, events: true, errors: true };

const PARAMS: &[Param] = &[
    Param { name: "ADDRESS", kind: Kind::Address, help: "address" },
    Param { name: "FILE", kind: Kind::Word(4096), help: "file" },
    Param { name: "FROM", kind: Kind::Address, help: "gateway that the client was sent on by" },
    Param { name: "GROUP", kind: Kind::Number(0, 4095), help: "group" },
    Param { name: "IFNAME", kind: Kind::Interface, help: "interface" },
    Param { name: "LENGTH", kind: Kind::Number(0, 512), help: "lines of a page, 0 for all at once" },
    Param { name: "SPI", kind: Kind::Hex, help: "initiator's SPI, up to 16 hexadecimal digits" },
];

/// Every command of the prompt: its syntax, what it asks, and what it does.
pub const QUESTIONS: &[(&str, Question, &str)] = &[
    ("show crypto ikev2 cluster", Question::Cluster, "the cluster and its gateways"),
    ("show crypto ikev2 cluster details", Question::ClusterDetails, "the parts of each gateway's load"),
    ("show crypto ikev2 cluster stats", Question::ClusterStats, "the parts, and what was counted"),
    ("show dataplane", Question::Dataplane, "the data plane and what it works by"),
    ("show dataplane counters", Question::Counters, "frames by what became of them, those that are not 0"),
    ("show dataplane counters all", Question::AllCounters, "frames by what became of them"),
    ("show dataplane workers", Question::Workers, "the data plane's workers"),
    ("show dataplane stages", Question::Stages, "where the cycles of the packet path go"),
    ("show dataplane ports", Question::Ports, "the data plane's ports"),
    (
        "show redirect for ADDRESS SPI [from FROM]",
        Question::Redirect,
        "the gateway that a client's request would get",
    ),
    ("show running-config", Question::RunningConfig, "the configuration in force, keys masked"),
    ("show startup-config", Question::StartupConfig, "the configuration file, keys masked"),
    ("show standby [GROUP|IFNAME [GROUP]]", Question::Standby, "the HSRP groups"),
    ("show standby brief [GROUP|IFNAME [GROUP]]", Question::StandbyBrief, "the HSRP groups, a line each"),
    (
        "show standby all [GROUP|IFNAME [GROUP]]",
        Question::StandbyAll,
        "the HSRP groups with leases and refused messages",
    ),
    ("show tech-support", Question::TechSupport, "everything that a report of a fault needs"),
    ("show version", Question::Version, "version and uptime"),
    ("show history", Question::Local(Local::History), "the commands of this session"),
    ("clear counters", Question::ClearCounters, "count the data plane's frames from 0"),
    (
        "cluster drain [ADDRESS]",
        Question::Drain(true),
        "take a member, else this node, out of service and move its sessions away",
    ),
    ("no cluster drain [ADDRESS]", Question::Drain(false), "take a drained member, else this node, back"),
    ("standby [IFNAME] GROUP failover", Question::Failover, "hand the role over to the standby router"),
    ("debug standby", Question::Debug(EVERYTHING, true), "tell more of HSRP in usherd's log"),
    ("debug standby packets", Question::Debug(PACKETS, true), "log each HSRP message"),
    ("debug standby events", Question::Debug(EVENTS, true), "log what HSRP groups do"),
    ("debug standby errors", Question::Debug(ERRORS, true), "log each refused HSRP message"),
    ("no debug standby", Question::Debug(EVERYTHING, false), "no more of HSRP in the log"),
    ("no debug standby packets", Question::Debug(PACKETS, false), "no more HSRP messages in the log"),
    ("no debug standby events", Question::Debug(EVENTS, false), "no more of what HSRP groups do in the log"),
    ("no debug standby errors", Question::Debug(ERRORS, false), "no more refused HSRP messages in the log"),
    ("debug crypto ikev2 cluster", Question::DebugCluster(true), "tell more of the cluster in usherd's log"),
    ("no debug crypto ikev2 cluster", Question::DebugCluster(false), "no more of the cluster in the log"),
    ("write [memory]", Question::Write, "write the running configuration to the file"),
    ("copy running-config startup-config", Question::Write, "write the running configuration to the file"),
    (
        "configure terminal",
        Question::Local(Local::ConfigureTerminal),
        "change the configuration line by line",
    ),
    (
        "configure replace FILE [force]",
        Question::Local(Local::ConfigureReplace),
        "put a file in the place of the running configuration",
    ),
    ("check FILE", Question::Local(Local::Check), "errors and warnings of a configuration file"),
    ("enable", Question::Local(Local::Enable), "take commands that change something"),
    ("disable", Question::Local(Local::Disable), "take no more commands that change something"),
    ("terminal length LENGTH", Question::Local(Local::TerminalLength), "lines of a page"),
    ("top", Question::Local(Local::Top), "watch the cluster live"),
    ("exit", Question::Local(Local::Exit), "leave the shell"),
    ("logout", Question::Local(Local::Exit), "leave the shell"),
    ("quit", Question::Local(Local::Exit), "leave the shell"),
];

fn grammar(privileged: bool) -> Grammar {
    let mut grammar = Grammar::default();
    for (index, (syntax, question, help)) in QUESTIONS.iter().enumerate() {
        if privileged || !question.privileged() {
            grammar.add(index, syntax, PARAMS, false, help);
        }
    }
    grammar
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| grammar(true));
static UNPRIVILEGED: LazyLock<Grammar> = LazyLock::new(|| grammar(false));

/// What may stand at the end of `line` at the prompt; `privileged`: at `Device#`.
#[must_use]
pub fn offers(line: &str, privileged: bool) -> Vec<Offer> {
    if privileged { GRAMMAR.offers(line) } else { UNPRIVILEGED.offers(line) }
}

/// Reads a command as the shell does at its prompt.
///
/// # Errors
/// Where and why it is not understood.
pub fn parse(line: &str, privileged: bool) -> Result<Query, Mismatch> {
    let matched = if privileged { GRAMMAR.parse(line)? } else { UNPRIVILEGED.parse(line)? };
    Ok(Query {
        question: QUESTIONS[matched.command].1,
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

/// Reads a question, abbreviated as on IOS.
///
/// # Errors
/// The line with a caret under the word that is not understood, and the words expected there.
pub fn question(line: &str) -> Result<Query, String> {
    match parse(line, true) {
        Ok(query) => Ok(query),
        Err(mismatch) => {
            let shown: String =
                line.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect();
            let indent = " ".repeat((mismatch.column - 1).min(201));
            let expected = mismatch.expected.join(", ");
            Err(format!("{shown}\n{indent}^\n{}\nexpected here: {expected}", mismatch.message))
        }
    }
}

/// A table with two spaces between its columns; `right` marks the columns of numbers.
pub(crate) fn table(head: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|word| word.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: Vec<&str>| {
        let mut text = String::new();
        for ((cell, width), right) in cells.iter().zip(&widths).zip(right) {
            let _ = if *right { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(head.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    out
}

/// A time as IOS shows it: `00:01:02`, `3d04h`, `1w2d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match days {
        0 => format!("{:02}:{:02}:{:02}", hours, minutes % 60, seconds % 60),
        1..7 => format!("{}d{:02}h", days, hours % 24),
        _ => format!("{}w{}d", days / 7, days % 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_may_be_abbreviated() {
        assert_eq!(question("sh cry ik cl"), Ok(Question::Cluster.into()));
        assert_eq!(question("show crypto ikev2 cluster det"), Ok(Question::ClusterDetails.into()));
        assert_eq!(question("sh da c a"), Ok(Question::AllCounters.into()));
        assert_eq!(question("sh run"), Ok(Question::RunningConfig.into()));
        assert_eq!(question("sh stand br"), Ok(Question::StandbyBrief.into()));
        let group = Query { group: Some(7), ..Question::Failover.into() };
        assert_eq!(question("stand 7 fail"), Ok(group.clone()));
        let there = Query { interface: IfName::parse("Te0/0/1").ok(), ..group };
        assert_eq!(question("standby Te0/0/1 7 failover"), Ok(there));
        assert_eq!(question("no deb st ev"), Ok(Question::Debug(EVENTS, false).into()));
    }

    #[test]
    fn a_wrong_question_is_answered_with_a_caret() {
        assert_eq!(
            question("show dataplane coutners").unwrap_err(),
            "show dataplane coutners\n               ^\n\"coutners\" is not understood here\nexpected here: counters, ports, stages, workers"
        );
    }

    #[test]
    fn ages_read_as_on_ios() {
        let shown = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(
            (shown(62), shown(100_000), shown(700_000)),
            ("00:01:02".into(), "1d03h".into(), "1w1d".into())
        );
    }
}

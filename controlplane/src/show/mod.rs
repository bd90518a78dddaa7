//! The answers to `show`: each is a plain value that goes out as JSON or is written as text in the form that
//! operators know. No value here is more than what is known when it is asked for.

pub mod cluster;
pub mod dataplane;
pub mod standby;

use crate::config::IfName;
use crate::grammar::{Grammar, Kind, Param};
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

/// A question that usherd answers.
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
    /// `show running-config`
    RunningConfig,
    /// `show standby`
    Standby,
    /// `show standby brief`
    StandbyBrief,
    /// `show standby all`: with what was refused
    StandbyAll,
    /// `standby [INTERFACE] GROUP failover`
    Failover,
    /// `debug standby ...` and its `no` form
    Debug(Debug, bool),
}

impl Question {
    /// Whether it changes something.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(self, Question::Failover | Question::Debug(..))
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
}

impl From<Question> for Query {
    fn from(question: Question) -> Query {
        Query { question, interface: None, group: None }
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
    Param { name: "IFNAME", kind: Kind::Interface, help: "interface" },
    Param { name: "GROUP", kind: Kind::Number(0, 4095), help: "group" },
];

const QUESTIONS: &[(&str, Question)] = &[
    ("show crypto ikev2 cluster", Question::Cluster),
    ("show crypto ikev2 cluster details", Question::ClusterDetails),
    ("show crypto ikev2 cluster stats", Question::ClusterStats),
    ("show dataplane", Question::Dataplane),
    ("show dataplane counters", Question::Counters),
    ("show dataplane counters all", Question::AllCounters),
    ("show dataplane workers", Question::Workers),
    ("show dataplane stages", Question::Stages),
    ("show dataplane ports", Question::Ports),
    ("show running-config", Question::RunningConfig),
    ("show standby [GROUP|IFNAME [GROUP]]", Question::Standby),
    ("show standby brief [GROUP|IFNAME [GROUP]]", Question::StandbyBrief),
    ("show standby all [GROUP|IFNAME [GROUP]]", Question::StandbyAll),
    ("standby [IFNAME] GROUP failover", Question::Failover),
    ("debug standby", Question::Debug(EVERYTHING, true)),
    ("debug standby packets", Question::Debug(PACKETS, true)),
    ("debug standby events", Question::Debug(EVENTS, true)),
    ("debug standby errors", Question::Debug(ERRORS, true)),
    ("no debug standby", Question::Debug(EVERYTHING, false)),
    ("no debug standby packets", Question::Debug(PACKETS, false)),
    ("no debug standby events", Question::Debug(EVENTS, false)),
    ("no debug standby errors", Question::Debug(ERRORS, false)),
];

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    let mut grammar = Grammar::default();
    for (index, (syntax, _)) in QUESTIONS.iter().enumerate() {
        grammar.add(index, syntax, PARAMS, false);
    }
    grammar
});

/// Reads a question, abbreviated as on IOS.
///
/// # Errors
/// The line with a caret under the word that is not understood, and the words expected there.
pub fn question(line: &str) -> Result<Query, String> {
    match GRAMMAR.parse(line) {
        Ok(matched) => Ok(Query {
            question: QUESTIONS[matched.command].1,
            interface: matched.interface("IFNAME"),
            group: matched.number("GROUP"),
        }),
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

//! The answers to `show`: each is a plain value that goes out as JSON or is written as text in the form that
//! operators know. No value here is more than what is known when it is asked for.

pub mod cluster;
pub mod dataplane;
pub mod standby;

use crate::grammar::{Grammar, Matched};
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
    /// `show dataplane ports`
    Ports,
    /// `show running-config`
    RunningConfig,
    /// `show standby`
    Standby,
    /// `show standby brief`
    StandbyBrief,
}

const QUESTIONS: &[(&str, Question)] = &[
    ("show crypto ikev2 cluster", Question::Cluster),
    ("show crypto ikev2 cluster details", Question::ClusterDetails),
    ("show crypto ikev2 cluster stats", Question::ClusterStats),
    ("show dataplane", Question::Dataplane),
    ("show dataplane counters", Question::Counters),
    ("show dataplane counters all", Question::AllCounters),
    ("show dataplane workers", Question::Workers),
    ("show dataplane ports", Question::Ports),
    ("show running-config", Question::RunningConfig),
    ("show standby", Question::Standby),
    ("show standby brief", Question::StandbyBrief),
];

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    let mut grammar = Grammar::default();
    for (index, (syntax, _)) in QUESTIONS.iter().enumerate() {
        grammar.add(index, syntax, &[], false);
    }
    grammar
});

/// Reads a question, abbreviated as on IOS.
///
/// # Errors
/// The line with a caret under the word that is not understood, and the words expected there.
pub fn question(line: &str) -> Result<Question, String> {
    match GRAMMAR.parse(line) {
        Ok(Matched { command, .. }) => Ok(QUESTIONS[command].1),
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
        assert_eq!(question("sh cry ik cl"), Ok(Question::Cluster));
        assert_eq!(question("show crypto ikev2 cluster det"), Ok(Question::ClusterDetails));
        assert_eq!(question("sh da c a"), Ok(Question::AllCounters));
        assert_eq!(question("sh run"), Ok(Question::RunningConfig));
        assert_eq!(question("sh stand br"), Ok(Question::StandbyBrief));
    }

    #[test]
    fn a_wrong_question_is_answered_with_a_caret() {
        assert_eq!(
            question("show dataplane coutners").unwrap_err(),
            "show dataplane coutners\n               ^\n\"coutners\" is not understood here\nexpected here: counters, ports, workers"
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

//! Lines that were understood, and lines that were not.

use super::param::Value;
use crate::types::IfName;
use std::net::IpAddr;

/// The words of a line so far: the keyword or parameter's name, the value, the column.
pub(super) type Words = Vec<(&'static str, Value, usize)>;

/// A line that was understood.
#[derive(Clone, Debug)]
pub struct Matched {
    /// Index of the command in the table
    pub command: usize,
    pub(super) words: Words,
}

impl Matched {
    fn value(&self, name: &str) -> Option<&Value> {
        self.words
            .iter()
            .find(|(word, value, _)| {
                *word == name && !matches!(value, Value::Keyword | Value::InterfaceType(_))
            })
            .map(|(_, v, _)| v)
    }

    /// Returns whether the line has this keyword.
    #[must_use]
    pub fn has(&self, keyword: &str) -> bool {
        self.words.iter().any(|(word, value, _)| *word == keyword && *value == Value::Keyword)
    }

    /// Returns whether this keyword stands right before this parameter.
    #[must_use]
    pub fn precedes(&self, keyword: &str, param: &str) -> bool {
        self.words.windows(2).any(|pair| pair[0].0 == keyword && pair[1].0 == param)
    }

    /// A number.
    #[must_use]
    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        match self.value(name)? {
            Value::Number(n) => T::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A word or the rest of the line.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// An address.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        match self.value(name)? {
            Value::Address(address) => Some(*address),
            _ => None,
        }
    }

    /// An address with its prefix length.
    #[must_use]
    pub fn prefix(&self, name: &str) -> Option<(IpAddr, u8)> {
        match self.value(name)? {
            Value::Prefix(address, length) => Some((*address, *length)),
            _ => None,
        }
    }

    /// An interface name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<IfName> {
        match self.value(name)? {
            Value::Interface(interface) => Some(interface.clone()),
            _ => None,
        }
    }

    /// The words: the keyword or the parameter's name, whether it is a keyword, and its column.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, bool, usize)> {
        self.words.iter().map(|(name, value, column)| (*name, *value == Value::Keyword, *column))
    }

    /// The column of a parameter or keyword; 0 when the line has none.
    #[must_use]
    pub fn column(&self, name: &str) -> usize {
        self.words.iter().find(|(word, ..)| *word == name).map_or(0, |(_, _, column)| *column)
    }
}

/// The kind of a [`Mismatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The line ends too early
    Incomplete,
    /// A word abbreviates several keywords
    Ambiguous,
    /// A word that is not expected there, or a value that a parameter does not take
    Invalid,
}

/// A line that was not understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// The kind of the mistake
    pub reason: Reason,
    /// Column of the word in question, one past the end where a word is missing
    pub column: usize,
    /// Number of words that were understood
    pub depth: usize,
    /// Fault
    pub message: String,
    /// Words that would have been understood
    pub expected: Vec<String>,
}

impl Mismatch {
    /// The line with a caret under the word that is not understood, and the words expected there.
    #[must_use]
    pub fn render(&self, line: &str) -> String {
        let shown: String = line.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect();
        let indent = " ".repeat((self.column - 1).min(201));
        let expected = self.expected.join(", ");
        format!("{shown}\n{indent}^\n{}\nexpected here: {expected}", self.message)
    }
}

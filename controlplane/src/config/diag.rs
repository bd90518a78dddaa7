//! Diagnostics of a line: place, message, and the words expected there.

use super::masked::Masked;
use crate::grammar::Reason;
use std::fmt::Write as _;

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The text cannot be understood; nothing of the file is taken
    #[default]
    Error,
    /// Loaded, but not as written
    Warning,
    /// Loaded, and without effect in this version
    Notice,
}

/// One remark about one line of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Diagnostic {
    /// Severity
    pub severity: Severity,
    /// The kind of the mistake, where the line does not match the syntax of a command
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Line, from 1; 0 where the whole configuration is meant
    pub line: usize,
    /// Column in characters, from 1; 0 where the whole line is meant
    pub column: usize,
    /// The line, its secrets masked
    pub text: String,
    /// Column in `text` where it differs from `column`, because a secret was masked before it; else 0
    #[serde(default, skip_serializing_if = "is_zero")]
    pub text_column: usize,
    /// Fault and remedy
    pub message: String,
    /// The words that would have been understood at the column
    pub expected: Vec<String>,
}

fn is_zero(column: &usize) -> bool {
    *column == 0
}

impl Diagnostic {
    /// The column in [`Diagnostic::text`], from 1; 0 where the whole line is meant.
    #[must_use]
    pub fn shown_column(&self) -> usize {
        if self.text_column > 0 { self.text_column } else { self.column }
    }

    /// This remark about a line, of which only what `masked` shows is kept.
    #[must_use]
    pub fn on(self, masked: &Masked) -> Diagnostic {
        let shown = masked.column(self.column);
        Diagnostic {
            text: masked.text.clone(),
            text_column: if shown == self.column { 0 } else { shown },
            message: masked.message(&self.message),
            ..self
        }
    }

    /// The diagnostic as the operator reads it, of a file called `file`.
    #[must_use]
    pub fn render(&self, file: &str) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "note",
        };
        let mut out = String::new();
        let place =
            if self.column > 0 { format!("{}:{}", self.line, self.column) } else { self.line.to_string() };
        let _ = writeln!(out, "{file}:{place}: {word}: {}", self.message);
        if self.line > 0 {
            let _ = writeln!(out, "{:6} | {}", self.line, printable(&self.text));
        }
        if self.column > 0 {
            let indent: String = self
                .text
                .chars()
                .take(self.shown_column() - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let _ = writeln!(out, "       | {indent}^");
        }
        if !self.expected.is_empty() {
            let _ = writeln!(out, "       expected here: {}", self.expected.join(", "));
        }
        out
    }
}

/// A line as a terminal may show it: control characters replaced, long lines cut.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(400).map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_word_behind_tabs_and_wide_letters() {
        let diagnostic = Diagnostic {
            line: 3,
            column: 5,
            text: "\té ab\u{1b}[2J".to_owned(),
            message: "no".to_owned(),
            expected: vec!["x".to_owned(), "y".to_owned()],
            ..Diagnostic::default()
        };
        let shown = diagnostic.render("f");
        assert_eq!(
            shown,
            "f:3:5: error: no\n     3 | \té ab?[2J\n       | \t   ^\n       expected here: x, y\n"
        );
    }
}

//! From text to [`Config`]: modes, prompts, comments, `no`, and the diagnostics.

use super::binding::Binding;
use super::builder::Builder;
use super::commands::Effect;
use super::diag::{Diagnostic, Severity};
use super::grammars::{command_of, grammar, locate};
use super::mode::{MODES, Place};
use super::model::Config;
use super::prompt::strip_prompt;
use super::secrets::Masker;
use crate::grammar::{Matched, Mismatch, Reason, tokens};
use crate::types::IfName;
use std::collections::BTreeMap;

/// A configuration is at most this long, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// A line is at most this long, in characters.
const MAX_LINE: usize = 1000;
/// After this many errors the rest of the file is not read.
const MAX_ERRORS: usize = 20;

/// A configuration that loaded, with what is worth telling.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration
    pub config: Config,
    /// Warnings and notices, in the order of the lines
    pub remarks: Vec<Diagnostic>,
    interfaces: BTreeMap<IfName, (usize, String)>,
}

impl Loaded {
    /// Errors for the interfaces that this machine does not have.
    #[must_use]
    pub fn unbound(&self, binding: &Binding) -> Vec<Diagnostic> {
        let error = |name: &IfName| {
            let message = binding.refusal(&self.config, name)?;
            let (line, text) = self.interfaces.get(name).cloned().unwrap_or_default();
            let plain = strip_prompt(&text);
            let words = tokens(&plain);
            // `interface NAME`, or the VLAN of `encapsulation dot1Q VLAN`.
            let encapsulation =
                words.first().is_some_and(|word| word.text.to_ascii_lowercase().starts_with('e'));
            let column = words.get(1 + usize::from(encapsulation)).map_or(0, |word| word.column);
            Some(Diagnostic { line, column, text, message, ..Diagnostic::default() })
        };
        self.config.interfaces.keys().filter_map(error).collect()
    }
}

/// Reads a whole configuration.
///
/// # Errors
/// All lines that cannot be understood, at most 20, with the remarks on the others: nothing is taken.
pub fn parse(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    if text.len() > MAX_BYTES {
        return Err(vec![Diagnostic {
            message: format!(
                "the configuration has {} bytes, the most is {MAX_BYTES}: is it the right file?",
                text.len()
            ),
            ..Diagnostic::default()
        }]);
    }
    let mut parser = Parser::new(Config::default(), Place::Global);
    let taken = parser.read(text.lines());
    let loaded = parser.into_loaded();
    if taken { Ok(loaded) } else { Err(loaded.remarks) }
}

/// Takes lines one after the other.
pub(super) struct Parser {
    pub(super) builder: Builder,
    masker: Masker,
}

impl Parser {
    pub(super) fn new(config: Config, place: Place) -> Parser {
        Parser { builder: Builder::new(config, place), masker: Masker::anywhere() }
    }

    pub(super) fn into_loaded(self) -> Loaded {
        let Builder { config, remarks, interfaces, .. } = self.builder;
        Loaded { config, remarks, interfaces }
    }

    /// Takes lines to the end or to the twentieth error; false when there was one.
    pub(super) fn read<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> bool {
        let mut errors = 0;
        for (number, line) in lines.enumerate() {
            self.builder.line = number + 1;
            errors += usize::from(!self.take(line));
            if errors == MAX_ERRORS {
                break;
            }
        }
        self.builder.finish();
        errors == 0
    }

    /// Takes one line; false when it is an error.
    fn take(&mut self, raw: &str) -> bool {
        let line = strip_prompt(raw);
        let words = line.trim();
        if words.is_empty() || words.starts_with('!') {
            return true;
        }
        if words.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("show")) {
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            self.builder.masked = self.masker.misunderstood(raw, &line, None);
            self.builder.warn(column, "exec command in configuration mode: line ignored".to_owned());
            return true;
        }
        if line.chars().count() > MAX_LINE {
            self.builder.masked = self.masker.misunderstood(raw, &line, None);
            return self.refuse(Diagnostic {
                column: MAX_LINE + 1,
                message: format!("the line is longer than {MAX_LINE} characters"),
                ..Diagnostic::default()
            });
        }
        let matched = match self.find(&line) {
            Ok(matched) => matched,
            Err(mismatch) => {
                self.builder.masked = self.masker.misunderstood(raw, &line, Some(&mismatch));
                let Mismatch { reason, column, message, expected, .. } = mismatch;
                return self.refuse(Diagnostic {
                    reason: Some(reason),
                    column,
                    message,
                    expected,
                    ..Diagnostic::default()
                });
            }
        };
        self.builder.masked = self.masker.understood(raw, &line, &matched);
        let (command, no) = command_of(&matched);
        let nothing_to_undo = no && command.of_group && self.builder.lacks_group(&matched);
        if nothing_to_undo {
            return true;
        }
        if let Err(fault) = (command.apply)(&mut self.builder, &matched, no) {
            let (column, message) = (matched.column(fault.word), fault.message);
            return self.refuse(Diagnostic { column, message, ..Diagnostic::default() });
        }
        if let (Effect::Later(why), false) = (command.effect, no) {
            let message = format!("kept, without effect yet: {why}");
            self.builder.remark(Diagnostic { severity: Severity::Notice, message, ..Diagnostic::default() });
        }
        true
    }

    /// Finds the command of a line, and goes to its mode.
    fn find(&mut self, line: &str) -> Result<Matched, Mismatch> {
        let here = self.builder.place.mode();
        let mut nearest = match locate(here, line) {
            Ok((mode, matched)) => {
                self.builder.leave_to(mode);
                return Ok(matched);
            }
            Err(mismatch) => mismatch,
        };
        // What begins several commands here is not meant for another place.
        if nearest.reason != Reason::Ambiguous && nearest.depth <= 1 {
            let elsewhere =
                MODES[1..].iter().find(|(mode, _)| here != *mode && grammar(*mode).parse(line).is_ok());
            if let Some((_, before)) = elsewhere {
                nearest.message = format!("this line belongs under `{before}`: put that line before it");
                nearest.expected.clear();
            }
        }
        Err(nearest)
    }

    fn refuse(&mut self, error: Diagnostic) -> bool {
        self.builder.remark(error);
        false
    }
}

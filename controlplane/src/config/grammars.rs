//! The grammar of each mode, made from the table of commands.

use super::commands::{COMMANDS, Command, Effect, PARAMS};
use super::mode::{MODES, Mode};
use crate::grammar::{Grammar, Matched, Mismatch};
use std::sync::LazyLock;

static GRAMMARS: LazyLock<[Grammar; MODES.len()]> = LazyLock::new(|| {
    MODES.map(|(mode, _)| {
        let mut grammar = Grammar::default();
        for (index, command) in COMMANDS.iter().enumerate() {
            if command.mode != mode && command.mode != Mode::Any {
                continue;
            }
            let hidden = command.effect == Effect::Slip;
            if !command.syntax.is_empty() {
                grammar.add(index * 2, command.syntax, PARAMS, hidden, command.help);
            }
            if !command.no.is_empty() {
                let negative: &'static str = Box::leak(format!("no {}", command.no).into_boxed_str());
                grammar.add(index * 2 + 1, negative, PARAMS, hidden, command.help);
            }
        }
        grammar
    })
});

/// Returns the grammar of a mode.
pub(super) fn grammar(mode: Mode) -> &'static Grammar {
    let index = MODES.iter().position(|(other, _)| *other == mode).unwrap_or(0);
    &GRAMMARS[index]
}

/// Finds the command of a line in this mode, else, as on IOS, in one around it.
pub(super) fn locate(here: Mode, line: &str) -> Result<(Mode, Matched), Mismatch> {
    let mut nearest = match grammar(here).parse(line) {
        Ok(matched) => return Ok((here, matched)),
        Err(mismatch) => mismatch,
    };
    let mut mode = here;
    while mode != Mode::Global {
        mode = mode.outer();
        match grammar(mode).parse(line) {
            Ok(matched) => return Ok((mode, matched)),
            Err(mismatch) if mismatch.depth > nearest.depth => nearest = mismatch,
            Err(_) => {}
        }
    }
    Err(nearest)
}

/// Returns the command that a line of any mode's grammar matched, and whether in its `no` form.
pub(super) fn command_of(matched: &Matched) -> (&'static Command, bool) {
    (COMMANDS[matched.command / 2], matched.command % 2 == 1)
}

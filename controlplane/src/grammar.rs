//! The engine behind every command line, in the configuration and at the prompt: a table of command syntaxes
//! written as IOS manuals write them, matched word by word with abbreviations.
//!
//! A syntax is a list of keywords (lower case), parameters (UPPER CASE, looked up in a table of kinds),
//! `[optional]` parts and `{one|of|these}`. It is expanded to its linear forms, and a line is matched against
//! all forms of all commands at once, so that an error can name every word that would have been understood.

mod matched;
mod param;
mod syntax;
#[cfg(test)]
mod tests;
mod token;
mod words;

use crate::types::{IfName, ifname};
use matched::Words;
use param::{UNIT, Value, describe, read, shape};
use syntax::{Element, expand};

pub use matched::{Matched, Mismatch, Reason};
pub use param::{Kind, Param};
pub use token::{Token, tokens};

#[derive(Clone, Debug)]
struct Form {
    command: usize,
    hidden: bool,
    elements: Vec<Element>,
    help: &'static str,
}

/// A word that may stand somewhere, for `?` and completion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// The keyword, the shape of a parameter such as `<1-100>`, or `<cr>` where the line may end
    pub word: String,
    /// Meaning
    pub help: String,
    /// It is a keyword, which completion may type
    pub keyword: bool,
}

/// A compiled table of commands.
#[derive(Debug, Default)]
pub struct Grammar {
    forms: Vec<Form>,
}

impl Grammar {
    /// Adds a syntax. `hidden` forms are understood, yet never offered as what was expected.
    ///
    /// # Panics
    /// On a syntax that is not well formed: the tables are constants, compiled in a test.
    pub fn add(
        &mut self,
        command: usize,
        syntax: &'static str,
        params: &[Param],
        hidden: bool,
        help: &'static str,
    ) {
        for elements in expand(syntax, params) {
            self.forms.push(Form { command, hidden, elements, help });
        }
    }

    /// All keywords, in no order and repeated.
    pub fn keywords(&self) -> impl Iterator<Item = &'static str> {
        self.forms.iter().flat_map(|form| &form.elements).filter_map(|element| match element {
            Element::Keyword(word) => Some(*word),
            _ => None,
        })
    }

    /// Matches a line.
    ///
    /// # Errors
    /// Names the column and the words that were expected there.
    pub fn parse(&self, line: &str) -> Result<Matched, Mismatch> {
        let tokens = tokens(line);
        let mut alive: Alive<'_> = self.forms.iter().map(|form| (form, Vec::new())).collect();
        // Forms whose last parameter has taken the rest of the line: complete, whatever follows.
        let mut whole: Alive<'_> = Vec::new();
        let mut depth = 0;
        while depth < tokens.len() {
            let token = tokens[depth];
            whole.extend(alive.extract_if(.., |(form, _)| is_rest(form, depth)));
            if alive.is_empty() && !whole.is_empty() {
                break;
            }
            alive.retain(|(form, _)| form.elements.len() > depth);
            if alive.is_empty() {
                if !whole.is_empty() {
                    break;
                }
                return Err(Mismatch {
                    reason: Reason::Invalid,
                    column: token.column,
                    depth,
                    message: format!("unexpected argument \"{}\"", token.text),
                    expected: vec!["end of line".to_owned()],
                });
            }
            alive = match step(alive, depth, token, line) {
                Ok(alive) => alive,
                Err(_) if !whole.is_empty() => Vec::new(),
                Err(mismatch) => return Err(mismatch),
            };
            depth += 1;
        }
        alive.extend(whole);
        let complete = alive.iter().filter(|(form, words)| words.len() == form.elements.len()).min_by_key(
            |(form, words)| (form.hidden, words.iter().filter(|w| w.1 != Value::Keyword).count()),
        );
        match complete {
            Some((form, words)) => Ok(Matched { command: form.command, words: words.clone() }),
            None => Err(Mismatch {
                reason: Reason::Incomplete,
                column: line.trim_end().chars().count() + 2,
                depth,
                message: "the line is incomplete".to_owned(),
                expected: offers(alive.iter().map(|(form, _)| *form), depth),
            }),
        }
    }

    /// Returns what may stand at the end of `line`: with white space there as the next word, else as the rest of the last one.
    /// Empty where the words before it are not understood.
    #[must_use]
    pub fn offers(&self, line: &str) -> Vec<Offer> {
        let words = tokens(line);
        let (before, partial) = match words.split_last() {
            Some((last, before)) if !line.ends_with(char::is_whitespace) => {
                (before, last.text.to_ascii_lowercase())
            }
            _ => (&words[..], String::new()),
        };
        let mut alive: Alive<'_> = self.forms.iter().map(|form| (form, Vec::new())).collect();
        for (depth, token) in before.iter().enumerate() {
            let (rest, mut ahead): (Alive<'_>, Alive<'_>) =
                alive.into_iter().partition(|(form, _)| is_rest(form, depth));
            ahead.retain(|(form, _)| form.elements.len() > depth);
            alive = if ahead.is_empty() {
                Vec::new()
            } else {
                step(ahead, depth, *token, line).unwrap_or_default()
            };
            // The rest of the line goes on, whatever stands there.
            alive.extend(rest.into_iter().filter(|_| depth + 1 < before.len() || partial.is_empty()));
            if alive.is_empty() {
                return Vec::new();
            }
        }
        let depth = before.len();
        let open = || alive.iter().map(|(form, _)| *form).filter(|form| !form.hidden);
        let mut found: Vec<Offer> = Vec::new();
        for form in open() {
            match form.elements.get(depth) {
                Some(Element::Keyword(word)) if word.starts_with(&partial) => {
                    let help = words::help(word).unwrap_or(form.help);
                    found.push(Offer { word: (*word).to_owned(), help: help.to_owned(), keyword: true });
                }
                Some(Element::InterfaceUnit(_)) if partial.is_empty() => {
                    found.push(Offer {
                        word: UNIT.to_owned(),
                        help: "interface number".to_owned(),
                        keyword: false,
                    });
                }
                Some(Element::Param(param)) if partial.is_empty() => {
                    found.push(Offer { word: shape(param), help: param.help.to_owned(), keyword: false });
                }
                _ => {}
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.word == b.word && (a.keyword || a.help == b.help));
        if partial.is_empty() && open().any(|form| form.elements.len() <= depth) && depth > 0 {
            found.push(Offer { word: "<cr>".to_owned(), help: String::new(), keyword: false });
        }
        found
    }
}

fn is_rest(form: &Form, depth: usize) -> bool {
    matches!(
        form.elements.get(depth.wrapping_sub(1)),
        Some(Element::Param(Param { kind: Kind::Rest(_), .. }))
    ) && depth >= form.elements.len()
}

type Alive<'a> = Vec<(&'a Form, Words)>;

/// One word further: an exact keyword wins, then abbreviations beside parameters.
fn step<'a>(alive: Alive<'a>, depth: usize, token: Token<'_>, line: &str) -> Result<Alive<'a>, Mismatch> {
    let keyword = |form: &Form| match form.elements[depth] {
        Element::Keyword(word) => Some(word),
        _ => None,
    };
    let lower = token.text.to_ascii_lowercase();
    let exact = alive.iter().any(|(form, _)| keyword(form) == Some(lower.as_str()));
    let mut abbreviated: Vec<&str> = alive
        .iter()
        .filter(|(form, _)| !form.hidden)
        .filter_map(|(form, _)| keyword(form).filter(|word| word.starts_with(&lower)))
        .collect();
    abbreviated.sort_unstable();
    abbreviated.dedup();

    let mut next: Alive<'a> = Vec::new();
    let mut refusals: Vec<String> = Vec::new();
    for (form, words) in &alive {
        let value = match &form.elements[depth] {
            Element::Keyword(word) if *word == lower => Some((*word, Value::Keyword)),
            // Slips are understood in full only: an abbreviation never becomes one.
            Element::Keyword(word) if !exact && !form.hidden && word.starts_with(&lower) => {
                Some((*word, Value::Keyword))
            }
            Element::Keyword(_) => None,
            _ if exact => None,
            element => match value_of(element, token, line, words) {
                Ok(value) => element.param().map(|param| (param.name, value)),
                Err(refusal) => {
                    // An interface name is refused as one word or as two, whichever was written.
                    let digits = token.text.contains(|c: char| c.is_ascii_digit());
                    let other = match element {
                        Element::Param(param) => param.kind == Kind::Interface && !digits,
                        Element::InterfaceType(_) => digits,
                        _ => false,
                    };
                    if !form.hidden && !other {
                        refusals.push(refusal);
                    }
                    None
                }
            },
        };
        if let Some((name, value)) = value {
            let mut words = words.clone();
            words.push((name, value, token.column));
            next.push((form, words));
        }
    }
    // A slip never takes a word that a proper command could start or go on with.
    let proper = !abbreviated.is_empty() || next.iter().any(|(form, _)| !form.hidden);
    next.retain(|(form, words)| {
        let last = depth + 1 == form.elements.len() && words[depth].1 != Value::Keyword;
        !(proper && form.hidden && last)
    });
    let by_parameter = next.iter().any(|(_, words)| words[depth].1 != Value::Keyword);
    if !exact && abbreviated.len() > 1 && !by_parameter {
        return Err(Mismatch {
            reason: Reason::Ambiguous,
            column: token.column,
            depth,
            message: format!("\"{}\" is ambiguous", token.text),
            expected: abbreviated.iter().map(|word| (*word).to_owned()).collect(),
        });
    }
    if !next.is_empty() {
        return Ok(next);
    }
    refusals.sort_unstable();
    refusals.dedup();
    let message = match &refusals[..] {
        [one] if depth > 0 => one.clone(),
        _ => format!("\"{}\" is not understood here", token.text),
    };
    Err(Mismatch {
        reason: Reason::Invalid,
        column: token.column,
        depth,
        message,
        expected: offers(alive.iter().map(|(form, _)| *form), depth),
    })
}

/// Returns what may stand at `depth`, each offer once.
fn offers<'a>(forms: impl Iterator<Item = &'a Form>, depth: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut ends = false;
    for form in forms.filter(|form| !form.hidden) {
        match form.elements.get(depth) {
            Some(Element::Keyword(word)) => found.push((*word).to_owned()),
            Some(Element::Param(param)) => found.push(describe(param)),
            Some(Element::InterfaceUnit(_)) => found.push(format!("{UNIT} (interface number)")),
            // It stands beside the name in one word, which is named already.
            Some(Element::InterfaceType(_)) => {}
            None => ends = true,
        }
    }
    found.sort();
    found.dedup();
    if ends {
        found.push("end of line".to_owned());
    }
    found
}

/// The value of a word; the second word of an interface name needs the one before it.
fn value_of(element: &Element, token: Token<'_>, line: &str, before: &Words) -> Result<Value, String> {
    match (element, before.last()) {
        (Element::InterfaceType(_), _) => ifname::kind_of(token.text).map(Value::InterfaceType),
        (Element::InterfaceUnit(_), Some((_, Value::InterfaceType(kind), _))) => {
            IfName::from_parts(kind, token.text).map(Value::Interface)
        }
        (Element::Param(param), _) => read(param, token, line),
        _ => Err(format!("\"{}\" is not understood here", token.text)),
    }
}

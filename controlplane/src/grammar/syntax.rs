//! Syntaxes, expanded to their linear forms.

use super::param::{Kind, Param};

/// One word of a form.
#[derive(Clone, Debug)]
pub(super) enum Element {
    Keyword(&'static str),
    Param(Param),
    /// The first of the two words of an interface name: `GigabitEthernet 0/0/0`
    InterfaceType(Param),
    /// The second one
    InterfaceUnit(Param),
}

impl Element {
    pub(super) fn param(&self) -> Option<&Param> {
        match self {
            Element::Keyword(_) => None,
            Element::Param(param) | Element::InterfaceType(param) | Element::InterfaceUnit(param) => {
                Some(param)
            }
        }
    }
}

/// All linear forms of a syntax.
pub(super) fn expand(syntax: &'static str, params: &[Param]) -> Vec<Vec<Element>> {
    let mut rest = syntax;
    let forms = alternatives(&mut rest, params);
    assert!(rest.is_empty(), "unbalanced syntax: {syntax}");
    forms
}

fn alternatives(rest: &mut &'static str, params: &[Param]) -> Vec<Vec<Element>> {
    let mut all = sequence(rest, params);
    while let Some(after) = rest.strip_prefix('|') {
        *rest = after;
        all.extend(sequence(rest, params));
    }
    all
}

fn sequence(rest: &mut &'static str, params: &[Param]) -> Vec<Vec<Element>> {
    let mut forms: Vec<Vec<Element>> = vec![Vec::new()];
    loop {
        *rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return forms };
        let parts = match first {
            '{' | '[' => {
                *rest = &rest[1..];
                let mut inner = alternatives(rest, params);
                let close = if first == '{' { '}' } else { ']' };
                *rest = rest.strip_prefix(close).unwrap_or_else(|| panic!("unclosed part before: {rest}"));
                if first == '[' {
                    inner.push(Vec::new());
                }
                inner
            }
            '|' | '}' | ']' => return forms,
            _ => {
                let end = rest.find([' ', '{', '[', '|', '}', ']']).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                *rest = after;
                element(word, params)
            }
        };
        forms = forms
            .iter()
            .flat_map(|head| parts.iter().map(move |tail| [head.as_slice(), tail.as_slice()].concat()))
            .collect();
    }
}

/// The forms of one word of a syntax: an interface's name has two.
fn element(word: &'static str, params: &[Param]) -> Vec<Vec<Element>> {
    if !word.starts_with(|c: char| c.is_ascii_uppercase()) {
        return vec![vec![Element::Keyword(word)]];
    }
    let param = *params.iter().find(|p| p.name == word).unwrap_or_else(|| panic!("no parameter {word}"));
    let mut forms = vec![vec![Element::Param(param)]];
    if param.kind == Kind::Interface {
        forms.push(vec![Element::InterfaceType(param), Element::InterfaceUnit(param)]);
    }
    forms
}

//! The engine behind every command line, in the configuration and at the prompt: a table of command syntaxes
//! written as IOS manuals write them, matched word by word with abbreviations.
//!
//! A syntax is a list of keywords (lower case), parameters (UPPER CASE, looked up in a table of kinds),
//! `[optional]` parts and `{one|of|these}`. It is expanded to its linear forms, and a line is matched against
//! all forms of all commands at once, so that an error can name every word that would have been understood.

mod words;

use crate::types::{IfName, ifname};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A number within these bounds, both included
    Number(u64, u64),
    /// A number of up to 16 hexadecimal digits, with or without 0x before it
    Hex,
    /// A word of at most this many characters
    Word(usize),
    /// A word that starts with a letter
    Name(usize),
    /// Everything to the end of the line, at most this many characters
    Rest(usize),
    /// An IPv4 address that a host can have
    V4,
    /// An IPv6 address that a host can have
    V6,
    /// An IPv6 address with its prefix length
    V6Prefix,
    /// An IPv4 mask in dotted form
    Mask,
    /// An IPv4 or IPv6 address that a host can have
    Address,
    /// An interface name, in one word or in two
    Interface,
}

/// The name of a parameter, what it accepts, and how help shows it.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// As written in the syntax
    pub name: &'static str,
    /// What it accepts
    pub kind: Kind,
    /// What it is, in a few words with its unit
    pub help: &'static str,
}

#[derive(Clone, Debug)]
enum Element {
    Keyword(&'static str),
    Param(Param),
    /// The first of the two words of an interface name: `GigabitEthernet 0/0/0`
    InterfaceType(Param),
    /// The second one
    InterfaceUnit(Param),
}

impl Element {
    fn param(&self) -> Option<&Param> {
        match self {
            Element::Keyword(_) => None,
            Element::Param(param) | Element::InterfaceType(param) | Element::InterfaceUnit(param) => {
                Some(param)
            }
        }
    }
}

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
    /// What it means
    pub help: String,
    /// Whether it is a keyword, which completion may type
    pub keyword: bool,
}

/// A word of a line with its column, from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    /// The word
    pub text: &'a str,
    /// Where it starts
    pub column: usize,
    byte: usize,
}

/// Splits a line at white space.
#[must_use]
pub fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut start: Option<(usize, usize)> = None;
    for (column, (byte, c)) in line.char_indices().enumerate() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((byte, column)),
            (true, Some((from, at))) => {
                found.push(Token { text: &line[from..byte], column: at + 1, byte: from });
                start = None;
            }
            _ => {}
        }
    }
    if let Some((from, at)) = start {
        found.push(Token { text: &line[from..], column: at + 1, byte: from });
    }
    found
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Keyword,
    Number(u64),
    Text(String),
    Address(IpAddr),
    Prefix(IpAddr, u8),
    InterfaceType(&'static str),
    Interface(IfName),
}

/// A line that was understood.
#[derive(Clone, Debug)]
pub struct Matched {
    /// Index of the command in the table
    pub command: usize,
    words: Words,
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

    /// Whether the line has this keyword.
    #[must_use]
    pub fn has(&self, keyword: &str) -> bool {
        self.words.iter().any(|(word, value, _)| *word == keyword && *value == Value::Keyword)
    }

    /// Whether this keyword stands right before this parameter.
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
    /// How many words were understood
    pub depth: usize,
    /// What is wrong
    pub message: String,
    /// What would have been understood
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

    /// What may stand at the end of `line`: with white space there as the next word, else as the rest of the last one.
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

/// The words of a line so far: the keyword or parameter's name, the value, the column.
type Words = Vec<(&'static str, Value, usize)>;
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

/// What may stand at `depth`, each offer once.
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

/// A parameter as errors show it: `<1-100> (priority)`, `A.B.C.D (address)`.
fn describe(param: &Param) -> String {
    format!("{} ({})", shape(param), param.help)
}

/// The number of an interface as help shows it.
const UNIT: &str = "0/0/0";

fn shape(param: &Param) -> String {
    match param.kind {
        Kind::Number(low, high) => format!("<{low}-{high}>"),
        Kind::Hex => "HEX".to_owned(),
        Kind::Word(_) | Kind::Name(_) => "WORD".to_owned(),
        Kind::Rest(_) => "LINE".to_owned(),
        Kind::V4 | Kind::Mask => "A.B.C.D".to_owned(),
        Kind::V6 => "X:X:X:X::X".to_owned(),
        Kind::V6Prefix => "X:X:X:X::X/<0-128>".to_owned(),
        Kind::Address => "A.B.C.D or X:X:X:X::X".to_owned(),
        Kind::Interface => "TenGigabitEthernet0/0/0".to_owned(),
    }
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

fn read(param: &Param, token: Token<'_>, line: &str) -> Result<Value, String> {
    let text = token.text;
    match param.kind {
        Kind::Number(low, high) => {
            let digits = text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
            match text.parse::<u64>() {
                Ok(n) if digits && (low..=high).contains(&n) => Ok(Value::Number(n)),
                Ok(n) => Err(format!("{n} is out of range: the {} is {low} to {high}", param.help)),
                Err(_) => Err(format!("\"{text}\" is not a number: the {} is {low} to {high}", param.help)),
            }
        }
        Kind::Hex => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let number = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let wrong = || format!("\"{text}\" is not a hexadecimal number: the {}", param.help);
            u64::from_str_radix(digits, 16).ok().filter(|_| number).map(Value::Number).ok_or_else(wrong)
        }
        Kind::Word(most) => printable(text, most, param.help).map(Value::Text),
        Kind::Name(most) if text.starts_with(char::is_alphabetic) => {
            printable(text, most, param.help).map(Value::Text)
        }
        Kind::Name(_) => Err(format!("\"{text}\" does not start with a letter")),
        Kind::Rest(most) => printable(line[token.byte..].trim_end(), most, param.help).map(Value::Text),
        Kind::V4 => v4(text).map(|a| Value::Address(a.into())),
        Kind::V6 => v6(text).map(|a| Value::Address(a.into())),
        Kind::Address if text.contains(':') => v6(text).map(|a| Value::Address(a.into())),
        Kind::Address => v4(text).map(|a| Value::Address(a.into())),
        Kind::V6Prefix => {
            let (address, length) = text
                .split_once('/')
                .ok_or_else(|| format!("\"{text}\" has no prefix length: write it as {text}/64"))?;
            let address = v6(address)?;
            match length.parse::<u8>() {
                Ok(length @ 1..=128) => Ok(Value::Prefix(address.into(), length)),
                _ => Err(format!("\"/{length}\" is not a prefix length of IPv6: it is 1 to 128")),
            }
        }
        Kind::Mask => {
            let mask: Ipv4Addr =
                text.parse().map_err(|_| format!("\"{text}\" is not a mask: write it as 255.255.255.0"))?;
            let bits = u32::from(mask);
            if bits.leading_ones() + bits.trailing_zeros() < 32 || bits == 0 {
                return Err(format!(
                    "\"{text}\" is not a mask: its ones must come first and be at least one"
                ));
            }
            Ok(Value::Number(u64::from(bits.leading_ones())))
        }
        Kind::Interface => IfName::parse(text).map(Value::Interface),
    }
}

fn printable(text: &str, most: usize, what: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > most {
        return Err(format!("the {what} has {length} characters: {most} are allowed"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the {what} holds a control character: type it again"));
    }
    Ok(text.to_owned())
}

fn v4(text: &str) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| format!("\"{text}\" is not an IPv4 address: write it as 10.0.0.1"))?;
    let first = address.octets()[0];
    if first == 0 || address.is_loopback() || first >= 224 {
        return Err(format!("{address} is not a host's address: use a unicast address"));
    }
    Ok(address)
}

fn v6(text: &str) -> Result<Ipv6Addr, String> {
    let address: Ipv6Addr =
        text.parse().map_err(|_| format!("\"{text}\" is not an IPv6 address: write it as 2001:DB8::1"))?;
    if address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some()
    {
        return Err(format!("{address} is not a host's address: use a unicast address"));
    }
    Ok(address)
}

/// All linear forms of a syntax.
fn expand(syntax: &'static str, params: &[Param]) -> Vec<Vec<Element>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn grammar() -> Grammar {
        let params = [
            Param { name: "N", kind: Kind::Number(1, 9), help: "count" },
            Param { name: "NAME", kind: Kind::Word(8), help: "name" },
            Param { name: "TEXT", kind: Kind::Rest(20), help: "text" },
        ];
        let mut grammar = Grammar::default();
        grammar.add(0, "show {standby|status} [N] [brief]", &params, false, "show it");
        grammar.add(1, "set name NAME", &params, false, "give it a name");
        grammar.add(2, "set {active|passive} N [active]", &params, false, "set it");
        grammar.add(3, "set NAME", &params, true, "");
        grammar.add(4, "say TEXT", &params, false, "say it");
        grammar
    }

    #[test]
    fn words_may_be_abbreviated_while_they_are_unique() {
        let grammar = grammar();
        assert_eq!(grammar.parse("sh stan").unwrap().command, 0);
        assert_eq!(grammar.parse("SHOW STATUS 3 b").unwrap().number::<u8>("N"), Some(3));
        let ambiguous = grammar.parse("sh st").unwrap_err();
        assert_eq!((ambiguous.column, ambiguous.message.as_str()), (4, "\"st\" is ambiguous"));
        assert_eq!(ambiguous.expected, ["standby", "status"]);
    }

    #[test]
    fn an_error_names_the_column_and_what_was_expected() {
        let grammar = grammar();
        let wrong = grammar.parse("show standby 12").unwrap_err();
        assert_eq!((wrong.column, wrong.message.as_str()), (14, "12 is out of range: the count is 1 to 9"));
        let short = grammar.parse("set active").unwrap_err();
        assert_eq!((short.column, short.expected), (12, vec!["<1-9> (count)".to_owned()]));
        let long = grammar.parse("show standby 1 brief more").unwrap_err();
        assert_eq!((long.column, long.expected), (22, vec!["end of line".to_owned()]));
        assert_eq!(grammar.parse("").unwrap_err().expected, ["say", "set", "show"]);
    }

    #[test]
    fn a_mismatch_is_shown_with_a_caret() {
        let wrong = grammar().parse("show standby 12").unwrap_err();
        assert_eq!(wrong.reason, Reason::Invalid);
        assert_eq!(
            wrong.render("show standby 12"),
            "show standby 12\n             ^\n12 is out of range: the count is 1 to 9\n\
             expected here: <1-9> (count), brief"
        );
    }

    #[test]
    fn hidden_forms_are_understood_but_never_offered() {
        let grammar = grammar();
        let slip = grammar.parse("set group1").unwrap();
        assert_eq!((slip.command, slip.text("NAME")), (3, Some("group1".to_owned())));
        assert_eq!(grammar.parse("set").unwrap_err().expected, ["active", "name", "passive"]);
    }

    #[test]
    fn the_rest_of_a_line_is_kept_as_typed() {
        let said = grammar().parse("say  a  b c ").unwrap();
        assert_eq!(said.text("TEXT"), Some("a  b c".to_owned()));
        assert!(grammar().parse("say 123456789012345678901").is_err());
    }

    #[test]
    fn what_may_follow_is_offered_with_its_meaning() {
        let words = |line: &str| {
            let offers = grammar().offers(line);
            offers.into_iter().map(|offer| format!("{} {}", offer.word, offer.help)).collect::<Vec<_>>()
        };
        assert_eq!(words(""), ["say say it", "set give it a name", "show show running system information"]);
        assert_eq!(words("s"), words(""));
        assert_eq!(words("sh"), ["show show running system information"]);
        assert_eq!(words("sh "), ["standby HSRP", "status show it"]);
        assert_eq!(words("sh stat"), ["status show it"]);
        assert_eq!(words("sh stat "), ["<1-9> count", "brief one line per group", "<cr> "]);
        assert_eq!(words("set act 7 "), ["active the key that encrypts", "<cr> "]);
        assert_eq!(words("say "), ["LINE text"]);
        assert_eq!(words("say a b "), ["<cr> "]);
        assert_eq!(words("say a b"), [""; 0]);
        assert_eq!(words("nonsense "), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,60}") {
            let _ = grammar().parse(&line);
            let _ = grammar().offers(&line);
        }
    }
}

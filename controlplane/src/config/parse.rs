//! From text to [`Config`]: modes, prompts, comments, `no`, and the diagnostics.

use super::commands::{COMMANDS, Effect, PARAMS};
use super::diag::{Diagnostic, Severity};
use super::ifname::IfName;
use super::keychain::{ChainKey, MAX_KEYS};
use super::model::{Cluster, Config, Group, Interface};
use crate::grammar::{Grammar, Matched, Mismatch};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A configuration is at most this long, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// A line is at most this long, in characters.
const MAX_LINE: usize = 1000;
/// After this many errors the rest of the file is not read.
const MAX_ERRORS: usize = 20;

/// Where a command belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Any,
    Global,
    Interface,
    Cluster,
    KeyChain,
}

/// Why a line that matched its syntax cannot be taken.
pub(super) struct Fault {
    word: &'static str,
    message: String,
}

impl Fault {
    /// A fault of one word or parameter of the line.
    pub(super) fn at(word: &'static str, message: String) -> Fault {
        Fault { word, message }
    }

    /// A fault of the whole line.
    pub(super) fn line(message: String) -> Fault {
        Fault { word: "", message }
    }
}

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
    /// Errors for the interfaces that this machine does not have: `bound` says whether the platform profile binds one.
    #[must_use]
    pub fn unbound(&self, bound: impl Fn(&IfName) -> bool) -> Vec<Diagnostic> {
        let missing = self.config.interfaces.keys().filter(|name| !bound(name));
        let error = |name: &IfName| {
            let (line, text) = self.interfaces.get(name).cloned().unwrap_or_default();
            let column = crate::grammar::tokens(&strip_prompt(&text)).get(1).map_or(0, |word| word.column);
            Diagnostic {
                severity: Severity::Error,
                line,
                column,
                text,
                message: format!(
                    "no port of the platform profile is bound to {name}: add a [[port]] with interface = \"{name}\", \
                     or name one that it has"
                ),
                expected: Vec::new(),
            }
        };
        missing.map(error).collect()
    }
}

/// The configuration that grows while lines are read.
pub(super) struct Builder {
    pub config: Config,
    mode: Mode,
    interface: Option<IfName>,
    /// The key chain at hand and its key
    chain: (String, Option<u32>),
    last_groups: BTreeMap<IfName, u16>,
    origins: BTreeMap<(IfName, &'static str), (usize, String)>,
    interfaces: BTreeMap<IfName, (usize, String)>,
    remarks: Vec<Diagnostic>,
    line: usize,
    text: String,
}

struct Grammars {
    global: Grammar,
    interface: Grammar,
    cluster: Grammar,
    key_chain: Grammar,
}

static GRAMMARS: LazyLock<Grammars> = LazyLock::new(|| {
    let grammar = |mode: Mode| {
        let mut grammar = Grammar::default();
        for (index, command) in COMMANDS.iter().enumerate() {
            if command.mode != mode && command.mode != Mode::Any {
                continue;
            }
            let hidden = command.effect == Effect::Slip;
            if !command.syntax.is_empty() {
                grammar.add(index * 2, command.syntax, PARAMS, hidden);
            }
            if !command.no.is_empty() {
                let negative: &'static str = Box::leak(format!("no {}", command.no).into_boxed_str());
                grammar.add(index * 2 + 1, negative, PARAMS, hidden);
            }
        }
        grammar
    };
    Grammars {
        global: grammar(Mode::Global),
        interface: grammar(Mode::Interface),
        cluster: grammar(Mode::Cluster),
        key_chain: grammar(Mode::KeyChain),
    }
});

fn grammar(mode: Mode) -> &'static Grammar {
    match mode {
        Mode::Any | Mode::Global => &GRAMMARS.global,
        Mode::Interface => &GRAMMARS.interface,
        Mode::Cluster => &GRAMMARS.cluster,
        Mode::KeyChain => &GRAMMARS.key_chain,
    }
}

/// Reads a whole configuration.
///
/// # Errors
/// All lines that cannot be understood, at most 20, with the remarks on the others: nothing is taken.
pub fn parse(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    if text.len() > MAX_BYTES {
        return Err(vec![Diagnostic {
            severity: Severity::Error,
            line: 0,
            column: 0,
            text: String::new(),
            message: format!(
                "the configuration has {} bytes, the most is {MAX_BYTES}: is it the right file?",
                text.len()
            ),
            expected: Vec::new(),
        }]);
    }
    let mut builder = Builder {
        config: Config::default(),
        mode: Mode::Global,
        interface: None,
        chain: (String::new(), None),
        last_groups: BTreeMap::new(),
        origins: BTreeMap::new(),
        interfaces: BTreeMap::new(),
        remarks: Vec::new(),
        line: 0,
        text: String::new(),
    };
    let mut errors = 0;
    for (number, line) in text.lines().enumerate() {
        builder.line = number + 1;
        builder.text = line.to_owned();
        if !builder.take(line) {
            errors += 1;
            if errors == MAX_ERRORS {
                break;
            }
        }
    }
    builder.finish();
    if errors > 0 {
        return Err(builder.remarks);
    }
    Ok(Loaded { config: builder.config, remarks: builder.remarks, interfaces: builder.interfaces })
}

/// The line without a pasted prompt such as `Device(config-if)# `, blanked so that columns stay.
fn strip_prompt(line: &str) -> String {
    let Some(mark) = line.find(['#', '>']) else { return line.to_owned() };
    let prompt = line[..mark].trim_start();
    let (name, mode) = match prompt.split_once('(') {
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(mode) => (name, mode),
            None => return line.to_owned(),
        },
        None => (prompt, ""),
    };
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if name.is_empty() || !word(name) || !word(mode) {
        return line.to_owned();
    }
    let blank: String = line[..=mark].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{blank}{}", &line[mark + 1..])
}

impl Builder {
    /// Takes one line; false when it is an error.
    fn take(&mut self, raw: &str) -> bool {
        let line = strip_prompt(raw);
        let words = line.trim();
        if words.is_empty() || words.starts_with('!') {
            return true;
        }
        if line.chars().count() > MAX_LINE {
            return self.refuse(
                MAX_LINE + 1,
                format!("the line is longer than {MAX_LINE} characters"),
                Vec::new(),
            );
        }
        if words.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("show")) {
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            self.warn(column, "this is a question, not configuration: the line is passed over".to_owned());
            return true;
        }
        let matched = match self.find(&line) {
            Ok(matched) => matched,
            Err(Mismatch { column, message, expected, .. }) => return self.refuse(column, message, expected),
        };
        let command = &COMMANDS[matched.command / 2];
        let no = matched.command % 2 == 1;
        let nothing_to_undo = no
            && command.no.starts_with("standby [GROUP]")
            && self
                .interface()
                .is_ok_and(|i| !i.groups.contains_key(&super::commands::group_number(&matched)));
        if nothing_to_undo {
            return true;
        }
        if let Err(fault) = (command.apply)(self, &matched, no) {
            return self.refuse(matched.column(fault.word), fault.message, Vec::new());
        }
        if let (Effect::Later(why), false) = (command.effect, no) {
            let text = self.text.clone();
            let message = format!("kept, without effect yet: {why}");
            self.remark(Severity::Notice, 0, text, message, Vec::new());
        }
        true
    }

    /// Finds the command in this mode, else, as on IOS, in the global one.
    fn find(&mut self, line: &str) -> Result<Matched, Mismatch> {
        let here = match grammar(self.mode).parse(line) {
            Ok(matched) => return Ok(matched),
            Err(mismatch) => mismatch,
        };
        let mut nearest = here;
        // What begins several commands here is not meant for another place.
        let ambiguous = nearest.message.ends_with("is ambiguous");
        if self.mode != Mode::Global {
            match grammar(Mode::Global).parse(line) {
                Ok(matched) => {
                    self.mode = Mode::Global;
                    return Ok(matched);
                }
                Err(mismatch) if mismatch.depth > nearest.depth => nearest = mismatch,
                Err(_) => {}
            }
        }
        for (mode, place) in [
            (Mode::Interface, "interface TenGigabitEthernet0/0/0"),
            (Mode::Cluster, "crypto ikev2 cluster"),
            (Mode::KeyChain, "key chain NAME"),
        ] {
            if self.mode != mode && !ambiguous && nearest.depth <= 1 && grammar(mode).parse(line).is_ok() {
                nearest.message = format!("this line belongs under `{place}`: put that line before it");
                nearest.expected.clear();
                break;
            }
        }
        Err(nearest)
    }

    fn refuse(&mut self, column: usize, message: String, expected: Vec<String>) -> bool {
        let text = self.text.clone();
        self.remark(Severity::Error, column, text, message, expected);
        false
    }

    fn remark(
        &mut self,
        severity: Severity,
        column: usize,
        text: String,
        message: String,
        expected: Vec<String>,
    ) {
        let line = self.line;
        self.remarks.push(Diagnostic { severity, line, column, text, message, expected });
    }

    /// Warns about the line at hand.
    pub(super) fn warn(&mut self, column: usize, message: String) {
        let text = self.text.clone();
        self.remark(Severity::Warning, column, text, message, Vec::new());
    }

    /// Warns that the line at hand departs from the syntax.
    pub(super) fn slip(&mut self, column: usize, understood: &str, exact: &str) {
        self.warn(column, format!("{understood}; the exact form is `{exact}`"));
    }

    /// Remembers the line at hand as the one that set `what` on this interface.
    pub(super) fn note_origin(&mut self, what: &'static str) {
        if let Some(interface) = self.interface.clone() {
            self.origins.insert((interface, what), (self.line, self.text.clone()));
        }
    }

    pub(super) fn leave(&mut self) -> Result<(), Fault> {
        self.mode = Mode::Global;
        Ok(())
    }

    pub(super) fn enter_interface(&mut self, name: IfName) -> Result<(), Fault> {
        if self.config.interfaces.len() >= 256 && !self.config.interfaces.contains_key(&name) {
            return Err(Fault::line("256 interfaces is the most: take one out".to_owned()));
        }
        self.config.interfaces.entry(name.clone()).or_default();
        self.interfaces.entry(name.clone()).or_insert((self.line, self.text.clone()));
        self.interface = Some(name);
        self.mode = Mode::Interface;
        Ok(())
    }

    /// One step out: from a key to its chain, else to the top.
    pub(super) fn exit(&mut self) -> Result<(), Fault> {
        if self.mode == Mode::KeyChain && self.chain.1.take().is_some() {
            return Ok(());
        }
        self.leave()
    }

    pub(super) fn enter_key_chain(&mut self, name: String) -> Result<(), Fault> {
        if self.config.key_chains.len() >= 64 && !self.config.key_chains.contains_key(&name) {
            return Err(Fault::line("64 key chains is the most: take one out".to_owned()));
        }
        self.config.key_chains.entry(name.clone()).or_default();
        self.chain = (name, None);
        self.mode = Mode::KeyChain;
        Ok(())
    }

    /// Goes to a key of the chain at hand, which is made when it is new, or takes it away.
    pub(super) fn enter_key(&mut self, number: u32, no: bool) -> Result<(), Fault> {
        let chain = self.config.key_chains.entry(self.chain.0.clone()).or_default();
        self.chain.1 = None;
        if no {
            chain.remove(&number);
            return Ok(());
        }
        if chain.len() >= MAX_KEYS && !chain.contains_key(&number) {
            return Err(Fault::line(format!("{MAX_KEYS} keys is the most in a chain: take one out")));
        }
        chain.entry(number).or_default();
        self.chain.1 = Some(number);
        Ok(())
    }

    /// The key at hand.
    pub(super) fn key(&mut self) -> Result<&mut ChainKey, Fault> {
        let (chain, key) = &self.chain;
        let key = key.and_then(|key| self.config.key_chains.get_mut(chain)?.get_mut(&key));
        key.ok_or_else(|| Fault::line("this line belongs under `key NUMBER` of a key chain".to_owned()))
    }

    pub(super) fn enter_cluster(&mut self) -> Result<(), Fault> {
        self.config.cluster.get_or_insert_default();
        self.mode = Mode::Cluster;
        Ok(())
    }

    pub(super) fn interface(&mut self) -> Result<&mut Interface, Fault> {
        let name = self.interface.as_ref().filter(|_| self.mode == Mode::Interface);
        name.and_then(|name| self.config.interfaces.get_mut(name))
            .ok_or_else(|| Fault::line("this line belongs under `interface NAME`".to_owned()))
    }

    pub(super) fn cluster(&mut self) -> Result<&mut Cluster, Fault> {
        self.config
            .cluster
            .as_mut()
            .ok_or_else(|| Fault::line("this line belongs under `crypto ikev2 cluster`".to_owned()))
    }

    /// The group that the line names, made when it is new.
    pub(super) fn group(&mut self, m: &Matched) -> Result<&mut Group, Fault> {
        let number = super::commands::group_number(m);
        self.touch_group(number);
        Ok(self.interface()?.groups.entry(number).or_default())
    }

    pub(super) fn touch_group(&mut self, group: u16) {
        if let Some(interface) = self.interface.clone() {
            self.last_groups.insert(interface, group);
        }
    }

    /// The group that was configured last on this interface.
    pub(super) fn last_group(&self) -> u16 {
        self.interface.as_ref().and_then(|name| self.last_groups.get(name)).copied().unwrap_or(0)
    }

    /// Remarks that need the whole file.
    fn finish(&mut self) {
        for (name, interface) in &self.config.interfaces {
            let ipv6 = !interface.ipv6.is_empty()
                || interface.groups.values().any(|g| !g.ipv6.is_empty() || g.ipv6_autoconfig);
            if interface.version() == 1
                && ipv6
                && !interface.groups.is_empty()
                && let Some((line, text)) = self.origins.get(&(name.clone(), "standby version"))
            {
                self.remarks.push(Diagnostic {
                    severity: Severity::Warning,
                    line: *line,
                    column: 0,
                    text: text.clone(),
                    message: "version 1 has no IPv6: the line is kept, the IPv6 groups of the interface stay down; \
                              the exact form is `standby version 2`"
                        .to_owned(),
                    expected: Vec::new(),
                });
            }
        }
        self.remarks.sort_by_key(|remark| (remark.line, remark.severity as u8));
    }
}

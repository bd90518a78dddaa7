//! From text to [`Config`]: modes, prompts, comments, `no`, and the diagnostics.

use super::binding::Binding;
use super::change::Order;
use super::commands::{COMMANDS, Effect, PARAMS};
use super::diag::{Diagnostic, Severity};
use super::model::{Cluster, Config, Group, Interface, Keyring, KeyringPeer, Profile};
use super::secrets::{Masked, Masker};
use crate::grammar::{Grammar, Matched, Mismatch, Reason};
use crate::types::IfName;
use crate::types::keychain::{ChainKey, MAX_KEYS};
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
    Profile,
    Keyring,
    Peer,
    KeyChain,
    Key,
}

impl Mode {
    /// The mode that `exit` leads to.
    pub(super) fn outer(self) -> Mode {
        match self {
            Mode::Peer => Mode::Keyring,
            Mode::Key => Mode::KeyChain,
            _ => Mode::Global,
        }
    }
}

/// Where the next line is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Global,
    Interface(IfName),
    Cluster,
    Profile(String),
    Keyring(String),
    Peer(String, String),
    KeyChain(String),
    Key(String, u32),
}

impl Place {
    pub(super) fn mode(&self) -> Mode {
        match self {
            Place::Global => Mode::Global,
            Place::Interface(_) => Mode::Interface,
            Place::Cluster => Mode::Cluster,
            Place::Profile(_) => Mode::Profile,
            Place::Keyring(_) => Mode::Keyring,
            Place::Peer(..) => Mode::Peer,
            Place::KeyChain(_) => Mode::KeyChain,
            Place::Key(..) => Mode::Key,
        }
    }

    /// Where `exit` leads.
    pub(super) fn outer(&self) -> Place {
        match self {
            Place::Peer(keyring, _) => Place::Keyring(keyring.clone()),
            Place::Key(chain, _) => Place::KeyChain(chain.clone()),
            _ => Place::Global,
        }
    }

    /// The lines that lead here.
    pub(super) fn path(&self) -> Vec<String> {
        match self {
            Place::Global => Vec::new(),
            Place::Interface(name) => vec![format!("interface {name}")],
            Place::Cluster => vec!["crypto ikev2 cluster".to_owned()],
            Place::Profile(name) => vec![format!("crypto ikev2 profile {name}")],
            Place::Keyring(name) => vec![format!("crypto ikev2 keyring {name}")],
            Place::Peer(keyring, name) => {
                vec![format!("crypto ikev2 keyring {keyring}"), format!("peer {name}")]
            }
            Place::KeyChain(name) => vec![format!("key chain {name}")],
            Place::Key(chain, number) => vec![format!("key chain {chain}"), format!("key {number}")],
        }
    }
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
    /// Errors for the interfaces that this machine does not have.
    #[must_use]
    pub fn unbound(&self, binding: &Binding) -> Vec<Diagnostic> {
        let error = |name: &IfName| {
            let message = binding.refusal(&self.config, name)?;
            let (line, text) = self.interfaces.get(name).cloned().unwrap_or_default();
            let plain = strip_prompt(&text);
            let words = crate::grammar::tokens(&plain);
            // `interface NAME`, or the VLAN of `encapsulation dot1Q VLAN`.
            let encapsulation =
                words.first().is_some_and(|word| word.text.to_ascii_lowercase().starts_with('e'));
            let column = words.get(1 + usize::from(encapsulation)).map_or(0, |word| word.column);
            Some(Diagnostic { line, column, text, message, ..Diagnostic::default() })
        };
        self.config.interfaces.keys().filter_map(error).collect()
    }
}

/// The configuration that grows while lines are read.
pub(super) struct Builder {
    pub config: Config,
    pub(super) place: Place,
    pub(super) ended: bool,
    pub(super) orders: Vec<Order>,
    last_groups: BTreeMap<IfName, u16>,
    origins: BTreeMap<(IfName, &'static str), (usize, String)>,
    interfaces: BTreeMap<IfName, (usize, String)>,
    remarks: Vec<Diagnostic>,
    line: usize,
    /// The line at hand as it may be shown
    masked: Masked,
    masker: Masker,
}

/// The modes that have a grammar of their own, each with the line that leads to it.
pub(super) const MODES: [(Mode, &str); 8] = [
    (Mode::Global, ""),
    (Mode::Interface, "interface TenGigabitEthernet0/0/0"),
    (Mode::Cluster, "crypto ikev2 cluster"),
    (Mode::Profile, "crypto ikev2 profile NAME"),
    (Mode::Keyring, "crypto ikev2 keyring NAME"),
    (Mode::Peer, "peer NAME"),
    (Mode::KeyChain, "key chain NAME"),
    (Mode::Key, "key NUMBER"),
];

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

/// The submode that these lines lead to; the outermost one where they make no sense.
pub(super) fn resolve(place: &[String]) -> Place {
    let mut builder = Builder::new(Config::default(), Place::Global);
    builder.read(place.iter().map(String::as_str));
    builder.place
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
    let mut builder = Builder::new(Config::default(), Place::Global);
    if builder.read(text.lines()) {
        return Ok(Loaded {
            config: builder.config,
            remarks: builder.remarks,
            interfaces: builder.interfaces,
        });
    }
    Err(builder.remarks)
}

/// The line without a pasted prompt such as `Device(config-if)# `, blanked so that columns stay.
pub(crate) fn strip_prompt(line: &str) -> String {
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

fn misplaced(under: &str) -> Fault {
    Fault::line(format!("this line belongs under `{under}`"))
}

/// Named things are bounded: 256 of a kind.
fn room<T>(of: &BTreeMap<String, T>, name: &str, what: &str) -> Result<(), Fault> {
    if of.len() >= 256 && !of.contains_key(name) {
        return Err(Fault::line(format!("256 {what} is the most: take one out")));
    }
    Ok(())
}

impl Builder {
    pub(super) fn new(config: Config, place: Place) -> Builder {
        Builder {
            config,
            place,
            ended: false,
            orders: Vec::new(),
            last_groups: BTreeMap::new(),
            origins: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            remarks: Vec::new(),
            line: 0,
            masked: Masked::default(),
            masker: Masker::anywhere(),
        }
    }

    /// Forgets what there was to say, not what was read.
    pub(super) fn restart(&mut self) {
        self.remarks.clear();
        self.orders.clear();
        self.interfaces.clear();
        self.ended = false;
    }

    pub(super) fn into_parts(self) -> Loaded {
        Loaded { config: self.config, remarks: self.remarks, interfaces: self.interfaces }
    }

    /// Takes lines to the end or to the twentieth error; false when there was one.
    pub(super) fn read<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> bool {
        let mut errors = 0;
        for (number, line) in lines.enumerate() {
            self.line = number + 1;
            errors += usize::from(!self.take(line));
            if errors == MAX_ERRORS {
                break;
            }
        }
        self.finish();
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
            self.masked = self.masker.misunderstood(raw, &line, None);
            self.warn(column, "exec command in configuration mode: line ignored".to_owned());
            return true;
        }
        if line.chars().count() > MAX_LINE {
            self.masked = self.masker.misunderstood(raw, &line, None);
            return self.refuse(Diagnostic {
                column: MAX_LINE + 1,
                message: format!("the line is longer than {MAX_LINE} characters"),
                ..Diagnostic::default()
            });
        }
        let matched = match self.find(&line) {
            Ok(matched) => matched,
            Err(mismatch) => {
                self.masked = self.masker.misunderstood(raw, &line, Some(&mismatch));
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
        self.masked = self.masker.understood(raw, &line, &matched);
        let command = COMMANDS[matched.command / 2];
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
            let (column, message) = (matched.column(fault.word), fault.message);
            return self.refuse(Diagnostic { column, message, ..Diagnostic::default() });
        }
        if let (Effect::Later(why), false) = (command.effect, no) {
            let message = format!("kept, without effect yet: {why}");
            self.remark(Diagnostic { severity: Severity::Notice, message, ..Diagnostic::default() });
        }
        true
    }

    /// Finds the command of a line, and goes to its mode.
    fn find(&mut self, line: &str) -> Result<Matched, Mismatch> {
        let here = self.place.mode();
        let mut nearest = match locate(here, line) {
            Ok((mode, matched)) => {
                while self.place.mode() != mode {
                    self.place = self.place.outer();
                }
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
        self.remark(error);
        false
    }

    /// Adds a remark on the line at hand.
    fn remark(&mut self, remark: Diagnostic) {
        self.remarks.push(Diagnostic { line: self.line, ..remark }.on(&self.masked));
    }

    /// Warns about the line at hand.
    pub(super) fn warn(&mut self, column: usize, message: String) {
        self.remark(Diagnostic { severity: Severity::Warning, column, message, ..Diagnostic::default() });
    }

    /// Warns that the line at hand departs from the syntax.
    pub(super) fn slip(&mut self, column: usize, understood: &str, exact: &str) {
        self.warn(column, format!("{understood}; the exact form is `{exact}`"));
    }

    /// Remembers the line at hand as the one that set `what` on this interface.
    pub(super) fn note_origin(&mut self, what: &'static str) {
        if let Place::Interface(interface) = self.place.clone() {
            self.origins.insert((interface, what), (self.line, self.masked.text.clone()));
        }
    }

    pub(super) fn leave(&mut self) -> Result<(), Fault> {
        self.place = Place::Global;
        Ok(())
    }

    /// `exit`: one place out, and out of the configuration from the outermost.
    pub(super) fn exit(&mut self) -> Result<(), Fault> {
        self.ended = self.place == Place::Global;
        self.place = self.place.outer();
        Ok(())
    }

    /// `end`: out of the configuration.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.ended = true;
        self.leave()
    }

    pub(super) fn enter_interface(&mut self, name: IfName) -> Result<(), Fault> {
        if self.config.interfaces.len() >= 256 && !self.config.interfaces.contains_key(&name) {
            return Err(Fault::line("256 interfaces is the most: take one out".to_owned()));
        }
        self.config.interfaces.entry(name.clone()).or_default();
        self.interfaces.entry(name.clone()).or_insert((self.line, self.masked.text.clone()));
        self.place = Place::Interface(name);
        Ok(())
    }

    /// Gives the subinterface at hand its VLAN.
    pub(super) fn encapsulate(&mut self, vlan: Option<u16>) -> Result<(), Fault> {
        let Place::Interface(name) = self.place.clone() else { return Err(misplaced("interface NAME")) };
        let Some(parent) = name.parent() else {
            return Err(Fault::line(format!(
                "{name} itself has the frames without a tag: enter the VLAN under a subinterface, as `interface {}`",
                name.subinterface(vlan.unwrap_or(100).into())
            )));
        };
        let mut others = self.config.interfaces.iter().filter(|(other, _)| **other != name);
        let holder = others.find(|(other, of)| {
            vlan.is_some() && of.encapsulation == vlan && other.parent().as_ref() == Some(&parent)
        });
        if let (Some((other, _)), Some(vlan)) = (holder, vlan) {
            return Err(Fault::at(
                "VLAN",
                format!(
                    "{other} has VLAN {vlan} already: choose another, or enter `no encapsulation dot1Q {vlan}` there"
                ),
            ));
        }
        self.interface()?.encapsulation = vlan;
        self.interfaces.insert(name, (self.line, self.masked.text.clone()));
        Ok(())
    }

    pub(super) fn enter_cluster(&mut self) -> Result<(), Fault> {
        self.config.cluster.get_or_insert_default();
        self.place = Place::Cluster;
        Ok(())
    }

    pub(super) fn enter_key_chain(&mut self, name: String) -> Result<(), Fault> {
        room(&self.config.key_chains, &name, "key chains")?;
        self.config.key_chains.entry(name.clone()).or_default();
        self.place = Place::KeyChain(name);
        Ok(())
    }

    /// Goes to a key of the chain at hand, which is made when it is new, or takes it away.
    pub(super) fn enter_key(&mut self, number: u32, no: bool) -> Result<(), Fault> {
        let (Place::KeyChain(name) | Place::Key(name, _)) = self.place.clone() else {
            return Err(misplaced("key chain NAME"));
        };
        let chain = self.config.key_chains.entry(name.clone()).or_default();
        if no {
            chain.remove(&number);
            self.place = Place::KeyChain(name);
            return Ok(());
        }
        if chain.len() >= MAX_KEYS && !chain.contains_key(&number) {
            return Err(Fault::line(format!("{MAX_KEYS} keys is the most in a chain: take one out")));
        }
        chain.entry(number).or_default();
        self.place = Place::Key(name, number);
        Ok(())
    }

    /// The key at hand.
    pub(super) fn key(&mut self) -> Result<&mut ChainKey, Fault> {
        let Place::Key(chain, number) = &self.place else { return Err(misplaced("key NUMBER")) };
        let key = self.config.key_chains.get_mut(chain).and_then(|chain| chain.get_mut(number));
        key.ok_or_else(|| misplaced("key NUMBER"))
    }

    pub(super) fn enter_profile(&mut self, name: String) -> Result<(), Fault> {
        room(&self.config.profiles, &name, "profiles")?;
        self.config.profiles.entry(name.clone()).or_default();
        self.place = Place::Profile(name);
        Ok(())
    }

    pub(super) fn enter_keyring(&mut self, name: String) -> Result<(), Fault> {
        room(&self.config.keyrings, &name, "keyrings")?;
        self.config.keyrings.entry(name.clone()).or_default();
        self.place = Place::Keyring(name);
        Ok(())
    }

    pub(super) fn enter_peer(&mut self, name: String) -> Result<(), Fault> {
        let (Place::Keyring(keyring) | Place::Peer(keyring, _)) = self.place.clone() else {
            return Err(Fault::line("this line belongs under `crypto ikev2 keyring NAME`".to_owned()));
        };
        let peers = self.config.keyrings.entry(keyring.clone()).or_default();
        room(peers, &name, "peers of a keyring")?;
        peers.entry(name.clone()).or_default();
        self.place = Place::Peer(keyring, name);
        Ok(())
    }

    pub(super) fn interface(&mut self) -> Result<&mut Interface, Fault> {
        let Place::Interface(name) = &self.place else { return Err(misplaced("interface NAME")) };
        self.config.interfaces.get_mut(name).ok_or_else(|| misplaced("interface NAME"))
    }

    pub(super) fn profile(&mut self) -> Result<&mut Profile, Fault> {
        let Place::Profile(name) = &self.place else { return Err(misplaced("crypto ikev2 profile NAME")) };
        self.config.profiles.get_mut(name).ok_or_else(|| misplaced("crypto ikev2 profile NAME"))
    }

    pub(super) fn keyring(&mut self) -> Result<&mut Keyring, Fault> {
        let (Place::Keyring(name) | Place::Peer(name, _)) = &self.place else {
            return Err(misplaced("crypto ikev2 keyring NAME"));
        };
        self.config.keyrings.get_mut(name).ok_or_else(|| misplaced("crypto ikev2 keyring NAME"))
    }

    pub(super) fn peer(&mut self) -> Result<&mut KeyringPeer, Fault> {
        let Place::Peer(_, name) = self.place.clone() else { return Err(misplaced("peer NAME")) };
        self.keyring()?.get_mut(&name).ok_or_else(|| misplaced("peer NAME"))
    }

    pub(super) fn cluster(&mut self) -> Result<&mut Cluster, Fault> {
        self.config.cluster.as_mut().ok_or_else(|| misplaced("crypto ikev2 cluster"))
    }

    /// The group that the line names, made when it is new.
    pub(super) fn group(&mut self, m: &Matched) -> Result<&mut Group, Fault> {
        let number = super::commands::group_number(m);
        if number > 255 && self.interface()?.version() == 1 {
            return Err(Fault::at(
                "GROUP",
                format!(
                    "group {number} is beyond 255, the last of version 1: enter `standby version 2` first"
                ),
            ));
        }
        self.touch_group(number);
        Ok(self.interface()?.groups.entry(number).or_default())
    }

    pub(super) fn touch_group(&mut self, group: u16) {
        if let Place::Interface(interface) = self.place.clone() {
            self.last_groups.insert(interface, group);
        }
    }

    /// The group that was configured last on this interface.
    pub(super) fn last_group(&self) -> u16 {
        let Place::Interface(name) = &self.place else { return 0 };
        // In a session each line comes alone: the group that the configuration has is meant, where it has one.
        let only = || match self.config.interfaces.get(name)?.groups.keys().collect::<Vec<_>>()[..] {
            [one] => Some(*one),
            _ => None,
        };
        self.last_groups.get(name).copied().or_else(only).unwrap_or(0)
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
                    text: text.clone(),
                    message: "version 1 has no IPv6: the line is kept, the IPv6 groups of the interface stay down; \
                              the exact form is `standby version 2`"
                        .to_owned(),
                    ..Diagnostic::default()
                });
            }
        }
        self.remarks.sort_by_key(|remark| (remark.line, remark.severity as u8));
    }
}

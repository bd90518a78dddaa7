//! The configuration while its lines are taken: what the commands change, and what there is to say about each line.

use super::diag::{Diagnostic, Severity};
use super::masked::Masked;
use super::mode::{Mode, Place};
use super::model::{Cluster, Config, Group, Interface, Keyring, KeyringPeer, Profile};
use crate::grammar::Matched;
use crate::types::IfName;
use crate::types::keychain::{ChainKey, MAX_KEYS};
use std::collections::BTreeMap;

/// Something that is ordered by typing a line, even where the configuration says so already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `shutdown` (true) or `no shutdown` (false) under `crypto ikev2 cluster`
    ClusterShutdown(bool),
}

/// Why a line that matched its syntax cannot be taken.
pub(super) struct Fault {
    pub(super) word: &'static str,
    pub(super) message: String,
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

/// The configuration that grows while lines are read.
pub(super) struct Builder {
    pub(super) config: Config,
    pub(super) place: Place,
    pub(super) ended: bool,
    pub(super) orders: Vec<Order>,
    /// The line that each interface was entered or encapsulated by
    pub(super) interfaces: BTreeMap<IfName, (usize, String)>,
    pub(super) remarks: Vec<Diagnostic>,
    /// The number of the line at hand
    pub(super) line: usize,
    /// The line at hand as it may be shown
    pub(super) masked: Masked,
    last_groups: BTreeMap<IfName, u16>,
    origins: BTreeMap<(IfName, &'static str), (usize, String)>,
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

/// Returns the number of the group that a line names; 0 where it names none.
pub(super) fn group_number(m: &Matched) -> u16 {
    m.number("GROUP").unwrap_or(0)
}

impl Builder {
    pub(super) fn new(config: Config, place: Place) -> Builder {
        Builder {
            config,
            place,
            ended: false,
            orders: Vec::new(),
            interfaces: BTreeMap::new(),
            remarks: Vec::new(),
            line: 0,
            masked: Masked::default(),
            last_groups: BTreeMap::new(),
            origins: BTreeMap::new(),
        }
    }

    /// Forgets what there was to say, not what was read.
    pub(super) fn restart(&mut self) {
        self.remarks.clear();
        self.orders.clear();
        self.interfaces.clear();
        self.ended = false;
    }

    /// Adds a remark on the line at hand.
    pub(super) fn remark(&mut self, remark: Diagnostic) {
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

    /// Goes out to the place of this mode, which is the mode at hand or one around it.
    pub(super) fn leave_to(&mut self, mode: Mode) {
        while self.place.mode() != mode {
            self.place = self.place.outer();
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

    /// Returns whether the interface at hand is without the group that the line names.
    pub(super) fn lacks_group(&mut self, m: &Matched) -> bool {
        self.interface().is_ok_and(|interface| !interface.groups.contains_key(&group_number(m)))
    }

    /// The group that the line names, made when it is new.
    pub(super) fn group(&mut self, m: &Matched) -> Result<&mut Group, Fault> {
        let number = group_number(m);
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
    pub(super) fn finish(&mut self) {
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

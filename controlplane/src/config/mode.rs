//! Modes of the configuration, and the places in it that lines are taken at.

use crate::types::IfName;

/// Mode of a command.
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

/// Place in the configuration at which the next line is taken.
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

    /// Returns the place that `exit` leads to.
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

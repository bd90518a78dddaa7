//! One HSRP message as the state machine sees it: no wire format, no authentication.
//!
//! `packet` turns it into the bytes of version 1 (RFC 2281 section 5.1) or of version 2's group state TLV.

use std::net::IpAddr;
use std::time::Duration;

/// Op Code (RFC 2281 section 5.1, Op Code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Opcode {
    /// The sender runs and can become active or standby
    Hello,
    /// The sender wishes to become the active router
    Coup,
    /// The sender no longer wishes to be the active router
    Resign,
}

/// The states of both versions (RFC 2281 section 5.3); the numbers on the wire differ by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum State {
    /// Version 2 only: the group is switched off. This node reads it as Init and never sends it
    Disabled,
    /// Not running ("Initial" in RFC 2281)
    Init,
    /// Waits to learn the virtual address from the active router
    Learn,
    /// Neither active nor standby; listens
    Listen,
    /// Sends hellos and takes part in the election
    Speak,
    /// First to follow the active router
    Standby,
    /// Owns the virtual address
    Active,
}

impl State {
    /// The word for it in logs and `show`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Disabled => "Disabled",
            State::Init => "Init",
            State::Learn => "Learn",
            State::Listen => "Listen",
            State::Speak => "Speak",
            State::Standby => "Standby",
            State::Active => "Active",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The fields of a message that elections need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Op Code
    pub opcode: Opcode,
    /// The state the sender is in
    pub state: State,
    /// 1 or 2
    pub version: u8,
    /// 0-255 in version 1, 0-4095 in version 2
    pub group: u16,
    /// As on the wire; this node's own are 0-255
    pub priority: u32,
    /// Time between two hellos; whole seconds up to 255 in version 1, milliseconds in version 2
    pub hello: Duration,
    /// Hold time; units as for `hello`
    pub hold: Duration,
    /// None: the sender does not know it (it is in Learn)
    pub virtual_ip: Option<IpAddr>,
    /// Version 2: the sender's MAC; version 1: zero
    pub identifier: [u8; 6],
}

/// A message whose authentication is already proven, and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Content
    pub message: Message,
    /// The IP source address, which breaks ties of priority
    pub source: IpAddr,
}

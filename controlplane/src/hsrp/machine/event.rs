//! Events that a group takes, and actions that it asks for.

use super::config::Config;
use super::note::Note;
use crate::hsrp::message::{Message, Received, State};
use crate::types::Nanos;
use std::net::IpAddr;

/// Event of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interface is up and the group configured on it (event a); `reload`: for the first time since the start
    Enable {
        /// `reload` delays apply, not `minimum`
        reload: bool,
    },
    /// The group ends: interface down, unconfigured, SIGTERM (event b)
    Disable,
    /// New configuration; the role is kept unless version, group, own address or the lack of an address change
    Configure(Config),
    /// An authenticated message of this group
    Received(Received),
    /// Time has passed
    Tick,
    /// The data plane is dead, wedged or without link
    DataplaneDown,
    /// It has acknowledged a generation and has link
    DataplaneUp,
    /// A tracked object went down or came up; unknown objects are remembered
    Track {
        /// Its number
        object: u16,
        /// It is down
        down: bool,
    },
    /// Whether clients of the role are ready for it (`preempt delay sync`); taken as ready at the start
    Synced(bool),
    /// The operator asks to resign to the standby router
    Failover,
    /// Instead of `Enable`, by a daemon that was active when it died: its lease runs until then
    Resume {
        /// End of the lease, ns
        until: Nanos,
    },
    /// Announce the addresses anew if they are owned (the data plane came back)
    AnnounceAgain,
    /// The answer to [`Action::Probe`]
    Probed {
        /// The address
        address: IpAddr,
        /// It may be taken: no other host has it
        free: bool,
    },
    /// The clocks show that the whole machine stood still for this long (ns), which the monotonic clock did not count. 0:
    /// they cannot show it, a hello at once will
    Paused {
        /// ns
        length: Nanos,
    },
}

/// Action for the caller; a list is carried out in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Multicast this. From the virtual MAC only while the address is owned ([`super::Group::owns`])
    Send {
        /// The message
        message: Message,
        /// The address that it leaves from: peers know the sender by it
        source: IpAddr,
    },
    /// The state is now this
    Become(State),
    /// Take the address: prepared, filter, address, publish active
    GainVirtual,
    /// Give it up: publish inactive, wait for workers, address and filter off
    LoseVirtual,
    /// The configured address changed while it is owned
    UpdateVirtual,
    /// Send gratuitous ARPs or neighbour advertisements
    Announce,
    /// The active router says that this is the virtual address: check it and look whether another host has it, then
    /// answer by [`Event::Probed`]
    Probe(IpAddr),
    /// This is the virtual address from now on
    LearnVirtual(IpAddr),
    /// Set the lease word; `until` 0 ends it
    Lease {
        /// ns; 0: it has ended
        until: Nanos,
        /// Fence when it ends; otherwise requests pass to the kernel
        peer_known: bool,
    },
    /// Tell the operator
    Log(Note),
}

//! The wanted state of the kernel's devices, and the mailbox by which it reaches the reconciler's thread.

use crate::types::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The owner of a port's device, which decides what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// usherd: a persistent TAP, which is made anew when it is gone
    Usherd,
    /// The data plane: the device comes and goes with it
    Dataplane,
    /// The host: its MAC, MTU and settings are its own. What must be set is restored, and addresses that are not listed
    /// stay
    Host,
}

/// The exception device of a port as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDevice {
    /// Name in the kernel
    pub name: String,
    /// Owner
    pub owner: Owner,
    /// MAC address, where it is known; the host's own is left alone
    pub mac: Option<[u8; 6]>,
    /// MTU, where it is known; the host's own is left alone
    pub mtu: Option<u32>,
    /// Addresses; none while the interface is shut
    pub addresses: Vec<Prefix>,
}

/// The macvlan of a group as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDevice {
    /// The exception device below it
    pub parent: String,
    /// The virtual MAC address
    pub mac: [u8; 6],
    /// The virtual addresses, with the prefix length that they get on the device; none while the role is not ours
    pub addresses: Vec<Prefix>,
}

/// Wishes that callers have left for the thread.
#[derive(Default)]
pub(super) struct Inbox {
    pub ports: Option<Vec<PortDevice>>,
    pub groups: BTreeMap<String, (Option<GroupDevice>, u64)>,
    /// Tickets of requests that a later one about the same device replaced
    pub superseded: Vec<u64>,
    pub kept: Option<BTreeSet<String>>,
    pub stop: Option<bool>,
}

/// The inbox, and the bell at it.
#[derive(Default)]
pub(super) struct Mailbox {
    inbox: Mutex<Inbox>,
    pub notify: Notify,
}

impl Mailbox {
    /// Everything that was left.
    pub fn take(&self) -> Inbox {
        std::mem::take(&mut *self.inbox())
    }

    pub fn leave(&self, leave: impl FnOnce(&mut Inbox)) {
        leave(&mut self.inbox());
        self.notify.notify_one();
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

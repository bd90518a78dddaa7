//! The state of one device that is looked after.

use super::wanted::{GroupDevice, PortDevice};
use crate::types::{IfIndex, Prefix};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The first and the longest pause after a refusal.
pub(super) const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Wanted state of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Port(PortDevice),
    Group(Option<GroupDevice>),
}

/// A device that is looked after.
#[derive(Debug)]
pub(super) struct Device {
    pub wanted: Wanted,
    /// It is to be compared
    pub dirty: bool,
    /// The request that waits for an answer
    pub ticket: Option<u64>,
    /// It was as wanted since that was last stated; what differs then was changed by others
    pub settled: bool,
    /// It is being put right again
    pub repairing: bool,
    /// Steps since it was as wanted last
    pub steps: usize,
    /// The index for which the settings were set
    pub settings: Option<IfIndex>,
    /// The settings are to be looked at again
    pub recheck: bool,
    /// A link-local address that the kernel gave it
    pub link_local: Option<Prefix>,
    /// A TAP is being made
    pub busy: bool,
    pub failure: Option<Failure>,
    pub backoff: Duration,
    pub tried_at: Option<Instant>,
    pub not_before: Option<Instant>,
    /// When repairs began
    pub repairs: VecDeque<Instant>,
}

#[derive(Debug)]
pub(super) struct Failure {
    pub text: String,
    pub reported_at: Instant,
}

impl Device {
    pub fn new(wanted: Wanted) -> Device {
        Device {
            wanted,
            dirty: true,
            ticket: None,
            settled: false,
            repairing: false,
            steps: 0,
            settings: None,
            recheck: false,
            link_local: None,
            busy: false,
            failure: None,
            backoff: BACKOFF[0],
            tried_at: None,
            not_before: None,
            repairs: VecDeque::new(),
        }
    }

    /// It is wanted otherwise than before.
    pub fn restate(&mut self, wanted: Wanted) {
        if self.wanted != wanted {
            self.wanted = wanted;
            (self.settled, self.steps) = (false, 0);
        }
        (self.dirty, self.not_before) = (true, None);
    }

    pub fn is_port(&self) -> bool {
        matches!(self.wanted, Wanted::Port(_))
    }

    /// The number of addresses that it is to have.
    pub fn addresses(&self) -> usize {
        match &self.wanted {
            Wanted::Port(port) => port.addresses.len(),
            Wanted::Group(group) => group.as_ref().map_or(0, |group| group.addresses.len()),
        }
    }
}

/// The order in which devices have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A group waits for an answer, and its device is there: addresses come or go, which is what a takeover needs
    Takeover,
    /// A group waits for an answer, and its device has to be made
    Answer,
    Port,
    Group,
}

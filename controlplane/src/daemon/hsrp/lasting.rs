//! Epochs and leases, which outlive the process.

use crate::publish::Assignment;
use crate::state::{Elections, Part, Saver};
use crate::types::{GroupKey, Nanos};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Epochs and leases of the groups, and the way to the disk.
pub(super) struct Lasting {
    elections: Elections,
    saved: Option<Elections>,
    saver: Saver,
}

impl Lasting {
    /// Goes on from those of the life before.
    pub(super) fn new(elections: Elections, saver: Saver) -> Lasting {
        Lasting { elections, saved: None, saver }
    }

    /// Epoch of a group's last gain.
    pub(super) fn epoch(&self, key: &GroupKey) -> u64 {
        self.elections.epochs.get(&key.to_string()).copied().unwrap_or(0)
    }

    /// Begins the epoch of another gain.
    pub(super) fn next_epoch(&mut self, key: &GroupKey) -> u64 {
        let epoch = self.elections.epochs.entry(key.to_string()).or_default();
        *epoch = epoch.wrapping_add(1);
        *epoch
    }

    /// End of a group's lease; none when that is over.
    pub(super) fn lease(&self, key: &GroupKey, now: Nanos) -> Option<Nanos> {
        self.elections.leases.get(&key.to_string()).copied().filter(|until| now < *until)
    }

    /// Notes until when a group's lease runs.
    pub(super) fn set_lease(&mut self, key: &GroupKey, until: Nanos) {
        self.elections.leases.insert(key.to_string(), until);
    }

    /// Ends a group's lease.
    pub(super) fn end_lease(&mut self, key: &GroupKey) {
        self.elections.leases.remove(&key.to_string());
    }

    /// Ends all leases.
    pub(super) fn end_leases(&mut self) {
        self.elections.leases.clear();
    }

    /// Has epochs and leases written where they have changed.
    pub(super) fn save(&mut self) {
        if self.saved.as_ref() != Some(&self.elections)
            && self.saver.save(Part::Elections(self.elections.clone()))
        {
            self.saved = Some(self.elections.clone());
        }
    }

    /// Has the slots of each virtual address written. What is not written now is written with the next change.
    pub(super) fn save_assignments(&self, assignments: &BTreeMap<IpAddr, Assignment>) {
        let _ = self.saver.save(Part::Assignments(assignments.clone()));
    }
}

//! Needs of a group beside its peers: a data plane that carries its frames, devices that the kernel has as wanted, and
//! the objects that `track` names.

use super::super::dataplanes;
use super::role::{Missing, Phase};
use super::runner::{FEW_LINES, Runner, span};
use crate::config::Tracked;
use crate::config::health::GroupPlan;
use crate::hsrp::machine::Event;
use crate::types::{GroupKey, Nanos};
use std::time::Duration;

/// A data plane that stood still has emptied its queues this long after it moves again.
const WAKING: Duration = Duration::from_millis(20);

impl Runner {
    /// Looks whether what the groups need is there: the data plane, and the objects that are tracked.
    pub(super) fn look_at_objects(&mut self, now: Nanos) {
        let keys = self.keys();
        self.look_at_dataplanes(&keys, now);
        self.look_at_tracks(&keys, now);
    }

    fn look_at_dataplanes(&mut self, keys: &[GroupKey], now: Nanos) {
        for key in keys {
            let Some(role) = self.roles.get(key) else { continue };
            let Some(exception) = self.settings.exception_of(&role.plan) else { continue };
            let Some(machine) = &role.machine else { continue };
            // A data plane that was still for longer than a lease has let hellos wait for so long: peers may have
            // taken over, and what it holds in its queues is not to be answered when it wakes.
            let patience = match role.dataplane && !machine.peer_known(now) {
                true => dataplanes::STALE.into(),
                false => span(machine).min(dataplanes::STALE.into()),
            };
            let seen = self.planes.carries(exception).filter(|_| self.has_link(exception));
            let carried = seen.is_some_and(|seen| now.since(seen) < patience);
            let up = carried && role.fault.is_none();
            let awake = match role.wedged {
                Some(Nanos::MAX) if carried => Some(now + WAKING),
                // It has gone, or its queues are empty.
                Some(_) if !self.planes.attached(exception) => None,
                Some(until) if until <= now => None,
                other => other,
            };
            let still = self.planes.stands_still(exception, now - patience);
            // What the kernel refuses does not come back with the data plane.
            let refused = role.fault.is_some() && now < role.fault_until;
            let waits = role.grace && !refused && now < self.grace_until;
            if let Some(role) = self.roles.get_mut(key) {
                if role.wedged.is_some() && awake.is_none() {
                    self.dirty = true;
                    if let Phase::Withdrawing { since, .. } = &mut role.phase {
                        *since = now;
                    }
                }
                role.wedged = awake;
            }
            let Some(role) = self.roles.get(key) else { continue };
            let fault = role.fault.is_some();
            if up == role.dataplane && !(up && role.grace) || !up && waits {
                continue;
            }
            if let Some(role) = self.roles.get_mut(key) {
                (role.carried, role.dataplane) = (carried, up);
                role.grace = false;
                if !up && still && role.phase == Phase::Owned {
                    role.wedged = Some(Nanos::MAX);
                }
            }
            // A fault of a device has a line of its own.
            let missing = self.roles.get(key).filter(|_| !up).map(|role| self.missing(&role.plan));
            if let Some(role) = self.roles.get_mut(key) {
                role.missing.clone_from(&missing);
            }
            if let Some(missing) = missing
                && !fault
                && self.may_log("HSRP-4-DATAPLANE", key, FEW_LINES, now)
            {
                tracing::warn!("%HSRP-4-DATAPLANE: {key}: {missing}");
            }
            self.handle(key, if up { Event::DataplaneUp } else { Event::DataplaneDown }, now);
        }
    }

    fn look_at_tracks(&mut self, keys: &[GroupKey], now: Nanos) {
        for (object, what) in self.settings.config.tracks.clone() {
            let up = match what {
                Tracked::Dataplane => self.planes.running(),
                Tracked::IkeDaemon => self.ike,
                Tracked::Link(name) => self
                    .settings
                    .exception(&name)
                    .is_some_and(|device| self.planes.link(device) && self.has_link(device)),
                Tracked::LineProtocol(name) => {
                    let shut = self.settings.config.shut_by(&name).is_some();
                    !shut
                        && self.settings.exception(&name).is_some_and(|device| self.links.is_running(device))
                }
            };
            if self.tracks.insert(object, !up) == Some(!up) {
                continue;
            }
            // A link that flaps says so 20 times in 10 s at most.
            if self.limits.allow("TRACK-6-STATE", "HSRP", 20, now) {
                tracing::info!("%TRACK-6-STATE: {object} is {}", if up { "up" } else { "down" });
            }
            for key in keys {
                self.handle(key, Event::Track { object, down: !up }, now);
            }
        }
        let gone: Vec<u16> = self
            .tracks
            .keys()
            .filter(|object| !self.settings.config.tracks.contains_key(object))
            .copied()
            .collect();
        for object in gone {
            self.tracks.remove(&object);
            for key in keys {
                self.handle(key, Event::Track { object, down: false }, now);
            }
        }
    }

    /// Returns the lack that keeps a group's frames from being carried.
    pub(super) fn missing(&self, plan: &GroupPlan) -> Missing {
        let exception = self.settings.exception_of(plan).unwrap_or_default();
        match self.planes.running() && self.planes.attached(exception) {
            true if self.planes.has_lost(exception) => Missing::Tap(exception.to_owned()),
            true if self.planes.link(exception) && self.has_link(exception) => Missing::Progress,
            true => Missing::Link(plan.key.interface.clone()),
            false => Missing::Dataplane,
        }
    }

    /// Returns whether the kernel's interface under the port of `exception`, where there is one, has link.
    fn has_link(&self, exception: &str) -> bool {
        let port = self.settings.ports.iter().find(|port| port.exception.as_deref() == Some(exception));
        port.and_then(|port| port.below.as_deref()).is_none_or(|below| self.links.is_running(below))
    }
}

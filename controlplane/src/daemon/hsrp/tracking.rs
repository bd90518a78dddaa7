//! What a group needs beside its peers: a data plane that carries its frames, and the objects that `track` names.

use super::super::{Daemon, dataplanes};
use super::{Phase, span};
use crate::config::Tracked;
use crate::hsrp::machine::Event;
use crate::load::vici;
use crate::types::GroupKey;
use std::time::Duration;
use tokio::sync::mpsc;

/// A data plane that stood still has emptied its queues this long after it moves again.
const WAKING: Duration = Duration::from_millis(20);

/// An IKE daemon that does not answer its control socket for this long hangs. Not less: a daemon to which every client
/// comes back at once answers late, and must not lose the role just then.
const IKE_PATIENCE: Duration = Duration::from_secs(1);

impl Daemon {
    /// Looks whether what the groups need is there: the data plane, and the objects that are tracked.
    pub(in crate::daemon) fn look_at_objects(&mut self, now: u64) {
        let keys: Vec<GroupKey> = self.roles.keys().cloned().collect();
        self.look_at_dataplanes(&keys, now);
        self.look_at_tracks(&keys, now);
    }

    fn look_at_dataplanes(&mut self, keys: &[GroupKey], now: u64) {
        for key in keys {
            let Some(role) = self.roles.get(key) else { continue };
            let Some(exception) = self.exception_of(&role.plan) else { continue };
            let Some(machine) = &role.machine else { continue };
            // A data plane that was still for longer than a lease has let hellos wait for so long: peers may have
            // taken over, and what it holds in its queues is not to be answered when it wakes.
            let patience = match role.dataplane && !machine.peer_known(now) {
                true => dataplanes::STALE.as_nanos() as u64,
                false => span(machine).min(dataplanes::STALE.as_nanos() as u64),
            };
            let seen = self.dataplanes.carries(exception).filter(|_| self.has_link(exception));
            let up = seen.is_some_and(|seen| now.saturating_sub(seen) < patience);
            let awake = match role.wedged {
                Some(u64::MAX) if up => Some(now.saturating_add(WAKING.as_nanos() as u64)),
                // It has gone, or its queues are empty.
                Some(_) if !self.dataplanes.attached(exception) => None,
                Some(until) if until <= now => None,
                other => other,
            };
            let still = self.dataplanes.stands_still(exception, now.saturating_sub(patience));
            let waits = role.grace && now < self.election.grace_until;
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
            if up == role.dataplane && !(up && role.grace) || !up && waits {
                continue;
            }
            if let Some(role) = self.roles.get_mut(key) {
                role.dataplane = up;
                role.grace = false;
                if !up && still && role.phase == Phase::Owned {
                    role.wedged = Some(u64::MAX);
                }
            }
            if !up {
                tracing::warn!(
                    "%HSRP-4-DATAPLANE: {key}: no data plane carries its frames, or the port has no link"
                );
            }
            self.tell(key, if up { Event::DataplaneUp } else { Event::DataplaneDown }, now);
        }
    }

    fn look_at_tracks(&mut self, keys: &[GroupKey], now: u64) {
        for (object, what) in self.config.tracks.clone() {
            let up = match what {
                Tracked::Dataplane => self.dataplanes.running(),
                Tracked::IkeDaemon => self.election.ike,
                Tracked::Link(name) => self
                    .exception(&name)
                    .is_some_and(|device| self.dataplanes.link(device) && self.has_link(device)),
                Tracked::LineProtocol(name) => {
                    let shut = self.config.shut_by(&name).is_some();
                    !shut && self.exception(&name).is_some_and(|device| self.sender.is_running(device))
                }
            };
            if self.election.down.insert(object, !up) == Some(!up) {
                continue;
            }
            // A link that flaps says so 20 times in 10 s at most.
            if self.election.limits.allow("TRACK-6-STATE", "HSRP", 20, now) {
                tracing::info!("%TRACK-6-STATE: {object} is {}", if up { "up" } else { "down" });
            }
            for key in keys {
                self.tell(key, Event::Track { object, down: !up }, now);
            }
        }
        let gone: Vec<u16> = self
            .election
            .down
            .keys()
            .filter(|object| !self.config.tracks.contains_key(object))
            .copied()
            .collect();
        for object in gone {
            self.election.down.remove(&object);
            for key in keys {
                self.tell(key, Event::Track { object, down: false }, now);
            }
        }
    }

    /// Has the IKE daemon asked how it is, where an object needs to know. One asks at a time.
    pub(in crate::daemon) fn ask_ike_daemon(&self, told: &mpsc::Sender<bool>) {
        if !self.config.tracks.values().any(|what| *what == Tracked::IkeDaemon) {
            return;
        }
        if let Ok(permit) = told.clone().try_reserve_owned() {
            let socket = self.options.vici.clone();
            tokio::spawn(async move {
                permit.send(vici::answers(&socket, IKE_PATIENCE).await);
            });
        }
    }

    /// Whether the kernel's interface under the port of `exception`, where there is one, has link.
    fn has_link(&self, exception: &str) -> bool {
        let port = self.ports.iter().find(|port| port.exception.as_deref() == Some(exception));
        port.and_then(|port| port.below.as_deref()).is_none_or(|below| self.sender.is_running(below))
    }
}

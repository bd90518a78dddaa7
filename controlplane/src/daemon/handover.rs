//! The hand-over of the snapshot to data planes as they come, and what the log says of those that go, hang or are missing.

use super::dataplanes::{Dataplanes, Event, readiness};
use super::ports::Port;
use crate::types::{Nanos, nanos};
use platform::snapshot::Share;
use platform::snapshot::handover::{Listener, Peer, Pending, Progress};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A connected data plane that says nothing is let go after this.
const HELLO_WAIT: Duration = Duration::from_secs(2);
/// A data plane that is missing is named this often.
const REMIND: Duration = Duration::from_secs(60);

/// The snapshot's memory, and the data planes that have it.
pub struct Handover {
    /// The data planes that are attached
    pub planes: Dataplanes,
    share: Share,
    reminded: Option<Instant>,
    /// The last refusal that was logged
    refused: Option<(String, Instant)>,
}

impl Handover {
    /// Hands `share` over to whichever data plane comes.
    #[must_use]
    pub fn new(share: Share) -> Handover {
        Handover { planes: Dataplanes::default(), share, reminded: Some(Instant::now()), refused: None }
    }

    /// Hands the snapshot over to a data plane that has said hello; none when it is refused.
    pub fn attach(&mut self, pending: Pending, ports: &[Port]) -> Option<Arc<Peer>> {
        let peer = match pending.try_finish(&self.share) {
            Ok(Progress::Done(peer)) => peer,
            Ok(Progress::NotYet(_)) => return None,
            Err(error) => {
                // One that tries again and again says the same again and again.
                let text = error.to_string();
                if self.refused.as_ref().is_none_or(|(last, at)| *last != text || at.elapsed() >= REMIND) {
                    tracing::warn!("%DATAPLANE-4-REFUSED: {text}");
                    self.refused = Some((text, Instant::now()));
                }
                return None;
            }
        };
        let peer = Arc::new(peer);
        let (pid, workers, count) = (peer.pid, peer.feedback.workers(), peer.feedback.ports());
        let ours: Vec<Option<&str>> = ports.iter().map(|port| port.exception.as_deref()).collect();
        let Some(strange) = self.planes.add(peer.clone(), &ours, nanos::now()) else {
            tracing::warn!(
                "%DATAPLANE-4-REFUSED: process {pid}: four are attached already: stop those not needed"
            );
            return None;
        };
        if !strange.is_empty() {
            tracing::warn!(
                "%DATAPLANE-4-PROFILE: process {pid}: port {} differs between the profiles of usherd and \
                 usher-dataplane; groups on it stay down; use one profile and restart both",
                strange.join(", ")
            );
        }
        self.reminded = None;
        tracing::info!("%DATAPLANE-5-ATTACHED: process {pid}, {workers} workers, {count} ports");
        Some(peer)
    }

    /// Looks after the data planes that are attached.
    pub fn look(&mut self, instance: u64, generation: u64, now: Nanos) {
        for event in self.planes.look(instance, generation, now) {
            match event {
                Event::Ready(pid) => {
                    tracing::info!("%DATAPLANE-5-READY: data plane {pid} has applied the snapshot");
                }
                Event::Gone(pid) => {
                    tracing::warn!("%DATAPLANE-4-DETACHED: data plane (pid {pid}) disconnected");
                    self.reminded = Some(Instant::now());
                }
                Event::Stale(pid, age) => tracing::error!(
                    "%DATAPLANE-3-HUNG: process {pid}: last heartbeat {age} ms ago: restart it if this lasts"
                ),
                Event::Alive(pid) => tracing::info!("%DATAPLANE-5-ALIVE: process {pid}: heartbeat recovered"),
            }
        }
    }

    /// Names the data plane that is missing.
    pub fn remind(&mut self) {
        if self.planes.is_empty() && self.reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            self.reminded = Some(Instant::now());
            tracing::warn!(
                "%DATAPLANE-4-MISSING: no data plane is attached, nothing is redirected: systemctl start usher-dataplane"
            );
        }
    }
}

/// Takes a data plane's connection, which goes to `hello` when there is something to read; false when none waits.
pub fn accept(listener: &Listener, hello: &mpsc::Sender<Pending>) -> bool {
    match listener.try_accept() {
        Ok(Some(pending)) => {
            // At most as many wait as the channel holds: those beyond are turned away.
            if let Ok(room) = hello.clone().try_reserve_owned() {
                tokio::spawn(async move {
                    let Ok(ready) = readiness(&pending) else { return };
                    if tokio::time::timeout(HELLO_WAIT, ready.readable()).await.is_ok_and(|r| r.is_ok()) {
                        room.send(pending);
                    }
                });
            }
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::warn!("%SYS-4-HANDOVER: {error}");
            false
        }
    }
}

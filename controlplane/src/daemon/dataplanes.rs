//! The data planes that are attached: usually one, sometimes the next beside the last.

use crate::publish::VipInput;
use crate::show::dataplane::AttachedView;
use crate::types::Nanos;
use platform::snapshot::handover::Peer;
use platform::snapshot::{FeedbackView, MAX_GATEWAYS, MAX_VIPS, PortIdentity, RedirectView};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// A second one attaches while the first is still dying; more than a few is a mistake.
const MOST: usize = 4;
/// A heartbeat older than this is a thread that hangs.
pub const STALE: Duration = Duration::from_secs(1);

/// As many destinations as one snapshot can have are always remembered.
const MAX_DESTINATIONS: usize = MAX_VIPS * MAX_GATEWAYS;

/// One data plane.
pub struct Attached {
    peer: Arc<Peer>,
    /// Becomes readable when its connection ends; `None`: it has to be asked every time
    end: Option<UnixDatagram>,
    /// The exception devices of its ports, by index; empty where usherd's profile has another one there
    exceptions: Vec<String>,
    /// Those of them that were made anew since it opened them: nothing passes between it and the kernel there
    lost: BTreeSet<String>,
    since_ns: Nanos,
    /// It has once worked by a snapshot of this usherd
    ready: bool,
    stale: bool,
    /// Counts at the last `clear counters`
    cleared: Option<FeedbackView>,
    /// New clients by destination as read last; `None`: not read yet
    clients: Option<BTreeMap<Destination, u64>>,
}

/// A virtual address and the gateway that its clients were redirected to.
pub type Destination = (IpAddr, IpAddr);

/// Change since the last look.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It works by the snapshot for the first time
    Ready(u32),
    /// Its connection has ended
    Gone(u32),
    /// Its heartbeat is old; its age in ms
    Stale(u32, u64),
    /// Its heartbeat goes on
    Alive(u32),
}

/// State of a generation at the data planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// No data plane is attached
    Nobody,
    /// Every worker and every MAC filter
    Whole,
    /// Every worker, but a MAC filter failed
    WithoutFilter,
    /// Not yet
    NotYet,
}

/// The data planes, the newest first.
#[derive(Default)]
pub struct Dataplanes {
    all: Vec<Attached>,
    /// New clients that were redirected while their data plane was attached, over all data planes
    clients: BTreeMap<Destination, u64>,
}

impl Dataplanes {
    /// Adds one; none when there are too many. The snapshot names ports by their numbers: of one that numbers them otherwise
    /// than `ours`, the exception devices by number, only those count that both have. Returns the others.
    pub fn add(&mut self, peer: Arc<Peer>, ours: &[Option<&str>], now_ns: Nanos) -> Option<Vec<String>> {
        if self.all.len() >= MOST {
            return None;
        }
        let ports = peer.feedback.read().ports;
        let theirs = ports.into_iter().map(|port| port.identity.exception);
        let mut strange: Vec<String> = Vec::new();
        let mut exceptions: Vec<String> = theirs.collect();
        for (number, name) in exceptions.iter_mut().enumerate() {
            if !name.is_empty() && ours.get(number).copied().flatten() != Some(name.as_str()) {
                strange.push(std::mem::take(name));
            }
        }
        self.all.insert(
            0,
            Attached {
                end: readiness(&peer.connection).ok(),
                peer,
                exceptions,
                lost: BTreeSet::new(),
                since_ns: now_ns,
                ready: false,
                stale: false,
                cleared: None,
                clients: None,
            },
        );
        // What it had counted before is no news.
        self.all[0].count_clients(&mut self.clients);
        Some(strange)
    }

    /// Returns whether none is attached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The port whose exception device is `exception`, as the newest data plane has it.
    #[must_use]
    pub fn port(&self, exception: &str) -> Option<PortIdentity> {
        self.all.iter().find_map(|attached| {
            let ports = attached.peer.feedback.read().ports;
            ports.into_iter().map(|port| port.identity).find(|identity| identity.exception == exception)
        })
    }

    /// Waits until a connection may have ended: [`Dataplanes::look`] knows.
    pub fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        let ends = self.all.iter().filter_map(|attached| attached.end.as_ref());
        let ready = ends.filter(|end| end.poll_recv_ready(context).is_ready()).count();
        if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Looks after all of them.
    pub fn look(&mut self, instance: u64, generation: u64, now_ns: Nanos) -> Vec<Event> {
        let mut events = Vec::new();
        self.all.retain_mut(|attached| {
            let pid = attached.peer.pid;
            if attached.has_ended() {
                attached.count_clients(&mut self.clients);
                events.push(Event::Gone(pid));
                return false;
            }
            if !attached.ready && attached.peer.feedback.applied(instance, generation) {
                attached.ready = true;
                events.push(Event::Ready(pid));
            }
            let age = attached.heartbeat_age(now_ns);
            let stale = age.is_some_and(|age| age > STALE);
            match (attached.stale, stale) {
                (false, true) => events.push(Event::Stale(pid, age.unwrap_or_default().as_millis() as u64)),
                (true, false) => events.push(Event::Alive(pid)),
                _ => {}
            }
            attached.stale = stale;
            true
        });
        events
    }

    /// Returns the state of this generation at those whose threads run.
    #[must_use]
    pub fn taken(&self, instance: u64, generation: u64) -> Taken {
        let mut running = self.all.iter().filter(|attached| !attached.stale).peekable();
        if running.peek().is_none() {
            return Taken::Nobody;
        }
        let mut filters = true;
        for attached in running {
            if !attached.peer.feedback.applied(instance, generation) {
                return Taken::NotYet;
            }
            match attached.peer.feedback.filters(instance, generation) {
                Some(ok) => filters &= ok,
                None => return Taken::NotYet,
            }
        }
        if filters { Taken::Whole } else { Taken::WithoutFilter }
    }

    /// Returns whether every worker of those whose threads run works by this generation; also true when there is none.
    #[must_use]
    pub fn applied(&self, instance: u64, generation: u64) -> bool {
        let mut running = self.all.iter().filter(|attached| !attached.stale);
        running.all(|attached| attached.peer.feedback.applied(instance, generation))
    }

    /// Returns whether a data plane works by this usherd's snapshot, its threads run, and the port of `exception` has link; with
    /// when it was last seen running, ns.
    #[must_use]
    pub fn carries(&self, exception: &str) -> Option<Nanos> {
        let running = self.all.iter().filter(|attached| attached.ready && !attached.stale);
        running
            .filter(|attached| attached.link(exception) && !attached.lost.contains(exception))
            .map(|attached| Nanos::new(attached.peer.feedback.oldest_heartbeat()))
            .max()
    }

    /// Returns whether one that has the port of `exception` has not been seen running since `since`, ns: what its queues hold
    /// leaves when it wakes.
    #[must_use]
    pub fn stands_still(&self, exception: &str, since: Nanos) -> bool {
        let mut of =
            self.all.iter().filter(|attached| attached.exceptions.iter().any(|name| name == exception));
        of.any(|attached| attached.ready && attached.peer.feedback.oldest_heartbeat() <= since.get())
    }

    /// Notes that the exception device was made anew: whoever has the one before has to be started again.
    pub fn lose(&mut self, exception: &str) {
        for attached in &mut self.all {
            attached.lost.insert(exception.to_owned());
        }
    }

    /// Returns whether only data planes have the port of `exception` that lost the device.
    #[must_use]
    pub fn has_lost(&self, exception: &str) -> bool {
        let mut of =
            self.all.iter().filter(|attached| attached.exceptions.iter().any(|name| name == exception));
        of.clone().next().is_some() && of.all(|attached| attached.lost.contains(exception))
    }

    /// Returns whether one is attached that has the port of `exception`.
    #[must_use]
    pub fn attached(&self, exception: &str) -> bool {
        self.all.iter().any(|attached| attached.exceptions.iter().any(|name| name == exception))
    }

    /// Returns whether the port of `exception` has link.
    #[must_use]
    pub fn link(&self, exception: &str) -> bool {
        self.all.iter().any(|attached| attached.link(exception))
    }

    /// Returns whether one is there whose threads run.
    #[must_use]
    pub fn running(&self) -> bool {
        self.all.iter().any(|attached| attached.ready && !attached.stale)
    }

    /// New clients redirected since this usherd started, by destination: a count that only grows, whichever data planes
    /// come and go and whatever becomes of their indices.
    pub fn new_clients(&mut self) -> &BTreeMap<Destination, u64> {
        for attached in &mut self.all {
            attached.count_clients(&mut self.clients);
        }
        &self.clients
    }

    /// Forgets destinations whose virtual address or gateway is not published any more, once there are many of them.
    pub fn keep_clients(&mut self, published: &[VipInput]) {
        if self.clients.len() > MAX_DESTINATIONS {
            self.clients.retain(|(address, gateway), _| {
                published.iter().any(|vip| {
                    vip.address == *address && vip.members.iter().any(|member| member.address == *gateway)
                })
            });
        }
    }

    /// The cores on which they poll, in order.
    #[must_use]
    pub fn cores(&self) -> Vec<usize> {
        let views = self.all.iter().flat_map(|attached| attached.peer.feedback.read().workers);
        let cores: BTreeSet<usize> = views.map(|worker| worker.core as usize).collect();
        cores.into_iter().collect()
    }

    /// `clear counters`: what is shown counts from now on.
    pub fn clear(&mut self) {
        for attached in &mut self.all {
            attached.cleared = Some(attached.peer.feedback.read());
        }
    }

    /// Everything for `show`.
    #[must_use]
    pub fn views(&self, instance: u64, generation: u64, now_ns: Nanos) -> Vec<AttachedView> {
        let view = |attached: &Attached| AttachedView {
            attached_ms: now_ns.since(attached.since_ns).as_millis(),
            heartbeat_age_ms: attached.heartbeat_age(now_ns).map(|age| age.as_millis() as u64),
            stale: attached.stale,
            applied: attached.peer.feedback.applied(instance, generation),
            filters: attached.peer.feedback.filters(instance, generation),
            feedback: attached.counted(),
        };
        self.all.iter().map(view).collect()
    }
}

impl Attached {
    /// Adds the clients counted since the last reading. Counts that the data plane has forgotten take nothing away.
    fn count_clients(&mut self, sums: &mut BTreeMap<Destination, u64>) {
        let Some(views) = self.peer.feedback.redirects() else { return };
        add_growth(&mut self.clients, views, sums);
    }

    /// Returns what the data plane says, counters from the last clearing on. Its memory is its own: nothing is set to 0 there.
    fn counted(&self) -> FeedbackView {
        let mut view = self.peer.feedback.read();
        let Some(cleared) = &self.cleared else { return view };
        for (counter, before) in view.counters.iter_mut().zip(&cleared.counters) {
            counter.total = counter.total.wrapping_sub(before.total);
            counter.outside = counter.outside.wrapping_sub(before.outside);
            for (now, before) in counter.per_worker.iter_mut().zip(&before.per_worker) {
                *now = now.wrapping_sub(*before);
            }
        }
        for (port, before) in view.ports.iter_mut().zip(&cleared.ports) {
            if let (Some(status), Some(before)) = (&mut port.status, &before.status) {
                *status = status.since(before);
            }
        }
        for redirect in &mut view.redirects {
            let destination = |view: &RedirectView| (view.vip_address, view.gateway_address);
            let mut before = cleared.redirects.iter();
            let before = before.find(|before| destination(before) == destination(redirect));
            redirect.total = redirect.total.saturating_sub(before.map_or(0, |before| before.total));
        }
        view
    }

    /// Returns whether its connection has ended. Asks the kernel only after something has happened there.
    fn has_ended(&self) -> bool {
        let ended = || match self.peer.connection.is_alive() {
            true => Err(ErrorKind::WouldBlock.into()),
            false => Ok(()),
        };
        self.end.as_ref().map_or_else(ended, |end| end.try_io(Interest::READABLE, ended)).is_ok()
    }

    fn link(&self, exception: &str) -> bool {
        let index = self.exceptions.iter().position(|name| name == exception);
        index.and_then(|index| self.peer.feedback.port_status(index)).is_some_and(|status| status.link_up)
    }

    /// `None` until every thread has spoken once, for at most [`STALE`]: then it counts from the attachment.
    fn heartbeat_age(&self, now_ns: Nanos) -> Option<Duration> {
        let at = match self.peer.feedback.oldest_heartbeat() {
            0 if now_ns.since(self.since_ns) <= STALE.into() => return None,
            0 => self.since_ns,
            at => Nanos::new(at),
        };
        Some(Duration::from(now_ns.since(at)))
    }
}

/// Adds to `sums` by how much the counts of a data plane have grown since they were `last` read. The first reading only
/// says where counting begins.
fn add_growth(
    last: &mut Option<BTreeMap<Destination, u64>>,
    views: Vec<RedirectView>,
    sums: &mut BTreeMap<Destination, u64>,
) {
    let named = |view: RedirectView| Some(((view.vip_address?, view.gateway_address?), view.new_clients));
    let now: BTreeMap<Destination, u64> = views.into_iter().filter_map(named).collect();
    if let Some(last) = last {
        for (destination, count) in &now {
            let grown = count.saturating_sub(last.get(destination).copied().unwrap_or(0));
            if grown > 0 {
                let sum = sums.entry(*destination).or_default();
                *sum = sum.saturating_add(grown);
            }
        }
    }
    *last = Some(now);
}

/// Something to wait with until a descriptor, which must be non-blocking, is readable. tokio's own type for that is
/// unsafe to make; a socket type over a duplicate of the descriptor waits just as well, and is used for nothing else.
///
/// # Errors
/// When the process has no descriptor left, or the descriptor blocks.
pub fn readiness(fd: &impl AsFd) -> std::io::Result<UnixDatagram> {
    UnixDatagram::from_std(fd.as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(gateway: u8, new_clients: u64) -> RedirectView {
        RedirectView {
            vip: Some(0),
            gateway: Some(0),
            vip_address: Some([192, 0, 2, 1].into()),
            gateway_address: Some([192, 0, 2, gateway].into()),
            total: new_clients,
            new_clients,
        }
    }

    fn sum(sums: &BTreeMap<Destination, u64>, gateway: u8) -> u64 {
        sums.get(&([192, 0, 2, 1].into(), [192, 0, 2, gateway].into())).copied().unwrap_or(0)
    }

    #[test]
    fn counts_grow_over_data_planes_that_come_and_go() {
        let mut sums = BTreeMap::new();
        // The first has counted a million before this usherd started.
        let mut first = None;
        add_growth(&mut first, vec![view(21, 1_000_000)], &mut sums);
        assert_eq!(sum(&sums, 21), 0);
        add_growth(&mut first, vec![view(21, 1_000_010), view(22, 5)], &mut sums);
        // The next one counts beside it from 0, and goes on alone.
        let mut second = None;
        add_growth(&mut second, Vec::new(), &mut sums);
        add_growth(&mut second, vec![view(21, 3)], &mut sums);
        add_growth(&mut first, vec![view(21, 1_000_011), view(22, 5)], &mut sums);
        add_growth(&mut second, vec![view(21, 4)], &mut sums);
        assert_eq!((sum(&sums, 21), sum(&sums, 22)), (15, 5));
        // A count that was forgotten takes nothing away, and begins at 0 again.
        add_growth(&mut second, Vec::new(), &mut sums);
        add_growth(&mut second, vec![view(21, 2)], &mut sums);
        assert_eq!(sum(&sums, 21), 17);
    }
}

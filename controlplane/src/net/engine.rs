//! The work of the reconciler's thread: takes what is wanted, compares it with what is known of the kernel, and does one
//! step at a time, the most urgent first.

use super::NetError;
use super::claims::{Claims, Watched};
use super::compare::{self, Known, Step, Verdict};
use super::device::{BACKOFF, Device, Failure, Urgency, Wanted};
use super::events::{Event, Events};
use super::links::{Kind, LinkTable};
use super::report::{Repair, Report};
use super::requests::Requests;
use super::routes::{self, Routes};
use super::settings::{self, Originals};
use super::wanted::{Inbox, Mailbox, Owner, PortDevice};
use crate::limits::Limits;
use crate::types::{IfIndex, Prefix, is_link_local, nanos};
use platform::host::link;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The links are reported at most so often.
const REPORTS: Duration = Duration::from_millis(5);
/// A failure that lasts is reported so often.
const REMIND: Duration = Duration::from_secs(5);
/// So many repairs of one device in [`CONTEST`] are made; then it is somebody else's turn.
pub(super) const MOST_REPAIRS: usize = 8;
const CONTEST: Duration = Duration::from_secs(10);
/// A device that is not right after so many steps, and one for each address, does not follow.
const MOST_STEPS: usize = 32;
/// Settings have no events: they are looked at so often.
const AUDIT: Duration = Duration::from_secs(10);
/// Macvlans of usherd.
const PREFIX: &str = "hsrp";

pub(super) struct Engine {
    pub mailbox: Arc<Mailbox>,
    pub reports: Box<dyn Fn(Report) + Send>,
    pub requests: Requests,
    pub link_events: Events,
    pub route_events: Events,
    /// Events of routes that are applied after those of links that came before them
    pub waiting: Vec<Event>,
    /// Devices that were disturbed since
    pub disturbed: BTreeSet<String>,
    /// There may be more events to read
    pub more: bool,
    pub links: Arc<LinkTable>,
    /// The links have changed since they were reported
    pub unreported: bool,
    pub reported_at: Option<Instant>,
    pub devices: BTreeMap<String, Device>,
    pub originals: Originals,
    pub routes: Routes,
    /// Ports whose routes are to be listed
    pub unlisted: BTreeSet<String>,
    pub claims: Claims,
    /// The watched addresses may have changed
    pub unwatched: bool,
    /// Events were lost, or a refusal says that something else is unknown
    pub lost: bool,
    pub resync_at: Option<Instant>,
    /// Repairs begin then
    pub repair_at: Option<Instant>,
    pub audit_at: Instant,
    /// The next event may come from an own step
    pub stepped: bool,
    pub taps: (mpsc::Sender<Made>, mpsc::Receiver<Made>),
    pub limits: Limits,
}

/// The TAP of this name was made, or not.
type Made = (String, Result<(), NetError>);

impl Engine {
    pub fn open(
        mailbox: Arc<Mailbox>,
        run_dir: &Path,
        reports: Box<dyn Fn(Report) + Send>,
    ) -> Result<Engine, NetError> {
        Ok(Engine {
            mailbox,
            reports,
            // Before anything is listed: what changes meanwhile is heard of.
            link_events: Events::of_links().map_err(NetError::Socket)?,
            route_events: Events::of_routes().map_err(NetError::Socket)?,
            requests: Requests::open()?,
            waiting: Vec::new(),
            disturbed: BTreeSet::new(),
            more: true,
            links: Arc::default(),
            unreported: false,
            reported_at: None,
            devices: BTreeMap::new(),
            originals: Originals::load(run_dir),
            routes: Routes::load(run_dir),
            unlisted: BTreeSet::new(),
            claims: Claims::default(),
            unwatched: false,
            lost: true,
            resync_at: None,
            repair_at: None,
            audit_at: Instant::now() + AUDIT,
            stepped: true,
            taps: mpsc::channel(16),
            limits: Limits::default(),
        })
    }

    /// Works until it is told to stop; what was refused at the end.
    pub async fn run(mut self) -> Vec<NetError> {
        loop {
            let now = Instant::now();
            self.follow(now);
            self.resync(now).await;
            let inbox = self.mailbox.take();
            let stop = inbox.stop;
            self.take(inbox).await;
            if let Some(cleanup) = stop {
                return self.finish(cleanup).await;
            }
            self.report_links(now);
            self.read_claims(now);
            if self.step().await || self.restore_route().await {
                self.stepped = true;
                continue;
            }
            if self.more {
                continue;
            }
            self.watch();
            self.save_routes();
            self.wait().await;
        }
    }

    fn report(&mut self, report: Report) {
        // Whoever hears of a device finds it in the table.
        if !matches!(report, Report::Links(_)) {
            self.report_links_now();
        }
        (self.reports)(report);
    }

    /// Takes what callers have left.
    async fn take(&mut self, inbox: Inbox) {
        for ticket in inbox.superseded {
            self.report(Report::Done { ticket, result: Err(NetError::Superseded) });
        }
        for (name, (wanted, ticket)) in inbox.groups {
            let wanted = Wanted::Group(wanted);
            let device = self.devices.entry(name).or_insert_with(|| Device::new(wanted.clone()));
            device.restate(wanted);
            let old = device.ticket.replace(ticket);
            if let Some(ticket) = old {
                self.report(Report::Done { ticket, result: Err(NetError::Superseded) });
            }
            self.unwatched = true;
        }
        if let Some(ports) = inbox.ports {
            self.take_ports(ports).await;
        }
        if let Some(kept) = inbox.kept {
            self.find_strays(&kept);
        }
    }

    async fn take_ports(&mut self, ports: Vec<PortDevice>) {
        let names: BTreeSet<&String> = ports.iter().map(|port| &port.name).collect();
        let gone = |name: &String, device: &Device| device.is_port() && !names.contains(name);
        let failed =
            self.devices.iter().filter(|(name, device)| gone(name, device) && device.failure.is_some());
        let failed: Vec<String> = failed.map(|(name, _)| name.clone()).collect();
        self.devices.retain(|name, device| !gone(name, device));
        for device in failed {
            self.report(Report::Recovered { device });
        }
        let hosts = |name: &String| ports.iter().any(|port| port.name == *name && port.owner == Owner::Host);
        let left: Vec<String> = self.originals.devices().into_iter().filter(|name| !hosts(name)).collect();
        for name in left {
            for error in self.release(&name, true).await {
                self.report(Report::Failed { device: name.clone(), error });
            }
        }
        for port in ports {
            let name = port.name.clone();
            let wanted = Wanted::Port(port);
            match self.devices.get_mut(&name) {
                Some(device) => device.restate(wanted),
                None => {
                    self.devices.insert(name.clone(), Device::new(wanted));
                    self.unlisted.insert(name.clone());
                    // A device that was there before is reported with its packet address from now on.
                    self.unreported |= self.links.get(&name).is_some_and(|link| link.packet.is_none());
                    self.note_link_local(&name);
                }
            }
        }
    }

    /// Gives a device of the host back; with the addresses that usherd put there, or without. What was refused.
    async fn release(&mut self, name: &str, addresses: bool) -> Vec<NetError> {
        let mut errors = Vec::new();
        let index = self.links.index(name);
        for prefix in self.originals.addresses(name).into_iter().filter(|_| addresses) {
            let Some(index) = index else { break };
            let deleted = self.requests.delete_address(name, index, prefix).await;
            errors.extend(deleted.and_then(|()| self.originals.remove_address(name, index, prefix)).err());
        }
        errors.extend(self.originals.restore(name, &self.links).err());
        errors
    }

    /// Macvlans over the ports that no group has are deleted.
    fn find_strays(&mut self, kept: &BTreeSet<String>) {
        let ports = self.devices.iter().filter(|(_, device)| device.is_port());
        let ports: BTreeSet<IfIndex> = ports.filter_map(|(name, _)| self.links.index(name)).collect();
        let strays = self.links.iter().filter(|link| {
            matches!(link.kind, Kind::Macvlan(_))
                && link.name.starts_with(PREFIX)
                && link.parent.is_some_and(|parent| ports.contains(&parent))
                && !kept.contains(&link.name)
                && !self.devices.contains_key(&link.name)
        });
        let strays: Vec<String> = strays.map(|link| link.name.clone()).collect();
        for name in strays {
            self.devices.insert(name, Device::new(Wanted::Group(None)));
        }
    }

    pub fn warn(&mut self, place: &str, error: &NetError) {
        if self.limits.allow("NET-4-KERNEL", place, 3, nanos::now()) {
            tracing::warn!("%NET-4-KERNEL: {error}");
        }
    }

    fn report_links(&mut self, now: Instant) {
        if self.reported_at.is_none_or(|at| now >= at + REPORTS) {
            self.report_links_now();
        }
    }

    fn report_links_now(&mut self) {
        if !std::mem::take(&mut self.unreported) {
            return;
        }
        self.find_packets();
        self.unwatched = true;
        self.reported_at = Some(Instant::now());
        (self.reports)(Report::Links(self.links.clone()));
    }

    /// Looks up the packet addresses of links that are new. rtnetlink has all that is in them, but nix makes one from the C
    /// library's listing only. Of all links: a device that is stated later may already be as wanted, and nothing is reported
    /// then.
    fn find_packets(&mut self) {
        if self.links.iter().all(|link| link.packet.is_some()) {
            return;
        }
        for one in nix::ifaddrs::getifaddrs().into_iter().flatten() {
            if let Some(packet) = one.address.as_ref().and_then(|address| address.as_link_addr()) {
                Arc::make_mut(&mut self.links).put_packet(&one.interface_name, *packet);
            }
        }
    }

    /// Does the most urgent step; whether there was one.
    async fn step(&mut self) -> bool {
        for name in self.urgent() {
            let now = Instant::now();
            match self.compare(&name) {
                Verdict::Right => self.right(&name),
                Verdict::Waits => {
                    if let Some(device) = self.devices.get_mut(&name) {
                        device.dirty = false;
                        // One that comes and goes with its owner has no faults meanwhile.
                        device.settled &= !device.is_port();
                    }
                }
                Verdict::Wrong(error) => self.fail(&name, error, now),
                Verdict::Step(step, faults) => {
                    if self.may_go_on(&name, !faults.is_empty(), now) {
                        self.carry_out(&name, step, faults).await;
                    }
                    return true;
                }
            }
        }
        self.repair_at = self.repair_at.filter(|at| Instant::now() < *at);
        false
    }

    /// The devices that are to be compared now, the most urgent first.
    fn urgent(&self) -> Vec<String> {
        let now = Instant::now();
        let early = self.repair_at.is_some_and(|at| now < at);
        let due = |device: &Device| {
            let waits = device.busy || device.not_before.is_some_and(|at| now < at);
            device.dirty && !waits && !(early && device.ticket.is_none())
        };
        let due = self.devices.iter().filter(|(_, device)| due(device));
        let mut urgent: Vec<_> =
            due.map(|(name, device)| (self.urgency(name, device), name.clone())).collect();
        urgent.sort();
        urgent.into_iter().map(|(_, name)| name).collect()
    }

    fn urgency(&self, name: &str, device: &Device) -> Urgency {
        match (device.ticket, device.is_port()) {
            (Some(_), _) if self.links.get(name).is_some() => Urgency::Takeover,
            (Some(_), _) => Urgency::Answer,
            (None, true) => Urgency::Port,
            (None, false) => Urgency::Group,
        }
    }

    fn compare(&self, name: &str) -> Verdict {
        let Some(device) = self.devices.get(name) else { return Verdict::Right };
        let settings = device.settings.filter(|_| !device.recheck);
        match &device.wanted {
            Wanted::Port(port) => {
                let ours = self.originals.addresses(name);
                let lacks = || self.links.get(name).is_some_and(|link| link.link_local().is_none());
                let link_local = device.link_local.filter(|_| lacks() && !settings::lacks_ipv6(name));
                compare::port(port, &self.links, Known { settings, ours: &ours, link_local })
            }
            Wanted::Group(group) => {
                let coming = group.as_ref().is_some_and(|group| self.is_coming(&group.parent));
                compare::group(name, group.as_ref(), &self.links, settings, coming)
            }
        }
    }

    /// Returns whether a TAP of ours is about to be made, and was not refused yet.
    fn is_coming(&self, parent: &str) -> bool {
        self.devices.get(parent).is_some_and(|device| {
            device.failure.is_none()
                && matches!(&device.wanted, Wanted::Port(port) if port.owner == Owner::Usherd)
        })
    }

    fn right(&mut self, name: &str) {
        let Some(device) = self.devices.get_mut(name) else { return };
        (device.dirty, device.settled, device.repairing, device.steps) = (false, true, false, 0);
        (device.backoff, device.not_before) = (BACKOFF[0], None);
        let recovered = device.failure.take().is_some();
        let ticket = device.ticket.take();
        let over = device.wanted == Wanted::Group(None);
        if over {
            self.devices.remove(name);
        }
        self.unwatched = true;
        if recovered {
            self.report(Report::Recovered { device: name.to_owned() });
        }
        if let Some(ticket) = ticket {
            self.report(Report::Done { ticket, result: Ok(()) });
        }
    }

    /// Returns whether another step may be made. Two that undo each other's work would go on without end.
    fn may_go_on(&mut self, name: &str, faulty: bool, now: Instant) -> bool {
        let Some(device) = self.devices.get_mut(name) else { return false };
        while device.repairs.front().is_some_and(|at| now.saturating_duration_since(*at) > CONTEST) {
            device.repairs.pop_front();
        }
        device.steps += 1;
        let many = device.steps > MOST_STEPS + 2 * device.addresses();
        let often = faulty && device.settled && !device.repairing && device.repairs.len() >= MOST_REPAIRS;
        if !many && !often {
            return true;
        }
        let times = if many { device.steps } else { device.repairs.len() };
        (device.steps, device.backoff) = (0, BACKOFF[1]);
        let error = NetError::Contested { device: name.to_owned(), times, seconds: CONTEST.as_secs() };
        self.fail(name, error, now);
        false
    }

    async fn carry_out(&mut self, name: &str, step: Step, mut faults: Vec<Repair>) {
        let is_made_later = step == Step::CreateTap;
        match self.request(name, step).await {
            Ok(_) if is_made_later => {}
            Ok(settings) => {
                faults.extend(settings.into_iter().map(Repair::Setting));
                self.repaired(name, faults);
            }
            Err(error) => {
                // What is known of the device is wrong.
                self.lost = true;
                self.resync_at = None;
                // The one below it, or itself, has gone while it was worked on: that is seen at the next look.
                let gone = matches!(error, NetError::Missing { .. });
                if !gone {
                    self.fail(name, error, Instant::now());
                }
            }
        }
    }

    /// Reports what was put right at a device that others have changed.
    fn repaired(&mut self, name: &str, faults: Vec<Repair>) {
        let device = self.devices.get_mut(name).filter(|device| device.settled && !faults.is_empty());
        let Some(device) = device else { return };
        if !std::mem::replace(&mut device.repairing, true) {
            device.repairs.push_back(Instant::now());
        }
        for what in faults {
            self.report(Report::Repaired { device: name.to_owned(), what });
        }
    }

    /// Asks the kernel; the settings that were changed.
    async fn request(&mut self, name: &str, step: Step) -> Result<Vec<String>, NetError> {
        match step {
            Step::CreateTap => self.create_tap(name),
            Step::CreateMacvlan { parent, mac } => self.requests.create_macvlan(name, parent, mac).await?,
            Step::Delete { index } => self.requests.delete(name, index).await?,
            Step::Set { index, mac, mtu, up } => self.requests.set_link(name, index, mac, mtu, up).await?,
            Step::Settings { index } => return self.settings(name, index),
            Step::Add { index, prefix, quiet } => {
                if self.is_hosts(name) {
                    self.originals.put_address(name, index, prefix)?;
                }
                self.requests.add_address(name, index, prefix, quiet).await?;
                // The kernel tells of IPv6 addresses a little later.
                self.unreported |= Arc::make_mut(&mut self.links).put_prefix(index, prefix);
            }
            Step::Remove { index, prefix } => {
                // Whatever happens then, the routes that go with it are remembered.
                if !is_link_local(&prefix.address) {
                    self.routes.disturb(name);
                    self.save_routes();
                }
                self.requests.delete_address(name, index, prefix).await?;
                self.unreported |= Arc::make_mut(&mut self.links).remove_prefix(index, prefix);
                if self.is_hosts(name) {
                    self.originals.remove_address(name, index, prefix)?;
                }
            }
        }
        Ok(Vec::new())
    }

    fn is_hosts(&self, name: &str) -> bool {
        let device = self.devices.get(name);
        device.is_some_and(|device| matches!(&device.wanted, Wanted::Port(port) if port.owner == Owner::Host))
    }

    fn settings(&mut self, name: &str, index: IfIndex) -> Result<Vec<String>, NetError> {
        let Some(device) = self.devices.get_mut(name) else { return Ok(Vec::new()) };
        let nothing = |_, _| Ok(());
        let known = device.settings == Some(index);
        let changed = match &device.wanted {
            Wanted::Port(port) if port.owner == Owner::Host => self.originals.apply(name, index)?,
            Wanted::Port(_) => settings::apply(name, settings::PORT, nothing)?,
            Wanted::Group(_) if known => settings::apply(name, settings::GROUP, nothing)?,
            Wanted::Group(_) => {
                settings::apply(name, settings::GROUP_BEFORE_UP, nothing)?;
                settings::apply(name, settings::GROUP, nothing)?
            }
        };
        device.recheck = false;
        device.settings = Some(index);
        // Those of a device that is new have not been changed by anyone.
        Ok(changed.into_iter().filter(|_| known).collect())
    }

    /// Has a TAP made: that takes programs of iproute2, and nothing else waits for them.
    fn create_tap(&mut self, name: &str) {
        let Some(device) = self.devices.get_mut(name) else { return };
        device.busy = true;
        let (made, name) = (self.taps.0.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || {
            let result = link::ensure_tap(&name).map_err(|error| NetError::Refused {
                device: name.clone(),
                step: "create",
                reason: error.to_string(),
            });
            let _ = made.blocking_send((name, result));
        });
    }

    fn made(&mut self, (name, result): Made) {
        let Some(device) = self.devices.get_mut(&name) else { return };
        (device.busy, device.dirty) = (false, true);
        match result {
            Ok(()) => self.repaired(&name, vec![Repair::Device]),
            Err(error) => self.fail(&name, error, Instant::now()),
        }
    }

    fn fail(&mut self, name: &str, error: NetError, now: Instant) {
        let Some(device) = self.devices.get_mut(name) else { return };
        device.not_before = Some(now + device.backoff);
        device.tried_at = Some(now);
        device.backoff = (device.backoff * 2).min(BACKOFF[1]);
        let text = error.to_string();
        let known = device.failure.as_ref().filter(|failure| failure.text == text);
        let reported = known.is_some_and(|failure| now < failure.reported_at + REMIND);
        if !reported {
            device.failure = Some(Failure { text, reported_at: now });
        }
        let ticket = device.ticket.take();
        if device.is_port() {
            // Groups that have waited for it wait no more.
            self.groups_over(name).for_each(|device| device.dirty = true);
        }
        match ticket {
            Some(ticket) => self.report(Report::Done { ticket, result: Err(error) }),
            None if reported => {}
            None => self.report(Report::Failed { device: name.to_owned(), error }),
        }
    }

    /// The groups' devices over a port.
    fn groups_over(&mut self, port: &str) -> impl Iterator<Item = &mut Device> {
        let over = move |device: &&mut Device| matches!(&device.wanted, Wanted::Group(Some(group)) if group.parent == port);
        self.devices.values_mut().filter(over)
    }

    /// Puts the next lost route back; whether there was one.
    async fn restore_route(&mut self) -> bool {
        let ready = |(name, device): (&String, &Device)| {
            let link =
                self.links.get(name).filter(|_| device.is_port() && device.settled && !device.dirty)?;
            Some((name.clone(), self.routes.next(name, link)?))
        };
        let Some((name, message)) = self.devices.iter().find_map(ready) else { return false };
        let text = routes::text(&message);
        match self.requests.add_route(&name, message.clone()).await {
            Ok(added) => {
                self.routes.restored(&name, &message);
                if added {
                    self.report(Report::Repaired { device: name, what: Repair::Route(text) });
                }
            }
            Err(error) => {
                if self.routes.refused(&name, &message) {
                    tracing::warn!("%NET-4-ROUTE: {error}: route {text} is lost: enter it again");
                }
            }
        }
        true
    }

    fn save_routes(&mut self) {
        if let Err(error) = self.routes.save()
            && self.limits.allow("NET-4-STORE", "routes", 3, nanos::now())
        {
            tracing::warn!("%NET-4-STORE: lost-routes: {error}: make the run directory writable for usherd");
        }
    }

    /// Watches the virtual addresses that are in place.
    fn watch(&mut self) {
        if !std::mem::take(&mut self.unwatched) {
            return;
        }
        let mut wanted: BTreeMap<String, Watched> = BTreeMap::new();
        for (name, device) in &self.devices {
            if let Wanted::Group(Some(group)) = &device.wanted {
                let on = wanted.entry(group.parent.clone()).or_default();
                let present = |prefix: &&Prefix| self.links.addresses(name).contains(prefix);
                on.extend(group.addresses.iter().filter(present).map(|prefix| (prefix.address, group.mac)));
            }
        }
        wanted.retain(|_, on| !on.is_empty());
        for (device, error) in self.claims.watch(&wanted, &self.links) {
            if self.limits.allow("NET-4-CLAIMS", &device, 3, nanos::now()) {
                tracing::warn!(
                    "%NET-4-CLAIMS: {device}: {error}: claims of others on virtual addresses are not heard"
                );
            }
        }
    }

    fn read_claims(&mut self, now: Instant) {
        for (device, claim) in self.claims.read(now) {
            self.report(Report::Claim { device, address: claim.address, mac: claim.mac });
        }
    }

    /// Waits for time and events.
    async fn wait(&mut self) {
        let now = Instant::now();
        let retries = self.devices.values().filter(|device| device.dirty && !device.busy);
        let links = self.reported_at.filter(|_| self.unreported).map(|at| at + REPORTS);
        let due = [self.repair_at, links, self.claims.paused_until(), self.resync_at.filter(|_| self.lost)];
        let due = due.into_iter().flatten().chain(retries.filter_map(|device| device.not_before));
        let at = due.fold(self.audit_at, Instant::min);
        let (link_events, route_events, claims) = (&self.link_events, &self.route_events, &self.claims);
        let readable = std::future::poll_fn(|context| {
            let ready = [
                link_events.poll_readable(context),
                route_events.poll_readable(context),
                claims.poll_readable(context),
            ];
            if ready.iter().any(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut made = None;
        tokio::select! {
            () = tokio::time::sleep(at.saturating_duration_since(now)) => {}
            () = self.mailbox.notify.notified() => {}
            () = readable => {}
            one = self.taps.1.recv() => made = one,
        }
        self.stepped = false;
        if let Some(made) = made {
            self.made(made);
        }
        if Instant::now() >= self.audit_at {
            self.audit_at = Instant::now() + AUDIT;
            for device in self.devices.values_mut() {
                (device.recheck, device.dirty) = (true, true);
            }
        }
    }

    /// The end.
    async fn finish(mut self, cleanup: bool) -> Vec<NetError> {
        let mut errors = Vec::new();
        if cleanup {
            self.find_strays(&BTreeSet::new());
            let groups = self.devices.iter().filter(|(_, device)| !device.is_port());
            let ours =
                |device: &Device| matches!(&device.wanted, Wanted::Port(port) if port.owner == Owner::Usherd);
            let taps = self.devices.iter().filter(|(_, device)| ours(device));
            let kind = |name: &String, macvlan: bool| {
                let link = self.links.get(name)?;
                let right = match link.kind {
                    Kind::Macvlan(_) => macvlan,
                    Kind::Tun => !macvlan,
                    Kind::Other(_) => false,
                };
                right.then(|| (name.clone(), link.index))
            };
            let groups: Vec<_> = groups.filter_map(|(name, _)| kind(name, true)).collect();
            let taps: Vec<_> = taps.filter_map(|(name, _)| kind(name, false)).collect();
            for (name, index) in groups.into_iter().chain(taps) {
                errors.extend(self.requests.delete(&name, index).await.err());
            }
        }
        for name in self.originals.devices() {
            errors.extend(self.release(&name, cleanup).await);
        }
        if !cleanup {
            self.save_routes();
        }
        errors
    }
}

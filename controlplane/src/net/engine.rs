//! The work of the reconciler's thread: takes what is wanted, follows the kernel's events, and does one step at a time.

use super::NetError;
use super::claims::{Claims, Watched};
use super::compare::{self, Known, Step, Verdict};
use super::events::{Event, Events};
use super::links::{Kind, LinkTable};
use super::reconciler::{GroupDevice, Inbox, Mailbox, Owner, PortDevice, Repair, Report};
use super::requests::Requests;
use super::routes::{self, Routes};
use super::settings::{self, Originals};
use crate::limits::Limits;
use crate::types::{Prefix, is_link_local};
use platform::clock::monotonic_ns;
use platform::host::link;
use rtnetlink::packet_route::AddressFamily;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Changes by others are put right this long after the first of them: what belongs together comes together.
const TOGETHER: Duration = Duration::from_millis(5);
/// The links are reported at most so often.
const REPORTS: Duration = Duration::from_millis(5);
/// The first and the longest pause after a refusal.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// A failure that lasts is reported so often.
const REMIND: Duration = Duration::from_secs(5);
/// So many repairs of one device in [`CONTEST`] are made; then it is somebody else's turn.
const MOST_REPAIRS: usize = 8;
const CONTEST: Duration = Duration::from_secs(10);
/// A device that is not right after so many steps, and one for each address, does not follow.
const MOST_STEPS: usize = 32;
/// Settings have no events: they are looked at so often.
const AUDIT: Duration = Duration::from_secs(10);
/// All devices are listed anew at most so often.
const RESYNC: Duration = Duration::from_millis(100);
/// Events that are read before something else has its turn.
const MOST_EVENTS: usize = 64;
/// Macvlans of usherd.
const PREFIX: &str = "hsrp";

/// What a device is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Port(PortDevice),
    Group(Option<GroupDevice>),
}

/// A device that is looked after.
#[derive(Debug)]
struct Device {
    wanted: Wanted,
    /// It is to be compared
    dirty: bool,
    /// The request that waits for an answer
    ticket: Option<u64>,
    /// It was as wanted since that was last stated; what differs then was changed by others
    settled: bool,
    /// It is being put right again
    repairing: bool,
    /// Steps since it was as wanted last
    steps: usize,
    /// The index for which the settings were set
    settings: Option<u32>,
    /// The settings are to be looked at again
    recheck: bool,
    /// A link-local address that the kernel gave it
    link_local: Option<Prefix>,
    /// A TAP is being made
    busy: bool,
    failure: Option<Failure>,
    backoff: Duration,
    tried_at: Option<Instant>,
    not_before: Option<Instant>,
    /// When repairs began
    repairs: VecDeque<Instant>,
}

#[derive(Debug)]
struct Failure {
    text: String,
    reported_at: Instant,
}

impl Device {
    fn new(wanted: Wanted) -> Device {
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
    fn restate(&mut self, wanted: Wanted) {
        if self.wanted != wanted {
            self.wanted = wanted;
            (self.settled, self.steps) = (false, 0);
        }
        (self.dirty, self.not_before) = (true, None);
    }

    fn is_port(&self) -> bool {
        matches!(self.wanted, Wanted::Port(_))
    }

    /// The number of addresses that it is to have.
    fn addresses(&self) -> usize {
        match &self.wanted {
            Wanted::Port(port) => port.addresses.len(),
            Wanted::Group(group) => group.as_ref().map_or(0, |group| group.addresses.len()),
        }
    }
}

pub(super) struct Engine {
    mailbox: Arc<Mailbox>,
    reports: Box<dyn Fn(Report) + Send>,
    requests: Requests,
    link_events: Events,
    route_events: Events,
    /// Events of routes that are applied after those of links that came before them
    waiting: Vec<Event>,
    /// There may be more events to read
    more: bool,
    links: Arc<LinkTable>,
    /// The links have changed since they were reported
    unreported: bool,
    reported_at: Option<Instant>,
    devices: BTreeMap<String, Device>,
    originals: Originals,
    routes: Routes,
    /// Ports whose routes are to be listed
    unlisted: BTreeSet<String>,
    claims: Claims,
    /// The watched addresses may have changed
    unwatched: bool,
    /// Events were lost, or a refusal says that something else is unknown
    lost: bool,
    resync_at: Option<Instant>,
    /// Repairs begin then
    repair_at: Option<Instant>,
    audit_at: Instant,
    /// What comes next may be an event of an own step
    stepped: bool,
    taps: (mpsc::Sender<Made>, mpsc::Receiver<Made>),
    limits: Limits,
}

/// The order in which devices have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// A group waits for an answer, and its device is there: addresses come or go, which is what a takeover needs
    Takeover,
    /// A group waits for an answer, and its device has to be made
    Answer,
    Port,
    Group,
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
        self.devices.retain(|name, device| !device.is_port() || names.contains(name));
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
                    self.unlisted.insert(name);
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
        let ports: BTreeSet<u32> = ports.filter_map(|(name, _)| self.links.index(name)).collect();
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

    /// Reads the kernel's events, and has what they touch compared.
    fn follow(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            self.route_events.read(&mut self.waiting, MOST_EVENTS);
        }
        let mut events = Vec::new();
        let more = self.link_events.read(&mut events, MOST_EVENTS);
        let mut touched = BTreeSet::new();
        for event in &events {
            self.apply(event, &mut touched);
        }
        // That a device went down comes before the routes that it lost, if all is read that came before them.
        if !more {
            for event in std::mem::take(&mut self.waiting) {
                self.apply_route(&event);
            }
        }
        self.touch(&touched, now);
        self.more = more || !self.waiting.is_empty();
    }

    /// Has devices compared that others have changed, and the groups' devices over them.
    fn touch(&mut self, touched: &BTreeSet<String>, now: Instant) {
        let mut any = false;
        for (name, device) in &mut self.devices {
            let below =
                matches!(&device.wanted, Wanted::Group(Some(group)) if touched.contains(&group.parent));
            if !below && !touched.contains(name) {
                continue;
            }
            any = true;
            device.dirty = true;
            // Something has changed: another attempt may be worth it, but not at once, for it may have been its own.
            if !self.stepped
                && let (Some(at), Some(tried)) = (device.not_before, device.tried_at)
                && device.repairs.len() < MOST_REPAIRS
            {
                device.not_before = Some(at.min(tried + BACKOFF[0]));
            }
        }
        if any && !self.stepped && self.repair_at.is_none() {
            self.repair_at = Some(now + TOGETHER);
        }
    }

    fn apply(&mut self, event: &Event, touched: &mut BTreeSet<String>) {
        let name_of = |links: &LinkTable, index: u32| links.by_index(index).map(|link| link.name.clone());
        let was_up = |links: &LinkTable, index: u32| links.by_index(index).is_some_and(|link| link.up);
        let (index, changed) = match event {
            Event::Link(message) => {
                let index = message.header.index;
                let before = (name_of(&self.links, index), was_up(&self.links, index));
                touched.extend(before.0.iter().cloned());
                let changed = Arc::make_mut(&mut self.links).put_link(message);
                if before.1 && !was_up(&self.links, index) {
                    before.0.iter().for_each(|name| self.routes.disturb(name));
                }
                (index, changed)
            }
            Event::LinkGone(message) => {
                let name = name_of(&self.links, message.header.index);
                let changed = Arc::make_mut(&mut self.links).remove_link(message);
                if let Some(name) = name.filter(|_| changed) {
                    self.routes.disturb(&name);
                    touched.insert(name);
                }
                (message.header.index, changed)
            }
            Event::Address(message) => {
                (message.header.index, Arc::make_mut(&mut self.links).put_address(message))
            }
            Event::AddressGone(message) => {
                let changed = Arc::make_mut(&mut self.links).remove_address(message);
                if changed && let Some(name) = name_of(&self.links, message.header.index) {
                    self.routes.disturb(&name);
                }
                (message.header.index, changed)
            }
            Event::Lost | Event::Route(..) | Event::RouteGone(_) => {
                self.lost = true;
                return;
            }
        };
        self.unreported |= changed;
        if let Some(name) = name_of(&self.links, index) {
            self.note_link_local(&name);
            touched.insert(name);
        }
    }

    /// Takes note of the link-local address of a port's device.
    fn note_link_local(&mut self, name: &str) {
        let device = self.devices.get_mut(name).filter(|device| device.is_port());
        let link = self.links.get(name).filter(|link| link.up);
        if let (Some(device), Some(link)) = (device, link)
            && let Some(lowest) = link.link_local()
        {
            let is_lowest = |prefix: &&Prefix| prefix.address == IpAddr::V6(lowest);
            device.link_local = link.addresses.iter().find(is_lowest).copied();
        }
    }

    fn apply_route(&mut self, event: &Event) {
        // Devices of the host have their routes from the host.
        let port = |engine: &Engine, message| {
            let name = &engine.links.by_index(routes::device_of(message)?)?.name;
            let ours =
                |device: &Device| matches!(&device.wanted, Wanted::Port(port) if port.owner != Owner::Host);
            engine.devices.get(name).is_some_and(ours).then(|| name.clone())
        };
        match event {
            Event::Route(message, replaces) => match port(self, message) {
                Some(name) => {
                    self.routes.put(&name, message, *replaces);
                    // It may be lost already.
                    if self.links.get(&name).is_some_and(|link| !link.up) {
                        self.routes.disturb(&name);
                    }
                }
                None if *replaces => self.routes.replaced(message),
                None => {}
            },
            Event::RouteGone(message) => {
                if let Some(name) = port(self, message) {
                    self.routes.remove(&name, message);
                }
            }
            _ => {
                let ports = self.devices.iter().filter(|(_, device)| device.is_port());
                self.unlisted.extend(ports.map(|(name, _)| name.clone()));
            }
        }
    }

    /// Lists all devices anew where events were lost.
    async fn resync(&mut self, now: Instant) {
        if self.lost && self.resync_at.is_none_or(|at| now >= at) {
            self.lost = false;
            // What waits is older than the list; events that come later are read after it.
            let mut old = Vec::new();
            while self.link_events.read(&mut old, MOST_EVENTS) {
                old.clear();
            }
            match self.list().await {
                Ok(table) => self.replace_links(table, now),
                Err(error) => {
                    self.lost = true;
                    self.warn("devices", &error);
                }
            }
            // Where there are thousands, listing them is not to be all that is done.
            let after = Instant::now();
            self.resync_at = Some(after + RESYNC.max(4 * after.saturating_duration_since(now)));
        }
        for name in std::mem::take(&mut self.unlisted) {
            self.list_routes(&name).await;
        }
    }

    async fn list(&mut self) -> Result<LinkTable, NetError> {
        let mut table = LinkTable::default();
        for link in self.requests.links().await? {
            table.put_link(&link);
        }
        for address in self.requests.addresses().await? {
            table.put_address(&address);
        }
        Ok(table)
    }

    fn replace_links(&mut self, table: LinkTable, now: Instant) {
        let old = std::mem::replace(&mut self.links, Arc::new(table));
        let links = Arc::make_mut(&mut self.links);
        for link in old.iter() {
            if let Some(packet) = link.packet {
                links.put_packet(&link.name, packet);
            }
        }
        let names = self.devices.keys().cloned();
        let changed: BTreeSet<String> = names.filter(|name| old.get(name) != self.links.get(name)).collect();
        for name in &changed {
            let lost = old.get(name).is_some_and(|old| {
                self.links.get(name).is_none_or(|new| {
                    new.index != old.index
                        || old.up && !new.up
                        || old.addresses.iter().any(|prefix| !new.addresses.contains(prefix))
                })
            });
            if lost {
                self.routes.disturb(name);
            }
        }
        self.unreported = true;
        changed.iter().for_each(|name| self.note_link_local(name));
        self.touch(&changed, now);
    }

    async fn list_routes(&mut self, name: &str) {
        let Some(index) = self.links.index(name) else { return };
        let mut listed = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            match self.requests.routes(name, index, family).await {
                Ok(routes) => listed.extend(routes),
                Err(error) => return self.warn(name, &error),
            }
        }
        listed.retain(|message| routes::device_of(message) == Some(index));
        self.routes.refresh(name, &listed);
    }

    fn warn(&mut self, place: &str, error: &NetError) {
        if self.limits.allow("NET-4-KERNEL", place, 3, monotonic_ns()) {
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

    /// Looks up the packet addresses of devices that are new: only the kernel's listing has them.
    fn find_packets(&mut self) {
        let lacks = |name: &String| self.links.get(name).is_some_and(|link| link.packet.is_none());
        if !self.devices.keys().any(lacks) {
            return;
        }
        for one in nix::ifaddrs::getifaddrs().into_iter().flatten() {
            if let Some(packet) = one.address.as_ref().and_then(|address| address.as_link_addr())
                && self.devices.contains_key(&one.interface_name)
            {
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

    /// Whether a TAP of ours is about to be made, and was not refused yet.
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
        if recovered && !over {
            self.report(Report::Recovered { device: name.to_owned() });
        }
        if let Some(ticket) = ticket {
            self.report(Report::Done { ticket, result: Ok(()) });
        }
    }

    /// Whether another step may be made. Two that undo each other's work would go on without end.
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
                self.requests.delete_address(name, index, prefix).await?;
                if !is_link_local(&prefix.address) {
                    self.routes.disturb(name);
                }
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

    fn settings(&mut self, name: &str, index: u32) -> Result<Vec<String>, NetError> {
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
            && self.limits.allow("NET-4-STORE", "routes", 3, monotonic_ns())
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
            if self.limits.allow("NET-4-CLAIMS", &device, 3, monotonic_ns()) {
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

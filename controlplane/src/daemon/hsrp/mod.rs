//! The runner of HSRP: it hears and sends, keeps the machines' time, and carries out what they ask for.
//!
//! Nothing here waits. What takes time is a [`Phase`] that the loop looks at again: a data plane has to take a
//! generation, the kernel has to put an address on. Only the messages of a group that is giving its addresses up wait, so
//! that a resign says no less than the truth.

mod role;
mod tracking;

pub use role::{Phase, Role, Roles};

use super::dataplanes::Taken;
use super::kernel::Work;
use super::{Daemon, on_macvlan};
use crate::config::health::GroupPlan;
use crate::config::{Authentication, Family, Interface, virtual_link_local};
use crate::exec::Debug;
use crate::hsrp::OWN_LEASE;
use crate::hsrp::auth::{Auth, Keys};
use crate::hsrp::link::{Listening, Solicitations, index_of, link_local_of};
use crate::hsrp::machine::{Action, Event, Group, Note};
use crate::hsrp::message::{Message, State};
use crate::hsrp::packet::{self, MAX_LEN, Transport};
use crate::hsrp::router::{Advertiser, is_solicitation};
use crate::limits::Limits;
use crate::net::{Wanted, announce};
use crate::types::GroupKey;
use platform::clock::monotonic_ns;
use role::machine_config;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The longest wait for a data plane before an address is put on.
const GAIN_WAIT: Duration = Duration::from_millis(20);
/// The longest wait for a data plane before an address is taken off.
const LOSS_WAIT: Duration = Duration::from_millis(50);
/// How long an usherd that goes on as active waits for its data plane to come back.
const RESUME_GRACE: Duration = Duration::from_millis(1500);
/// Messages read from one socket before anything else has its turn.
const BUDGET: usize = 64;
/// Between two readings of the sockets: a flood costs no more turns than this allows.
pub(in crate::daemon) const BREATH: Duration = Duration::from_millis(1);
/// While a phase lasts it is looked at this often.
const GLANCE: u64 = 500_000;
/// Lines of one kind about one group in 10 s.
const FEW_LINES: u32 = 5;
/// Changes of state of one group in 10 s.
const CHANGES: u32 = 20;
/// Lines of debugging in 10 s.
const DEBUG_LINES: u32 = 2000;
/// A group that gives its addresses up holds no more messages back than this.
const MOST_HELD: usize = 8;

/// The state of the runner beside the roles.
#[derive(Debug)]
pub struct Election {
    /// The sockets, each with the index of its port
    pub listening: Vec<(usize, Listening)>,
    /// The sockets on which hosts ask for a router, of each IPv6 group that is one
    pub hosts: BTreeMap<GroupKey, Solicitations>,
    /// Messages that no group took, by port and reason
    pub refused: BTreeMap<(usize, &'static str), u64>,
    /// What is told beyond the usual
    pub debug: Debug,
    /// Tracked objects that are down
    pub down: BTreeMap<u16, bool>,
    /// Whether the IKE daemon answered when it was last asked
    pub ike: bool,
    /// The sockets are read again then, ns
    pub read_at: u64,
    /// Data planes that are not attached count as there until then, ns
    pub grace_until: u64,
    /// Until the first configuration is in force
    pub starting: bool,
    /// Of what is logged again and again
    pub limits: Limits,
}

impl Election {
    /// Nothing is heard yet.
    #[must_use]
    pub fn new(now: u64) -> Election {
        Election {
            listening: Vec::new(),
            hosts: BTreeMap::new(),
            refused: BTreeMap::new(),
            debug: Debug::default(),
            down: BTreeMap::new(),
            ike: true,
            read_at: 0,
            grace_until: now.saturating_add(RESUME_GRACE.as_nanos() as u64),
            starting: true,
            limits: Limits::default(),
        }
    }
}

impl Daemon {
    /// Brings roles and sockets into line with the plan. Groups that are not wanted any more first give up what
    /// they have.
    pub(in crate::daemon) fn configure_roles(&mut self, now: u64) {
        let keys: Vec<GroupKey> = self.roles.keys().cloned().collect();
        for key in keys {
            let wanted = self.plan.group(&key).cloned();
            let Some(role) = self.roles.get_mut(&key) else { continue };
            // Another version or port is another virtual MAC or device: the group ends and starts over.
            let same = wanted.filter(|plan| plan.version == role.plan.version && plan.port == role.plan.port);
            match same {
                Some(plan) => self.change_role(&key, plan, now),
                None => {
                    self.tell(&key, Event::Disable, now);
                    self.drop_if_over(&key);
                }
            }
        }
        self.create_roles(now);
        self.listen();
        let names: BTreeSet<String> = self.roles.keys().map(GroupKey::to_string).collect();
        let devices = &self.ports;
        self.election.limits.keep(|place| {
            place == "HSRP"
                || names.contains(place)
                || devices.iter().any(|port| port.exception.as_deref() == Some(place))
        });
        self.dirty = true;
    }

    /// Forgets a group that is not wanted as it is, when it has given everything up.
    fn drop_if_over(&mut self, key: &GroupKey) -> bool {
        let Some(role) = self.roles.get(key) else { return false };
        let wanted = self
            .plan
            .group(key)
            .is_some_and(|plan| plan.version == role.plan.version && plan.port == role.plan.port);
        let over = !wanted && role.phase == Phase::Absent && role.held.is_empty() && !role.wanted();
        if over {
            self.roles.remove(key);
            self.dirty = true;
        }
        over
    }

    fn create_roles(&mut self, now: u64) {
        for plan in self.plan.groups.clone() {
            if self.roles.contains_key(&plan.key) {
                continue;
            }
            let free = (0..OWN_LEASE).find(|lease| self.roles.values().all(|role| role.lease != *lease));
            let text = plan.key.to_string();
            let epoch = self.state.epochs.get(&text).copied().unwrap_or(0);
            let key = plan.key.clone();
            // `assess` keeps groups beyond the lease words down: they need none.
            let auth = auth_of(&plan).unwrap_or_default();
            let mut role = Role::new(plan, auth, free.unwrap_or(OWN_LEASE), epoch);
            role.reload = self.election.starting;
            self.roles.insert(key.clone(), role);
            self.start_machine(&key, now);
        }
    }

    /// Gives a group its part in the election as soon as it can have one.
    pub(in crate::daemon) fn start_machine(&mut self, key: &GroupKey, now: u64) {
        let Some(role) = self.roles.get(key) else { return };
        if !role.plan.down.is_empty() || role.lease >= OWN_LEASE {
            return;
        }
        let Some((own, mac)) = self.own_address(&role.plan) else { return };
        let config = machine_config(&role.plan, own, mac);
        if let Some(machine) = &role.machine {
            if machine.config() != &config {
                self.tell(key, Event::Configure(config), now);
            }
            return;
        }
        // Within the lease of the life before, the addresses are still here and no peer can have them.
        let lease = self.state.leases.get(&key.to_string()).copied().filter(|until| now < *until);
        let resume = lease.filter(|_| self.election.starting);
        let reload = role.reload;
        let exception = self.exception_of(&role.plan);
        let up = exception.is_some_and(|exception| self.dataplanes.carries(exception).is_some());
        if let Some(role) = self.roles.get_mut(key) {
            role.machine = Some(Group::new(config, now));
            role.resumed = resume.is_some();
            role.grace = resume.is_some();
            role.dataplane = up || resume.is_some();
        }
        let synced = self.roles.get(key).is_none_or(|role| role.synced);
        self.tell(key, Event::Synced(synced), now);
        for (object, down) in self.election.down.clone() {
            self.tell(key, Event::Track { object, down }, now);
        }
        if !up && resume.is_none() {
            self.tell(key, Event::DataplaneDown, now);
        }
        match resume {
            Some(until) => {
                tracing::info!(
                    "%HSRP-5-RESUME: {key}: goes on as active: its lease runs for {} ms",
                    (until - now) / 1_000_000
                );
                self.tell(key, Event::Resume { until }, now);
            }
            None => {
                self.tell(key, Event::Enable { reload }, now);
            }
        }
    }

    /// The address that a group's hellos leave from, and the interface's MAC.
    fn own_address(&self, plan: &GroupPlan) -> Option<(IpAddr, [u8; 6])> {
        let exception = self.exception_of(plan)?;
        let own = match plan.key.family {
            Family::V4 => plan.primary,
            // The kernel's own; where nobody carries the device's frames yet it has none.
            Family::V6 => self
                .sender
                .link_local(exception)
                .or_else(|| self.dataplanes.port(exception).map(|port| link_local_of(port.mac)))
                .map(IpAddr::V6),
        };
        Some((own?, self.sender.mac(exception)?))
    }

    fn change_role(&mut self, key: &GroupKey, plan: GroupPlan, now: u64) {
        let own = self.own_address(&plan);
        let Some(role) = self.roles.get_mut(key) else { return };
        let (was_down, is_down) = (!role.plan.down.is_empty(), !plan.down.is_empty());
        if let Some(auth) = auth_of(&plan)
            && role.plan.settings.authentication != plan.settings.authentication
        {
            let overlap = match &plan.settings.authentication {
                Some(Authentication::Md5(_, Some(timeout))) => *timeout,
                _ => crate::config::Group::OLD_KEY,
            };
            let until = now.saturating_add(Duration::from_secs(overlap.into()).as_nanos() as u64);
            role.auth.replace(auth, now, until);
        }
        let changed = role.plan != plan;
        role.plan = plan;
        // A chain may just have been given its keys.
        self.roll_keys();
        let Some(role) = self.roles.get_mut(key) else { return };
        if role.machine.is_none() {
            self.start_machine(key, now);
            return;
        }
        if is_down {
            self.tell(key, Event::Disable, now);
        } else if let Some((own, mac)) = own.filter(|_| changed) {
            let config = machine_config(&role.plan, own, mac);
            self.tell(key, Event::Configure(config), now);
            if was_down {
                self.tell(key, Event::Enable { reload: false }, now);
            }
            // Secondary addresses are nothing to the machine.
            self.readdress(key);
        }
    }

    /// Tells a machine something and carries out what it asks for.
    pub(in crate::daemon) fn tell(&mut self, key: &GroupKey, event: Event, now: u64) -> Vec<Note> {
        let Some(machine) = self.roles.get_mut(key).and_then(|role| role.machine.as_mut()) else {
            return Vec::new();
        };
        let before = machine.state();
        let named = self.election.debug.events.then(|| format!("{event:?}"));
        let actions = machine.handle(event, now);
        if let Some(named) = named.filter(|_| !actions.is_empty())
            && self.debug_line(now)
        {
            tracing::info!("HSRP: {key} {} {named}: {} actions", before.name(), actions.len());
        }
        self.act(key, before, actions, now)
    }

    fn act(&mut self, key: &GroupKey, mut before: State, actions: Vec<Action>, now: u64) -> Vec<Note> {
        let mut notes = Vec::new();
        for action in actions {
            match action {
                Action::Send(message) => self.post(key, message, now),
                Action::Become(state) => {
                    if self.may_log("HSRP-5-STATECHANGE", key, CHANGES, now) {
                        tracing::info!(
                            "%HSRP-5-STATECHANGE: {key} state {} -> {}",
                            before.name(),
                            state.name()
                        );
                    }
                    before = state;
                    self.dirty = true;
                }
                Action::GainVirtual => self.gain(key, now),
                Action::LoseVirtual => self.lose(key, now),
                Action::UpdateVirtual => self.readdress(key),
                Action::Announce => {
                    if let Some(role) = self.roles.get_mut(key) {
                        role.announce = true;
                    }
                }
                Action::LearnVirtual(address) => {
                    tracing::info!("%HSRP-5-LEARNED: {key}: the virtual address is {address}");
                    self.dirty = true;
                }
                // The word itself goes when every worker has taken the loss: until then it only could fence what is
                // still to leave.
                Action::Lease { until: 0, .. } => {}
                Action::Lease { until, peer_known } => self.renew(key, until, peer_known),
                Action::Log(note) => {
                    let word = match note {
                        Note::DuplicateAddress(_) => "HSRP-4-DUPADDR",
                        Note::BadVirtualAddress { .. } => "HSRP-4-BADVIP",
                        Note::BadTimers(_) => "HSRP-4-BADTIMERS",
                        Note::LeaseLapsed { .. } => "HSRP-4-LEASE",
                        Note::Stalled { .. } => "HSRP-4-STALLED",
                        Note::FailoverNotActive | Note::FailoverNoStandby => "HSRP-4-FAILOVER",
                    };
                    if self.may_log(word, key, FEW_LINES, now) {
                        tracing::warn!("%{word}: {key}: {note}");
                    }
                    notes.push(note);
                }
            }
        }
        notes
    }

    /// Has each group go by the keys of its chain as they stand now.
    pub(in crate::daemon) fn roll_keys(&mut self) {
        let wall = wall_clock();
        for (key, role) in &mut self.roles {
            let Some((keys, timely)) = role.plan.chain.as_ref().and_then(|c| Keys::of_chain(c, wall)) else {
                continue;
            };
            let sent = keys.sent();
            if role.auth.roll(keys) {
                tracing::info!("%HSRP-6-KEY: {key}: key {sent} of its chain is sent now");
            }
            if std::mem::replace(&mut role.key_late, !timely) == timely {
                match timely {
                    true => tracing::info!("%HSRP-6-KEY: {key}: key {sent} is within its send-lifetime"),
                    false => tracing::warn!(
                        "%HSRP-4-KEY: {key}: no key of its chain is to be sent now, key {sent} goes on: add a key \
                         with a send-lifetime from now on, and look at the clock"
                    ),
                }
            }
        }
    }

    /// Whether a line of this kind about a group may be written.
    pub(in crate::daemon) fn may_log(
        &mut self,
        kind: &'static str,
        key: &GroupKey,
        most: u32,
        now: u64,
    ) -> bool {
        self.election.limits.allow(kind, &key.to_string(), most, now)
    }

    /// Whether one more line of debugging may be written.
    fn debug_line(&mut self, now: u64) -> bool {
        self.election.limits.allow("debug", "HSRP", DEBUG_LINES, now)
    }

    /// Lets the lease run on. With a peer known it ends no later than it would have from the last moment at which the
    /// data plane was seen running: hellos since then may not have left.
    fn renew(&mut self, key: &GroupKey, until: u64, peer_known: bool) {
        let Some(role) = self.roles.get(key) else { return };
        let Some(machine) = &role.machine else { return };
        let span = span(machine);
        let seen = self.exception_of(&role.plan).and_then(|exception| self.dataplanes.carries(exception));
        let until = match seen {
            Some(seen) if peer_known => until.min(seen.saturating_add(span)),
            _ => until,
        };
        self.writer.set_lease(role.lease, until, peer_known);
        self.state.leases.insert(key.to_string(), until);
    }

    fn gain(&mut self, key: &GroupKey, now: u64) {
        let Some(role) = self.roles.get_mut(key) else { return };
        let epoch = self.state.epochs.entry(key.to_string()).or_default();
        *epoch = epoch.wrapping_add(1);
        role.epoch = *epoch;
        if role.phase == Phase::Absent {
            role.phase = Phase::Preparing { since: now, generation: 0 };
        }
        self.dirty = true;
    }

    fn lose(&mut self, key: &GroupKey, now: u64) {
        self.last_advertisement(key);
        self.state.leases.remove(&key.to_string());
        let Some(role) = self.roles.get_mut(key) else { return };
        role.announce = false;
        role.resumed = false;
        if !matches!(role.phase, Phase::Absent | Phase::Clearing(_)) {
            role.phase = Phase::Withdrawing { since: now, generation: 0 };
        }
        self.dirty = true;
    }

    /// Before the resign, for the next router advertises the same address and is to have the last word.
    fn last_advertisement(&mut self, key: &GroupKey) {
        let Some(role) = self.roles.get_mut(key) else { return };
        let (was_router, reachable) = (role.router.take().is_some(), role.dataplane);
        self.election.hosts.remove(key);
        if was_router && reachable {
            self.advertise(key, Duration::ZERO);
        }
    }

    fn advertise(&self, key: &GroupKey, lifetime: Duration) {
        let Some(role) = self.roles.get(key) else { return };
        let Some((_, device)) = self.device(&role.plan) else { return };
        let address = virtual_link_local(role.plan.key.group);
        if let Err(error) = announce::advertise_router(&device, role.mac(), address, lifetime) {
            tracing::warn!("%HSRP-4-ANNOUNCE: {key}: {device}: {error}");
        }
    }

    /// The addresses have changed while they are here.
    fn readdress(&mut self, key: &GroupKey) {
        self.dirty = true;
        if self.roles.get(key).is_some_and(|role| role.phase == Phase::Owned)
            && let Some(work) = self.one(key)
        {
            self.devices.give(work);
        }
    }

    /// The macvlan of a group as it is to be now.
    fn one(&self, key: &GroupKey) -> Option<Work> {
        let role = self.roles.get(key)?;
        let (exception, device) = self.device(&role.plan)?;
        Some(Work::One(exception, self.macvlan(role, device)))
    }

    /// A group's macvlan with the addresses of its phase.
    pub(in crate::daemon) fn macvlan(&self, role: &Role, device: String) -> Wanted {
        let mut addresses = Vec::new();
        if role.carries() {
            addresses.extend(role.addresses().into_iter().map(on_macvlan));
            if role.plan.key.family == Family::V6 {
                let link_local = on_macvlan(virtual_link_local(role.plan.key.group).into());
                if !addresses.contains(&link_local) {
                    addresses.push(link_local);
                }
            }
        }
        Wanted { device, mac: Some(role.mac()), mtu: None, addresses, shared: false }
    }

    /// A message on its way out.
    fn post(&mut self, key: &GroupKey, message: Message, now: u64) {
        let Some(role) = self.roles.get_mut(key) else { return };
        // Without a data plane that carries the port's frames nothing leaves; and from the queue of one that stands
        // still it would leave when that one wakes, and be a lie by then.
        if !role.dataplane || role.wedged.is_some() {
            return;
        }
        if matches!(role.phase, Phase::Withdrawing { .. } | Phase::Clearing(_)) {
            if role.held.len() < MOST_HELD {
                role.held.push(message);
            }
            return;
        }
        self.send(key, &message, now);
    }

    fn send(&mut self, key: &GroupKey, message: &Message, now: u64) {
        let Some(role) = self.roles.get(key) else { return };
        let (Some(machine), Some(transport)) = (&role.machine, role.transport()) else { return };
        let Some((exception, macvlan)) = self.device(&role.plan) else { return };
        let own = machine.config().own;
        let payload = match packet::emit(message, &role.auth, own) {
            Ok(payload) => payload,
            Err(error) => {
                if self.may_log("HSRP-3-MESSAGE", key, FEW_LINES, now) {
                    tracing::error!("%HSRP-3-MESSAGE: {key}: cannot be sent: {error}");
                }
                return;
            }
        };
        let (device, mac) = match machine.owns() {
            true => (macvlan, role.mac()),
            false => (exception.clone(), self.sender.mac(&exception).unwrap_or_default()),
        };
        let sent = self.sender.send(&device, transport, mac, own, &payload);
        if self.election.debug.packets && self.debug_line(now) {
            tracing::info!("HSRP: {key} {} out from {device}", line(message));
        }
        if let Err(error) = sent {
            // A macvlan that is only just being made: the hello must leave all the same.
            let again = self.sender.send(&exception, transport, mac, own, &payload);
            if again.is_err() && self.may_log("HSRP-4-SEND", key, FEW_LINES, now) {
                tracing::warn!("%HSRP-4-SEND: {key}: {device}: {error}: see `ip link show {exception}`");
            }
        }
    }

    /// Opens the sockets that are missing and closes those that are not wanted.
    pub(in crate::daemon) fn listen(&mut self) {
        let mut wanted: Vec<(usize, Transport, String)> = Vec::new();
        for role in self.roles.values().filter(|role| role.plan.down.is_empty()) {
            let (Some(transport), Some((exception, _)), Some(port)) =
                (role.transport(), self.device(&role.plan), role.plan.port)
            else {
                continue;
            };
            // The other version of IPv4 too, to tell the operator of a router that speaks it.
            let other = match transport {
                Transport::V1 => Some(Transport::V2),
                Transport::V2 => Some(Transport::V1),
                Transport::V2Ipv6 => None,
            };
            for transport in [Some(transport), other].into_iter().flatten() {
                let one = (port, transport, exception.clone());
                if !wanted.contains(&one) {
                    wanted.push(one);
                }
            }
        }
        let same = |(port, transport, device): &(usize, Transport, String),
                    (at, open): &(usize, Listening)| {
            port == at && *transport == open.transport && *device == open.device.0
        };
        self.election.listening.retain(|open| {
            wanted.iter().any(|wanted| same(wanted, open))
                && index_of(&open.1.device.0) == Some(open.1.device.1)
        });
        self.hear_hosts();
        for one in &wanted {
            if self.election.listening.iter().any(|open| same(one, open)) || index_of(&one.2).is_none() {
                continue;
            }
            match Listening::open(one.1, &one.2) {
                Ok(open) => self.election.listening.push((one.0, open)),
                Err(error) => {
                    if self.election.limits.allow("HSRP-3-SOCKET", &one.2, FEW_LINES, monotonic_ns()) {
                        tracing::error!(
                            "%HSRP-3-SOCKET: {}: port {}: {error}: no election is possible there; trying again",
                            one.2,
                            one.1.port()
                        );
                    }
                }
            }
        }
    }

    /// Opens the sockets on which hosts ask those groups for a router that are one, on devices that may be new.
    fn hear_hosts(&mut self) {
        for role in self.roles.values().filter(|role| role.router.is_some()) {
            let key = &role.plan.key;
            let Some((_, device)) = self.device(&role.plan) else { continue };
            let same = |open: &Solicitations| index_of(&open.device.0) == Some(open.device.1);
            if self.election.hosts.get(key).is_some_and(same) {
                continue;
            }
            match Solicitations::open(&device) {
                Ok(open) => drop(self.election.hosts.insert(key.clone(), open)),
                Err(error) => {
                    let now = monotonic_ns();
                    if self.election.limits.allow("HSRP-4-HOSTS", &key.to_string(), FEW_LINES, now) {
                        tracing::warn!(
                            "%HSRP-4-HOSTS: {key}: {device}: {error}: hosts that ask for a router wait for the next \
                             advertisement; trying again"
                        );
                    }
                }
            }
        }
    }

    /// Reads what hosts ask, within bounds; whether there was anything.
    fn read_hosts(&mut self, now: u64) -> bool {
        let mut buffer = [0; MAX_LEN + 1];
        let mut any = false;
        for (key, socket) in &self.election.hosts {
            for _ in 0..BUDGET {
                let Some(heard) = socket.read(&mut buffer) else { break };
                any = true;
                let message = &buffer[..heard.len.min(MAX_LEN)];
                if let IpAddr::V6(source) = heard.source
                    && is_solicitation(message, source, heard.hop_limit)
                    && let Some(router) = self.roles.get_mut(key).and_then(|role| role.router.as_mut())
                {
                    // No two clocks agree to the nanosecond: their phase is as good as a random number.
                    router.solicited(now, now);
                }
            }
        }
        any
    }

    /// Reads what has come, within bounds.
    pub(in crate::daemon) fn hear(&mut self, now: u64) {
        let mut buffer = [0; MAX_LEN + 1];
        let listening = std::mem::take(&mut self.election.listening);
        let mut read = 0;
        for (port, socket) in &listening {
            for _ in 0..BUDGET {
                let Some(heard) = socket.read(&mut buffer) else { break };
                read += 1;
                let payload = &buffer[..heard.len.min(MAX_LEN + 1)];
                self.take_message(*port, socket.transport, heard.source, heard.hop_limit, payload, now);
            }
        }
        self.election.listening = listening;
        if self.read_hosts(now) || read > 0 {
            self.election.read_at = now.saturating_add(BREATH.as_nanos() as u64);
        }
    }

    fn take_message(
        &mut self,
        port: usize,
        transport: Transport,
        source: IpAddr,
        hop_limit: u8,
        payload: &[u8],
        now: u64,
    ) {
        let checked = transport.check(source, hop_limit);
        // Who is not on the link has no part in its elections.
        if checked.is_ok() && source.is_ipv4() && !self.is_on_link(port, source) {
            *self.election.refused.entry((port, "off-link")).or_default() += 1;
            return;
        }
        let parsed = checked.and_then(|()| packet::parse(payload, transport));
        let Some(interface) = self.ports[port].interface.clone() else { return };
        let interface = &interface;
        let version = self.config.interfaces.get(interface).map_or(1, Interface::version);
        if transport.version() != version {
            *self.election.refused.entry((port, "other-version")).or_default() += 1;
            let place = self.ports[port].exception.as_deref().unwrap_or_default();
            if parsed.is_ok() && self.election.limits.allow("HSRP-4-VERSION", place, FEW_LINES, now) {
                tracing::warn!(
                    "%HSRP-4-VERSION: {interface}: {source} speaks version {}, this node version {version}: neither \
                     hears the other; enter the same `standby version` on both",
                    transport.version()
                );
            }
            return;
        }
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                *self.election.refused.entry((port, error.name())).or_default() += 1;
                if self.election.debug.errors && self.debug_line(now) {
                    tracing::info!("HSRP: from {source} on {interface}: {error}");
                }
                return;
            }
        };
        let key =
            GroupKey { interface: interface.clone(), group: parsed.group(), family: transport.family() };
        let Some(role) = self.roles.get_mut(&key).filter(|role| role.machine.is_some()) else {
            *self.election.refused.entry((port, "unknown-group")).or_default() += 1;
            return;
        };
        match parsed.authenticate(&role.auth, source, now) {
            Ok(received) => {
                if self.election.debug.packets && self.debug_line(now) {
                    tracing::info!("HSRP: {key} {} in from {source}", line(&received.message));
                }
                self.tell(&key, Event::Received(received), now);
            }
            Err(error) => {
                role.refuse(error.name());
                if self.election.debug.errors && self.debug_line(now) {
                    tracing::info!("HSRP: {key} from {source}: {error}");
                } else if self.may_log("HSRP-4-BADAUTH", &key, FEW_LINES, now) {
                    tracing::warn!("%HSRP-4-BADAUTH: {key}: from {source}: {error}");
                }
            }
        }
    }

    fn is_on_link(&self, port: usize, source: IpAddr) -> bool {
        let name = self.ports[port].interface.as_ref();
        let interface = name.and_then(|name| self.config.interfaces.get(name));
        interface.is_some_and(|interface| interface.addresses().any(|prefix| prefix.covers(source)))
    }

    /// Gives every machine its time, and moves every phase on that can move.
    pub(in crate::daemon) fn advance(&mut self, now: u64) {
        let keys: Vec<GroupKey> = self.roles.keys().cloned().collect();
        for key in &keys {
            let due = self.roles.get(key).and_then(|role| role.machine.as_ref()?.next_deadline());
            if due.is_some_and(|at| at <= now) {
                self.tell(key, Event::Tick, now);
            }
        }
        self.follow_roles(now);
        // A phase may end in one that has something to publish; no more than three follow each other at once.
        for _ in 0..3 {
            if std::mem::take(&mut self.dirty) {
                self.publish();
                let generation_now = self.published.generation;
                for role in self.roles.values_mut().filter(|role| role.wedged.is_none()) {
                    if let Phase::Preparing { generation, .. } | Phase::Withdrawing { generation, .. } =
                        &mut role.phase
                        && *generation == 0
                    {
                        *generation = generation_now;
                    }
                }
            }
            for key in &keys {
                self.step(key, now);
            }
            if !self.dirty {
                break;
            }
        }
        self.announcements(&keys, now);
    }

    fn step(&mut self, key: &GroupKey, now: u64) {
        let Some(role) = self.roles.get(key) else { return };
        let instance = self.writer.instance();
        match role.phase {
            Phase::Absent if role.wanted() => {
                let phase = Phase::Preparing { since: now, generation: 0 };
                self.enter(key, phase);
                self.dirty = true;
            }
            Phase::Preparing { since, generation } if generation > 0 => {
                let taken = self.dataplanes.taken(instance, generation);
                let late = now.saturating_sub(since) >= GAIN_WAIT.as_nanos() as u64;
                match taken {
                    Taken::Whole => {}
                    Taken::WithoutFilter => tracing::error!(
                        "%DATAPLANE-3-FILTER: a port does not take the virtual MAC: set promiscuous = \"on\" in the profile"
                    ),
                    Taken::NotYet | Taken::Nobody if !late => return,
                    // One that goes on within its lease does not wait for its data plane to come back.
                    Taken::Nobody => {}
                    Taken::NotYet => tracing::warn!(
                        "%DATAPLANE-4-SLOW: generation {generation} is not in force after 20 ms; going on"
                    ),
                }
                self.enter(key, Phase::Addressing(0));
                let task = self.one(key).map_or(0, |work| self.devices.give(work));
                self.enter(key, Phase::Addressing(task));
            }
            Phase::Withdrawing { since, generation } if generation > 0 => {
                let late = now.saturating_sub(since) >= LOSS_WAIT.as_nanos() as u64;
                if !late && !self.dataplanes.applied(instance, generation) {
                    return;
                }
                if !role.wanted() {
                    self.writer.set_lease(role.lease, 0, false);
                }
                self.enter(key, Phase::Clearing(0));
                let task = self.one(key).map_or(0, |work| self.devices.give(work));
                self.enter(key, Phase::Clearing(task));
            }
            _ => {}
        }
    }

    fn enter(&mut self, key: &GroupKey, phase: Phase) {
        if let Some(role) = self.roles.get_mut(key) {
            role.phase = phase;
        }
    }

    /// A piece of work at the kernel is done.
    pub(in crate::daemon) fn task_done(&mut self, task: u64, now: u64) {
        let of =
            |role: &&mut Role| matches!(role.phase, Phase::Addressing(t) | Phase::Clearing(t) if t == task);
        let Some(role) = self.roles.values_mut().find(of) else { return };
        let key = role.plan.key.clone();
        self.dirty = true;
        if let Phase::Addressing(_) = role.phase {
            role.phase = Phase::Owned;
            role.resumed = false;
            if key.family == Family::V6 {
                role.router = Some(Advertiser::new(now));
                self.hear_hosts();
            }
            return;
        }
        role.phase = Phase::Absent;
        for message in std::mem::take(&mut role.held) {
            self.send(&key, &message, now);
        }
        if self.drop_if_over(&key) {
            self.create_roles(now);
            self.listen();
            self.all_devices();
        }
    }

    fn announcements(&mut self, keys: &[GroupKey], now: u64) {
        for key in keys {
            let Some(role) = self.roles.get_mut(key).filter(|role| role.phase == Phase::Owned) else {
                continue;
            };
            let announce = std::mem::take(&mut role.announce);
            let advertise = role.router.as_mut().is_some_and(|router| router.due(now));
            if announce {
                self.announce(key);
            }
            if advertise {
                self.advertise(key, announce::ROUTER_LIFETIME);
            }
        }
    }

    fn announce(&self, key: &GroupKey) {
        let Some(role) = self.roles.get(key) else { return };
        let Some((_, device)) = self.device(&role.plan) else { return };
        let mut addresses = role.addresses();
        let link_local = IpAddr::V6(virtual_link_local(key.group));
        if key.family == Family::V6 && !addresses.contains(&link_local) {
            addresses.push(link_local);
        }
        if let Err(error) = announce::announce(&device, role.mac(), &addresses) {
            tracing::warn!("%HSRP-4-ANNOUNCE: {key}: {device}: {error}");
        }
    }

    /// When something is to be done at the latest, ns.
    pub(in crate::daemon) fn next_deadline(&self, now: u64) -> u64 {
        let mut next = now.saturating_add(1_000_000_000);
        for role in self.roles.values() {
            let machine = role.machine.as_ref().and_then(Group::next_deadline);
            let router = role.router.as_ref().map(Advertiser::next);
            let moves = matches!(role.phase, Phase::Preparing { .. } | Phase::Withdrawing { .. });
            let glance = (moves && role.wedged.is_none()).then(|| now.saturating_add(GLANCE));
            next = [machine, router, glance].into_iter().flatten().fold(next, u64::min);
        }
        next
    }

    /// The clients of a group's role (its cluster's member table) are ready for it, or not any more: what
    /// `preempt delay sync` waits for, also for a group that has not begun yet. A group that nobody ever calls unready
    /// does not wait.
    pub(in crate::daemon) fn synced(&mut self, key: &GroupKey, synced: bool, now: u64) {
        if let Some(role) = self.roles.get_mut(key) {
            role.synced = synced;
        }
        self.tell(key, Event::Synced(synced), now);
    }

    /// Hands the role of matching groups over; what to tell the operator.
    pub(in crate::daemon) fn fail_over(
        &mut self,
        interface: Option<&crate::config::IfName>,
        group: u16,
    ) -> Result<String, String> {
        let now = monotonic_ns();
        let matches =
            |key: &&GroupKey| key.group == group && interface.is_none_or(|name| key.interface == *name);
        let keys: Vec<GroupKey> = self.roles.keys().filter(matches).cloned().collect();
        if keys.is_empty() {
            return Err(format!("group {group} is not configured there: see `show standby brief`"));
        }
        let (mut done, mut refused) = (String::new(), Vec::new());
        for key in keys {
            match self.tell(&key, Event::Failover, now).first() {
                Some(note) => refused.push(format!("{key}: {note}")),
                None if self.roles.get(&key).is_none_or(|role| role.machine.is_none()) => {
                    refused.push(format!("{key}: it is down: see `show standby`"));
                }
                None => done.push_str(&format!("{key}: handing over to the standby router\n")),
            }
        }
        if done.is_empty() { Err(refused.join("; ")) } else { Ok(done + &refused.join("\n")) }
    }
}

/// A lease's length with a peer known, ns.
pub(in crate::daemon) fn span(machine: &Group) -> u64 {
    let timers = machine.timers();
    timers.hold.saturating_sub(timers.hello).max(Duration::from_millis(15)).as_nanos() as u64
}

/// Seconds since 1970. Before that, which no clock that was ever set says, 0.
fn wall_clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How a group is to authenticate now; none while its key chain has no key.
fn auth_of(plan: &GroupPlan) -> Option<Auth> {
    Auth::of(plan.settings.authentication.as_ref(), plan.chain.as_ref(), wall_clock())
}

fn line(message: &Message) -> String {
    let Message { opcode, state, priority, hello, hold, .. } = message;
    format!("{opcode:?} {} pri {priority} hello {hello:?} hold {hold:?}", state.name())
}

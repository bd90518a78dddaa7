//! The loop: it keeps the machines' time, works off commands, and carries out what the machines ask for.

use super::super::dataplanes::{Dataplanes, Event as PlaneEvent};
use super::super::publisher::{Choices, Publisher};
use super::network::{Listeners, Outcome};
use super::role::{Phase, Role, Roles, machine_config};
use super::stalls::Turn;
use super::{Command, Handle, Settings, Stalls, View};
use crate::config::Authentication;
use crate::config::health::GroupPlan;
use crate::exec::Debug;
use crate::hsrp::OWN_LEASE;
use crate::hsrp::auth::{Auth, Keys};
use crate::hsrp::clocks::{Clocks, Jump, Reading};
use crate::hsrp::link::{Sender, link_local_of};
use crate::hsrp::machine::{Action, Event, Group, Note};
use crate::hsrp::message::State;
use crate::limits::Limits;
use crate::net::links::LinkTable;
use crate::net::reconciler::Reconciler;
use crate::state::{Elections, Part, Saver};
use crate::types::{Family, GroupKey, Nanos, nanos};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

/// How often data planes and tracked objects are looked after, and the heartbeat is renewed. That a data plane has
/// ended or a link has changed is told, and waits for nothing.
const TICK: Duration = Duration::from_millis(10);
/// How often keys are rolled and the state is saved.
const SLOW_TICK: Duration = Duration::from_millis(250);
/// Age of a view at which a new one is made although no state has changed, ns.
pub(in crate::daemon) const VIEW_INTERVAL: Nanos = Nanos::from_millis(100);
/// The end waits no longer than this for data planes and the kernel.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a runner that goes on as active waits for its data plane to come back.
const RESUME_GRACE: Duration = Duration::from_millis(1500);
/// Requests to an own address are shed for this long after the last word of the cluster's runner, ns.
const SHED_LEASE: Nanos = Nanos::from_secs(10);
/// Log lines of one kind about one group in 10 s.
pub(super) const FEW_LINES: u32 = 5;
/// Changes of state of one group that are logged in 10 s.
const CHANGES: u32 = 20;
/// Lines of debugging in 10 s.
const DEBUG_LINES: u32 = 2000;
/// Outcomes of probes that wait for the loop.
const MAX_OUTCOMES: usize = 64;

/// Reason why the loop woke.
enum Wake {
    /// A deadline, or a message that can be read
    Timer,
    Tick,
    SlowTick,
    Links,
    Choices,
    Outcome(Outcome),
    Command(Command),
}

/// The runner of HSRP.
pub struct Runner {
    pub(super) settings: Settings,
    pub(super) roles: Roles,
    pub(super) publisher: Publisher,
    pub(super) planes: Dataplanes,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) next_ticket: u64,
    /// Failures that the reconciler reports, by device
    pub(super) device_faults: BTreeMap<String, String>,
    pub(super) links: Arc<LinkTable>,
    pub(super) sender: Sender,
    pub(super) listeners: Listeners,
    /// Messages that no group took, by port and reason
    pub(super) refused: BTreeMap<(usize, &'static str), u64>,
    /// The last message of the other version, by port: its sender, the version, and when it came, ns
    pub(super) other_version: BTreeMap<usize, (IpAddr, u8, Nanos)>,
    /// Whether the whole machine stood still
    clocks: Clocks,
    /// Tracked objects; true: down
    pub(super) tracks: BTreeMap<u16, bool>,
    /// Whether the IKE daemon answered when it was last asked
    pub(super) ike: bool,
    pub(super) debug: Debug,
    pub(super) limits: Limits,
    pub(super) outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    /// The sockets are read again then, ns
    pub(super) read_at: Nanos,
    /// Data planes that are not attached count as there until then, ns
    pub(super) grace_until: Nanos,
    /// The snapshot has to be published anew
    pub(super) dirty: bool,
    /// The view has to be made anew, at once
    changed: bool,
    /// The view has to be made anew with the next tick
    touched: bool,
    /// Until the first configuration is in force
    pub(super) starting: bool,
    /// Epochs and leases that outlive the process
    pub(super) elections: Elections,
    saved: Option<Elections>,
    saver: Saver,
    stalls: Stalls,
    commands: mpsc::UnboundedReceiver<Command>,
    choices: watch::Receiver<Choices>,
    new_links: watch::Receiver<Arc<LinkTable>>,
    view: watch::Sender<Arc<View>>,
}

impl Runner {
    /// A runner without groups, and the way to it. To be called in the runtime that runs it.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn new(
        publisher: Publisher,
        reconciler: Arc<Reconciler>,
        new_links: watch::Receiver<Arc<LinkTable>>,
        elections: Elections,
        saver: Saver,
        channel: (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
    ) -> std::io::Result<(Runner, Handle)> {
        let links = new_links.borrow().clone();
        let (choices_tx, choices) = watch::channel(Choices::default());
        let (view, view_rx) = watch::channel(Arc::new(View::default()));
        let (commands_tx, commands) = channel;
        let runner = Runner {
            settings: Settings::default(),
            roles: Roles::new(),
            publisher,
            planes: Dataplanes::default(),
            reconciler,
            next_ticket: 1,
            device_faults: BTreeMap::new(),
            links,
            sender: Sender::open()?,
            listeners: Listeners::default(),
            refused: BTreeMap::new(),
            other_version: BTreeMap::new(),
            clocks: Clocks::default(),
            tracks: BTreeMap::new(),
            ike: true,
            debug: Debug::default(),
            limits: Limits::default(),
            outcomes: mpsc::channel(MAX_OUTCOMES),
            read_at: Nanos::ZERO,
            grace_until: nanos::now() + RESUME_GRACE,
            dirty: true,
            changed: true,
            touched: false,
            starting: true,
            elections,
            saved: None,
            saver,
            stalls: Stalls::default(),
            commands,
            choices,
            new_links,
            view,
        };
        Ok((runner, Handle { commands: commands_tx, choices: choices_tx, view: view_rx }))
    }

    /// Runs until [`Command::Stop`], and until every role has been given up.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut slow = tokio::time::interval(SLOW_TICK);
        slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop_at = None;
        let mut wake = Wake::Timer;
        let mut due = Nanos::MAX;
        loop {
            let turn = Turn::begin();
            if turn.began >= due && matches!(wake, Wake::Timer) {
                self.stalls.late.add(turn.began - due, turn.began);
            }
            self.watch_clocks(turn.began);
            match wake {
                Wake::Timer => {}
                Wake::Tick => self.tick(),
                Wake::SlowTick => {
                    self.settle();
                    self.roll_keys();
                    self.save();
                }
                Wake::Links => self.take_links(),
                Wake::Choices => self.take_choices(),
                Wake::Outcome(outcome) => self.outcome(outcome, turn.began),
                Wake::Command(Command::Stop) => stop_at = stop_at.or_else(|| Some(self.give_up())),
                Wake::Command(command) => self.obey(command),
            }
            let now = nanos::now();
            if now >= self.read_at {
                self.receive(now);
            }
            self.advance(now);
            self.show(now);
            if stop_at.is_some_and(|at| now >= at || self.has_given_up()) {
                break;
            }
            turn.end(&mut self.stalls);
            let now = nanos::now();
            due = self.next_deadline(now);
            let pause = Duration::from(due.since(now));
            let reading = Duration::from(self.read_at.since(now));
            // Not in order: under a flood of messages everything else has its turn too.
            wake = tokio::select! {
                () = tokio::time::sleep(pause) => Wake::Timer,
                () = self.listeners.readable(reading) => Wake::Timer,
                _ = tick.tick() => Wake::Tick,
                () = std::future::poll_fn(|context| self.planes.poll_ended(context)) => Wake::Tick,
                Ok(()) = self.new_links.changed() => Wake::Links,
                Ok(()) = self.choices.changed() => Wake::Choices,
                _ = slow.tick() => Wake::SlowTick,
                Some(outcome) = self.outcomes.1.recv() => Wake::Outcome(outcome),
                Some(command) = self.commands.recv() => Wake::Command(command),
            };
        }
        self.elections.leases.clear();
        self.save();
        self.changed = true;
        self.show(nanos::now());
    }

    fn take_choices(&mut self) {
        let choices = self.choices.borrow_and_update().clone();
        let now = nanos::now();
        self.publisher.set_lease(OWN_LEASE, now + SHED_LEASE, false);
        self.dirty |= self.publisher.choose(choices, now);
    }

    fn obey(&mut self, command: Command) {
        let now = nanos::now();
        match command {
            Command::Configure(settings) => {
                self.settings = settings;
                self.look_at_objects(now);
                self.configure_roles(now);
                self.starting = false;
            }
            Command::Attach(peer) => {
                let ours: Vec<Option<&str>> =
                    self.settings.ports.iter().map(|port| port.exception.as_deref()).collect();
                // That one too many attached is the other owner's to tell.
                let _ = self.planes.add(peer, &ours, now);
            }
            Command::Synced(key, synced) => self.synced(&key, synced, now),
            Command::IkeDaemon(up) => self.ike = up,
            Command::Debug(debug) => self.debug = debug,
            // Who asked may have gone.
            Command::Failover { interface, group, reply } => {
                let _ = reply.send(self.fail_over(interface.as_ref(), group, now));
            }
            Command::Device(report) => self.device_report(report, now),
            // The loop's own.
            Command::Stop => {}
        }
        self.changed = true;
    }

    fn tick(&mut self) {
        let now = nanos::now();
        self.publisher.heartbeat(now);
        let generation = self.publisher.published().generation;
        for event in self.planes.look(self.publisher.instance(), generation, now) {
            self.changed = true;
            if let PlaneEvent::Ready(_) = event {
                // What was announced before it was there reached nobody.
                for key in self.keys() {
                    self.handle(&key, Event::AnnounceAgain, now);
                }
            }
        }
        self.look_at_objects(now);
    }

    fn take_links(&mut self) {
        self.links = self.new_links.borrow_and_update().clone();
        self.settle();
        self.look_at_objects(nanos::now());
        self.changed = true;
    }

    /// Brings sockets and machines into line with the kernel's devices.
    fn settle(&mut self) {
        let now = nanos::now();
        self.listen();
        for key in self.keys() {
            self.start_machine(&key, now);
        }
    }

    pub(super) fn keys(&self) -> Vec<GroupKey> {
        self.roles.keys().cloned().collect()
    }

    /// Has epochs and leases written where they have changed.
    fn save(&mut self) {
        if self.saved.as_ref() != Some(&self.elections)
            && self.saver.save(Part::Elections(self.elections.clone()))
        {
            self.saved = Some(self.elections.clone());
        }
    }

    /// Makes a view where there is something to see.
    fn show(&mut self, now: Nanos) {
        let age = now.since(self.view.borrow().at_ns);
        let recent = age < if self.touched { (TICK / 2).into() } else { VIEW_INTERVAL };
        if !self.changed && recent {
            return;
        }
        (self.changed, self.touched) = (false, false);
        let view = View {
            at_ns: now,
            instance: self.publisher.instance(),
            roles: self.roles.clone(),
            refused: self.refused.clone(),
            other_version: self.other_version.clone(),
            tracks: self.tracks.clone(),
            published: self.publisher.published().clone(),
            stalls: self.stalls,
            debug: self.debug,
        };
        self.view.send_replace(Arc::new(view));
    }

    /// Publishes roles, members and slots as they are now.
    pub(super) fn publish(&mut self, now: Nanos) -> u64 {
        let before = self.publisher.published().clone();
        let generation = self.publisher.publish(&self.roles, now);
        let published = self.publisher.published();
        if before.assignments != published.assignments {
            // What is not written now is written with the next change.
            let _ = self.saver.save(Part::Assignments(published.assignments.clone()));
        }
        // An epoch that was published outlives this process.
        self.save();
        self.changed = true;
        generation
    }

    /// The end begins: every group gives its role up. Returns when it has to be over, ns.
    fn give_up(&mut self) -> Nanos {
        let now = nanos::now();
        for key in self.keys() {
            self.handle(&key, Event::Disable, now);
        }
        self.roles.values_mut().for_each(|role| role.wedged = None);
        self.dirty = true;
        now + STOP_TIMEOUT
    }

    fn has_given_up(&self) -> bool {
        (self.starting || !self.dirty)
            && self.roles.values().all(|role| role.phase == Phase::Absent && role.held.is_empty())
    }

    /// Brings roles and sockets into line with the plan. Groups that are not wanted any more first give up what
    /// they have.
    fn configure_roles(&mut self, now: Nanos) {
        for key in self.keys() {
            let wanted = self.settings.plan.group(&key).cloned();
            let Some(role) = self.roles.get_mut(&key) else { continue };
            // Another version or port is another virtual MAC or device: the group ends and starts over.
            let same = wanted.filter(|plan| plan.version == role.plan.version && plan.port == role.plan.port);
            match same {
                Some(plan) => self.change_role(&key, plan, now),
                None => {
                    self.handle(&key, Event::Disable, now);
                    self.drop_if_over(&key);
                }
            }
        }
        let alone = |role: &&Role| !role.synced && !self.settings.feeds.contains(&role.plan.key);
        let alone: Vec<GroupKey> =
            self.roles.values().filter(alone).map(|role| role.plan.key.clone()).collect();
        for key in alone {
            self.synced(&key, true, now);
        }
        self.create_roles(now);
        self.listen();
        let names: BTreeSet<String> = self.roles.keys().map(GroupKey::to_string).collect();
        let ports = &self.settings.ports;
        self.limits.keep(|place| {
            place == "HSRP"
                || names.contains(place)
                || ports.iter().any(|port| port.exception.as_deref() == Some(place))
        });
        self.dirty = true;
    }

    /// Forgets a group that is not wanted as it is, when it has given everything up.
    pub(super) fn drop_if_over(&mut self, key: &GroupKey) -> bool {
        let Some(role) = self.roles.get(key) else { return false };
        let plan = self.settings.plan.group(key);
        let wanted =
            plan.is_some_and(|plan| plan.version == role.plan.version && plan.port == role.plan.port);
        let over = !wanted && role.phase == Phase::Absent && role.held.is_empty() && !role.wanted();
        if over {
            if let Some((_, device)) = self.settings.devices(&role.plan) {
                let ticket = self.ticket();
                self.reconciler.set_group(device, None, ticket);
            }
            self.roles.remove(key);
            self.dirty = true;
        }
        over
    }

    pub(super) fn create_roles(&mut self, now: Nanos) {
        let plan = self.settings.plan.clone();
        for plan in &plan.groups {
            if self.roles.contains_key(&plan.key) {
                continue;
            }
            let free = (0..OWN_LEASE).find(|lease| self.roles.values().all(|role| role.lease != *lease));
            let epoch = self.elections.epochs.get(&plan.key.to_string()).copied().unwrap_or(0);
            // `assess` keeps groups beyond the lease words down: they need none.
            let auth = auth_of(plan).unwrap_or_default();
            let mut role = Role::new(plan.clone(), auth, free.unwrap_or(OWN_LEASE), epoch);
            role.reload = self.starting;
            role.synced = !self.settings.feeds.contains(&plan.key);
            self.roles.insert(plan.key.clone(), role);
            self.start_machine(&plan.key, now);
            // Made before it is needed: bringing it up would cost most of a takeover.
            self.set_device(&plan.key);
        }
    }

    /// Gives a group its part in the election as soon as it can have one, and keeps what the machine knows of its
    /// interface true.
    pub(super) fn start_machine(&mut self, key: &GroupKey, now: Nanos) {
        let Some(role) = self.roles.get(key) else { return };
        if !role.plan.down.is_empty() || role.lease >= OWN_LEASE {
            return;
        }
        let Some((own, mac)) = self.own_address(&role.plan) else { return };
        let config = machine_config(&role.plan, own, mac);
        let enabled = role.enabled;
        if let Some(machine) = &role.machine {
            if machine.config() != &config {
                self.handle(key, Event::Configure(config), now);
            }
            if !enabled {
                self.enable(key, false, now);
            }
            return;
        }
        // Within the lease of the life before, the addresses are still here and no peer can have them.
        let lease = self.elections.leases.get(&key.to_string()).copied().filter(|until| now < *until);
        let reload = role.reload;
        let resume = lease.filter(|_| reload);
        let exception = self.settings.exception_of(&role.plan);
        let up = role.fault.is_none()
            && exception.is_some_and(|exception| self.planes.carries(exception).is_some());
        if let Some(role) = self.roles.get_mut(key) {
            role.machine = Some(Group::new(config, now));
            role.resumed = resume.is_some();
            role.grace = resume.is_some();
            role.carried = up || resume.is_some();
            role.dataplane = role.carried;
        }
        let synced = self.roles.get(key).is_none_or(|role| role.synced);
        self.handle(key, Event::Synced(synced), now);
        for (object, down) in self.tracks.clone() {
            self.handle(key, Event::Track { object, down }, now);
        }
        if !up && resume.is_none() {
            self.handle(key, Event::DataplaneDown, now);
        }
        let Some(until) = resume else { return self.enable(key, reload, now) };
        tracing::info!(
            "%HSRP-5-RESUME: {key}: resuming as Active, lease valid for another {} ms",
            until.since(now).as_millis()
        );
        if let Some(role) = self.roles.get_mut(key) {
            role.enabled = true;
        }
        self.handle(key, Event::Resume { until }, now);
    }

    fn enable(&mut self, key: &GroupKey, reload: bool, now: Nanos) {
        if let Some(role) = self.roles.get_mut(key) {
            role.enabled = true;
        }
        self.handle(key, Event::Enable { reload }, now);
    }

    /// The address that a group's hellos leave from, and the interface's MAC.
    fn own_address(&self, plan: &GroupPlan) -> Option<(IpAddr, [u8; 6])> {
        let exception = self.settings.exception_of(plan)?;
        let own = match plan.key.family {
            Family::V4 => plan.primary,
            // The kernel's own; where nobody carries the device's frames yet it has none.
            Family::V6 => self
                .links
                .link_local(exception)
                .or_else(|| self.planes.port(exception).map(|port| link_local_of(port.mac)))
                .map(IpAddr::V6),
        };
        // Without it no hello leaves: a node that is not heard must not elect itself.
        self.links.packet(exception)?;
        Some((own?, self.links.mac(exception)?))
    }

    fn change_role(&mut self, key: &GroupKey, plan: GroupPlan, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        let is_down = !plan.down.is_empty();
        if let Some(auth) = auth_of(&plan)
            && role.plan.settings.authentication != plan.settings.authentication
        {
            let timeout = match &plan.settings.authentication {
                Some(Authentication::Md5(_, Some(timeout))) => *timeout,
                _ => 0,
            };
            let until = now + Duration::from_secs(timeout.into());
            role.auth.replace(auth, now, until);
            match role.auth.old_until(now) {
                Some(_) => tracing::info!(
                    "%HSRP-5-AUTH: {key}: authentication changed; the key before is accepted for another {timeout} s"
                ),
                None => tracing::info!(
                    "%HSRP-5-AUTH: {key}: authentication changed; routers with the one before are not heard any more"
                ),
            }
        }
        let changed = role.plan != plan;
        let ra = std::mem::replace(&mut role.plan, plan).ra;
        if is_down {
            role.enabled = false;
        }
        self.change_ra(key, ra, now);
        // A chain may just have been given its keys.
        self.roll_keys();
        if is_down {
            self.handle(key, Event::Disable, now);
            return;
        }
        self.start_machine(key, now);
        if changed {
            // Secondary addresses are nothing to the machine.
            self.readdress(key);
        }
    }

    /// Looks at the clocks before anything else has its turn: a node that stood still with its whole machine fences first.
    fn watch_clocks(&mut self, now: Nanos) {
        let length = match self.clocks.jump(Reading::now()) {
            None => return,
            Some(Jump::Paused(length)) => {
                tracing::warn!(
                    "%SYS-4-PAUSED: the machine stood still for {} ms; waiting for peers before acting",
                    length.as_millis()
                );
                length
            }
            Some(Jump::WallClock(by)) => {
                if self.limits.allow("SYS-5-CLOCK", "HSRP", FEW_LINES, now) {
                    tracing::info!("%SYS-5-CLOCK: the wall clock jumped ahead by {} ms", by.as_millis());
                }
                Nanos::ZERO
            }
        };
        for key in self.keys() {
            self.handle(&key, Event::Paused { length }, now);
        }
    }

    /// Gives a machine an event and carries out what it asks for.
    pub(super) fn handle(&mut self, key: &GroupKey, event: Event, now: Nanos) -> Vec<Note> {
        let Some(machine) = self.roles.get_mut(key).and_then(|role| role.machine.as_mut()) else {
            return Vec::new();
        };
        let before = machine.state();
        let named = self.debug.events.then(|| format!("{event:?}"));
        let actions = machine.handle(event, now);
        self.touched = true;
        if let Some(named) = named.filter(|_| !actions.is_empty())
            && self.debug_line(now)
        {
            tracing::info!("HSRP: {key} {} {named}: {} actions", before.name(), actions.len());
        }
        self.act(key, before, actions, now)
    }

    fn act(&mut self, key: &GroupKey, mut before: State, actions: Vec<Action>, now: Nanos) -> Vec<Note> {
        let mut notes = Vec::new();
        for action in actions {
            match action {
                Action::Send { message, source } => self.post(key, message, source, now),
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
                Action::Probe(address) => self.probe(key, address, now),
                Action::LearnVirtual(address) => {
                    tracing::info!("%HSRP-5-LEARNED: {key}: the virtual address is {address}");
                    self.dirty = true;
                }
                // The word itself goes when every worker has taken the loss: until then it only could fence what is
                // still to leave.
                Action::Lease { until: Nanos::ZERO, .. } => {}
                Action::Lease { until, peer_known } => self.renew(key, until, peer_known),
                Action::Log(note) => {
                    let word = note.mnemonic();
                    if self.may_log(word, key, FEW_LINES, now) {
                        tracing::warn!("%{word}: {key}: {note}");
                    }
                    if note.complaint().is_some()
                        && let Some(role) = self.roles.get_mut(key)
                    {
                        role.complaints.insert(word, (note, now));
                    }
                    notes.push(note);
                }
            }
        }
        notes
    }

    /// Has each group go by the keys of its chain as they stand now.
    fn roll_keys(&mut self) {
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
                        "%HSRP-4-KEY: {key}: no key in the chain is within its send-lifetime; continuing with \
                         expired key {sent}; add a key or check NTP"
                    ),
                }
            }
        }
    }

    /// Whether a line of this kind about a group may be logged.
    pub(super) fn may_log(&mut self, kind: &'static str, key: &GroupKey, most: u32, now: Nanos) -> bool {
        self.limits.allow(kind, &key.to_string(), most, now)
    }

    /// Whether one more line of debugging may be logged.
    pub(super) fn debug_line(&mut self, now: Nanos) -> bool {
        self.limits.allow("debug", "HSRP", DEBUG_LINES, now)
    }

    /// Lets the lease run on. With a peer known it ends no later than it would have from the last moment at which the
    /// data plane was seen running: hellos since then may not have left.
    fn renew(&mut self, key: &GroupKey, until: Nanos, peer_known: bool) {
        let Some(role) = self.roles.get(key) else { return };
        let Some(machine) = &role.machine else { return };
        let span = span(machine);
        let seen =
            self.settings.exception_of(&role.plan).and_then(|exception| self.planes.carries(exception));
        let until = match seen {
            Some(seen) if peer_known => until.min(seen + span),
            _ => until,
        };
        self.publisher.set_lease(role.lease, until, peer_known);
        self.elections.leases.insert(key.to_string(), until);
    }

    /// Readiness of the clients of a group's role (its cluster's member table): what `preempt delay sync` waits for,
    /// also for a group that has not begun yet.
    fn synced(&mut self, key: &GroupKey, synced: bool, now: Nanos) {
        if let Some(role) = self.roles.get_mut(key) {
            role.synced = synced;
        }
        self.handle(key, Event::Synced(synced), now);
    }

    /// Hands the role of matching groups over; what to tell the operator.
    fn fail_over(
        &mut self,
        interface: Option<&crate::types::IfName>,
        group: u16,
        now: Nanos,
    ) -> Result<String, String> {
        let matches =
            |key: &&GroupKey| key.group == group && interface.is_none_or(|name| key.interface == *name);
        let keys: Vec<GroupKey> = self.roles.keys().filter(matches).cloned().collect();
        if keys.is_empty() {
            return Err(format!("group {group} is not configured there: see `show standby brief`"));
        }
        let (mut done, mut refused) = (String::new(), Vec::new());
        for key in keys {
            match self.handle(&key, Event::Failover, now).first() {
                Some(note) => refused.push(format!("{key}: {note}")),
                None if self.roles.get(&key).is_none_or(|role| role.machine.is_none()) => {
                    refused.push(format!("{key}: it is down: see `show standby`"));
                }
                None => done.push_str(&format!(
                    "{key}: handing over to the standby router; preemption is held back until this router is active \
                     again, or its priority or `preempt` is changed\n"
                )),
            }
        }
        if done.is_empty() { Err(refused.join("; ")) } else { Ok(done + &refused.join("\n")) }
    }
}

/// A lease's length with a peer known, ns.
pub(super) fn span(machine: &Group) -> Nanos {
    let timers = machine.timers();
    timers.hold.saturating_sub(timers.hello).max(Duration::from_millis(15)).into()
}

/// Seconds since 1970. Before that, which no clock that was ever set says, 0.
fn wall_clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How a group is to authenticate now; none while its key chain has no key.
fn auth_of(plan: &GroupPlan) -> Option<Auth> {
    Auth::of(plan.settings.authentication.as_ref(), plan.chain.as_ref(), wall_clock())
}

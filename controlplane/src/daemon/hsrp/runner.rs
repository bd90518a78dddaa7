//! The loop: it keeps the machines' time, works off commands, and carries out what the machines ask for.

use super::super::dataplanes::{Dataplanes, Event as PlaneEvent};
use super::handle::{Command, Handle, Settings, VIEW_INTERVAL, View};
use super::lasting::Lasting;
use super::listeners::{Listeners, Outcome};
use super::publisher::{Choices, Publisher};
use super::role::{Phase, Roles};
use super::stalls::{Stalls, Turn};
use crate::exec::Debug;
use crate::hsrp::OWN_LEASE;
use crate::hsrp::auth::Keys;
use crate::hsrp::clocks::{Clocks, Jump, Reading};
use crate::hsrp::link::Sender;
use crate::hsrp::machine::{Action, Event, Group, Note};
use crate::hsrp::message::State;
use crate::limits::Limits;
use crate::net::links::LinkTable;
use crate::net::reconciler::Reconciler;
use crate::state::{Elections, Saver};
use crate::types::{GroupKey, Nanos, PortIndex, nanos};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

/// Interval at which data planes and tracked objects are looked after, and the heartbeat is renewed. That a data plane has
/// ended or a link has changed is told, and waits for nothing.
const TICK: Duration = Duration::from_millis(10);
/// Interval at which keys are rolled and the state is saved.
const SLOW_TICK: Duration = Duration::from_millis(250);
/// The end waits no longer than this for data planes and the kernel.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);
/// Time for which a runner that goes on as active waits for its data plane to come back.
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
    pub(super) refused: BTreeMap<(PortIndex, &'static str), u64>,
    /// The last message of the other version, by port: its sender, the version, and when it came, ns
    pub(super) other_version: BTreeMap<PortIndex, (IpAddr, u8, Nanos)>,
    /// Clocks that show whether the whole machine stood still
    clocks: Clocks,
    /// Tracked objects; true: down
    pub(super) tracks: BTreeMap<u16, bool>,
    /// The IKE daemon answered when it was last asked
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
    pub(super) lasting: Lasting,
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
            lasting: Lasting::new(elections, saver),
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
                    self.lasting.save();
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
        self.lasting.end_leases();
        self.lasting.save();
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
            self.lasting.save_assignments(&published.assignments);
        }
        // An epoch that was published outlives this process.
        self.lasting.save();
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
    pub(super) fn roll_keys(&mut self) {
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

    /// Returns whether a line of this kind about a group may be logged.
    pub(super) fn may_log(&mut self, kind: &'static str, key: &GroupKey, most: u32, now: Nanos) -> bool {
        self.limits.allow(kind, &key.to_string(), most, now)
    }

    /// Returns whether one more line of debugging may be logged.
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
        self.lasting.set_lease(key, until);
    }

    /// Readiness of the clients of a group's role (its cluster's member table): what `preempt delay sync` waits for,
    /// also for a group that has not begun yet.
    pub(super) fn synced(&mut self, key: &GroupKey, synced: bool, now: Nanos) {
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
pub(super) fn wall_clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

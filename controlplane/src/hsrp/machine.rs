//! One HSRP group of one address family as a pure state machine (RFC 2281 section 5).
//!
//! Events and the time go in, actions come out; no IO, no clock, memory of a fixed size (but for the objects tracked).
//! Time is nanoseconds of the caller's monotonic clock. The caller carries actions out in their order, reads its
//! sockets empty before it sends [`Event::Tick`], and calls again at [`Group::next_deadline`].
//!
//! What this machine does beyond the RFC's table, and why:
//! - **Lease.** While it owns the address each hello renews a lease of (hold - hello) when another router is known. A
//!   peer's active timer runs hold from a hello's arrival, so the lease of a node that falls silent ends before its
//!   successor begins, even if one hello got lost. A node that finds its own lease run out (it was stalled) resigns
//!   and listens instead of going on. With hold under three hellos the active says hello more often, to keep two
//!   hellos within a lease.
//! - **Preempting in two steps.** After a coup the machine is Active at once, but owns the address when the router
//!   that it displaces has resigned, or when that one's last hello is no longer valid (it may have died just then).
//! - **Speak, active timer expired.** The table has no cell that ever uses it; here Standby without an active router
//!   becomes Active at once (the timer is a condition, not a moment).
//! - **Two standbys.** Who displaces a lower standby takes over two hello times later at the earliest: the displaced
//!   one needs one to hear of it, and its last word as active may need another.
//! - **Stall.** Who was not called for longer than its timers ask may have hellos waiting in a socket: an expired
//!   timer gets half a hello time of grace, no preempting for one hello time, no taking over for two.
//! - **Resign after a coup** says state Speak, every other one Active. A standby that hears the former first leaves
//!   the coup's sender one hello time to be heard before it takes the role itself.
//! - Speak and Standby are announced by a hello at once. Resign counts only from the router held for the active.

use super::message::{Message, Opcode, Received, State};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Used while nothing is configured or learned (RFC 2281 section 5.1).
pub const DEFAULT_TIMERS: Timers = Timers { hello: Duration::from_secs(3), hold: Duration::from_secs(10) };
/// No hello is valid for longer, whatever it says: the longest hold time that can be configured.
const LONGEST_HOLD: u64 = 255 * SECOND;
/// Gratuitous ARPs after the first, counted from the gain.
const ANNOUNCEMENTS: [u64; 2] = [2 * SECOND, 4 * SECOND];
/// The same complaint is made again after this.
const COMPLAINT_PAUSE: u64 = 30 * SECOND;

/// Hello and hold time, always together: an active router must not mix learned and configured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two hellos
    pub hello: Duration,
    /// A hello is valid for this long; more than `hello`
    pub hold: Duration,
}

/// `preempt delay ...`, each 0-3600 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreemptDelay {
    /// A lower active router must have been heard for this long
    pub minimum: Duration,
    /// Not before this has passed since the first start after a reload
    pub reload: Duration,
    /// Waits at most this long for [`Event::Synced`]
    pub sync: Duration,
}

/// What an object that is down does to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackEffect {
    /// Lowers the priority (not below 0), 1-255
    Decrement(u8),
    /// Puts the group into Init
    Shutdown,
}

/// Everything that is configured of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// 1 or 2
    pub version: u8,
    /// 0-255 in version 1, 0-4095 in version 2
    pub group: u16,
    /// The interface's address that hellos leave from: IPv4 primary, or IPv6 link-local
    pub own: IpAddr,
    /// Version 2: the interface's MAC; version 1: zero
    pub identifier: [u8; 6],
    /// None: learned from the active router
    pub virtual_ip: Option<IpAddr>,
    /// Without tracking
    pub priority: u8,
    /// None: an active router of lower priority is left alone
    pub preempt: Option<PreemptDelay>,
    /// None: learned from the active router
    pub timers: Option<Timers>,
    /// `standby delay minimum`: in Init after the interface comes up
    pub delay_minimum: Duration,
    /// `standby delay reload`: the same for the first time after a reload
    pub delay_reload: Duration,
    /// Object number and effect
    pub tracks: Vec<(u16, TrackEffect)>,
    /// The lease while no other router is known
    pub lone_lease: Duration,
}

impl Config {
    /// The defaults of IOS for a group on an interface with this address; the virtual address is to be learned.
    #[must_use]
    pub fn new(version: u8, group: u16, own: IpAddr) -> Config {
        Config {
            version,
            group,
            own,
            identifier: [0; 6],
            virtual_ip: None,
            priority: 100,
            preempt: None,
            timers: None,
            delay_minimum: Duration::ZERO,
            delay_reload: Duration::ZERO,
            tracks: Vec::new(),
            lone_lease: Duration::from_secs(10),
        }
    }
}

/// What happens to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interface is up and the group configured on it (event a); `reload`: for the first time since the start
    Enable {
        /// `reload` delays apply, not `minimum`
        reload: bool,
    },
    /// The group ends: interface down, unconfigured, SIGTERM (event b)
    Disable,
    /// New configuration; the role is kept unless version, group, own address or the lack of an address change
    Configure(Config),
    /// An authenticated message of this group
    Received(Received),
    /// Time has passed
    Tick,
    /// The data plane is dead, wedged or without link
    DataplaneDown,
    /// It has acknowledged a generation and has link
    DataplaneUp,
    /// A tracked object went down or came up; unknown objects are remembered
    Track {
        /// Its number
        object: u16,
        /// Whether it is down
        down: bool,
    },
    /// Whether clients of the role are ready for it (`preempt delay sync`); taken as ready at the start
    Synced(bool),
    /// The operator asks to resign to the standby router
    Failover,
    /// Instead of `Enable`, by a daemon that was active when it died: its lease runs until then
    Resume {
        /// End of the lease, ns
        until: u64,
    },
    /// Announce the addresses anew if they are owned (the data plane came back)
    AnnounceAgain,
}

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Multicast this. From the virtual MAC only while the address is owned ([`Group::owns`])
    Send(Message),
    /// The state is now this
    Become(State),
    /// Take the address: prepared, filter, address, publish active
    GainVirtual,
    /// Give it up: publish inactive, wait for workers, address and filter off
    LoseVirtual,
    /// The configured address changed while it is owned
    UpdateVirtual,
    /// Send gratuitous ARPs or neighbour advertisements
    Announce,
    /// The active router says that this is the virtual address
    LearnVirtual(IpAddr),
    /// Set the lease word; `until` 0 ends it
    Lease {
        /// ns; 0: it has ended
        until: u64,
        /// Fence when it ends; otherwise requests pass to the kernel
        peer_known: bool,
    },
    /// Tell the operator
    Log(Note),
}

/// What an operator wants to know beside the changes of state. The kinds a peer can cause come at most every 30 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Another router sends from this node's address
    DuplicateAddress(IpAddr),
    /// The active router at `source` announces another virtual address
    BadVirtualAddress {
        /// Who
        source: IpAddr,
        /// What it announces
        theirs: IpAddr,
    },
    /// A hello whose hold time is not longer than its hello time
    BadTimers(IpAddr),
    /// The lease ran out while this node was stalled: it gives the role up
    LeaseLapsed {
        /// For how long the lease had ended, ns
        late: u64,
    },
    /// Not called for so long (ns) that hellos may be waiting
    Stalled {
        /// Since the call before, ns
        silence: u64,
    },
    /// Failover is only possible on the active router
    FailoverNotActive,
    /// Failover needs a standby router
    FailoverNoStandby,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::DuplicateAddress(ip) => {
                write!(f, "duplicate address {ip}: another router uses it; change one of the two")
            }
            Note::BadVirtualAddress { source, theirs } => write!(
                f,
                "active router {source} has virtual address {theirs}: configure the same address on both"
            ),
            Note::BadTimers(ip) => write!(
                f,
                "hello of {ip} is not valid longer than until the next one: raise its hold time with `timers`"
            ),
            Note::LeaseLapsed { late } => write!(
                f,
                "no hello could be sent in time, the lease ended {} ms ago: resigned; look for what stalled usherd",
                late / MILLISECOND
            ),
            Note::Stalled { silence } => write!(
                f,
                "stalled for {} ms: hearing peers out before going on; look for what stalled usherd",
                silence / MILLISECOND
            ),
            Note::FailoverNotActive => {
                f.write_str("failover refused: this router is not active; give the command on the active one")
            }
            Note::FailoverNoStandby => {
                f.write_str("failover refused: no standby router is known; start one, or shut the group down")
            }
        }
    }
}

/// Another router as it was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address
    pub source: IpAddr,
    /// Its priority
    pub priority: u32,
    /// How long its last hello is valid, ns
    pub hold: u64,
    /// When it counts as gone, ns
    pub expires: u64,
}

/// One group.
#[derive(Clone, Debug)]
pub struct Group {
    config: Config,
    state: State,
    enabled: bool,
    dataplane: bool,
    synced: bool,
    down: BTreeSet<u16>,
    learned_timers: Option<Timers>,
    learned_ip: Option<IpAddr>,
    active_timer: Option<u64>,
    standby_timer: Option<u64>,
    hello_timer: Option<u64>,
    /// End of a delay in Init
    start_at: Option<u64>,
    start_not_before: u64,
    /// The delay in Init counts as time in Listen
    listening: bool,
    active: Option<Peer>,
    standby: Option<Peer>,
    peers_until: u64,
    wish_since: Option<u64>,
    reload_until: u64,
    preempt_not_before: u64,
    /// No preempting: the operator has handed the role over
    handed_over: bool,
    /// Repeat the resign to this standby until then
    handing_to: Option<(IpAddr, u64)>,
    /// Active, but the router before may still own the address until then
    gain_at: Option<u64>,
    /// Latest `gain_at`
    gain_by: u64,
    /// Whose resign ends the wait: the one displaced, and another one that preempts
    gain_from: [Option<IpAddr>; 2],
    owns: bool,
    takeover_not_before: u64,
    last_hello: u64,
    hello_span: u64,
    lease: (u64, bool),
    announcements: [Option<u64>; 2],
    last_call: u64,
    changes: u64,
    changed: u64,
    complaints: [Option<u64>; 3],
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn due(timer: &mut Option<u64>, now: u64) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

impl Group {
    /// A group in Init that waits for [`Event::Enable`] or [`Event::Resume`]; the data plane is taken as up.
    #[must_use]
    pub fn new(config: Config, now: u64) -> Group {
        Group {
            config,
            state: State::Init,
            enabled: false,
            dataplane: true,
            synced: true,
            down: BTreeSet::new(),
            learned_timers: None,
            learned_ip: None,
            active_timer: None,
            standby_timer: None,
            hello_timer: None,
            start_at: None,
            start_not_before: 0,
            listening: false,
            active: None,
            standby: None,
            peers_until: 0,
            wish_since: None,
            reload_until: 0,
            preempt_not_before: 0,
            handed_over: false,
            handing_to: None,
            gain_at: None,
            gain_by: 0,
            gain_from: [None; 2],
            owns: false,
            takeover_not_before: 0,
            last_hello: 0,
            hello_span: u64::MAX,
            lease: (0, false),
            announcements: [None; 2],
            last_call: now,
            changes: 0,
            changed: now,
            complaints: [None; 3],
        }
    }

    /// What is configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it is in the table.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the address is (or is being) taken: between GainVirtual and LoseVirtual.
    #[must_use]
    pub fn owns(&self) -> bool {
        self.owns
    }

    /// The active router, if it is another one.
    #[must_use]
    pub fn active(&self) -> Option<Peer> {
        self.active.filter(|_| self.state != State::Active)
    }

    /// The standby router, if it is another one.
    #[must_use]
    pub fn standby(&self) -> Option<Peer> {
        self.standby.filter(|_| self.state != State::Standby)
    }

    /// The times in use.
    #[must_use]
    pub fn timers(&self) -> Timers {
        self.config.timers.or(self.learned_timers).unwrap_or(DEFAULT_TIMERS)
    }

    /// The configured or learned virtual address.
    #[must_use]
    pub fn virtual_ip(&self) -> Option<IpAddr> {
        self.config.virtual_ip.or(self.learned_ip)
    }

    /// The priority with tracking, 0-255.
    #[must_use]
    pub fn priority(&self) -> u32 {
        let down = self.config.tracks.iter().filter(|(object, _)| self.down.contains(object));
        let lost = down.map(|(_, effect)| match effect {
            TrackEffect::Decrement(by) => u32::from(*by),
            TrackEffect::Shutdown => 0,
        });
        u32::from(self.config.priority).saturating_sub(lost.sum())
    }

    /// When the next hello leaves.
    #[must_use]
    pub fn next_hello(&self) -> Option<u64> {
        self.hello_timer
    }

    /// When the lease ends (0: none), and whether the data plane then fences.
    #[must_use]
    pub fn lease(&self) -> (u64, bool) {
        self.lease
    }

    /// Number of changes of state and when the last was, ns.
    #[must_use]
    pub fn changes(&self) -> (u64, u64) {
        (self.changes, self.changed)
    }

    /// Whether another router was heard within three hold times.
    #[must_use]
    pub fn peer_known(&self, now: u64) -> bool {
        now < self.peers_until
    }

    /// When a lower active router will be displaced, if nothing changes.
    #[must_use]
    pub fn preempt_at(&self) -> Option<u64> {
        let delay = self.config.preempt.filter(|_| !self.handed_over)?;
        let since = self.wish_since?;
        let sync = if self.synced { 0 } else { ns(delay.sync) };
        Some(
            since
                .saturating_add(ns(delay.minimum).max(sync))
                .max(self.reload_until)
                .max(self.preempt_not_before),
        )
    }

    /// When to call again at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let timers =
            [self.active_timer, self.standby_timer, self.hello_timer, self.gain_at, self.preempt_at()];
        if self.state == State::Init {
            return self.start_at;
        }
        let beat = (self.state != State::Active).then(|| self.last_call.saturating_add(self.beat()));
        timers.into_iter().chain(self.announcements).chain([beat]).flatten().min()
    }

    /// Takes one event. `now` never goes back.
    pub fn handle(&mut self, event: Event, now: u64) -> Vec<Action> {
        let mut out = Vec::new();
        if let Some(end) = self.claim_end().filter(|end| *end <= now) {
            out.push(Action::Log(Note::LeaseLapsed { late: now - end }));
            if self.peer_known(now) || !self.owns {
                self.resign(State::Listen, now, &mut out);
            } else {
                // Nobody to hand over to, but somebody may have come up meanwhile: says hello first.
                self.let_go(&mut out);
                self.send_hello(now, &mut out);
                self.gain_at = Some(self.after_two_hellos(now));
                self.gain_by = now.saturating_add(self.hold().saturating_mul(2));
            }
        }
        self.forgive(now, &mut out);
        match event {
            Event::Enable { reload } => {
                self.enabled = true;
                let delay = if reload { self.config.delay_reload } else { self.config.delay_minimum };
                if reload {
                    let wait = self.config.preempt.map_or(0, |preempt| ns(preempt.reload));
                    self.reload_until = now.saturating_add(wait);
                }
                self.start_not_before = now.saturating_add(ns(delay));
                self.run(now, &mut out);
            }
            Event::Disable => {
                self.enabled = false;
                self.run(now, &mut out);
            }
            Event::Configure(config) => self.configure(config, now, &mut out),
            Event::Received(received) => self.receive(&received, now, &mut out),
            Event::Tick => self.tick(now, &mut out),
            Event::DataplaneDown => {
                self.dataplane = false;
                self.run(now, &mut out);
            }
            Event::DataplaneUp => {
                let was = std::mem::replace(&mut self.dataplane, true);
                if !was && self.runnable() {
                    self.listening = true;
                    self.start_both(now);
                    self.start_at = Some(now.saturating_add(self.hold()).max(self.start_not_before));
                }
            }
            Event::Track { object, down } => {
                if down {
                    self.down.insert(object);
                } else {
                    self.down.remove(&object);
                }
                self.run(now, &mut out);
            }
            Event::Synced(synced) => self.synced = synced,
            Event::Failover => self.failover(now, &mut out),
            Event::Resume { until } => self.resume(until, now, &mut out),
            Event::AnnounceAgain => self.announce(now, &mut out),
        }
        self.last_call = now;
        out
    }

    /// When an active router that has not said hello must take itself for replaced.
    fn claim_end(&self) -> Option<u64> {
        match self.lease {
            _ if self.state != State::Active => None,
            _ if !self.owns => Some(self.last_hello.saturating_add(self.span())),
            (until, _) => Some(until),
        }
    }

    fn hello(&self) -> u64 {
        ns(self.timers().hello).max(MILLISECOND)
    }

    fn hold(&self) -> u64 {
        ns(self.timers().hold).max(self.hello().saturating_add(MILLISECOND))
    }

    /// A lease's length with a peer known.
    fn span(&self) -> u64 {
        (self.hold() - self.hello()).max(15 * MILLISECOND)
    }

    fn interval(&self) -> u64 {
        match self.state {
            State::Active => self.hello().min(self.span() / 2).max(5 * MILLISECOND),
            _ => self.hello(),
        }
    }

    /// Unless it is active it is called at least this often, so that it knows a stall from a silent active router.
    fn beat(&self) -> u64 {
        let peers = [self.active, self.standby].into_iter().flatten().map(|peer| peer.hold / 3);
        peers.fold(self.hello(), u64::min).max(5 * MILLISECOND)
    }

    /// By then another candidate has heard of this one, and this one of it if it was active before that.
    fn after_two_hellos(&self, now: u64) -> u64 {
        now.saturating_add(self.hello().saturating_mul(2))
    }

    fn runnable(&self) -> bool {
        let shut = |(object, effect): &(u16, TrackEffect)| {
            *effect == TrackEffect::Shutdown && self.down.contains(object)
        };
        self.enabled && self.dataplane && !self.config.tracks.iter().any(shut)
    }

    /// Starts or stops the group after one of the conditions for it changed.
    fn run(&mut self, now: u64, out: &mut Vec<Action>) {
        match (self.runnable(), self.state == State::Init) {
            (true, true) if self.start_at.is_some() => {}
            (true, true) if now < self.start_not_before => self.start_at = Some(self.start_not_before),
            (true, true) => self.begin(now, out),
            (false, true) => self.start_at = None,
            (false, false) => self.stop(now, out),
            (true, false) => {}
        }
    }

    /// Event a.
    fn begin(&mut self, now: u64, out: &mut Vec<Action>) {
        self.start_at = None;
        if !std::mem::take(&mut self.listening) {
            self.active = None;
            self.standby = None;
            self.start_both(now);
        }
        if self.virtual_ip().is_some() {
            self.enter(State::Listen, now, out);
        } else {
            self.active_timer = None;
            self.standby_timer = None;
            self.enter(State::Learn, now, out);
        }
    }

    /// Event b.
    fn stop(&mut self, now: u64, out: &mut Vec<Action>) {
        self.yield_role(State::Active, out);
        self.start_at = None;
        self.listening = false;
        self.active_timer = None;
        self.standby_timer = None;
        self.learned_ip = None;
        self.active = None;
        self.standby = None;
        self.handed_over = false;
        self.handing_to = None;
        self.enter(State::Init, now, out);
    }

    /// Stops answering, then owning, then says so; nothing if not active.
    /// `said` tells peers of this kind who follows: the standby (Active), or one that sent a coup (Speak).
    fn yield_role(&mut self, said: State, out: &mut Vec<Action>) {
        if self.state != State::Active {
            return;
        }
        // Who does not own the address yet has nothing to resign: the one displaced may still have it.
        let owned = self.owns;
        self.let_go(out);
        if owned {
            out.push(Action::Send(Message { state: said, ..self.message(Opcode::Resign) }));
        }
    }

    fn let_go(&mut self, out: &mut Vec<Action>) {
        self.gain_at = None;
        self.gain_from = [None; 2];
        self.announcements = [None; 2];
        if std::mem::take(&mut self.owns) {
            let peer_known = self.lease.1;
            self.lease = (0, peer_known);
            out.push(Action::Lease { until: 0, peer_known });
            out.push(Action::LoseVirtual);
        }
    }

    /// To Speak where another one has the role (event j); to Listen, so as not to contend with the one asked to take it.
    fn resign(&mut self, to: State, now: u64, out: &mut Vec<Action>) {
        self.yield_role(if to == State::Speak { to } else { State::Active }, out);
        self.start_both(now);
        self.enter(to, now, out);
    }

    fn start_both(&mut self, now: u64) {
        self.active_timer = Some(now.saturating_add(self.hold()));
        self.standby_timer = self.active_timer;
    }

    fn start_standby(&mut self, now: u64) {
        self.standby_timer = Some(now.saturating_add(self.hold()));
    }

    /// Changes the state. Speak and Standby are announced at once.
    fn enter(&mut self, state: State, now: u64, out: &mut Vec<Action>) {
        if self.state == state {
            return;
        }
        self.state = state;
        self.changes += 1;
        self.changed = now;
        out.push(Action::Become(state));
        match state {
            State::Speak | State::Standby => self.send_hello(now, out),
            State::Active => {
                self.handed_over = false;
                self.wish_since = None;
            }
            _ => {
                self.hello_timer = None;
                self.wish_since = None;
            }
        }
    }

    fn message(&self, opcode: Opcode) -> Message {
        let Timers { hello, hold } = self.timers();
        Message {
            opcode,
            state: self.state,
            version: self.config.version,
            group: self.config.group,
            priority: self.priority(),
            hello,
            hold,
            virtual_ip: self.virtual_ip(),
            identifier: self.config.identifier,
        }
    }

    fn send_hello(&mut self, now: u64, out: &mut Vec<Action>) {
        out.push(Action::Send(self.message(Opcode::Hello)));
        self.last_hello = now;
        self.hello_timer = Some(now.saturating_add(self.interval()));
        self.renew(now, out);
    }

    /// The lease follows the last hello.
    fn renew(&mut self, now: u64, out: &mut Vec<Action>) {
        // The hello before may be the last one that arrived: its hold time counts until the next.
        let span = self.span().min(self.hello_span);
        self.hello_span = self.span();
        if self.owns {
            let peer_known = self.peer_known(now);
            let span = if peer_known { span } else { ns(self.config.lone_lease) };
            self.lease = (self.last_hello.saturating_add(span), peer_known);
            out.push(Action::Lease { until: self.lease.0, peer_known });
        }
    }

    fn announce(&mut self, now: u64, out: &mut Vec<Action>) {
        if self.owns {
            self.announcements = ANNOUNCEMENTS.map(|after| Some(now.saturating_add(after)));
            out.push(Action::Announce);
        }
    }

    /// To Active with the address: nobody else has it.
    fn take_over(&mut self, now: u64, out: &mut Vec<Action>) {
        self.active_timer = None;
        self.standby_timer = None;
        self.active = None;
        self.standby = None;
        self.enter(State::Active, now, out);
        self.send_hello(now, out);
        self.gain(now, out);
    }

    fn gain(&mut self, now: u64, out: &mut Vec<Action>) {
        self.gain_at = None;
        self.gain_from = [None; 2];
        self.owns = true;
        out.push(Action::GainVirtual);
        // The wait for a resign may have used up a part of the lease that the last hello gave.
        if self.last_hello < now {
            self.send_hello(now, out);
        } else {
            self.renew(now, out);
        }
        self.announce(now, out);
    }

    /// Displaces the lower active router `from` (events g and h with preempt, RFC 2281 section 5.4).
    fn preempt(&mut self, from: Peer, now: u64, out: &mut Vec<Action>) {
        out.push(Action::Send(self.message(Opcode::Coup)));
        self.active_timer = None;
        self.start_standby(now);
        self.active = None;
        self.enter(State::Active, now, out);
        self.send_hello(now, out);
        self.gain_from = [Some(from.source), None];
        // If it has died it hears no coup, but its lease runs on.
        self.gain_at = Some(from.expires.max(now.saturating_add(self.hello())));
        self.gain_by = from.expires.saturating_add(self.hold().saturating_mul(2));
    }

    /// Standby takes the role (events c and i).
    fn succeed(&mut self, now: u64, out: &mut Vec<Action>) {
        if now < self.takeover_not_before {
            self.active = None;
            self.active_timer = Some(self.takeover_not_before);
        } else {
            self.take_over(now, out);
        }
    }

    fn become_standby(&mut self, not_before: u64, now: u64, out: &mut Vec<Action>) {
        self.standby_timer = None;
        self.standby = None;
        self.takeover_not_before = self.takeover_not_before.max(not_before);
        self.enter(State::Standby, now, out);
        if self.active_timer.is_none() {
            self.succeed(now, out);
        }
    }

    fn tick(&mut self, now: u64, out: &mut Vec<Action>) {
        if due(&mut self.start_at, now) {
            self.begin(now, out);
        }
        if self.state == State::Init {
            return;
        }
        if due(&mut self.gain_at, now) {
            self.gain(now, out);
        }
        if due(&mut self.active_timer, now) {
            self.active = None;
            self.wish_since = None;
            match self.state {
                State::Listen => {
                    self.start_both(now);
                    self.enter(State::Speak, now, out);
                }
                State::Standby => self.succeed(now, out),
                _ => {}
            }
        }
        if due(&mut self.standby_timer, now) {
            self.standby = None;
            match self.state {
                State::Listen => {
                    self.start_standby(now);
                    self.enter(State::Speak, now, out);
                }
                State::Speak => self.become_standby(now, now, out),
                _ => {}
            }
        }
        if let Some(active) = self.active
            && self.preempt_at().is_some_and(|at| at <= now)
        {
            // The priority may have changed since the hello that made the wish.
            self.wish_since = None;
            if self.lower(active.priority, active.source) {
                self.preempt(active, now, out);
            }
        }
        if self.hello_timer.is_some_and(|at| at <= now) {
            let next = self.hello_timer.unwrap_or(now).saturating_add(self.interval());
            self.send_hello(now, out);
            if next > now {
                self.hello_timer = Some(next);
            }
        }
        let mut announce = false;
        for at in &mut self.announcements {
            announce |= due(at, now);
        }
        if announce {
            out.push(Action::Announce);
        }
    }

    /// After a stall, hellos may wait in a socket, and another one may have become standby.
    fn forgive(&mut self, now: u64, out: &mut Vec<Action>) {
        let silence = now.saturating_sub(self.last_call);
        let tolerance = self.beat() / 4 * 5;
        let stalled = match self.state {
            State::Active => false,
            State::Init | State::Disabled => {
                self.start_at.is_some_and(|at| now > at.saturating_add(tolerance))
            }
            _ => silence > tolerance,
        };
        if !stalled {
            return;
        }
        self.preempt_not_before = now.saturating_add(self.hello());
        self.takeover_not_before = self.takeover_not_before.max(self.after_two_hellos(now));
        let grace = now.saturating_add(self.hello() / 2);
        for timer in [&mut self.active_timer, &mut self.standby_timer] {
            if timer.is_some_and(|at| at <= now) {
                *timer = Some(grace);
            }
        }
        out.push(Action::Log(Note::Stalled { silence }));
    }

    fn lower(&self, priority: u32, source: IpAddr) -> bool {
        (priority, source) < (self.priority(), self.config.own)
    }

    fn complain(&mut self, note: Note, now: u64, out: &mut Vec<Action>) {
        let kind = match note {
            Note::DuplicateAddress(_) => 0,
            Note::BadVirtualAddress { .. } => 1,
            _ => 2,
        };
        if self.complaints[kind].is_none_or(|last| now.saturating_sub(last) >= COMPLAINT_PAUSE) {
            self.complaints[kind] = Some(now);
            out.push(Action::Log(note));
        }
    }

    fn receive(&mut self, received: &Received, now: u64, out: &mut Vec<Action>) {
        let Received { message, source } = received;
        let source = *source;
        let config = &self.config;
        let ours = message.version == config.version && message.group == config.group;
        if !ours || source.is_ipv4() != config.own.is_ipv4() {
            return;
        }
        if source == config.own {
            self.complain(Note::DuplicateAddress(source), now, out);
            return;
        }
        let hello = message.opcode == Opcode::Hello;
        let sound = message.hello > Duration::ZERO && message.hold > message.hello;
        if hello && !sound {
            self.complain(Note::BadTimers(source), now, out);
        }
        // A hello without a hold time is no reason to be without its sender: it counts as one of our own.
        let hold = if message.hold.is_zero() { self.hold() } else { ns(message.hold).min(LONGEST_HOLD) };
        let memory = hold.max(self.hold()).saturating_mul(3);
        self.peers_until = self.peers_until.max(now.saturating_add(memory));
        if self.owns && !self.lease.1 {
            self.renew(now, out);
        }
        let lower = self.lower(message.priority, source);
        let peer = Peer { source, priority: message.priority, hold, expires: now.saturating_add(hold) };
        // A hello of another state would not do: it may be one from before, late.
        if message.opcode == Opcode::Resign && self.gain_from.contains(&Some(source)) {
            self.gain(now, out);
        }
        match (message.opcode, message.state) {
            (Opcode::Hello, State::Active) => self.hear_active(peer, lower, sound, message, now, out),
            (Opcode::Hello, State::Standby) => self.hear_standby(peer, lower, now, out),
            // Event f.
            (Opcode::Hello, State::Speak) if !lower => {
                if matches!(self.state, State::Speak | State::Standby) {
                    self.start_standby(now);
                    self.enter(State::Listen, now, out);
                }
            }
            // Event j.
            (Opcode::Coup, _) if !lower && self.state == State::Active => self.resign(State::Speak, now, out),
            // Event i.
            (Opcode::Resign, _) if self.active.is_some_and(|active| active.source == source) => {
                self.active = None;
                self.wish_since = None;
                match self.state {
                    State::Listen => {
                        self.start_both(now);
                        self.enter(State::Speak, now, out);
                    }
                    State::Speak => self.active_timer = Some(now.saturating_add(self.hold())),
                    State::Standby => {
                        if message.state == State::Speak {
                            self.takeover_not_before = now.saturating_add(self.hello());
                        }
                        self.succeed(now, out);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Events g and h.
    fn hear_active(
        &mut self,
        peer: Peer,
        lower: bool,
        sound: bool,
        message: &Message,
        now: u64,
        out: &mut Vec<Action>,
    ) {
        match self.state {
            State::Disabled | State::Init => {
                if self.listening {
                    self.active = Some(peer);
                    self.active_timer = Some(peer.expires);
                }
                return;
            }
            State::Active if lower => {
                out.push(Action::Send(self.message(Opcode::Coup)));
                if self.gain_at.is_some() {
                    // Another one preempts at the same time, or the displaced one has not heard of it yet.
                    if self.gain_from[0] != Some(peer.source) {
                        self.gain_from[1] = Some(peer.source);
                    }
                    self.gain_at = Some(peer.expires.min(self.gain_by));
                }
                return;
            }
            State::Active => {
                self.let_go(out);
                self.start_standby(now);
                self.active_timer = Some(peer.expires);
                self.active = Some(peer);
                self.enter(State::Speak, now, out);
                return;
            }
            _ => {}
        }
        self.handing_to = None;
        let may_preempt = lower && self.state != State::Learn && self.config.preempt.is_some();
        self.wish_since = may_preempt.then(|| self.wish_since.unwrap_or(now));
        if may_preempt && self.preempt_at().is_some_and(|at| at <= now) {
            self.preempt(peer, now, out);
            return;
        }
        self.learn(peer.source, sound, message, now, out);
        // A late hello of a router displaced must not cut short the time of the one that displaced it.
        let other = self.active.filter(|active| active.source != peer.source && active.expires > now);
        let expires = peer.expires.max(other.map_or(0, |active| active.expires));
        let higher = other.filter(|active| (active.priority, active.source) > (peer.priority, peer.source));
        self.active = Some(higher.unwrap_or(Peer { expires, ..peer }));
        self.active_timer = Some(expires);
        if self.standby.is_some_and(|standby| standby.source == peer.source) {
            self.standby = None;
        }
        if self.state == State::Learn && self.virtual_ip().is_some() {
            self.start_standby(now);
            self.enter(State::Listen, now, out);
        } else if self.state == State::Learn {
            self.active_timer = None;
        }
    }

    /// Action E. Times are taken only as a sound pair.
    fn learn(&mut self, source: IpAddr, sound: bool, message: &Message, now: u64, out: &mut Vec<Action>) {
        if self.config.timers.is_none() && sound {
            let hold = message.hold.min(Duration::from_nanos(LONGEST_HOLD));
            self.learned_timers = Some(Timers { hello: message.hello.min(hold / 2), hold });
        }
        let Some(theirs) = message.virtual_ip.filter(|ip| ip.is_ipv4() == source.is_ipv4()) else { return };
        match self.config.virtual_ip {
            Some(ip) if ip != theirs => {
                self.complain(Note::BadVirtualAddress { source, theirs }, now, out);
            }
            None if self.learned_ip != Some(theirs) => {
                self.learned_ip = Some(theirs);
                out.push(Action::LearnVirtual(theirs));
            }
            _ => {}
        }
    }

    /// Events k and l.
    fn hear_standby(&mut self, peer: Peer, lower: bool, now: u64, out: &mut Vec<Action>) {
        if self.handing_to.is_some_and(|(to, until)| to == peer.source && now < until) {
            // The resign did not arrive: the standby still stands by.
            let message = Message { state: State::Active, ..self.message(Opcode::Resign) };
            out.push(Action::Send(message));
            return;
        }
        if self.state == State::Learn || self.state == State::Init && !self.listening {
            return;
        }
        // Where there is a standby router there is an active one; its hellos may be rarer than this node's hold time.
        if self.active.is_none() && peer.hold > self.hold() {
            self.active_timer = self.active_timer.map(|at| at.max(peer.expires));
        }
        match (self.state, lower) {
            (State::Standby, true) => return,
            (State::Speak, true) => {
                let not_before = self.after_two_hellos(now);
                self.become_standby(not_before, now, out);
                return;
            }
            _ => {}
        }
        self.standby = Some(peer);
        self.standby_timer = Some(peer.expires);
        match (self.state, lower) {
            (State::Speak | State::Standby, false) => self.enter(State::Listen, now, out),
            (State::Listen, true) => self.enter(State::Speak, now, out),
            _ => {}
        }
    }

    fn failover(&mut self, now: u64, out: &mut Vec<Action>) {
        match (self.state, self.standby.filter(|standby| now < standby.expires)) {
            (State::Active, _) if !self.owns => out.push(Action::Log(Note::FailoverNotActive)),
            (State::Active, Some(standby)) => {
                self.resign(State::Listen, now, out);
                self.handed_over = true;
                self.handing_to = Some((standby.source, now.saturating_add(self.hold())));
                self.active = None;
            }
            (State::Active, None) => out.push(Action::Log(Note::FailoverNoStandby)),
            _ => out.push(Action::Log(Note::FailoverNotActive)),
        }
    }

    /// Goes on as active while the lease of the life before still runs: no peer can have taken over yet.
    fn resume(&mut self, until: u64, now: u64, out: &mut Vec<Action>) {
        self.enabled = true;
        if !self.runnable() || self.state != State::Init {
            return;
        }
        if now >= until || self.virtual_ip().is_none() {
            self.start_not_before = now.saturating_add(ns(self.config.delay_minimum));
            self.run(now, out);
            return;
        }
        // Who was known before is forgotten; until three hold times have passed, there may be someone.
        self.peers_until = now.saturating_add(self.hold().saturating_mul(3));
        self.take_over(now, out);
    }

    fn configure(&mut self, config: Config, now: u64, out: &mut Vec<Action>) {
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        let identity = |config: &Config| (config.version, config.group, config.own);
        if self.state == State::Init {
            self.run(now, out);
            return;
        }
        let lost_address = old.virtual_ip.is_some() && new.virtual_ip.is_none();
        if identity(&old) != identity(new) || lost_address || !self.runnable() {
            // The resign must be one that the peers of the old identity understand.
            let new = std::mem::replace(&mut self.config, old);
            self.stop(now, out);
            self.config = new;
            self.run(now, out);
            return;
        }
        if old.preempt != new.preempt || old.priority != new.priority {
            self.handed_over = false;
        }
        if new.preempt.is_none() {
            self.wish_since = None;
        }
        let changed_ip = old.virtual_ip != new.virtual_ip;
        let changed_hello = old.timers != new.timers || old.priority != new.priority || changed_ip;
        if changed_ip && self.state == State::Learn {
            self.start_both(now);
            self.enter(State::Listen, now, out);
        }
        if self.owns && changed_ip {
            out.push(Action::UpdateVirtual);
            self.announce(now, out);
        }
        if self.hello_timer.is_some() && changed_hello {
            self.send_hello(now, out);
        }
    }
}

#[cfg(test)]
mod tests;

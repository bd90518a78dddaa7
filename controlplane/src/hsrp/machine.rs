//! One HSRP group of one address family as a pure state machine (RFC 2281 section 5).
//!
//! Events and the time go in, actions come out; no IO, no clock, memory of a fixed size (but for the objects tracked).
//! Time is nanoseconds of the caller's monotonic clock. The caller carries actions out in their order, reads its
//! sockets empty before it sends [`Event::Tick`], and calls again at [`Group::next_deadline`].
//!
//! Behaviour beyond the RFC's table, and why:
//! - **Lease.** While it owns the address each hello renews a lease of (hold - hello) when another router is known. A
//!   peer's active timer runs hold from a hello's arrival, so the lease of a node that falls silent ends before its
//!   successor begins, even if one hello got lost. A node that finds its own lease run out (it was stalled) resigns
//!   and listens instead of going on. With hold under three hellos the active says hello more often, to keep two
//!   hellos within a lease.
//! - **Preempting in two steps.** After a coup the machine is Active at once, but owns the address when the router
//!   that it displaces has resigned, or when that one's last hello is no longer valid (it may have died just then).
//! - **Event g while it owns the address.** It resigns as in event j: if the coup of the preempting router was lost, the
//!   hello behind it is the first word of it, and the preempting router waits for the resign.
//! - **Speak, active timer expired.** The table has no cell that ever uses it; here Standby without an active router
//!   becomes Active at once (the timer is a condition, not a moment).
//! - **Two standbys.** Who displaces a lower standby takes over two hello times later at the earliest: the displaced
//!   one needs one to hear of it, and its last word as active may need another.
//! - **Stall.** Who was not called for longer than its timers ask may have hellos waiting in a socket: an expired
//!   timer gets half a hello time of grace, no preempting for one hello time, no taking over for two.
//! - **Resign after a coup** says state Speak, every other one Active. A standby that hears the former first leaves
//!   the coup's sender one hello time to be heard before it takes the role itself.
//! - **Timers.** Configured ones win over those of the active router (RFC 2281 section 5.1); what overrides any setting,
//!   as IOS puts it, is the hold time in the active router's hello: it decides how long that hello is valid.
//! - **Bounded hold times.** A hello is valid for at most three of one's own hold times (configured, or 10 s), longer only
//!   if its sender has been valid for as long before or has been heard at the pace that it claims. So one forged hello
//!   leaves the group without a server for three hold times at most, and a router with slower timers is heard out.
//! - **Learned addresses** are taken when the caller has checked and probed them ([`Action::Probe`], [`Event::Probed`]).
//! - **Resigns played back.** A router that has resigned and yet says hello as active has not resigned: HSRP has no sequence
//!   numbers, not even under MD5, so that anyone on the link can play its old resign back. For a minute its resigns
//!   count only when the next hello is missing.
//! - Speak and Standby are announced by a hello at once. Resign counts only from the router held for the active, and
//!   only if no other one has said since that it is active (the former may have been paused while it lost the role).

mod config;
mod event;
mod note;
mod receive;

use super::message::{Message, Opcode, State};
use crate::types::Nanos;
pub use config::{Config, DEFAULT_TIMERS, PreemptDelay, Timers, TrackEffect};
pub use event::{Action, Event};
pub use note::Note;
use std::collections::BTreeSet;
use std::net::IpAddr;

const MILLISECOND: Nanos = Nanos::from_millis(1);
/// No hello is valid for longer, whatever it says: the longest hold time that can be configured.
const LONGEST_HOLD: Nanos = Nanos::from_secs(255);
/// A hello is valid for this many of one's own hold times at most, unless its sender has earned more.
const TRUSTED_HOLDS: u64 = 3;
/// A hello is valid for this many of its sender's own intervals, as far as they were seen: as the default times are.
const TRUSTED_INTERVALS: u64 = 4;
/// Gratuitous ARPs after the first, counted from the gain.
const ANNOUNCEMENTS: [Nanos; 2] = [Nanos::from_secs(2), Nanos::from_secs(4)];
/// The same complaint is made again after this.
pub const COMPLAINT_INTERVAL: Nanos = Nanos::from_secs(30);
/// An address that was refused is probed again after this.
const PROBE_INTERVAL: Nanos = Nanos::from_secs(30);
/// A router whose resign was not its own is doubted for this long.
const DOUBT: Nanos = Nanos::from_secs(60);

/// Another router as it was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address
    pub source: IpAddr,
    /// Its priority
    pub priority: u32,
    /// Hold time of its last hello, ns
    pub hold: Nanos,
    /// When it counts as gone, ns
    pub expires: Nanos,
}

/// The last hello of a router, which bounds how long its next one is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    source: IpAddr,
    at: Nanos,
    hold: Nanos,
}

/// The last virtual address that was to be learned and is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    address: IpAddr,
    at: Nanos,
    refused: bool,
}

impl Probe {
    /// Returns whether `address` may be probed now: one at a time, and one that was refused may be free later.
    fn allows(&self, address: IpAddr, now: Nanos) -> bool {
        let other = self.refused && self.address != address;
        now >= self.at + (if other { Nanos::from_secs(1) } else { PROBE_INTERVAL })
    }
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
    probe: Option<Probe>,
    active_timer: Option<Nanos>,
    standby_timer: Option<Nanos>,
    hello_timer: Option<Nanos>,
    /// End of a delay in Init
    start_at: Option<Nanos>,
    start_not_before: Nanos,
    /// The delay in Init counts as time in Listen
    listening: bool,
    active: Option<Peer>,
    /// Another router that has said since the last hello of `active` that it is active
    rival: Option<Peer>,
    standby: Option<Peer>,
    /// The last hello of an active and of a standby router, however old
    heard: [Option<Heard>; 2],
    /// The active router that has resigned, and how long a hello of it proves the resign false
    resigned: Option<(IpAddr, Nanos)>,
    /// A resign of this router is not acted on before a hello of it is missing, until then
    doubted: Option<(IpAddr, Nanos)>,
    peers_until: Nanos,
    wish_since: Option<Nanos>,
    reload_until: Nanos,
    preempt_not_before: Nanos,
    /// No preempting: the operator has handed the role over
    handed_over: bool,
    /// Repeat the resign to this standby until then
    handing_to: Option<(IpAddr, Nanos)>,
    /// Active, but the router before may still own the address until then
    gain_at: Option<Nanos>,
    /// Latest `gain_at`
    gain_by: Nanos,
    /// Whose resign ends the wait: the one displaced, and another one that preempts
    gain_from: [Option<IpAddr>; 2],
    owns: bool,
    takeover_not_before: Nanos,
    last_hello: Nanos,
    hello_span: Nanos,
    lease: (Nanos, bool),
    announcements: [Option<Nanos>; 2],
    last_call: Nanos,
    changes: u64,
    changed: Nanos,
    complaints: [Option<Nanos>; Note::COMPLAINTS],
}

fn due(timer: &mut Option<Nanos>, now: Nanos) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

impl Group {
    /// A group in Init that waits for [`Event::Enable`] or [`Event::Resume`]; the data plane is taken as up.
    #[must_use]
    pub fn new(config: Config, now: Nanos) -> Group {
        Group {
            config,
            state: State::Init,
            enabled: false,
            dataplane: true,
            synced: true,
            down: BTreeSet::new(),
            learned_timers: None,
            learned_ip: None,
            probe: None,
            active_timer: None,
            standby_timer: None,
            hello_timer: None,
            start_at: None,
            start_not_before: Nanos::ZERO,
            listening: false,
            active: None,
            rival: None,
            standby: None,
            heard: [None; 2],
            resigned: None,
            doubted: None,
            peers_until: Nanos::ZERO,
            wish_since: None,
            reload_until: Nanos::ZERO,
            preempt_not_before: Nanos::ZERO,
            handed_over: false,
            handing_to: None,
            gain_at: None,
            gain_by: Nanos::ZERO,
            gain_from: [None; 2],
            owns: false,
            takeover_not_before: Nanos::ZERO,
            last_hello: Nanos::ZERO,
            hello_span: Nanos::MAX,
            lease: (Nanos::ZERO, false),
            announcements: [None; 2],
            last_call: now,
            changes: 0,
            changed: now,
            complaints: [None; Note::COMPLAINTS],
        }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns whether the address is (or is being) taken: between GainVirtual and LoseVirtual.
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
    pub fn next_hello(&self) -> Option<Nanos> {
        self.hello_timer
    }

    /// When the lease ends (0: none), and whether the data plane then fences.
    #[must_use]
    pub fn lease(&self) -> (Nanos, bool) {
        self.lease
    }

    /// Number of changes of state and when the last was, ns.
    #[must_use]
    pub fn changes(&self) -> (u64, Nanos) {
        (self.changes, self.changed)
    }

    /// Returns whether another router was heard within three hold times.
    #[must_use]
    pub fn peer_known(&self, now: Nanos) -> bool {
        now < self.peers_until
    }

    /// Returns whether `failover` holds preempting back: until this router is active again, or its priority or `preempt`
    /// changes.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.handed_over
    }

    /// When a lower active router will be displaced, if nothing changes.
    #[must_use]
    pub fn preempt_at(&self) -> Option<Nanos> {
        let delay = self.config.preempt.filter(|_| !self.handed_over)?;
        let since = self.wish_since?;
        let sync = if self.synced { Nanos::ZERO } else { Nanos::from(delay.sync) };
        Some(
            (since + Nanos::from(delay.minimum).max(sync))
                .max(self.reload_until)
                .max(self.preempt_not_before),
        )
    }

    /// When to call again at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        let timers =
            [self.active_timer, self.standby_timer, self.hello_timer, self.gain_at, self.preempt_at()];
        if self.state == State::Init {
            return self.start_at;
        }
        let beat = (self.state != State::Active).then(|| self.last_call + self.beat());
        timers.into_iter().chain(self.announcements).chain([beat]).flatten().min()
    }

    /// Takes one event. `now` never goes back.
    pub fn handle(&mut self, event: Event, now: Nanos) -> Vec<Action> {
        let mut out = Vec::new();
        // Time in which the clock stood still has passed for the peers all the same.
        let paused = if let Event::Paused { length } = event { length } else { Nanos::ZERO };
        if let Some(end) = self.claim_end().filter(|end| *end <= now + paused) {
            out.push(Action::Log(Note::LeaseLapsed { late: (now + paused).since(end) }));
            self.lapse(now, &mut out);
        }
        self.forgive(now, &mut out);
        match event {
            Event::Enable { reload } => {
                self.enabled = true;
                let delay = if reload { self.config.delay_reload } else { self.config.delay_minimum };
                if reload {
                    let wait = self.config.preempt.map_or(Nanos::ZERO, |preempt| Nanos::from(preempt.reload));
                    self.reload_until = now + wait;
                }
                self.start_not_before = now + Nanos::from(delay);
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
                if !was {
                    let delay = now + Nanos::from(self.config.delay_minimum);
                    self.start_not_before = self.start_not_before.max(delay);
                }
                if !was && self.runnable() {
                    self.listening = true;
                    self.start_both(now);
                    self.start_at = Some((now + self.hold()).max(self.start_not_before));
                }
            }
            Event::Track { object, down } => {
                let before = self.priority();
                if down {
                    self.down.insert(object);
                } else {
                    self.down.remove(&object);
                }
                self.run(now, &mut out);
                if self.hello_timer.is_some() && self.priority() != before {
                    self.send_hello(now, &mut out);
                }
            }
            Event::Synced(synced) => self.synced = synced,
            Event::Failover => self.failover(now, &mut out),
            Event::Resume { until } => self.resume(until, now, &mut out),
            Event::AnnounceAgain => self.announce(now, &mut out),
            Event::Probed { address, free } => self.probed(address, free, now, &mut out),
            Event::Paused { length } => self.paused(length, now, &mut out),
        }
        self.last_call = now;
        out
    }

    /// The lease has ended before the next hello: gives the role up.
    fn lapse(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.resigned = None;
        if self.peer_known(now) || !self.owns {
            self.resign(State::Listen, now, out);
        } else {
            // Nobody to hand over to, but somebody may have come up meanwhile: says hello first.
            self.let_go(out);
            self.send_hello(now, out);
            self.gain_at = Some(self.after_two_hellos(now));
            self.gain_by = now + self.hold() * 2;
        }
    }

    /// The whole machine stood still, and the monotonic clock with it. A lease that ended meanwhile is treated before
    /// this. One that did not is renewed, since its end has moved for the peers; a peer that has taken over answers the
    /// hello with its coup. Any other router listens for a hold time before it acts.
    fn paused(&mut self, length: Nanos, now: Nanos, out: &mut Vec<Action>) {
        if self.state == State::Active || length == Nanos::ZERO {
            if self.hello_timer.is_some() {
                self.send_hello(now, out);
            }
            return;
        }
        let heard_out = now + self.hold();
        self.preempt_not_before = self.preempt_not_before.max(heard_out);
        self.takeover_not_before = self.takeover_not_before.max(heard_out);
        for timer in [&mut self.active_timer, &mut self.standby_timer] {
            *timer = timer.map(|at| at.max(heard_out));
        }
    }

    /// When an active router that has not said hello must take itself for replaced.
    fn claim_end(&self) -> Option<Nanos> {
        match self.lease {
            _ if self.state != State::Active => None,
            _ if !self.owns => Some(self.last_hello + self.span()),
            (until, _) => Some(until),
        }
    }

    fn hello(&self) -> Nanos {
        Nanos::from(self.timers().hello).max(MILLISECOND)
    }

    fn hold(&self) -> Nanos {
        Nanos::from(self.timers().hold).max(self.hello() + MILLISECOND)
    }

    /// A lease's length with a peer known.
    fn span(&self) -> Nanos {
        (self.hold() - self.hello()).max(Nanos::from_millis(15))
    }

    fn interval(&self) -> Nanos {
        match self.state {
            State::Active => self.hello().min(self.span() / 2).max(Nanos::from_millis(5)),
            _ => self.hello(),
        }
    }

    /// Unless it is active it is called at least this often, so that it knows a stall from a silent active router.
    fn beat(&self) -> Nanos {
        let peers = [self.active, self.standby].into_iter().flatten().map(|peer| peer.hold / 3);
        peers.fold(self.hello(), Nanos::min).max(Nanos::from_millis(5))
    }

    /// By then another candidate has heard of this one, and this one of it if it was active before that.
    fn after_two_hellos(&self, now: Nanos) -> Nanos {
        now + self.hello() * 2
    }

    fn runnable(&self) -> bool {
        let shut = |(object, effect): &(u16, TrackEffect)| {
            *effect == TrackEffect::Shutdown && self.down.contains(object)
        };
        self.enabled && self.dataplane && !self.config.tracks.iter().any(shut)
    }

    /// Starts or stops the group after one of the conditions for it changed.
    fn run(&mut self, now: Nanos, out: &mut Vec<Action>) {
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
    fn begin(&mut self, now: Nanos, out: &mut Vec<Action>) {
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
    fn stop(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.yield_role(State::Active, out);
        self.start_at = None;
        self.listening = false;
        self.active_timer = None;
        self.standby_timer = None;
        self.learned_ip = None;
        self.probe = None;
        self.resigned = None;
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
            self.send(Message { state: said, ..self.message(Opcode::Resign) }, out);
        }
    }

    fn let_go(&mut self, out: &mut Vec<Action>) {
        self.gain_at = None;
        self.gain_from = [None; 2];
        self.announcements = [None; 2];
        if std::mem::take(&mut self.owns) {
            let peer_known = self.lease.1;
            self.lease = (Nanos::ZERO, peer_known);
            out.push(Action::Lease { until: Nanos::ZERO, peer_known });
            out.push(Action::LoseVirtual);
        }
    }

    /// To Speak where another one has the role (event j); to Listen, so as not to contend with the one asked to take it.
    fn resign(&mut self, to: State, now: Nanos, out: &mut Vec<Action>) {
        self.yield_role(if to == State::Speak { to } else { State::Active }, out);
        self.start_both(now);
        self.enter(to, now, out);
    }

    fn start_both(&mut self, now: Nanos) {
        self.active_timer = Some(now + self.hold());
        self.standby_timer = self.active_timer;
    }

    fn start_standby(&mut self, now: Nanos) {
        self.standby_timer = Some(now + self.hold());
    }

    /// Changes the state. Speak and Standby are announced at once.
    fn enter(&mut self, state: State, now: Nanos, out: &mut Vec<Action>) {
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

    fn send(&self, message: Message, out: &mut Vec<Action>) {
        out.push(Action::Send { message, source: self.config.own });
    }

    fn send_hello(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.send(self.message(Opcode::Hello), out);
        self.last_hello = now;
        self.hello_timer = Some(now + self.interval());
        self.renew(now, out);
    }

    /// The lease follows the last hello.
    fn renew(&mut self, now: Nanos, out: &mut Vec<Action>) {
        // The hello before may be the last one that arrived: its hold time counts until the next.
        let span = self.span().min(self.hello_span);
        self.hello_span = self.span();
        if self.owns {
            let peer_known = self.peer_known(now);
            let span = if peer_known { span } else { Nanos::from(self.config.lone_lease) };
            self.lease = (self.last_hello + span, peer_known);
            out.push(Action::Lease { until: self.lease.0, peer_known });
        }
    }

    fn announce(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if self.owns {
            self.announcements = ANNOUNCEMENTS.map(|after| Some(now + after));
            out.push(Action::Announce);
        }
    }

    /// To Active with the address: nobody else has it.
    fn take_over(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.active_timer = None;
        self.standby_timer = None;
        self.active = None;
        self.standby = None;
        self.enter(State::Active, now, out);
        self.send_hello(now, out);
        self.gain(now, out);
    }

    fn gain(&mut self, now: Nanos, out: &mut Vec<Action>) {
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
    fn preempt(&mut self, from: Peer, now: Nanos, out: &mut Vec<Action>) {
        self.send(self.message(Opcode::Coup), out);
        self.active_timer = None;
        self.start_standby(now);
        self.active = None;
        self.enter(State::Active, now, out);
        self.send_hello(now, out);
        self.gain_from = [Some(from.source), None];
        // If it has died it hears no coup, but its lease runs on.
        self.gain_at = Some(from.expires.max(now + self.hello()));
        self.gain_by = from.expires + self.hold() * 2;
    }

    /// Standby takes the role (events c and i).
    fn succeed(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if now < self.takeover_not_before {
            self.active = None;
            self.active_timer = Some(self.takeover_not_before);
        } else {
            self.take_over(now, out);
        }
    }

    fn become_standby(&mut self, not_before: Nanos, now: Nanos, out: &mut Vec<Action>) {
        self.standby_timer = None;
        self.standby = None;
        self.takeover_not_before = self.takeover_not_before.max(not_before);
        self.enter(State::Standby, now, out);
        if self.active_timer.is_none() {
            self.succeed(now, out);
        }
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<Action>) {
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
            let next = self.hello_timer.unwrap_or(now) + self.interval();
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
    fn forgive(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let silence = now.since(self.last_call);
        let tolerance = self.beat() / 4 * 5;
        let stalled = match self.state {
            State::Active => false,
            State::Init | State::Disabled => self.start_at.is_some_and(|at| now > at + tolerance),
            _ => silence > tolerance,
        };
        if !stalled {
            return;
        }
        self.preempt_not_before = now + self.hello();
        self.takeover_not_before = self.takeover_not_before.max(self.after_two_hellos(now));
        let grace = now + (self.hello() / 2);
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

    fn complain(&mut self, note: Note, now: Nanos, out: &mut Vec<Action>) {
        let Some(last) = note.complaint().and_then(|kind| self.complaints.get_mut(kind)) else { return };
        if last.is_none_or(|last| now.since(last) >= COMPLAINT_INTERVAL) {
            *last = Some(now);
            out.push(Action::Log(note));
        }
    }

    fn failover(&mut self, now: Nanos, out: &mut Vec<Action>) {
        match (self.state, self.standby.filter(|standby| now < standby.expires)) {
            (State::Active, _) if !self.owns => out.push(Action::Log(Note::FailoverNotActive)),
            (State::Active, Some(standby)) => {
                self.resign(State::Listen, now, out);
                self.resigned = None;
                self.handed_over = true;
                self.handing_to = Some((standby.source, now + self.hold()));
                self.active = None;
            }
            (State::Active, None) => out.push(Action::Log(Note::FailoverNoStandby)),
            _ => out.push(Action::Log(Note::FailoverNotActive)),
        }
    }

    /// Goes on as active while the lease of the life before still runs: no peer can have taken over yet.
    fn resume(&mut self, until: Nanos, now: Nanos, out: &mut Vec<Action>) {
        self.enabled = true;
        if !self.runnable() || self.state != State::Init {
            return;
        }
        if now >= until || self.virtual_ip().is_none() {
            self.start_not_before = now + Nanos::from(self.config.delay_minimum);
            self.run(now, out);
            return;
        }
        // Who was known before is forgotten; until three hold times have passed, there may be someone.
        self.peers_until = now + self.hold() * 3;
        self.take_over(now, out);
    }

    fn configure(&mut self, config: Config, now: Nanos, out: &mut Vec<Action>) {
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

//! Elections of 2 to 8 routers under a virtual clock, with every fault a LAN has.
//!
//! What is proven, over random priorities, preempting, timers, clock offsets and rates:
//! 1. **Convergence.** After any faults (loss, delay, reorder, duplication, partitions, crashes, stalls, restarts,
//!    dead data planes, live reconfiguration, failovers) end, exactly one router is active and owns the address, and
//!    exactly one is standby if another runs, within [`Plan::settled_after`], and it stays so.
//! 2. **Partitions.** The same holds in each part, and for the whole after healing.
//! 3. **Stability.** Without preempt, routers that come, go or change priority never move the role of the active.
//! 4. **Lease.** From a settled state on, while no message is lost and each arrives within the shortest hello time
//!    (in any order, any number of times), clock rates differ by at most 2 %, all have the same timers, and lone
//!    leases are not longer than a hold time: at no moment do two routers both own the address and have a lease that runs, whatever crashes,
//!    stalls, is paused with its whole machine, resumes, preempts, hands over or changes. A crashed router's lease runs on until its end.
//!    One exception: a preempting that coincides with another one, or with a hand-over. Two routers may then hear the
//!    resign of the third before they hear of one another; they overlap for less than the travel of one message.
//!    Without preempt there is no exception.
//!    Loss, by arithmetic: a silent router's lease ends (hold - hello) after its last hello, and its successor
//!    begins hold after the last hello that arrived; so one lost hello in a row is covered as well.

use controlplane::hsrp::machine::{Action, Config, DEFAULT_TIMERS, Event, Group, PreemptDelay, Timers};
use controlplane::hsrp::message::{Message, Opcode, Received, State};
use controlplane::types::Nanos;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// A probe for an address takes this long, or up to twice as long.
const PROBE: u64 = 400 * MS;

fn ns(d: Duration) -> u64 {
    d.as_nanos() as u64
}

#[derive(Clone, Debug)]
struct RouterPlan {
    config: Config,
    /// Clock: offset in ns, rate in parts per million
    offset: u64,
    ppm: i64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// kill -9: nothing is said, the lease runs on
    Crash,
    Restart {
        resume: bool,
    },
    Stall {
        permille_of_hold: u64,
    },
    /// The whole machine stands still, and its monotonic clock with it
    Pause {
        permille_of_hold: u64,
    },
    Disable,
    Enable,
    DataplaneDown,
    DataplaneUp,
    Priority(u8),
    Failover,
    /// Routers of the mask against the others; 0 heals
    Partition(u8),
}

#[derive(Clone, Debug)]
struct Plan {
    routers: Vec<RouterPlan>,
    /// Permille of the time with faults, router, what
    faults: Vec<(u64, usize, Fault)>,
    loss_percent: u64,
    duplicate_percent: u64,
    /// Longest delay, permille of the shortest hello time
    delay_permille: u64,
    seed: u64,
}

impl Plan {
    fn timers(&self) -> impl Iterator<Item = Timers> {
        self.routers.iter().map(|r| r.config.timers.unwrap_or(DEFAULT_TIMERS))
    }
    fn hold(&self) -> u64 {
        self.timers().map(|t| ns(t.hold)).max().unwrap()
    }
    fn hello(&self) -> u64 {
        self.timers().map(|t| ns(t.hello)).max().unwrap()
    }
    fn shortest_hello(&self) -> u64 {
        self.timers().map(|t| ns(t.hello)).min().unwrap()
    }
    fn preempt_delay(&self) -> u64 {
        let delays = self.routers.iter().filter_map(|r| r.config.preempt);
        delays.map(|d| ns(d.minimum.max(d.reload).max(d.sync))).max().unwrap_or(0)
    }

    /// After this, nothing of the past counts. At most a hold time each for: a data plane that came back last;
    /// what is known of routers now silent (Listen); the election in Speak (then there is an active); Listen and
    /// Speak of the one to be standby. Then a late preempting, which sends the displaced one through Listen and
    /// Speak once more. Hellos and their travel in each step; clocks may be 2 % slow.
    fn settled_after(&self) -> u64 {
        let steps = 7 * (self.hold() + self.hello()) + self.preempt_delay();
        steps + steps / 20
    }
}

enum Next {
    Probed { router: usize, address: IpAddr },
    Deliver { to: usize, received: Received },
    Wake { router: usize },
    Unstall { router: usize },
    Unpause { router: usize, length: u64 },
    Fault(usize),
}

struct Router {
    plan: RouterPlan,
    group: Option<Group>,
    waiting: Option<Vec<Received>>,
    wake_at: u64,
    owns: bool,
    /// Real time
    lease_end: u64,
    coup_at: u64,
    wanted: bool,
    dataplane: bool,
}

impl Router {
    fn local(&self, now: u64) -> u64 {
        let scaled = i128::from(now) * i128::from(1_000_000 + self.plan.ppm) / 1_000_000;
        self.plan.offset + scaled as u64
    }
    /// First real time at which the local clock shows `local`.
    fn real(&self, local: u64) -> u64 {
        let rate = i128::from(1_000_000 + self.plan.ppm);
        let scaled = i128::from(local.saturating_sub(self.plan.offset)) * 1_000_000;
        ((scaled + rate - 1) / rate) as u64
    }
    fn state(&self) -> State {
        self.group.as_ref().map_or(State::Init, Group::state)
    }
    fn runs(&self) -> bool {
        !matches!(self.state(), State::Init | State::Learn)
    }
    fn ip(&self) -> IpAddr {
        self.plan.config.own
    }
}

struct Lan {
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Next>>,
    free: Vec<usize>,
    order: u64,
    routers: Vec<Router>,
    random: u64,
    loss_percent: u64,
    duplicate_percent: u64,
    delay: u64,
    parts: u8,
    faults: Vec<(u64, usize, Fault)>,
    /// The next messages of this kind are lost
    lost: Option<Opcode>,
    /// Checked after each event
    one_lease: bool,
    double_since: Option<u64>,
    hello: u64,
    actives: Vec<(u64, usize)>,
    trace: Vec<String>,
}

impl Lan {
    fn new(plan: &Plan) -> Lan {
        let router = |plan: &RouterPlan| Router {
            plan: plan.clone(),
            group: None,
            waiting: None,
            wake_at: 0,
            owns: false,
            lease_end: 0,
            coup_at: 0,
            wanted: true,
            dataplane: true,
        };
        let mut lan = Lan {
            now: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            order: 0,
            routers: plan.routers.iter().map(router).collect(),
            random: plan.seed | 1,
            loss_percent: 0,
            duplicate_percent: plan.duplicate_percent,
            delay: (plan.shortest_hello() * plan.delay_permille / 1000).max(1),
            parts: 0,
            faults: Vec::new(),
            lost: None,
            one_lease: false,
            double_since: None,
            hello: plan.hello(),
            actives: Vec::new(),
            trace: Vec::new(),
        };
        for i in 0..lan.routers.len() {
            lan.start(i, false);
        }
        lan
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % sides.max(1)
    }

    fn at(&mut self, time: u64, next: Next) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(next);
        self.order += 1;
        self.queue.push(Reverse((time, self.order << 24 | slot as u64)));
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        let text = format!("{:>14.6} {}", self.now as f64 / SECOND as f64, text());
        if self.trace.len() > 4000 {
            self.trace.drain(..2000);
        }
        self.trace.push(text);
    }

    fn start(&mut self, i: usize, resume: bool) {
        let router = &mut self.routers[i];
        let local = router.local(self.now);
        router.group = Some(Group::new(router.plan.config.clone(), Nanos::new(local)));
        let until = router.local(router.lease_end);
        let went_on = resume && router.owns && until > local;
        if !went_on {
            router.owns = false;
        }
        if !router.dataplane {
            self.handle(i, Event::DataplaneDown);
        }
        let first =
            if went_on { Event::Resume { until: Nanos::new(until) } } else { Event::Enable { reload: true } };
        if self.routers[i].wanted {
            self.handle(i, first);
        }
    }

    fn handle(&mut self, i: usize, event: Event) {
        let router = &mut self.routers[i];
        let local = router.local(self.now);
        let Some(group) = router.group.as_mut() else { return };
        let text = match &event {
            Event::Received(r) => {
                format!("{:?}/{} of {} p{}", r.message.opcode, r.message.state, r.source, r.message.priority)
            }
            Event::Configure(config) => format!("priority {}", config.priority),
            other => format!("{other:?}"),
        };
        let plain = matches!(event, Event::Tick | Event::Received(_));
        let actions = group.handle(event, Nanos::new(local));
        if !plain || !actions.is_empty() {
            let told: Vec<String> = actions
                .iter()
                .map(|a| match a {
                    Action::Send { message: m, .. } => format!("{:?}/{} p{}", m.opcode, m.state, m.priority),
                    other => format!("{other:?}"),
                })
                .collect();
            self.note(|| format!("r{i} {text} => {}", told.join(", ")));
        }
        for action in actions {
            match action {
                Action::Send { message, source } => {
                    if message.opcode == Opcode::Coup {
                        self.routers[i].coup_at = self.now;
                    }
                    self.send(i, source, &message);
                }
                Action::Probe(address) => {
                    let at = self.now + PROBE + self.dice(PROBE);
                    self.at(at, Next::Probed { router: i, address });
                }
                Action::GainVirtual => self.routers[i].owns = true,
                Action::LoseVirtual => self.routers[i].owns = false,
                Action::Lease { until, .. } => {
                    let router = &mut self.routers[i];
                    router.lease_end = if until == Nanos::ZERO { 0 } else { router.real(until.get()) };
                }
                Action::Become(State::Active) => self.actives.push((self.now, i)),
                _ => {}
            }
        }
        let router = &mut self.routers[i];
        let deadline = router.group.as_ref().and_then(Group::next_deadline);
        if let Some(deadline) = deadline {
            let at = router.real(deadline.get()).max(self.now + 1);
            if at != router.wake_at {
                router.wake_at = at;
                self.at(at, Next::Wake { router: i });
            }
        } else {
            router.wake_at = 0;
        }
        if self.one_lease {
            self.assert_one_lease();
        }
    }

    fn assert_one_lease(&mut self) {
        let now = self.now;
        let owners: Vec<&Router> = self.routers.iter().filter(|r| r.owns && r.lease_end > now).collect();
        if owners.len() < 2 {
            self.double_since = None;
            return;
        }
        let since = *self.double_since.get_or_insert(now);
        let last_coup = owners.iter().map(|r| r.coup_at).max().unwrap();
        let race = last_coup > 0 && now - last_coup <= 4 * self.hello;
        assert!(race && now - since < self.delay, "two leases run\n{}", self.story());
    }

    fn story(&self) -> String {
        let from = self.trace.len().saturating_sub(40);
        let states: Vec<String> = self
            .routers
            .iter()
            .map(|r| format!("{} {} owns {} lease to {}", r.ip(), r.state(), r.owns, r.lease_end))
            .collect();
        format!("{}\nat {}: {states:#?}", self.trace[from..].join("\n"), self.now)
    }

    fn send(&mut self, from: usize, source: IpAddr, message: &Message) {
        for to in 0..self.routers.len() {
            if to == from || (self.parts >> to ^ self.parts >> from) & 1 == 1 {
                continue;
            }
            if self.lost == Some(message.opcode) || self.dice(100) < self.loss_percent {
                continue;
            }
            let copies = 1 + u64::from(self.dice(100) < self.duplicate_percent);
            for _ in 0..copies {
                let delay = 1 + self.dice(self.delay);
                let received = Received { message: message.clone(), source };
                self.at(self.now + delay, Next::Deliver { to, received });
            }
        }
    }

    fn fault(&mut self, i: usize, fault: Fault) {
        self.note(|| format!("r{i} {fault:?}"));
        let stalled = self.routers[i].waiting.is_some();
        let alive = self.routers[i].group.is_some();
        match fault {
            Fault::Partition(mask) => self.parts = mask,
            Fault::Crash => {
                self.routers[i].group = None;
                self.routers[i].waiting = None;
            }
            Fault::Restart { resume } if !alive => self.start(i, resume),
            _ if stalled || !alive => {}
            Fault::Restart { .. } => {}
            Fault::Stall { permille_of_hold } => {
                let hold = ns(self.routers[i].group.as_ref().map_or(DEFAULT_TIMERS, Group::timers).hold);
                self.routers[i].waiting = Some(Vec::new());
                self.at(self.now + hold * permille_of_hold / 1000, Next::Unstall { router: i });
            }
            Fault::Pause { permille_of_hold } => {
                let hold = ns(self.routers[i].group.as_ref().map_or(DEFAULT_TIMERS, Group::timers).hold);
                let length = hold * permille_of_hold / 1000;
                self.routers[i].waiting = Some(Vec::new());
                self.at(self.now + length, Next::Unpause { router: i, length });
            }
            Fault::Disable => {
                self.routers[i].wanted = false;
                self.handle(i, Event::Disable);
            }
            Fault::Enable => {
                self.routers[i].wanted = true;
                self.handle(i, Event::Enable { reload: false });
            }
            Fault::DataplaneDown => {
                self.routers[i].dataplane = false;
                self.handle(i, Event::DataplaneDown);
            }
            Fault::DataplaneUp => {
                self.routers[i].dataplane = true;
                self.handle(i, Event::DataplaneUp);
            }
            Fault::Priority(priority) => {
                self.routers[i].plan.config.priority = priority;
                let config = self.routers[i].plan.config.clone();
                self.handle(i, Event::Configure(config));
            }
            Fault::Failover => self.handle(i, Event::Failover),
        }
    }

    fn unstall(&mut self, i: usize) {
        let Some(waiting) = self.routers[i].waiting.take() else { return };
        self.note(|| format!("r{i} goes on, {} messages wait", waiting.len()));
        // The worse order is the clock first; both happen.
        let clock_first = self.dice(2) == 0;
        if clock_first {
            self.handle(i, Event::Tick);
        }
        for received in waiting {
            self.handle(i, Event::Received(received));
        }
        self.handle(i, Event::Tick);
    }

    /// The clock of the router goes on where it stood still; the caller reads the others first.
    fn unpause(&mut self, i: usize, length: u64) {
        if self.routers[i].waiting.is_none() {
            return;
        }
        let router = &mut self.routers[i];
        let scaled = i128::from(length) * i128::from(1_000_000 + router.plan.ppm) / 1_000_000;
        // Rounded so that it never goes back.
        router.plan.offset -= (scaled as u64).saturating_sub(1);
        self.handle(i, Event::Paused { length: Nanos::new(length) });
        self.unstall(i);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(&Reverse((time, key))) = self.queue.peek() {
            if time > end {
                break;
            }
            self.queue.pop();
            let slot = (key & 0xff_ffff) as usize;
            let next = self.events[slot].take().unwrap();
            self.free.push(slot);
            self.now = time;
            match next {
                Next::Deliver { to, received } => match &mut self.routers[to].waiting {
                    Some(waiting) => waiting.push(received),
                    None => self.handle(to, Event::Received(received)),
                },
                Next::Wake { router } => {
                    let r = &self.routers[router];
                    if r.wake_at == time && r.waiting.is_none() {
                        self.routers[router].wake_at = 0;
                        self.handle(router, Event::Tick);
                    }
                }
                Next::Probed { router, address } => {
                    // The outcome waits for the loop of a stalled one; here it is lost and asked for again.
                    if self.routers[router].waiting.is_none() {
                        self.handle(router, Event::Probed { address, free: true });
                    }
                }
                Next::Unstall { router } => self.unstall(router),
                Next::Unpause { router, length } => self.unpause(router, length),
                Next::Fault(index) => {
                    let (_, router, fault) = self.faults[index];
                    self.fault(router, fault);
                }
            }
        }
        self.now = end;
    }

    /// Lets the faults of the plan happen over `length` and returns when they have ended.
    fn suffer(&mut self, plan: &Plan, length: u64) -> u64 {
        let start = self.now;
        self.faults = plan.faults.clone();
        for index in 0..self.faults.len() {
            let (permille, router, _) = &mut self.faults[index];
            *router %= self.routers.len();
            let at = start + length * *permille / 1000;
            self.at(at, Next::Fault(index));
        }
        self.run_until(start + length);
        // Stalls of up to two hold times may have begun late.
        start + length + 2 * plan.hold()
    }

    /// Everything that is down comes back, but for the routers of `dead`.
    fn mend(&mut self, dead: u64) {
        self.parts = 0;
        self.loss_percent = 0;
        for i in 0..self.routers.len() {
            let stays_dead = i > 0 && dead >> i & 1 == 1;
            self.routers[i].wanted = true;
            self.unstall(i);
            if stays_dead {
                self.fault(i, Fault::Crash);
                self.routers[i].owns = false;
            } else if self.routers[i].group.is_none() {
                self.start(i, false);
            } else if self.routers[i].state() == State::Init {
                self.handle(i, Event::Enable { reload: false });
            }
            if !self.routers[i].dataplane {
                self.fault(i, Fault::DataplaneUp);
            }
            if !stays_dead {
                self.handle(i, Event::Tick);
            }
        }
    }

    /// Exactly one active, who owns; exactly one standby if anybody else runs; over the routers of `mask`.
    fn assert_settled(&self, mask: u8) {
        let part: Vec<&Router> =
            self.routers.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, r)| r).collect();
        let running = part.iter().filter(|r| r.runs()).count();
        let count = |state| part.iter().filter(|r| r.state() == state).count();
        let owners = part.iter().filter(|r| r.group.as_ref().is_some_and(Group::owns)).count();
        let story = || self.story();
        assert_eq!(count(State::Active), usize::from(running > 0), "active routers\n{}", story());
        assert_eq!(owners, usize::from(running > 0), "owners\n{}", story());
        assert_eq!(count(State::Standby), usize::from(running > 1), "standby routers\n{}", story());
    }

    /// Settled now, and at each of a hundred moments of the next two hold times.
    fn assert_stays_settled(&mut self, hold: u64, mask: u8) {
        let changes = |lan: &Lan| -> u64 {
            lan.routers.iter().filter_map(|r| r.group.as_ref()).map(|g| g.changes().0).sum()
        };
        let before = changes(self);
        for _ in 0..100 {
            self.assert_settled(mask);
            self.run_until(self.now + hold / 50);
        }
        if mask == u8::MAX {
            assert_eq!(changes(self), before, "a change for no reason\n{}", self.story());
        }
    }

    fn active(&self) -> Option<usize> {
        self.routers.iter().position(|r| r.state() == State::Active && r.waiting.is_none())
    }
}

fn timers() -> impl Strategy<Value = Option<Timers>> {
    let ms = |hello: u64, hold: u64| {
        Some(Timers { hello: Duration::from_millis(hello), hold: Duration::from_millis(hold) })
    };
    prop_oneof![
        4 => Just(Some(DEFAULT_TIMERS)),
        1 => Just(None),
        1 => Just(ms(1000, 3000)),
        1 => Just(ms(500, 3000)),
        1 => Just(ms(2000, 5000)),
    ]
}

fn preempt() -> impl Strategy<Value = Option<PreemptDelay>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(PreemptDelay::default())),
        1 => (0u64..8, 0u64..20).prop_map(|(minimum, reload)| Some(PreemptDelay {
            minimum: Duration::from_secs(minimum),
            reload: Duration::from_secs(reload),
            sync: Duration::ZERO,
        })),
    ]
}

fn router(index: usize) -> impl Strategy<Value = RouterPlan> {
    (
        prop::sample::select(vec![0u8, 50, 100, 100, 100, 150, 255]),
        preempt(),
        timers(),
        prop::bool::weighted(0.85),
        // Room for all pauses: a clock starts at 0.
        1u64 << 39..1 << 40,
        -10_000i64..=10_000,
    )
        .prop_map(move |(priority, preempt, timers, knows_address, offset, ppm)| {
            let own = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10 + index as u8));
            let vip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
            // The first router always knows the address: somebody must.
            let virtual_ip = (knows_address || index == 0).then_some(vip);
            let hold = timers.unwrap_or(DEFAULT_TIMERS).hold;
            let base = Config::new(2, 7, own);
            let lone_lease = hold.min(base.lone_lease);
            let config = Config { priority, preempt, timers, virtual_ip, lone_lease, ..base };
            RouterPlan { config, offset, ppm }
        })
}

fn fault(partitions: bool) -> impl Strategy<Value = Fault> {
    let mask = if partitions { 0u8..=255 } else { 0..=0 };
    prop_oneof![
        Just(Fault::Crash),
        any::<bool>().prop_map(|resume| Fault::Restart { resume }),
        (50u64..2000).prop_map(|permille_of_hold| Fault::Stall { permille_of_hold }),
        (50u64..2000).prop_map(|permille_of_hold| Fault::Pause { permille_of_hold }),
        Just(Fault::Disable),
        Just(Fault::Enable),
        Just(Fault::DataplaneDown),
        Just(Fault::DataplaneUp),
        any::<u8>().prop_map(Fault::Priority),
        Just(Fault::Failover),
        mask.prop_map(Fault::Partition),
    ]
}

fn plan(partitions: bool) -> impl Strategy<Value = Plan> {
    let routers = (2usize..=8).prop_flat_map(|n| (0..n).map(router).collect::<Vec<_>>());
    let faults = prop::collection::vec((0u64..1000, 0usize..8, fault(partitions)), 0..24);
    (routers, faults, 0u64..60, 0u64..30, 1u64..950, any::<u64>()).prop_map(
        |(routers, faults, loss_percent, duplicate_percent, delay_permille, seed)| Plan {
            routers,
            faults,
            loss_percent,
            duplicate_percent,
            delay_permille,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_faults_there_is_one_active_and_one_standby(plan in plan(true), dead in any::<u64>()) {
        let mut lan = Lan::new(&plan);
        let calm = lan.delay;
        lan.loss_percent = plan.loss_percent;
        // Messages may be late by more than a hold time while faults last.
        lan.delay = 1 + plan.hold() * plan.delay_permille / 800;
        lan.suffer(&plan, 8 * plan.hold());
        let late = lan.delay;
        lan.delay = calm;
        lan.mend(dead);
        lan.run_until(lan.now + late + plan.settled_after());
        lan.assert_stays_settled(plan.hold(), u8::MAX);
    }

    #[test]
    fn each_part_of_a_partition_has_one_active_and_so_has_the_healed_whole(plan in plan(false), mask in any::<u8>()) {
        let mut lan = Lan::new(&plan);
        lan.run_until(plan.settled_after());
        lan.assert_stays_settled(plan.hold(), u8::MAX);
        lan.parts = mask;
        lan.run_until(lan.now + plan.settled_after());
        lan.assert_stays_settled(plan.hold(), mask);
        lan.assert_stays_settled(plan.hold(), !mask);
        lan.parts = 0;
        lan.run_until(lan.now + plan.settled_after());
        lan.assert_stays_settled(plan.hold(), u8::MAX);
    }

    #[test]
    fn without_preempt_the_active_keeps_its_role_whoever_comes_and_goes(mut plan in plan(false)) {
        for router in &mut plan.routers {
            router.config.preempt = None;
        }
        let mut lan = Lan::new(&plan);
        lan.run_until(plan.settled_after());
        let active = lan.active();
        lan.actives.clear();
        plan.faults.retain(|(_, router, fault)| {
            Some(router % plan.routers.len()) != active || matches!(fault, Fault::Priority(_))
        });
        lan.suffer(&plan, 8 * plan.hold());
        prop_assert!(lan.actives.is_empty(), "{:?}\n{}", lan.actives, lan.story());
        prop_assert_eq!(lan.active(), active);
    }

    #[test]
    fn no_two_leases_run_at_a_time_while_routers_can_hear_each_other(mut plan in plan(false)) {
        let timers = plan.routers[0].config.timers;
        for router in &mut plan.routers {
            router.config.timers = timers;
            router.config.lone_lease = timers.unwrap_or(DEFAULT_TIMERS).hold;
        }
        one_lease_at_a_time(&plan);
    }
}

fn one_lease_at_a_time(plan: &Plan) {
    let mut lan = Lan::new(plan);
    lan.run_until(plan.settled_after());
    lan.one_lease = true;
    lan.suffer(plan, 12 * plan.hold());
    lan.mend(0);
    lan.run_until(lan.now + plan.settled_after());
    lan.assert_stays_settled(plan.hold(), u8::MAX);
}

/// The standby sleeps while the active router falls asleep too and a third one takes the role. When it wakes, old hellos wait:
/// it holds the former for the active router, and hears the new one say so. Then the former wakes and resigns.
#[test]
fn a_resign_of_a_router_that_lost_the_role_long_ago_makes_no_second_active() {
    let router = |host: u8, priority: u8| {
        let own = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let virtual_ip = (host == 10).then_some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)));
        let (timers, lone_lease) = (Some(DEFAULT_TIMERS), DEFAULT_TIMERS.hold);
        let config =
            Config { priority, virtual_ip, preempt: None, timers, lone_lease, ..Config::new(2, 7, own) };
        RouterPlan { config, offset: 549_755_813_888, ppm: 0 }
    };
    // Found by the property above.
    let pause = |permille_of_hold| Fault::Pause { permille_of_hold };
    one_lease_at_a_time(&Plan {
        routers: vec![router(10, 1), router(11, 0), router(12, 255)],
        faults: vec![(645, 0, pause(1784)), (562, 2, pause(1775))],
        loss_percent: 0,
        duplicate_percent: 9,
        delay_permille: 464,
        seed: 833_060_693_640_360_428,
    });
}

/// Two routers with timers 3/10, messages that take 1 ns, the second with priority 110.
fn pair(preempt: bool) -> Lan {
    let router = |host: u8, priority: u8| {
        let own = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let virtual_ip = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)));
        let preempt = preempt.then(PreemptDelay::default);
        let timers = Some(DEFAULT_TIMERS);
        let config = Config { priority, virtual_ip, preempt, timers, ..Config::new(1, 7, own) };
        RouterPlan { config, offset: 1000 * SECOND, ppm: 0 }
    };
    Lan::new(&Plan {
        routers: vec![router(1, 100), router(2, 110)],
        faults: vec![],
        loss_percent: 0,
        duplicate_percent: 0,
        delay_permille: 0,
        seed: 1,
    })
}

#[test]
fn default_timers_cold_start_in_20_s_and_a_standby_10_s_after_the_last_word_of_the_higher() {
    let mut lan = pair(false);
    lan.run_until(20 * SECOND - 1);
    assert_eq!((lan.routers[0].state(), lan.routers[1].state()), (State::Listen, State::Speak));
    lan.run_until(20 * SECOND + 1);
    assert_eq!(lan.actives, [(20 * SECOND, 1)]);
    // The last hello of a standby router was that at 20 s: Listen until 30 s, Speak until 40 s.
    lan.run_until(40 * SECOND);
    assert_eq!(lan.routers[0].state(), State::Speak);
    lan.run_until(40 * SECOND + 2);
    assert_eq!(lan.routers[0].state(), State::Standby);
    assert_eq!(lan.actives, [(20 * SECOND, 1)]);
}

#[test]
fn default_timers_a_silent_active_is_replaced_10_s_after_its_last_hello_and_a_resigning_one_at_once() {
    let mut lan = pair(false);
    lan.run_until(60 * SECOND);
    lan.fault(1, Fault::Crash);
    // Hellos of the active leave at 20, 23, ... 59 s and take 1 ns.
    lan.run_until(80 * SECOND);
    assert_eq!(lan.actives, [(20 * SECOND, 1), (69 * SECOND + 1, 0)]);
    assert_eq!(lan.routers[1].lease_end, 66 * SECOND, "3 s before, or one lost hello");

    let mut lan = pair(false);
    lan.run_until(60 * SECOND);
    lan.fault(1, Fault::Disable);
    lan.run_until(80 * SECOND);
    assert_eq!(lan.actives, [(20 * SECOND, 1), (60 * SECOND + 1, 0)]);
}

#[test]
fn default_timers_preempting_takes_one_hello_at_most_and_the_address_moves_with_coup_and_resign() {
    for back in 80..86 {
        let mut lan = pair(true);
        lan.run_until(60 * SECOND);
        lan.fault(1, Fault::Crash);
        lan.run_until(back * SECOND);
        lan.fault(1, Fault::Restart { resume: false });
        lan.run_until(90 * SECOND);
        // The lower one is active since 69 s + 1 ns; its first hello after the restart makes the coup.
        let hello = (69..).step_by(3).map(|s| s * SECOND + 1).find(|at| *at > back * SECOND).unwrap();
        assert_eq!(lan.actives[2..], [(hello + 1, 1)]);
        assert!(hello - back * SECOND <= 3 * SECOND);
        assert!(lan.routers[1].owns && !lan.routers[0].owns);
        let gained = lan.trace.iter().find(|line| line.contains("r1 Resign") && line.contains("GainVirtual"));
        assert!(gained.is_some(), "{}", lan.story());
    }
}

/// Default timers, two routers, the second (110) active, its message to the first at `now`.
fn of_second(opcode: Opcode, state: State, priority: u32, hold: Duration) -> Received {
    let message = Message {
        opcode,
        state,
        version: 1,
        group: 7,
        priority,
        hello: Duration::from_secs(3),
        hold,
        virtual_ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100))),
        identifier: [0; 6],
    };
    Received { message, source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)) }
}

#[test]
fn a_lost_coup_leaves_the_address_without_an_owner_for_no_longer_than_a_hello_travels() {
    let mut lan = pair(true);
    lan.run_until(60 * SECOND);
    lan.fault(1, Fault::Crash);
    lan.run_until(80 * SECOND);
    lan.fault(1, Fault::Restart { resume: false });
    lan.lost = Some(Opcode::Coup);
    let mut unowned = 0;
    for step in 0..20_000 {
        lan.run_until(80 * SECOND + step * MS);
        unowned += u64::from(!lan.routers.iter().any(|router| router.owns));
    }
    assert!(lan.routers[1].owns && !lan.routers[0].owns, "{}", lan.story());
    assert!(unowned <= 1, "for {unowned} ms\n{}", lan.story());
}

#[test]
fn one_forged_hello_costs_the_group_its_server_for_a_few_hold_times() {
    let day = Duration::from_secs(86_400);
    for state in [State::Active, State::Standby] {
        let mut lan = pair(false);
        lan.run_until(60 * SECOND);
        for to in 0..2 {
            let mut received = of_second(Opcode::Hello, state, 255, day);
            received.source = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66));
            lan.at(60 * SECOND + 1, Next::Deliver { to, received });
        }
        // Three hold times until it counts as gone, two to elect, one more for a standby.
        lan.run_until(120 * SECOND);
        lan.assert_settled(u8::MAX);
    }
}

#[test]
fn resigns_played_back_make_the_standby_active_once_and_the_true_active_stays() {
    let mut lan = pair(false);
    lan.run_until(60 * SECOND);
    lan.actives.clear();
    for tenth in 0..400 {
        let received = of_second(Opcode::Resign, State::Active, 110, Duration::from_secs(10));
        lan.at(60 * SECOND + tenth * SECOND / 10, Next::Deliver { to: 0, received });
    }
    for step in 0..400 {
        lan.run_until(60 * SECOND + step * SECOND / 10);
        assert!(lan.routers[1].owns, "{}", lan.story());
    }
    assert_eq!(lan.actives.len(), 1, "{:?}", lan.actives);
    lan.run_until(150 * SECOND);
    lan.assert_settled(u8::MAX);
    // A router that has been doubted and dies is followed as fast as ever.
    lan.fault(1, Fault::Crash);
    lan.run_until(161 * SECOND);
    assert_eq!(lan.active(), Some(0));
}

#[test]
fn a_paused_machine_wakes_without_its_role() {
    let mut lan = pair(false);
    lan.run_until(60 * SECOND);
    lan.fault(1, Fault::Pause { permille_of_hold: 3000 });
    lan.run_until(90 * SECOND - 1);
    assert_eq!(lan.active(), Some(0), "the other one followed\n{}", lan.story());
    lan.one_lease = true;
    lan.run_until(90 * SECOND + 1);
    assert!(!lan.routers[1].owns, "{}", lan.story());
    lan.run_until(150 * SECOND);
    lan.assert_settled(u8::MAX);
    assert_eq!(lan.active(), Some(0));
}

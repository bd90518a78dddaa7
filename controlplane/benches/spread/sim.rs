//! A cluster under a virtual clock: clients arrive, gateways serve them and report, and the primary's own code (member
//! table, pending load, choice, slots) decides at its real pace on what it has heard. Reports can be late, lost, or
//! cut off. Everything follows from the seed.

use controlplane::clb::choice::{Candidate, Selection, choose};
use controlplane::clb::load::{Rules, composite, load_of, overloaded, prioritized};
use controlplane::clb::member::{Health, Percent, Report};
use controlplane::clb::pending::Pending;
use controlplane::clb::surge::{ALL, Surge, room};
use controlplane::clb::table::Table;
use controlplane::clb::{Member, Origin};
use controlplane::load::Sample;
use controlplane::publish::{Assignment, MoveBudget, assign};
use controlplane::types::Nanos;
use platform::snapshot::{NO_GATEWAY, SLOTS};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

/// How gateways are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// All to the member whose last report was the least, until the next report
    Naive,
    /// One after the other
    RoundRobin,
    /// The product's code
    Usher,
    /// Each client by itself at random, by the fair shares: what chance alone does
    Chance,
}

/// What happens.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub gateways: usize,
    /// Clients of the burst
    pub clients: usize,
    /// All of them come within so much, ns; at most `update_ns`
    pub burst_ns: u64,
    /// Clients a second before the burst
    pub background: u64,
    /// Requests a second, forged: redirected and counted, and no client follows; from the burst's start on
    pub forged: u64,
    pub update_ns: u64,
    pub hello_ns: u64,
    pub holdtime_ns: u64,
    /// Between two choices of the primary
    pub recompute_ns: u64,
    /// How late a report arrives
    pub delay_ns: u64,
    /// Of 100 reports and hellos so many never arrive
    pub loss_percent: u64,
    /// Which gateway's feed is cut, from when to when, counted from the start of the burst less `update_ns`
    pub partition: Option<(usize, u64, u64)>,
    /// `load-normalization`, percentage points
    pub normalization: u8,
    /// Least and greatest share of `max-session` in use at first, percent
    pub used: (u64, u64),
    /// Least and greatest `max-session`
    pub sizes: (u64, u64),
    /// Least and greatest priority
    pub priorities: (u64, u64),
    /// Least and greatest share of the processors that is busy without clients, percent
    pub cpu: (u64, u64),
}

impl Scenario {
    /// The defaults of the configuration, `max-in-negotiation-sa` apart: 40 half-open SAs, and a burst of 20,000 clients
    /// finds every gateway overloaded.
    pub fn burst(gateways: usize) -> Scenario {
        Scenario {
            gateways,
            clients: 20_000,
            burst_ns: 3 * SECOND,
            background: 50,
            forged: 0,
            update_ns: 3 * SECOND,
            hello_ns: SECOND,
            holdtime_ns: 3 * SECOND,
            recompute_ns: 25 * MS,
            delay_ns: MS,
            loss_percent: 0,
            partition: None,
            normalization: 5,
            used: (10, 60),
            sizes: (40_000, 100_000),
            priorities: (80, 100),
            cpu: (5, 50),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Each gateway's fair share of the burst: by its true headroom at the start
    pub fair: Vec<f64>,
    /// What each got
    pub got: Vec<u64>,
    /// Clients that nobody was chosen for
    pub passed: u64,
    /// Slots that moved within the update interval of the burst
    pub moves: usize,
    /// Most slots that moved away from usable gateways within one second
    pub moves_a_second: usize,
    /// The same without those that move freely as a surge begins
    pub paced_a_second: usize,
    /// Clients sent to a gateway that had been silent for holdtime
    pub to_the_dead: u64,
    /// Healthy gateways that held no slot at some moment of the burst
    pub closed: usize,
    /// The greatest share of `max-session` in use at the end, percent
    pub fullest: f64,
}

impl Outcome {
    /// The worst gateway's overshoot over its fair share, percent of that.
    pub fn overshoot(&self) -> f64 {
        let total: f64 = self.got.iter().sum::<u64>() as f64;
        let over = self.fair.iter().zip(&self.got).map(|(fair, got)| *got as f64 / (fair * total) - 1.0);
        100.0 * over.fold(f64::MIN, f64::max)
    }

    /// The greatest standard deviation of a gateway's share under pure multinomial sampling, percent of the share.
    pub fn multinomial_sd(&self) -> f64 {
        let total: f64 = self.got.iter().sum::<u64>() as f64;
        100.0 * self.fair.iter().map(|fair| ((1.0 - fair) / (fair * total)).sqrt()).fold(0.0, f64::max)
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

struct Gateway {
    address: IpAddr,
    max_session: u32,
    priority: u8,
    half_open: u32,
    clients: u32,
    base_cpu: u64,
    mem: u64,
    /// Key exchanges a second that take all cores
    exchanges: u64,
    /// Of the running update interval
    exchanged: u64,
    reported_ns: u64,
    count: u64,
    /// Heard last
    heard_ns: u64,
}

impl Gateway {
    fn unequal(index: usize, scenario: &Scenario, random: &mut Random) -> Gateway {
        let max_session = random.between(scenario.sizes.0, scenario.sizes.1);
        let used = random.between(scenario.used.0 * 100, scenario.used.1 * 100);
        Gateway {
            address: IpAddr::from([192, 0, 2, index as u8 + 1]),
            max_session: max_session as u32,
            priority: random.between(scenario.priorities.0, scenario.priorities.1) as u8,
            half_open: 0,
            clients: (max_session * used / 20_000) as u32,
            base_cpu: random.between(scenario.cpu.0 * 100, scenario.cpu.1 * 100),
            mem: random.between(500, 2000),
            exchanges: random.between(8_000, 32_000),
            exchanged: 0,
            reported_ns: 0,
            count: 0,
            heard_ns: 0,
        }
    }

    fn report(&mut self, now_ns: u64) -> Report {
        let elapsed_ms = ((now_ns - self.reported_ns) / MS).max(1);
        let busy = self.exchanged * 1000 * 10_000 / (self.exchanges * elapsed_ms);
        let sample = Sample {
            half_open: self.half_open,
            ike: self.clients,
            child: self.clients,
            cpu: Percent::hundredths(self.base_cpu + busy),
            mem: Percent::hundredths(self.mem),
        };
        self.count += 1;
        Report {
            version: (1, self.count),
            load: load_of(&sample, self.max_session, 9999),
            ike: self.clients,
            child: self.clients,
            max_session: self.max_session,
            priority: self.priority,
            load_normalization: 5,
            health: Health::Healthy,
            draining: false,
            to_move: 0,
            fqdn: String::new(),
            node: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Recompute,
    Client { burst: bool, draw: u64 },
    HalfOpen(usize),
    Up(usize),
    Report(usize),
    Deliver(usize, u64),
    Hello(usize),
}

/// One run.
pub fn run(scenario: &Scenario, policy: Policy, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut gateways: Vec<Gateway> =
        (0..scenario.gateways).map(|index| Gateway::unequal(index, scenario, &mut random)).collect();
    let update = scenario.update_ns;
    let start = 4 * update;
    let end = start + update;
    let mut queue: BinaryHeap<Reverse<(u64, u64, Event)>> = BinaryHeap::new();
    let mut order = 0;
    let mut at = |queue: &mut BinaryHeap<_>, when: u64, event: Event| {
        order += 1;
        queue.push(Reverse((when, order, event)));
    };
    for index in 0..gateways.len() {
        at(&mut queue, random.next() % (update / 10), Event::Report(index));
        at(&mut queue, random.next() % scenario.hello_ns, Event::Hello(index));
    }
    // From there on each reports at a moment of its own.
    at(&mut queue, update / 5, Event::Recompute);
    for _ in 0..scenario.background * 4 * update / SECOND {
        let when = update / 4 + random.next() % (start - update / 4);
        at(&mut queue, when, Event::Client { burst: false, draw: random.next() });
    }
    for _ in 0..scenario.clients {
        at(
            &mut queue,
            start + random.next() % scenario.burst_ns,
            Event::Client { burst: true, draw: random.next() },
        );
    }
    let rules = Rules::default();
    let mut table = Table::new(64, Nanos::new(scenario.holdtime_ns));
    let mut pending = Pending::new(Nanos::new(update));
    let mut surge = Surge::default();
    let mut budget = MoveBudget::default();
    let mut assignment = Assignment::default();
    let mut counters = vec![0u64; gateways.len()];
    let mut reports: Vec<(usize, Report)> = Vec::new();
    let mut turn = 0usize;
    let mut outcome = Outcome { got: vec![0; gateways.len()], ..Outcome::default() };
    // When, how many, and whether they were free of the budget
    let mut spent: Vec<(u64, usize, bool)> = Vec::new();
    let cut = |index: usize, now: u64| {
        scenario.partition.is_some_and(|(cut, from, until)| {
            cut == index && (start + from..start.saturating_add(until)).contains(&(now + update))
        })
    };

    while let Some(Reverse((now, _, event))) = queue.pop() {
        if outcome.fair.is_empty() && now >= start {
            outcome.fair = fair(&mut gateways, now);
        }
        if now >= end {
            break;
        }
        match event {
            Event::Report(index) => {
                let first = gateways[index].count == 0;
                let report = gateways[index].report(now);
                (gateways[index].exchanged, gateways[index].reported_ns) = (0, now);
                let next = if first { random.between(1, update) } else { update };
                at(&mut queue, now + next, Event::Report(index));
                if !cut(index, now) && (first || random.next() % 100 >= scenario.loss_percent) {
                    reports.push((index, report));
                    let late = if first { 0 } else { scenario.delay_ns };
                    at(&mut queue, now + late, Event::Deliver(index, reports.len() as u64 - 1));
                }
            }
            Event::Deliver(index, which) => {
                let report = reports[which as usize].1.clone();
                let address = gateways[index].address;
                gateways[index].heard_ns = now;
                pending.reported(address, &report, Nanos::new(now));
                table.hear(address, report, Nanos::new(now));
            }
            Event::Hello(index) => {
                at(&mut queue, now + scenario.hello_ns, Event::Hello(index));
                if !cut(index, now) && random.next() % 100 >= scenario.loss_percent {
                    table.touch(gateways[index].address, Nanos::new(now));
                    gateways[index].heard_ns = now;
                }
            }
            Event::Recompute => {
                at(&mut queue, now + scenario.recompute_ns, Event::Recompute);
                if now >= start && scenario.forged > 0 {
                    let requests = scenario.forged * scenario.recompute_ns / SECOND;
                    for (index, counter) in counters.iter_mut().enumerate() {
                        *counter +=
                            requests * assignment.share(gateways[index].address) as u64 / SLOTS as u64;
                    }
                }
                for (gateway, counter) in gateways.iter().zip(&counters) {
                    surge.sent(pending.sent(gateway.address, *counter, Nanos::new(now)), Nanos::new(now));
                }
                let chosen = |points| members(&table, &pending, &rules, points, policy, now);
                let mut members = chosen(scenario.normalization);
                if policy == Policy::Usher {
                    let usable = members.iter().filter(|member| member.usable);
                    let reports = usable.filter_map(|member| Some(&table.get(member.address)?.report));
                    let loads = reports.map(|r| (prioritized(composite(&r.load, &rules), r.priority), r));
                    surge.judge(room(loads, scenario.normalization), Nanos::new(update), Nanos::new(now));
                    if surge.is_on() {
                        members = chosen(ALL);
                    }
                }
                let free = policy != Policy::Usher || surge.begins(Nanos::new(now));
                let mut left = if free { SLOTS } else { budget.left(Nanos::new(now)) };
                let allowed = left;
                let next = assign(&assignment, &members, &mut left);
                if !free {
                    budget.spend(allowed - left, Nanos::new(now));
                }
                spent.push((now, allowed - left, free));
                if now >= start {
                    let changed =
                        assignment.slots.iter().zip(&next.slots).filter(|(old, new)| old != new).count();
                    outcome.moves += changed;
                    let shut = members.iter().filter(|m| m.usable && next.share(m.address) == 0).count();
                    outcome.closed = outcome.closed.max(shut);
                }
                assignment = next;
            }
            Event::Client { burst, draw } => {
                let slot = assignment.slots[draw as usize % SLOTS];
                let chosen = match policy {
                    Policy::RoundRobin => {
                        turn += 1;
                        Some(turn % gateways.len())
                    }
                    Policy::Chance if burst => {
                        let mut point = (draw >> 11) as f64 / (1u64 << 53) as f64;
                        outcome.fair.iter().position(|fair| {
                            point -= fair;
                            point < 0.0
                        })
                    }
                    _ if slot == NO_GATEWAY => None,
                    _ => {
                        let address = assignment.gateways[usize::from(slot)];
                        gateways.iter().position(|gateway| Some(gateway.address) == address)
                    }
                };
                let Some(index) = chosen else {
                    outcome.passed += 1;
                    continue;
                };
                counters[index] += 1;
                if burst {
                    outcome.got[index] += 1;
                }
                // A recompute may be that late to see the death.
                let silent = now.saturating_sub(gateways[index].heard_ns);
                if silent >= scenario.holdtime_ns + scenario.recompute_ns {
                    outcome.to_the_dead += 1;
                }
                at(&mut queue, now + random.between(10, 80) * MS, Event::HalfOpen(index));
            }
            Event::HalfOpen(index) => {
                gateways[index].half_open += 1;
                at(&mut queue, now + random.between(20, 200) * MS, Event::Up(index));
            }
            Event::Up(index) => {
                let gateway = &mut gateways[index];
                gateway.half_open -= 1;
                gateway.clients += 1;
                gateway.exchanged += 1;
                // Sessions last an hour: in equilibrium one of the others ends as often as one comes.
                if random.next() % 10 < 3 {
                    gateway.clients -= 1;
                }
            }
        }
    }
    let most = |counts: &dyn Fn(bool) -> bool| {
        let counted = spent.iter().filter(|(.., free)| counts(*free));
        let within = |from: u64| counted.clone().filter(move |(at, ..)| (from..from + SECOND).contains(at));
        counted.clone().map(|(from, ..)| within(*from).map(|(_, moves, _)| moves).sum()).max().unwrap_or(0)
    };
    outcome.moves_a_second = most(&|_| true);
    outcome.paced_a_second = most(&|free| !free);
    let full = |g: &Gateway| 200.0 * f64::from(g.clients) / f64::from(g.max_session);
    outcome.fullest = gateways.iter().map(full).fold(0.0, f64::max);
    outcome
}

/// Each gateway's part of the headroom that there truly is, in sessions.
fn fair(gateways: &mut [Gateway], now: u64) -> Vec<f64> {
    let rules = Rules::default();
    let headroom = |gateway: &mut Gateway| {
        let report = gateway.report(now);
        gateway.count -= 1;
        let load = prioritized(composite(&report.load, &rules), gateway.priority).as_hundredths();
        f64::from((10_000 - load).max(100)) * f64::from(gateway.max_session)
    };
    let all: Vec<f64> = gateways.iter_mut().map(headroom).collect();
    let total: f64 = all.iter().sum();
    all.into_iter().map(|headroom| headroom / total).collect()
}

/// What the primary makes of its table.
fn members(
    table: &Table,
    pending: &Pending,
    rules: &Rules,
    normalization: u8,
    policy: Policy,
    now: u64,
) -> Vec<Member> {
    let candidates: Vec<Candidate> = table
        .iter()
        .map(|(address, entry)| {
            let report = &entry.report;
            let composite = composite(&report.load, rules);
            Candidate {
                address,
                is_self: false,
                priority: report.priority,
                max_session: report.max_session,
                load: Some(prioritized(composite, report.priority)),
                pending: if policy == Policy::Usher {
                    pending.points(address, report, Nanos::new(now))
                } else {
                    0
                },
                usable: table.alive(address, Nanos::new(now))
                    && report.health == Health::Healthy
                    && !report.draining
                    && !overloaded(composite, rules),
            }
        })
        .collect();
    let selection = if policy == Policy::Naive { Selection::Strict } else { Selection::Spread };
    let chosen = choose(&candidates, normalization, selection);
    candidates
        .iter()
        .zip(chosen)
        .map(|(candidate, chosen)| Member {
            address: candidate.address,
            weight: chosen.weight,
            priority: candidate.priority,
            usable: candidate.usable,
            is_self: false,
            origin: Origin::Static,
        })
        .collect()
}

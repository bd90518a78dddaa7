//! Pending load: clients sent to a member that its last report cannot show yet.
//!
//! Between two reports of a member only the data planes know what it was given. Their counters of redirects, which
//! count a client once however often it repeats its request, say how many clients are on their way; each becomes
//! as many SAs as the member's clients have on average. Without this a burst would land on whoever looked idle last.
//!
//! Anybody can send requests, so what the counters say is believed only as far as the members confirm it: a small part
//! without proof ([`UNPROVEN`]), for a burst may be over before the first report shows it, and beyond that twice
//! the share of the clients that the members' own growth of SAs accounts for.

use super::member::Report;
use crate::types::Nanos;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Pending load that is believed without proof, hundredths of a percent of `max-session`.
pub const UNPROVEN: u64 = 500;

/// SAs that a client becomes while a member has too few to measure: an IKE SA and an IPsec SA.
const SAS_AT_FIRST: (u64, u64) = (2, 1);
/// IKE SAs from which on a member's own average of SAs a client is used
const MEASURABLE: u32 = 10;
/// The longest that a redirected client takes until the member's load shows it
pub const SETTLE_NS: Nanos = Nanos::from_secs(1);
/// Into how many parts an update interval is cut; clients sent within one are forgotten together
const PARTS: u64 = 32;

/// The pending load of every member.
#[derive(Clone, Debug)]
pub struct Pending {
    update_ns: Nanos,
    members: BTreeMap<IpAddr, Member>,
    /// When, how many SAs the clients should have become, how many of them the members have grown by
    proofs: VecDeque<(Nanos, u64, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// The counter as last read; `None` before the first time
    total: Option<u64>,
    /// When, how many clients; oldest first
    sent: VecDeque<(Nanos, u64)>,
    /// Clients sent since the last report
    since_report: u64,
    /// SAs in the last report
    sas: Option<u64>,
}

impl Pending {
    /// Nothing pending; members report every `update_ns`.
    #[must_use]
    pub fn new(update_ns: Nanos) -> Pending {
        Pending { update_ns: update_ns.max(Nanos::new(1)), members: BTreeMap::new(), proofs: VecDeque::new() }
    }

    /// Members report every `update_ns` from now on.
    pub fn configure(&mut self, update_ns: Nanos) {
        self.update_ns = update_ns.max(Nanos::new(1));
    }

    fn lifetime_ns(&self) -> Nanos {
        self.update_ns * 2
    }

    fn part_ns(&self) -> Nanos {
        (self.update_ns / PARTS).max(Nanos::new(1))
    }

    /// The data planes have redirected `total` new clients to `address` since they started. The first time, and after
    /// a fall (a data plane restarted or left), only the growth from here on counts: what is returned.
    pub fn sent(&mut self, address: IpAddr, total: u64, now_ns: Nanos) -> u64 {
        let (part_ns, lifetime_ns) = (self.part_ns(), self.lifetime_ns());
        let member = self.members.entry(address).or_default();
        let before = member.total.replace(total);
        let new = before.map_or(0, |before| total.saturating_sub(before));
        if new == 0 {
            return 0;
        }
        member.since_report = member.since_report.saturating_add(new);
        match member.sent.back_mut() {
            Some((at, count)) if now_ns.since(*at) < part_ns => *count = count.saturating_add(new),
            _ => member.sent.push_back((now_ns, new)),
        }
        member.expire(now_ns, lifetime_ns);
        new
    }

    /// The member at `address` sent a report later than those before: clients that had time to show in it, and those that its growth accounts for,
    /// are pending no more. Returns how many SAs the clients sent since the report before should have become, and how many
    /// of them came.
    pub fn reported(&mut self, address: IpAddr, report: &Report, now_ns: Nanos) -> (u64, u64) {
        let lifetime_ns = self.lifetime_ns();
        let settle_ns = SETTLE_NS.min(self.update_ns / 2);
        let part_ns = self.part_ns();
        let (sas, clients) = sas_per_client(report);
        let now_sas = u64::from(report.ike) + u64::from(report.child);
        let member = self.members.entry(address).or_default();
        let grown = member.sas.replace(now_sas).map_or(0, |before| now_sas.saturating_sub(before));
        let expected = std::mem::take(&mut member.since_report).saturating_mul(sas) / clients;

        let settled = member.sent.iter().filter(|(at, _)| now_ns.since(*at) >= settle_ns);
        let settled = settled.fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        member.drop_oldest(settled.max(grown.saturating_mul(clients) / sas));

        // Nobody proves more than it was given: a member that lies can speak for its own share at most.
        let proven = grown.min(expected);
        if expected > 0 {
            match self.proofs.back_mut() {
                Some((at, sum, proofs)) if now_ns.since(*at) < part_ns => {
                    (*sum, *proofs) = (sum.saturating_add(expected), proofs.saturating_add(proven));
                }
                _ => self.proofs.push_back((now_ns, expected, proven)),
            }
        }
        while self.proofs.front().is_some_and(|(at, ..)| now_ns.since(*at) > lifetime_ns) {
            self.proofs.pop_front();
        }
        (expected, grown)
    }

    /// The member at `address` left the cluster.
    pub fn forget(&mut self, address: IpAddr) {
        self.members.remove(&address);
    }

    /// Clients on their way to `address`, as the counters say.
    #[must_use]
    pub fn clients(&self, address: IpAddr, now_ns: Nanos) -> u64 {
        let lifetime_ns = self.lifetime_ns();
        let Some(member) = self.members.get(&address) else { return 0 };
        let young = member.sent.iter().filter(|(at, _)| now_ns.since(*at) < lifetime_ns);
        young.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The pending load of the member at `address`, whose last report is `report`: hundredths of a percent of its
    /// `max-session`, 0 to 10000.
    #[must_use]
    pub fn points(&self, address: IpAddr, report: &Report, now_ns: Nanos) -> u32 {
        let (sas, per) = sas_per_client(report);
        let counted = u128::from(self.clients(address, now_ns)) * u128::from(sas) / u128::from(per);
        let points = (counted * 10_000).checked_div(u128::from(report.max_session)).unwrap_or(0);
        let (expected, grown) = self.proofs.iter().fold((0u128, 0u128), |(expected, grown), proof| {
            (expected + u128::from(proof.1), grown + u128::from(proof.2))
        });
        let proven = (points * 2 * grown).checked_div(expected).unwrap_or(0);
        points.min(proven.max(u128::from(UNPROVEN))).min(10_000) as u32
    }
}

impl Member {
    /// Forgets so many clients, the oldest first.
    fn drop_oldest(&mut self, mut clients: u64) {
        while let Some((_, count)) = self.sent.front_mut() {
            if *count > clients {
                *count -= clients;
                return;
            }
            clients -= *count;
            self.sent.pop_front();
        }
    }

    fn expire(&mut self, now_ns: Nanos, lifetime_ns: Nanos) {
        while self.sent.front().is_some_and(|(at, _)| now_ns.since(*at) >= lifetime_ns) {
            self.sent.pop_front();
        }
    }
}

/// Returns how many clients take so many percentage points of the `max-session` of the member whose last report is `report`.
#[must_use]
pub fn clients_of(report: &Report, points: u8) -> u64 {
    let (sas, clients) = sas_per_client(report);
    let clients =
        u128::from(report.max_session) * u128::from(points) * u128::from(clients) / (100 * u128::from(sas));
    u64::try_from(clients).unwrap_or(u64::MAX)
}

/// Returns how many SAs how many clients of this member have.
fn sas_per_client(report: &Report) -> (u64, u64) {
    if report.ike < MEASURABLE {
        return SAS_AT_FIRST;
    }
    (u64::from(report.ike) + u64::from(report.child), u64::from(report.ike))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clb::choice::{Candidate, Selection, choose};
    use crate::clb::{Member as Gateway, Origin};
    use crate::publish::{Assignment, MoveBudget, assign};
    use crate::types::Percent;
    use proptest::prelude::*;

    const SECOND: Nanos = Nanos::from_secs(1);
    const UPDATE: Nanos = Nanos::from_secs(3);

    fn address(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    fn report(ike: u32, child: u32) -> Report {
        Report { ike, child, max_session: 10_000, ..Report::default() }
    }

    #[test]
    fn clients_count_until_a_report_can_show_them() {
        let mut pending = Pending::new(UPDATE);
        let gateway = address(1);
        pending.reported(gateway, &report(100, 100), Nanos::ZERO);
        pending.sent(gateway, 5000, Nanos::ZERO);
        assert_eq!(pending.clients(gateway, Nanos::ZERO), 0, "what was sent before usherd started");
        pending.sent(gateway, 5100, SECOND);
        pending.sent(gateway, 5130, 5 * SECOND / 2);
        assert_eq!(pending.clients(gateway, 5 * SECOND / 2), 130);
        assert_eq!(pending.points(gateway, &report(100, 100), 5 * SECOND / 2), 260, "two SAs each");
        assert_eq!(
            pending.points(gateway, &report(100, 300), 5 * SECOND / 2),
            500,
            "four; 5 % without proof"
        );
        // The report shows those that settled; the 30 of half a second ago are on their way.
        pending.reported(gateway, &report(200, 200), UPDATE);
        assert_eq!(pending.clients(gateway, UPDATE), 30);
        // Its growth accounts for 20 of them before they had to be there.
        pending.reported(gateway, &report(220, 220), UPDATE + SECOND / 10);
        assert_eq!(pending.clients(gateway, UPDATE + SECOND / 10), 10);
        let end = 5 * SECOND / 2 + 2 * UPDATE;
        assert_eq!((pending.clients(gateway, end - Nanos::new(1)), pending.clients(gateway, end)), (10, 0));
    }

    #[test]
    fn a_counter_that_restarts_adds_nothing_and_goes_on() {
        let mut pending = Pending::new(UPDATE);
        pending.sent(address(1), 1000, Nanos::ZERO);
        pending.sent(address(1), 7, Nanos::new(1));
        assert_eq!(pending.clients(address(1), Nanos::new(1)), 0);
        pending.sent(address(1), 10, Nanos::new(2));
        assert_eq!(pending.clients(address(1), Nanos::new(2)), 3);
    }

    #[test]
    fn beyond_the_unproven_it_is_twice_what_the_growth_confirms() {
        let mut pending = Pending::new(UPDATE);
        let gateway = address(1);
        let mut now = Nanos::ZERO;
        pending.sent(gateway, 0, now);
        pending.reported(gateway, &report(1000, 1000), now);
        now += UPDATE;
        pending.sent(gateway, 1000, now);
        // Of 2000 SAs that 1000 clients should become 400 came: two fifths of what follows are believed.
        pending.reported(gateway, &report(1200, 1200), now);
        now += SECOND;
        pending.sent(gateway, 2000, now);
        let clients = pending.clients(gateway, now);
        assert_eq!(clients, 1800);
        assert_eq!(u64::from(pending.points(gateway, &report(1200, 1200), now)), clients * 2 * 2 / 5);
    }

    #[test]
    fn who_proves_more_than_it_was_sent_proves_what_it_was_sent() {
        let mut pending = Pending::new(UPDATE);
        let (liar, honest) = (address(1), address(2));
        for gateway in [liar, honest] {
            pending.sent(gateway, 0, Nanos::ZERO);
            pending.reported(gateway, &report(1000, 1000), Nanos::ZERO);
        }
        pending.sent(liar, 100, SECOND);
        pending.sent(honest, 9900, SECOND);
        pending.reported(liar, &report(50_000, 50_000), UPDATE);
        pending.reported(honest, &report(1000, 1000), UPDATE);
        pending.sent(honest, 19_900, UPDATE + Nanos::new(1));
        assert_eq!(pending.points(honest, &report(1000, 1000), UPDATE + Nanos::new(1)), UNPROVEN as u32);
    }

    /// Ten seconds of true clients, which earn the counters full belief, then a million forged requests a second for a
    /// minute, in slots of the very choice that they influence, at members of all sizes.
    #[test]
    fn a_million_forged_requests_a_second_close_no_healthy_gateway() {
        const TRUE_TICKS: u64 = 200;
        let sizes: [u32; 6] = [100_000, 40_000, 10_000, 5_000, 2_000, 1_000];
        let loads: [u64; 6] = [3000, 3200, 2900, 3400, 3100, 3300];
        let gateways: Vec<IpAddr> = (1..=6).map(address).collect();
        let mut reports: Vec<Report> = std::iter::zip(sizes, loads)
            .map(|(max_session, load)| {
                let sas = (u64::from(max_session) * load / 20_000) as u32;
                Report { ike: sas, child: sas, max_session, ..Report::default() }
            })
            .collect();
        let mut pending = Pending::new(UPDATE);
        let mut budget = MoveBudget::default();
        let mut assignment = Assignment::default();
        let mut counters = [0u64; 6];
        let (mut forged, mut most, mut least_left) = (0u64, 0, usize::MAX);
        for tick in 0..TRUE_TICKS + 1200 {
            let now = tick * SECOND / 20;
            for (index, gateway) in gateways.iter().enumerate() {
                pending.sent(*gateway, counters[index], now);
                // Each reports at a moment of its own; of the true clients each has become two SAs by then.
                if tick % 60 == index as u64 * 9 {
                    if tick <= TRUE_TICKS {
                        let sas = (u64::from(sizes[index]) * loads[index] / 20_000 + counters[index]) as u32;
                        (reports[index].ike, reports[index].child) = (sas, sas);
                    }
                    pending.reported(*gateway, &reports[index], now);
                }
            }
            let candidates: Vec<Candidate> = (0..6)
                .map(|index| Candidate {
                    address: gateways[index],
                    is_self: index == 0,
                    priority: 100,
                    max_session: sizes[index],
                    load: Some(Percent::hundredths(loads[index])),
                    pending: pending.points(gateways[index], &reports[index], now),
                    usable: true,
                })
                .collect();
            most = most.max(candidates.iter().map(|candidate| candidate.pending).max().unwrap_or(0));
            let chosen = choose(&candidates, 5, Selection::Spread);
            assert!(chosen.iter().all(|chosen| chosen.weight > 0), "at {now:?} ns: {chosen:?}");
            let members: Vec<Gateway> = chosen
                .iter()
                .map(|chosen| Gateway {
                    address: chosen.address,
                    weight: chosen.weight,
                    priority: 100,
                    usable: true,
                    is_self: false,
                    origin: Origin::Static,
                })
                .collect();
            let mut left = budget.left(now);
            let allowed = left;
            assignment = assign(&assignment, &members, &mut left);
            budget.spend(allowed - left, now);
            let requests = if tick < TRUE_TICKS { 20 } else { 50_000 };
            for (index, gateway) in gateways.iter().enumerate() {
                let share = assignment.share(*gateway);
                least_left = least_left.min(share);
                counters[index] += requests * share as u64 / 1024;
                forged += if tick < TRUE_TICKS { 0 } else { requests * share as u64 / 1024 };
            }
        }
        assert!(forged > 59_000_000, "{forged} requests");
        assert!(least_left > 0, "a gateway held no slot");
        assert_eq!(most, 10_000, "the counters were believed when it began");
        for (index, gateway) in gateways.iter().enumerate() {
            let believed = pending.points(*gateway, &reports[index], (TRUE_TICKS + 1200) * SECOND / 20);
            assert_eq!(u64::from(believed), UNPROVEN, "no growth confirmed what came since");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Sent(u8, u64),
        Reported(u8, u32, u32),
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let total = prop_oneof![0u64..10_000, Just(u64::MAX), Just(0)];
        let sent = (1u8..4, total).prop_map(|(host, total)| Step::Sent(host, total));
        let sas = || prop_oneof![0u32..1000, Just(u32::MAX)];
        let reported = (1u8..4, sas(), sas()).prop_map(|(host, ike, child)| Step::Reported(host, ike, child));
        proptest::collection::vec((0..UPDATE.get(), prop_oneof![sent, reported]), 0..60)
    }

    proptest! {
        #[test]
        fn pending_load_is_never_negative_nor_past_its_time(steps in steps(), max_session in 0u32..100_000) {
            let mut pending = Pending::new(UPDATE);
            let mut now = Nanos::ZERO;
            // What was sent to whom and when, and the counter as last seen.
            let mut sent: Vec<(u8, Nanos, u64)> = Vec::new();
            let mut totals: BTreeMap<u8, u64> = BTreeMap::new();
            for (pause, step) in steps {
                now += Nanos::new(pause);
                match step {
                    Step::Sent(host, total) => {
                        pending.sent(address(host), total, now);
                        let before = totals.insert(host, total).unwrap_or(total);
                        sent.push((host, now, total.saturating_sub(before)));
                    }
                    Step::Reported(host, ike, child) => drop(pending.reported(address(host), &report(ike, child), now)),
                }
                for host in 1..4 {
                    let young = sent.iter().filter(|(to, at, _)| *to == host && now.since(*at) < 2 * UPDATE);
                    let most = young.fold(0u64, |sum, (.., count)| sum.saturating_add(*count));
                    prop_assert!(pending.clients(address(host), now) <= most);
                    let report = Report { max_session, ..report(20, 20) };
                    prop_assert!(pending.points(address(host), &report, now) <= 10_000);
                    prop_assert!(pending.members.get(&address(host)).is_none_or(|m| m.sent.len() <= 70));
                }
                prop_assert!(pending.proofs.len() <= 70, "{} proofs kept", pending.proofs.len());
            }
            for host in 1..4 {
                prop_assert_eq!(pending.clients(address(host), now + 2 * UPDATE), 0);
                prop_assert_eq!(pending.points(address(host), &report(20, 20), now + 2 * UPDATE), 0);
            }
        }
    }
}

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
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Pending load that is believed without proof, hundredths of a percent of `max-session`.
pub const UNPROVEN: u64 = 500;

/// SAs that a client becomes while a member has too few to measure: an IKE SA and an IPsec SA.
const SAS_AT_FIRST: (u64, u64) = (2, 1);
/// IKE SAs from which on a member's own average of SAs a client is used
const MEASURABLE: u32 = 10;
/// The longest that a redirected client takes until the member's load shows it
const SETTLE_NS: u64 = 1_000_000_000;
/// Into how many parts an update interval is cut; clients sent within one are forgotten together
const PARTS: u64 = 32;

/// The pending load of every member.
#[derive(Clone, Debug)]
pub struct Pending {
    update_ns: u64,
    members: BTreeMap<IpAddr, Member>,
    /// When, how many SAs the clients should have become, how many of them the members have grown by
    proofs: VecDeque<(u64, u64, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// The counter as last read; `None` before the first time
    total: Option<u64>,
    /// When, how many clients; oldest first
    sent: VecDeque<(u64, u64)>,
    /// Clients sent since the last report
    since_report: u64,
    /// SAs in the last report
    sas: Option<u64>,
}

impl Pending {
    /// Nothing pending; members report every `update_ns`.
    #[must_use]
    pub fn new(update_ns: u64) -> Pending {
        Pending { update_ns: update_ns.max(1), members: BTreeMap::new(), proofs: VecDeque::new() }
    }

    /// Members report every `update_ns` from now on.
    pub fn configure(&mut self, update_ns: u64) {
        self.update_ns = update_ns.max(1);
    }

    fn lifetime_ns(&self) -> u64 {
        self.update_ns.saturating_mul(2)
    }

    fn part_ns(&self) -> u64 {
        (self.update_ns / PARTS).max(1)
    }

    /// The data planes have redirected `total` new clients to `address` since they started. The first time, and after
    /// a fall (a data plane restarted or left), only the growth from here on counts.
    pub fn sent(&mut self, address: IpAddr, total: u64, now_ns: u64) {
        let (part_ns, lifetime_ns) = (self.part_ns(), self.lifetime_ns());
        let member = self.members.entry(address).or_default();
        let before = member.total.replace(total);
        let new = before.map_or(0, |before| total.saturating_sub(before));
        if new == 0 {
            return;
        }
        member.since_report = member.since_report.saturating_add(new);
        match member.sent.back_mut() {
            Some((at, count)) if now_ns.saturating_sub(*at) < part_ns => *count = count.saturating_add(new),
            _ => member.sent.push_back((now_ns, new)),
        }
        member.expire(now_ns, lifetime_ns);
    }

    /// The member at `address` reported: clients that had time to show in it, and those that its growth accounts for,
    /// are pending no more.
    pub fn reported(&mut self, address: IpAddr, report: &Report, now_ns: u64) {
        let lifetime_ns = self.lifetime_ns();
        let settle_ns = SETTLE_NS.min(self.update_ns / 2);
        let part_ns = self.part_ns();
        let (sas, clients) = sas_per_client(report);
        let now_sas = u64::from(report.ike) + u64::from(report.child);
        let member = self.members.entry(address).or_default();
        let grown = member.sas.replace(now_sas).map_or(0, |before| now_sas.saturating_sub(before));
        let expected = std::mem::take(&mut member.since_report).saturating_mul(sas) / clients;

        let settled = member.sent.iter().filter(|(at, _)| now_ns.saturating_sub(*at) >= settle_ns);
        let settled = settled.fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        member.forget(settled.max(grown.saturating_mul(clients) / sas));

        // Nobody proves more than it was given: a member that lies can speak for its own share at most.
        let proven = grown.min(expected);
        if expected > 0 {
            match self.proofs.back_mut() {
                Some((at, sum, proofs)) if now_ns.saturating_sub(*at) < part_ns => {
                    (*sum, *proofs) = (sum.saturating_add(expected), proofs.saturating_add(proven));
                }
                _ => self.proofs.push_back((now_ns, expected, proven)),
            }
        }
        while self.proofs.front().is_some_and(|(at, ..)| now_ns.saturating_sub(*at) > lifetime_ns) {
            self.proofs.pop_front();
        }
    }

    /// The member at `address` left the cluster.
    pub fn forget(&mut self, address: IpAddr) {
        self.members.remove(&address);
    }

    /// Clients on their way to `address`, as the counters say.
    #[must_use]
    pub fn clients(&self, address: IpAddr, now_ns: u64) -> u64 {
        let lifetime_ns = self.lifetime_ns();
        let Some(member) = self.members.get(&address) else { return 0 };
        let young = member.sent.iter().filter(|(at, _)| now_ns.saturating_sub(*at) < lifetime_ns);
        young.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The pending load of the member at `address`, whose last report is `report`: hundredths of a percent of its
    /// `max-session`, 0 to 10000.
    #[must_use]
    pub fn points(&self, address: IpAddr, report: &Report, now_ns: u64) -> u32 {
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
    fn forget(&mut self, mut clients: u64) {
        while let Some((_, count)) = self.sent.front_mut() {
            if *count > clients {
                *count -= clients;
                return;
            }
            clients -= *count;
            self.sent.pop_front();
        }
    }

    fn expire(&mut self, now_ns: u64, lifetime_ns: u64) {
        while self.sent.front().is_some_and(|(at, _)| now_ns.saturating_sub(*at) >= lifetime_ns) {
            self.sent.pop_front();
        }
    }
}

/// How many SAs how many clients of this member have.
fn sas_per_client(report: &Report) -> (u64, u64) {
    if report.ike < MEASURABLE {
        return SAS_AT_FIRST;
    }
    (u64::from(report.ike) + u64::from(report.child), u64::from(report.ike))
}

//! A surge: so many clients at once that the reported loads say little about who will be the least loaded.
//!
//! `load-normalization` says which difference of load counts as none. Clients who would lift the whole least-loaded set by
//! more than that before the members' next reports make it the wrong set: it would fill up while those beside it stand
//! idle, and slots that move slowly would come too late. While a surge lasts every usable member takes clients, by
//! its headroom; as it begins slots move at once.
//!
//! Anybody can make one, by forging requests. It closes no gateway, and a gateway that is overloaded stays out of the choice.
//! It begins without proof, for a burst may be over before the members' reports show it; but once they could have shown it,
//! only twice the share of the clients that their growth of SAs confirms is believed, so that forged requests do not hold a
//! surge open.

use super::member::{Percent, Report};
use super::pending::{SETTLE_NS, clients_of};
use crate::types::Nanos;
use std::collections::VecDeque;

/// Clients of so long a time are taken for the rate at which they come, ns.
const WINDOW_NS: Nanos = Nanos::from_millis(100);
/// Fewer clients than this within the window say nothing about a rate.
const ENOUGH: u64 = 20;
/// Reports of the longest time that [`Surge::believed`] looks back, at one per [`WINDOW_NS`].
const MAX_PROOFS: usize = 1300;
/// As a surge begins, its slots move freely for so long: two or three choices, as the first sees only its first clients, ns.
const FREE_NS: Nanos = Nanos::from_millis(125);

/// `load-normalization` while a surge lasts: every usable member is in the set.
pub const ALL: u8 = 100;

/// Returns how many clients lift the least-loaded set by `points`, which is `load-normalization`; `None` where it has every member in
/// it. `members` are the usable ones that report, with their prioritized loads. As reported: pending load brings others into
/// the set, but slots follow it slowly.
#[must_use]
pub fn room<'a>(members: impl Iterator<Item = (Percent, &'a Report)> + Clone, points: u8) -> Option<u64> {
    let hundredths = |load: Percent| u32::from(load.as_hundredths());
    let edge = hundredths(members.clone().map(|(load, _)| load).min()?) + u32::from(points) * 100;
    let inside = members.clone().filter(|(load, _)| hundredths(*load) <= edge);
    let outside = members.clone().count() > inside.clone().count();
    outside.then(|| inside.map(|(_, report)| clients_of(report, points)).fold(0, u64::saturating_add))
}

/// State of a surge.
#[derive(Clone, Debug, Default)]
pub struct Surge {
    /// When, how many; oldest first
    sent: VecDeque<(Nanos, u64)>,
    /// When it began, and when it was last seen, ns
    lasts: Option<(Nanos, Nanos)>,
    /// Of each report: when, how many SAs the clients sent before it should have become, how many came
    proofs: VecDeque<(Nanos, u64, u64)>,
}

impl Surge {
    /// So many new clients were redirected, to whomever.
    pub fn sent(&mut self, clients: u64, now_ns: Nanos) {
        self.expire(now_ns);
        match self.sent.back_mut() {
            Some((at, count)) if *at == now_ns => *count = count.saturating_add(clients),
            _ if clients > 0 => self.sent.push_back((now_ns, clients)),
            _ => {}
        }
    }

    /// A member reported: of `expected` SAs of clients that were sent to it since its last report `grown` came.
    pub fn confirmed(&mut self, (expected, grown): (u64, u64), now_ns: Nanos) {
        match self.proofs.back_mut() {
            Some((at, sum, proofs)) if now_ns.since(*at) < WINDOW_NS => {
                (*sum, *proofs) = (sum.saturating_add(expected), proofs.saturating_add(grown));
            }
            _ => self.proofs.push_back((now_ns, expected, grown)),
        }
        if self.proofs.len() > MAX_PROOFS {
            self.proofs.pop_front();
        }
    }

    /// Returns how many of `clients` are believed. Until a further report could show those before the last one, all.
    fn believed(&mut self, clients: u64, update_ns: Nanos, now_ns: Nanos) -> u64 {
        let lag = update_ns + SETTLE_NS;
        let kept = lag * 2;
        while self.proofs.front().is_some_and(|(at, ..)| now_ns.since(*at) >= kept) {
            self.proofs.pop_front();
        }
        let due = self.proofs.iter().filter(|(at, ..)| now_ns.since(*at) >= lag);
        let expected = due.fold(0u128, |sum, proof| sum + u128::from(proof.1));
        let grown = self.proofs.iter().fold(0u128, |sum, proof| sum + u128::from(proof.2));
        if expected < u128::from(ENOUGH) {
            return clients;
        }
        let believed = u128::from(clients).saturating_mul(grown * 2) / expected;
        believed.min(u128::from(clients)) as u64
    }

    fn expire(&mut self, now_ns: Nanos) {
        while self.sent.front().is_some_and(|(at, _)| now_ns.since(*at) >= WINDOW_NS) {
            self.sent.pop_front();
        }
    }

    /// Looks whether there is one now, with the [`room`] that there is. A surge ends when for two update intervals there
    /// was none, or at once when its clients turn out to be forged.
    pub fn judge(&mut self, room: Option<u64>, update_ns: Nanos, now_ns: Nanos) {
        self.expire(now_ns);
        let clients = self.sent.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let exceeds = |clients: u64| {
            let coming = u128::from(clients) * u128::from(update_ns.get()) / u128::from(WINDOW_NS.get());
            clients >= ENOUGH && room.is_some_and(|room| coming > u128::from(room))
        };
        let believed = self.believed(clients, update_ns, now_ns);
        let seen = exceeds(believed);
        self.lasts = match self.lasts {
            _ if exceeds(clients) && !seen => None,
            Some((since, _)) if seen => Some((since, now_ns)),
            None if seen => Some((now_ns, now_ns)),
            lasts => lasts.filter(|(_, last)| now_ns.since(*last) < update_ns * 2),
        };
    }

    /// It lasts.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lasts.is_some()
    }

    /// For how long it has lasted, ns.
    #[must_use]
    pub fn age(&self, now_ns: Nanos) -> Option<Nanos> {
        self.lasts.map(|(since, _)| now_ns.since(since))
    }

    /// It has just begun: slots move freely.
    #[must_use]
    pub fn begins(&self, now_ns: Nanos) -> bool {
        self.age(now_ns).is_some_and(|age| age < FREE_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = Nanos::from_millis(1);
    const UPDATE: Nanos = Nanos::from_secs(3);

    /// Returns whether there is a surge at each turn of 50 ms at which so many clients have come.
    fn turns(room: Option<u64>, clients: &[u64]) -> Vec<bool> {
        let mut surge = Surge::default();
        let turn = |(index, clients): (usize, &u64)| {
            let now = index as u64 * 50 * MS;
            surge.sent(*clients, now);
            surge.judge(room, UPDATE, now);
            surge.is_on()
        };
        clients.iter().enumerate().map(turn).collect()
    }

    #[test]
    fn it_is_a_surge_when_the_clients_of_an_update_interval_would_fill_the_room() {
        // 333 in a window that is half over are 9,990 in three seconds.
        assert_eq!(turns(Some(9989), &[333]), [true]);
        assert_eq!(turns(Some(9990), &[333, 333]), [false, true]);
        assert_eq!(turns(Some(100_000), &[333; 40]), [false; 40]);
        assert_eq!(turns(None, &[1_000_000; 3]), [false; 3], "nobody is outside");
        assert_eq!(turns(Some(0), &[1; 40]), [false; 40], "a handful is no rate");
    }

    #[test]
    fn it_lasts_two_update_intervals_and_begins_once() {
        let mut surge = Surge::default();
        surge.sent(1000, Nanos::ZERO);
        surge.judge(Some(10), UPDATE, Nanos::ZERO);
        assert!(surge.begins(Nanos::ZERO) && surge.begins(FREE_NS - Nanos::new(1)) && !surge.begins(FREE_NS));
        surge.sent(1000, UPDATE);
        surge.judge(Some(10), UPDATE, UPDATE);
        assert!(surge.is_on() && !surge.begins(UPDATE));
        surge.judge(Some(10), UPDATE, UPDATE + WINDOW_NS - Nanos::new(1));
        let last = UPDATE + WINDOW_NS - Nanos::new(1);
        surge.judge(Some(10), UPDATE, last + 2 * UPDATE - Nanos::new(1));
        assert!(surge.is_on());
        surge.judge(Some(10), UPDATE, last + 2 * UPDATE);
        assert!(!surge.is_on() && !surge.begins(last + 2 * UPDATE));
    }

    /// Clients come at 6,000 a second where there is room for 1,000 until the next report, for half a minute; of their SAs
    /// this share comes. Returns the seconds for which that is a surge.
    fn surging(percent: u64) -> Vec<u64> {
        let mut surge = Surge::default();
        let mut seconds = Vec::new();
        let mut grown = 0;
        for turn in 0..600u64 {
            let now = turn * 50 * MS;
            surge.sent(300, now);
            if turn % 60 == 59 {
                // A report shows what came before the last second.
                let all = turn.saturating_sub(20) * 600 * percent / 100;
                surge.confirmed((60 * 600, all - grown), now);
                grown = all;
            }
            surge.judge(Some(1000), UPDATE, now);
            if turn % 20 == 0 && surge.is_on() {
                seconds.push(turn / 20);
            }
        }
        seconds
    }

    #[test]
    fn forged_requests_do_not_hold_a_surge_open() {
        assert_eq!(surging(100), (0..30).collect::<Vec<_>>(), "one that is confirmed lasts");
        assert_eq!(surging(40).len(), 30, "also when some of the clients give up");
        let forged = surging(0);
        assert!(forged.len() <= 8 && forged.iter().all(|second| *second < 8), "{forged:?}");
    }

    #[test]
    fn the_room_is_that_of_the_least_loaded_set() {
        let report = |max_session, ike, child| Report { max_session, ike, child, ..Report::default() };
        let all = [
            (Percent::hundredths(1000), report(1000, 0, 0)),
            (Percent::hundredths(1500), report(2000, 500, 1500)),
            (Percent::hundredths(1501), report(5000, 0, 0)),
        ];
        let room =
            |count: usize, points| room(all[..count].iter().map(|(load, report)| (*load, report)), points);
        assert_eq!(room(3, 5), Some(25 + 25), "two SAs a client, and four");
        assert_eq!(room(3, 4), Some(20));
        assert_eq!(
            (room(3, 6), room(2, 5), room(1, 5), room(0, 5)),
            (None, None, None, None),
            "nobody is outside"
        );
    }

    #[test]
    fn what_nobody_judges_takes_no_room() {
        let mut surge = Surge::default();
        for turn in 0..100_000u64 {
            surge.sent(1, turn * MS);
            surge.confirmed((1, 1), turn * 1000 * MS);
        }
        assert!(surge.sent.len() as u64 <= WINDOW_NS / MS && surge.proofs.len() <= MAX_PROOFS);
    }

    #[test]
    fn no_number_is_too_great() {
        let mut surge = Surge::default();
        surge.sent(u64::MAX, Nanos::MAX);
        surge.sent(u64::MAX, Nanos::MAX);
        surge.judge(Some(u64::MAX), Nanos::MAX, Nanos::MAX);
        assert!(surge.is_on());
    }
}

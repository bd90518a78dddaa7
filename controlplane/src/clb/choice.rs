//! Which members get clients now, and in which proportion.
//!
//! The members whose load is within `load-normalization` of the least form the least-loaded set, which shares the
//! clients in proportion to the headroom: 100 - Prioritized - pending percent, 1 at least, of `max-session`. Counted
//! in sessions, because a percent of a large gateway is more clients than one of a small: shares by percent alone
//! would fill the small gateway first, and the shares would have to move all through a burst that fits them at its
//! start. Between gateways of one size it is the percentages that count.
//!
//! Pending load (see [`super::pending`]) shapes shares only: it can bring further members into the set, when it lifts
//! the least loaded to their level, and it never puts one out. So a burst spreads, and forged requests close no gateway.
//!
//! In a surge (see [`super::surge`]) every usable member is in the set.
//!
//! A gateway that reports no load (`static-gateway`) is taken for one of the set's average headroom, by its priority:
//! at priority 100 it gets what a member of the set gets on average, at 50 half of that. With no member that reports,
//! static gateways share by their priorities alone.

use super::member::Percent;
use std::net::IpAddr;

/// Use of the least-loaded set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Selection {
    /// The set shares the clients
    #[default]
    Spread,
    /// All clients go to the least loaded
    Strict,
}

/// A gateway that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address that clients are sent to
    pub address: IpAddr,
    /// It is this node
    pub is_self: bool,
    /// 1-100; weighs gateways that report no load (a load is Prioritized by it already)
    pub priority: u8,
    /// Prioritized load; `None` for a gateway that reports none
    pub load: Option<Percent>,
    /// `max-session`, 1-100000; of a gateway that reports no load it does not matter
    pub max_session: u32,
    /// Pending load, hundredths of a percent
    pub pending: u32,
    /// Alive, healthy, neither overloaded nor draining
    pub usable: bool,
}

/// A candidate after the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Address that clients are sent to
    pub address: IpAddr,
    /// Share of the clients relative to the others': headroom in ten-thousandths of a session; 0: not chosen
    pub weight: u32,
    /// The least loaded of all: what `show` marks `*`
    pub least: bool,
}

/// The least headroom that is counted, hundredths of a percent.
const FLOOR: u32 = 100;
/// The greatest `max-session`: with it a weight stays within 32 bits.
const MOST_SESSIONS: u32 = 100_000;

/// Returns the share of each candidate, in the order of the candidates. `normalization` is in percentage points.
#[must_use]
pub fn choose(candidates: &[Candidate], normalization: u8, selection: Selection) -> Vec<Chosen> {
    let load = |c: &Candidate| c.load.filter(|_| c.usable).map(|load| u32::from(load.as_hundredths()));
    let level = |c: &Candidate| load(c).map(|load| load.saturating_add(c.pending));
    // Of equals the first address, so that every node and every run marks the same one.
    let reporting = candidates.iter().filter_map(|c| Some((level(c)?, load(c)?, c.address)));
    let least = reporting.min();
    let edge = least.map(|(level, ..)| level.saturating_add(u32::from(normalization) * 100));
    let best = match least {
        Some((.., address)) => Some(address),
        None => {
            let unknown = candidates.iter().filter(|c| c.usable);
            unknown.min_by_key(|c| (std::cmp::Reverse(c.priority), c.address)).map(|c| c.address)
        }
    };

    let full = u32::from(Percent::FULL.as_hundredths());
    let headroom = |c: &Candidate| {
        let inside = load(c).zip(edge).is_some_and(|(load, edge)| load <= edge);
        let percent = full.saturating_sub(level(c).unwrap_or(full)).max(FLOOR);
        inside.then(|| percent * c.max_session.clamp(1, MOST_SESSIONS))
    };
    let set: Vec<u32> = candidates.iter().filter_map(headroom).collect();
    let sum: u64 = set.iter().map(|headroom| u64::from(*headroom)).sum();
    let average = sum.checked_div(set.len() as u64).unwrap_or(full.into());
    candidates
        .iter()
        .map(|c| {
            let share = match c.load {
                _ if !c.usable => 0,
                Some(_) => headroom(c).unwrap_or(0),
                None => (average * u64::from(c.priority.clamp(1, 100)) / 100) as u32,
            };
            let weight = match selection {
                Selection::Spread => share,
                Selection::Strict => u32::from(best == Some(c.address)),
            };
            Chosen { address: c.address, weight, least: best == Some(c.address) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clb::{Member, Origin};
    use crate::publish::{Assignment, assign};
    use platform::snapshot::SLOTS;
    use proptest::prelude::*;

    fn candidate(host: u8, load: Option<u64>) -> Candidate {
        Candidate {
            address: IpAddr::from([192, 0, 2, host]),
            is_self: host == 1,
            priority: 100,
            max_session: 1000,
            load: load.map(|percent| Percent::hundredths(percent * 100)),
            pending: 0,
            usable: true,
        }
    }

    fn weights(candidates: &[Candidate], normalization: u8, selection: Selection) -> Vec<u32> {
        choose(candidates, normalization, selection).iter().map(|chosen| chosen.weight).collect()
    }

    fn least(candidates: &[Candidate], selection: Selection) -> Vec<bool> {
        choose(candidates, 5, selection).iter().map(|chosen| chosen.least).collect()
    }

    #[test]
    fn the_least_loaded_set_shares_by_headroom() {
        let all = [candidate(1, Some(40)), candidate(2, Some(45)), candidate(3, Some(46))];
        assert_eq!(weights(&all, 5, Selection::Spread), [6_000_000, 5_500_000, 0]);
        assert_eq!(weights(&all, 6, Selection::Spread), [6_000_000, 5_500_000, 5_400_000]);
        assert_eq!(weights(&all, 5, Selection::Strict), [1, 0, 0]);
        assert_eq!(least(&all, Selection::Spread), [true, false, false]);
        let twice_the_size = [all[0], Candidate { max_session: 2000, ..all[1] }];
        assert_eq!(weights(&twice_the_size, 5, Selection::Spread), [6_000_000, 11_000_000]);
        let full = [candidate(1, Some(100)), candidate(2, Some(98))];
        assert_eq!(weights(&full, 5, Selection::Spread), [100_000, 200_000], "one percent at least");
    }

    #[test]
    fn who_is_not_usable_is_no_measure_for_the_others() {
        let mut all = [candidate(1, Some(10)), candidate(2, Some(45)), candidate(3, Some(50))];
        all[0].usable = false;
        assert_eq!(weights(&all, 5, Selection::Spread), [0, 5_500_000, 5_000_000]);
        assert_eq!(least(&all, Selection::Spread), [false, true, false]);
        all[1].usable = false;
        all[2].usable = false;
        assert_eq!(weights(&all, 5, Selection::Spread), [0, 0, 0], "nobody is left: nothing is redirected");
        assert_eq!(least(&all, Selection::Strict), [false, false, false]);
    }

    #[test]
    fn pending_load_brings_the_next_in() {
        let mut all = [candidate(1, Some(20)), candidate(2, Some(50))];
        assert_eq!(weights(&all, 5, Selection::Spread), [8_000_000, 0]);
        all[0].pending = 2500;
        assert_eq!(weights(&all, 5, Selection::Spread), [5_500_000, 5_000_000]);
        all[0].pending = 3001;
        assert_eq!(weights(&all, 5, Selection::Strict), [0, 1]);
    }

    #[test]
    fn gateways_that_report_nothing_count_as_average_by_their_priority() {
        let half = Candidate { priority: 50, ..candidate(3, None) };
        let all = [candidate(1, Some(40)), candidate(2, Some(45)), half, candidate(4, None)];
        assert_eq!(weights(&all, 5, Selection::Spread), [6_000_000, 5_500_000, 2_875_000, 5_750_000]);
        assert_eq!(weights(&all, 5, Selection::Strict), [1, 0, 0, 0]);
        assert_eq!(weights(&all[2..], 5, Selection::Spread), [5000, 10_000]);
        assert_eq!(weights(&all[2..], 5, Selection::Strict), [0, 1]);
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let load = proptest::option::weighted(0.8, 0u64..=10_000);
        let one = (load, 0u32..=20_000, any::<u8>(), 0u32..=200_000, any::<bool>());
        proptest::collection::btree_map(1u8..30, one, 0..12).prop_map(|all| {
            all.into_iter()
                .map(|(host, (load, pending, priority, max_session, usable))| Candidate {
                    load: load.map(Percent::hundredths),
                    priority,
                    max_session,
                    pending,
                    usable,
                    ..candidate(host, None)
                })
                .collect()
        })
    }

    fn selections() -> impl Strategy<Value = Selection> {
        prop_oneof![Just(Selection::Spread), Just(Selection::Strict)]
    }

    fn members(candidates: &[Candidate], chosen: &[Chosen]) -> Vec<Member> {
        std::iter::zip(candidates, chosen)
            .map(|(candidate, chosen)| Member {
                address: candidate.address,
                weight: chosen.weight,
                priority: candidate.priority,
                usable: candidate.usable,
                is_self: candidate.is_self,
                origin: Origin::Static,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn only_usable_gateways_ever_hold_slots_and_together_all(
            history in proptest::collection::vec((candidates(), 0usize..200), 1..6),
            normalization in 1u8..=100, selection in selections(),
        ) {
            let mut assignment = Assignment::default();
            for (candidates, budget) in history {
                let chosen = choose(&candidates, normalization, selection);
                prop_assert_eq!(&choose(&candidates, normalization, selection), &chosen);
                let usable = candidates.iter().filter(|candidate| candidate.usable).count();
                prop_assert_eq!(chosen.iter().filter(|chosen| chosen.least).count(), usable.min(1));
                let next = assign(&assignment, &members(&candidates, &chosen), &mut budget.clone());
                prop_assert_eq!(
                    &assign(&assignment, &members(&candidates, &chosen), &mut budget.clone()), &next,
                    "the same inputs give the same slots"
                );
                let mut held = 0;
                for candidate in &candidates {
                    let share = next.share(candidate.address);
                    prop_assert!(candidate.usable || share == 0, "{:?} holds {}", candidate, share);
                    held += share;
                }
                prop_assert_eq!(held, if usable > 0 { SLOTS } else { 0 });
                assignment = next;
            }
        }

        #[test]
        fn pending_load_puts_nobody_out(candidates in candidates(), normalization in 1u8..=100) {
            let calm: Vec<Candidate> =
                candidates.iter().map(|candidate| Candidate { pending: 0, ..*candidate }).collect();
            let calm = weights(&calm, normalization, Selection::Spread);
            let busy = weights(&candidates, normalization, Selection::Spread);
            prop_assert!(std::iter::zip(&calm, &busy).all(|(calm, busy)| *calm == 0 || *busy > 0));
        }
    }
}

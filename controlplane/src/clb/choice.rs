//! Which members get clients now, and in which proportion.
//!
//! The members whose load is within `load-normalization` of the least form the least-loaded set, which shares the
//! clients in proportion to its headroom, 100 - Prioritized - pending, 1 at least. Pending load (see
//! [`super::pending`]) shapes shares only: it can bring further members into the set, when it lifts the least loaded
//! to their level, and it never puts one out. So a burst spreads, and forged requests close no gateway.
//!
//! A gateway that reports no load (`static-gateway`) is taken for one of the set's average headroom, by its priority:
//! at priority 100 it gets what a member of the set gets on average, at 50 half of that. With no member that reports,
//! static gateways share by their priorities alone.

use super::member::Percent;
use std::net::IpAddr;

/// How the least-loaded set is used.
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
    /// Where clients are sent
    pub address: IpAddr,
    /// It is this node
    pub is_self: bool,
    /// 1-100; weighs gateways that report no load (a load is Prioritized by it already)
    pub priority: u8,
    /// Prioritized load; `None` for a gateway that reports none
    pub load: Option<Percent>,
    /// Pending load, hundredths of a percent
    pub pending: u32,
    /// Alive, healthy, neither overloaded nor draining
    pub usable: bool,
}

/// A candidate after the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where clients are sent
    pub address: IpAddr,
    /// Share of the clients relative to the others', hundredths of a percent of headroom; 0: not chosen
    pub weight: u32,
    /// The least loaded of all: what `show` marks `*`
    pub least: bool,
}

/// The least headroom that is counted, hundredths of a percent.
const FLOOR: u32 = 100;

/// What each candidate gets, in the order of the candidates. `normalization` is in percentage points.
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

    let headroom = |c: &Candidate| {
        let inside = load(c).zip(edge).is_some_and(|(load, edge)| load <= edge);
        inside.then(|| {
            u32::from(Percent::FULL.as_hundredths()).saturating_sub(level(c).unwrap_or(0)).max(FLOOR)
        })
    };
    let set: Vec<u32> = candidates.iter().filter_map(headroom).collect();
    let average = match set.len() as u32 {
        0 => u32::from(Percent::FULL.as_hundredths()),
        members => set.iter().sum::<u32>() / members,
    };
    candidates
        .iter()
        .map(|c| {
            let share = match c.load {
                _ if !c.usable => 0,
                Some(_) => headroom(c).unwrap_or(0),
                None => (average * u32::from(c.priority.clamp(1, 100)) / 100).max(1),
            };
            let weight = match selection {
                Selection::Spread => share,
                Selection::Strict => u32::from(best == Some(c.address)),
            };
            Chosen { address: c.address, weight, least: best == Some(c.address) }
        })
        .collect()
}

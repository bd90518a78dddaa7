//! The operator's orders for the whole cluster, as registers that commute.
//!
//! `shutdown` is a register that the primary writes; the drain of each node is a register of its own, which the primary and
//! that node write. Each write raises the register's counter. Of two values of one register the one with the higher counter
//! wins; of two that were written at once, the one that takes the cluster or the node out of service. So merging commutes,
//! associates and repeats without effect: no order is lost, whatever way and in whatever sequence messages come.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Highest counter of a register: a cluster that gets an order every second reaches it in 136 years.
pub const MAX_COUNTER: u64 = u32::MAX as u64;
/// A peer may be ahead by this many orders. What claims more is not the cluster's history.
pub const MAX_LEAD: u64 = 1_000_000;
/// Drain registers, at most: one per member.
pub const MAX_DRAINS: usize = 64;

/// A switch with the number of times it was set. The derived order is the order of precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Register {
    /// Number of writes
    pub counter: u64,
    /// Its value: out of service
    pub on: bool,
}

/// Why an order cannot be given, or those of a peer are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No register is free
    #[error(
        "{MAX_DRAINS} nodes are draining already: return one to service with `no cluster drain ADDRESS` first"
    )]
    Full,
    /// A counter cannot be raised any further
    #[error(
        "the order's counter is at its limit {MAX_COUNTER}: delete usherd's state file on all nodes and restart them"
    )]
    Exhausted,
    /// A peer claims an impossible history
    #[error("counter {claimed} is more than {MAX_LEAD} ahead of this node's {known}")]
    Ahead {
        /// The peer's highest counter
        claimed: u64,
        /// This node's
        known: u64,
    },
}

/// All registers of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    shutdown: Register,
    drains: BTreeMap<IpAddr, Register>,
}

impl Orders {
    /// From registers as they were read; counters above the limit are not to be passed in.
    #[must_use]
    pub fn new(shutdown: Register, drains: BTreeMap<IpAddr, Register>) -> Orders {
        let mut orders = Orders { shutdown, drains };
        orders.trim();
        orders
    }

    /// The cluster is shut down.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.shutdown.on
    }

    /// The register of `shutdown`.
    #[must_use]
    pub fn shutdown(&self) -> Register {
        self.shutdown
    }

    /// The drain registers by node.
    #[must_use]
    pub fn drains(&self) -> &BTreeMap<IpAddr, Register> {
        &self.drains
    }

    /// The node is to be taken out of service.
    #[must_use]
    pub fn is_draining(&self, node: IpAddr) -> bool {
        self.drains.get(&node).is_some_and(|register| register.on)
    }

    /// The nodes that are to be taken out of service.
    pub fn draining(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.drains.iter().filter(|(_, register)| register.on).map(|(node, _)| *node)
    }

    /// The sum of all counters: it grows with every order, whoever gives it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counters().fold(0, u64::saturating_add)
    }

    fn counters(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.shutdown).chain(self.drains.values().copied()).map(|register| register.counter)
    }

    fn highest(&self) -> u64 {
        self.counters().max().unwrap_or(0)
    }

    /// Returns whether all counters are within their limit.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.highest() <= MAX_COUNTER && self.drains.len() <= MAX_DRAINS
    }

    /// Takes the later value of each register; true if anything changed.
    ///
    /// # Errors
    /// When the other's history is impossible; nothing changed then.
    pub fn merge(&mut self, other: &Orders) -> Result<bool, OrderError> {
        let (claimed, known) = (other.highest(), self.highest());
        if claimed > known.saturating_add(MAX_LEAD) || claimed > MAX_COUNTER {
            return Err(OrderError::Ahead { claimed, known });
        }
        let before = self.clone();
        self.shutdown = self.shutdown.max(other.shutdown);
        self.merge_registers(&other.drains);
        Ok(*self != before)
    }

    /// Takes the later value of each drain register of another group of this node; true if anything changed.
    pub fn merge_drains(&mut self, other: &Orders) -> bool {
        let before = self.drains.clone();
        self.merge_registers(&other.drains);
        self.drains != before
    }

    fn merge_registers(&mut self, other: &BTreeMap<IpAddr, Register>) {
        for (node, register) in other {
            let known = self.drains.entry(*node).or_default();
            *known = (*known).max(*register);
        }
        self.trim();
    }

    /// Keeps the registers that were written most often. Counters only grow, so trimming commutes with merging.
    fn trim(&mut self) {
        while self.drains.len() > MAX_DRAINS {
            let least = self.drains.iter().min_by_key(|(node, register)| (register.counter, **node));
            let Some(node) = least.map(|(node, _)| *node) else { return };
            self.drains.remove(&node);
        }
    }

    /// Shuts the cluster down, or brings it back; true if that changed anything.
    ///
    /// # Errors
    /// When the counter cannot be raised.
    pub fn set_shutdown(&mut self, on: bool) -> Result<bool, OrderError> {
        if self.shutdown.on == on {
            return Ok(false);
        }
        self.shutdown = Register { counter: next(self.shutdown.counter)?, on };
        Ok(true)
    }

    /// Takes a node out of service, or returns it. An order that repeats the register's value is an order all the same: it
    /// stands against the opposite one that another node gives at this moment. True if there is anything to make known.
    ///
    /// # Errors
    /// When no register is free, or the counter cannot be raised.
    pub fn set_drain(&mut self, node: IpAddr, on: bool) -> Result<bool, OrderError> {
        let Some(known) = self.drains.get(&node).copied() else {
            return if on { self.add_drain(node) } else { Ok(false) };
        };
        self.drains.insert(node, Register { counter: next(known.counter)?, on });
        Ok(true)
    }

    /// Adds a register, in place of one that says "in service" if need be.
    fn add_drain(&mut self, node: IpAddr) -> Result<bool, OrderError> {
        let mut counter = 1;
        if self.drains.len() >= MAX_DRAINS {
            let idle = self.drains.iter().filter(|(_, register)| !register.on);
            let least = idle.min_by_key(|(_, register)| register.counter).map(|(node, _)| *node);
            let lowest = self.drains.values().map(|register| register.counter).min();
            // Above the lowest, or the next merge with a peer that still has the removed one would drop it.
            counter = next(lowest.unwrap_or(0))?;
            self.drains.remove(&least.ok_or(OrderError::Full)?);
        }
        self.drains.insert(node, Register { counter, on: true });
        Ok(true)
    }
}

fn next(counter: u64) -> Result<u64, OrderError> {
    if counter < MAX_COUNTER { Ok(counter + 1) } else { Err(OrderError::Exhausted) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    #[test]
    fn a_drain_of_each_of_two_nodes_given_at_once_both_count() {
        let (mut b, mut c) = (Orders::default(), Orders::default());
        assert_eq!((b.set_drain(node(2), true), c.set_drain(node(3), true)), (Ok(true), Ok(true)));
        let mut primary = Orders::default();
        assert_eq!(
            (primary.merge(&c), primary.merge(&b), primary.merge(&b)),
            (Ok(true), Ok(true), Ok(false))
        );
        assert_eq!(primary.draining().collect::<Vec<_>>(), [node(2), node(3)]);
    }

    #[test]
    fn a_drain_during_a_shutdown_does_not_beat_no_shutdown() {
        let mut primary = Orders::default();
        primary.set_shutdown(true).unwrap();
        let mut member = primary.clone();
        member.set_drain(node(2), true).unwrap();
        primary.set_shutdown(false).unwrap();
        primary.merge(&member).unwrap();
        assert!(!primary.is_shutdown() && primary.is_draining(node(2)));
    }

    /// The primary returns a node to service, and before that has arrived the node is drained again.
    #[test]
    fn of_opposite_orders_given_at_once_the_drain_wins() {
        let mut primary = Orders::default();
        primary.set_drain(node(2), true).unwrap();
        let mut member = primary.clone();
        primary.set_drain(node(2), false).unwrap();
        member.set_drain(node(2), true).unwrap();
        primary.merge(&member).unwrap();
        member.merge(&primary).unwrap();
        assert_eq!((primary.is_draining(node(2)), &primary), (true, &member));
    }

    #[test]
    fn an_impossible_history_is_refused_and_no_counter_wraps() {
        let mut orders = Orders::default();
        let told = Orders::new(Register { counter: MAX_LEAD + 1, on: true }, BTreeMap::new());
        assert_eq!(orders.merge(&told), Err(OrderError::Ahead { claimed: MAX_LEAD + 1, known: 0 }));
        assert_eq!(orders, Orders::default());
        let last = Register { counter: MAX_COUNTER, on: true };
        let mut orders = Orders::new(last, [(node(1), last)].into());
        let before = orders.clone();
        assert_eq!(orders.set_shutdown(false), Err(OrderError::Exhausted));
        assert_eq!(orders.set_drain(node(1), false), Err(OrderError::Exhausted));
        assert_eq!(orders, before);
    }

    #[test]
    fn a_drain_beyond_the_limit_is_an_error_unless_a_register_is_idle() {
        let mut orders = Orders::default();
        for host in 0..MAX_DRAINS as u8 {
            orders.set_drain(node(host), true).unwrap();
        }
        let peer = orders.clone();
        assert_eq!(orders.set_drain(node(200), true), Err(OrderError::Full));
        orders.set_drain(node(7), false).unwrap();
        assert_eq!(orders.set_drain(node(200), true), Ok(true));
        assert!(orders.is_draining(node(200)) && !orders.is_draining(node(7)));
        orders.merge(&peer).unwrap();
        assert!(orders.is_draining(node(200)), "it outlives a merge with who does not know it yet");
        assert_eq!(orders.drains().len(), MAX_DRAINS);
    }

    fn orders() -> impl Strategy<Value = Orders> {
        let register = (0u64..6, any::<bool>()).prop_map(|(counter, on)| Register { counter, on });
        // More nodes than there are registers: trimming commutes as well.
        let drains = proptest::collection::btree_map((0u8..90).prop_map(node), register.clone(), 0..80);
        (register, drains).prop_map(|(shutdown, drains)| Orders::new(shutdown, drains))
    }

    proptest! {
        #[test]
        fn merging_commutes_associates_and_repeats_without_effect(a in orders(), b in orders(), c in orders()) {
            let merged = |all: &[&Orders]| {
                let mut into = all[0].clone();
                all[1..].iter().for_each(|other| { into.merge(other).unwrap(); });
                into
            };
            let once = merged(&[&a, &b, &c]);
            for all in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
                prop_assert_eq!(&merged(&all), &once);
            }
            prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &once);
            prop_assert_eq!(&merged(&[&once, &a, &b, &once]), &once);
        }

        /// Two nodes give orders in any sequence and exchange what they know at any moment: each node's last order stands, or
        /// was given at the same moment as the opposite one.
        #[test]
        fn no_order_is_lost(given in proptest::collection::vec((0usize..2, 0u8..4, any::<bool>(), any::<bool>()), 0..40)) {
            let mut sides = [Orders::default(), Orders::default()];
            // The last order of each node's register, if both sides knew all before it was given.
            let mut last: BTreeMap<IpAddr, bool> = BTreeMap::new();
            for (side, host, on, exchange) in given {
                if exchange {
                    let (a, b) = (sides[0].clone(), sides[1].clone());
                    sides[0].merge(&b).unwrap();
                    sides[1].merge(&a).unwrap();
                }
                sides[side].set_drain(node(host), on).unwrap();
                let other = sides[1 - side].drains().get(&node(host)).copied().unwrap_or_default();
                let own = sides[side].drains().get(&node(host)).copied().unwrap_or_default();
                if own > other { last.insert(node(host), on); } else { last.remove(&node(host)); }
            }
            let (a, b) = (sides[0].clone(), sides[1].clone());
            sides[0].merge(&b).unwrap();
            sides[1].merge(&a).unwrap();
            prop_assert_eq!(&sides[0], &sides[1]);
            for (node, on) in last {
                prop_assert_eq!(sides[0].is_draining(node), on);
            }
        }
    }
}

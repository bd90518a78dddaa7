//! Log lines that a peer, a flapping device or a busy operator can repeat: so many in a time, and what was held back is
//! counted. Each kind of line has its own limit in each place, so that one that floods hides no other.

use crate::types::Nanos;
use std::collections::BTreeMap;

/// Lets so many lines through in 10 s, and counts the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limiter {
    since: Option<Nanos>,
    passed: u32,
    held: u64,
}

impl Limiter {
    /// Returns whether one of at most `most` lines in 10 s may be written now (ns), and how many were held back before it.
    pub fn allow(&mut self, most: u32, now: Nanos) -> Option<u64> {
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            (self.since, self.passed) = (Some(now), 0);
        }
        if self.passed >= most {
            self.held += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.held))
    }
}

const WINDOW: Nanos = Nanos::from_secs(10);
/// Places that are kept apart; what is beyond shares one limit of its kind. Groups, ports and devices of the
/// configuration are fewer: this bounds what a mistake here could cost.
const MOST_PLACES: usize = 4096;

/// One limit a kind and place.
#[derive(Debug, Default)]
pub struct Limits {
    all: BTreeMap<(&'static str, String), Limiter>,
}

impl Limits {
    /// Returns whether a line of this `kind` (its mnemonic) about `place` may be written now (ns): `most` in 10 s. A line that
    /// ends a silence is preceded by one that says how many were held back.
    pub fn allow(&mut self, kind: &'static str, place: &str, most: u32, now: Nanos) -> bool {
        let room = self.all.len() < MOST_PLACES;
        let mut key = (kind, place.to_owned());
        if !room && !self.all.contains_key(&key) {
            key.1 = "other places".to_owned();
        }
        let held = self.all.entry(key).or_default().allow(most, now);
        if let Some(held @ 1..) = held {
            tracing::warn!("%SYS-4-SUPPRESSED: {place}: {held} lines %{kind} were not written");
        }
        held.is_some()
    }

    /// Forgets places that are no more.
    pub fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.all.retain(|(_, place), _| exists(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_floods_hides_no_other_and_no_other_group() {
        let mut limits = Limits::default();
        let written =
            (0..1000).filter(|_| limits.allow("HSRP-4-BADAUTH", "Te0/0/0 Grp 1", 5, Nanos::new(1))).count();
        assert_eq!(written, 5);
        assert!(limits.allow("HSRP-4-DUPADDR", "Te0/0/0 Grp 1", 5, Nanos::new(1)));
        assert!(limits.allow("HSRP-4-BADAUTH", "Te0/0/0 Grp 2", 5, Nanos::new(1)));
        assert!(!limits.allow("HSRP-4-BADAUTH", "Te0/0/0 Grp 1", 5, WINDOW));
        assert!(limits.allow("HSRP-4-BADAUTH", "Te0/0/0 Grp 1", 5, WINDOW + Nanos::new(1)));
    }

    #[test]
    fn what_was_held_back_is_told_with_the_next_line() {
        let mut limiter = Limiter::default();
        let passed: Vec<_> = (0..10).filter_map(|_| limiter.allow(3, Nanos::new(1))).collect();
        assert_eq!(passed, [0, 0, 0]);
        assert_eq!(limiter.allow(3, WINDOW + Nanos::new(1)), Some(7));
        assert_eq!(limiter.allow(3, WINDOW + Nanos::new(1)), Some(0));
    }

    #[test]
    fn places_are_bounded_and_forgotten_with_the_configuration() {
        let mut limits = Limits::default();
        for place in 0..MOST_PLACES + 100 {
            limits.allow("X", &place.to_string(), 1, Nanos::new(1));
        }
        assert_eq!(limits.all.len(), MOST_PLACES + 1);
        assert!(!limits.allow("X", "one more", 1, Nanos::new(1)), "it shares the limit of those beyond");
        limits.keep(|place| place == "7");
        assert_eq!(limits.all.len(), 1);
    }
}

//! Delays of the runner's loop: a histogram for `show standby internal`.

use crate::types::{Nanos, nanos};
use nix::sys::resource::{UsageWho, getrusage};
use std::time::Duration;

/// Upper bounds of the classes, in microseconds; the last class has none.
const BOUNDS_US: [u64; 9] = [100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// Counts of delays by class, and the longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS_US.len() + 1],
    longest: Nanos,
    longest_at: Nanos,
}

impl Histogram {
    /// Counts a delay of `ns` that ended at `now`.
    pub fn add(&mut self, ns: Nanos, now: Nanos) {
        let class =
            BOUNDS_US.iter().position(|bound| ns < Nanos::new(bound * 1000)).unwrap_or(BOUNDS_US.len());
        self.counts[class] += 1;
        if ns > self.longest {
            (self.longest, self.longest_at) = (ns, now);
        }
    }

    /// Number of delays, by upper bound; none: longer than all bounds.
    pub fn classes(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_US.into_iter().map(|us| Some(Duration::from_micros(us))).chain([None]);
        bounds.zip(self.counts)
    }

    /// The longest delay, and when it ended, ns.
    #[must_use]
    pub fn longest(&self) -> (Duration, Nanos) {
        (Duration::from(self.longest), self.longest_at)
    }
}

/// Delays of the runner's loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// From the moment at which a timer was due to the moment at which the loop went on: the machine's scheduling, or a
    /// turn before that took long
    pub late: Histogram,
    /// One turn of the loop: its own work
    pub turn: Histogram,
    /// A turn in which the thread slept, waiting for something that is not its own; preemption is none of these
    pub blocked: Histogram,
}

/// A turn of the loop that is being measured.
pub(super) struct Turn {
    /// When it began, ns
    pub began: Nanos,
    sleeps: i64,
}

impl Turn {
    pub(super) fn begin() -> Turn {
        Turn { began: nanos::now(), sleeps: sleeps() }
    }

    pub(super) fn end(self, stalls: &mut Stalls) {
        let now = nanos::now();
        let took = now.since(self.began);
        stalls.turn.add(took, now);
        if sleeps() > self.sleeps {
            stalls.blocked.add(took, now);
        }
    }
}

/// Returns the number of voluntary context switches of this thread.
fn sleeps() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_fall_into_classes_and_the_longest_is_kept() {
        let mut histogram = Histogram::default();
        for (at, us) in [(1, 99), (2, 100), (3, 4_999), (4, 70_000), (5, 200_000), (6, 5)] {
            histogram.add(Nanos::new(us * 1000), Nanos::new(at));
        }
        let counts: Vec<u64> = histogram.classes().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 1, 0, 0, 0, 1, 1]);
        assert_eq!(histogram.longest(), (Duration::from_millis(200), Nanos::new(5)));
    }
}

//! Detection that the whole machine stood still, by the clocks that disagree about it.
//!
//! CLOCK_MONOTONIC, by which leases run, does not count the time in which the machine was suspended; CLOCK_BOOTTIME does.
//! A paused virtual machine may wake with both unchanged, and only its wall clock is set right some time later. But an
//! operator and NTP set the wall clock too, so that a jump of it alone costs no role: it is a reason to say hello at
//! once, which a peer that has taken over answers at once. A stall of usherd alone shows in CLOCK_MONOTONIC itself, and
//! each machine sees it.

use crate::types::{Nanos, nanos};
use rustix::time::{ClockId, clock_gettime};
use std::time::SystemTime;

/// CLOCK_BOOTTIME is ahead by exactly the time suspended: anything beyond the reading's own error counts.
const SHORTEST_PAUSE: Nanos = Nanos::from_millis(10);
/// NTP slews what is less; a lease of the usual timers is longer.
const WALL_STEP: Nanos = Nanos::from_millis(1000);

/// The clocks, read one after the other, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// CLOCK_MONOTONIC before the others
    pub before: Nanos,
    /// CLOCK_BOOTTIME
    pub boot: Nanos,
    /// CLOCK_REALTIME
    pub wall: Nanos,
    /// CLOCK_MONOTONIC after them
    pub after: Nanos,
}

impl Reading {
    /// Reads the clocks.
    #[must_use]
    pub fn now() -> Reading {
        let before = nanos::now();
        let boot = clock_gettime(ClockId::Boottime);
        let boot = Nanos::from_secs(boot.tv_sec as u64) + Nanos::new(boot.tv_nsec as u64);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.map_or(Nanos::ZERO, Nanos::from);
        Reading { before, boot, wall, after: nanos::now() }
    }
}

/// A jump of a clock against CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// The machine stood still for so long, ns
    Paused(Nanos),
    /// The wall clock went ahead by so much, ns: it was set, or the machine stood still
    WallClock(Nanos),
}

/// The clocks as they were last read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// CLOCK_BOOTTIME and CLOCK_REALTIME less CLOCK_MONOTONIC, ns
    offsets: Option<(i128, i128)>,
}

impl Clocks {
    /// Returns the clock that jumped since the last reading.
    pub fn jump(&mut self, reading: Reading) -> Option<Jump> {
        let Reading { before, boot, wall, after } = reading;
        // Somewhere in this time the others were read: when usherd lost the processor in between, that is no jump.
        let error = i128::from(after.since(before).get());
        let offsets = [boot, wall].map(|clock| i128::from(clock.get()) - i128::from(before.get()));
        let Some((old_boot, old_wall)) = self.offsets else {
            self.offsets = Some((offsets[0], offsets[1]));
            return None;
        };
        let paused = offsets[0] - old_boot - error;
        let set = offsets[1] - old_wall - error;
        let length = |by: i128| Nanos::new(u64::try_from(by).unwrap_or(0));
        let jump = match (length(paused), length(set)) {
            (paused, _) if paused >= SHORTEST_PAUSE => Some(Jump::Paused(paused)),
            (_, set) if set >= WALL_STEP => Some(Jump::WallClock(set)),
            _ => None,
        };
        // Slewing and a clock set back are followed; of two readings of the same offsets the better one counts.
        let boot = if jump.is_some() { offsets[0] } else { offsets[0].min(old_boot) };
        self.offsets = Some((boot, offsets[1]));
        jump
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::from_secs(1);

    /// Clocks at `now`, suspended for `suspended` so far, with the wall clock `wall` ahead of where it began.
    fn reading(now: Nanos, suspended: Nanos, wall: Nanos) -> Reading {
        let boot = now + suspended + 5 * SECOND;
        Reading { before: now, boot, wall: 1_800_000_000 * SECOND + now + wall, after: now + Nanos::new(200) }
    }

    fn after(readings: &[Reading]) -> Option<Jump> {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.jump(reading(SECOND, Nanos::ZERO, SECOND)), None);
        readings.iter().map(|reading| clocks.jump(*reading)).fold(None, |last, jump| jump.or(last))
    }

    #[test]
    fn time_suspended_is_a_pause() {
        let Some(Jump::Paused(length)) =
            after(&[reading(SECOND + Nanos::new(1000), 3600 * SECOND, 3601 * SECOND)])
        else {
            panic!("not seen");
        };
        assert!(length.get().abs_diff(Nanos::from_secs(3600).get()) < 1_000_000, "{length:?}");
    }

    #[test]
    fn a_pause_is_told_once() {
        let mut clocks = Clocks::default();
        clocks.jump(reading(Nanos::ZERO, Nanos::ZERO, Nanos::ZERO));
        assert!(clocks.jump(reading(Nanos::new(1000), SECOND, SECOND)).is_some());
        assert_eq!(clocks.jump(reading(Nanos::new(2000), SECOND, SECOND)), None);
        assert!(clocks.jump(reading(Nanos::new(3000), 2 * SECOND, 2 * SECOND)).is_some(), "the next one too");
    }

    #[test]
    fn a_wall_clock_that_is_set_is_no_pause() {
        let hour = after(&[reading(2 * SECOND, Nanos::ZERO, 3601 * SECOND)]);
        assert!(matches!(hour, Some(Jump::WallClock(_))), "{hour:?}");
        assert_eq!(after(&[reading(2 * SECOND, Nanos::ZERO, Nanos::ZERO)]), None, "set back");
        assert_eq!(after(&[reading(2 * SECOND, Nanos::ZERO, SECOND + SECOND / 2)]), None, "a small step");
    }

    #[test]
    fn slewing_and_time_that_passes_are_nothing() {
        let day: Vec<Reading> = (1..86_400)
            .map(|second| reading(SECOND + second * SECOND, Nanos::ZERO, SECOND + second * SECOND / 2000))
            .collect();
        assert_eq!(after(&day), None);
    }

    #[test]
    fn losing_the_processor_between_two_clocks_is_no_pause() {
        let slow = |now: Nanos| Reading {
            after: now + 10 * SECOND,
            boot: now + 15 * SECOND,
            ..reading(now, Nanos::ZERO, 11 * SECOND)
        };
        assert_eq!(after(&[slow(2 * SECOND), reading(20 * SECOND, Nanos::ZERO, SECOND)]), None);
        // Nor is one between the first two readings.
        let mut clocks = Clocks::default();
        assert_eq!(
            clocks.jump(Reading { after: 10 * SECOND, ..reading(Nanos::ZERO, Nanos::ZERO, Nanos::ZERO) }),
            None
        );
        assert_eq!(clocks.jump(reading(20 * SECOND, Nanos::ZERO, Nanos::ZERO)), None);
    }

    #[test]
    fn the_clocks_can_be_read() {
        let reading = Reading::now();
        assert!(reading.before <= reading.after && reading.boot > Nanos::ZERO && reading.wall > Nanos::ZERO);
    }
}

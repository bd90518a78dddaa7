//! Time in nanoseconds.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};
use std::time::Duration;

/// A moment of CLOCK_MONOTONIC, or a span between two of them, in nanoseconds.
///
/// Arithmetic saturates: a deadline that is out of reach stays [`Nanos::MAX`], and nothing lies before [`Nanos::ZERO`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(u64);

/// Returns the time of CLOCK_MONOTONIC, the clock of leases, heartbeats and timers.
#[must_use]
pub fn now() -> Nanos {
    Nanos(platform::clock::monotonic_ns())
}

impl Nanos {
    /// The clock's beginning; no time at all
    pub const ZERO: Nanos = Nanos(0);
    /// Never, as a moment; without end, as a span
    pub const MAX: Nanos = Nanos(u64::MAX);

    /// Creates a time from nanoseconds.
    #[must_use]
    pub const fn new(nanoseconds: u64) -> Nanos {
        Nanos(nanoseconds)
    }

    /// Creates a time from milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Nanos {
        Nanos(milliseconds.saturating_mul(1_000_000))
    }

    /// Creates a time from seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Nanos {
        Nanos(seconds.saturating_mul(1_000_000_000))
    }

    /// Returns nanoseconds, as shared memory has them.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Returns whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Returns the span from `earlier` to this moment; none has passed when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The bare number, as in a log line of `debug`.
impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What is longer than 584 years is [`Nanos::MAX`].
impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Nanos {
        Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Duration {
        Duration::from_nanos(nanos.0)
    }
}

impl<T: Into<Nanos>> Add<T> for Nanos {
    type Output = Nanos;

    fn add(self, span: T) -> Nanos {
        Nanos(self.0.saturating_add(span.into().0))
    }
}

impl<T: Into<Nanos>> AddAssign<T> for Nanos {
    fn add_assign(&mut self, span: T) {
        *self = *self + span;
    }
}

impl<T: Into<Nanos>> Sub<T> for Nanos {
    type Output = Nanos;

    fn sub(self, span: T) -> Nanos {
        Nanos(self.0.saturating_sub(span.into().0))
    }
}

impl Mul<u64> for Nanos {
    type Output = Nanos;

    fn mul(self, factor: u64) -> Nanos {
        Nanos(self.0.saturating_mul(factor))
    }
}

impl Mul<Nanos> for u64 {
    type Output = Nanos;

    fn mul(self, span: Nanos) -> Nanos {
        span * self
    }
}

impl Div<u64> for Nanos {
    type Output = Nanos;

    fn div(self, parts: u64) -> Nanos {
        Nanos(self.0 / parts)
    }
}

/// How often a span fits into another.
impl Div for Nanos {
    type Output = u64;

    fn div(self, span: Nanos) -> u64 {
        self.0 / span.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arithmetic_is_exact_within_its_range_and_saturates_beyond(a: u64, b: u64) {
            let (x, y) = (Nanos::new(a), Nanos::new(b));
            let (wide_a, wide_b) = (i128::from(a), i128::from(b));
            let nearest = |exact: i128| exact.clamp(0, i128::from(u64::MAX)) as u64;
            prop_assert_eq!((x + y).get(), nearest(wide_a + wide_b));
            prop_assert_eq!((x - y).get(), nearest(wide_a - wide_b));
            prop_assert_eq!(x.since(y), x - y);
            prop_assert_eq!((x * b).get(), nearest(wide_a.saturating_mul(wide_b)));
            prop_assert_eq!(b * x, x * b);
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn a_span_added_is_the_span_since(a in 0..u64::MAX / 2, b in 0..u64::MAX / 2) {
            let (start, span) = (Nanos::new(a), Nanos::new(b));
            prop_assert_eq!((start + span).since(start), span);
            prop_assert_eq!(start + span - span, start);
            prop_assert_eq!(start + Duration::from_nanos(b), start + span);
        }

        #[test]
        fn durations_lose_nothing_and_texts_are_bare_numbers(a: u64, seconds: u64) {
            let time = Nanos::new(a);
            prop_assert_eq!(Nanos::from(Duration::from(time)), time);
            prop_assert_eq!(Nanos::from(Duration::from_secs(seconds)), Nanos::from_secs(seconds));
            prop_assert_eq!(Nanos::from(Duration::from_millis(seconds)), Nanos::from_millis(seconds));
            let text = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(&text, &a.to_string());
            prop_assert_eq!(serde_json::from_str::<Nanos>(&text).unwrap(), time);
        }
    }

    #[test]
    fn units_round_down() {
        let time = Nanos::new(1_999_999_999);
        assert_eq!((time.as_millis(), time.as_secs(), time / 2), (1999, 1, Nanos::new(999_999_999)));
        assert_eq!(time / Nanos::from_millis(500), 3);
    }
}

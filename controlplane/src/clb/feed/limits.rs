//! Limits of the feed's work.

use crate::limits::Limiter;
use crate::types::nanos;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Connections that have not said hello, at most. Whoever speaks at once is done long before 256 newer ones have come.
pub const MAX_PENDING: usize = 256;
/// Of these from one address.
pub const MAX_PENDING_OF_ONE: usize = 2;
/// From the accept to the hello.
pub const OPENING: Duration = Duration::from_secs(3);
/// A frame that was begun has left within this time, or its reader is too slow.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Time limit of a goodbye.
pub const FAREWELL: Duration = Duration::from_millis(200);
/// Messages that wait for one peer.
pub const QUEUE: usize = 16;
/// Messages of one peer; the fastest `hello` and `update` make 20.
pub const MESSAGES_A_SECOND: u32 = 100;
/// Messages that may come at once, after a pause.
pub const MESSAGES_AT_ONCE: u32 = 200;
/// Connections from one address.
pub const ATTEMPTS_A_SECOND: u32 = 5;
/// Connections from one address that may come at once, after a pause.
pub const ATTEMPTS_AT_ONCE: u32 = 10;
/// Diffie-Hellman openings, about 0.1 ms each.
pub const OPENINGS_A_SECOND: u32 = 100;
/// Openings that may come at once: every member after a change of the primary.
pub const OPENINGS_AT_ONCE: u32 = 64;
/// After so many accepts the others have their turn for [`ACCEPT_PAUSE`].
pub const ACCEPTS_AT_ONCE: u32 = 32;
/// See [`ACCEPTS_AT_ONCE`]: 3200 accepts a second, at most.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Addresses whose connections are counted.
const MAX_SOURCES: usize = 1024;
/// Lines of one kind in 10 s.
const LINES: u32 = 3;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Between two at full rate
    interval: Duration,
    /// Burst: how far ahead of the full rate one may be
    slack: Duration,
    /// When the full rate has worked off what was taken
    due: Option<Instant>,
}

impl Bucket {
    /// `rate` a second, 1 or more; `burst` at once.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Bucket {
        let interval = Duration::from_secs(1) / rate.max(1);
        Bucket { interval, slack: interval * burst.saturating_sub(1), due: None }
    }

    /// Returns how long the next one has to wait.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now).saturating_sub(self.slack))
    }

    /// Takes one now, or in advance.
    pub fn take(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + self.interval);
    }

    /// Takes one if it need not wait.
    pub fn allow(&mut self, now: Instant) -> bool {
        let allowed = self.wait(now).is_zero();
        if allowed {
            self.take(now);
        }
        allowed
    }

    fn is_full(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

/// Consumption of one address; a new connection does not give it back.
#[derive(Debug)]
struct Source {
    attempts: Bucket,
    messages: Bucket,
}

/// The addresses that have connected lately.
#[derive(Debug, Default)]
pub struct Sources(HashMap<IpAddr, Source>);

impl Sources {
    /// Returns whether `source` may connect now.
    pub fn attempt(&mut self, source: IpAddr, now: Instant) -> bool {
        self.of(source, now).attempts.allow(now)
    }

    /// Returns whether `source` may say something now.
    pub fn message(&mut self, source: IpAddr, now: Instant) -> bool {
        self.of(source, now).messages.allow(now)
    }

    fn of(&mut self, source: IpAddr, now: Instant) -> &mut Source {
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&source) {
            self.0.retain(|_, source| !source.attempts.is_full(now) || !source.messages.is_full(now));
            if self.0.len() >= MAX_SOURCES {
                // More addresses than a LAN of gateways has: the limits that do not ask for the address hold.
                self.0.clear();
            }
        }
        self.0.entry(source).or_insert_with(|| Source {
            attempts: Bucket::new(ATTEMPTS_A_SECOND, ATTEMPTS_AT_ONCE),
            messages: Bucket::new(MESSAGES_A_SECOND, MESSAGES_AT_ONCE),
        })
    }
}

/// Lines of each kind.
#[derive(Debug, Default)]
pub struct Lines(BTreeMap<&'static str, Limiter>);

impl Lines {
    /// Returns whether a line of this `kind` may be written now, and how many were held back since the last one that was.
    pub fn allow(&mut self, kind: &'static str) -> Option<u64> {
        self.0.entry(kind).or_default().allow(LINES, nanos::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 5);
        assert_eq!((0..20).filter(|_| bucket.allow(start)).count(), 5);
        assert_eq!(bucket.wait(start), Duration::from_millis(100));
        let second = (1..=1000).filter(|ms| bucket.allow(start + Duration::from_millis(*ms))).count();
        assert_eq!(second, 10);
        let later = start + Duration::from_secs(60);
        assert_eq!(
            (0..20).filter(|_| bucket.allow(later)).count(),
            5,
            "a pause earns no more than the burst"
        );
    }

    #[test]
    fn addresses_are_counted_apart_and_in_bounded_room() {
        let now = Instant::now();
        let mut sources = Sources::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert_eq!((0..100).filter(|_| sources.attempt(address(1), now)).count(), ATTEMPTS_AT_ONCE as usize);
        assert!(sources.attempt(address(2), now));
        for n in 0..10_000 {
            sources.attempt(address(n), now);
            assert!(sources.0.len() <= MAX_SOURCES);
        }
    }
}

//! Adaptive sleep of an idle worker: a laboratory has several nodes on two cores, a headend has a core a worker.

use std::time::Duration;

use crossbeam::utils::Backoff;

/// The first real sleep.
const FIRST: Duration = Duration::from_micros(10);

/// Spins and yields for a moment after traffic, then sleeps longer and longer, up to a limit.
pub struct Sleeper {
    backoff: Backoff,
    next: Duration,
    longest: Duration,
}

impl Sleeper {
    /// Sleeps at most `longest` at once: it bounds how late a frame is seen on an idle node.
    pub fn new(longest: Duration) -> Self {
        Sleeper { backoff: Backoff::new(), next: FIRST, longest }
    }

    /// After a pass that moved `moved` frames.
    #[inline]
    pub fn after(&mut self, moved: usize) {
        if moved > 0 {
            self.backoff.reset();
            self.next = FIRST;
        } else if !self.backoff.is_completed() {
            self.backoff.snooze();
        } else {
            std::thread::sleep(self.next.min(self.longest));
            self.next = (self.next * 2).min(self.longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn sleeps_grow_to_the_limit_and_start_over_with_traffic() {
        let longest = Duration::from_micros(200);
        let mut sleeper = Sleeper::new(longest);
        for _ in 0..40 {
            sleeper.after(0);
        }
        assert_eq!(sleeper.next, longest);
        let start = Instant::now();
        sleeper.after(0);
        assert!(start.elapsed() >= longest);
        sleeper.after(1);
        assert_eq!(sleeper.next, FIRST);
        assert!(!sleeper.backoff.is_completed());
    }
}

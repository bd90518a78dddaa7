//! The search for the highest rate without loss, after RFC 2544 section 26.1: a trial at the highest rate, then halving
//! between the highest that passed and the lowest that did not. It knows no port and no clock.

/// A search under way. Rates are requests a second.
#[derive(Debug, Clone)]
pub struct Search {
    passed: Option<f64>,
    failed: Option<f64>,
    next: f64,
    floor: f64,
    resolution: f64,
    generator_bound: bool,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The highest rate that passed; `None`: not even the lowest did.
    pub rate: Option<f64>,
    /// The generator could not send more: the true figure may be higher.
    pub generator_bound: bool,
}

impl Search {
    /// A search from `floor` to `ceiling` that ends when the bounds are within `resolution` (a share, such as 0.01) of
    /// each other.
    pub fn new(floor: f64, ceiling: f64, resolution: f64) -> Search {
        Search { passed: None, failed: None, next: ceiling, floor, resolution, generator_bound: false }
    }

    /// The rate of the next trial; `None`: the search is over.
    pub fn next(&self) -> Option<f64> {
        let low = self.passed.unwrap_or(self.floor);
        match self.failed {
            _ if self.generator_bound => None,
            None if self.passed.is_some() => None,
            None => Some(self.next),
            // The floor itself is tried before the search gives up.
            Some(failed) if failed <= self.floor => None,
            Some(failed) if failed - low <= failed * self.resolution => {
                self.passed.is_none().then_some(self.floor)
            }
            Some(failed) => Some((low + failed) / 2.0),
        }
    }

    /// Says how the trial at `rate` went: what was really sent a second, and whether nothing was lost.
    pub fn tell(&mut self, rate: f64, sent: f64, without_loss: bool) {
        // A generator that falls short has tried another rate than it was asked to.
        let short = sent < rate * 0.99;
        if without_loss {
            self.passed = Some(self.passed.unwrap_or(0.0).max(if short { sent } else { rate }));
            self.generator_bound |= short;
        } else {
            let tried = if short { sent } else { rate };
            self.failed = Some(self.failed.unwrap_or(f64::INFINITY).min(tried));
        }
    }

    /// What was found so far.
    pub fn found(&self) -> Found {
        Found { rate: self.passed, generator_bound: self.generator_bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a device that loses above `limit`, with a generator that sends at most `most`.
    fn search(limit: f64, most: f64) -> (Found, usize) {
        let mut search = Search::new(1000.0, 1_000_000.0, 0.01);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            let sent = rate.min(most);
            search.tell(rate, sent, sent <= limit);
            trials += 1;
            assert!(trials < 40, "{search:?}");
        }
        (search.found(), trials)
    }

    #[test]
    fn the_limit_is_found_within_the_resolution() {
        for limit in [1500.0, 77_777.0, 333_333.0, 999_000.0] {
            let (found, trials) = search(limit, f64::INFINITY);
            let rate = found.rate.unwrap();
            assert!(rate <= limit && rate >= limit * 0.985, "{limit}: {found:?}");
            assert!(!found.generator_bound && trials <= 20);
        }
    }

    #[test]
    fn a_device_that_never_loses_takes_one_trial() {
        assert_eq!(search(2e6, f64::INFINITY), (Found { rate: Some(1e6), generator_bound: false }, 1));
    }

    #[test]
    fn the_floor_is_tried_before_giving_up() {
        assert_eq!(search(1000.0, f64::INFINITY).0.rate, Some(1000.0));
        assert_eq!(search(999.0, f64::INFINITY).0.rate, None);
    }

    #[test]
    fn a_generator_that_falls_short_is_said() {
        let (found, _) = search(800_000.0, 500_000.0);
        assert_eq!(found, Found { rate: Some(500_000.0), generator_bound: true });
        // Short and lossy: the limit is below what it sends.
        let (found, _) = search(300_000.0, 500_000.0);
        assert!(!found.generator_bound && found.rate.unwrap() >= 295_000.0, "{found:?}");
    }
}

//! When a group's virtual router advertises itself (RFC 4861 sections 6.2.4 and 6.2.6), as a pure schedule: time goes in.
//! Hosts that solicit are answered to all nodes, so that a flood of solicitations costs one advertisement in 3 s.

use crate::net::announce::{ROUTER_INITIAL_INTERVAL, ROUTER_INTERVAL};
use crate::types::Nanos;
use std::net::Ipv6Addr;
use std::time::Duration;

/// An answer is put off by a random time up to this (MAX_RA_DELAY_TIME, RFC 4861 section 10).
const MAX_DELAY: Duration = Duration::from_millis(500);
/// Between two advertisements to all nodes (MIN_DELAY_BETWEEN_RAS, section 10).
const MIN_PAUSE: Duration = Duration::from_secs(3);
/// Advertisements that follow each other sooner after the gain (MAX_INITIAL_RTR_ADVERTISEMENTS, section 10).
const INITIAL: u32 = 3;

/// The schedule of one group while it is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertiser {
    /// Unasked, too
    unsolicited: bool,
    next: Nanos,
    last: Option<Nanos>,
    sent: u32,
}

impl Advertiser {
    /// The first advertisement is due at once (ns), for the role has just been gained; or when a host asks, where none is
    /// to be sent `unsolicited`.
    #[must_use]
    pub fn new(now: Nanos, unsolicited: bool) -> Advertiser {
        Advertiser { unsolicited, next: if unsolicited { now } else { Nanos::MAX }, last: None, sent: 0 }
    }

    /// When the next one is due, ns.
    #[must_use]
    pub fn next(&self) -> Nanos {
        self.next
    }

    /// Returns whether one is to be sent now; then the next one is scheduled.
    pub fn due(&mut self, now: Nanos) -> bool {
        if now < self.next {
            return false;
        }
        self.sent = self.sent.saturating_add(1);
        self.last = Some(now);
        let pause = if self.sent < INITIAL { ROUTER_INITIAL_INTERVAL } else { ROUTER_INTERVAL };
        self.next = if self.unsolicited { now + pause } else { Nanos::MAX };
        true
    }

    /// A host asks. `random` is any number that other routers do not have too.
    pub fn solicited(&mut self, now: Nanos, random: u64) {
        let delay = Nanos::new(random % (Nanos::from(MAX_DELAY).get() + 1));
        let earliest = self.last.map_or(now, |last| (last + MIN_PAUSE).max(now));
        // What is due sooner answers it too.
        self.next = self.next.min(earliest + delay);
    }
}

/// Returns whether an ICMPv6 message, whose checksum is right, is a router solicitation that must be answered (RFC 4861 section
/// 6.1.1).
#[must_use]
pub fn is_solicitation(message: &[u8], source: Ipv6Addr, hop_limit: u8) -> bool {
    const SOLICITATION: u8 = 133;
    const SOURCE_LINK_ADDRESS: u8 = 1;
    let Some((head, mut options)) = message.split_at_checked(8) else { return false };
    // A source is a neighbour's, or nothing yet.
    if hop_limit != 255 || head[0] != SOLICITATION || head[1] != 0 || source.is_multicast() {
        return false;
    }
    while let [kind, length, ..] = *options {
        let Some(rest) = options.get(usize::from(length) * 8..).filter(|_| length > 0) else { return false };
        if kind == SOURCE_LINK_ADDRESS && source.is_unspecified() {
            return false;
        }
        options = rest;
    }
    options.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = Nanos::from_secs(1);

    #[test]
    fn three_leave_soon_after_the_gain_and_the_others_rarely() {
        let mut advertiser = Advertiser::new(5 * S, true);
        assert!(!advertiser.due(5 * S - Nanos::new(1)));
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(advertiser.next() / S);
            assert!(advertiser.due(advertiser.next()));
        }
        assert_eq!(times, [5, 21, 37, 237, 437]);
    }

    #[test]
    fn who_asks_is_answered_within_half_a_second_and_many_cost_one_in_three() {
        let mut advertiser = Advertiser::new(Nanos::ZERO, true);
        assert!(advertiser.due(Nanos::ZERO));
        advertiser.solicited(10 * S, u64::MAX);
        assert!((10 * S..=10 * S + S / 2).contains(&advertiser.next()), "{:?}", advertiser.next());
        // Others in that time are answered by the same.
        let at = advertiser.next();
        advertiser.solicited(10 * S + Nanos::new(1), MAX_DELAY.as_nanos() as u64);
        assert_eq!(advertiser.next(), at);
        assert!(advertiser.due(at));
        let mut sent = 0;
        for step in 0..10_000u64 {
            let now = at + step * S / 1000;
            advertiser.solicited(now, step * 7919 * 1009);
            sent += u32::from(advertiser.due(now));
        }
        assert!((2..=3).contains(&sent), "{sent} in 10 s");
    }

    #[test]
    fn suppressed_ones_are_sent_only_to_hosts_that_ask() {
        let mut advertiser = Advertiser::new(Nanos::ZERO, false);
        assert!(!advertiser.due(1_000_000 * S));
        advertiser.solicited(1_000_000 * S, 0);
        assert!(advertiser.due(1_000_000 * S));
        assert_eq!(advertiser.next(), Nanos::MAX);
    }

    #[test]
    fn an_answer_never_puts_off_what_is_due_sooner() {
        let mut advertiser = Advertiser::new(Nanos::ZERO, true);
        advertiser.solicited(Nanos::ZERO, 400_000_000);
        assert!(advertiser.due(Nanos::ZERO), "the one at the gain");
        advertiser.solicited(15 * S + S * 9 / 10, 400_000_000);
        assert_eq!(advertiser.next(), 16 * S, "the second one");
    }

    #[test]
    fn only_a_true_solicitation_counts() {
        let source: Ipv6Addr = "fe80::66".parse().unwrap();
        let bare = [133, 0, 9, 9, 0, 0, 0, 0];
        let with_option = [&bare[..], &[1, 1, 2, 0, 0, 0, 0, 0x66]].concat();
        assert!(is_solicitation(&bare, source, 255) && is_solicitation(&with_option, source, 255));
        assert!(is_solicitation(&bare, Ipv6Addr::UNSPECIFIED, 255));
        for (message, source, hop_limit, why) in [
            (&bare[..], source, 64, "from further away"),
            (&bare[..7], source, 255, "cut"),
            (&[134, 0, 9, 9, 0, 0, 0, 0], source, 255, "an advertisement"),
            (&[133, 1, 9, 9, 0, 0, 0, 0], source, 255, "another code"),
            (&with_option, Ipv6Addr::UNSPECIFIED, 255, "no source and yet its address"),
            (&[&bare[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat(), source, 255, "an option of no length"),
            (&[&bare[..], &[1, 2, 0, 0, 0, 0, 0, 0]].concat(), source, 255, "an option beyond the end"),
            (&[&bare[..], &[1]].concat(), source, 255, "half an option"),
            (&bare, "ff02::1".parse().unwrap(), 255, "a multicast source"),
        ] {
            assert!(!is_solicitation(message, source, hop_limit), "{why}");
        }
    }
}

//! The optional limit of answers to one source prefix.

use crate::police::Meter;
use crossbeam::utils::CachePadded;
use platform::lines::Lines;
use platform::siphash::siphash13;

/// Meters of one worker. Prefixes that fall on the same one share it: memory is fixed, and a collision is rarer than
/// the limit is generous.
const METERS: usize = 4096;

/// Limits answers per source prefix.
pub struct AnswerLimit {
    meters: Box<CachePadded<[Meter; METERS]>>,
    key: [u64; 2],
    prefix: [u8; 2],
}

impl AnswerLimit {
    /// `rate` answers a second, with a burst of one second, to each IPv4 prefix of `v4_prefix` and each IPv6 prefix of
    /// `v6_prefix` bits. `None` for rate 0: off.
    pub fn new(rate: u64, v4_prefix: u8, v6_prefix: u8, key: [u64; 2]) -> Option<Self> {
        (rate > 0).then(|| AnswerLimit {
            meters: Box::new(CachePadded::new([Meter::new(rate, rate); METERS])),
            key,
            prefix: [v4_prefix.min(32), v6_prefix.min(128)],
        })
    }

    /// Whether one more answer to this source may leave.
    #[inline]
    pub fn admit(&mut self, family: u8, source: &[u8; 16], now_ns: u64) -> bool {
        let bits = self.prefix[usize::from(family == 6)];
        let masked = u128::from_be_bytes(*source) & !u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
        let hash = siphash13(self.key, [(masked >> 64) as u64, masked as u64], family.into());
        self.meters[hash as usize % METERS].admit(now_ns)
    }

    /// Adds the heap memory that is written.
    pub fn writes(&self, lines: &mut Lines) {
        lines.add("answer limit", &*self.meters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::snapshot::addr16;
    use std::net::IpAddr;

    #[test]
    fn a_prefix_is_limited_and_its_neighbour_is_not() {
        let mut limit = AnswerLimit::new(10, 24, 56, [1, 2]).unwrap();
        let now = 1_000_000_000;
        let source = |last: [u8; 2]| addr16(IpAddr::from([192, 0, last[0], last[1]]));
        let admitted = (0..100).filter(|n| limit.admit(4, &source([2, *n]), now)).count();
        assert_eq!(admitted, 10);
        assert!(limit.admit(4, &source([3, 1]), now));
        assert!(AnswerLimit::new(0, 24, 56, [1, 2]).is_none());
    }
}

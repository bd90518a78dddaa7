//! Which clients this worker has redirected before, so that a retransmission does not count as one more client.
//!
//! A retransmission carries the SPI of the first try (RFC 7296 section 2.1), comes from the same address, and RSS brings
//! it to the same worker: the keyed hash that picked its slot tells it again. The table keeps 16 bits of that hash for
//! each client, four clients a bucket, the oldest gives way. It is a cache line a lookup, of one thread, and never grows.

use crossbeam::utils::CachePadded;
use dpdk::prefetch;
use platform::lines::Lines;

/// Buckets, a power of two: 256 KiB. With 30,000 clients between a request and its retransmission two in a hundred are
/// forgotten and count twice; one in 16,000 new ones is taken for known.
const BUCKETS: usize = 1 << 15;
/// Lowest bit of each 16-bit tag of a bucket.
const LOW: u64 = 0x0001_0001_0001_0001;

/// The clients that one worker redirected lately.
#[derive(Debug)]
pub struct SeenClients {
    buckets: Box<CachePadded<[u64; BUCKETS]>>,
}

impl Default for SeenClients {
    fn default() -> Self {
        SeenClients { buckets: Box::new(CachePadded::new([0; BUCKETS])) }
    }
}

impl SeenClients {
    /// Starts loading what [`SeenClients::is_new`] will look at: a line of a table too large for the first cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[Self::index(hash)]);
    }

    /// The slot took the lowest ten bits.
    #[inline]
    fn index(hash: u64) -> usize {
        (hash >> 16) as usize % BUCKETS
    }

    /// Notes the client with this hash of SPI and source address; true if it was not there.
    #[inline]
    pub fn is_new(&mut self, hash: u64) -> bool {
        // A tag is never 0, which marks a free place.
        let tag = (hash >> 48).max(1);
        let bucket = &mut self.buckets[Self::index(hash)];
        // A tag that is there makes a zero, and a zero borrows into its highest bit.
        let same = *bucket ^ (tag * LOW);
        if same.wrapping_sub(LOW) & !same & LOW << 15 != 0 {
            return false;
        }
        *bucket = *bucket << 16 | tag;
        true
    }

    /// Adds the heap memory that is written.
    pub fn writes(&self, lines: &mut Lines) {
        lines.add("clients", &*self.buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A hash as the keyed one is: every bit looks random.
    fn hash(client: u64) -> u64 {
        platform::siphash::siphash13([1, 2], [client], 0)
    }

    #[test]
    fn a_client_is_new_once() {
        let mut seen = SeenClients::default();
        assert!((0..10_000).all(|client| seen.is_new(hash(client))));
        assert!((0..10_000).all(|client| !seen.is_new(hash(client))));
    }

    #[test]
    fn of_thirty_thousand_clients_at_once_two_in_a_hundred_may_count_twice() {
        let mut seen = SeenClients::default();
        let first = (0..30_000).filter(|client| seen.is_new(hash(*client))).count();
        let again = (0..30_000).filter(|client| seen.is_new(hash(*client))).count();
        assert!(first >= 29_990 && again <= 600, "{first} new, {again} counted twice");
    }

    #[test]
    fn the_oldest_of_a_bucket_gives_way() {
        let mut seen = SeenClients::default();
        let of = |tag: u64| tag << 48;
        assert!((1..=5).all(|tag| seen.is_new(of(tag))));
        assert!((2..=5).all(|tag| !seen.is_new(of(tag))));
        assert!(seen.is_new(of(1)));
        // Tag 0 is kept as tag 1.
        assert!(!seen.is_new(of(0)));
    }

    proptest! {
        /// Four 16-bit compares at once are four compares.
        #[test]
        fn a_bucket_finds_what_was_put_in(tags in proptest::collection::vec(0u64..8, 1..40)) {
            let mut seen = SeenClients::default();
            let mut model = std::collections::VecDeque::new();
            for tag in tags {
                let kept = tag.max(1);
                prop_assert_eq!(seen.is_new(tag << 48), !model.contains(&kept));
                if !model.contains(&kept) {
                    model.push_back(kept);
                    if model.len() > 4 {
                        model.pop_front();
                    }
                }
            }
        }
    }
}

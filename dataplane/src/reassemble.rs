//! Pairs of fragments made whole: a request with a post-quantum key share does not fit one frame.
//!
//! Only pairs, only to addresses that are answered, within a fixed number of entries and a fixed time. The frames
//! themselves are held, not their bytes: a pair that is not answered passes on as it came.

use crate::FragmentInfo;
use crossbeam::utils::CachePadded;
use platform::lines::Lines;
use platform::siphash::siphash13;
use platform::wire::{ethernet, ipv4, ipv6};

/// Entries that one key may use; the oldest gives way.
const WAYS: usize = 4;
/// The largest datagram that is put together, in bytes of IP payload. An ML-KEM-1024 request has under 2,500.
pub const MAX_DATAGRAM: usize = 4096;
/// Bytes of the scratch buffer: headers of the largest kind in front of the datagram.
pub const SCRATCH_LEN: usize =
    ethernet::HEADER_LEN + ethernet::MAX_TAGS * ethernet::TAG_LEN + 60 + MAX_DATAGRAM;

struct Held<F> {
    info: FragmentInfo,
    frame: F,
    since_ns: u64,
}

/// What a fragment led to.
pub enum Offer<F> {
    /// It waits. The frame that had to give way, if any, passes on.
    Held(Option<F>),
    /// Its other half was there: `first` is the one with offset 0.
    Pair {
        /// The half with the UDP header.
        first: (F, FragmentInfo),
        /// The other.
        last: (F, FragmentInfo),
    },
    /// Both halves overlap: neither may be used (RFC 5722; RFC 1858 for IPv4).
    Overlap(F, F),
    /// It is no half of a pair (a middle, a duplicate, too long): it passes on, with what it contradicted.
    Other(F, Option<F>),
}

/// The places of one set of keys.
type Set<F> = CachePadded<[Option<Held<F>>; WAYS]>;

/// The fragments that wait, of one worker.
pub struct Reassembler<F> {
    sets: Box<[Set<F>]>,
    scratch: Box<CachePadded<[u8; SCRATCH_LEN]>>,
    timeout_ns: u64,
    key: [u64; 2],
    held: usize,
}

impl<F> Reassembler<F> {
    /// Room for `entries` fragments (rounded up to whole sets of 4, at most 4,096), each for `timeout_ns`.
    /// `key` keys the hash, so that nobody can aim at a set.
    pub fn new(entries: usize, timeout_ns: u64, key: [u64; 2]) -> Self {
        let sets = entries.clamp(WAYS, 4096).div_ceil(WAYS);
        Reassembler {
            sets: (0..sets).map(|_| CachePadded::new(std::array::from_fn(|_| None))).collect(),
            scratch: Box::new(CachePadded::new([0; SCRATCH_LEN])),
            timeout_ns,
            key,
            held: 0,
        }
    }

    /// Fragments that wait now.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes a fragment.
    pub fn offer(&mut self, info: FragmentInfo, frame: F, now_ns: u64) -> Offer<F> {
        let (is_first, is_last) = (info.offset == 0 && info.more, info.offset > 0 && !info.more);
        let aligned = !info.more || info.len.is_multiple_of(8);
        if !(is_first || is_last) || !aligned || info.len == 0 || info.offset + info.len > MAX_DATAGRAM {
            return Offer::Other(frame, None);
        }
        let index = self.set(&info);
        let set = &mut self.sets[index];
        if let Some(slot) =
            set.iter_mut().find(|slot| slot.as_ref().is_some_and(|held| same(&held.info, &info)))
        {
            let Some(held) = slot.take() else { return Offer::Other(frame, None) };
            if (held.info.offset == 0) == is_first {
                // The same half again: the first one goes on waiting.
                *slot = Some(held);
                return Offer::Other(frame, None);
            }
            self.held -= 1;
            let new = (frame, info);
            let old = (held.frame, held.info);
            let (first, last) = if is_first { (new, old) } else { (old, new) };
            return match last.1.offset.cmp(&first.1.len) {
                std::cmp::Ordering::Equal => Offer::Pair { first, last },
                std::cmp::Ordering::Less => Offer::Overlap(first.0, last.0),
                // A gap: a third fragment is on its way, which is the kernel's business.
                std::cmp::Ordering::Greater => {
                    if is_first {
                        Offer::Other(first.0, Some(last.0))
                    } else {
                        Offer::Other(last.0, Some(first.0))
                    }
                }
            };
        }
        let age = |slot: &Option<Held<F>>| slot.as_ref().map_or(0, |held| held.since_ns + 1);
        let Some(slot) = set.iter_mut().min_by_key(|slot| age(slot)) else {
            return Offer::Other(frame, None);
        };
        let evicted = slot.replace(Held { info, frame, since_ns: now_ns });
        self.held += usize::from(evicted.is_none());
        Offer::Held(evicted.map(|held| held.frame))
    }

    /// Takes out the next fragment whose time is over, or any at all when `now_ns` is `u64::MAX`.
    pub fn expire(&mut self, now_ns: u64) -> Option<F> {
        if self.held == 0 {
            return None;
        }
        let over =
            |held: &Held<F>| now_ns == u64::MAX || now_ns.saturating_sub(held.since_ns) >= self.timeout_ns;
        let slot = self
            .sets
            .iter_mut()
            .flat_map(|set| set.iter_mut())
            .find(|slot| slot.as_ref().is_some_and(over))?;
        self.held -= 1;
        slot.take().map(|held| held.frame)
    }

    fn set(&self, info: &FragmentInfo) -> usize {
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| info.source[at + i]));
        let hash = siphash13(self.key, [word(0), word(8)], info.id);
        hash as usize % self.sets.len()
    }

    /// Room for [`assemble`].
    pub fn scratch(&mut self) -> &mut [u8] {
        &mut self.scratch[..]
    }

    /// Adds the heap memory that is written.
    pub fn writes(&self, lines: &mut Lines) {
        lines.add("fragments", &*self.sets);
        lines.add("scratch buffer", &*self.scratch);
    }
}

fn same(a: &FragmentInfo, b: &FragmentInfo) -> bool {
    // RFC 791: source, destination, protocol and identification; RFC 8200 section 4.5: without the protocol, for the
    // next header of a later fragment may differ.
    a.id == b.id
        && a.vlans == b.vlans
        && a.family == b.family
        && a.source == b.source
        && a.destination == b.destination
        && (a.family == 6 || a.protocol == b.protocol)
}

/// Writes the whole datagram of a pair into `scratch`, as one frame: the first fragment's Ethernet header and tags, an IP
/// header without fragment bits or extension headers in front of the fragment header, both payloads. Returns the
/// frame's length, `None` if the pieces are not what the infos say.
pub fn assemble(
    scratch: &mut [u8],
    first: (&[u8], &FragmentInfo),
    last: (&[u8], &FragmentInfo),
) -> Option<usize> {
    let (frame, info) = first;
    let payload = frame.get(info.payload..info.payload + info.len)?;
    let rest = last.0.get(last.1.payload..last.1.payload + last.1.len)?;
    let total = payload.len() + rest.len();
    let header_end = if info.family == 4 { info.payload } else { info.ip + ipv6::HEADER_LEN };
    scratch.get_mut(..header_end)?.copy_from_slice(frame.get(..header_end)?);
    let header = scratch.get_mut(info.ip..header_end)?;
    if info.family == 4 {
        let length = u16::try_from(header.len() + total).ok()?;
        ipv4::make_whole(header, length);
    } else {
        let whole = ipv6::Packet::new_checked(frame.get(info.ip..)?).ok()?;
        let (class, hops) = (whole.traffic_class(), whole.hop_limit());
        let length = u16::try_from(total).ok()?;
        ipv6::emit_header(header, class, length, info.protocol, hops, whole.source(), whole.destination());
    }
    let end = header_end + total;
    scratch.get_mut(header_end..header_end + payload.len())?.copy_from_slice(payload);
    scratch.get_mut(header_end + payload.len()..end)?.copy_from_slice(rest);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(id: u32, offset: usize, len: usize, more: bool) -> FragmentInfo {
        FragmentInfo {
            source: [1; 16],
            destination: [2; 16],
            id,
            family: 4,
            protocol: 17,
            ip: 14,
            payload: 34,
            len,
            offset,
            more,
            vlans: [ethernet::NO_VLAN; 2],
        }
    }

    fn table() -> Reassembler<u32> {
        Reassembler::new(8, 100, [1, 2])
    }

    #[test]
    fn both_orders_make_a_pair() {
        for first_comes_first in [true, false] {
            let mut table = table();
            let halves = [(info(7, 0, 64, true), 10), (info(7, 64, 20, false), 20)];
            let [a, b] = if first_comes_first { [0, 1] } else { [1, 0] };
            assert!(matches!(table.offer(halves[a].0, halves[a].1, 0), Offer::Held(None)));
            let Offer::Pair { first, last } = table.offer(halves[b].0, halves[b].1, 1) else {
                panic!("no pair")
            };
            assert_eq!((first.0, last.0, table.held()), (10, 20, 0));
        }
    }

    #[test]
    fn halves_of_different_vlans_are_no_pair() {
        let mut table = table();
        let in_vlan = |vlan, info: FragmentInfo| FragmentInfo { vlans: [vlan, ethernet::NO_VLAN], ..info };
        table.offer(in_vlan(100, info(7, 0, 64, true)), 10, 0);
        let other = table.offer(in_vlan(200, info(7, 64, 20, false)), 20, 0);
        assert!(matches!(other, Offer::Held(None)));
        let pair = table.offer(in_vlan(100, info(7, 64, 20, false)), 30, 0);
        assert!(matches!(pair, Offer::Pair { first: (10, _), last: (30, _) }));
    }

    #[test]
    fn overlaps_are_refused_and_gaps_pass() {
        let mut table = table();
        table.offer(info(7, 0, 64, true), 1, 0);
        assert!(matches!(table.offer(info(7, 56, 20, false), 2, 0), Offer::Overlap(1, 2)));
        table.offer(info(8, 0, 64, true), 1, 0);
        assert!(matches!(table.offer(info(8, 72, 20, false), 2, 0), Offer::Other(2, Some(1))));
        assert_eq!(table.held(), 0);
    }

    #[test]
    fn middles_duplicates_and_odd_lengths_pass() {
        let mut table = table();
        assert!(matches!(table.offer(info(7, 64, 64, true), 1, 0), Offer::Other(1, None)), "a middle");
        assert!(
            matches!(table.offer(info(7, 0, 63, true), 1, 0), Offer::Other(1, None)),
            "not a multiple of 8"
        );
        assert!(
            matches!(table.offer(info(7, 8, MAX_DATAGRAM, false), 1, 0), Offer::Other(1, None)),
            "too long"
        );
        table.offer(info(7, 0, 64, true), 1, 0);
        assert!(matches!(table.offer(info(7, 0, 64, true), 2, 0), Offer::Other(2, None)), "a duplicate");
        assert!(matches!(table.offer(info(7, 64, 8, false), 3, 0), Offer::Pair { first: (1, _), .. }));
    }

    #[test]
    fn time_and_room_are_bounded() {
        let mut table = table();
        let mut evicted = 0;
        for id in 0..1000 {
            match table.offer(info(id, 0, 64, true), id, u64::from(id)) {
                Offer::Held(Some(_)) => evicted += 1,
                Offer::Held(None) => {}
                _ => panic!("a first fragment of its own is held"),
            }
            assert!(table.held() <= 8);
        }
        assert_eq!(evicted, 1000 - table.held());
        assert_eq!(table.expire(1000), None, "the youngest are younger than the timeout");
        let over = std::iter::from_fn(|| table.expire(1100)).count();
        assert!(over > 0 && table.held() == 0);
    }

    proptest! {
        #[test]
        fn no_frame_is_lost_or_doubled(steps in proptest::collection::vec((0u32..6, 0usize..3, 0usize..3, any::<bool>()), 1..200)) {
            let mut table = Reassembler::<u32>::new(4, 50, [3, 4]);
            let (mut inside, mut out) = (0usize, 0usize);
            for (count, (id, offset, len, more)) in steps.into_iter().enumerate() {
                inside += 1;
                out += match table.offer(info(id, offset * 8, len * 8, more), 0, count as u64) {
                    Offer::Held(evicted) => usize::from(evicted.is_some()),
                    Offer::Pair { .. } | Offer::Overlap(..) => 2,
                    Offer::Other(_, other) => 1 + usize::from(other.is_some()),
                };
                prop_assert_eq!(inside - out, table.held());
            }
            out += std::iter::from_fn(|| table.expire(u64::MAX)).count();
            prop_assert_eq!(inside, out);
        }
    }
}

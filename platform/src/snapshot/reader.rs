//! The data plane's end of the snapshot.

use std::mem;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};

use crossbeam::utils::CachePadded;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::body::{Body, MAX_GROUPS, MAX_VIPS};
use super::error::SnapshotError;
use super::memfd::{self, ReadOnlyWord, ReadOnlyWords};
use super::seqlock;
use super::writer::{BYTES, FRONT_WORDS, HEARTBEAT, MAGIC, PLACE, VIP_WORDS, WHAT, lease_word};
use crate::lines::Lines;

/// The reading end, a read-only mapping; one serves all workers.
pub struct Reader {
    words: ReadOnlyWords,
    instance: u64,
}

/// A worker's private copy of the newest generation it saw, on cache lines of its own. Its counts and indices hold by
/// construction.
pub struct Copy {
    /// The content.
    pub body: Box<CachePadded<Body>>,
    /// Instance it was copied from, 0: none yet. A lease read from another instance says nothing about this copy.
    pub instance: u64,
    /// Generation it was copied from, 0: none yet.
    pub generation: u64,
    /// Attempts made at copying, at most 3 each [`Reader::refresh`]; for show and tests.
    pub attempts: u64,
    spare: Box<CachePadded<Body>>,
}

/// What [`Reader::refresh`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The copy is the newest there is (or nothing was published yet).
    Unchanged,
    /// The copy is a newer one now.
    Copied,
    /// There is a newer one, but three tries met a writer in the middle: the copy is as it was, try at the next burst.
    Kept,
}

/// How long a group may be answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// End, CLOCK_MONOTONIC in ns; 0: never ran.
    pub until_ns: u64,
    /// At the end: `true` fence the group, `false` pass its requests.
    pub peer_known: bool,
}

impl Lease {
    /// Whether the lease runs at `now_ns`.
    #[inline]
    pub fn runs(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }
}

impl Copy {
    /// A copy of nothing: no virtual address. 170 KiB of heap, the last allocation of its life.
    pub fn empty() -> Copy {
        let empty = || Box::new(CachePadded::new(Body::new_zeroed()));
        Copy { body: empty(), instance: 0, generation: 0, attempts: 0, spare: empty() }
    }

    /// Adds the heap memory that [`Reader::refresh`] writes.
    pub fn writes(&self, lines: &mut Lines) {
        lines.add("snapshot copy", &*self.body);
        lines.add("snapshot copy to be", &*self.spare);
    }
}

impl Reader {
    /// Maps a memory handed over by usherd, after checking seals, size, magic and layout version.
    pub fn map(fd: OwnedFd) -> Result<Reader, SnapshotError> {
        let (words, instance) = memfd::open(WHAT, MAGIC, fd, BYTES as u64..BYTES as u64 + 1)?;
        Ok(Reader { words, instance })
    }

    /// The instance id of the memory.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// The newest generation, 0: nothing published yet. One acquire load.
    #[inline]
    pub fn generation(&self) -> u64 {
        let generation = self.words[PLACE.generation].load();
        fence(Ordering::Acquire);
        generation
    }

    /// Brings the copy up to date: one load and two compares when nothing moved; else at most three tries at copying what
    /// is in use, into a spare body, so that a copy is whole or not touched. Never waits.
    #[inline]
    pub fn refresh(&self, copy: &mut Copy) -> Refresh {
        let generation = self.words[PLACE.generation].load();
        if generation == copy.generation && self.instance == copy.instance {
            return Refresh::Unchanged;
        }
        if generation == 0 { Refresh::Unchanged } else { self.copy_out(copy) }
    }

    #[cold]
    #[inline(never)]
    fn copy_out(&self, copy: &mut Copy) -> Refresh {
        let to = <[u64]>::mut_from_bytes(copy.spare.as_mut_bytes()).expect("a body is whole aligned words");
        let taken = seqlock::read(&self.words, &PLACE, &mut copy.attempts, |from: &[ReadOnlyWord]| {
            load(to, from, 0..FRONT_WORDS);
            let [a, b, c, d, ..] = to[0].to_ne_bytes();
            let count = (u32::from_ne_bytes([a, b, c, d]) as usize).min(MAX_VIPS);
            load(to, from, FRONT_WORDS..FRONT_WORDS + count * VIP_WORDS);
        });
        let Some(generation) = taken else { return Refresh::Kept };
        copy.spare.sanitise();
        mem::swap(&mut copy.body, &mut copy.spare);
        copy.instance = self.instance;
        copy.generation = generation;
        Refresh::Copied
    }

    /// The lease of a group; one that was never given, or of a group beyond [`MAX_GROUPS`], never runs.
    #[inline]
    pub fn lease(&self, group: usize) -> Lease {
        if group >= MAX_GROUPS {
            return Lease { until_ns: 0, peer_known: false };
        }
        let word = self.words[lease_word(group)].load();
        Lease { until_ns: word >> 1, peer_known: word & 1 != 0 }
    }

    /// When the control plane last said that it lives, CLOCK_MONOTONIC in ns; 0: never.
    pub fn heartbeat(&self) -> u64 {
        self.words[HEARTBEAT].load()
    }

    /// Whether a publish has begun that has not ended: the writer is at work, or died in the middle. For show.
    pub fn publish_in_progress(&self) -> bool {
        PLACE.marks.iter().any(|mark| self.words[*mark].load() & 1 != 0)
    }
}

fn load(to: &mut [u64], from: &[ReadOnlyWord], range: Range<usize>) {
    for (to, from) in to[range.clone()].iter_mut().zip(&from[range]) {
        *to = from.load();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicBool;

    use super::super::body::{NO_GATEWAY, Vip, VipState};
    use super::super::memfd::tests::{FIXED, foreign};
    use super::super::writer::Writer;
    use super::*;

    const VERSION: u64 = super::super::body::LAYOUT_VERSION as u64;

    fn pair() -> (Writer, Reader) {
        let writer = Writer::create().unwrap();
        let reader = Reader::map(writer.fd().try_clone_to_owned().unwrap()).unwrap();
        (writer, reader)
    }

    /// A body each of whose used words is a function of `seed`.
    fn body(seed: u64) -> Box<Body> {
        let mut body = Body::boxed();
        body.vip_count = (seed % 4) as u32;
        body.published_ns = seed;
        for vip in &mut body.vips[..(seed % 4) as usize] {
            *vip = Vip::empty();
            vip.epoch = seed;
            vip.family = 4;
            vip.gateway_count = 9;
            vip.slots = [(seed % 9) as u8; 1024];
        }
        body
    }

    #[test]
    fn a_copy_follows_each_generation() {
        let (mut writer, reader) = pair();
        let mut copy = Copy::empty();
        assert_eq!(reader.refresh(&mut copy), Refresh::Unchanged);
        assert_eq!((copy.instance, copy.generation), (0, 0));
        for seed in 1..20 {
            assert_eq!(writer.publish(&body(seed)), seed);
            assert_eq!(reader.generation(), seed);
            assert_eq!(reader.refresh(&mut copy), Refresh::Copied);
            assert_eq!(reader.refresh(&mut copy), Refresh::Unchanged);
            assert_eq!((copy.instance, copy.generation), (writer.instance(), seed));
            assert_eq!(copy.body.vips().as_bytes(), body(seed).vips().as_bytes());
        }
        assert_eq!(copy.attempts, 19);
        assert!(!reader.publish_in_progress());
    }

    #[test]
    fn a_restarted_writer_is_told_by_its_instance_though_the_generation_is_equal() {
        let (mut first, reader) = pair();
        let mut copy = Copy::empty();
        first.publish(&body(1));
        reader.refresh(&mut copy);
        let (mut second, reader) = pair();
        assert_ne!(first.instance(), second.instance());
        assert_eq!(
            reader.refresh(&mut copy),
            Refresh::Unchanged,
            "nothing published yet: the old copy serves"
        );
        assert_eq!(copy.instance, first.instance());
        assert_eq!(second.publish(&body(2)), 1);
        assert_eq!(reader.refresh(&mut copy), Refresh::Copied);
        assert_eq!((copy.instance, copy.body.published_ns), (second.instance(), 2));
    }

    #[test]
    fn leases_and_the_heartbeat_stand_outside_of_the_generation() {
        let (writer, reader) = pair();
        assert!(!reader.lease(3).runs(0));
        writer.set_lease(3, 5_000, true);
        writer.set_lease(31, 6_000, false);
        writer.set_lease(MAX_GROUPS, 7_000, true);
        writer.heartbeat(99);
        assert_eq!(reader.lease(3), Lease { until_ns: 5_000, peer_known: true });
        assert_eq!(reader.lease(31), Lease { until_ns: 6_000, peer_known: false });
        assert_eq!(reader.lease(MAX_GROUPS), Lease { until_ns: 0, peer_known: false });
        assert!(reader.lease(3).runs(4_999) && !reader.lease(3).runs(5_000));
        assert_eq!((reader.heartbeat(), reader.generation()), (99, 0));
    }

    #[test]
    fn a_count_in_shared_memory_is_not_trusted() {
        let mut words = vec![u64::MAX; BYTES / 8];
        words[..4].copy_from_slice(&[MAGIC, VERSION, BYTES as u64, 5]);
        words[PLACE.generation] = 2;
        words[PLACE.marks[0]] = 4;
        let reader = Reader::map(foreign(&words, BYTES as u64, FIXED)).unwrap();
        let mut copy = Copy::empty();
        assert_eq!(reader.refresh(&mut copy), Refresh::Copied);
        assert_eq!(copy.body.vips().len(), MAX_VIPS);
        for vip in copy.body.vips() {
            assert_eq!(vip.state(), VipState::Inactive);
            assert!(vip.slots.iter().all(|slot| *slot == NO_GATEWAY));
        }
        assert_eq!(reader.lease(0).until_ns, u64::MAX >> 1);
    }

    #[test]
    fn a_writer_always_in_the_middle_leaves_the_copy_untouched_after_three_tries() {
        let mut words = vec![0; BYTES / 8];
        words[..4].copy_from_slice(&[MAGIC, VERSION, BYTES as u64, 5]);
        words[PLACE.generation] = 2;
        words[PLACE.marks[0]] = 7;
        let reader = Reader::map(foreign(&words, BYTES as u64, FIXED)).unwrap();
        let mut copy = Copy::empty();
        copy.body.published_ns = 42;
        assert_eq!(reader.refresh(&mut copy), Refresh::Kept);
        assert_eq!((copy.attempts, copy.generation, copy.body.published_ns), (3, 0, 42));
        assert!(reader.publish_in_progress());
    }

    #[test]
    fn foreign_memories_are_refused() {
        let head = |version, bytes: usize| [MAGIC, version, bytes as u64, 5];
        let map = |fd| Reader::map(fd).map(drop).unwrap_err();
        let wrong = map(foreign(&head(VERSION + 1, BYTES), BYTES as u64, FIXED));
        assert!(
            matches!(wrong, SnapshotError::Version { found, expected: VERSION, .. } if found == VERSION + 1),
            "{wrong}"
        );
        let short = map(foreign(&head(VERSION, 4096), 4096, FIXED));
        assert!(matches!(short, SnapshotError::Size { found: 4096, .. }), "{short}");
        let unsealed = map(foreign(&head(VERSION, BYTES), BYTES as u64, rustix::fs::SealFlags::empty()));
        assert!(matches!(unsealed, SnapshotError::NotSealed { .. }), "{unsealed}");
        let magic = map(foreign(&[1, VERSION, BYTES as u64, 5], BYTES as u64, FIXED));
        assert!(matches!(magic, SnapshotError::Magic { found: 1, .. }), "{magic}");
    }

    #[test]
    fn copies_under_a_busy_writer_in_another_thread_are_whole() {
        let (mut writer, reader) = pair();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for seed in 1..=20_000 {
                    writer.publish(&body(seed));
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut copy = Copy::empty();
            let mut copies = 0;
            while !done.load(Ordering::Relaxed) || reader.generation() != copy.generation {
                let before = (copy.generation, copy.attempts);
                let refresh = reader.refresh(&mut copy);
                assert!(copy.attempts - before.1 <= 3);
                match refresh {
                    Refresh::Copied => copies += 1,
                    Refresh::Unchanged | Refresh::Kept => assert_eq!(copy.generation, before.0),
                }
                assert!(copy.generation >= before.0);
                let expected = body(copy.generation);
                assert_eq!(copy.body.published_ns, copy.generation);
                assert!(copy.body.vips().as_bytes() == expected.vips().as_bytes(), "torn");
            }
            assert!(copies > 0);
            assert_eq!(copy.generation, 20_000);
        });
        assert!(writer.fd().as_fd().try_clone_to_owned().is_ok());
    }
}

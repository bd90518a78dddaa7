//! The control plane's end of the snapshot.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, IntoBytes};

use super::body::{Body, MAX_GROUPS, MAX_VIPS, Vip};
use super::error::SnapshotError;
use super::memfd::{self, HEADER_WORDS, LINE, SharedWords};
use super::seqlock::{self, Place};

pub(super) const WHAT: &str = "snapshot";
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"USHRSNAP");

/// Words of the body in front of the virtual addresses, and of each of them.
pub(super) const FRONT_WORDS: usize = std::mem::offset_of!(Body, vips) / 8;
pub(super) const VIP_WORDS: usize = size_of::<Vip>() / 8;
const BODY_WORDS: usize = size_of::<Body>() / 8;

// Every word that moves on its own has a cache line of its own.
pub(super) const HEARTBEAT: usize = HEADER_WORDS + LINE;
const LEASES: usize = HEARTBEAT + LINE;
const MARKS: usize = LEASES + MAX_GROUPS * LINE;
const BUFFERS: usize = MARKS + LINE;
const BUFFER_WORDS: usize = BODY_WORDS.next_multiple_of(LINE);
pub(super) const PLACE: Place = Place {
    generation: HEADER_WORDS,
    marks: [MARKS, MARKS + 1],
    buffers: [BUFFERS, BUFFERS + BUFFER_WORDS],
    len: BODY_WORDS,
};
/// Size of the memory, whole pages.
pub(super) const BYTES: usize = ((BUFFERS + 2 * BUFFER_WORDS) * 8).next_multiple_of(4096);

pub(super) const fn lease_word(group: usize) -> usize {
    LEASES + group * LINE
}

/// The writing end: usherd makes one at each start and hands its descriptor to the data plane.
///
/// Only `publish` needs it alone; leases and the heartbeat are single words.
pub struct Writer {
    fd: OwnedFd,
    words: SharedWords,
    instance: u64,
    generation: u64,
}

/// The memory as it is handed to a data plane: its descriptor and instance id.
pub struct Share {
    pub(super) fd: OwnedFd,
    pub(super) instance: u64,
}

impl Writer {
    /// Makes the memory: generation 0 (nothing published), no lease, a random instance id. Fails only when the kernel
    /// refuses 170 KiB.
    pub fn create() -> Result<Writer, SnapshotError> {
        let made = memfd::create(WHAT, MAGIC, BYTES / 8)?;
        Ok(Writer { fd: made.fd, words: made.words, instance: made.instance, generation: 0 })
    }

    /// Random, never 0: tells this memory from that of an earlier start.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// The last generation published, 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The descriptor to hand over; its holder can map it for reading only.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What a handover needs of this memory, for a thread that does not publish.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn share(&self) -> std::io::Result<Share> {
        Ok(Share { fd: self.fd.try_clone()?, instance: self.instance })
    }

    /// Makes `body` the newest generation and gives its number, from 1. Waits for nobody; takes some microseconds.
    pub fn publish(&mut self, body: &Body) -> u64 {
        let used = FRONT_WORDS + (body.vip_count as usize).min(MAX_VIPS) * VIP_WORDS;
        let words = <[u64]>::ref_from_bytes(body.as_bytes()).expect("a body is whole aligned words");
        self.generation += 1;
        seqlock::publish(&self.words, &PLACE, self.generation, &words[..used]);
        self.generation
    }

    /// Lets the lease of `group` run until `until_ns` (CLOCK_MONOTONIC); `peer_known`: another HSRP router is known, so
    /// that the data plane fences the group at its end instead of passing its requests. One atomic store. A group beyond
    /// [`MAX_GROUPS`] has no lease: nothing happens. Publish a group before its first lease.
    pub fn set_lease(&self, group: usize, until_ns: u64, peer_known: bool) {
        if group < MAX_GROUPS {
            self.words[lease_word(group)].store(until_ns << 1 | u64::from(peer_known), Ordering::Release);
        }
    }

    /// Says that the control plane lives (CLOCK_MONOTONIC in ns).
    pub fn heartbeat(&self, now_ns: u64) {
        self.words[HEARTBEAT].store(now_ns, Ordering::Relaxed);
    }
}

//! The one file that maps memory: makes and seals a memfd, checks one that another process made, hands out its words.
//!
//! Everything beyond this file sees slices of atomic words. A mapping of ours is [`SharedWords`], one of another process
//! [`ReadOnlyWords`], whose words have no store.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::body::LAYOUT_VERSION;
use super::error::SnapshotError;

/// Words of a cache line.
pub(super) const LINE: usize = 8;
/// Words of the header both memories begin with.
pub(super) const HEADER_WORDS: usize = LINE;
/// `f_type` of the kernel's memory files, <linux/magic.h>.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
const MAGIC: usize = 0;
const VERSION: usize = 1;
const BYTES: usize = 2;
const INSTANCE: usize = 3;

/// A word of a memory we may only read.
///
/// Its one access is a relaxed load: only that is promised to work on memory that is mapped read-only (an acquire load
/// is not, see `core::sync::atomic`, "Atomic accesses to read-only memory"). Who needs acquire puts a fence behind it.
#[repr(transparent)]
pub(super) struct ReadOnlyWord(AtomicU64);

impl ReadOnlyWord {
    #[inline(always)]
    pub(super) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Region {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: a region is plain memory accessed through atomics only; no thread owns it.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn map(fd: &OwnedFd, words: usize, prot: ProtFlags) -> Result<Arc<Region>, Errno> {
        // SAFETY: the kernel chooses the address (null hint, no MAP_FIXED), so no existing mapping is touched.
        let start =
            unsafe { rustix::mm::mmap(null_mut(), words * 8, prot, MapFlags::SHARED, fd.as_fd(), 0)? };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Arc::new(Region { start, words }))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `map` got; windows hold an `Arc` of this region, so none is left.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.words * 8) };
    }
}

/// A window on a mapping: keeps it alive, dereferences to its words.
pub(super) struct Window<W> {
    start: NonNull<W>,
    len: usize,
    region: Arc<Region>,
    _words: PhantomData<[W]>,
}

/// Words of a memory this process made and writes.
pub(super) type SharedWords = Window<AtomicU64>;
/// Words of a memory another process made.
pub(super) type ReadOnlyWords = Window<ReadOnlyWord>;

// SAFETY: a window is a shared slice of atomics (`W` is `AtomicU64` or its transparent wrapper) with an `Arc` of a `Send +
// Sync` region.
unsafe impl<W: Sync> Send for Window<W> {}
// SAFETY: as above.
unsafe impl<W: Sync> Sync for Window<W> {}

impl<W> Window<W> {
    /// A part of the window that lives on its own; panics if `range` is not within it.
    pub(super) fn part(&self, range: Range<usize>) -> Window<W> {
        let part = &self[range];
        Window {
            start: NonNull::from(part).cast(),
            len: part.len(),
            region: self.region.clone(),
            _words: PhantomData,
        }
    }
}

impl<W> Deref for Window<W> {
    type Target = [W];

    #[inline(always)]
    fn deref(&self) -> &[W] {
        // SAFETY: `start` and `len` name words within the region, which the `Arc` keeps mapped, aligned by the page, and
        // whose memory cannot vanish since its size is sealed. `W` is an atomic (or a transparent wrapper of one), so
        // writes of another process are no data race; a region mapped read-only is only ever a window of `ReadOnlyWord`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

/// A memory of ours, header written.
pub(super) struct Created {
    pub(super) fd: OwnedFd,
    pub(super) words: SharedWords,
    pub(super) instance: u64,
}

/// Makes a memfd of `words` words (rounded up to pages), maps it, writes the header and seals it: nobody can resize it
/// and nobody but this mapping can write it.
pub(super) fn create(what: &'static str, magic: u64, words: usize) -> Result<Created, SnapshotError> {
    let failed = |step| move |source| SnapshotError::Kernel { what, step, source };
    let bytes = (words * 8).next_multiple_of(4096);
    let fd = rustix::fs::memfd_create(
        format!("usher-{what}").as_str(),
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )
    .map_err(failed("memfd_create"))?;
    rustix::fs::ftruncate(&fd, bytes as u64).map_err(failed("ftruncate"))?;
    // Takes the pages now: later a full memory would end a process in the middle of a write.
    rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)
        .map_err(failed("fallocate"))?;
    let region = Region::map(&fd, bytes / 8, ProtFlags::READ | ProtFlags::WRITE).map_err(failed("mmap"))?;
    let words = Window { start: region.start, len: region.words, region, _words: PhantomData };
    let mut instance = 0;
    while instance == 0 {
        let mut random = [0u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(failed("getrandom"))?;
        instance = u64::from_ne_bytes(random);
    }
    words[MAGIC].store(magic, Ordering::Relaxed);
    words[VERSION].store(LAYOUT_VERSION.into(), Ordering::Relaxed);
    words[BYTES].store(bytes as u64, Ordering::Relaxed);
    words[INSTANCE].store(instance, Ordering::Relaxed);
    // After the mapping: it is the one writable mapping there will ever be.
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&fd, seals).map_err(failed("sealing"))?;
    Ok(Created { fd, words, instance })
}

/// Maps a memfd of another process for reading, after checking that it cannot shrink, that its size is within `sizes`
/// (bytes), and that its header is one of ours. Gives the words and the instance id.
pub(super) fn open(
    what: &'static str,
    magic: u64,
    fd: OwnedFd,
    sizes: Range<u64>,
) -> Result<(ReadOnlyWords, u64), SnapshotError> {
    let failed = |step| move |source| SnapshotError::Kernel { what, step, source };
    // What is no memfd has no seals: EINVAL.
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| SnapshotError::NotSealed { what })?;
    // On huge pages a read can fail (SIGBUS) for want of a page; nobody of ours hands over such.
    let plain = rustix::fs::fstatfs(&fd).map_err(failed("fstatfs"))?.f_type == TMPFS_MAGIC;
    if !plain || !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return Err(SnapshotError::NotSealed { what });
    }
    let found = rustix::fs::fstat(&fd).map_err(failed("fstat"))?.st_size as u64;
    // The header may lie in a memory of any size: say "other version" rather than "wrong size" where that is the cause.
    if found < 8 * HEADER_WORDS as u64 || !found.is_multiple_of(8) || found > 1 << 26 {
        return Err(SnapshotError::Size { what, found, expected: sizes.start });
    }
    let region = Region::map(&fd, found as usize / 8, ProtFlags::READ).map_err(failed("mmap"))?;
    let words = ReadOnlyWords { start: region.start.cast(), len: region.words, region, _words: PhantomData };
    let [in_magic, version, in_bytes, instance] =
        [MAGIC, VERSION, BYTES, INSTANCE].map(|word| words[word].load());
    if in_magic != magic {
        return Err(SnapshotError::Magic { what, found: in_magic });
    }
    if version != u64::from(LAYOUT_VERSION) {
        return Err(SnapshotError::Version { what, found: version, expected: LAYOUT_VERSION.into() });
    }
    if !sizes.contains(&found) {
        return Err(SnapshotError::Size { what, found, expected: sizes.start });
    }
    if in_bytes != found {
        return Err(SnapshotError::Size { what, found: in_bytes, expected: found });
    }
    Ok((words, instance))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const WORD: &[u8; 8] = b"TESTTEST";
    const TEST: u64 = u64::from_ne_bytes(*WORD);

    /// A memfd with these words, sealed as told: what a foreign or hostile process might hand over.
    pub(crate) fn foreign(words: &[u64], bytes: u64, seals: SealFlags) -> OwnedFd {
        let fd = rustix::fs::memfd_create("foreign", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, bytes).unwrap();
        let content: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        rustix::io::pwrite(&fd, &content, 0).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    pub(crate) const FIXED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

    #[test]
    fn what_one_side_stores_the_other_loads() {
        let made = create("test", TEST, 1000).unwrap();
        let (words, instance) = open("test", TEST, made.fd.try_clone().unwrap(), 8192..8193).unwrap();
        assert_ne!(instance, 0);
        assert_eq!(instance, made.instance);
        assert_eq!(words.len(), 1024);
        made.words[1023].store(77, Ordering::Relaxed);
        let part = words.part(1020..1024);
        drop(words);
        assert_eq!(part[3].load(), 77);
    }

    #[test]
    fn nobody_can_resize_or_write_a_memory_of_ours() {
        let made = create("test", TEST, 1000).unwrap();
        assert_eq!(rustix::fs::ftruncate(&made.fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&made.fd, 1 << 20), Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(&made.fd, &[1], 0), Err(Errno::PERM));
        assert!(Region::map(&made.fd, 1, ProtFlags::READ | ProtFlags::WRITE).is_err());
        assert_eq!(rustix::fs::fcntl_add_seals(&made.fd, SealFlags::WRITE), Err(Errno::PERM));
    }

    #[test]
    fn a_foreign_memory_is_refused_with_the_reason() {
        let good = [TEST, LAYOUT_VERSION.into(), 4096, 9];
        let open = |fd| open("test", TEST, fd, 4096..4097).map(|(_, instance)| instance);
        assert_eq!(open(foreign(&good, 4096, FIXED)).unwrap(), 9);
        let refused = |words: &[u64], bytes, seals| open(foreign(words, bytes, seals)).unwrap_err();
        assert!(matches!(refused(&good, 4096, SealFlags::empty()), SnapshotError::NotSealed { .. }));
        assert!(matches!(refused(&good, 4096, SealFlags::SHRINK), SnapshotError::NotSealed { .. }));
        assert!(matches!(refused(&good, 4096, SealFlags::GROW), SnapshotError::NotSealed { .. }));
        assert!(matches!(refused(&[0], 4096, FIXED), SnapshotError::Magic { found: 0, .. }));
        assert!(matches!(refused(&[TEST, 99], 8192, FIXED), SnapshotError::Version { found: 99, .. }));
        assert!(matches!(
            refused(&good, 2048, FIXED),
            SnapshotError::Size { found: 2048, expected: 4096, .. }
        ));
        assert!(matches!(refused(&good[..3], 4104, FIXED), SnapshotError::Size { found: 4104, .. }));
        assert!(matches!(refused(&good[..0], 0, FIXED), SnapshotError::Size { found: 0, .. }));
        assert!(matches!(refused(&good[..0], 1 << 27, FIXED), SnapshotError::Size { .. }));
        let lying = [TEST, LAYOUT_VERSION.into(), 1 << 40, 9];
        assert!(matches!(refused(&lying, 4096, FIXED), SnapshotError::Size { expected: 4096, .. }));
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert!(matches!(open(file.into()).unwrap_err(), SnapshotError::NotSealed { .. }));
        let error = refused(&[TEST, 99], 4096, FIXED).to_string();
        assert!(error.contains("99") && error.contains("same release"), "{error}");
    }
}

//! Why a shared memory could not be made or is refused.

use rustix::io::Errno;

/// A shared memory that could not be made, or one from another process that is refused.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The kernel refused a step of making or mapping the memory.
    #[error(
        "{what} memory: {step}: {source}: raise the memory limit of this service or free memory, then restart it"
    )]
    Kernel {
        /// `snapshot` or `feedback`.
        what: &'static str,
        /// The step.
        step: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The descriptor is no memfd, or its size is not fixed by seals: the other side could crash us by truncating it.
    #[error(
        "{what} memory: the descriptor received is not a memfd sealed against shrinking and growing: \
         connect only usherd and usher-dataplane of this release to each other"
    )]
    NotSealed {
        /// `snapshot` or `feedback`.
        what: &'static str,
    },
    /// The size is not the one this layout has.
    #[error(
        "{what} memory: {found} bytes where {expected} belong: \
         install usherd and usher-dataplane of the same release and restart both"
    )]
    Size {
        /// `snapshot` or `feedback`.
        what: &'static str,
        /// Bytes of the memory, or what its own header claims.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The first word is not the magic number.
    #[error(
        "{what} memory: magic number {found:#018x} is not ours: \
         connect only usherd and usher-dataplane of this release to each other"
    )]
    Magic {
        /// `snapshot` or `feedback`.
        what: &'static str,
        /// The number found.
        found: u64,
    },
    /// Another version of the layout.
    #[error(
        "{what} memory: layout version {found}, this program knows {expected}: \
         install usherd and usher-dataplane of the same release and restart both"
    )]
    Version {
        /// `snapshot` or `feedback`.
        what: &'static str,
        /// The version found.
        found: u64,
        /// The version known.
        expected: u64,
    },
    /// A count is beyond what the layout allows.
    #[error("{what} memory: {found} {object}, at most {limit} are possible: reduce them and restart")]
    Count {
        /// `snapshot` or `feedback`.
        what: &'static str,
        /// What is counted.
        object: &'static str,
        /// The number found.
        found: u64,
        /// The most possible.
        limit: usize,
    },
}

//! Fields of received messages, read by their offset.

/// The array at `at`; zeros beyond the end.
pub(super) fn array<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    data.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

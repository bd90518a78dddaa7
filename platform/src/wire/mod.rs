//! Formats on the wire: one format a file, in smoltcp's manner.
//!
//! Each file has a field table on top, a view over borrowed bytes whose `new_checked` is the promise that no
//! accessor panics afterwards, and its tests on literal bytes at the end. Nothing here allocates, reads a clock or
//! panics on any input, and nothing needs more than `core`.
//!
//! All fields are big-endian on the wire; accessors return host order.

use core::ops::Range;

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv6;
pub mod ike;
pub mod ipv4;
pub mod ipv6;
pub mod notify;
pub mod plain;
pub mod redirect;
pub mod udp;

/// Where a field lies in its header.
type Field = Range<usize>;

/// Why a view could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The buffer ends before the header or before the length that the header claims.
    Truncated,
    /// A field contradicts the format (version, header length, payload length).
    Malformed,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Error::Truncated => "the buffer ends before the header or the length it claims",
            Error::Malformed => "a field contradicts the format",
        })
    }
}

impl core::error::Error for Error {}

/// The array at `at`; `None` beyond the end. The one bounds check behind every accessor.
#[inline(always)]
fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk::<N>().copied()
}

#[inline(always)]
fn u16_at(data: &[u8], field: Field) -> u16 {
    array(data, field.start).map_or(0, u16::from_be_bytes)
}

#[inline(always)]
fn u32_at(data: &[u8], field: Field) -> u32 {
    array(data, field.start).map_or(0, u32::from_be_bytes)
}

#[inline(always)]
fn u64_at(data: &[u8], field: Field) -> u64 {
    array(data, field.start).map_or(0, u64::from_be_bytes)
}

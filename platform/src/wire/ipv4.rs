//! IPv4 (RFC 791) with options.

use super::checksum::{self, pair, quad};
use super::{Error, Field, array, u16_at};

mod field {
    use super::Field;
    pub const VERSION_IHL: usize = 0;
    pub const TOS: usize = 1;
    pub const TOTAL_LENGTH: Field = 2..4;
    pub const ID: Field = 4..6;
    pub const FLAGS_OFFSET: Field = 6..8;
    pub const TTL: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: Field = 10..12;
    pub const SOURCE: Field = 12..16;
    pub const DESTINATION: Field = 16..20;
}

/// Bytes of a header without options.
pub const HEADER_LEN: usize = field::DESTINATION.end;
/// Bytes from the start of the header to the two addresses, which stand next to each other.
pub const ADDRESSES: Field = field::SOURCE.start..field::DESTINATION.end;

const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;

/// A view over a packet, cut to its total length (an Ethernet frame may be padded behind it).
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    data: &'a [u8],
    header_len: usize,
}

impl<'a> Packet<'a> {
    /// Checks version, header length and total length. The checksum is a question of its own.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the buffer ends before the header or the total length, [`Error::Malformed`] for a
    /// version other than 4, a header under 20 bytes or one longer than the packet.
    #[inline]
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Error> {
        if data.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let header_len = usize::from(data[field::VERSION_IHL] & 0x0f) * 4;
        let total = usize::from(u16_at(data, field::TOTAL_LENGTH));
        if data[field::VERSION_IHL] >> 4 != 4 || header_len < HEADER_LEN || total < header_len {
            return Err(Error::Malformed);
        }
        Ok(Packet { data: data.get(..total).ok_or(Error::Truncated)?, header_len })
    }

    /// Header with options, in bytes: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Whether the header's checksum is right.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        checksum::verify(checksum::add(0, self.data.get(..self.header_len).unwrap_or_default()))
    }

    /// DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.data[field::TOS]
    }

    /// The identification that the fragments of one datagram share.
    #[inline]
    pub fn id(&self) -> u16 {
        u16_at(self.data, field::ID)
    }

    /// Whether this is a piece of a datagram: more fragments follow, or it is not the first.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        u16_at(self.data, field::FLAGS_OFFSET) & !DONT_FRAGMENT & 0x7fff != 0
    }

    /// Whether more fragments follow.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        u16_at(self.data, field::FLAGS_OFFSET) & MORE_FRAGMENTS != 0
    }

    /// Where the fragment's payload stands in the datagram's, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(u16_at(self.data, field::FLAGS_OFFSET) & 0x1fff) * 8
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.data[field::TTL]
    }

    /// The protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.data[field::PROTOCOL]
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> [u8; 4] {
        array(self.data, field::SOURCE.start).unwrap_or_default()
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> [u8; 4] {
        array(self.data, field::DESTINATION.start).unwrap_or_default()
    }

    /// Source and destination as they stand, for a pseudo header.
    #[inline]
    pub fn addresses(&self) -> &'a [u8] {
        &self.data[ADDRESSES]
    }

    /// Whether the options hold a source route, loose (131) or strict (137), or end in an unreadable one.
    pub fn source_routed(&self) -> bool {
        let mut options = self.data.get(HEADER_LEN..self.header_len).unwrap_or_default();
        loop {
            match options {
                [] | [0, ..] => return false,
                [1, rest @ ..] => options = rest,
                [131 | 137, ..] => return true,
                [_, length, ..] if *length >= 2 && usize::from(*length) <= options.len() => {
                    options = &options[usize::from(*length)..];
                }
                _ => return true,
            }
        }
    }

    /// The bytes behind the header, up to the total length.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.data.get(self.header_len..).unwrap_or_default()
    }
}

/// Writes a header without options in front of a payload: identification 0 with DF, which RFC 6864 section 4.1
/// allows for a datagram that is never fragmented; checksum included.
/// Does nothing to a buffer shorter than a header.
#[inline(always)]
pub fn emit_header(
    packet: &mut [u8],
    tos: u8,
    total_length: u16,
    ttl: u8,
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
) {
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    header[field::VERSION_IHL] = 0x45;
    header[field::TOS] = tos;
    header[field::TOTAL_LENGTH].copy_from_slice(&total_length.to_be_bytes());
    header[field::ID].fill(0);
    header[field::FLAGS_OFFSET].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    header[field::TTL] = ttl;
    header[field::PROTOCOL] = protocol;
    let sum = pair([0x45, tos])
        + pair(total_length.to_be_bytes())
        + pair(DONT_FRAGMENT.to_be_bytes())
        + pair([ttl, protocol])
        + quad(source)
        + quad(destination);
    header[field::CHECKSUM].copy_from_slice(&checksum::finish(sum));
    header[field::SOURCE].copy_from_slice(&source);
    header[field::DESTINATION].copy_from_slice(&destination);
}

/// Turns the header of a first fragment into that of the whole datagram: total length, no fragment bits, checksum.
/// `header` is the header with its options.
pub fn make_whole(header: &mut [u8], total_length: u16) {
    if header.len() < HEADER_LEN {
        return;
    }
    header[field::TOTAL_LENGTH].copy_from_slice(&total_length.to_be_bytes());
    header[field::FLAGS_OFFSET].fill(0);
    header[field::CHECKSUM].fill(0);
    let sum = checksum::finish(checksum::add(0, header));
    header[field::CHECKSUM].copy_from_slice(&sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 192.0.2.9 -> 192.0.2.1, UDP, 4 bytes of payload, 2 of padding; the checksum was computed by hand.
    const LITERAL: [u8; 26] = [
        0x45, 0xb8, 0, 24, 0x12, 0x34, 0x40, 0, 64, 17, 0xa3, 0xde, 192, 0, 2, 9, 192, 0, 2, 1, 1, 2, 3, 4,
        0, 0,
    ];

    #[test]
    fn a_literal_packet_is_read_and_padding_is_cut() {
        let packet = Packet::new_checked(&LITERAL).unwrap();
        assert_eq!((packet.header_len(), packet.tos(), packet.ttl(), packet.protocol()), (20, 0xb8, 64, 17));
        assert_eq!((packet.source(), packet.destination()), ([192, 0, 2, 9], [192, 0, 2, 1]));
        assert!(!packet.is_fragment() && !packet.source_routed());
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        assert!(packet.verify_checksum());
    }

    #[test]
    fn wrong_lengths_and_versions_are_refused() {
        let with = |at: usize, byte: u8| {
            let mut data = LITERAL;
            data[at] = byte;
            Packet::new_checked(&data).err()
        };
        assert_eq!(with(0, 0x65), Some(Error::Malformed), "version 6");
        assert_eq!(with(0, 0x44), Some(Error::Malformed), "header of 16");
        assert_eq!(with(0, 0x4f), Some(Error::Malformed), "header longer than the packet");
        assert_eq!(with(3, 19), Some(Error::Malformed), "total length under the header");
        assert_eq!(with(3, 27), Some(Error::Truncated), "total length beyond the end");
        assert_eq!(Packet::new_checked(&LITERAL[..19]).err(), Some(Error::Truncated));
    }

    #[test]
    fn options_are_walked_to_their_end() {
        let with = |options: [u8; 8]| {
            let mut data = [0u8; 28];
            data[..20].copy_from_slice(&LITERAL[..20]);
            (data[0], data[3]) = (0x47, 28);
            data[20..].copy_from_slice(&options);
            Packet::new_checked(&data).unwrap().source_routed()
        };
        assert!(!with([1, 1, 148, 4, 0, 0, 0, 0]), "router alert");
        assert!(with([1, 131, 7, 4, 1, 1, 1, 1]), "loose source route behind a no-op");
        assert!(with([137, 7, 4, 1, 1, 1, 1, 0]), "strict source route");
        assert!(with([7, 9, 0, 0, 0, 0, 0, 0]), "an option longer than the header");
        assert!(with([7, 1, 0, 0, 0, 0, 0, 0]), "an option of length 1");
        assert!(!with([0, 131, 7, 4, 1, 1, 1, 1]), "what follows the end of options is none");
    }

    #[test]
    fn an_emitted_header_leaves_no_byte_unwritten_and_etherparse_reads_it() {
        let mut data = [0xa5; 24];
        emit_header(&mut data, 0xb8, 24, 64, 17, [192, 0, 2, 1], [192, 0, 2, 9]);
        assert_eq!(data[20..], [0xa5; 4]);
        let header = etherparse::Ipv4Header::from_slice(&data).unwrap().0;
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert_eq!((header.total_len, header.time_to_live, header.dont_fragment), (24, 64, true));
        assert_eq!((header.source, header.destination), ([192, 0, 2, 1], [192, 0, 2, 9]));
        assert!(Packet::new_checked(&data).unwrap().verify_checksum());
    }

    proptest! {
        #[test]
        fn no_input_panics(mut data in proptest::collection::vec(any::<u8>(), 0..128), total in 0u16..140) {
            if data.len() > 4 {
                data[0] = 0x40 | data[0] & 0xf;
                data[2..4].copy_from_slice(&total.to_be_bytes());
            }
            if let Ok(packet) = Packet::new_checked(&data) {
                let _ = (packet.verify_checksum(), packet.source_routed(), packet.payload(), packet.addresses());
                let _ = (packet.is_fragment(), packet.fragment_offset(), packet.id(), packet.more_fragments());
                prop_assert_eq!(packet.header_len() + packet.payload().len(), usize::from(total));
            }
        }
    }
}

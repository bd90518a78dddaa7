//! IPv6 (RFC 8200): the fixed header and a bounded walk over the extension headers.

use super::{Error, Field, array, u16_at, u32_at};

mod field {
    use super::Field;
    pub const VERSION_CLASS_FLOW: Field = 0..4;
    pub const PAYLOAD_LENGTH: Field = 4..6;
    pub const NEXT_HEADER: usize = 6;
    pub const HOP_LIMIT: usize = 7;
    pub const SOURCE: Field = 8..24;
    pub const DESTINATION: Field = 24..40;
}

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = field::DESTINATION.end;
/// Bytes from the start of the header to the two addresses, which stand next to each other.
pub const ADDRESSES: Field = field::SOURCE.start..field::DESTINATION.end;
/// Extension headers that are walked; a packet with more is left to the kernel.
pub const MAX_EXTENSIONS: usize = 8;

/// Protocol numbers of the extension headers and of ICMPv6.
pub mod next {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

/// A view over a packet, cut to its payload length.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a>(&'a [u8]);

/// What a fragment header says (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The identification that the fragments of one datagram share.
    pub id: u32,
    /// Where the fragment's payload stands in the datagram's, in bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
    /// The header that the first fragment's payload starts with.
    pub next: u8,
    /// Where the fragment's payload starts, in bytes from the start of the packet.
    pub payload: usize,
}

/// Where the walk over the extension headers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// The protocol found: an upper layer, or an extension header that is not walked (AH, ESP, ...).
    pub protocol: u8,
    /// Where it starts, in bytes from the start of the packet.
    pub offset: usize,
    /// A routing header with segments left was on the way.
    pub source_routed: bool,
    /// The fragment header on the way, an atomic one (RFC 6946) included.
    pub fragment: Option<Fragment>,
}

impl<'a> Packet<'a> {
    /// Checks version and payload length.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the buffer ends before the header or the payload length, [`Error::Malformed`] for a
    /// version other than 6.
    #[inline]
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Error> {
        if data.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if data[0] >> 4 != 6 {
            return Err(Error::Malformed);
        }
        let total = HEADER_LEN + usize::from(u16_at(data, field::PAYLOAD_LENGTH));
        Ok(Packet(data.get(..total).ok_or(Error::Truncated)?))
    }

    /// Traffic class: DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (u32_at(self.0, field::VERSION_CLASS_FLOW) >> 20) as u8
    }

    /// The header behind the fixed one.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.0[field::NEXT_HEADER]
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.0[field::HOP_LIMIT]
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> [u8; 16] {
        array(self.0, field::SOURCE.start).unwrap_or_default()
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> [u8; 16] {
        array(self.0, field::DESTINATION.start).unwrap_or_default()
    }

    /// Source and destination as they stand, for a pseudo header.
    #[inline]
    pub fn addresses(&self) -> &'a [u8] {
        &self.0[ADDRESSES]
    }

    /// The whole packet, fixed header included, up to the payload length.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Walks the extension headers to the upper layer. The walk ends at a fragment that is not atomic, since what lies
    /// behind it may be the middle of anything.
    ///
    /// # Errors
    /// [`Error::Truncated`] when an extension header ends beyond the packet, [`Error::Malformed`] for more than
    /// [`MAX_EXTENSIONS`], a hop-by-hop header elsewhere than first (RFC 8200 section 4.1) or a second fragment header.
    #[inline]
    pub fn upper(&self) -> Result<Upper, Error> {
        let protocol = self.next_header();
        let upper = Upper { protocol, offset: HEADER_LEN, source_routed: false, fragment: None };
        if matches!(protocol, next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::DESTINATION) {
            self.walk(upper)
        } else {
            Ok(upper)
        }
    }

    #[cold]
    fn walk(&self, mut upper: Upper) -> Result<Upper, Error> {
        for count in 0..=MAX_EXTENSIONS {
            let header: [u8; 8] = match upper.protocol {
                next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::DESTINATION => {
                    array(self.0, upper.offset).ok_or(Error::Truncated)?
                }
                _ => return Ok(upper),
            };
            let length = match upper.protocol {
                next::HOP_BY_HOP if count > 0 => return Err(Error::Malformed),
                next::FRAGMENT => {
                    if upper.fragment.is_some() {
                        return Err(Error::Malformed);
                    }
                    let bits = u16::from_be_bytes([header[2], header[3]]);
                    let fragment = Fragment {
                        id: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                        offset: usize::from(bits & 0xfff8),
                        more: bits & 1 != 0,
                        next: header[0],
                        payload: upper.offset + 8,
                    };
                    upper.fragment = Some(fragment);
                    if fragment.more || fragment.offset != 0 {
                        upper.protocol = fragment.next;
                        upper.offset = fragment.payload;
                        return Ok(upper);
                    }
                    8
                }
                next::ROUTING => {
                    upper.source_routed |= header[3] != 0;
                    8 + usize::from(header[1]) * 8
                }
                _ => 8 + usize::from(header[1]) * 8,
            };
            upper.protocol = header[0];
            upper.offset += length;
            if upper.offset > self.0.len() {
                return Err(Error::Truncated);
            }
        }
        Err(Error::Malformed)
    }
}

/// Writes a fixed header with flow label 0. Does nothing to a buffer shorter than a header.
#[inline(always)]
pub fn emit_header(
    packet: &mut [u8],
    traffic_class: u8,
    payload_length: u16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
) {
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let first = 6 << 28 | u32::from(traffic_class) << 20;
    header[field::VERSION_CLASS_FLOW].copy_from_slice(&first.to_be_bytes());
    header[field::PAYLOAD_LENGTH].copy_from_slice(&payload_length.to_be_bytes());
    header[field::NEXT_HEADER] = next_header;
    header[field::HOP_LIMIT] = hop_limit;
    header[field::SOURCE].copy_from_slice(&source);
    header[field::DESTINATION].copy_from_slice(&destination);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut data = vec![0xa5; HEADER_LEN];
        emit_header(&mut data, 0xb8, payload.len() as u16, next_header, 64, [0x20; 16], [0x30; 16]);
        data.extend_from_slice(payload);
        data
    }

    #[test]
    fn an_emitted_header_leaves_no_byte_unwritten_and_etherparse_reads_it() {
        let data = packet(17, &[1, 2, 3, 4]);
        let header = etherparse::Ipv6Header::from_slice(&data).unwrap().0;
        assert_eq!((header.traffic_class, header.flow_label.value(), header.hop_limit), (0xb8, 0, 64));
        assert_eq!((header.payload_length, header.next_header.0), (4, 17));
        let view = Packet::new_checked(&data).unwrap();
        assert_eq!((view.traffic_class(), view.hop_limit()), (0xb8, 64));
        assert_eq!((view.source(), view.destination()), ([0x20; 16], [0x30; 16]));
        assert_eq!(
            view.upper().unwrap(),
            Upper { protocol: 17, offset: 40, source_routed: false, fragment: None }
        );
    }

    #[test]
    fn extension_headers_are_walked() {
        let hop = [60, 0, 1, 4, 0, 0, 0, 0];
        let destination = [17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let data = packet(0, &[&hop[..], &destination, &[9; 8]].concat());
        let upper = Packet::new_checked(&data).unwrap().upper().unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.source_routed), (17, 64, false));
    }

    #[test]
    fn a_routing_header_with_segments_left_is_told() {
        for (left, routed) in [(1, true), (0, false)] {
            let data = packet(43, &[17, 0, 0, left, 0, 0, 0, 0, 9, 9]);
            assert_eq!(Packet::new_checked(&data).unwrap().upper().unwrap().source_routed, routed);
        }
    }

    #[test]
    fn a_fragment_ends_the_walk_and_an_atomic_one_does_not() {
        let data = packet(44, &[60, 0, 0, 0x11, 0, 0, 0, 7, 1, 2]);
        let upper = Packet::new_checked(&data).unwrap().upper().unwrap();
        let fragment = Fragment { id: 7, offset: 16, more: true, next: 60, payload: 48 };
        assert_eq!((upper.fragment, upper.protocol, upper.offset), (Some(fragment), 60, 48));
        let data = packet(44, &[17, 0, 0, 0, 0, 0, 0, 7, 1, 2]);
        assert_eq!(Packet::new_checked(&data).unwrap().upper().unwrap().protocol, 17);
    }

    #[test]
    fn bad_chains_are_refused() {
        let upper = |next, payload: &[u8]| Packet::new_checked(&packet(next, payload)).unwrap().upper().err();
        assert_eq!(upper(0, &[17, 1, 0, 0, 0, 0, 0, 0]), Some(Error::Truncated), "beyond the end");
        assert_eq!(upper(60, &[0; 7]), Some(Error::Truncated), "cut");
        assert_eq!(
            upper(60, &[0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0]),
            Some(Error::Malformed),
            "late hop-by-hop"
        );
        assert_eq!(upper(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9)), Some(Error::Malformed), "too many");
    }

    proptest! {
        #[test]
        fn no_input_panics(next in prop_oneof![Just(0u8), Just(43), Just(44), Just(60), any::<u8>()],
                           payload in proptest::collection::vec(prop_oneof![Just(0u8), Just(44), Just(60), any::<u8>()], 0..128)) {
            let data = packet(next, &payload);
            let view = Packet::new_checked(&data).unwrap();
            if let Ok(upper) = view.upper() {
                prop_assert!(upper.offset <= data.len());
            }
        }
    }
}

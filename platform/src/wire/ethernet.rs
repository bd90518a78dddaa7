//! Ethernet II frames with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use super::{Error, Field, array, u16_at};

mod field {
    use super::Field;
    pub const DESTINATION: Field = 0..6;
    pub const SOURCE: Field = 6..12;
    pub const ETHERTYPE: Field = 12..14;
}

/// Bytes of the header without tags.
pub const HEADER_LEN: usize = field::ETHERTYPE.end;
/// Bytes of one VLAN tag.
pub const TAG_LEN: usize = 4;
/// Tags that are looked through; a frame with more is left alone.
pub const MAX_TAGS: usize = 2;

/// The EtherTypes that Usher tells apart.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Customer VLAN tag (802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// Service VLAN tag (802.1ad).
    pub const QINQ: u16 = 0x88a8;
}

/// A MAC address.
pub type Mac = [u8; 6];

/// Whether the group bit is set: multicast or broadcast.
#[inline(always)]
pub fn is_group(mac: &Mac) -> bool {
    mac[0] & 1 != 0
}

/// A MAC from its text, six hexadecimal bytes with colons: `02:00:00:00:00:01`.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2))?;
        // from_str_radix alone would take a sign.
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| !part.starts_with('+'))?;
    }
    parts.next().is_none().then_some(mac)
}

/// A view over a frame whose header and tags are complete.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    data: &'a [u8],
    ethertype: u16,
    payload: usize,
}

impl<'a> Frame<'a> {
    /// Looks through the header and at most [`MAX_TAGS`] tags.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the frame ends inside the header or a tag.
    #[inline]
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Error> {
        if data.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let mut ethertype = u16_at(data, field::ETHERTYPE);
        let mut payload = HEADER_LEN;
        while (ethertype == ethertype::VLAN || ethertype == ethertype::QINQ)
            && payload < HEADER_LEN + MAX_TAGS * TAG_LEN
        {
            if data.len() < payload + TAG_LEN {
                return Err(Error::Truncated);
            }
            ethertype = u16_at(data, payload + 2..payload + 4);
            payload += TAG_LEN;
        }
        Ok(Frame { data, ethertype, payload })
    }

    /// The destination MAC.
    #[inline]
    pub fn destination(&self) -> Mac {
        array(self.data, field::DESTINATION.start).unwrap_or_default()
    }

    /// The source MAC.
    #[inline]
    pub fn source(&self) -> Mac {
        array(self.data, field::SOURCE.start).unwrap_or_default()
    }

    /// The EtherType behind the tags; a VLAN type when there are more than [`MAX_TAGS`].
    #[inline]
    pub fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Where the payload starts, in bytes from the start of the frame: 14, 18 or 22.
    #[inline]
    pub fn payload_offset(&self) -> usize {
        self.payload
    }

    /// The bytes behind header and tags, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.data.get(self.payload..).unwrap_or_default()
    }
}

/// Writes destination and source; tags and EtherType stay. Does nothing to a buffer shorter than a header.
#[inline]
pub fn set_addresses(frame: &mut [u8], destination: Mac, source: Mac) {
    if let Some(head) = frame.first_chunk_mut::<HEADER_LEN>() {
        head[field::DESTINATION].copy_from_slice(&destination);
        head[field::SOURCE].copy_from_slice(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLE: [u8; 24] =
        [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xa8, 0, 100, 0x81, 0x00, 0, 7, 0x08, 0x00, 0x45, 0x00];

    #[test]
    fn two_tags_are_looked_through_and_a_third_is_not() {
        let frame = Frame::new_checked(&DOUBLE).unwrap();
        assert_eq!((frame.ethertype(), frame.payload_offset()), (ethertype::IPV4, 22));
        assert_eq!(frame.destination(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(frame.source(), [2, 0, 0, 0, 0, 9]);
        assert_eq!(frame.payload(), [0x45, 0]);
        let mut triple = DOUBLE;
        triple[20..22].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(Frame::new_checked(&triple).unwrap().ethertype(), ethertype::VLAN);
    }

    #[test]
    fn a_mac_is_read_from_its_text() {
        assert_eq!(parse_mac("02:0:00:00:0a:fF"), Some([2, 0, 0, 0, 10, 255]));
        for wrong in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "02:00:00:00:00:",
            "02:00:00:00:00:100",
            "0g:0:0:0:0:0",
            "+1:0:0:0:0:0",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_cut_inside_the_header_is_truncated() {
        for cut in 0..22 {
            assert_eq!(Frame::new_checked(&DOUBLE[..cut]).err(), Some(Error::Truncated), "{cut} bytes");
        }
    }

    #[test]
    fn addresses_are_set_and_nothing_else() {
        let mut frame = DOUBLE;
        set_addresses(&mut frame, [1; 6], [2; 6]);
        assert_eq!(frame[..12], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(frame[12..], DOUBLE[12..]);
    }
}

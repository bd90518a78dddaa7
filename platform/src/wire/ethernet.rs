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
/// Where the outer tag stands: its EtherType in place of the frame's.
const TAG: usize = field::ETHERTYPE.start;
/// The VLAN's bits in a tag, behind its EtherType; the others are priority.
const VID: u16 = 0x0fff;
/// Tags that are looked through; a frame with more is left alone.
pub const MAX_TAGS: usize = 2;

/// In place of a VLAN: there is no tag.
pub const NO_VLAN: u16 = 0xffff;

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

    /// The VLANs of the tags, the outer one first; [`NO_VLAN`] where there is none.
    #[inline]
    pub fn vlans(&self) -> [u16; MAX_TAGS] {
        let tag = |at: usize| match at + TAG_LEN <= self.payload {
            true => u16_at(self.data, at + 2..at + 4) & VID,
            false => NO_VLAN,
        };
        [tag(TAG), tag(TAG + TAG_LEN)]
    }

    /// Whether the outer tag is a customer's, of 802.1Q.
    #[inline]
    pub fn customer_tagged(&self) -> bool {
        u16_at(self.data, field::ETHERTYPE) == ethertype::VLAN
    }

    /// The bytes behind header and tags, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.data.get(self.payload..).unwrap_or_default()
    }
}

/// The VLAN of a frame with one tag, a customer's (802.1Q), and no other; `None` of any other frame.
#[inline]
pub fn only_vlan(frame: &[u8]) -> Option<u16> {
    let head = frame.first_chunk::<{ HEADER_LEN + TAG_LEN }>()?;
    let inner = u16_at(head, TAG + TAG_LEN..TAG + TAG_LEN + 2);
    let one = u16_at(head, field::ETHERTYPE) == ethertype::VLAN
        && inner != ethertype::VLAN
        && inner != ethertype::QINQ;
    one.then(|| u16_at(head, TAG + 2..TAG + TAG_LEN) & VID)
}

/// Moves the addresses over the outer tag: without its first [`TAG_LEN`] bytes the frame is the one without the tag. Does
/// nothing to a frame that is too short for one.
#[inline]
pub fn cover_tag(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut::<{ HEADER_LEN + TAG_LEN }>() {
        head.copy_within(..TAG, TAG_LEN);
    }
}

/// Writes a customer tag, priority 0, into a frame with [`TAG_LEN`] bytes of room in front. Does nothing to a buffer that is
/// too short.
#[inline]
pub fn write_tag(frame: &mut [u8], vlan: u16) {
    if let Some(head) = frame.first_chunk_mut::<{ HEADER_LEN + TAG_LEN }>() {
        head.copy_within(TAG_LEN..TAG_LEN + TAG, 0);
        head[field::ETHERTYPE].copy_from_slice(&ethertype::VLAN.to_be_bytes());
        head[TAG + 2..TAG + TAG_LEN].copy_from_slice(&(vlan & VID).to_be_bytes());
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
    fn vlans_are_those_of_the_tags() {
        assert_eq!(Frame::new_checked(&DOUBLE).unwrap().vlans(), [100, 7]);
        assert!(!Frame::new_checked(&DOUBLE).unwrap().customer_tagged());
        assert_eq!(only_vlan(&DOUBLE), None);
        let mut one = DOUBLE[..18].to_vec();
        one[12..18].copy_from_slice(&[0x81, 0, 0xe0, 100, 8, 0]);
        let frame = Frame::new_checked(&one).unwrap();
        assert_eq!((frame.vlans(), frame.customer_tagged()), ([100, NO_VLAN], true));
        assert_eq!(only_vlan(&one), Some(100), "whatever its priority");
        one[12..14].copy_from_slice(&[8, 0]);
        assert_eq!(Frame::new_checked(&one).unwrap().vlans(), [NO_VLAN; 2]);
        assert_eq!((only_vlan(&one), only_vlan(&one[..17])), (None, None));
    }

    #[test]
    fn a_tag_comes_off_and_on_in_place() {
        let mut frame = [&DOUBLE[..12], &[0x81, 0, 0x40, 200, 0x86, 0xdd, 0x60, 0]].concat();
        let tagged = frame.clone();
        cover_tag(&mut frame);
        assert_eq!(frame[TAG_LEN..], [&DOUBLE[..12], &[0x86, 0xdd, 0x60, 0]].concat());
        frame[..TAG_LEN].fill(0xa5);
        write_tag(&mut frame, 200);
        assert_eq!(
            (&frame[..14], &frame[14..]),
            (&tagged[..14], &[0, 200, 0x86, 0xdd, 0x60, 0][..]),
            "priority 0"
        );
        let mut short = [1; 17];
        cover_tag(&mut short);
        write_tag(&mut short, 1);
        assert_eq!(short, [1; 17]);
    }

    #[test]
    fn addresses_are_set_and_nothing_else() {
        let mut frame = DOUBLE;
        set_addresses(&mut frame, [1; 6], [2; 6]);
        assert_eq!(frame[..12], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(frame[12..], DOUBLE[12..]);
    }
}

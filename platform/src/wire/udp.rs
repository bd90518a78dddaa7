//! UDP (RFC 768).

use super::checksum::{self, pair};
use super::{Error, Field, u16_at};

mod field {
    use super::Field;
    pub const SOURCE: Field = 0..2;
    pub const DESTINATION: Field = 2..4;
    pub const LENGTH: Field = 4..6;
    pub const CHECKSUM: Field = 6..8;
}

/// Bytes of the header.
pub const HEADER_LEN: usize = field::CHECKSUM.end;
/// IP protocol number.
pub const PROTOCOL: u8 = 17;

/// A view over the datagram that fills an IP payload.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a>(&'a [u8]);

impl<'a> Datagram<'a> {
    /// Takes the whole IP payload: the length field must say exactly that.
    ///
    /// # Errors
    /// [`Error::Truncated`] under 8 bytes or when the length field points beyond the end, [`Error::Malformed`] when it
    /// is under 8 or leaves bytes over.
    #[inline]
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Error> {
        let length = usize::from(u16_at(data, field::LENGTH));
        if data.len() < HEADER_LEN || length > data.len() {
            return Err(Error::Truncated);
        }
        if length != data.len() {
            return Err(Error::Malformed);
        }
        Ok(Datagram(data))
    }

    /// The source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        u16_at(self.0, field::SOURCE)
    }

    /// The destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.0, field::DESTINATION)
    }

    /// The checksum field; 0 means that the sender made none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0, field::CHECKSUM)
    }

    /// Whether the checksum is right; `addresses` as in [`checksum::pseudo`]. A zero field is not "right": the caller
    /// decides about it, since IPv4 allows it and IPv6 does not (RFC 8200 section 8.1).
    #[inline]
    pub fn verify(&self, addresses: &[u8]) -> bool {
        let sum = checksum::pseudo(addresses, PROTOCOL, self.0.len() as u16);
        checksum::verify(checksum::add(sum, self.0))
    }

    /// What the datagram carries.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.0.get(HEADER_LEN..).unwrap_or_default()
    }
}

/// Writes the header of a datagram of `length` bytes in all, checksum included (RFC 768: a sum of zero is sent as ffff).
/// `payload_sum` is [`checksum::add`] over what follows the header, `addresses` as in [`checksum::pseudo`].
/// Does nothing to a buffer shorter than a header.
#[inline(always)]
pub fn emit_header(
    datagram: &mut [u8],
    source: u16,
    destination: u16,
    length: u16,
    payload_sum: u64,
    addresses: &[u8],
) {
    let Some(header) = datagram.first_chunk_mut::<HEADER_LEN>() else { return };
    header[field::SOURCE].copy_from_slice(&source.to_be_bytes());
    header[field::DESTINATION].copy_from_slice(&destination.to_be_bytes());
    header[field::LENGTH].copy_from_slice(&length.to_be_bytes());
    let fields = [source, destination, length].map(|field| pair(field.to_be_bytes()));
    let sum = checksum::join(checksum::pseudo(addresses, PROTOCOL, length), fields.iter().sum());
    let sum = checksum::finish(checksum::join(sum, payload_sum));
    header[field::CHECKSUM].copy_from_slice(&if sum == [0, 0] { [0xff, 0xff] } else { sum });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_must_be_exact() {
        let mut data = [0u8; 12];
        for (length, want) in [
            (12, None),
            (11, Some(Error::Malformed)),
            (13, Some(Error::Truncated)),
            (7, Some(Error::Malformed)),
        ] {
            data[5] = length;
            assert_eq!(Datagram::new_checked(&data).err(), want, "length {length}");
        }
        assert_eq!(Datagram::new_checked(&data[..7]).err(), Some(Error::Truncated));
    }

    proptest! {
        #[test]
        fn what_is_emitted_verifies_and_etherparse_agrees(
            payload in proptest::collection::vec(any::<u8>(), 0..300), source: [u8; 4], destination: [u8; 4],
            ports: (u16, u16))
        {
            let mut data = vec![0xa5; HEADER_LEN + payload.len()];
            data[HEADER_LEN..].copy_from_slice(&payload);
            let addresses = [source, destination].concat();
            let (length, sum) = (data.len() as u16, checksum::add(0, &payload));
            emit_header(&mut data, ports.0, ports.1, length, sum, &addresses);
            let view = Datagram::new_checked(&data).unwrap();
            prop_assert!(view.verify(&addresses));
            let header = etherparse::UdpHeader::from_slice(&data).unwrap().0;
            prop_assert_eq!((header.source_port, header.destination_port), ports);
            prop_assert_eq!(header.calc_checksum_ipv4_raw(source, destination, &payload).unwrap(), view.checksum());
        }

        #[test]
        fn no_input_panics(data in proptest::collection::vec(any::<u8>(), 0..64), addresses in proptest::collection::vec(any::<u8>(), 0..33)) {
            if let Ok(view) = Datagram::new_checked(&data) {
                let _ = (view.source_port(), view.destination_port(), view.checksum(), view.payload(), view.verify(&addresses));
            }
            let mut data = data;
            emit_header(&mut data, 1, 2, 8, u64::MAX, &addresses);
        }
    }
}

//! ARP for IPv4 over Ethernet (RFC 826).

use super::{Error, Field, array, u16_at};

mod field {
    use super::Field;
    pub const HARDWARE: Field = 0..2;
    pub const PROTOCOL: Field = 2..4;
    pub const SIZES: Field = 4..6;
    pub const OPERATION: Field = 6..8;
    pub const SENDER_MAC: Field = 8..14;
    pub const SENDER_IP: Field = 14..18;
    pub const TARGET_IP: Field = 24..28;
}

/// Bytes of a packet.
pub const LEN: usize = field::TARGET_IP.end;

/// A view over an IPv4-over-Ethernet packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    /// Checks length and that hardware and protocol are Ethernet and IPv4.
    ///
    /// # Errors
    /// [`Error::Truncated`] under 28 bytes, [`Error::Malformed`] for other hardware or protocols.
    #[inline]
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Error> {
        if data.len() < LEN {
            return Err(Error::Truncated);
        }
        let right = u16_at(data, field::HARDWARE) == 1
            && u16_at(data, field::PROTOCOL) == super::ethernet::ethertype::IPV4
            && data[field::SIZES] == [6, 4];
        if right { Ok(Packet(data)) } else { Err(Error::Malformed) }
    }

    /// 1 request, 2 reply.
    pub fn operation(&self) -> u16 {
        u16_at(self.0, field::OPERATION)
    }

    /// The sender's MAC.
    pub fn sender_mac(&self) -> [u8; 6] {
        array(self.0, field::SENDER_MAC.start).unwrap_or_default()
    }

    /// The sender's address.
    #[inline]
    pub fn sender_ip(&self) -> [u8; 4] {
        array(self.0, field::SENDER_IP.start).unwrap_or_default()
    }

    /// The address asked for.
    #[inline]
    pub fn target_ip(&self) -> [u8; 4] {
        array(self.0, field::TARGET_IP.start).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO_HAS: [u8; 28] =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];

    #[test]
    fn a_request_is_read() {
        let packet = Packet::new_checked(&WHO_HAS).unwrap();
        assert_eq!(packet.operation(), 1);
        assert_eq!(packet.sender_mac(), [2, 0, 0, 0, 0, 9]);
        assert_eq!(packet.sender_ip(), [192, 0, 2, 9]);
        assert_eq!(packet.target_ip(), [192, 0, 2, 1]);
    }

    #[test]
    fn short_and_foreign_packets_are_refused() {
        assert_eq!(Packet::new_checked(&WHO_HAS[..27]).err(), Some(Error::Truncated));
        let mut token_ring = WHO_HAS;
        token_ring[1] = 6;
        assert_eq!(Packet::new_checked(&token_ring).err(), Some(Error::Malformed));
    }
}

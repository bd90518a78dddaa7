//! The IKE header and its chain of payloads (RFC 7296 sections 3.1 and 3.2).

use super::checksum::{self, pair, quad};
use super::{Error, Field, u32_at, u64_at};

mod field {
    use super::Field;
    pub const SPI_I: Field = 0..8;
    pub const SPI_R: Field = 8..16;
    pub const NEXT_PAYLOAD: usize = 16;
    pub const VERSION: usize = 17;
    pub const EXCHANGE: usize = 18;
    pub const FLAGS: usize = 19;
    pub const MESSAGE_ID: Field = 20..24;
    pub const LENGTH: Field = 24..28;
}

/// Bytes of the header.
pub const HEADER_LEN: usize = field::LENGTH.end;
/// Bytes of a generic payload header.
pub const PAYLOAD_HEADER_LEN: usize = 4;
/// Payloads that are walked; real requests have 8 to 20. A message with more is not walked to its end.
pub const MAX_PAYLOADS: usize = 64;
/// The UDP ports of IKE: 500, and 4500 where a marker tells IKE from ESP (RFC 3948).
pub const PORT: u16 = 500;
/// The port of UDP-encapsulated ESP and of IKE behind a NAT.
pub const PORT_NAT: u16 = 4500;
/// Four zero bytes in front of IKE on port 4500 (RFC 3948 section 2.2).
pub const MARKER_LEN: usize = 4;
/// The only version that is answered; RFC 7296 section 3.1 has the minor version ignored on receipt.
pub const VERSION: u8 = 0x20;

/// Exchange types (RFC 7296 section 3.1, RFC 5723, RFC 9242).
pub mod exchange {
    /// IKE_SA_INIT.
    pub const IKE_SA_INIT: u8 = 34;
    /// IKE_SESSION_RESUME.
    pub const IKE_SESSION_RESUME: u8 = 38;
}

/// Flags (RFC 7296 section 3.1).
pub mod flag {
    /// Sent by the original initiator of the SA.
    pub const INITIATOR: u8 = 0x08;
    /// A response.
    pub const RESPONSE: u8 = 0x20;
}

/// Payload types (RFC 7296 section 3.2).
pub mod payload {
    /// The end of the chain.
    pub const NONE: u8 = 0;
    /// Security association.
    pub const SA: u8 = 33;
    /// Key exchange.
    pub const KE: u8 = 34;
    /// Nonce.
    pub const NONCE: u8 = 40;
    /// Notify.
    pub const NOTIFY: u8 = 41;
    /// Vendor id.
    pub const VENDOR_ID: u8 = 43;
    /// The payload types that RFC 7296 defines: their critical bit is ignored on receipt (section 2.5).
    pub const KNOWN: core::ops::RangeInclusive<u8> = 33..=48;
}

/// A view over a message that fills a UDP payload (without the marker).
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    header: &'a [u8; HEADER_LEN],
    chain: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the header of any IKE version: SPIs, version, exchange, flags and message id can be asked. That the
    /// length is right is a question of its own, [`Message::length_is_exact`].
    ///
    /// # Errors
    /// [`Error::Truncated`] under 28 bytes.
    #[inline(always)]
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Error> {
        let (header, chain) = data.split_first_chunk().ok_or(Error::Truncated)?;
        Ok(Message { header, chain })
    }

    /// Bytes of the message, at least [`HEADER_LEN`].
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.chain.len()
    }

    /// What follows the header: the chain of payloads.
    #[inline(always)]
    pub fn chain(&self) -> &'a [u8] {
        self.chain
    }

    /// The initiator's SPI as a number.
    #[inline]
    pub fn spi_i(&self) -> u64 {
        u64_at(self.header, field::SPI_I)
    }

    /// The responder's SPI.
    #[inline]
    pub fn spi_r(&self) -> u64 {
        u64_at(self.header, field::SPI_R)
    }

    /// The type of the first payload.
    #[inline]
    pub fn next_payload(&self) -> u8 {
        self.header[field::NEXT_PAYLOAD]
    }

    /// The major version.
    #[inline]
    pub fn major_version(&self) -> u8 {
        self.header[field::VERSION] >> 4
    }

    /// The exchange type.
    #[inline]
    pub fn exchange(&self) -> u8 {
        self.header[field::EXCHANGE]
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.header[field::FLAGS]
    }

    /// The message id.
    #[inline]
    pub fn message_id(&self) -> u32 {
        u32_at(self.header, field::MESSAGE_ID)
    }

    /// Whether the length field says exactly what was received.
    #[inline]
    pub fn length_is_exact(&self) -> bool {
        u32_at(self.header, field::LENGTH) as usize == self.len()
    }

    /// Whether the header is that of a request that opens an exchange: IKE 2.x, IKE_SA_INIT, from the initiator, SPIi not
    /// 0, SPIr 0, message id 0, length exact. What the accessors tell field by field, in four words.
    #[inline(always)]
    pub fn is_first_request(&self) -> bool {
        const MASK: u32 = 0x00_f0_ff_00 | (flag::INITIATOR | flag::RESPONSE) as u32;
        const WANT: u32 =
            (VERSION as u32) << 16 | (exchange::IKE_SA_INIT as u32) << 8 | flag::INITIATOR as u32;
        let kind = u32_at(self.header, field::NEXT_PAYLOAD..field::MESSAGE_ID.start);
        let id_and_length = u64_at(self.header, field::MESSAGE_ID.start..field::LENGTH.end);
        kind & MASK == WANT && id_and_length == self.len() as u64 && self.spi_r() == 0 && self.spi_i() != 0
    }

    /// Walks the payloads.
    #[inline]
    pub fn payloads(&self) -> Payloads<'a> {
        Payloads { rest: self.chain, len: self.len(), next: self.next_payload(), left: MAX_PAYLOADS }
    }
}

/// One payload of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Its type.
    pub kind: u8,
    /// Its critical bit.
    pub critical: bool,
    /// Where its body starts, in bytes from the start of the message.
    pub offset: usize,
    /// Its body, without the generic header.
    pub body: &'a [u8],
}

/// The walk over the payloads of a message. It ends after at most [`MAX_PAYLOADS`] steps: each step moves forward
/// by at least 4 bytes, so no chain can make it loop. After an error it ends.
#[derive(Debug, Clone)]
pub struct Payloads<'a> {
    /// Bytes of the message.
    len: usize,
    /// What the walk has not seen yet.
    rest: &'a [u8],
    next: u8,
    left: usize,
}

impl<'a> Payloads<'a> {
    /// The chain behind the payload that the walk gave last.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether the walk reached the end of the message together with the end of the chain. To be asked after it.
    #[inline]
    pub fn ended_exactly(&self) -> bool {
        self.next == payload::NONE && self.rest.is_empty()
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<Payload<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == payload::NONE {
            return None;
        }
        let kind = core::mem::replace(&mut self.next, payload::NONE);
        let Some(step) = step(self.rest).filter(|_| self.left > 0) else {
            let too_short = matches!(self.rest, [_, _, 0, ..=3, ..]);
            let error = if too_short || self.left == 0 { Error::Malformed } else { Error::Truncated };
            return Some(Err(error));
        };
        let offset = self.len - step.rest.len() - step.body.len();
        (self.next, self.rest) = (step.next, step.rest);
        self.left -= 1;
        Some(Ok(Payload { kind, critical: step.critical, offset, body: step.body }))
    }
}

/// One step of a walk: the payload in front of a chain.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The type of the payload that follows.
    pub next: u8,
    /// The critical bit of this one.
    pub critical: bool,
    /// Its body, without the generic header.
    pub body: &'a [u8],
    /// The chain behind it.
    pub rest: &'a [u8],
}

/// Reads the payload in front of a chain: its generic header once, its body by one check of its length. `None` when the
/// chain ends before either, or for a length under 4, which wraps to one beyond any end.
#[inline(always)]
pub fn step(chain: &[u8]) -> Option<Step<'_>> {
    let (&[next, flags, high, low], behind) = chain.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (body, rest) = behind.split_at_checked(length.wrapping_sub(PAYLOAD_HEADER_LEN))?;
    Some(Step { next, critical: flags & 0x80 != 0, body, rest })
}

/// Writes the header of an unprotected IKE_SA_INIT response with SPIr 0 and message id 0, `length` bytes long in all.
/// Gives its sum (see [`checksum`]). Does nothing to a buffer shorter than a header.
#[inline(always)]
pub fn emit_init_response(message: &mut [u8], spi_i: u64, next_payload: u8, length: u32) -> u64 {
    let Some(header) = message.first_chunk_mut::<HEADER_LEN>() else { return 0 };
    header[field::SPI_I].copy_from_slice(&spi_i.to_be_bytes());
    header[field::SPI_R].fill(0);
    header[field::NEXT_PAYLOAD] = next_payload;
    header[field::VERSION] = VERSION;
    header[field::EXCHANGE] = exchange::IKE_SA_INIT;
    header[field::FLAGS] = flag::RESPONSE;
    header[field::MESSAGE_ID].fill(0);
    header[field::LENGTH].copy_from_slice(&length.to_be_bytes());
    let rest = pair([next_payload, VERSION])
        + pair([exchange::IKE_SA_INIT, flag::RESPONSE])
        + quad(length.to_be_bytes());
    checksum::join(u64::from_ne_bytes(spi_i.to_be_bytes()), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request with SA (8 bytes), a critical private payload (4) and a nonce (20).
    fn request() -> Vec<u8> {
        let mut data =
            vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 60];
        data.extend_from_slice(&[201, 0, 0, 8, 9, 9, 9, 9]);
        data.extend_from_slice(&[40, 0x80, 0, 4]);
        data.extend_from_slice(&[0, 0, 0, 20, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        data
    }

    #[test]
    fn a_literal_request_is_read() {
        let data = request();
        let message = Message::new_checked(&data).unwrap();
        assert_eq!((message.spi_i(), message.spi_r()), (0x0102_0304_0506_0708, 0));
        assert_eq!((message.major_version(), message.exchange(), message.flags()), (2, 34, 8));
        assert_eq!(message.message_id(), 0);
        assert!(message.length_is_exact());
        let mut walk = message.payloads();
        let kinds: Vec<_> =
            walk.by_ref().map(|p| p.map(|p| (p.kind, p.critical, p.offset, p.body.len()))).collect();
        assert_eq!(kinds, [Ok((33, false, 32, 4)), Ok((201, true, 40, 0)), Ok((40, false, 44, 16))]);
        assert!(walk.ended_exactly());
    }

    #[test]
    fn bad_payload_lengths_end_the_walk() {
        for (length, want) in
            [(0, Error::Malformed), (1, Error::Malformed), (3, Error::Malformed), (200, Error::Truncated)]
        {
            let mut data = request();
            data[31] = length;
            let message = Message::new_checked(&data).unwrap();
            let mut walk = message.payloads();
            assert_eq!(walk.next(), Some(Err(want)), "length {length}");
            assert_eq!(walk.next(), None);
        }
    }

    #[test]
    fn a_chain_that_never_ends_is_left_after_64_payloads() {
        let mut data = request()[..28].to_vec();
        data[16] = 43;
        data.extend_from_slice(&[43, 0, 0, 4].repeat(65));
        let message = Message::new_checked(&data).unwrap();
        let results: Vec<_> = message.payloads().collect();
        assert_eq!(results.len(), 65);
        assert_eq!(results[64], Err(Error::Malformed));
    }

    #[test]
    fn bytes_behind_the_chain_are_noticed() {
        let mut data = request();
        data.push(0);
        let message = Message::new_checked(&data).unwrap();
        let mut walk = message.payloads();
        walk.by_ref().for_each(drop);
        assert!(!walk.ended_exactly());
        assert!(!message.length_is_exact());
    }

    #[test]
    fn a_response_header_is_written_whole() {
        let mut data = [0xa5; 30];
        emit_init_response(&mut data, 0x0102_0304_0506_0708, 41, 74);
        let want = [
            1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 41, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 0, 74,
            0xa5, 0xa5,
        ];
        assert_eq!(data, want);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_the_walk_moves_forward(
            data in proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => 1u8..9, 1 => any::<u8>()], 0..400)) {
            if let Ok(message) = Message::new_checked(&data) {
                let mut last = 0;
                for payload in message.payloads().flatten() {
                    prop_assert!(payload.offset > last && payload.offset + payload.body.len() <= data.len());
                    last = payload.offset;
                }
            }
        }
    }
}

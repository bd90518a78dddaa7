//! The data of REDIRECT and REDIRECTED_FROM (RFC 5685 sections 7.2 and 7.3).

use super::checksum::{self, pair};
use super::{Error, array, ike, notify};
use core::net::IpAddr;

/// New Responder GW Ident Type (RFC 5685 section 7.2).
mod identity {
    pub const IPV4: u8 = 1;
    pub const IPV6: u8 = 2;
}

/// Nonce lengths that RFC 7296 section 3.9 allows, in bytes.
pub const NONCE_LEN: core::ops::RangeInclusive<usize> = 16..=256;

/// The gateway that REDIRECT or REDIRECTED_FROM names, and what follows it (the nonce, in a response to IKE_SA_INIT).
/// An FQDN gives `Ok(None)`.
///
/// # Errors
/// [`Error::Truncated`] when the data ends inside, [`Error::Malformed`] when an address has a length other than its own.
pub fn parse(data: &[u8]) -> Result<(Option<IpAddr>, &[u8]), Error> {
    let [kind, length, rest @ ..] = data else { return Err(Error::Truncated) };
    let (identity, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Error::Truncated)?;
    let address = match (*kind, identity.len()) {
        (identity::IPV4, 4) => array::<4>(identity, 0).map(IpAddr::from),
        (identity::IPV6, 16) => array::<16>(identity, 0).map(IpAddr::from),
        (identity::IPV4 | identity::IPV6, _) => return Err(Error::Malformed),
        _ => None,
    };
    Ok((address, rest))
}

/// Bytes of the IKE message that [`emit_prefix`] writes in front of the nonce: header, notify, identity.
#[inline]
pub const fn prefix_len(v6: bool) -> usize {
    ike::HEADER_LEN + ike::PAYLOAD_HEADER_LEN + notify::FIXED_LEN + 2 + if v6 { 16 } else { 4 }
}

/// Writes an IKE_SA_INIT response with one REDIRECT notify, up to the nonce: [`prefix_len`] bytes, `nonce_len` more follow.
/// Protocol id and SPI size are 0, as RFC 5685 section 7.2 asks. `gateway` is 4 or 16 bytes. Gives the sum of the bytes (see
/// [`checksum`]). Does nothing to a buffer that is too short.
#[inline(always)]
pub fn emit_prefix<const N: usize>(message: &mut [u8], spi_i: u64, gateway: &[u8; N], nonce_len: u16) -> u64 {
    const { assert!(N == 4 || N == 16) };
    let length = (prefix_len(N == 16) as u16).saturating_add(nonce_len);
    let Some(body) = message.get_mut(ike::HEADER_LEN..prefix_len(N == 16)) else { return 0 };
    let notify_len = (length - ike::HEADER_LEN as u16).to_be_bytes();
    let kind = notify::kind::REDIRECT.to_be_bytes();
    let identity = [if N == 16 { identity::IPV6 } else { identity::IPV4 }, N as u8];
    // Next payload, flags, length; protocol id, SPI size, type; type and length of the identity.
    let fields = [[0, 0], notify_len, [0, 0], kind, identity];
    for (at, field) in fields.iter().enumerate() {
        body[2 * at..][..2].copy_from_slice(field);
    }
    body[10..].copy_from_slice(gateway);
    let header = ike::emit_init_response(message, spi_i, ike::payload::NOTIFY, length.into());
    checksum::join(header, checksum::add(fields.map(pair).iter().sum(), gateway))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_literal_answer_to_a_32_byte_nonce() {
        let mut message = [0xa5; 74];
        message[42..].fill(0x11);
        emit_prefix(&mut message, 0x0102_0304_0506_0708, &[192, 0, 2, 10], 32);
        let head = [
            1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x29, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0,
            0x4a, 0, 0, 0, 0x2e, 0, 0, 0x40, 0x17, 1, 4, 0xc0, 0, 2, 0x0a,
        ];
        assert_eq!(message[..42], head);
        assert_eq!(message[42..], [0x11; 32]);
    }

    #[test]
    fn an_ipv6_answer_reads_back() {
        let mut message = [0xa5; 54 + 16];
        emit_prefix(&mut message, 7, &[0x20; 16], 16);
        let view = ike::Message::new_checked(&message).unwrap();
        assert!(view.length_is_exact());
        let payload = view.payloads().next().unwrap().unwrap();
        let notify = notify::Notify::new_checked(payload.body).unwrap();
        assert_eq!(notify.kind(), notify::kind::REDIRECT);
        assert_eq!(parse(notify.data()), Ok((Some(IpAddr::from([0x20; 16])), &[0xa5; 16][..])));
    }

    #[test]
    fn identities_are_read() {
        let v4 = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(parse(&[1, 4, 192, 0, 2, 1]), Ok((Some(v4), &[][..])));
        assert_eq!(parse(&[3, 2, b'g', b'w', 9]), Ok((None, &[9][..])), "an FQDN");
        assert_eq!(parse(&[1, 16, 0, 0]), Err(Error::Truncated));
        assert_eq!(parse(&[1, 3, 1, 2, 3]), Err(Error::Malformed));
        assert_eq!(parse(&[1]), Err(Error::Truncated));
    }

    proptest! {
        #[test]
        fn no_input_panics(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&data);
            let mut data = data;
            emit_prefix(&mut data, 1, &[1; 4], 256);
            emit_prefix(&mut data, 1, &[1; 16], 256);
        }
    }
}

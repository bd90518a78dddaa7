//! What the payloads of a first request ask for: one walk over all of them.
//!
//! Two walks tell the same. The first, [`plain`], is for what clients send: a loop without a call, so that all its variables
//! keep a register. It gives up on whatever is wrong or rare, and the second, [`careful`], says what it is.

use platform::snapshot::addr16;
use platform::wire::{ike, notify, redirect};

use crate::Reason;

/// What the walk found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Bits by payload type, those of RFC 7296 in the lowest 16.
    found: u32,
    /// Bytes of nonce data, 16 to 256; 0 without a nonce.
    nonce_len: u16,
    /// Bytes of the message from the nonce's data to the end: as a UDP datagram, it has under 65536.
    nonce_to_end: u16,
}

const fn bit(kind: u8) -> u32 {
    1 << (kind - *ike::payload::KNOWN.start())
}
const _: () = assert!(*ike::payload::KNOWN.end() - *ike::payload::KNOWN.start() < 16);
const COMPLETE: u32 = bit(ike::payload::SA) | bit(ike::payload::KE) | bit(ike::payload::NONCE);
/// REDIRECT_SUPPORTED or REDIRECTED_FROM.
const SIGNAL: u32 = 1 << 16;
/// A payload that RFC 7296 does not know and that is marked critical.
const CRITICAL: u32 = 1 << 17;

impl Contents {
    /// SA, KE and a nonce are there.
    #[inline(always)]
    pub fn is_complete(&self) -> bool {
        self.found & COMPLETE == COMPLETE
    }

    /// A payload that RFC 7296 does not know is marked critical.
    #[inline(always)]
    pub fn has_critical(&self) -> bool {
        self.found & CRITICAL != 0
    }

    /// The client says that it supports redirects.
    #[inline(always)]
    pub fn signals_support(&self) -> bool {
        self.found & SIGNAL != 0
    }

    /// Bytes of nonce data, 16 to 256; 0 without a nonce.
    #[inline(always)]
    pub fn nonce_len(&self) -> usize {
        self.nonce_len.into()
    }

    /// Bytes from the nonce's data to the end of the message.
    #[inline(always)]
    pub fn nonce_to_end(&self) -> usize {
        self.nonce_to_end.into()
    }

    /// Takes the nonce that is the body in front of `rest`; false if it is the second one or has a wrong size.
    #[inline(always)]
    fn nonce(&mut self, body: &[u8], rest: &[u8]) -> bool {
        // RFC 7296 section 3.9: "The size of the Nonce Data MUST be between 16 and 256 octets."
        let right = self.nonce_len == 0 && redirect::NONCE_LEN.contains(&body.len());
        (self.nonce_len, self.nonce_to_end) = (body.len() as u16, (body.len() + rest.len()) as u16);
        right
    }
}

/// Walks the payloads of a message; `family` is that of its addresses, 4 or 6. Tells what they ask for, and the gateway
/// named by REDIRECTED_FROM, if there is one with an address of this family.
///
/// # Errors
/// The reason for which the message is dropped.
#[inline(always)]
pub fn read(message: ike::Message<'_>, family: u8) -> Result<(Contents, Option<[u8; 16]>), Reason> {
    match plain(message.next_payload(), message.chain()) {
        Some(contents) => Ok((contents, None)),
        None => careful(message, family),
    }
}

/// The walk over payloads none of which is wrong, an unknown critical one, or a REDIRECTED_FROM.
#[inline(always)]
fn plain(first: u8, chain: &[u8]) -> Option<Contents> {
    let mut contents = Contents::default();
    let (mut kind, mut chain, mut left) = (first, chain, ike::MAX_PAYLOADS);
    while kind != ike::payload::NONE {
        let step = ike::step(chain)?;
        left = left.checked_sub(1)?;
        if ike::payload::KNOWN.contains(&kind) {
            contents.found |= bit(kind);
            match kind {
                ike::payload::NOTIFY => match u32::from_be_bytes(*step.body.first_chunk()?) & 0x00ff_ffff {
                    SUPPORTED => contents.found |= SIGNAL,
                    FROM => return None,
                    ..=0xffff => {}
                    // With an SPI.
                    _ => return None,
                },
                ike::payload::NONCE if !contents.nonce(step.body, step.rest) => return None,
                _ => {}
            }
        } else if step.critical {
            return None;
        }
        (kind, chain) = (step.next, step.rest);
    }
    chain.is_empty().then_some(contents)
}

/// The first words of notifies without an SPI, but for the protocol id.
const SUPPORTED: u32 = notify::kind::REDIRECT_SUPPORTED as u32;
const FROM: u32 = notify::kind::REDIRECTED_FROM as u32;

/// The walk over any payloads.
#[cold]
fn careful(message: ike::Message<'_>, family: u8) -> Result<(Contents, Option<[u8; 16]>), Reason> {
    let (mut contents, mut redirected_from) = (Contents::default(), None);
    let mut walk = message.payloads();
    while let Some(payload) = walk.next() {
        let payload = payload.map_err(|_| Reason::BadPayload)?;
        match payload.kind {
            ike::payload::NOTIFY => {
                let notify = notify::Notify::new_checked(payload.body).map_err(|_| Reason::BadPayload)?;
                match notify.kind() {
                    notify::kind::REDIRECT_SUPPORTED => contents.found |= SIGNAL,
                    notify::kind::REDIRECTED_FROM => {
                        let (from, _) = redirect::parse(notify.data()).map_err(|_| Reason::BadPayload)?;
                        contents.found |= SIGNAL;
                        redirected_from = from.filter(|from| from.is_ipv4() == (family == 4)).map(addr16);
                    }
                    _ => {}
                }
            }
            ike::payload::NONCE if !contents.nonce(payload.body, walk.rest()) => {
                return Err(Reason::BadNonce);
            }
            // RFC 7296 section 2.5: the critical bit counts only for payloads that one does not understand.
            kind if payload.critical && !ike::payload::KNOWN.contains(&kind) => contents.found |= CRITICAL,
            _ => {}
        }
        if ike::payload::KNOWN.contains(&payload.kind) {
            contents.found |= bit(payload.kind);
        }
    }
    if walk.ended_exactly() { Ok((contents, redirected_from)) } else { Err(Reason::BadIke) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message with these payloads (type, critical, body), the last of which says `last` follows.
    fn message(payloads: &[(u8, bool, Vec<u8>)], last: u8) -> Vec<u8> {
        let mut data = vec![0; ike::HEADER_LEN];
        data[16] = payloads.first().map_or(last, |payload| payload.0);
        for (index, (_, critical, body)) in payloads.iter().enumerate() {
            let next = payloads.get(index + 1).map_or(last, |payload| payload.0);
            data.extend([next, u8::from(*critical) << 7]);
            data.extend((body.len() as u16 + 4).to_be_bytes());
            data.extend(body);
        }
        data
    }

    fn payload() -> impl Strategy<Value = (u8, bool, Vec<u8>)> {
        let body = |len| proptest::collection::vec(any::<u8>(), len);
        let notify = prop_oneof![
            Just(vec![0, 0, 0x40, 0x16]),
            Just(vec![1, 4, 0x40, 0x16, 1, 2, 3, 4]),
            Just(vec![0, 5, 0x40, 0x16]),
            Just(vec![0, 0, 0x40, 0x18, 1, 4, 192, 0, 2, 1]),
            Just(vec![0, 0, 0x40, 0x18, 1, 5, 192, 0, 2, 1]),
            body(0..8),
        ];
        prop_oneof![
            2 => (33u8..35, Just(false), body(0..40)),
            2 => (Just(40u8), Just(false), body(14..40)),
            1 => (Just(40u8), Just(false), body(250..260)),
            3 => (Just(41u8), any::<bool>(), notify),
            1 => (any::<u8>(), any::<bool>(), body(0..8)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// What the first walk says, the second says too; what is wrong, only the second says.
        #[test]
        fn the_two_walks_agree(payloads in proptest::collection::vec(payload(), 0..8), last in prop_oneof![9 => Just(0u8), 1 => any::<u8>()],
                               flips in proptest::collection::vec((28usize..200, any::<u8>()), 0..2)) {
            let mut data = message(&payloads, last);
            for (at, byte) in flips {
                if let Some(slot) = data.get_mut(at) {
                    *slot = byte;
                }
            }
            let message = ike::Message::new_checked(&data).unwrap();
            for family in [4, 6] {
                if let Some(contents) = plain(message.next_payload(), message.chain()) {
                    prop_assert_eq!(careful(message, family), Ok((contents, None)));
                }
            }
        }
    }

    #[test]
    fn the_first_walk_is_for_what_clients_send() {
        let (sa, ke) = ((33, false, vec![0; 36]), (34, false, vec![0; 36]));
        let (nonce, vendor) = ((40, false, vec![7; 32]), (43, true, vec![1; 16]));
        let notify = |kind: u16| (41, false, [&[0, 0][..], &kind.to_be_bytes()].concat());
        let plain = |payloads: &[(u8, bool, Vec<u8>)]| {
            let data = message(payloads, 0);
            super::plain(data[16], &data[ike::HEADER_LEN..])
        };
        let contents =
            plain(&[sa.clone(), ke.clone(), nonce.clone(), notify(16388), vendor, notify(16406)]).unwrap();
        assert!(contents.is_complete() && contents.signals_support() && !contents.has_critical());
        assert_eq!((contents.nonce_len(), contents.nonce_to_end()), (32, 32 + 8 + 20 + 8));
        assert_eq!(plain(&[sa.clone(), ke.clone(), nonce.clone(), nonce.clone()]), None);
        assert_eq!(plain(&[sa, ke, nonce, (200, true, vec![])]), None);
        assert_eq!(plain(&vec![notify(1); ike::MAX_PAYLOADS + 1]), None);
        assert!(plain(&vec![notify(1); ike::MAX_PAYLOADS]).is_some());
    }
}

//! Authentication: text, and the keyed MD5 of both versions with its roll-over of keys.
//!
//! The MD5 trailer is a TLV of 28 bytes behind everything that it covers:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | algorithm, 1 |
//! | 1 | padding |
//! | 2-3 | flags |
//! | 4-7 | the sender's IPv4 address, zero over IPv6 |
//! | 8-11 | key id |
//! | 12-27 | digest |
//!
//! The digest is MD5(key, padding as MD5 pads the key alone, message, key), RFC 1828's keyed MD5, over the whole UDP
//! payload with the digest itself zero. Nothing in it counts or ages: a frame heard on the LAN can be played back
//! there by anyone who also takes the sender's address, for as long as the key lives. See [`super`] for what that
//! allows and how it is bounded.

use super::bytes::array;
use crate::types::keychain::{ChainKey, KeyChain};
use crate::types::{Authentication, Nanos};
use md5::{Digest as _, Md5};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

mod field {
    use super::Range;
    pub const ALGORITHM: usize = 0;
    pub const SENDER: Range<usize> = 4..8;
    pub const KEY_ID: Range<usize> = 8..12;
    pub const DIGEST: Range<usize> = 12..28;
}

/// Bytes of the MD5 TLV's value.
pub const TRAILER_LEN: usize = field::DIGEST.end;
/// The only algorithm there is.
pub const ALGORITHM_MD5: u8 = 1;
/// The text that a group sends and expects unless it is told another one.
pub const DEFAULT_TEXT: [u8; 8] = *b"cisco\0\0\0";
/// Old keys that are accepted at a time; one more pushes the oldest out, so that a forged frame costs a bounded
/// number of digests.
pub const MAX_OLD_KEYS: usize = 3;

/// A shared key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u32,
    secret: Vec<u8>,
}

impl Key {
    /// A `key-string`. The command takes 1-64 characters; any length works here.
    #[must_use]
    pub fn new(key: impl AsRef<[u8]>) -> Key {
        Key::numbered(0, key)
    }

    /// Key `id` of a key chain.
    #[must_use]
    pub fn numbered(id: u32, key: impl AsRef<[u8]>) -> Key {
        Key { id, secret: key.as_ref().to_vec() }
    }

    /// The digest of `payload`, whose 16 bytes from `digest_at` on count as zero.
    fn digest(&self, payload: &[u8], digest_at: usize) -> [u8; 16] {
        let before = payload.get(..digest_at).unwrap_or(payload);
        let after = payload.get(digest_at.saturating_add(16)..).unwrap_or_default();
        let mut md5 = Md5::new();
        md5.update(&self.secret);
        md5.update([0x80]);
        // MD5's own padding: zeros up to 8 bytes before the end of a block, then the bits of the key (RFC 1321 3.1).
        md5.update(&[0; 64][..(119 - self.secret.len() % 64) % 64]);
        md5.update((self.secret.len() as u64 * 8).to_le_bytes());
        md5.update(before);
        md5.update([0; 16]);
        md5.update(after);
        md5.update(&self.secret);
        md5.finalize().into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(********)")
    }
}

/// The key that is sent with, and older ones that are still believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    current: Key,
    /// Those that are accepted: the same, or what a key chain says
    accepted: Vec<Key>,
    /// Oldest first, each with the end of its time, ns of CLOCK_MONOTONIC
    old: Vec<(Key, Nanos)>,
}

impl Keys {
    /// One key and no older one.
    #[must_use]
    pub fn new(current: Key) -> Keys {
        Keys { accepted: vec![current.clone()], current, old: Vec::new() }
    }

    /// The keys of a chain as they stand at `wall`, seconds since 1970, and whether the one to be sent is within its
    /// time; none where no key has a key-string. Sent is the lowest number of those to be sent now. Where there is none,
    /// the one whose time ended last goes on (else the one whose time comes next) and is accepted too: without it the
    /// group would be alone from one second to the next.
    #[must_use]
    pub fn of_chain(chain: &KeyChain, wall: u64) -> Option<(Keys, bool)> {
        let made = |id: u32, key: &ChainKey| Some(Key::numbered(id, &key.string.as_ref()?.0));
        let usable = || chain.iter().filter(|(_, key)| key.string.is_some());
        let now = usable().find(|(_, key)| key.send.covers(wall));
        let ended =
            || usable().filter(|(_, key)| key.send.from <= wall).max_by_key(|(_, key)| key.send.until);
        let (id, key) = now.or_else(ended).or_else(|| usable().min_by_key(|(_, key)| key.send.from))?;
        let accepted = |(other, key): (&u32, &ChainKey)| {
            let late = now.is_none() && other == id;
            made(*other, key).filter(|_| late || key.accept.covers(wall))
        };
        let accepted = chain.iter().filter_map(accepted).collect();
        Some((Keys { current: made(*id, key)?, accepted, old: Vec::new() }, now.is_some()))
    }

    /// The number of the key that is sent; 0 for a `key-string`.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.current.id
    }

    /// Until when a key from before a change is accepted, ns; none when there is none any more.
    #[must_use]
    pub fn old_until(&self, now_ns: Nanos) -> Option<Nanos> {
        self.old.iter().map(|(_, until)| *until).filter(|until| now_ns < *until).max()
    }

    /// Keys that count at `now_ns`.
    fn valid(&self, now_ns: Nanos) -> impl Iterator<Item = &Key> {
        let old = self.old.iter().rev().filter(move |(_, until)| now_ns < *until).map(|(key, _)| key);
        self.accepted.iter().chain(old)
    }
}

/// Authentication of a group's messages.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// Eight characters in clear, padded with zeros
    Text([u8; 8]),
    /// Keyed MD5
    Md5(Keys),
}

/// A text is a secret too, if a weak one.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Auth::Text(_) => f.write_str("Text(********)"),
            Auth::Md5(keys) => f.debug_tuple("Md5").field(keys).finish(),
        }
    }
}

impl Default for Auth {
    fn default() -> Auth {
        Auth::Text(DEFAULT_TEXT)
    }
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Version 2 without an authentication TLV
    #[error("no authentication: give the sender this group's `standby authentication`")]
    Missing,
    /// Text where this group wants MD5
    #[error(
        "text authentication where this group has MD5: give both sides the same `standby authentication`"
    )]
    TextForMd5,
    /// MD5 where this group wants a text
    #[error(
        "MD5 authentication where this group has a text: give both sides the same `standby authentication`"
    )]
    Md5ForText,
    /// Another text
    #[error("another authentication text: give both sides the same `standby authentication text`")]
    Text,
    /// Not MD5
    #[error("authentication algorithm {0}, only 1 (MD5) is known: set the sender to `authentication md5`")]
    Algorithm(u8),
    /// Another key, or changed on the way
    #[error("wrong MD5 digest: give both sides the same `standby authentication md5 key-string`")]
    Digest,
    /// A true message, sent by somebody else than its author
    #[error(
        "authenticated as from {claimed}, sent by {source_address}: look for a host that plays HSRP frames back"
    )]
    Sender {
        /// The address inside the digest
        claimed: Ipv4Addr,
        /// The packet's
        source_address: Ipv4Addr,
    },
}

impl AuthError {
    /// A word for counters and debug output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AuthError::Missing => "auth-missing",
            AuthError::TextForMd5 => "auth-text-for-md5",
            AuthError::Md5ForText => "auth-md5-for-text",
            AuthError::Text => "auth-text",
            AuthError::Algorithm(_) => "auth-algorithm",
            AuthError::Digest => "auth-digest",
            AuthError::Sender { .. } => "auth-sender",
        }
    }
}

/// Proof that a message brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing
    None,
    /// A text, padded with zeros
    Text([u8; 8]),
    /// The trailer of keyed MD5
    Md5(Trailer),
}

/// The MD5 trailer as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    algorithm: u8,
    sender: Ipv4Addr,
    key_id: u32,
    digest: [u8; 16],
    /// Offset of the digest in the UDP payload
    digest_at: usize,
}

impl Trailer {
    /// Reads the TLV's value, which stands at `at` in the UDP payload.
    pub(super) fn new(value: &[u8; TRAILER_LEN], at: usize) -> Trailer {
        Trailer {
            algorithm: value[field::ALGORITHM],
            sender: Ipv4Addr::from(array::<4>(value, field::SENDER.start)),
            key_id: u32::from_be_bytes(array(value, field::KEY_ID.start)),
            digest: array(value, field::DIGEST.start),
            digest_at: at + field::DIGEST.start,
        }
    }

    /// The number of the key in the sender's key chain; 0 for a `key-string`. Not used to choose the key: the digest
    /// covers it, there are few, and chains of two vendors need not agree on numbers.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }
}

impl Auth {
    /// As configured, at `wall` seconds since 1970; none is the text "cisco". `None` for a key chain without a key.
    #[must_use]
    pub fn of(configured: Option<&Authentication>, chain: Option<&KeyChain>, wall: u64) -> Option<Auth> {
        Some(match configured {
            None => Auth::default(),
            Some(Authentication::Text(text)) => Auth::text(&text.0),
            Some(Authentication::KeyChain(_)) => Auth::Md5(Keys::of_chain(chain?, wall)?.0),
            Some(Authentication::Md5(key, _)) => Auth::Md5(Keys::new(Key::new(&key.0))),
        })
    }

    /// Goes on in the same key chain: what its lifetimes do not accept any more counts no longer. True when another
    /// key is sent from now on.
    pub fn roll(&mut self, new: Keys) -> bool {
        match self {
            Auth::Md5(keys) => {
                let changed = keys.current != new.current;
                (keys.current, keys.accepted) = (new.current, new.accepted);
                changed
            }
            Auth::Text(_) => {
                *self = Auth::Md5(new);
                true
            }
        }
    }

    /// Until when a key from before a change is accepted, ns.
    #[must_use]
    pub fn old_until(&self, now_ns: Nanos) -> Option<Nanos> {
        match self {
            Auth::Md5(keys) => keys.old_until(now_ns),
            Auth::Text(_) => None,
        }
    }

    /// A text, of which eight bytes count (the command takes no more).
    #[must_use]
    pub fn text(text: &str) -> Auth {
        let mut padded = [0; 8];
        padded.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Auth::Text(padded)
    }

    /// Goes over to `new`. From one MD5 key to another, the one before is accepted until `old_until_ns`
    /// (CLOCK_MONOTONIC; `now_ns` or less: not at all), together with those that it had followed in the same way.
    /// Between text and MD5 there is no such time: the weaker one would be accepted from anybody.
    pub fn replace(&mut self, new: Auth, now_ns: Nanos, old_until_ns: Nanos) {
        let before = std::mem::replace(self, new);
        if let (Auth::Md5(keys), Auth::Md5(before)) = (self, before) {
            let Keys { current, mut old, .. } = before;
            old.push((current, old_until_ns));
            old.extend(std::mem::take(&mut keys.old));
            old.retain(|(key, until)| now_ns < *until && *key != keys.current);
            old.drain(..old.len().saturating_sub(MAX_OLD_KEYS));
            keys.old = old;
        }
    }

    /// Returns whether `payload`, a UDP payload from `source` in which `proof` was found, is believed at `now_ns`
    /// (CLOCK_MONOTONIC).
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        payload: &[u8],
        proof: &Proof,
        source: IpAddr,
        now_ns: Nanos,
    ) -> Result<(), AuthError> {
        let (keys, trailer) = match (self, proof) {
            (_, Proof::None) => return Err(AuthError::Missing),
            (Auth::Text(wanted), Proof::Text(text)) => {
                return if same(wanted, text) { Ok(()) } else { Err(AuthError::Text) };
            }
            (Auth::Text(_), Proof::Md5(_)) => return Err(AuthError::Md5ForText),
            (Auth::Md5(_), Proof::Text(_)) => return Err(AuthError::TextForMd5),
            (Auth::Md5(keys), Proof::Md5(trailer)) => (keys, trailer),
        };
        if trailer.algorithm != ALGORITHM_MD5 {
            return Err(AuthError::Algorithm(trailer.algorithm));
        }
        if !keys.valid(now_ns).any(|key| same(&key.digest(payload, trailer.digest_at), &trailer.digest)) {
            return Err(AuthError::Digest);
        }
        // Only now: before, the claim is anybody's. Zero is no claim.
        match source {
            IpAddr::V4(source) if trailer.sender != source && !trailer.sender.is_unspecified() => {
                Err(AuthError::Sender { claimed: trailer.sender, source_address: source })
            }
            _ => Ok(()),
        }
    }
}

/// Writes the trailer of `keys` into the last [`TRAILER_LEN`] bytes of a payload that is otherwise complete. Does
/// nothing to a shorter one.
pub(super) fn seal(payload: &mut [u8], keys: &Keys, source: IpAddr) {
    let Some(at) = payload.len().checked_sub(TRAILER_LEN) else { return };
    let trailer = &mut payload[at..];
    trailer.fill(0);
    trailer[field::ALGORITHM] = ALGORITHM_MD5;
    trailer[field::KEY_ID].copy_from_slice(&keys.current.id.to_be_bytes());
    if let IpAddr::V4(source) = source {
        trailer[field::SENDER].copy_from_slice(&source.octets());
    }
    let digest = keys.current.digest(payload, at + field::DIGEST.start);
    payload[at..][field::DIGEST].copy_from_slice(&digest);
}

/// Returns whether two secrets are the same, in a time that does not tell where they differ.
fn same<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Transport, parse};
    use super::*;

    /// From public captures of other routers, with their keys: the payload up to the digest, the digest, the key.
    #[rustfmt::skip]
    const VECTORS: [([u8; 34], [u8; 16], &str); 3] = [
        (
            [
                0, 0, 4, 3, 10, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 100,
                4, 28, 1, 0, 0, 0, 10, 0, 0, 20, 0, 0, 0, 0,
            ],
            [0x52, 0xe1, 0xdb, 0x09, 0xd1, 0x8d, 0x69, 0x5b, 0x8f, 0xef, 0xb3, 0x73, 0x0f, 0xf8, 0xd9, 0xd6],
            "password12345",
        ),
        (
            [
                0, 0, 4, 3, 10, 90, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 172, 16, 40, 1,
                4, 28, 1, 0, 0, 0, 172, 16, 40, 20, 0, 0, 0, 0,
            ],
            [0xf1, 0x5d, 0xfa, 0x63, 0x1a, 0x06, 0x79, 0xe0, 0x80, 0x1f, 0x8e, 0x6b, 0x0c, 0x0c, 0x17, 0xac],
            "openwall",
        ),
        (
            [
                0, 0, 16, 3, 10, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 100,
                4, 28, 1, 0, 0, 0, 10, 0, 0, 20, 0, 0, 0, 0,
            ],
            [0xf0, 0x2f, 0xc4, 0x1b, 0x1b, 0x51, 0x6e, 0x2d, 0x12, 0x61, 0xd8, 0x80, 0x0d, 0x39, 0xcc, 0xea],
            "openwall12345",
        ),
    ];

    fn md5(key: &str) -> Auth {
        Auth::Md5(Keys::new(Key::new(key)))
    }

    fn trailer_of(payload: &[u8]) -> Ipv4Addr {
        Ipv4Addr::new(payload[26], payload[27], payload[28], payload[29])
    }

    #[test]
    fn captured_digests_are_verified_and_made_again() {
        for (head, digest, key) in VECTORS {
            let payload = [&head[..], &digest].concat();
            let source = IpAddr::V4(trailer_of(&payload));
            let received =
                parse(&payload, Transport::V1).unwrap().authenticate(&md5(key), source, Nanos::ZERO).unwrap();
            let again = super::super::packet::emit(&received.message, &md5(key), source).unwrap();
            assert_eq!(&*again, payload);
            let wrong =
                parse(&payload, Transport::V1).unwrap().authenticate(&md5("openwall1"), source, Nanos::ZERO);
            assert_eq!(wrong, Err(AuthError::Digest));
        }
    }

    #[test]
    fn the_key_is_padded_to_whole_blocks() {
        // Against the definition, with MD5's padding written out.
        for len in [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 128, 200] {
            let key = vec![b'k'; len];
            let mut padded = key.clone();
            padded.push(0x80);
            while padded.len() % 64 != 56 {
                padded.push(0);
            }
            padded.extend((len as u64 * 8).to_le_bytes());
            let all = [&padded[..], b"before", &[0; 16], b"after", &key].concat();
            let wanted: [u8; 16] = Md5::digest(&all).into();
            let payload = [&b"before"[..], &[0xee; 16], b"after"].concat();
            assert_eq!(Key::new(&key).digest(&payload, 6), wanted, "{len} bytes");
        }
    }

    #[test]
    fn a_true_message_from_another_source_is_one_played_back() {
        let (head, digest, key) = VECTORS[0];
        let payload = [&head[..], &digest].concat();
        let from = |source| {
            parse(&payload, Transport::V1).unwrap().authenticate(&md5(key), source, Nanos::ZERO).err()
        };
        let thief = Ipv4Addr::new(10, 0, 0, 66);
        let claimed = Ipv4Addr::new(10, 0, 0, 20);
        assert_eq!(from(thief.into()), Some(AuthError::Sender { claimed, source_address: thief }));
        assert_eq!(from(claimed.into()), None);

        let mut unclaimed = payload.clone();
        unclaimed[26..30].fill(0);
        let digest = Key::new(key).digest(&unclaimed, 34);
        unclaimed[34..].copy_from_slice(&digest);
        let verdict =
            parse(&unclaimed, Transport::V1).unwrap().authenticate(&md5(key), thief.into(), Nanos::ZERO);
        assert!(verdict.is_ok(), "zero is no claim: {verdict:?}");
    }

    #[test]
    fn an_unknown_algorithm_is_refused_even_with_a_right_digest() {
        let source = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 20));
        let mut payload = [&VECTORS[0].0[..], &[0; 16]].concat();
        payload[22] = 2;
        let digest = Key::new("k").digest(&payload, 34);
        payload[34..].copy_from_slice(&digest);
        let refused = parse(&payload, Transport::V1).unwrap().authenticate(&md5("k"), source, Nanos::ZERO);
        assert_eq!(refused, Err(AuthError::Algorithm(2)));
    }

    #[test]
    fn texts_must_be_the_same() {
        let verify = |auth: &Auth, proof| auth.verify(&[], &proof, Ipv4Addr::LOCALHOST.into(), Nanos::ZERO);
        assert_eq!(verify(&Auth::default(), Proof::Text(*b"cisco\0\0\0")), Ok(()));
        assert_eq!(verify(&Auth::default(), Proof::Text(*b"cisco\0\0x")), Err(AuthError::Text));
        assert_eq!(verify(&Auth::default(), Proof::None), Err(AuthError::Missing));
        assert_eq!(verify(&Auth::text("12345678"), Proof::Text(*b"12345678")), Ok(()));
        assert_eq!(verify(&md5("k"), Proof::Text([0; 8])), Err(AuthError::TextForMd5));
        assert_eq!(verify(&md5("k"), Proof::None), Err(AuthError::Missing));
    }

    #[test]
    fn an_old_key_is_believed_for_its_time_and_never_sent() {
        let source = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 20));
        let believed = |auth: &Auth, key: &str, now_ns| {
            let mut payload = [&VECTORS[0].0[..], &[0; 16]].concat();
            let Auth::Md5(keys) = md5(key) else { unreachable!() };
            seal(&mut payload, &keys, source);
            parse(&payload, Transport::V1).unwrap().authenticate(auth, source, now_ns).is_ok()
        };
        let mut auth = md5("one");
        auth.replace(md5("two"), Nanos::ZERO, Nanos::new(100));
        assert!(believed(&auth, "two", Nanos::new(1000)));
        assert!(believed(&auth, "one", Nanos::new(99)));
        assert!(!believed(&auth, "one", Nanos::new(100)), "its time is over");
        let Auth::Md5(keys) = &auth else { panic!("not MD5 any more") };
        assert_eq!(keys.current, Key::new("two"));

        auth.replace(md5("three"), Nanos::new(50), Nanos::new(200));
        assert!(
            believed(&auth, "one", Nanos::new(99))
                && believed(&auth, "two", Nanos::new(199))
                && !believed(&auth, "two", Nanos::new(200))
        );
        auth.replace(md5("three"), Nanos::new(60), Nanos::new(300));
        assert!(believed(&auth, "one", Nanos::new(99)), "the same key again takes nothing away");
        auth.replace(md5("one"), Nanos::new(60), Nanos::new(60));
        assert!(
            believed(&auth, "one", Nanos::new(1000)) && !believed(&auth, "three", Nanos::new(60)),
            "back, with no time for the other"
        );

        for key in ["a", "b", "c", "d", "e"] {
            auth.replace(md5(key), Nanos::new(70), Nanos::new(1000));
        }
        assert!(
            believed(&auth, "b", Nanos::new(70)) && !believed(&auth, "a", Nanos::new(70)),
            "the oldest of more than three"
        );

        auth.replace(Auth::default(), Nanos::new(80), Nanos::new(1000));
        auth.replace(md5("f"), Nanos::new(80), Nanos::new(1000));
        assert!(!believed(&auth, "e", Nanos::new(80)), "nothing survives a change of the kind");
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut auth = md5("hush-hush");
        auth.replace(md5("hush-new"), Nanos::ZERO, Nanos::new(1));
        let shown = format!("{auth:?} {:?}", Auth::text("hush"));
        assert!(!shown.contains("hush"), "{shown}");
        // "hush" as bytes.
        assert!(!shown.contains("104"), "{shown}");
    }

    /// Key 1 is sent in seconds 100-199 and accepted until 219, key 2 from 200 on and accepted from 180 on.
    fn chain() -> KeyChain {
        use crate::types::Secret;
        use crate::types::keychain::Lifetime;
        let key = |string: &str, send: (u64, Option<u64>), accept: (u64, Option<u64>)| ChainKey {
            string: Some(Secret(string.to_owned())),
            send: Lifetime { from: send.0, until: send.1 },
            accept: Lifetime { from: accept.0, until: accept.1 },
        };
        KeyChain::from([
            (1, key("alpha", (100, Some(200)), (100, Some(220)))),
            (2, key("beta", (200, Some(300)), (180, Some(320)))),
            (3, ChainKey::default()),
        ])
    }

    #[test]
    fn a_chain_is_sent_and_accepted_by_its_lifetimes() {
        let at = |wall| {
            let (keys, timely) = Keys::of_chain(&chain(), wall).unwrap();
            (keys.sent(), keys.accepted.iter().map(|key| key.id).collect::<Vec<_>>(), timely)
        };
        assert_eq!(at(100), (1, vec![1], true));
        assert_eq!(at(180), (1, vec![1, 2], true));
        assert_eq!(at(200), (2, vec![1, 2], true));
        assert_eq!(at(220), (2, vec![2], true));
        assert_eq!(at(310), (2, vec![2], false), "the last one goes on");
        assert_eq!(at(1000), (2, vec![2], false), "and is accepted, or the group would be alone");
        assert_eq!(at(50), (1, vec![1], false), "a clock that is behind");
        let overlapping: KeyChain =
            chain().into_iter().map(|(id, key)| (id, ChainKey { send: key.accept, ..key })).collect();
        assert_eq!(Keys::of_chain(&overlapping, 190).unwrap().0.sent(), 1, "the lowest number, as on IOS");
        assert!(Keys::of_chain(&KeyChain::from([(3, ChainKey::default())]), 100).is_none());
    }

    #[test]
    fn two_routers_whose_clocks_differ_by_less_than_the_overlap_never_lose_each_other() {
        use super::super::packet::emit;
        let (head, digest, key) = VECTORS[0];
        let payload = [&head[..], &digest].concat();
        let source = IpAddr::V4(trailer_of(&payload));
        let hello = parse(&payload, Transport::V1)
            .unwrap()
            .authenticate(&md5(key), source, Nanos::ZERO)
            .unwrap()
            .message;
        let auth = |wall| Auth::Md5(Keys::of_chain(&chain(), wall).unwrap().0);
        for wall in 90..330 {
            for skew in [0, 10, 19] {
                let payload = emit(&hello, &auth(wall), source).unwrap();
                let heard = parse(&payload, Transport::V1).unwrap().authenticate(
                    &auth(wall + skew),
                    source,
                    Nanos::ZERO,
                );
                assert!(heard.is_ok(), "{wall} {skew}: {heard:?}");
                let payload = emit(&hello, &auth(wall + skew), source).unwrap();
                let heard =
                    parse(&payload, Transport::V1).unwrap().authenticate(&auth(wall), source, Nanos::ZERO);
                assert!(heard.is_ok(), "{wall} {skew}: {heard:?}");
            }
        }
        let payload = emit(&hello, &auth(150), source).unwrap();
        let late = parse(&payload, Transport::V1).unwrap().authenticate(&auth(230), source, Nanos::ZERO);
        assert_eq!(late, Err(AuthError::Digest), "beyond its accept-lifetime");
        assert_eq!(payload[30..34], [0, 0, 0, 1], "the key id");
    }

    #[test]
    fn a_chain_that_rolls_forgets_at_once_and_a_key_string_before_it_does_not() {
        let keys = |wall| Keys::of_chain(&chain(), wall).unwrap().0;
        let mut auth = md5("before");
        auth.replace(Auth::Md5(keys(150)), Nanos::ZERO, Nanos::new(1000));
        let valid = |auth: &Auth, now| match auth {
            Auth::Md5(keys) => keys.valid(now).map(|key| key.id).collect::<Vec<_>>(),
            Auth::Text(_) => Vec::new(),
        };
        assert_eq!(valid(&auth, Nanos::new(1)), [1, 0]);
        assert!(!auth.roll(keys(190)));
        assert!(auth.roll(keys(250)));
        assert_eq!(valid(&auth, Nanos::new(999)), [2, 0]);
        assert_eq!(valid(&auth, Nanos::new(1000)), [2]);
    }
}

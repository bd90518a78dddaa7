//! Frames on a connection: in the clear, or in a Noise channel when a cluster key is set.
//!
//! Each side opens with eight bytes:
//!
//! | bytes | field |
//! |---|---|
//! | 0-3 | `UCLB` |
//! | 4 | version of the channel, 1 |
//! | 5 | 0: in the clear; 1: Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s |
//! | 6 | the primary's verdict on the member's opening, 0: welcome |
//! | 7 | 0, not looked at |
//!
//! The member speaks first: its eight bytes, and with a key Noise's first message; then the primary: its eight bytes,
//! and with a key the second message. The member's eight bytes are the Noise prologue, so nobody between the two can
//! talk them out of what they opened with. The payload of the first message is the member's address, 16 bytes, IPv4 as
//! mapped: a recorded first message is worth nothing at another address, and is refused before any Diffie-Hellman.
//! The primary accepts either of two keys, so that the key can change on a running cluster; a member uses the active one.
//!
//! Verdicts other than 0 are not authenticated: they only name in the member's log what closes the connection.
//!
//! Then come frames: two bytes of length, big-endian, and so many bytes, encrypted or plain. A frame is one Noise
//! message, hence its limit.
//!
//! There is no socket and no clock here: bytes in, frames out.

use snow::params::{HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver as _, DefaultResolver};
use snow::{Builder, HandshakeState, TransportState};
use std::net::{IpAddr, Ipv6Addr};

/// The longest frame: a Noise message of 65535 bytes without its tag.
pub const MAX_FRAME: usize = 65_535 - TAG;
/// The longest frame that a primary takes from a member; the longest of this version has about 400 bytes.
pub const MAX_MEMBER_FRAME: usize = 4096;
/// Bytes that open a channel.
pub const OPENING: usize = 8;

const TAG: usize = 16;
/// Noise's first message: an ephemeral key, and the member's address.
const FIRST: usize = 32 + 16 + TAG;
/// Noise's second message: an ephemeral key, and nothing.
const SECOND: usize = 32 + TAG;
const MAGIC: [u8; 4] = *b"UCLB";
const VERSION: u8 = 1;
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// A frame that does not open is tried at so many places before and after its own, to tell what befell it.
const ASIDE: u64 = 16;

/// Why a channel ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The peer's first bytes are not those of this protocol
    #[error("the peer does not speak this protocol: another program uses the port")]
    Stranger,
    /// The peer speaks another version of the channel
    #[error(
        "the peer speaks version {0} of the channel, this node version {VERSION}: upgrade the older node"
    )]
    Version(u8),
    /// The peer has no key, this node has
    #[error("the peer has no cluster key: add `key STRING` under `crypto ikev2 cluster` there too")]
    PeerPlain,
    /// The peer has a key, this node has not
    #[error("the peer has a cluster key: add `key STRING` under `crypto ikev2 cluster` on this node too")]
    PeerKeyed,
    /// The key is not the peer's
    #[error("wrong cluster key: enter the same `key STRING` under `crypto ikev2 cluster` on both nodes")]
    WrongKey,
    /// The member names an address that it does not connect from
    #[error(
        "the peer says that its address is {0}: a member reports only for the address that it connects from"
    )]
    WrongAddress(IpAddr),
    /// The primary sees this member under another address
    #[error("the primary does not see this node as {0}: connect without address translation between them")]
    Translated(IpAddr),
    /// The primary does not want this member now, for a reason that is in the primary's log
    #[error("the primary turned this node away (verdict {0}): see its log")]
    TurnedAway(u8),
    /// A frame came twice
    #[error("a frame was replayed")]
    Replayed,
    /// A frame before this one is missing
    #[error("a frame was cut out")]
    Cut,
    /// A frame is not what was sent
    #[error("a frame was altered")]
    Altered,
    /// A frame is longer than allowed
    #[error("a frame of {length} bytes is longer than {most}")]
    Oversize {
        /// Length that it states, bytes
        length: usize,
        /// The limit, in bytes
        most: usize,
    },
    /// The connection ended inside a frame or inside the opening
    #[error("the connection ended inside {0}")]
    Truncated(&'static str),
    /// The cryptography failed
    #[error("the channel failed: {0}")]
    Crypto(String),
}

/// The primary's verdicts on the wire.
mod verdict {
    pub const WELCOME: u8 = 0;
    pub const WRONG_KEY: u8 = 1;
    pub const WRONG_MODE: u8 = 2;
    pub const WRONG_VERSION: u8 = 3;
    pub const WRONG_ADDRESS: u8 = 4;
    pub const BUSY: u8 = 5;
}

/// The cluster key, as the channel uses it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From `key STRING`. The channel is as hard to guess as the string is: whoever records an opening can try
    /// strings at leisure.
    ///
    /// # Errors
    /// When the cryptography has no BLAKE2s.
    pub fn new(key: &str) -> Result<Secret, ChannelError> {
        let mut hash = DefaultResolver
            .resolve_hash(&HashChoice::Blake2s)
            .ok_or_else(|| ChannelError::Crypto("no BLAKE2s".to_owned()))?;
        hash.input(b"usher cluster key 1\0");
        hash.input(key.as_bytes());
        let mut secret = [0; 32];
        hash.result(&mut secret);
        Ok(Secret(secret))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(********)")
    }
}

enum State {
    /// The member waits for the primary's opening
    Calling(Option<Box<HandshakeState>>),
    /// The primary waits for the member's opening; the keys that it accepts
    Listening(Vec<Secret>),
    /// The primary has read it, and has not answered
    Answering(Option<Box<HandshakeState>>),
    /// Frames flow
    Open(Option<Box<TransportState>>),
}

/// One end of a channel.
pub struct Channel {
    state: State,
    /// The member's address
    member: IpAddr,
    keyed: bool,
    /// Which of the accepted keys the member holds
    key: usize,
    most: usize,
    inbound: Vec<u8>,
    read: usize,
    opened: Vec<u8>,
}

/// Result of the bytes received.
#[derive(Debug, PartialEq, Eq)]
pub enum ChannelEvent<'a> {
    /// At the primary: the member's handshake is good. [`Channel::answer`] it; that is where the costly part of the
    /// cryptography is done
    Handshake,
    /// At the member: the channel is open
    Open,
    /// A frame
    Frame(&'a [u8]),
}

fn crypto(error: snow::Error) -> ChannelError {
    ChannelError::Crypto(error.to_string())
}

fn opening(keyed: bool, verdict: u8) -> [u8; OPENING] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION, u8::from(keyed), verdict, 0]
}

fn builder<'a>(secret: &'a Secret, prologue: &'a [u8]) -> Result<Builder<'a>, ChannelError> {
    let params: NoiseParams = PATTERN.parse().map_err(crypto)?;
    Builder::new(params).psk(0, &secret.0).and_then(|builder| builder.prologue(prologue)).map_err(crypto)
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl Channel {
    /// The member's end, connecting from `own`; its opening is appended to `out`.
    ///
    /// # Errors
    /// When the cryptography fails.
    pub fn member(secret: Option<&Secret>, own: IpAddr, out: &mut Vec<u8>) -> Result<Channel, ChannelError> {
        let hail = opening(secret.is_some(), verdict::WELCOME);
        out.extend_from_slice(&hail);
        let noise = match secret {
            None => None,
            Some(secret) => {
                let mut noise = builder(secret, &hail)?.build_initiator().map_err(crypto)?;
                let mut first = [0; FIRST];
                noise.write_message(&mapped(own), &mut first).map_err(crypto)?;
                out.extend_from_slice(&first);
                Some(Box::new(noise))
            }
        };
        Ok(Channel::new(State::Calling(noise), own, secret.is_some(), MAX_FRAME))
    }

    /// The primary's end of a connection that comes from `peer`, who has to hold one of `secrets`; in the clear with none.
    #[must_use]
    pub fn primary<'a>(secrets: impl IntoIterator<Item = &'a Secret>, peer: IpAddr) -> Channel {
        let secrets: Vec<Secret> = secrets.into_iter().cloned().collect();
        let keyed = !secrets.is_empty();
        Channel::new(State::Listening(secrets), peer, keyed, MAX_MEMBER_FRAME)
    }

    fn new(state: State, member: IpAddr, keyed: bool, most: usize) -> Channel {
        Channel { state, member, keyed, key: 0, most, inbound: Vec::new(), read: 0, opened: Vec::new() }
    }

    /// Returns whether the peer has proven to hold the key, once the first frame has come.
    #[must_use]
    pub fn keyed(&self) -> bool {
        self.keyed
    }

    /// Which of the accepted keys the member holds, counted from 0.
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Returns whether frames may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Takes what the connection brought. The caller takes all that [`Channel::next`] has before it reads more: no more
    /// than one frame and one reading are ever held.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbound.drain(..self.read);
        self.read = 0;
        self.inbound.extend_from_slice(bytes);
    }

    /// The next `length` bytes, if they are here.
    fn ahead(&self, length: usize) -> Option<&[u8]> {
        self.inbound.get(self.read..self.read + length)
    }

    /// Returns the next frame; `None`: more bytes are needed.
    ///
    /// # Errors
    /// Why the channel ends; it is not to be used any more.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from the channel")]
    pub fn next(&mut self) -> Result<Option<ChannelEvent<'_>>, ChannelError> {
        match self.state {
            State::Listening(_) => self.read_handshake(),
            State::Calling(_) => self.read_answer(),
            State::Answering(_) => Ok(None),
            State::Open(_) => self.frame(),
        }
    }

    /// The peer's opening, as far as it can be judged alone.
    fn hail(&self) -> Result<Option<[u8; OPENING]>, ChannelError> {
        let Some(hail) = self.ahead(OPENING).and_then(|hail| <[u8; OPENING]>::try_from(hail).ok()) else {
            // A stranger need not be waited for.
            let begun = self.inbound.get(self.read..).unwrap_or_default();
            let alike = begun.iter().zip(MAGIC).all(|(a, b)| *a == b);
            return if alike { Ok(None) } else { Err(ChannelError::Stranger) };
        };
        match hail {
            [a, b, c, d, ..] if [a, b, c, d] != MAGIC => Err(ChannelError::Stranger),
            [_, _, _, _, version, ..] if version != VERSION => Err(ChannelError::Version(version)),
            [_, _, _, _, _, 0, ..] if self.keyed => Err(ChannelError::PeerPlain),
            [_, _, _, _, _, mode, ..] if mode != u8::from(self.keyed) => Err(ChannelError::PeerKeyed),
            _ => Ok(Some(hail)),
        }
    }

    /// Reads the member's handshake at the primary.
    fn read_handshake(&mut self) -> Result<Option<ChannelEvent<'_>>, ChannelError> {
        let Some(hail) = self.hail()? else { return Ok(None) };
        let State::Listening(secrets) = &self.state else { return Ok(None) };
        let (length, noise) = if secrets.is_empty() {
            (OPENING, None)
        } else {
            let Some(all) = self.ahead(OPENING + FIRST) else { return Ok(None) };
            let mut claimed = [0; FIRST];
            let mut opened = None;
            for (key, secret) in secrets.iter().enumerate() {
                let mut noise = builder(secret, &hail)?.build_responder().map_err(crypto)?;
                if noise.read_message(&all[OPENING..], &mut claimed).is_ok() {
                    opened = Some((key, noise));
                    break;
                }
            }
            let (key, noise) = opened.ok_or(ChannelError::WrongKey)?;
            self.key = key;
            let claimed: [u8; 16] = claimed.first_chunk().copied().unwrap_or_default();
            if claimed != mapped(self.member) {
                return Err(ChannelError::WrongAddress(Ipv6Addr::from(claimed).to_canonical()));
            }
            (OPENING + FIRST, Some(Box::new(noise)))
        };
        self.read += length;
        self.state = State::Answering(noise);
        Ok(Some(ChannelEvent::Handshake))
    }

    /// The primary's answer to [`ChannelEvent::Handshake`], appended to `out`; frames may flow then. With a key this is one key
    /// generation and one Diffie-Hellman, about 0.1 ms.
    ///
    /// # Errors
    /// When the cryptography fails.
    pub fn answer(&mut self, out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let State::Answering(noise) = &mut self.state else { return Ok(()) };
        let hail = opening(self.keyed, verdict::WELCOME);
        let transport = match noise.take() {
            None => None,
            Some(mut noise) => {
                let mut second = [0; SECOND];
                noise.write_message(&[], &mut second).map_err(crypto)?;
                out.extend_from_slice(&hail);
                out.extend_from_slice(&second);
                Some(Box::new(noise.into_transport_mode().map_err(crypto)?))
            }
        };
        if transport.is_none() {
            out.extend_from_slice(&hail);
        }
        self.state = State::Open(transport);
        Ok(())
    }

    /// Returns what a primary says to a member whose opening it does not accept, before it closes: the opening itself is at
    /// fault, or the primary is `busy`. `None` when there is nothing to say to it, or it has been answered.
    #[must_use]
    pub fn refusal(&self, reason: Option<&ChannelError>, busy: bool) -> Option<[u8; OPENING]> {
        let verdict = match reason {
            None if busy => verdict::BUSY,
            Some(ChannelError::WrongKey) => verdict::WRONG_KEY,
            Some(ChannelError::PeerPlain | ChannelError::PeerKeyed) => verdict::WRONG_MODE,
            Some(ChannelError::Version(_)) => verdict::WRONG_VERSION,
            Some(ChannelError::WrongAddress(_)) => verdict::WRONG_ADDRESS,
            _ => return None,
        };
        matches!(self.state, State::Listening(_) | State::Answering(_)).then(|| opening(self.keyed, verdict))
    }

    /// Reads the primary's answer at the member.
    fn read_answer(&mut self) -> Result<Option<ChannelEvent<'_>>, ChannelError> {
        let Some(hail) = self.hail()? else { return Ok(None) };
        match hail[6] {
            verdict::WELCOME => {}
            verdict::WRONG_KEY => return Err(ChannelError::WrongKey),
            verdict::WRONG_ADDRESS => return Err(ChannelError::Translated(self.member)),
            verdict => return Err(ChannelError::TurnedAway(verdict)),
        }
        let length = OPENING + if self.keyed { SECOND } else { 0 };
        let Some(all) = self.inbound.get(self.read..self.read + length) else { return Ok(None) };
        let State::Calling(noise) = &mut self.state else { return Ok(None) };
        let transport = match noise.take() {
            None => None,
            Some(mut noise) => {
                let read = noise.read_message(&all[OPENING..], &mut [0; SECOND]);
                read.map_err(|_| ChannelError::WrongKey)?;
                Some(Box::new(noise.into_transport_mode().map_err(crypto)?))
            }
        };
        self.read += length;
        self.state = State::Open(transport);
        Ok(Some(ChannelEvent::Open))
    }

    fn frame(&mut self) -> Result<Option<ChannelEvent<'_>>, ChannelError> {
        let State::Open(transport) = &mut self.state else { return Ok(None) };
        let Some(length) = self.inbound.get(self.read..self.read + 2) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let tag = if transport.is_some() { TAG } else { 0 };
        if length > self.most + tag {
            return Err(ChannelError::Oversize { length, most: self.most + tag });
        }
        let start = self.read + 2;
        let Some(frame) = self.inbound.get(start..start + length) else { return Ok(None) };
        self.read = start + length;
        match transport {
            None => Ok(Some(ChannelEvent::Frame(frame))),
            Some(transport) => {
                self.opened.resize(length, 0);
                match transport.read_message(frame, &mut self.opened) {
                    Ok(opened) => Ok(Some(ChannelEvent::Frame(&self.opened[..opened]))),
                    Err(_) => Err(diagnose(transport, frame, &mut self.opened)),
                }
            }
        }
    }

    /// Appends a frame to `out`.
    ///
    /// # Errors
    /// When the frame is too long, the channel is not open, or the cryptography fails.
    pub fn seal(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let State::Open(transport) = &mut self.state else {
            return Err(ChannelError::Crypto("it is not open yet".to_owned()));
        };
        if frame.len() > MAX_FRAME {
            return Err(ChannelError::Oversize { length: frame.len(), most: MAX_FRAME });
        }
        let length = frame.len() + if transport.is_some() { TAG } else { 0 };
        out.extend_from_slice(&(length as u16).to_be_bytes());
        match transport {
            None => out.extend_from_slice(frame),
            Some(transport) => {
                let start = out.len();
                out.resize(start + length, 0);
                transport.write_message(frame, &mut out[start..]).map_err(crypto)?;
            }
        }
        Ok(())
    }

    /// Returns what it means that the connection has ended here; `None`: it ended between two frames.
    #[must_use]
    pub fn end(&self) -> Option<ChannelError> {
        let rest = self.inbound.len() > self.read;
        match self.state {
            State::Listening(_) if !rest => None,
            State::Open(_) if !rest => None,
            State::Open(_) => Some(ChannelError::Truncated("a frame")),
            _ => Some(ChannelError::Truncated("the opening")),
        }
    }
}

/// Why a frame does not open where it stands.
fn diagnose(transport: &mut TransportState, frame: &[u8], opened: &mut [u8]) -> ChannelError {
    let here = transport.receiving_nonce();
    let mut opens_at = |place: u64| {
        transport.set_receiving_nonce(place);
        transport.read_message(frame, opened).is_ok()
    };
    if (1..=ASIDE).any(|back| here.checked_sub(back).is_some_and(&mut opens_at)) {
        ChannelError::Replayed
    } else if (1..=ASIDE).any(|on| opens_at(here.saturating_add(on))) {
        ChannelError::Cut
    } else {
        ChannelError::Altered
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("member", &self.member).field("open", &self.is_open()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MEMBER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn secret(key: &str) -> Option<Secret> {
        Some(Secret::new(key).unwrap())
    }

    /// Lets a primary read an opening, and gives its answer.
    fn answered(primary: &mut Channel, opening: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut out = Vec::new();
        primary.receive(opening);
        while primary.next()? == Some(ChannelEvent::Handshake) {
            primary.answer(&mut out)?;
        }
        Ok(out)
    }

    /// A member and a primary that have opened.
    fn pair(secret: Option<&Secret>) -> (Channel, Channel) {
        let mut opening = Vec::new();
        let mut member = Channel::member(secret, MEMBER, &mut opening).unwrap();
        let mut primary = Channel::primary(secret, MEMBER);
        member.receive(&answered(&mut primary, &opening).unwrap());
        assert_eq!(member.next(), Ok(Some(ChannelEvent::Open)));
        assert!(member.is_open() && primary.is_open());
        (member, primary)
    }

    fn sealed(channel: &mut Channel, frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        channel.seal(frame, &mut out).unwrap();
        out
    }

    #[test]
    fn openings_in_the_clear_are_eight_bytes() {
        let mut opening = Vec::new();
        Channel::member(None, MEMBER, &mut opening).unwrap();
        assert_eq!(opening, *b"UCLB\x01\0\0\0");
        let mut primary = Channel::primary([], MEMBER);
        assert_eq!(answered(&mut primary, &opening).unwrap(), *b"UCLB\x01\0\0\0");
        assert_eq!(sealed(&mut primary, b"abc"), *b"\0\x03abc");
    }

    #[test]
    fn what_one_side_seals_the_other_opens_however_it_is_split() {
        for secret in [None, secret("a key")] {
            let (mut member, mut primary) = pair(secret.as_ref());
            let long = vec![7; MAX_MEMBER_FRAME];
            let frames: [&[u8]; 4] = [b"one", b"", &long, b"four"];
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| sealed(&mut member, frame)).collect();
            for size in [1, 3, 1000, bytes.len()] {
                let (mut member, mut primary) = pair(secret.as_ref());
                let bytes: Vec<u8> = frames.iter().flat_map(|frame| sealed(&mut member, frame)).collect();
                let mut came = Vec::new();
                for part in bytes.chunks(size) {
                    primary.receive(part);
                    while let Some(ChannelEvent::Frame(frame)) = primary.next().unwrap() {
                        came.push(frame.to_vec());
                    }
                }
                assert_eq!(came, frames);
                assert_eq!(primary.end(), None);
            }
            let acknowledgement = vec![9; MAX_FRAME];
            member.receive(&sealed(&mut primary, &acknowledgement));
            assert_eq!(member.next(), Ok(Some(ChannelEvent::Frame(&acknowledgement[..]))));
        }
    }

    #[test]
    fn a_frame_that_is_not_what_was_sent_has_a_name() {
        let secret = secret("a key");
        for from_primary in [false, true] {
            let ends = || {
                let (member, primary) = pair(secret.as_ref());
                if from_primary { (primary, member) } else { (member, primary) }
            };
            let judge = |meddle: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>| {
                let (mut sender, mut receiver) = ends();
                let frames = (0..4).map(|n| sealed(&mut sender, &[n; 40])).collect();
                receiver.receive(&meddle(frames).concat());
                loop {
                    match receiver.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => return receiver.end(),
                        Err(error) => return Some(error),
                    }
                }
            };
            assert_eq!(judge(|frames| frames), None);
            assert_eq!(
                judge(|f| vec![f[0].clone(), f[1].clone(), f[1].clone()]),
                Some(ChannelError::Replayed)
            );
            assert_eq!(
                judge(|f| vec![f[0].clone(), f[1].clone(), f[0].clone()]),
                Some(ChannelError::Replayed)
            );
            assert_eq!(judge(|f| vec![f[0].clone(), f[2].clone()]), Some(ChannelError::Cut));
            let altered = |mut f: Vec<Vec<u8>>| {
                f[1][20] ^= 1;
                f
            };
            assert_eq!(judge(altered), Some(ChannelError::Altered));
            let shortened = |mut f: Vec<Vec<u8>>| {
                f[3].pop();
                f
            };
            assert_eq!(judge(shortened), Some(ChannelError::Truncated("a frame")));
        }
    }

    #[test]
    fn openings_that_do_not_fit_have_a_name_on_both_sides() {
        let other = |version| {
            let mut opening = opening(false, 0);
            opening[4] = version;
            opening.to_vec()
        };
        let opened = |key: Option<Secret>, own: IpAddr| {
            let mut opening = Vec::new();
            (Channel::member(key.as_ref(), own, &mut opening).unwrap(), opening)
        };
        // Key of the member, where it says it is, key of the primary; what each of them finds.
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
        for (theirs, own, ours, at_primary, at_member) in [
            (secret("a"), MEMBER, secret("b"), ChannelError::WrongKey, ChannelError::WrongKey),
            (None, MEMBER, secret("b"), ChannelError::PeerPlain, ChannelError::PeerKeyed),
            (secret("a"), MEMBER, None, ChannelError::PeerKeyed, ChannelError::PeerPlain),
            (
                secret("a"),
                elsewhere,
                secret("a"),
                ChannelError::WrongAddress(elsewhere),
                ChannelError::Translated(elsewhere),
            ),
        ] {
            let (mut member, opening) = opened(theirs, own);
            let mut primary = Channel::primary(ours.as_ref(), MEMBER);
            assert_eq!(answered(&mut primary, &opening), Err(at_primary.clone()));
            member.receive(&primary.refusal(Some(&at_primary), false).unwrap());
            assert_eq!(member.next(), Err(at_member));
        }
        let mut primary = Channel::primary([], MEMBER);
        assert_eq!(answered(&mut primary, &other(9)), Err(ChannelError::Version(9)));
        let mut primary = Channel::primary([], MEMBER);
        assert_eq!(answered(&mut primary, b"GET"), Err(ChannelError::Stranger), "not waited for");
        assert_eq!(primary.refusal(Some(&ChannelError::Stranger), false), None);
        let (mut member, _) = opened(None, MEMBER);
        member.receive(&Channel::primary([], MEMBER).refusal(None, true).unwrap());
        assert_eq!(member.next(), Err(ChannelError::TurnedAway(verdict::BUSY)));
    }

    #[test]
    fn a_frame_longer_than_allowed_is_refused_by_its_length_alone() {
        let (_, mut primary) = pair(None);
        primary.receive(&4097u16.to_be_bytes());
        assert_eq!(primary.next(), Err(ChannelError::Oversize { length: 4097, most: 4096 }));
        let (mut member, _) = pair(secret("a").as_ref());
        let error = member.seal(&vec![0; MAX_FRAME + 1], &mut Vec::new());
        assert_eq!(error, Err(ChannelError::Oversize { length: MAX_FRAME + 1, most: MAX_FRAME }));
    }

    #[test]
    fn a_recorded_connection_does_not_open_a_second_time() {
        let secret = secret("a key");
        let mut record = Vec::new();
        let mut member = Channel::member(secret.as_ref(), MEMBER, &mut record).unwrap();
        let mut primary = Channel::primary(secret.as_ref(), MEMBER);
        member.receive(&answered(&mut primary, &record).unwrap());
        assert_eq!(member.next(), Ok(Some(ChannelEvent::Open)));
        let hello = sealed(&mut member, b"hello");
        let mut again = Channel::primary(secret.as_ref(), MEMBER);
        answered(&mut again, &record).unwrap();
        again.receive(&hello);
        assert_eq!(again.next(), Err(ChannelError::Altered));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?}", secret("hunter2"));
        assert_eq!(shown, "Some(Secret(********))");
    }
}

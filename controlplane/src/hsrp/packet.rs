//! HSRP on the wire: version 1 (RFC 2281 section 5.1) and version 2's TLVs.
//!
//! [`parse`] yields a [`Parsed`], whose content counts only after [`Parsed::authenticate`]; [`emit`] is the way
//! back. No input panics, none costs more than [`MAX_LEN`] bytes and [`MAX_TLVS`] TLVs of work.
//!
//! Version 2's rules, stricter than a walk needs to be, so that no two readers see different messages in one packet:
//! one group state, before it no authentication; at most one authentication, text or MD5; lengths of known types
//! exact; unknown types skipped. Interface states say nothing about a group and are skipped too.

use super::auth::{self, Auth, AuthError, Proof, Trailer};
use super::bytes::array;
use super::message::{Message, Opcode, Received, State};
use crate::types::{Family, Nanos};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::time::Duration;

/// Version 1: 20 bytes, and behind them nothing or TLVs.
mod v1 {
    use super::Range;
    pub const VERSION: usize = 0;
    pub const OPCODE: usize = 1;
    pub const STATE: usize = 2;
    /// Seconds
    pub const HELLO: usize = 3;
    /// Seconds
    pub const HOLD: usize = 4;
    pub const PRIORITY: usize = 5;
    pub const GROUP: usize = 6;
    pub const TEXT: Range<usize> = 8..16;
    pub const VIRTUAL_IP: Range<usize> = 16..20;
    pub const LEN: usize = VIRTUAL_IP.end;
    /// Version field
    pub const NUMBER: u8 = 0;
}

/// A TLV: one byte type, one byte length of the value.
mod tlv {
    pub const HEADER_LEN: usize = 2;
    pub const GROUP_STATE: u8 = 1;
    pub const INTERFACE_STATE: u8 = 2;
    pub const TEXT: u8 = 3;
    pub const MD5: u8 = 4;
    pub const INTERFACE_STATE_LEN: usize = 4;
    pub const TEXT_LEN: usize = 8;
}

/// Version 2's group state, the value of its TLV.
mod v2 {
    use super::Range;
    pub const VERSION: usize = 0;
    pub const OPCODE: usize = 1;
    pub const STATE: usize = 2;
    /// 4 or 6
    pub const IP_VERSION: usize = 3;
    pub const GROUP: Range<usize> = 4..6;
    /// The sender's MAC
    pub const IDENTIFIER: Range<usize> = 6..12;
    pub const PRIORITY: Range<usize> = 12..16;
    /// Milliseconds
    pub const HELLO: Range<usize> = 16..20;
    /// Milliseconds
    pub const HOLD: Range<usize> = 20..24;
    /// IPv4 in the first four bytes
    pub const VIRTUAL_IP: Range<usize> = 24..40;
    pub const LEN: usize = VIRTUAL_IP.end;
    pub const MAX_GROUP: u16 = 4095;
    pub const NUMBER: u8 = 2;
}

/// The advertisement of version 1, which says which groups an interface has; of no use to a group.
const ADVERTISEMENT: u8 = 3;
/// The longest payload that is read: a receive buffer of one byte more tells a longer one.
pub const MAX_LEN: usize = 512;
/// The most TLVs that are walked.
pub const MAX_TLVS: usize = 16;
/// The longest payload that is sent: version 2 with MD5.
pub const MAX_EMITTED: usize = tlv::HEADER_LEN + v2::LEN + tlv::HEADER_LEN + auth::TRAILER_LEN;
/// DSCP CS6, network control: hellos must outlive a full queue.
pub const TRAFFIC_CLASS: u8 = 0xc0;

/// Transport of one version and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Version 1, IPv4
    V1,
    /// Version 2, IPv4
    V2,
    /// Version 2, IPv6
    V2Ipv6,
}

impl Transport {
    /// The transport of a version (1 or 2) and a family; there is no version 1 for IPv6.
    #[must_use]
    pub const fn of(version: u8, family: Family) -> Option<Transport> {
        match (version, family) {
            (1, Family::V4) => Some(Transport::V1),
            (2, Family::V4) => Some(Transport::V2),
            (2, Family::V6) => Some(Transport::V2Ipv6),
            _ => None,
        }
    }

    /// UDP port, source and destination.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Transport::V1 | Transport::V2 => 1985,
            Transport::V2Ipv6 => 2029,
        }
    }

    /// The multicast group that messages are sent to.
    #[must_use]
    pub const fn destination(self) -> IpAddr {
        match self {
            Transport::V1 => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 2)),
            Transport::V2 => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 102)),
            Transport::V2Ipv6 => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x66)),
        }
    }

    /// The MAC of [`Self::destination`] (RFC 1112 section 6.4, RFC 2464 section 7).
    #[must_use]
    pub const fn destination_mac(self) -> [u8; 6] {
        match self {
            Transport::V1 => [0x01, 0x00, 0x5e, 0, 0, 2],
            Transport::V2 => [0x01, 0x00, 0x5e, 0, 0, 102],
            Transport::V2Ipv6 => [0x33, 0x33, 0, 0, 0, 0x66],
        }
    }

    /// TTL or hop limit that messages are sent with.
    #[must_use]
    pub const fn hop_limit(self) -> u8 {
        match self {
            Transport::V1 | Transport::V2 => 1,
            Transport::V2Ipv6 => 255,
        }
    }

    /// 1 or 2.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Transport::V1 => 1,
            Transport::V2 | Transport::V2Ipv6 => 2,
        }
    }

    /// The family of source and virtual address.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Transport::V1 | Transport::V2 => Family::V4,
            Transport::V2Ipv6 => Family::V6,
        }
    }

    /// Returns what the packet around the payload must say: an address that can be a router's, over IPv6 a link-local one, and
    /// the TTL or hop limit that every router sends with. Only 255 proves a neighbour (RFC 5082); the TTL 1 of IPv4
    /// can be arranged from afar, so that the caller asks besides whether the source lies in a subnet of the link.
    ///
    /// # Errors
    /// [`PacketError::Source`], [`PacketError::HopLimit`].
    pub fn check(self, source: IpAddr, hop_limit: u8) -> Result<(), PacketError> {
        let right = match source {
            IpAddr::V4(address) => self.family() == Family::V4 && is_host(address),
            IpAddr::V6(address) => self.family() == Family::V6 && address.is_unicast_link_local(),
        };
        if !right {
            return Err(PacketError::Source(source));
        }
        if hop_limit != self.hop_limit() {
            return Err(PacketError::HopLimit(hop_limit));
        }
        Ok(())
    }
}

/// Why a packet is not one of ours, or a message has no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Version 1's advertisement or a version 2 packet with interface states only: well-formed and of no use here
    #[error("an advertisement of interface states, which is not used")]
    Advertisement,
    /// Shorter than its header, or a TLV is longer than the rest
    #[error("cut short: it ends at {0} bytes")]
    Truncated(usize),
    /// Over [`MAX_LEN`] bytes
    #[error("{0} bytes long: no HSRP message is longer than {MAX_LEN}")]
    Oversized(usize),
    /// Not the version of this interface
    #[error("version {0} is not this interface's: set `standby version` alike on all routers")]
    Version(u8),
    /// Neither hello, coup nor resign
    #[error("operation {0} is unknown")]
    Opcode(u8),
    /// No state of this version
    #[error("state {0} is unknown in this version")]
    State(u8),
    /// The IP version in the group state differs from the packet's
    #[error("a group state of IP version {0} inside the other one")]
    Family(u8),
    /// Over 255 in version 1, 4095 in version 2
    #[error("group {0} does not exist in this version")]
    Group(u16),
    /// Over 255, to be sent with version 1
    #[error("priority {0} does not fit into version 1")]
    Priority(u32),
    /// A virtual address that no host can have
    #[error("virtual address {0} is not a host's")]
    VirtualAddress(IpAddr),
    /// A TLV of a known type and another length
    #[error("a TLV of type {kind} with {length} bytes")]
    TlvLength {
        /// Its type
        kind: u8,
        /// Bytes of its value
        length: u8,
    },
    /// More than [`MAX_TLVS`]
    #[error("more than {MAX_TLVS} TLVs")]
    TlvCount,
    /// Authentication before the group state
    #[error("authentication stands before the group state")]
    TlvOrder,
    /// A second group state, or a second authentication
    #[error("a second TLV of type {0}, or of the other authentication")]
    TlvTwice(u8),
    /// A source that no router of this link has
    #[error("source address {0} is not that of a router on this link")]
    Source(IpAddr),
    /// TTL or hop limit: no router of this link sends with it
    #[error("TTL or hop limit {0}: HSRP is sent with TTL 1, over IPv6 with hop limit 255")]
    HopLimit(u8),
}

impl PacketError {
    /// A word for counters and debug output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PacketError::Advertisement => "advertisement",
            PacketError::Truncated(_) => "truncated",
            PacketError::Oversized(_) => "oversized",
            PacketError::Version(_) => "version",
            PacketError::Opcode(_) => "opcode",
            PacketError::State(_) => "state",
            PacketError::Family(_) => "family",
            PacketError::Group(_) => "group",
            PacketError::Priority(_) => "priority",
            PacketError::VirtualAddress(_) => "virtual-address",
            PacketError::TlvLength { .. } => "tlv-length",
            PacketError::TlvCount => "tlv-count",
            PacketError::TlvOrder => "tlv-order",
            PacketError::TlvTwice(_) => "tlv-twice",
            PacketError::Source(_) => "source",
            PacketError::HopLimit(_) => "hop-limit",
        }
    }
}

/// A well-formed message that nobody has vouched for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    message: Message,
    proof: Proof,
    payload: &'a [u8],
}

impl Parsed<'_> {
    /// The group whose [`Auth`] decides.
    #[must_use]
    pub fn group(&self) -> u16 {
        self.message.group
    }

    /// Returns what is claimed: for log and debug output only.
    #[must_use]
    pub fn claimed(&self) -> &Message {
        &self.message
    }

    /// The message, if `auth` believes it; `now_ns` in CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn authenticate(self, auth: &Auth, source: IpAddr, now_ns: Nanos) -> Result<Received, AuthError> {
        auth.verify(self.payload, &self.proof, source, now_ns)?;
        Ok(Received { message: self.message, source })
    }
}

/// Reads a UDP payload that came by `transport`.
///
/// # Errors
/// The first rule that it breaks.
pub fn parse(payload: &[u8], transport: Transport) -> Result<Parsed<'_>, PacketError> {
    if payload.len() > MAX_LEN {
        return Err(PacketError::Oversized(payload.len()));
    }
    let (message, proof) = match transport {
        Transport::V1 => parse_v1(payload)?,
        Transport::V2 | Transport::V2Ipv6 => parse_v2(payload, transport.family())?,
    };
    Ok(Parsed { message, proof, payload })
}

fn parse_v1(payload: &[u8]) -> Result<(Message, Proof), PacketError> {
    let (version, opcode) = match payload {
        [version, opcode, ..] => (*version, *opcode),
        _ => return Err(PacketError::Truncated(payload.len())),
    };
    if version != v1::NUMBER {
        // Version 2 on version 1's group begins with the type of its first TLV.
        return Err(PacketError::Version(version));
    }
    if opcode == ADVERTISEMENT {
        return Err(PacketError::Advertisement);
    }
    let header: &[u8; v1::LEN] = payload.first_chunk().ok_or(PacketError::Truncated(payload.len()))?;
    let message = Message {
        opcode: opcode_of(opcode)?,
        state: state_of(&V1_STATES, header[v1::STATE])?,
        version: 1,
        group: u16::from(header[v1::GROUP]),
        priority: u32::from(header[v1::PRIORITY]),
        hello: Duration::from_secs(u64::from(header[v1::HELLO])),
        hold: Duration::from_secs(u64::from(header[v1::HOLD])),
        virtual_ip: virtual_v4(array(header, v1::VIRTUAL_IP.start))?,
        identifier: [0; 6],
    };
    let mut proof = Proof::Text(array(header, v1::TEXT.start));
    let mut md5 = false;
    for tlv in tlvs(payload, v1::LEN) {
        let tlv = tlv?;
        if tlv.kind == tlv::MD5 {
            if std::mem::replace(&mut md5, true) {
                return Err(PacketError::TlvTwice(tlv.kind));
            }
            proof = Proof::Md5(Trailer::new(tlv.exactly()?, tlv.at));
        }
    }
    Ok((message, proof))
}

fn parse_v2(payload: &[u8], family: Family) -> Result<(Message, Proof), PacketError> {
    match payload.first() {
        None => return Err(PacketError::Truncated(0)),
        // Version 1 on version 2's group: no TLV has the type 0.
        Some(0) => return Err(PacketError::Version(1)),
        Some(_) => {}
    }
    let mut message = None;
    let mut proof = Proof::None;
    for tlv in tlvs(payload, 0) {
        let tlv = tlv?;
        match tlv.kind {
            tlv::GROUP_STATE if message.is_some() => return Err(PacketError::TlvTwice(tlv.kind)),
            tlv::GROUP_STATE => message = Some(group_state(tlv.exactly()?, family)?),
            tlv::TEXT | tlv::MD5 if message.is_none() => return Err(PacketError::TlvOrder),
            tlv::TEXT | tlv::MD5 if proof != Proof::None => return Err(PacketError::TlvTwice(tlv.kind)),
            tlv::TEXT => proof = Proof::Text(*tlv.exactly::<{ tlv::TEXT_LEN }>()?),
            tlv::MD5 => proof = Proof::Md5(Trailer::new(tlv.exactly()?, tlv.at)),
            tlv::INTERFACE_STATE => {
                tlv.exactly::<{ tlv::INTERFACE_STATE_LEN }>()?;
            }
            _ => {}
        }
    }
    Ok((message.ok_or(PacketError::Advertisement)?, proof))
}

fn group_state(value: &[u8; v2::LEN], family: Family) -> Result<Message, PacketError> {
    if value[v2::VERSION] != v2::NUMBER {
        return Err(PacketError::Version(value[v2::VERSION]));
    }
    if value[v2::IP_VERSION] != ip_version(family) {
        return Err(PacketError::Family(value[v2::IP_VERSION]));
    }
    let group = u16::from_be_bytes(array(value, v2::GROUP.start));
    if group > v2::MAX_GROUP {
        return Err(PacketError::Group(group));
    }
    let number = |field: Range<usize>| u32::from_be_bytes(array(value, field.start));
    Ok(Message {
        opcode: opcode_of(value[v2::OPCODE])?,
        state: state_of(&V2_STATES, value[v2::STATE])?,
        version: 2,
        group,
        priority: number(v2::PRIORITY),
        hello: Duration::from_millis(u64::from(number(v2::HELLO))),
        hold: Duration::from_millis(u64::from(number(v2::HOLD))),
        virtual_ip: match family {
            Family::V4 => virtual_v4(array(value, v2::VIRTUAL_IP.start))?,
            Family::V6 => virtual_v6(array(value, v2::VIRTUAL_IP.start))?,
        },
        identifier: array(value, v2::IDENTIFIER.start),
    })
}

/// A UDP payload ready to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    bytes: [u8; MAX_EMITTED],
    len: usize,
}

impl std::ops::Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Without the bytes: a text authentication is in them.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.len)
    }
}

/// Writes `message` as it is sent from `source`, which decides between IPv4 and IPv6.
///
/// Times are rounded up to what the version can say, and version 1's hold to at least a second over its hello: a peer
/// that learns its timers from this message must not take over earlier than it ought to.
///
/// # Errors
/// When the message has no form in its version: [`PacketError::Version`], [`PacketError::Family`],
/// [`PacketError::Group`], [`PacketError::Priority`], [`PacketError::State`].
pub fn emit(message: &Message, auth: &Auth, source: IpAddr) -> Result<Payload, PacketError> {
    let family = Family::of(source);
    if let Some(virtual_ip) = message.virtual_ip.filter(|address| Family::of(*address) != family) {
        return Err(PacketError::Family(ip_version(Family::of(virtual_ip))));
    }
    let mut payload = Payload { bytes: [0; MAX_EMITTED], len: 0 };
    match (message.version, family) {
        (1, Family::V4) => payload.push(&header_v1(message, auth)?),
        (1, Family::V6) => return Err(PacketError::Family(6)),
        (2, family) => payload.push_tlv(tlv::GROUP_STATE, &group_state_of(message, family)?),
        (version, _) => return Err(PacketError::Version(version)),
    }
    match auth {
        Auth::Text(text) if message.version == 2 => payload.push_tlv(tlv::TEXT, text),
        Auth::Text(_) => {}
        Auth::Md5(keys) => {
            payload.push_tlv(tlv::MD5, &[0; auth::TRAILER_LEN]);
            auth::seal(&mut payload.bytes[..payload.len], keys, source);
        }
    }
    Ok(payload)
}

impl Payload {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn push_tlv<const N: usize>(&mut self, kind: u8, value: &[u8; N]) {
        self.push(&[kind, N as u8]);
        self.push(value);
    }
}

fn header_v1(message: &Message, auth: &Auth) -> Result<[u8; v1::LEN], PacketError> {
    let mut header = [0; v1::LEN];
    let hello = in_units(message.hello, 1_000_000_000).min(254) as u8;
    let hold = in_units(message.hold, 1_000_000_000).min(255) as u8;
    header[v1::VERSION] = v1::NUMBER;
    header[v1::OPCODE] = number_of(message.opcode);
    header[v1::STATE] =
        number_in(&V1_STATES, message.state).ok_or(PacketError::State(message.state as u8))?;
    header[v1::HELLO] = hello;
    header[v1::HOLD] = if message.hold > message.hello { hold.max(hello + 1) } else { hold };
    header[v1::PRIORITY] =
        u8::try_from(message.priority).map_err(|_| PacketError::Priority(message.priority))?;
    header[v1::GROUP] = u8::try_from(message.group).map_err(|_| PacketError::Group(message.group))?;
    if let Auth::Text(text) = auth {
        header[v1::TEXT].copy_from_slice(text);
    }
    if let Some(IpAddr::V4(address)) = message.virtual_ip {
        header[v1::VIRTUAL_IP].copy_from_slice(&address.octets());
    }
    Ok(header)
}

fn group_state_of(message: &Message, family: Family) -> Result<[u8; v2::LEN], PacketError> {
    if message.group > v2::MAX_GROUP {
        return Err(PacketError::Group(message.group));
    }
    let milliseconds = |time| in_units(time, 1_000_000).to_be_bytes();
    let mut value = [0; v2::LEN];
    value[v2::VERSION] = v2::NUMBER;
    value[v2::OPCODE] = number_of(message.opcode);
    value[v2::STATE] = number_in(&V2_STATES, message.state).ok_or(PacketError::State(message.state as u8))?;
    value[v2::IP_VERSION] = ip_version(family);
    value[v2::GROUP].copy_from_slice(&message.group.to_be_bytes());
    value[v2::IDENTIFIER].copy_from_slice(&message.identifier);
    value[v2::PRIORITY].copy_from_slice(&message.priority.to_be_bytes());
    value[v2::HELLO].copy_from_slice(&milliseconds(message.hello));
    value[v2::HOLD].copy_from_slice(&milliseconds(message.hold));
    match message.virtual_ip {
        Some(IpAddr::V4(address)) => value[v2::VIRTUAL_IP][..4].copy_from_slice(&address.octets()),
        Some(IpAddr::V6(address)) => value[v2::VIRTUAL_IP].copy_from_slice(&address.octets()),
        None => {}
    }
    Ok(value)
}

const V1_STATES: [(u8, State); 6] = [
    (0, State::Init),
    (1, State::Learn),
    (2, State::Listen),
    (4, State::Speak),
    (8, State::Standby),
    (16, State::Active),
];
const V2_STATES: [(u8, State); 7] = [
    (0, State::Disabled),
    (1, State::Init),
    (2, State::Learn),
    (3, State::Listen),
    (4, State::Speak),
    (5, State::Standby),
    (6, State::Active),
];

fn state_of(states: &[(u8, State)], number: u8) -> Result<State, PacketError> {
    let state = states.iter().find(|(of, _)| *of == number).map(|(_, state)| *state);
    state.ok_or(PacketError::State(number))
}

fn number_in(states: &[(u8, State)], state: State) -> Option<u8> {
    states.iter().find(|(_, of)| *of == state).map(|(number, _)| *number)
}

fn opcode_of(number: u8) -> Result<Opcode, PacketError> {
    match number {
        0 => Ok(Opcode::Hello),
        1 => Ok(Opcode::Coup),
        2 => Ok(Opcode::Resign),
        _ => Err(PacketError::Opcode(number)),
    }
}

const fn number_of(opcode: Opcode) -> u8 {
    match opcode {
        Opcode::Hello => 0,
        Opcode::Coup => 1,
        Opcode::Resign => 2,
    }
}

const fn ip_version(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// `time` in units of so many nanoseconds, rounded up, as much as fits.
fn in_units(time: Duration, nanoseconds: u128) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(nanoseconds)).unwrap_or(u32::MAX)
}

/// Returns what a host can be given: not 0/8, loopback, multicast, nor 240/4 with the broadcast address (RFC 6890).
const fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

fn virtual_v4(octets: [u8; 4]) -> Result<Option<IpAddr>, PacketError> {
    let address = Ipv4Addr::from(octets);
    match address.is_unspecified() {
        true => Ok(None),
        false if is_host(address) => Ok(Some(address.into())),
        false => Err(PacketError::VirtualAddress(address.into())),
    }
}

fn virtual_v6(octets: [u8; 16]) -> Result<Option<IpAddr>, PacketError> {
    let address = Ipv6Addr::from(octets);
    match address.is_unspecified() {
        true => Ok(None),
        false if address.is_multicast() || address.is_loopback() => {
            Err(PacketError::VirtualAddress(address.into()))
        }
        false => Ok(Some(address.into())),
    }
}

/// One TLV, whose value stands at `at` in the payload.
struct Tlv<'a> {
    kind: u8,
    value: &'a [u8],
    at: usize,
}

impl<'a> Tlv<'a> {
    fn exactly<const N: usize>(&self) -> Result<&'a [u8; N], PacketError> {
        let wrong = PacketError::TlvLength { kind: self.kind, length: self.value.len() as u8 };
        self.value.try_into().map_err(|_| wrong)
    }
}

/// The TLVs of `payload` from `at` on. Ends at its end or behind the first error; an error is the last item.
fn tlvs(payload: &[u8], mut at: usize) -> impl Iterator<Item = Result<Tlv<'_>, PacketError>> {
    let mut count = 0;
    std::iter::from_fn(move || {
        let rest = payload.get(at..).filter(|rest| !rest.is_empty())?;
        count += 1;
        let tlv = match rest {
            _ if count > MAX_TLVS => Err(PacketError::TlvCount),
            [kind, length, rest @ ..] => match rest.get(..usize::from(*length)) {
                Some(value) => Ok(Tlv { kind: *kind, value, at: at + tlv::HEADER_LEN }),
                None => Err(PacketError::Truncated(payload.len())),
            },
            _ => Err(PacketError::Truncated(payload.len())),
        };
        at = match &tlv {
            Ok(tlv) => tlv.at + tlv.value.len(),
            Err(_) => payload.len(),
        };
        Some(tlv)
    })
}

#[cfg(test)]
mod tests;

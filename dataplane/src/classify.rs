//! What a frame is: a request that we answer, something for the kernel's side, or nothing for anybody.
//!
//! One function over bytes and a [`View`]; it knows no DPDK type, no clock and no IO. Checks stand in the order in
//! which frames of a headend fail them, and nothing behind the destination address is looked at in a frame that goes
//! elsewhere.

use platform::wire::ethernet::{self, Frame, Mac, ethertype};
use platform::wire::{arp, icmpv6, ike, ipv4, ipv6, redirect, udp};

use crate::stages::Stage;
use crate::vlan::Vlans;
use crate::{Class, Gate, Reason, View, contents, plain};

/// A request that may be answered, as offsets into its frame. It borrows nothing, so that the answer can be written
/// over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Index of the virtual address in the view.
    pub vip: usize,
    /// 4 or 6.
    pub family: u8,
    /// Where the IP header starts.
    pub ip: usize,
    /// Where the UDP header starts.
    pub udp: usize,
    /// Where the IKE header starts: behind the marker on port 4500.
    pub ike: usize,
    /// Where the IKE message ends.
    pub end: usize,
    /// Where the nonce's data starts.
    pub nonce: usize,
    /// Bytes of nonce data, 16 to 256.
    pub nonce_len: usize,
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The client's address; IPv4 in the first 4 bytes.
    pub source: [u8; 16],
    /// The gateway named by REDIRECTED_FROM, if the client sent one with an address of this family.
    pub redirected_from: Option<[u8; 16]>,
}

/// A fragment of a datagram to a virtual address that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentInfo {
    /// Source address; IPv4 in the first 4 bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first 4 bytes.
    pub destination: [u8; 16],
    /// The identification that the fragments share.
    pub id: u32,
    /// 4 or 6.
    pub family: u8,
    /// The header that the datagram's payload starts with.
    pub protocol: u8,
    /// Where the IP header starts in the frame.
    pub ip: usize,
    /// Where the fragment's payload starts in the frame.
    pub payload: usize,
    /// Bytes of payload.
    pub len: usize,
    /// Where the payload stands in the datagram's, in bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
    /// The frame's VLANs: what came in one is nothing to what came in another.
    pub vlans: [u16; ethernet::MAX_TAGS],
}

/// What a frame from the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A request to decide about.
    Request(Request),
    /// One of two fragments that may make a request.
    Fragment(FragmentInfo),
    /// For the kernel's side, in this class.
    Pass(Class, Reason),
    /// For nobody.
    Drop(Reason),
}

/// What a worker knows of the port a frame came from.
#[derive(Debug, Clone, Copy)]
pub struct PortView {
    /// Its index in the profile.
    pub index: u16,
    /// Its MAC.
    pub mac: Mac,
    /// Every destination MAC is ours: replay of a capture whose node is not known.
    pub any_mac: bool,
    /// A frame to a foreign address is taken as if it had been addressed to the first virtual address of its family:
    /// replay only. Its checksums, which cover the address, are then not checked; captures that were made anonymous
    /// have wrong ones.
    pub any_address: bool,
    /// The NIC has checked the checksums of this frame and found them right.
    pub checksums_good: bool,
    /// Its subinterfaces.
    pub vlans: Vlans,
}

impl PortView {
    /// A port without subinterfaces: nothing is ours that does not have its MAC.
    pub fn new(index: u16, mac: Mac) -> PortView {
        PortView { index, mac, any_mac: false, any_address: false, checksums_good: false, vlans: Vlans::NONE }
    }
}

use Verdict::{Drop, Pass};

/// Says what a frame from the wire is.
#[inline]
pub fn classify(frame: &[u8], view: &View, port: &PortView) -> Verdict {
    classify_timed(frame, view, port, &mut |_| ())
}

/// [`classify()`] with a clock: `lap` is told of the end of [`Stage::Classify`] and [`Stage::Walk`] if there is a walk.
#[inline]
pub fn classify_timed(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    plain::classify(frame, view, port, lap)
}

/// [`classify_timed`] of any frame, without the short way of the plain case.
#[inline(never)]
pub fn classify_any(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    // Two functions, so that a port without subinterfaces pays for none.
    if port.vlans.is_empty() { any::<false>(frame, view, port, lap) } else { any_sub(frame, view, port, lap) }
}

#[inline(never)]
fn any_sub(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    any::<true>(frame, view, port, lap)
}

/// `SUB`: the port has subinterfaces.
#[inline(always)]
fn any<const SUB: bool>(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    let Ok(eth) = Frame::new_checked(frame) else { return Drop(Reason::BadEthernet) };
    let destination = eth.destination();
    let ours = destination == port.mac || ethernet::is_group(&destination) || port.any_mac;
    if !ours && !view.owns_mac(&destination, interface::<SUB>(&eth, port)) {
        return Drop(Reason::ForeignMac);
    }
    if view.any_fenced() && touches_fenced(&eth, view, interface::<SUB>(&eth, port)) {
        return Drop(Reason::Fenced);
    }
    match eth.ethertype() {
        ethertype::IPV4 => v4::<SUB>(&eth, view, port, lap),
        ethertype::IPV6 => v6::<SUB>(&eth, view, port, lap),
        ethertype::ARP => Pass(Class::ArpNd, Reason::Arp),
        _ => Pass(Class::Rest, Reason::OtherEthertype),
    }
}

/// The number of the interface that a frame belongs to.
#[inline(always)]
fn interface<const SUB: bool>(eth: &Frame<'_>, port: &PortView) -> u16 {
    if SUB { port.vlans.interface(eth, port.index) } else { port.index }
}

fn v4<const SUB: bool>(
    eth: &Frame<'_>,
    view: &View,
    port: &PortView,
    lap: &mut impl FnMut(Stage),
) -> Verdict {
    let ip = match ipv4::Packet::new_checked(eth.payload()) {
        Ok(ip) => ip,
        Err(_) => return Drop(Reason::BadIp),
    };
    let destination = ip.destination();
    let mut address = [0; 16];
    address[..4].copy_from_slice(&destination);
    let (vip, checksums_good) = find::<SUB>(eth, view, port, 4, &address);
    let Some(vip) = vip else {
        return if destination[0] >= 224 {
            let hsrp = ip.protocol() == udp::PROTOCOL
                && matches!(destination, [224, 0, 0, 2 | 102])
                && udp::Datagram::new_checked(ip.payload()).is_ok_and(|udp| udp.destination_port() == 1985);
            if hsrp { Pass(Class::Hsrp, Reason::Hsrp) } else { Pass(Class::Rest, Reason::GroupAddress) }
        } else {
            other_address::<SUB>(view, port, 4, &address)
        };
    };
    let gate = match entrance(eth, view, vip) {
        Ok(gate) => gate,
        Err(verdict) => return verdict,
    };
    if !checksums_good && !ip.verify_checksum() {
        return Drop(Reason::BadIpChecksum);
    }
    if ip.header_len() > ipv4::HEADER_LEN && ip.source_routed() {
        return Pass(Class::VipOther, Reason::SourceRouted);
    }
    let mut source = [0; 16];
    source[..4].copy_from_slice(&ip.source());
    let payload = eth.payload_offset() + ip.header_len();
    if ip.is_fragment() {
        let info = FragmentInfo {
            source,
            destination: address,
            id: u32::from(ip.id()),
            family: 4,
            protocol: ip.protocol(),
            ip: eth.payload_offset(),
            payload,
            len: ip.payload().len(),
            offset: ip.fragment_offset(),
            more: ip.more_fragments(),
            vlans: eth.vlans(),
        };
        return fragment(info, gate);
    }
    let clb_port = view.body().clb_port;
    let found = Found { vip, gate, family: 4, source, ip: eth.payload_offset(), payload, clb_port };
    let verdict = upper(&found, ip.protocol(), ip.payload(), ip.addresses(), checksums_good, lap);
    unmetered_if_own(verdict, view, vip)
}

fn v6<const SUB: bool>(
    eth: &Frame<'_>,
    view: &View,
    port: &PortView,
    lap: &mut impl FnMut(Stage),
) -> Verdict {
    let Ok(ip) = ipv6::Packet::new_checked(eth.payload()) else { return Drop(Reason::BadIp) };
    let destination = ip.destination();
    let (vip, checksum_good) = find::<SUB>(eth, view, port, 6, &destination);
    let Some(vip) = vip else { return v6_elsewhere::<SUB>(&ip, view, port) };
    let gate = match entrance(eth, view, vip) {
        Ok(gate) => gate,
        Err(verdict) => return verdict,
    };
    let Ok(end) = ip.upper() else { return Drop(Reason::BadIp) };
    if end.source_routed {
        return Pass(Class::VipOther, Reason::SourceRouted);
    }
    let payload = ip.as_bytes().get(end.offset..).unwrap_or_default();
    let source = ip.source();
    match end.fragment {
        Some(header) if header.more || header.offset != 0 => {
            let info = FragmentInfo {
                source,
                destination,
                id: header.id,
                family: 6,
                protocol: header.next,
                ip: eth.payload_offset(),
                payload: eth.payload_offset() + header.payload,
                len: payload.len(),
                offset: header.offset,
                more: header.more,
                vlans: eth.vlans(),
            };
            return fragment(info, gate);
        }
        _ => {}
    }
    if end.protocol == ipv6::next::ICMPV6 && icmpv6::is_neighbour_discovery(payload) {
        return Pass(Class::ArpNd, Reason::NeighbourDiscovery);
    }
    let found = Found {
        vip,
        gate,
        family: 6,
        source,
        ip: eth.payload_offset(),
        payload: eth.payload_offset() + end.offset,
        clb_port: view.body().clb_port,
    };
    let verdict = upper(&found, end.protocol, payload, ip.addresses(), checksum_good, lap);
    unmetered_if_own(verdict, view, vip)
}

/// A member that sheds load answers requests to its own address; what else comes there, its sessions and the cluster's
/// own talk among it, is the class of a node's own addresses, as when it sheds none.
#[inline(always)]
fn unmetered_if_own(verdict: Verdict, view: &View, vip: usize) -> Verdict {
    match verdict {
        Pass(Class::Session | Class::VipOther | Class::Clb, reason) if view.is_own(vip) => {
            Pass(Class::Rest, reason)
        }
        verdict => verdict,
    }
}

/// To no virtual address of the frame's interface.
#[inline(always)]
fn other_address<const SUB: bool>(view: &View, port: &PortView, family: u8, address: &[u8; 16]) -> Verdict {
    let of_port = |interface| interface == port.index || port.vlans.contains(interface);
    match SUB && view.is_on(family, address, of_port) {
        true => Pass(Class::VipOther, Reason::OtherVlan),
        false => Pass(Class::Rest, Reason::OtherAddress),
    }
}

fn v6_elsewhere<const SUB: bool>(ip: &ipv6::Packet<'_>, view: &View, port: &PortView) -> Verdict {
    let destination = ip.destination();
    let Ok(end) = ip.upper() else { return Pass(Class::Rest, Reason::OtherAddress) };
    let payload = ip.as_bytes().get(end.offset..).unwrap_or_default();
    if end.fragment.is_none() && end.protocol == ipv6::next::ICMPV6 && icmpv6::is_neighbour_discovery(payload)
    {
        return Pass(Class::ArpNd, Reason::NeighbourDiscovery);
    }
    if destination[0] != 0xff {
        return other_address::<SUB>(view, port, 6, &destination);
    }
    // ff02::66, UDP 2029, hop limit 255: HSRP version 2 over IPv6.
    let hsrp = destination[..2] == [0xff, 2]
        && destination[15] == 0x66
        && ip.hop_limit() == 255
        && end.protocol == udp::PROTOCOL
        && udp::Datagram::new_checked(payload).is_ok_and(|udp| udp.destination_port() == 2029);
    if hsrp { Pass(Class::Hsrp, Reason::Hsrp) } else { Pass(Class::Rest, Reason::GroupAddress) }
}

/// The virtual address that a destination is, and whether the NIC's word about checksums holds for the frame.
#[inline]
fn find<const SUB: bool>(
    eth: &Frame<'_>,
    view: &View,
    port: &PortView,
    family: u8,
    address: &[u8; 16],
) -> (Option<usize>, bool) {
    let found = view.find(family, address, interface::<SUB>(eth, port));
    if found.is_some() || !port.any_address {
        return (found, port.checksums_good);
    }
    let first = view.body().vips().iter().position(|vip| vip.family == family);
    (first, true)
}

/// What a frame to a virtual address may hope for at all.
#[inline(always)]
fn entrance(eth: &Frame<'_>, view: &View, vip: usize) -> Result<Gate, Verdict> {
    // An answer to a frame that came to a group address would be an answer in many nodes' names.
    match view.gate(vip) {
        Gate::Fence => Err(Drop(Reason::Fenced)),
        _ if ethernet::is_group(&eth.destination()) => Err(Pass(Class::VipOther, Reason::GroupAddress)),
        gate => Ok(gate),
    }
}

fn fragment(info: FragmentInfo, gate: Gate) -> Verdict {
    // Behind an IPv6 fragment header UDP may come after destination options.
    let may_be_ike =
        info.protocol == udp::PROTOCOL || info.family == 6 && info.protocol == ipv6::next::DESTINATION;
    match gate {
        Gate::Answer if may_be_ike => Verdict::Fragment(info),
        _ => Pass(Class::VipOther, Reason::FragmentOther),
    }
}

/// A packet to a virtual address, up to its upper layer.
struct Found {
    vip: usize,
    gate: Gate,
    family: u8,
    source: [u8; 16],
    ip: usize,
    payload: usize,
    clb_port: u16,
}

#[inline]
fn upper(
    found: &Found,
    protocol: u8,
    payload: &[u8],
    addresses: &[u8],
    checksum_good: bool,
    lap: &mut impl FnMut(Stage),
) -> Verdict {
    if protocol != udp::PROTOCOL {
        return other_protocol(protocol, payload, found.clb_port);
    }
    let Ok(datagram) = udp::Datagram::new_checked(payload) else { return Drop(Reason::BadUdp) };
    let destination_port = datagram.destination_port();
    if destination_port != ike::PORT && destination_port != ike::PORT_NAT {
        return Pass(Class::VipOther, Reason::OtherPort);
    }
    if datagram.checksum() == 0 {
        // RFC 8200 section 8.1: over IPv6 a zero checksum MUST be discarded. Over IPv4 it says that there is none.
        if found.family == 6 {
            return Drop(Reason::BadUdpChecksum);
        }
    } else if !checksum_good && !datagram.verify(addresses) {
        return Drop(Reason::BadUdpChecksum);
    }
    let mut message = datagram.payload();
    let mut start = found.payload + udp::HEADER_LEN;
    if destination_port == ike::PORT_NAT {
        match message {
            [0, 0, 0, 0, rest @ ..] => (message, start) = (rest, start + ike::MARKER_LEN),
            [0xff] => return Pass(Class::Session, Reason::Keepalive),
            _ => return Pass(Class::Session, Reason::EspInUdp),
        }
    }
    request(found, message, start, lap)
}

fn other_protocol(protocol: u8, payload: &[u8], clb_port: u16) -> Verdict {
    const TCP: u8 = 6;
    const ESP: u8 = 50;
    match (protocol, payload) {
        (TCP, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) == clb_port => {
            Pass(Class::Clb, Reason::Clb)
        }
        (ESP, _) => Pass(Class::Session, Reason::OtherProtocol),
        _ => Pass(Class::VipOther, Reason::OtherProtocol),
    }
}

/// The IKE message itself: header, then one walk over all payloads.
#[inline]
fn request(found: &Found, message: &[u8], start: usize, lap: &mut impl FnMut(Stage)) -> Verdict {
    let Ok(ike) = ike::Message::new_checked(message) else { return Drop(Reason::BadIke) };
    if ike.major_version() != ike::VERSION >> 4 {
        return Pass(Class::Ike, Reason::OtherVersion);
    }
    if ike.exchange() != ike::exchange::IKE_SA_INIT {
        return Pass(Class::Session, Reason::LaterExchange);
    }
    if ike.flags() & (ike::flag::INITIATOR | ike::flag::RESPONSE) != ike::flag::INITIATOR {
        return Pass(Class::Ike, Reason::NotARequest);
    }
    if !ike.length_is_exact() {
        return Drop(Reason::BadIke);
    }
    if ike.spi_i() == 0 {
        return Drop(Reason::ZeroSpi);
    }
    if ike.spi_r() != 0 {
        return Pass(Class::Ike, Reason::ResponderSpi);
    }
    if ike.message_id() != 0 {
        return Pass(Class::Ike, Reason::MessageId);
    }
    if let Gate::Pass(reason) = found.gate {
        return Pass(Class::Ike, reason);
    }
    let Found { vip, family, source, ip, payload, .. } = *found;
    first_request(&Asked { vip, family, source, ip, udp: payload, ike: start }, ike, lap)
}

/// A first request to a virtual address that is answered, up to its payloads.
pub(crate) struct Asked {
    pub vip: usize,
    pub family: u8,
    pub source: [u8; 16],
    /// Where the headers start in the frame.
    pub ip: usize,
    pub udp: usize,
    pub ike: usize,
}

/// The walk over the payloads, and what follows from it.
#[inline(always)]
pub(crate) fn first_request(asked: &Asked, ike: ike::Message<'_>, lap: &mut impl FnMut(Stage)) -> Verdict {
    lap(Stage::Classify);
    let contents = contents::read(ike, asked.family);
    lap(Stage::Walk);
    let (contents, redirected_from) = match contents {
        Ok(contents) => contents,
        Err(reason) => return Drop(reason),
    };
    if !contents.is_complete() {
        return Pass(Class::Ike, Reason::Incomplete);
    }
    if contents.has_critical() {
        return Pass(Class::Ike, Reason::CriticalPayload);
    }
    // RFC 5685 section 3: "The gateway MUST NOT send REDIRECT to a client that did not indicate support."
    if !contents.signals_support() {
        return Pass(Class::Ike, Reason::Unsignalled);
    }
    if redirect::prefix_len(asked.family == 6) + contents.nonce_len() > ike.len() {
        return Pass(Class::Ike, Reason::AnswerTooLong);
    }
    let end = asked.ike + ike.len();
    Verdict::Request(Request {
        vip: asked.vip,
        family: asked.family,
        ip: asked.ip,
        udp: asked.udp,
        ike: asked.ike,
        end,
        nonce: end - contents.nonce_to_end(),
        nonce_len: contents.nonce_len(),
        spi_i: ike.spi_i(),
        source: asked.source,
        redirected_from,
    })
}

/// Whether a frame, from the wire or to it, speaks in the name of a fenced address of its interface: its virtual MAC, or
/// ARP or neighbour discovery about the address.
#[cold]
pub fn touches_fenced(eth: &Frame<'_>, view: &View, interface: u16) -> bool {
    let (source, destination) = (eth.source(), eth.destination());
    let subject = subjects(eth);
    let mut fenced = view.fenced(interface);
    fenced.any(|vip| {
        vip.mac == source
            || vip.mac == destination
            || subject.iter().flatten().any(|(family, address)| *family == vip.family && *address == vip.addr)
    })
}

/// The addresses that a frame of ARP or neighbour discovery is about.
fn subjects(eth: &Frame<'_>) -> [Option<(u8, [u8; 16])>; 2] {
    match eth.ethertype() {
        ethertype::ARP => match arp::Packet::new_checked(eth.payload()) {
            Ok(packet) => [packet.sender_ip(), packet.target_ip()]
                .map(|ip| Some((4, platform::snapshot::addr16(std::net::IpAddr::from(ip))))),
            Err(_) => [None; 2],
        },
        ethertype::IPV6 => {
            let target = ipv6::Packet::new_checked(eth.payload()).ok().and_then(|ip| {
                let end = ip.upper().ok()?;
                let message = ip.as_bytes().get(end.offset..)?;
                (end.protocol == ipv6::next::ICMPV6).then(|| icmpv6::neighbour_target(message))?
            });
            [target.map(|target| (6, target)), None]
        }
        _ => [None; 2],
    }
}

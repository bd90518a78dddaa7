//! What an answer must look like, checked field by field.

use std::net::IpAddr;
use std::ops::Range;

use platform::snapshot::addr16;
use platform::wire::{checksum, ethernet, ike, ipv4, ipv6, notify, redirect, udp};

use crate::request::{Spec, Template};

/// Where the version stands in an IKE header (RFC 7296 section 3.1).
const VERSION_AT: usize = 17;

/// What the other side does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Answer it with a REDIRECT (RFC 5685).
    Redirect,
    /// Send it back with its MACs, or its MACs, addresses and ports, swapped: testpmd's macswap and 5tswap.
    Echo,
    /// Nothing: requests are only sent.
    Nothing,
}

/// How an answer was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not to our MAC, or with other tags than the request.
    Link,
    /// IP or UDP header: lengths, addresses, ports.
    Header,
    /// IP or UDP checksum.
    Checksum,
    /// IKE header.
    Ike,
    /// The notify is no REDIRECT as RFC 5685 section 7.2 has it.
    Notify,
    /// The nonce is not the request's.
    Nonce,
    /// The gateway is none of those expected.
    Gateway,
    /// An answer to a request that must not be answered.
    Unasked,
    /// An answer more than requests sent.
    Duplicate,
    /// Another gateway than the same request got before.
    Differs,
}

impl Wrong {
    /// All of them, by index.
    pub const ALL: [Wrong; 10] = [
        Wrong::Link,
        Wrong::Header,
        Wrong::Checksum,
        Wrong::Ike,
        Wrong::Notify,
        Wrong::Nonce,
        Wrong::Gateway,
        Wrong::Unasked,
        Wrong::Duplicate,
        Wrong::Differs,
    ];

    /// One word for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Wrong::Link => "link",
            Wrong::Header => "header",
            Wrong::Checksum => "checksum",
            Wrong::Ike => "ike",
            Wrong::Notify => "notify",
            Wrong::Nonce => "nonce",
            Wrong::Gateway => "gateway",
            Wrong::Unasked => "unasked",
            Wrong::Duplicate => "duplicate",
            Wrong::Differs => "differs",
        }
    }
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A right answer.
    Answer {
        /// SPI of the request.
        spi: u64,
        /// How far the client's address is from the first.
        client: u16,
        /// The gateway named; zeros from an echo.
        gateway: [u8; 16],
    },
    /// An answer that is wrong.
    Wrong(Wrong),
    /// Something else: ARP, neighbour discovery, a neighbour's frames.
    Foreign,
}

/// Checks answers to the requests of one spec.
#[derive(Debug, Clone)]
pub struct Checker {
    expect: Expect,
    vip: [u8; 16],
    first_source: [u8; 16],
    v6: bool,
    mac: ethernet::Mac,
    tag: Option<u16>,
    nonce_len: usize,
    gateways: Vec<[u8; 16]>,
    any_protocol: bool,
    echoes: Vec<Echo>,
    model: Option<Model>,
}

/// The first right answer: where another has the same bytes, what was read of the first holds for it too.
#[derive(Debug, Clone)]
struct Model {
    len: usize,
    ip: usize,
    udp: usize,
    ike: usize,
    gateway: Range<usize>,
    /// What stands in front of the nonce, and which of its bits all answers share: the rest is looked at in each.
    head: Vec<u8>,
    shared: Vec<u8>,
}

impl Model {
    /// Of an answer that was checked field by field.
    fn of(frame: &[u8], ip: usize, v6: bool) -> Model {
        let udp = ip + if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let ike = udp + udp::HEADER_LEN;
        let nonce = ike + redirect::prefix_len(v6);
        let gateway = nonce - if v6 { 16 } else { 4 }..nonce;
        let mut shared = vec![0xff; nonce];
        if !v6 {
            shared[ip + 10..ip + 12].fill(0);
        }
        shared[udp - 2..udp].fill(0);
        shared[udp + 6..ike + 8].fill(0);
        shared[gateway.clone()].fill(0);
        Model { len: frame.len(), ip, udp, ike, gateway, head: frame[..nonce].to_vec(), shared }
    }

    /// Whether a frame differs from this answer in nothing but client, SPI, nonce, gateway and checksums.
    #[inline]
    fn is_like(&self, frame: &[u8]) -> bool {
        let other = |((got, model), shared): ((&u8, &u8), &u8)| (got ^ model) & shared;
        let pairs = frame.iter().zip(&self.head).zip(&self.shared);
        frame.len() == self.len && pairs.map(other).fold(0, |all, bits| all | bits) == 0
    }
}

/// A frame of a request as it comes back: told from others by its length.
#[derive(Debug, Clone)]
struct Echo {
    len: usize,
    /// Where the SPI, or a part of the nonce that repeats it, stands.
    spi: usize,
    /// The rest of the nonce.
    nonce: Range<usize>,
    /// Where the UDP header stands, if the whole datagram is in this frame.
    udp: Option<usize>,
}

impl Echo {
    /// The frames of a request.
    fn of(template: &Template) -> Vec<Echo> {
        let (spi, nonce) = (template.spi_at(), template.nonce_at());
        let whole =
            Echo { len: template.frame.len(), spi, nonce: nonce.clone(), udp: Some(spi - udp::HEADER_LEN) };
        let Some((first, second)) = template.fragments() else { return vec![whole] };
        let frame = |len, spi, nonce| Echo { len, spi, nonce, udp: None };
        let inside = |at: usize| template.in_fragment(at).unwrap_or_default();
        let (head, (cut, start), (_, end)) = (inside(spi).1, inside(nonce.start), inside(nonce.end - 1));
        // The nonce comes behind the key: it is in the second.
        debug_assert!(cut);
        vec![frame(first, head, head..head), frame(second, start, start..end + 1)]
    }
}

impl Checker {
    /// Checks answers to the requests of these templates. `gateways` may be named in answers; with none, every unicast address
    /// other than the one asked.
    pub fn new(spec: &Spec, templates: &[&Template], expect: Expect, gateways: &[IpAddr]) -> Checker {
        Checker {
            expect,
            vip: addr16(spec.destination),
            first_source: addr16(spec.source),
            v6: spec.destination.is_ipv6(),
            mac: spec.from_mac,
            tag: spec.vlan,
            nonce_len: spec.nonce_len,
            gateways: gateways.iter().map(|gateway| addr16(*gateway)).collect(),
            any_protocol: false,
            echoes: templates.iter().flat_map(|template| Echo::of(template)).collect(),
            model: None,
        }
    }

    /// Accepts whatever protocol id the notify has: libreswan writes 1 where RFC 5685 section 7.2 wants 0.
    #[must_use]
    pub fn with_any_protocol_id(mut self, any: bool) -> Checker {
        self.any_protocol = any;
        self
    }

    /// Checks a frame.
    #[inline]
    pub fn check(&mut self, frame: &[u8]) -> Received {
        match self.expect {
            Expect::Redirect => {
                let known = self.model.as_ref().and_then(|model| self.like(model, frame));
                known.unwrap_or_else(|| self.in_full(frame))
            }
            Expect::Echo => self.echo(frame),
            Expect::Nothing => Received::Foreign,
        }
    }

    /// Reads a frame that is like an answer known to be right; `None` if anything is amiss.
    #[inline]
    fn like(&self, model: &Model, frame: &[u8]) -> Option<Received> {
        if !model.is_like(frame) {
            return None;
        }
        let (headers, datagram) = frame.split_at_checked(model.udp)?;
        let header = headers.get(model.ip..)?;
        let addresses =
            if self.v6 { header.last_chunk::<32>()?.as_slice() } else { header.last_chunk::<8>()? };
        let datagram = udp::Datagram::new_checked(datagram).ok()?;
        let sums = datagram.checksum() != 0
            && datagram.verify(addresses)
            && (self.v6 || checksum::verify(checksum::add(0, header)));
        let spi = u64::from_be_bytes(*frame.get(model.ike..)?.first_chunk()?);
        let mut gateway = [0; 16];
        match frame.get(model.gateway.clone())? {
            address if self.v6 => gateway = *address.first_chunk()?,
            address => *gateway.first_chunk_mut()? = *address.first_chunk::<4>()?,
        }
        let right = sums && self.may_be_named(&gateway) && follows(frame.get(model.gateway.end..)?, spi);
        let low = |bytes: &[u8; 16]| {
            u16::from_be_bytes(if self.v6 { [bytes[14], bytes[15]] } else { [bytes[2], bytes[3]] })
        };
        let client = u16::from_be_bytes(*header.last_chunk()?).wrapping_sub(low(&self.first_source));
        right.then_some(Received::Answer { spi, client, gateway })
    }

    /// Checks a frame field by field; the first right answer becomes the model of all.
    #[cold]
    fn in_full(&mut self, frame: &[u8]) -> Received {
        let received = self.redirect(frame);
        if matches!(received, Received::Answer { .. }) && self.model.is_none() {
            let ip = ethernet::HEADER_LEN + self.tag.map_or(0, |_| ethernet::TAG_LEN);
            self.model = Some(Model::of(frame, ip, self.v6));
        }
        received
    }

    fn redirect(&self, frame: &[u8]) -> Received {
        use Received::Wrong as No;
        let Ok(eth) = ethernet::Frame::new_checked(frame) else { return Received::Foreign };
        let (wanted, shift) =
            if self.v6 { (ethernet::ethertype::IPV6, 0) } else { (ethernet::ethertype::IPV4, 12) };
        let ip_at = ethernet::HEADER_LEN + self.tag.map_or(0, |_| ethernet::TAG_LEN);
        let packet = eth.payload();
        // Whatever is not UDP from port 500 of the address asked is somebody else's.
        let header_len = if self.v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let from = if self.v6 { 8..24 } else { 12..16 };
        let protocol = if self.v6 { 6 } else { 9 };
        let ours = eth.ethertype() == wanted
            && packet.len() >= header_len + udp::HEADER_LEN
            && packet.get(from.clone()) == self.vip.get(..from.len())
            && packet.get(protocol) == Some(&udp::PROTOCOL);
        if !ours {
            return Received::Foreign;
        }
        let tag = frame.get(14..16).map(|tag| u16::from_be_bytes([tag[0], tag[1]]) & 0xfff);
        if eth.destination() != self.mac
            || eth.payload_offset() != ip_at
            || self.tag.is_some_and(|vlan| tag != Some(vlan))
        {
            return No(Wrong::Link);
        }
        let (datagram, destination, addresses) = if self.v6 {
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            let Some(datagram) = packet.get(header_len..header_len + length) else {
                return No(Wrong::Header);
            };
            if packet[0] >> 4 != 6 || packet[7] == 0 {
                return No(Wrong::Header);
            }
            (datagram, &packet[24..40], &packet[ipv6::ADDRESSES])
        } else {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            let Some(datagram) = packet.get(header_len..length) else { return No(Wrong::Header) };
            if packet[0] != 0x45 || packet[8] == 0 || packet[6] & 0x3f != 0 || packet[7] != 0 {
                return No(Wrong::Header);
            }
            if !checksum::verify(checksum::add(0, &packet[..ipv4::HEADER_LEN])) {
                return No(Wrong::Checksum);
            }
            (datagram, &packet[16..20], &packet[ipv4::ADDRESSES])
        };
        // All but the last two bytes of the client's address are the first one's.
        let same = 14 - shift;
        let low = |bytes: &[u8]| u16::from_be_bytes([bytes[same], bytes[same + 1]]);
        let client = low(destination).wrapping_sub(low(&self.first_source));
        let Ok(udp) = udp::Datagram::new_checked(datagram) else { return No(Wrong::Header) };
        if destination[..same] != self.first_source[..same]
            || udp.source_port() != ike::PORT
            || udp.destination_port() != ike::PORT
            || datagram.len() != udp::HEADER_LEN + udp.payload().len()
        {
            return No(Wrong::Header);
        }
        if udp.checksum() == 0 || !udp.verify(addresses) {
            return No(Wrong::Checksum);
        }
        match self.message(udp.payload()) {
            Ok((spi, gateway)) => Received::Answer { spi, client, gateway },
            Err(wrong) => No(wrong),
        }
    }

    /// The IKE message of an answer: RFC 5685 section 5.
    fn message(&self, message: &[u8]) -> Result<(u64, [u8; 16]), Wrong> {
        let ike = ike::Message::new_checked(message).map_err(|_| Wrong::Ike)?;
        let exact = ike.length_is_exact() && message.len() == redirect::prefix_len(self.v6) + self.nonce_len;
        if !exact
            || ike.spi_r() != 0
            || ike.message_id() != 0
            || message[VERSION_AT] != ike::VERSION
            || ike.exchange() != ike::exchange::IKE_SA_INIT
            || ike.flags() != ike::flag::RESPONSE
            || ike.next_payload() != ike::payload::NOTIFY
        {
            return Err(Wrong::Ike);
        }
        let body = &message[ike::HEADER_LEN..];
        let [high, low] = ((message.len() - ike::HEADER_LEN) as u16).to_be_bytes();
        let [kind_high, kind_low] = notify::kind::REDIRECT.to_be_bytes();
        let (identity, address_len) = if self.v6 { (2, 16) } else { (1, 4) };
        let protocol = if self.any_protocol { body[4] } else { 0 };
        if body[..10] != [0, 0, high, low, protocol, 0, kind_high, kind_low, identity, address_len as u8] {
            return Err(Wrong::Notify);
        }
        let mut gateway = [0; 16];
        let (address, nonce) = body[10..].split_at(address_len);
        gateway[..address_len].copy_from_slice(address);
        let spi = ike.spi_i();
        if !follows(nonce, spi) {
            return Err(Wrong::Nonce);
        }
        if self.may_be_named(&gateway) { Ok((spi, gateway)) } else { Err(Wrong::Gateway) }
    }

    /// Whether an answer may name this gateway.
    #[inline]
    fn may_be_named(&self, gateway: &[u8; 16]) -> bool {
        let group = if self.v6 { gateway[0] == 0xff } else { matches!(gateway[0], 0 | 127 | 224..) };
        match self.gateways.as_slice() {
            [] => !group && *gateway != self.vip && *gateway != [0; 16],
            listed => listed.contains(gateway),
        }
    }

    fn echo(&self, frame: &[u8]) -> Received {
        let Some(echo) = self.echoes.iter().find(|echo| echo.len == frame.len()) else {
            return Received::Foreign;
        };
        let spi = frame[echo.spi..echo.spi + 8].try_into().map_or(0, u64::from_be_bytes);
        if frame.get(..6) != Some(&self.mac[..]) {
            return Received::Wrong(Wrong::Link);
        }
        if !follows(&frame[echo.nonce.clone()], spi) {
            return Received::Wrong(Wrong::Nonce);
        }
        if let Some(udp) = echo.udp {
            let (headers, datagram) = frame.split_at(udp);
            let addresses = &headers[headers.len() - if self.v6 { 32 } else { 8 }..];
            if !udp::Datagram::new_checked(datagram).is_ok_and(|datagram| datagram.verify(addresses)) {
                return Received::Wrong(Wrong::Checksum);
            }
        }
        // Where the client's address stands depends on who echoes; the SPI says whose request it was.
        Received::Answer { spi, client: 0, gateway: [0; 16] }
    }
}

/// Whether a nonce repeats an SPI.
#[inline]
fn follows(nonce: &[u8], spi: u64) -> bool {
    let bytes = spi.to_be_bytes();
    let (whole, rest) = nonce.as_chunks::<8>();
    whole.iter().all(|part| *part == bytes) && (rest.is_empty() || *rest == bytes[..rest.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Kind, Size};
    use dataplane::{Decision, PortView, Verdict, View, answer, classify, decide, fixed};

    const GATEWAYS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

    /// A request and its answer from the data plane.
    fn answered(spec: &Spec, spi: u64, client: u16) -> (Checker, Vec<u8>) {
        let template = Template::new(spec, Kind::Request).unwrap();
        let mut frame = template.frame.clone();
        template.vary(&mut frame, spi, client);
        let gateways = GATEWAYS.map(|ip| ip.parse().unwrap());
        let vips = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let view = View::fixed(fixed::body(&vips, &gateways, [2; 6], [1, 2]).unwrap());
        let port = PortView::new(0, [2; 6]);
        let Verdict::Request(request) = classify(&frame, &view, &port) else { panic!("no request") };
        let Decision::Redirect { address, mac, .. } = decide(&request, &view) else { panic!("no redirect") };
        let len = answer(&mut frame, &request, &address, mac).unwrap();
        frame.truncate(len);
        (Checker::new(spec, &[&template], Expect::Redirect, &gateways), frame)
    }

    fn specs() -> Vec<Spec> {
        let mut specs = Vec::new();
        for (source, vip) in [("192.0.2.9", "192.0.2.1"), ("2001:db8::9", "2001:db8::1")] {
            for (nonce_len, vlan) in [(32, None), (19, Some(5)), (256, None)] {
                let plain = Spec::plain(source.parse().unwrap(), vip.parse().unwrap(), Size::Frame(922));
                specs.push(Spec { nonce_len, vlan, ..plain });
            }
        }
        specs
    }

    #[test]
    fn the_data_planes_answers_are_right() {
        for spec in specs() {
            for (spi, client) in [(7, 0), (u64::MAX, 300)] {
                let (mut checker, frame) = answered(&spec, spi, client);
                let Received::Answer { spi: got, client: from, gateway } = checker.check(&frame) else {
                    panic!("{spec:?}: {:?}", checker.check(&frame))
                };
                let named = GATEWAYS.map(|ip| addr16(ip.parse().unwrap()));
                assert_eq!((got, from), (spi, client));
                assert_eq!(gateway, named[usize::from(spec.source.is_ipv6())]);
            }
        }
    }

    /// Flipping any bit of an answer is noticed, but in the fields that nobody may rely on.
    #[test]
    fn no_flipped_bit_of_an_answer_goes_unnoticed() {
        for spec in specs() {
            // Beside the model of an answer, and without one.
            let (mut checker, frame) = answered(&spec, 0x0123_4567_89ab_cdef, 3);
            let fresh = checker.clone();
            let right = checker.check(&frame);
            assert!(checker.model.is_some() && fresh.model.is_none());
            for gateways in [checker.gateways.clone(), Vec::new()] {
                let checker = Checker { gateways, ..checker.clone() };
                let model = checker.model.as_ref().unwrap();
                assert_eq!(checker.like(model, &frame), Some(right));
            }
            let ip = if spec.vlan.is_some() { 18 } else { 14 };
            for at in 0..frame.len() {
                // The source MAC, priority of a tag, and class, flow label and hop limit of IPv6 are not covered.
                let free = (6..12).contains(&at)
                    || spec.vlan.is_some() && at == 14
                    || spec.source.is_ipv6() && ((ip..ip + 4).contains(&at) || at == ip + 7);
                for bit in 0..8 {
                    let mut broken = frame.clone();
                    broken[at] ^= 1 << bit;
                    let got = checker.check(&broken);
                    assert_eq!(got, fresh.clone().check(&broken), "byte {at} bit {bit}");
                    assert!(
                        free || got != right && !matches!(got, Received::Answer { .. }),
                        "byte {at} bit {bit}: {got:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_gateway_that_was_not_expected_is_wrong() {
        let spec = specs()[0];
        let (mut checker, frame) = answered(&spec, 7, 0);
        checker.gateways = vec![addr16("192.0.2.99".parse().unwrap())];
        assert_eq!(checker.check(&frame), Received::Wrong(Wrong::Gateway));
        checker.gateways.clear();
        assert!(matches!(checker.check(&frame), Received::Answer { .. }));
    }
}

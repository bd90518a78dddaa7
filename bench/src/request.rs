//! IKE_SA_INIT requests as templates: built once, made one of a kind by their SPI for each frame.
//!
//! The load generator, the micro-benchmarks and the captures for other generators all take their packets from here, so
//! that they cannot drift apart.

use std::net::IpAddr;

use platform::wire::{checksum, ethernet, ike, ipv4, ipv6, notify, redirect, udp};

/// Bytes of nonce in a request unless it is said otherwise.
pub const NONCE_LEN: usize = 32;
/// The smallest frame that a template with 32 bytes of nonce can have over IPv4, in bytes: 14 + 20 + 8 + 144.
pub const SMALLEST: usize = 186;
/// The longest IP packet, in bytes: a longer request is sent as two fragments.
const MTU: usize = 1500;
/// Bytes of an IPv6 fragment header.
const FRAGMENT_HEADER: usize = 8;

/// Length of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// One frame of so many bytes, counted without a VLAN tag; a vendor id fills it up.
    Frame(usize),
    /// A key exchange with ML-KEM-1024, 1568 bytes of public key: two IP fragments.
    Pair,
}

/// What a template is to be.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Source MAC.
    pub from_mac: ethernet::Mac,
    /// Destination MAC.
    pub to_mac: ethernet::Mac,
    /// The first source address.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Length.
    pub size: Size,
    /// Bytes of nonce, 16 to 256.
    pub nonce_len: usize,
    /// VLAN id of an 802.1Q tag.
    pub vlan: Option<u16>,
}

impl Spec {
    /// A request of `size` with 32 bytes of nonce and no tag, between MACs that tests use.
    pub fn plain(source: IpAddr, destination: IpAddr, size: Size) -> Spec {
        let (from_mac, to_mac) = ([4; 6], [2; 6]);
        Spec { from_mac, to_mac, source, destination, size, nonce_len: NONCE_LEN, vlan: None }
    }
}

/// What a data plane should make of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Redirect it.
    Request,
    /// Pass it on: it says nothing of redirects.
    Unsignalled,
    /// Drop it.
    Malformed(Flaw),
}

/// In which way a request is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Its UDP checksum is one off.
    Checksum,
    /// Its nonce has 15 bytes.
    Nonce,
    /// Its IKE length is one more than the datagram holds.
    Length,
    /// Its last payload reaches beyond the end.
    Payload,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 4] = [Flaw::Checksum, Flaw::Nonce, Flaw::Length, Flaw::Payload];
}

/// Why there can be no such template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Source and destination are of different families.
    #[error("{source_address} and {destination} are of different families: choose both IPv4 or both IPv6")]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The destination.
        destination: IpAddr,
    },
    /// No vendor id fills this length.
    #[error(
        "a frame of {len} bytes cannot be made over IPv{family} with {nonce} bytes of nonce: choose {smallest}, or {} to {largest}",
        smallest + ike::PAYLOAD_HEADER_LEN
    )]
    Size {
        /// Bytes asked for.
        len: usize,
        /// 4 or 6.
        family: u8,
        /// Bytes of nonce.
        nonce: usize,
        /// The smallest that can be had.
        smallest: usize,
        /// The largest that is no pair.
        largest: usize,
    },
    /// RFC 7296 section 3.9.
    #[error("a nonce of {0} bytes is none: choose 16 to 256 (RFC 7296 section 3.9)")]
    Nonce(usize),
    /// IEEE 802.1Q.
    #[error("VLAN {0} is none: choose 1 to 4094")]
    Vlan(u16),
}

/// A request as a frame, and where the parts that vary stand in it. A pair of fragments is held whole.
#[derive(Debug, Clone)]
pub struct Template {
    /// The frame; longer than a frame can be when it is to be sent as two.
    pub frame: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    ip: usize,
    udp: usize,
    ike: usize,
    nonce: usize,
    nonce_len: usize,
    source: u16,
    fragments: Option<(usize, usize)>,
}

impl Template {
    /// An IKE_SA_INIT request with SA, KE, nonce and REDIRECT_SUPPORTED (or what `kind` makes of it).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn new(spec: &Spec, kind: Kind) -> Result<Template, RequestError> {
        if !redirect::NONCE_LEN.contains(&spec.nonce_len) {
            return Err(RequestError::Nonce(spec.nonce_len));
        }
        if let Some(vlan) = spec.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
            return Err(RequestError::Vlan(vlan));
        }
        let family = match (spec.source, spec.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => 4,
            (IpAddr::V6(_), IpAddr::V6(_)) => 6,
            (source_address, destination) => {
                return Err(RequestError::Families { source_address, destination });
            }
        };
        let untagged = ethernet::HEADER_LEN
            + if family == 4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN }
            + udp::HEADER_LEN;
        let vendor = match spec.size {
            Size::Pair => None,
            Size::Frame(len) => {
                let smallest = untagged + 112 + spec.nonce_len;
                let largest = ethernet::HEADER_LEN + MTU;
                match len.checked_sub(smallest) {
                    Some(0) => None,
                    Some(room) if room >= ike::PAYLOAD_HEADER_LEN && len <= largest => {
                        Some(room - ike::PAYLOAD_HEADER_LEN)
                    }
                    _ => {
                        let nonce = spec.nonce_len;
                        return Err(RequestError::Size { len, family, nonce, smallest, largest });
                    }
                }
            }
        };
        let (message, nonce, nonce_len) = message(spec, kind, vendor);
        let ip = ethernet::HEADER_LEN + spec.vlan.map_or(0, |_| ethernet::TAG_LEN);
        let ike = untagged - ethernet::HEADER_LEN + ip;
        let udp = ike - udp::HEADER_LEN;
        let mut frame = vec![0; ike];
        frame.extend(&message);
        ethernet::set_addresses(&mut frame, spec.to_mac, spec.from_mac);
        if let Some(vlan) = spec.vlan {
            frame[12..14].copy_from_slice(&ethernet::ethertype::VLAN.to_be_bytes());
            frame[14..16].copy_from_slice(&vlan.to_be_bytes());
        }
        let ethertype = if family == 4 { ethernet::ethertype::IPV4 } else { ethernet::ethertype::IPV6 };
        frame[ip - 2..ip].copy_from_slice(&ethertype.to_be_bytes());
        let length = (frame.len() - udp) as u16;
        ip_header(&mut frame[ip..], spec, length);
        let source_end = if family == 4 { ip + 16 } else { ip + 24 };
        let source = u16::from_be_bytes([frame[source_end - 2], frame[source_end - 1]]);
        let (headers, datagram) = frame.split_at_mut(udp);
        let packet = &headers[ip..];
        let addresses = if family == 4 { &packet[ipv4::ADDRESSES] } else { &packet[ipv6::ADDRESSES] };
        let sum = checksum::add(0, &datagram[udp::HEADER_LEN..]);
        udp::emit_header(datagram, ike::PORT, ike::PORT, length, sum, addresses);
        if kind == Kind::Malformed(Flaw::Checksum) {
            // Ones' complement: what is one off stays so through every update. 0 would say that there is no checksum.
            let sum = u16::from_be_bytes([datagram[6], datagram[7]]);
            let off = if sum >= 0xfffe { 1 } else { sum + 1 };
            datagram[6..8].copy_from_slice(&off.to_be_bytes());
        }
        let fragments = fragments(frame.len() - udp, udp - ip, family).map(|(a, b)| (ip + a, ip + b));
        Ok(Template { frame, kind, ip, udp, ike, nonce: ike + nonce, nonce_len, source, fragments })
    }

    /// 4 or 6.
    pub fn family(&self) -> u8 {
        self.frame[self.ip] >> 4
    }

    /// Where the SPI stands.
    pub fn spi_at(&self) -> usize {
        self.ike
    }

    /// Where the nonce stands, and its bytes.
    pub fn nonce_at(&self) -> std::ops::Range<usize> {
        self.nonce..self.nonce + self.nonce_len
    }

    /// Makes the request one of a kind: `spi` becomes its SPI, its nonce repeats it, and its source address is the first
    /// plus `client`. The checksums are updated for what changed. `frame` has the template's length.
    #[inline]
    pub fn vary(&self, frame: &mut [u8], spi: u64, client: u16) {
        let frame = &mut frame[..self.frame.len()];
        frame.copy_from_slice(&self.frame);
        let bytes = spi.to_be_bytes();
        frame[self.ike..self.ike + 8].copy_from_slice(&bytes);
        let mut words = bytes.as_chunks::<2>().0.iter().map(|word| u64::from(u16::from_be_bytes(*word)));
        let of_spi = words.by_ref().sum::<u64>();
        // The template has zeros where the SPI and the nonce stand, and they stand at even offsets: RFC 1624 equation 3,
        // HC' = ~(~HC + ~m + m').
        let mut added = of_spi;
        let (whole, rest) = frame[self.nonce..self.nonce + self.nonce_len].as_chunks_mut::<8>();
        for part in whole {
            *part = bytes;
            added += of_spi;
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&bytes[..rest.len()]);
            let (pairs, odd) = rest.as_chunks::<2>();
            added += pairs.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
            added += odd.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
        }
        if client != 0 {
            let address = self.source.wrapping_add(client);
            let end = if frame[self.ip] >> 4 == 4 { self.ip + 16 } else { self.ip + 24 };
            frame[end - 2..end].copy_from_slice(&address.to_be_bytes());
            let change = u64::from(!self.source) + u64::from(address);
            added += change;
            if frame[self.ip] >> 4 == 4 {
                update(frame, self.ip + 10, change);
            }
        }
        update(frame, self.udp + 6, added);
        if frame[self.udp + 6..self.udp + 8] == [0, 0] {
            frame[self.udp + 6..self.udp + 8].copy_from_slice(&[0xff, 0xff]);
        }
    }

    /// Frames that the request is sent as.
    #[inline]
    pub fn frames(&self) -> usize {
        1 + usize::from(self.fragments().is_some())
    }

    /// The lengths of the two frames that a request too long for one is sent as; `None`: it is sent whole.
    #[inline]
    pub fn fragments(&self) -> Option<(usize, usize)> {
        self.fragments
    }

    /// Where a byte of the whole frame, behind its headers, stands in the fragment that has it: false for the first.
    pub fn in_fragment(&self, at: usize) -> Option<(bool, usize)> {
        let (first, _) = self.fragments?;
        let more = if self.family() == 6 { FRAGMENT_HEADER } else { 0 };
        let (moved, headers) = (at + more, self.udp + more);
        Some(if moved < first { (false, moved) } else { (true, headers + moved - first) })
    }

    /// Writes the two fragments of a varied request, whose lengths are [`Template::fragments`]' and whose identification
    /// is `id`.
    pub fn split(&self, whole: &[u8], id: u32, first: &mut [u8], second: &mut [u8]) {
        let payload = &whole[self.udp..];
        let v6 = self.family() == 6;
        let header = self.udp - self.ip + if v6 { FRAGMENT_HEADER } else { 0 };
        let cut = first.len() - self.ip - header;
        for (frame, offset, more) in [(first, 0, true), (second, cut, false)] {
            frame[..self.udp].copy_from_slice(&whole[..self.udp]);
            let part = frame.len() - self.ip - header;
            frame[self.ip + header..].copy_from_slice(&payload[offset..offset + part]);
            let packet = &mut frame[self.ip..];
            if v6 {
                packet[4..6].copy_from_slice(&((part + FRAGMENT_HEADER) as u16).to_be_bytes());
                packet[6] = ipv6::next::FRAGMENT;
                packet[40..42].copy_from_slice(&[udp::PROTOCOL, 0]);
                packet[42..44].copy_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
                packet[44..48].copy_from_slice(&id.to_be_bytes());
            } else {
                packet[2..4].copy_from_slice(&((part + header) as u16).to_be_bytes());
                packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
                packet[6..8].copy_from_slice(&((offset / 8) as u16 | u16::from(more) << 13).to_be_bytes());
                packet[10..12].fill(0);
                let sum = checksum::finish(checksum::add(0, &packet[..header]));
                packet[10..12].copy_from_slice(&sum);
            }
        }
    }
}

/// The lengths of the two packets that a datagram of `payload` bytes behind a header is cut into, if it does not fit one.
fn fragments(payload: usize, header: usize, family: u8) -> Option<(usize, usize)> {
    if header + payload <= MTU {
        return None;
    }
    let header = header + if family == 6 { FRAGMENT_HEADER } else { 0 };
    let first = (MTU - header) / 8 * 8;
    Some((header + first, header + payload - first))
}

/// Adds to what a checksum covers.
#[inline(always)]
fn update(frame: &mut [u8], at: usize, added: u64) {
    let mut sum = u64::from(!u16::from_be_bytes([frame[at], frame[at + 1]])) + added;
    while sum >> 16 != 0 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn ip_header(packet: &mut [u8], spec: &Spec, length: u16) {
    match (spec.source, spec.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = length + ipv4::HEADER_LEN as u16;
            ipv4::emit_header(packet, 0, total, 64, udp::PROTOCOL, from.octets(), to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ipv6::emit_header(packet, 0, length, udp::PROTOCOL, 64, from.octets(), to.octets());
        }
        _ => {}
    }
}

/// The IKE message with an SPI and a nonce of zeros; where the nonce's data stands in it, and its length.
fn message(spec: &Spec, kind: Kind, vendor: Option<usize>) -> (Vec<u8>, usize, usize) {
    let mut message = vec![0; 16];
    let (version, exchange) = (ike::VERSION, ike::exchange::IKE_SA_INIT);
    message.extend([ike::payload::SA, version, exchange, ike::flag::INITIATOR, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut payload = |next: u8, body: &[u8]| {
        message.extend([next, 0]);
        message.extend((body.len() as u16 + 4).to_be_bytes());
        message.extend(body);
        message.len() - body.len()
    };
    // 24 bytes of key make the smallest request 144 bytes long, the length of strongSwan's with one short proposal.
    let (method, key) = if spec.size == Size::Pair { (37, 1568) } else { (31, 24) };
    // One proposal of AES-GCM-16 with 256 bits, PRF SHA2-256 and X25519 or ML-KEM-1024.
    let sa = [
        0, 0, 0, 36, 1, 1, 0, 3, 3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, 3, 0, 0, 8, 2, 0, 0, 5, 0, 0, 0,
        8, 4, 0, 0, method,
    ];
    payload(ike::payload::KE, &sa);
    payload(ike::payload::NONCE, &[&[0, method, 0, 0][..], &vec![0x6b; key]].concat());
    let nonce_len = if kind == Kind::Malformed(Flaw::Nonce) { 15 } else { spec.nonce_len };
    let after_nonce = if vendor.is_some() { ike::payload::VENDOR_ID } else { ike::payload::NOTIFY };
    let nonce = payload(after_nonce, &vec![0; nonce_len]);
    if let Some(vendor) = vendor {
        payload(ike::payload::NOTIFY, &vec![0x56; vendor]);
    }
    // INITIAL_CONTACT (RFC 7296 section 3.10.1) has the same length, and means nothing here.
    let notify = if kind == Kind::Unsignalled { 16384u16 } else { notify::kind::REDIRECT_SUPPORTED };
    let [high, low] = notify.to_be_bytes();
    let last = payload(0, &[0, 0, high, low]) - ike::PAYLOAD_HEADER_LEN;
    let mut length = message.len() as u32;
    match kind {
        Kind::Malformed(Flaw::Length) => length += 1,
        Kind::Malformed(Flaw::Payload) => message[last + 3] += 1,
        _ => {}
    }
    message[24..28].copy_from_slice(&length.to_be_bytes());
    (message, nonce, nonce_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::{Class, PortView, Reason, Verdict, View, classify, fixed};

    fn addresses(family: u8) -> [IpAddr; 3] {
        let text = match family {
            4 => ["192.0.2.9", "192.0.2.1", "192.0.2.10"],
            _ => ["2001:db8::9", "2001:db8::1", "2001:db8::10"],
        };
        text.map(|ip| ip.parse().unwrap())
    }

    fn verdict(frame: &[u8]) -> Verdict {
        let [[_, vip4, gateway4], [_, vip6, gateway6]] = [addresses(4), addresses(6)];
        let view = View::fixed(fixed::body(&[vip4, vip6], &[gateway4, gateway6], [2; 6], [1, 2]).unwrap());
        let port = PortView::new(0, [2; 6]);
        classify(frame, &view, &port)
    }

    #[test]
    fn varied_requests_of_every_size_are_requests_to_the_data_plane() {
        for (family, smallest) in [(4, SMALLEST), (6, SMALLEST + 20)] {
            let [source, vip, _] = addresses(family);
            for (len, nonce_len, vlan) in [
                (smallest, 32, None),
                (smallest + 4, 32, Some(7)),
                (256, 16, None),
                (400, 47, Some(4094)),
                (922, 256, None),
            ] {
                let spec = Spec { nonce_len, vlan, ..Spec::plain(source, vip, Size::Frame(len)) };
                let template = Template::new(&spec, Kind::Request).unwrap();
                assert_eq!(template.frame.len(), len + if vlan.is_some() { 4 } else { 0 });
                assert_eq!(template.fragments(), None);
                for (spi, client) in [(1, 0), (u64::MAX, 1), (0x0102_0304_0506_0708, 0xfd00)] {
                    let mut frame = vec![0xa5; template.frame.len()];
                    template.vary(&mut frame, spi, client);
                    let Verdict::Request(request) = verdict(&frame) else {
                        panic!("{len} bytes, SPI {spi:x}, client {client}: {:?}", verdict(&frame))
                    };
                    assert_eq!((request.spi_i, request.nonce_len), (spi, nonce_len));
                    let end = if family == 4 { 4 } else { 16 };
                    let first = if family == 4 { 0x0209u16 } else { 9 };
                    assert_eq!(request.source[end - 2..end], (first + client).to_be_bytes());
                }
            }
        }
    }

    #[test]
    fn what_is_not_to_be_redirected_ends_as_meant() {
        for family in [4, 6] {
            let [source, vip, _] = addresses(family);
            let spec = Spec::plain(source, vip, Size::Frame(256));
            for (kind, want) in [
                (Kind::Unsignalled, Verdict::Pass(Class::Ike, Reason::Unsignalled)),
                (Kind::Malformed(Flaw::Checksum), Verdict::Drop(Reason::BadUdpChecksum)),
                (Kind::Malformed(Flaw::Nonce), Verdict::Drop(Reason::BadNonce)),
                (Kind::Malformed(Flaw::Length), Verdict::Drop(Reason::BadIke)),
                (Kind::Malformed(Flaw::Payload), Verdict::Drop(Reason::BadPayload)),
            ] {
                let template = Template::new(&spec, kind).unwrap();
                let mut frame = template.frame.clone();
                for spi in [1, 0xfedc_ba98_7654_3210, u64::MAX] {
                    template.vary(&mut frame, spi, 3);
                    assert_eq!(verdict(&frame), want, "{kind:?} {spi:x}");
                }
            }
        }
    }

    #[test]
    fn a_pair_of_fragments_makes_the_request_again() {
        for family in [4, 6] {
            let [source, vip, _] = addresses(family);
            for vlan in [None, Some(9)] {
                let spec = Spec { vlan, ..Spec::plain(source, vip, Size::Pair) };
                let template = Template::new(&spec, Kind::Request).unwrap();
                let mut whole = template.frame.clone();
                template.vary(&mut whole, 0x1122_3344_5566_7788, 5);
                let (first, second) = template.fragments().unwrap();
                let (mut first, mut second) = (vec![0xa5; first], vec![0xa5; second]);
                template.split(&whole, 0xabcd, &mut first, &mut second);
                assert!(first.len() <= MTU + 18 && second.len() > 200);
                let [Verdict::Fragment(head), Verdict::Fragment(tail)] = [verdict(&first), verdict(&second)]
                else {
                    panic!("{:?} {:?}", verdict(&first), verdict(&second))
                };
                assert!(head.more && !tail.more && head.id == tail.id && head.len == tail.offset);
                let mut scratch = vec![0; dataplane::reassemble::SCRATCH_LEN];
                let len =
                    dataplane::reassemble::assemble(&mut scratch, (&first, &head), (&second, &tail)).unwrap();
                let Verdict::Request(request) = verdict(&scratch[..len]) else {
                    panic!("{:?}", verdict(&scratch[..len]))
                };
                assert_eq!(request.spi_i, 0x1122_3344_5566_7788);
            }
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_what_can() {
        let [source, vip, _] = addresses(4);
        let plain = Spec::plain(source, vip, Size::Frame(188));
        let refused = |spec: &Spec| Template::new(spec, Kind::Request).unwrap_err().to_string();
        assert!(refused(&plain).contains("choose 186, or 190 to 1514"), "{}", refused(&plain));
        assert!(refused(&Spec { size: Size::Frame(1515), ..plain }).contains("1514"));
        assert!(refused(&Spec { nonce_len: 15, ..plain }).contains("16 to 256"));
        assert!(refused(&Spec { vlan: Some(4095), ..plain }).contains("1 to 4094"));
        assert!(refused(&Spec { destination: addresses(6)[1], ..plain }).contains("different families"));
    }
}

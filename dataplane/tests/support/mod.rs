//! Frames for the tests: IKE by hand, everything around it by etherparse, so that our own encoder proves nothing to itself.

// Each test binary compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub mod devices;
pub mod judge;

use etherparse::{PacketBuilder, PacketBuilderStep, VlanId};

pub const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const VMAC: [u8; 6] = [0, 0, 0x0c, 7, 0xac, 1];
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const CLIENT: [u8; 4] = [192, 0, 2, 9];
pub const VIP: [u8; 4] = [192, 0, 2, 1];
pub const GATEWAY: [u8; 4] = [198, 51, 100, 10];
pub const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
pub const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const GATEWAY6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
pub const SPI: [u8; 8] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];

pub const SA: u8 = 33;
pub const KE: u8 = 34;
pub const NI: u8 = 40;
pub const N: u8 = 41;
pub const V: u8 = 43;

/// An IKE message as it is put together.
#[derive(Clone)]
pub struct Ike {
    pub spi_i: [u8; 8],
    pub spi_r: [u8; 8],
    pub version: u8,
    pub exchange: u8,
    pub flags: u8,
    pub id: u32,
    /// Added to the length field.
    pub length_off: i32,
    /// Type, critical, body.
    pub payloads: Vec<(u8, bool, Vec<u8>)>,
    /// (index, length field) of a payload whose length field lies.
    pub lying: Option<(usize, u16)>,
    /// The next-payload field of the last payload.
    pub last_next: u8,
    pub trailing: Vec<u8>,
}

pub fn notify(kind: u16, data: &[u8]) -> (u8, bool, Vec<u8>) {
    let [high, low] = kind.to_be_bytes();
    (N, false, [&[0, 0, high, low], data].concat())
}

pub fn supported() -> (u8, bool, Vec<u8>) {
    notify(16406, &[])
}

pub fn nonce(len: usize) -> (u8, bool, Vec<u8>) {
    (NI, false, vec![0x4e; len])
}

pub fn sa() -> (u8, bool, Vec<u8>) {
    // One proposal: AES-CBC-256, SHA2-256, SHA2-256-128, X25519.
    let transforms: &[u8] = &[
        3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 1, 0, 3, 0, 0, 8, 2, 0, 0, 5, 3, 0, 0, 8, 3, 0, 0, 12, 0, 0, 0,
        8, 4, 0, 0, 31,
    ];
    (SA, false, [&[0, 0, 0, 44, 1, 1, 0, 4], transforms].concat())
}

pub fn ke() -> (u8, bool, Vec<u8>) {
    (KE, false, [&[0, 31, 0, 0][..], &[0x77; 32]].concat())
}

impl Ike {
    /// A request of 152 bytes that is redirected.
    pub fn request() -> Self {
        Ike {
            spi_i: SPI,
            spi_r: [0; 8],
            version: 0x20,
            exchange: 34,
            flags: 8,
            id: 0,
            length_off: 0,
            payloads: vec![sa(), ke(), nonce(32), supported()],
            lying: None,
            last_next: 0,
            trailing: vec![],
        }
    }

    pub fn with(change: impl FnOnce(&mut Ike)) -> Self {
        let mut ike = Ike::request();
        change(&mut ike);
        ike
    }

    pub fn payloads(list: Vec<(u8, bool, Vec<u8>)>) -> Self {
        Ike::with(|ike| ike.payloads = list)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, (_, critical, data)) in self.payloads.iter().enumerate() {
            let next = self.payloads.get(index + 1).map_or(self.last_next, |payload| payload.0);
            let length = match self.lying {
                Some((at, length)) if at == index => length,
                _ => data.len() as u16 + 4,
            };
            body.extend_from_slice(&[next, if *critical { 0x80 } else { 0 }]);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(data);
        }
        let mut out = [self.spi_i, self.spi_r].concat();
        out.extend([
            self.payloads.first().map_or(0, |payload| payload.0),
            self.version,
            self.exchange,
            self.flags,
        ]);
        out.extend(self.id.to_be_bytes());
        let length = 28 + body.len() as i32 + self.length_off;
        out.extend((length as u32).to_be_bytes());
        out.extend(body);
        out.extend(&self.trailing);
        out
    }
}

pub fn eth() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2(CLIENT_MAC, NODE)
}

fn built(step: PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    step.write(&mut out, payload).expect("a frame that fits");
    out
}

pub fn v4_to(vip: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    built(eth().ipv4(CLIENT, vip, 64).udp(ports.0, ports.1), payload)
}

pub fn v4(payload: &[u8]) -> Vec<u8> {
    v4_to(VIP, (500, 500), payload)
}

pub fn v6(payload: &[u8]) -> Vec<u8> {
    built(eth().ipv6(CLIENT6, VIP6, 64).udp(500, 500), payload)
}

pub fn nat(payload: &[u8]) -> Vec<u8> {
    v4_to(VIP, (32768, 4500), &[&[0; 4], payload].concat())
}

pub fn vlan(payload: &[u8]) -> Vec<u8> {
    built(eth().single_vlan(VlanId::try_new(7).unwrap()).ipv4(CLIENT, VIP, 64).udp(500, 500), payload)
}

pub fn qinq(payload: &[u8]) -> Vec<u8> {
    let [outer, inner] = [100, 7].map(|id| VlanId::try_new(id).unwrap());
    built(eth().double_vlan(outer, inner).ipv4(CLIENT, VIP, 64).udp(500, 500), payload)
}

/// IPv4 with options, header checksum right.
pub fn v4_options(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, CLIENT, VIP).unwrap();
    header.options = options.try_into().expect("a multiple of 4, at most 40");
    built(eth().ip(etherparse::IpHeaders::Ipv4(header, Default::default())).udp(500, 500), payload)
}

/// IPv6 with extension headers in front of UDP: (number, bytes from the second on), chained in order.
pub fn v6_extensions(extensions: &[(u8, Vec<u8>)], payload: &[u8]) -> Vec<u8> {
    let plain = v6(payload);
    let mut chain = Vec::new();
    for (index, (_, body)) in extensions.iter().enumerate() {
        chain.push(extensions.get(index + 1).map_or(17, |next| next.0));
        chain.extend(body);
    }
    let mut out = plain[..54].to_vec();
    let length = (plain.len() - 54 + chain.len()) as u16;
    out[18..20].copy_from_slice(&length.to_be_bytes());
    out[20] = extensions.first().map_or(17, |first| first.0);
    out.extend(chain);
    out.extend(&plain[54..]);
    out
}

/// Cuts an IPv4 frame in two at a multiple of 8 of its IP payload; `shift` moves the second half (for overlaps).
pub fn fragments_v4(frame: &[u8], at: usize, id: u16, shift: isize) -> [Vec<u8>; 2] {
    let payload = &frame[34..];
    let half = |offset: usize, more: bool, data: &[u8]| {
        let mut header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
        header.identification = id;
        header.dont_fragment = false;
        header.more_fragments = more;
        header.fragment_offset = etherparse::IpFragOffset::try_new((offset / 8) as u16).unwrap();
        header.set_payload_len(data.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&frame[..14], &header.to_bytes(), data].concat()
    };
    let second = at.strict_add_signed(shift);
    [half(0, true, &payload[..at]), half(second, false, &payload[at..])]
}

/// Cuts an IPv6 frame in two, with fragment headers.
pub fn fragments_v6(frame: &[u8], at: usize, id: u32) -> [Vec<u8>; 2] {
    let payload = &frame[54..];
    let half = |offset: usize, more: bool, data: &[u8]| {
        let mut out = frame[..54].to_vec();
        out[18..20].copy_from_slice(&(data.len() as u16 + 8).to_be_bytes());
        out[20] = 44;
        out.extend([17, 0]);
        out.extend((offset as u16 | u16::from(more)).to_be_bytes());
        out.extend(id.to_be_bytes());
        out.extend(data);
        out
    };
    [half(0, true, &payload[..at]), half(at, false, &payload[at..])]
}

/// A request of 1,900 bytes, like one with ML-KEM-768 in IKE_SA_INIT.
pub fn large() -> Vec<u8> {
    let ke = (KE, false, [&[0, 36, 0, 0][..], &[0x5a; 1184]].concat());
    let vendor = (V, false, vec![0x56; 500]);
    Ike::payloads(vec![sa(), ke, vendor, nonce(32), supported()]).bytes()
}

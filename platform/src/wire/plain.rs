//! The plain case of a UDP datagram: an Ethernet frame without tags, an IP header without options or extension headers,
//! whole.
//!
//! Its headers are one block of fixed size, so that one bounds check covers them and every field stands at an offset that
//! the compiler knows. The general views of this folder read any frame; what is plain, they read alike.

use super::ethernet::{self, ethertype};
use super::{checksum, ipv4, ipv6, udp};

/// Where the EtherType stands.
pub const ETHERTYPE: usize = ethernet::HEADER_LEN - 2;
/// Where the IP header starts in a plain frame.
pub const IP: usize = ethernet::HEADER_LEN;

/// Where the UDP header starts in a plain frame with addresses of `n` bytes.
pub const fn udp_at(n: usize) -> usize {
    IP + if n == 4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN }
}

/// A plain datagram; `N` is the bytes of an address, 4 or 16.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a, const N: usize> {
    /// Source address.
    pub source: &'a [u8; N],
    /// Destination address.
    pub destination: &'a [u8; N],
    /// What the datagram carries.
    pub payload: &'a [u8],
    ip: &'a [u8],
    udp: &'a [u8; udp::HEADER_LEN],
}

/// The plain datagram that a frame is, if it is one.
#[inline(always)]
pub fn read<const N: usize>(frame: &[u8]) -> Option<Plain<'_, N>> {
    const { assert!(N == 4 || N == 16) };
    let (udp_at, payload_at) = const { (udp_at(N), udp_at(N) + udp::HEADER_LEN) };
    let head = frame.get(..payload_at)?;
    let (ethertype, protocol, addresses) = const {
        match N {
            4 => (ethertype::IPV4, IP + 9, IP + ipv4::ADDRESSES.start),
            _ => (ethertype::IPV6, IP + 6, IP + ipv6::ADDRESSES.start),
        }
    };
    if *part(head, ETHERTYPE)? != ethertype.to_be_bytes() || head[protocol] != udp::PROTOCOL {
        return None;
    }
    let udp: &[u8; udp::HEADER_LEN] = part(head, udp_at)?;
    let length = u16::from_be_bytes([udp[4], udp[5]]);
    let plain = if N == 4 {
        // No options; neither more fragments nor an offset, whereas DF and the reserved bit mean nothing here.
        let fragment = u16::from_be_bytes(*part(head, IP + 6)?) & 0x3fff;
        let total = u16::from_be_bytes(*part(head, IP + 2)?);
        head[IP] == 0x45 && fragment == 0 && u32::from(total) == ipv4::HEADER_LEN as u32 + u32::from(length)
    } else {
        head[IP] >> 4 == 6 && *part(head, IP + 4)? == [udp[4], udp[5]]
    };
    if !plain {
        return None;
    }
    Some(Plain {
        source: part(head, addresses)?,
        destination: part(head, addresses + N)?,
        payload: frame.get(payload_at..udp_at + usize::from(length))?,
        ip: &head[IP..udp_at],
        udp,
    })
}

impl<const N: usize> Plain<'_, N> {
    /// Whether the datagram has a UDP checksum: over IPv4 there may be none, over IPv6 there must.
    #[inline(always)]
    pub fn has_checksum(&self) -> bool {
        self.udp[6..] != [0, 0]
    }

    /// Whether the checksums of the IPv4 header, if it is one, and of the datagram are right.
    #[inline(always)]
    pub fn verify(&self) -> bool {
        let addresses = if N == 4 { &self.ip[ipv4::ADDRESSES] } else { &self.ip[ipv6::ADDRESSES] };
        let length = u16::from_be_bytes([self.udp[4], self.udp[5]]);
        let head = checksum::add(checksum::pseudo(addresses, udp::PROTOCOL, length), self.udp);
        (N != 4 || checksum::verify(checksum::add(0, self.ip)))
            && checksum::verify(checksum::add(head, self.payload))
    }
}

#[inline(always)]
fn part<const N: usize>(head: &[u8], at: usize) -> Option<&[u8; N]> {
    head.get(at..)?.first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the general views say of a frame that is plain: source, destination, payload and whether it verifies.
    fn general(frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>, usize, bool)> {
        let eth = ethernet::Frame::new_checked(frame).ok().filter(|eth| eth.payload_offset() == IP)?;
        match eth.ethertype() {
            ethertype::IPV4 => {
                let ip = ipv4::Packet::new_checked(eth.payload()).ok()?;
                let whole = ip.header_len() == ipv4::HEADER_LEN && !ip.is_fragment();
                let udp = udp::Datagram::new_checked(ip.payload()).ok();
                let udp = udp.filter(|_| whole && ip.protocol() == udp::PROTOCOL)?;
                let right = ip.verify_checksum() && udp.verify(ip.addresses());
                Some((ip.source().to_vec(), ip.destination().to_vec(), udp.payload().len(), right))
            }
            ethertype::IPV6 => {
                let ip = ipv6::Packet::new_checked(eth.payload()).ok()?;
                let upper = ip.upper().ok().filter(|upper| upper.offset == ipv6::HEADER_LEN)?;
                let udp = udp::Datagram::new_checked(&ip.as_bytes()[upper.offset..]).ok();
                let udp = udp.filter(|_| upper.protocol == udp::PROTOCOL)?;
                let right = udp.verify(ip.addresses());
                Some((ip.source().to_vec(), ip.destination().to_vec(), udp.payload().len(), right))
            }
            _ => None,
        }
    }

    fn short(frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>, usize, bool)> {
        let v4 = read::<4>(frame)
            .map(|d| (d.source.to_vec(), d.destination.to_vec(), d.payload.len(), d.verify()));
        v4.or_else(|| {
            let datagram = read::<16>(frame)?;
            let (source, destination) = (datagram.source.to_vec(), datagram.destination.to_vec());
            Some((source, destination, datagram.payload.len(), datagram.verify()))
        })
    }

    fn frame(v6: bool, payload: &[u8]) -> Vec<u8> {
        let length = (udp::HEADER_LEN + payload.len()) as u16;
        let mut frame = vec![2; ethernet::HEADER_LEN];
        let (kind, ip_len) =
            if v6 { (ethertype::IPV6, ipv6::HEADER_LEN) } else { (ethertype::IPV4, ipv4::HEADER_LEN) };
        frame[ETHERTYPE..].copy_from_slice(&kind.to_be_bytes());
        frame.resize(IP + ip_len + udp::HEADER_LEN, 0);
        let (head, udp) = frame.split_at_mut(IP + ip_len);
        let addresses = if v6 {
            ipv6::emit_header(&mut head[IP..], 0xb8, length, udp::PROTOCOL, 64, [0x20; 16], [0x30; 16]);
            &head[IP..][ipv6::ADDRESSES]
        } else {
            ipv4::emit_header(
                &mut head[IP..],
                0xb8,
                20 + length,
                64,
                udp::PROTOCOL,
                [192, 0, 2, 9],
                [192, 0, 2, 1],
            );
            &head[IP..][ipv4::ADDRESSES]
        };
        udp::emit_header(udp, 500, 500, length, checksum::add(0, payload), addresses);
        frame.extend(payload);
        frame
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn reads_what_the_general_views_read(v6: bool, payload in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..20,
                                             pad in 0usize..8, flips in proptest::collection::vec((12usize..64, any::<u8>()), 0..3)) {
            let mut frame = frame(v6, &payload);
            prop_assert!(short(&frame).is_some_and(|(_, _, len, right)| len == payload.len() && right));
            for (at, byte) in flips {
                if let Some(slot) = frame.get_mut(at) {
                    *slot = byte;
                }
            }
            frame.truncate(frame.len().saturating_sub(cut));
            frame.resize(frame.len() + pad, 0);
            prop_assert_eq!(short(&frame), general(&frame));
        }
    }
}

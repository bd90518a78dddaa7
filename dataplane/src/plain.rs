//! The plain case of a request that is answered: no VLAN tag or one, no IP options or extension headers, whole, everything as
//! it should be. It is nearly all of what a worker sees in the night that counts.
//!
//! One condition a field, each at an offset known to the compiler, and no reason: a frame that fails any of them goes to
//! [`classify_any`](crate::classify::classify_any) from its beginning, which says the same of the frames that fail none.

use platform::wire::ethernet::{TAG_LEN, ethertype};
use platform::wire::plain::{self, ETHERTYPE, udp_at};
use platform::wire::{ethernet, ike, udp};

use crate::classify::{Asked, classify_any, first_request};
use crate::stages::Stage;
use crate::{Gate, PortView, Verdict, View};

/// Says what a frame from the wire is, by the short way if it is a plain request.
#[inline(always)]
pub(crate) fn classify(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    const VLAN: [u8; 2] = ethertype::VLAN.to_be_bytes();
    match shape(frame) {
        Some(shape) => short::<0>(&shape, frame, view, port, lap),
        None if two(frame, ETHERTYPE) == Some(&VLAN) => tagged(frame, view, port, lap),
        None => classify_any(frame, view, port, lap),
    }
}

/// The same of a frame with one tag: behind the tag it is plain.
#[inline(never)]
fn tagged(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    match frame.get(TAG_LEN..).and_then(shape) {
        Some(shape) => short::<TAG_LEN>(&shape, frame, view, port, lap),
        None => classify_any(frame, view, port, lap),
    }
}

#[inline(always)]
fn short<const TAG: usize>(
    shape: &Shape,
    frame: &[u8],
    view: &View,
    port: &PortView,
    lap: &mut impl FnMut(Stage),
) -> Verdict {
    match shape {
        Shape::V4 => request::<4, 0, TAG>(frame, view, port, lap),
        Shape::V4Marked => request::<4, { ike::MARKER_LEN }, TAG>(frame, view, port, lap),
        Shape::V6 => request::<16, 0, TAG>(frame, view, port, lap),
        Shape::V6Marked => request::<16, { ike::MARKER_LEN }, TAG>(frame, view, port, lap),
    }
}

/// Which of the plain requests a frame may be.
enum Shape {
    V4,
    V4Marked,
    V6,
    V6Marked,
}

/// By the EtherType, and the destination port where it stands if the frame is plain.
#[inline(always)]
fn shape(frame: &[u8]) -> Option<Shape> {
    const IPV4: [u8; 2] = ethertype::IPV4.to_be_bytes();
    const IPV6: [u8; 2] = ethertype::IPV6.to_be_bytes();
    const PORT: [u8; 2] = ike::PORT.to_be_bytes();
    const PORT_NAT: [u8; 2] = ike::PORT_NAT.to_be_bytes();
    match (two(frame, ETHERTYPE), two(frame, udp_at(4) + 2), two(frame, udp_at(16) + 2)) {
        (Some(&IPV4), Some(&PORT), _) => Some(Shape::V4),
        (Some(&IPV4), Some(&PORT_NAT), _) => Some(Shape::V4Marked),
        (Some(&IPV6), _, Some(&PORT)) => Some(Shape::V6),
        (Some(&IPV6), _, Some(&PORT_NAT)) => Some(Shape::V6Marked),
        _ => None,
    }
}

#[inline(always)]
fn two(frame: &[u8], at: usize) -> Option<&[u8; 2]> {
    frame.get(at..)?.first_chunk()
}

/// `N` is the bytes of an address, `MARK` those of the non-ESP marker, `TAG` those of tags: with them known, all offsets
/// are. Functions of their own, each with few enough variables for the registers.
#[inline(never)]
fn request<const N: usize, const MARK: usize, const TAG: usize>(
    frame: &[u8],
    view: &View,
    port: &PortView,
    lap: &mut impl FnMut(Stage),
) -> Verdict {
    match asked::<N, MARK, TAG>(frame, view, port) {
        Some((asked, message)) => first_request(&asked, message, lap),
        None => classify_any(frame, view, port, lap),
    }
}

#[inline(always)]
fn asked<'a, const N: usize, const MARK: usize, const TAG: usize>(
    frame: &'a [u8],
    view: &View,
    port: &PortView,
) -> Option<(Asked, ike::Message<'a>)> {
    let (family, udp) = const { (if N == 4 { 4 } else { 6 }, udp_at(N)) };
    // What stands before the EtherType is looked at below.
    let datagram = plain::read::<N>(frame.get(TAG..)?)?;
    let (marker, message) = datagram.payload.split_at_checked(MARK)?;
    let message = ike::Message::new_checked(message).ok()?;
    let interface = match TAG {
        0 => port.index,
        _ => port.vlans.tagged(ethernet::only_vlan(frame)?, port.index),
    };
    let (vip, target) = view.target(family, &widen(datagram.destination), interface)?;
    // An address that is answered is active: its virtual MAC is one of ours.
    let mac = frame.first_chunk()?;
    let ours = (*mac == port.mac || *mac == target.mac) && !ethernet::is_group(mac);
    if !ours || view.any_fenced() || target.gate != Gate::Answer {
        return None;
    }
    if marker != [0; MARK] || !message.is_first_request() || !datagram.has_checksum() {
        return None;
    }
    if !port.checksums_good && !datagram.verify() {
        return None;
    }
    let (ip, udp, source) = (TAG + plain::IP, TAG + udp, widen(datagram.source));
    let ike = udp + udp::HEADER_LEN + MARK;
    Some((Asked { vip, family, source, ip, udp, ike }, message))
}

/// An address of either family in 16 bytes, IPv4 in the first 4.
#[inline(always)]
fn widen<const N: usize>(address: &[u8; N]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..N].copy_from_slice(address);
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vlans, fixed};
    use platform::wire::{checksum, ipv4, ipv6};
    use std::net::IpAddr;

    const MAC: ethernet::Mac = [2, 0, 0, 0, 0, 1];
    const VMAC: ethernet::Mac = [0, 0, 0x5e, 0, 1, 7];

    fn view(addresses: &[&str]) -> View {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        View::fixed(
            fixed::body(
                &addresses,
                &["198.51.100.1".parse().unwrap(), "2001:db8::99".parse().unwrap()],
                VMAC,
                [1, 2],
            )
            .unwrap(),
        )
    }

    /// A frame over addresses of `N` bytes to the port, with a header of IKE and nothing behind it.
    fn frame<const N: usize>(source: [u8; N], destination: [u8; N], port: u16) -> Vec<u8> {
        let mut message = vec![0; if port == ike::PORT { 0 } else { ike::MARKER_LEN }];
        message.extend([
            1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 28,
        ]);
        let length = (udp::HEADER_LEN + message.len()) as u16;
        let addresses = [source, destination].concat();
        let mut datagram = vec![0; udp::HEADER_LEN];
        udp::emit_header(&mut datagram, port, port, length, checksum::add(0, &message), &addresses);
        let mut ip = vec![0; udp_at(N) - plain::IP];
        if let (Some(from), Some(to)) = (source.first_chunk(), destination.first_chunk())
            && N == 16
        {
            ipv6::emit_header(&mut ip, 0, length, udp::PROTOCOL, 64, *from, *to);
        } else if let (Some(from), Some(to)) = (source.first_chunk(), destination.first_chunk()) {
            ipv4::emit_header(&mut ip, 0, 20 + length, 64, udp::PROTOCOL, *from, *to);
        }
        let ethertype = if N == 4 { ethertype::IPV4 } else { ethertype::IPV6 };
        [&MAC[..], &[2, 0, 0, 0, 0, 9], &ethertype.to_be_bytes(), &ip, &datagram, &message].concat()
    }

    fn port() -> PortView {
        PortView { vlans: Vlans::new(4, &[7, 100]), ..PortView::new(0, MAC) }
    }

    /// The same frame in VLAN 100.
    fn tag(frame: &[u8]) -> Vec<u8> {
        let tag = [ethertype::VLAN.to_be_bytes(), 0xe064u16.to_be_bytes()].concat();
        [&frame[..ETHERTYPE], &tag, &frame[ETHERTYPE..]].concat()
    }

    #[test]
    fn plain_requests_of_both_families_and_ports_take_the_short_way() {
        let view = view(&["192.0.2.7", "192.0.2.1", "2001:db8::7", "2001:db8::1"]);
        let v6 = |last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
        let (from, to) = ([192, 0, 2, 9], [192, 0, 2, 1]);
        let vip = |found: Option<(Asked, ike::Message<'_>)>| {
            found.map(|(asked, _)| (asked.vip, asked.family, asked.ike))
        };
        assert_eq!(vip(asked::<4, 0, 0>(&frame(from, to, 500), &view, &port())), Some((1, 4, 42)));
        assert_eq!(vip(asked::<4, 4, 0>(&frame(from, to, 4500), &view, &port())), Some((1, 4, 46)));
        assert_eq!(vip(asked::<16, 0, 0>(&frame(v6(9), v6(1), 500), &view, &port())), Some((3, 6, 62)));
        assert_eq!(vip(asked::<16, 4, 0>(&frame(v6(9), v6(1), 4500), &view, &port())), Some((3, 6, 66)));
        let in_vlan = |found: Option<(Asked, ike::Message<'_>)>| {
            found.map(|(asked, _)| (asked.vip, asked.ip, asked.udp, asked.ike))
        };
        let one = tag(&frame(from, to, 500));
        assert_eq!(in_vlan(asked::<4, 0, 4>(&one, &view, &port())), Some((1, 18, 38, 46)));
        let one = tag(&frame(v6(9), v6(1), 4500));
        assert_eq!(in_vlan(asked::<16, 4, 4>(&one, &view, &port())), Some((3, 18, 58, 70)));
        let mut virtual_mac = frame(from, to, 500);
        virtual_mac[..6].copy_from_slice(&VMAC);
        assert!(asked::<4, 0, 0>(&virtual_mac, &view, &port()).is_some());
        assert!(asked::<4, 0, 0>(&frame(from, [192, 0, 2, 3], 500), &view, &port()).is_none());
    }

    /// Every bit of the headers that the plain case asks for: turned, the frame goes the long way.
    #[test]
    fn one_wrong_bit_is_enough_for_the_long_way() {
        turn_each_bit::<0>();
    }

    /// The same of every bit of a frame in a VLAN, those of the tag among them: its priority means nothing here.
    #[test]
    fn one_wrong_bit_in_a_vlan_is_enough_for_the_long_way() {
        turn_each_bit::<TAG_LEN>();
    }

    fn turn_each_bit<const TAG: usize>() {
        let mut body =
            fixed::body(&["192.0.2.1".parse().unwrap()], &["198.51.100.1".parse().unwrap()], VMAC, [1, 2])
                .unwrap();
        // The address is the VLAN's, or the port's.
        body.vips[0].port = if TAG == 0 { 0 } else { 5 };
        let view = View::fixed(body);
        let plain = frame([192, 0, 2, 9], [192, 0, 2, 1], 500);
        let right = if TAG == 0 { plain } else { tag(&plain) };
        // The source MAC and the next payload mean nothing here, nor do the minor version and the flags that RFC 7296 leaves open.
        let open = |at: usize, bit: u8| match at {
            6..12 | 58 => true,
            59 => bit < 4,
            61 => !matches!(1 << bit, 0x08 | 0x20),
            _ => false,
        };
        for at in 0..right.len() {
            // Where it stands in the frame without a tag.
            let untagged = if at < ETHERTYPE { at } else { at.wrapping_sub(TAG) };
            let in_tag = (ETHERTYPE..ETHERTYPE + TAG).contains(&at);
            // By EtherType and destination port, [`classify`] chose among the functions.
            if !in_tag && (36..38).contains(&untagged) {
                continue;
            }
            for bit in 0..8 {
                let mut wrong = right.clone();
                wrong[at] ^= 1 << bit;
                // With the checksums out of the way, to reach what is behind them; they have their own turn below.
                let good = PortView { checksums_good: true, ..port() };
                let short = asked::<4, 0, TAG>(&wrong, &view, &port()).is_some();
                let priority = in_tag && at == ETHERTYPE + 2 && bit >= 4;
                assert_eq!(short, priority || !in_tag && (6..12).contains(&untagged), "byte {at}, bit {bit}");
                let unchecked = asked::<4, 0, TAG>(&wrong, &view, &good).is_some();
                let summed = matches!(untagged, 15 | 18..20 | 22 | 24..30 | 34..36 | 40..50)
                    || untagged == 20 && bit >= 6;
                let expected = if in_tag { priority } else { summed || open(untagged, bit) };
                assert_eq!(unchecked, expected, "byte {at}, bit {bit}, checksums good");
            }
        }
    }
}

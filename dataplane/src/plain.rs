//! The plain case of a request that is answered: no VLAN tag, no IP options or extension headers, whole, everything as it
//! should be. It is nearly all of what a worker sees in the night that counts.
//!
//! One condition a field, each at an offset known to the compiler, and no reason: a frame that fails any of them goes to
//! [`classify_any`](crate::classify::classify_any) from its beginning, which says the same of the frames that fail none.

use platform::wire::ethernet::ethertype;
use platform::wire::plain::{self, ETHERTYPE, udp_at};
use platform::wire::{ethernet, ike, udp};

use crate::classify::{Asked, classify_any, first_request};
use crate::stages::Stage;
use crate::{Gate, PortView, Verdict, View};

/// Says what a frame from the wire is, by the short way if it is a plain request.
#[inline(always)]
pub(crate) fn classify(frame: &[u8], view: &View, port: &PortView, lap: &mut impl FnMut(Stage)) -> Verdict {
    const IPV4: [u8; 2] = ethertype::IPV4.to_be_bytes();
    const IPV6: [u8; 2] = ethertype::IPV6.to_be_bytes();
    const PORT: [u8; 2] = ike::PORT.to_be_bytes();
    const PORT_NAT: [u8; 2] = ike::PORT_NAT.to_be_bytes();
    let two = |at: usize| frame.get(at..)?.first_chunk::<2>();
    // Where the destination port stands if the frame is plain.
    match (two(ETHERTYPE), two(udp_at(4) + 2), two(udp_at(16) + 2)) {
        (Some(&IPV4), Some(&PORT), _) => request::<4, 0>(frame, view, port, lap),
        (Some(&IPV4), Some(&PORT_NAT), _) => request::<4, { ike::MARKER_LEN }>(frame, view, port, lap),
        (Some(&IPV6), _, Some(&PORT)) => request::<16, 0>(frame, view, port, lap),
        (Some(&IPV6), _, Some(&PORT_NAT)) => request::<16, { ike::MARKER_LEN }>(frame, view, port, lap),
        _ => classify_any(frame, view, port, lap),
    }
}

/// `N` is the bytes of an address, `MARK` those of the non-ESP marker: with both known, all offsets are. Four functions of
/// their own, each with few enough variables for the registers.
#[inline(never)]
fn request<const N: usize, const MARK: usize>(
    frame: &[u8],
    view: &View,
    port: &PortView,
    lap: &mut impl FnMut(Stage),
) -> Verdict {
    match asked::<N, MARK>(frame, view, port) {
        Some((asked, message)) => first_request(&asked, message, lap),
        None => classify_any(frame, view, port, lap),
    }
}

#[inline(always)]
fn asked<'a, const N: usize, const MARK: usize>(
    frame: &'a [u8],
    view: &View,
    port: &PortView,
) -> Option<(Asked, ike::Message<'a>)> {
    let (family, udp) = const { (if N == 4 { 4 } else { 6 }, udp_at(N)) };
    let datagram = plain::read::<N>(frame)?;
    let (marker, message) = datagram.payload.split_at_checked(MARK)?;
    let message = ike::Message::new_checked(message).ok()?;
    let (vip, target) = view.target(family, &widen(datagram.destination), port.index)?;
    // An address that is answered is active: its virtual MAC is one of ours.
    let mac = datagram.destination_mac;
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
    let (ip, ike, source) = (plain::IP, udp + udp::HEADER_LEN + MARK, widen(datagram.source));
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
    use crate::fixed;
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
        PortView::new(0, MAC)
    }

    #[test]
    fn plain_requests_of_both_families_and_ports_take_the_short_way() {
        let view = view(&["192.0.2.7", "192.0.2.1", "2001:db8::7", "2001:db8::1"]);
        let v6 = |last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
        let (from, to) = ([192, 0, 2, 9], [192, 0, 2, 1]);
        let vip = |found: Option<(Asked, ike::Message<'_>)>| {
            found.map(|(asked, _)| (asked.vip, asked.family, asked.ike))
        };
        assert_eq!(vip(asked::<4, 0>(&frame(from, to, 500), &view, &port())), Some((1, 4, 42)));
        assert_eq!(vip(asked::<4, 4>(&frame(from, to, 4500), &view, &port())), Some((1, 4, 46)));
        assert_eq!(vip(asked::<16, 0>(&frame(v6(9), v6(1), 500), &view, &port())), Some((3, 6, 62)));
        assert_eq!(vip(asked::<16, 4>(&frame(v6(9), v6(1), 4500), &view, &port())), Some((3, 6, 66)));
        let mut virtual_mac = frame(from, to, 500);
        virtual_mac[..6].copy_from_slice(&VMAC);
        assert!(asked::<4, 0>(&virtual_mac, &view, &port()).is_some());
        assert!(asked::<4, 0>(&frame(from, [192, 0, 2, 3], 500), &view, &port()).is_none());
    }

    /// Every bit of the headers that the plain case asks for: turned, the frame goes the long way.
    #[test]
    fn one_wrong_bit_is_enough_for_the_long_way() {
        let view = view(&["192.0.2.1"]);
        let right = frame([192, 0, 2, 9], [192, 0, 2, 1], 500);
        // The source MAC and the next payload mean nothing here, nor do the minor version and the flags that RFC 7296 leaves open.
        let open = |at: usize, bit: u8| match at {
            6..12 | 58 => true,
            59 => bit < 4,
            61 => !matches!(1 << bit, 0x08 | 0x20),
            _ => false,
        };
        // By EtherType and destination port, [`classify`] chose among the four functions.
        for at in (0..right.len()).filter(|at| !(36..38).contains(at)) {
            for bit in 0..8 {
                let mut wrong = right.clone();
                wrong[at] ^= 1 << bit;
                // With the checksums out of the way, to reach what is behind them; they have their own turn below.
                let good = PortView { checksums_good: true, ..port() };
                let short = asked::<4, 0>(&wrong, &view, &port()).is_some();
                assert_eq!(short, (6..12).contains(&at), "byte {at}, bit {bit}");
                let unchecked = asked::<4, 0>(&wrong, &view, &good).is_some();
                let summed =
                    matches!(at, 15 | 18..20 | 22 | 24..30 | 34..36 | 40..50) || at == 20 && bit >= 6;
                assert_eq!(unchecked, summed || open(at, bit), "byte {at}, bit {bit}, checksums good");
            }
        }
    }
}

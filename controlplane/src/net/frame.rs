//! Whole frames, from Ethernet to payload, for packet sockets.

use platform::wire::ethernet::{self, Mac, ethertype};
use platform::wire::{checksum, ipv4, ipv6, udp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// MAC addresses, IP addresses and limits of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Header<Address = IpAddr> {
    /// MAC address of the sender
    pub source_mac: Mac,
    /// MAC address of the receiver or its group
    pub destination_mac: Mac,
    /// Address of the sender
    pub source: Address,
    /// Address of the receiver or its group
    pub destination: Address,
    /// TOS or traffic class
    pub traffic_class: u8,
    /// TTL or hop limit
    pub hop_limit: u8,
}

/// Builds a UDP datagram with `port` at both ends; `None` where the addresses are of different families.
#[must_use]
pub fn udp(header: &Header, port: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let length = (udp::HEADER_LEN + payload.len()) as u16;
    let (mut frame, addresses) = match (header.source, header.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = of_family(header, source, destination);
            (ipv4(&header, udp::PROTOCOL, length), [source.octets(), destination.octets()].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = of_family(header, source, destination);
            (ipv6(&header, udp::PROTOCOL, length), [source.octets(), destination.octets()].concat())
        }
        _ => return None,
    };
    let mut head = [0; udp::HEADER_LEN];
    udp::emit_header(&mut head, port, port, length, checksum::add(0, payload), &addresses);
    frame.extend(head);
    frame.extend(payload);
    Some(frame)
}

/// Builds an ICMPv6 message of code 0 with `body` behind its checksum.
#[must_use]
pub fn icmpv6(header: &Header<Ipv6Addr>, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (4 + body.len()) as u16;
    let mut frame = ipv6(header, ipv6::next::ICMPV6, length);
    let addresses = [header.source.octets(), header.destination.octets()].concat();
    let sum = checksum::pseudo(&addresses, ipv6::next::ICMPV6, length) + checksum::pair([kind, 0]);
    frame.extend([kind, 0]);
    frame.extend(checksum::finish(checksum::add(sum, body)));
    frame.extend(body);
    frame
}

/// Builds an ARP request, which is broadcast.
#[must_use]
pub fn arp_request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    // Ethernet and IPv4 with the lengths of their addresses, then the operation.
    const REQUEST: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1];
    let mut frame = ethernet([0xff; 6], mac, ethertype::ARP);
    frame.extend(REQUEST);
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend(Mac::default());
    frame.extend(target.octets());
    frame
}

fn of_family<Address>(header: &Header, source: Address, destination: Address) -> Header<Address> {
    let Header { source_mac, destination_mac, traffic_class, hop_limit, .. } = *header;
    Header { source_mac, destination_mac, source, destination, traffic_class, hop_limit }
}

fn ethernet(destination: Mac, source: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::set_addresses(&mut frame, destination, source);
    frame[ethernet::HEADER_LEN - 2..].copy_from_slice(&ethertype.to_be_bytes());
    frame
}

/// The headers before `length` bytes of `protocol`.
fn ipv4(header: &Header<Ipv4Addr>, protocol: u8, length: u16) -> Vec<u8> {
    let Header { traffic_class, hop_limit, .. } = *header;
    let mut frame = ethernet(header.destination_mac, header.source_mac, ethertype::IPV4);
    let (source, destination) = (header.source.octets(), header.destination.octets());
    let total = length.saturating_add(ipv4::HEADER_LEN as u16);
    let mut head = [0; ipv4::HEADER_LEN];
    ipv4::emit_header(&mut head, traffic_class, total, hop_limit, protocol, source, destination);
    frame.extend(head);
    frame
}

/// The headers before `length` bytes of `protocol`.
fn ipv6(header: &Header<Ipv6Addr>, protocol: u8, length: u16) -> Vec<u8> {
    let Header { traffic_class, hop_limit, .. } = *header;
    let mut frame = ethernet(header.destination_mac, header.source_mac, ethertype::IPV6);
    let (source, destination) = (header.source.octets(), header.destination.octets());
    let mut head = [0; ipv6::HEADER_LEN];
    ipv6::emit_header(&mut head, traffic_class, length, protocol, hop_limit, source, destination);
    frame.extend(head);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::wire::arp;
    use proptest::prelude::*;

    fn header<Address>(source: Address, destination: Address, of: [u8; 14]) -> Header<Address> {
        let mac = |at: usize| std::array::from_fn(|index| of[at + index]);
        Header {
            source_mac: mac(0),
            destination_mac: mac(6),
            source,
            destination,
            traffic_class: of[12],
            hop_limit: of[13],
        }
    }

    #[test]
    fn a_udp_datagram_over_ipv4_is_this() {
        let of = [2, 0, 0, 0, 0, 9, 1, 0, 0x5e, 0, 0, 2, 0xc0, 1];
        let header = header(IpAddr::from([10, 0, 0, 1]), IpAddr::from([224, 0, 0, 2]), of);
        #[rustfmt::skip]
        let wanted = [
            1, 0, 0x5e, 0, 0, 2, 2, 0, 0, 0, 0, 9, 8, 0,
            0x45, 0xc0, 0, 30, 0, 0, 0x40, 0, 1, 17, 0x8f, 0x0c, 10, 0, 0, 1, 224, 0, 0, 2,
            7, 0xc1, 7, 0xc1, 0, 10, 0x9d, 0xeb, 0x68, 0x69,
        ];
        assert_eq!(udp(&header, 1985, b"hi").unwrap(), wanted);
    }

    #[test]
    fn addresses_of_two_families_make_no_frame() {
        let header = header(IpAddr::from([10, 0, 0, 1]), IpAddr::from([0; 16]), [2; 14]);
        assert_eq!(udp(&header, 1985, b"hi"), None);
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_built(of: [u8; 14], v4: bool, addresses: [[u8; 16]; 2], port: u16,
                                           payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let address = |bytes: [u8; 16]| match v4 {
                true => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
                false => IpAddr::from(bytes),
            };
            let [source, destination] = addresses.map(address);
            let frame = udp(&header(source, destination, of), port, &payload).unwrap();
            let outer = ethernet::Frame::new_checked(&frame).unwrap();
            prop_assert_eq!((&outer.source()[..], &outer.destination()[..]), (&of[..6], &of[6..12]));
            let (read, protocol, limits, addresses, inner) = if v4 {
                let packet = ipv4::Packet::new_checked(outer.payload()).unwrap();
                prop_assert!(packet.verify_checksum());
                let read = [packet.source(), packet.destination()].map(IpAddr::from);
                (read, packet.protocol(), [packet.tos(), packet.ttl()], packet.addresses(), packet.payload())
            } else {
                let packet = ipv6::Packet::new_checked(outer.payload()).unwrap();
                let read = [packet.source(), packet.destination()].map(IpAddr::from);
                let (limits, inner) = ([packet.traffic_class(), packet.hop_limit()], &packet.as_bytes()[40..]);
                (read, packet.next_header(), limits, packet.addresses(), inner)
            };
            prop_assert_eq!((read, protocol, limits), ([source, destination], udp::PROTOCOL, [of[12], of[13]]));
            prop_assert!(frame.ends_with(inner), "nothing behind it");
            let datagram = udp::Datagram::new_checked(inner).unwrap();
            prop_assert_eq!((datagram.source_port(), datagram.destination_port()), (port, port));
            prop_assert_eq!(&inner[udp::HEADER_LEN..], &payload[..]);
            let sum = checksum::pseudo(addresses, udp::PROTOCOL, inner.len() as u16);
            prop_assert!(datagram.checksum() != 0 && checksum::verify(checksum::add(sum, inner)));
        }

        #[test]
        fn an_icmpv6_message_is_read_as_it_was_built(of: [u8; 14], addresses: [[u8; 16]; 2], kind: u8,
                                                     body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let [source, destination] = addresses.map(Ipv6Addr::from);
            let frame = icmpv6(&header(source, destination, of), kind, &body);
            let outer = ethernet::Frame::new_checked(&frame).unwrap();
            prop_assert_eq!((&outer.source()[..], &outer.destination()[..]), (&of[..6], &of[6..12]));
            let packet = ipv6::Packet::new_checked(outer.payload()).unwrap();
            prop_assert_eq!([packet.source(), packet.destination()], addresses);
            prop_assert_eq!((packet.next_header(), packet.hop_limit()), (58, of[13]));
            let message = &packet.as_bytes()[ipv6::HEADER_LEN..];
            prop_assert_eq!((message[0], message[1], &message[4..]), (kind, 0, &body[..]));
            let sum = checksum::pseudo(packet.addresses(), 58, message.len() as u16);
            prop_assert!(checksum::verify(checksum::add(sum, message)));
        }

        #[test]
        fn an_arp_request_is_read_as_it_was_built(mac: Mac, sender: [u8; 4], target: [u8; 4]) {
            let frame = arp_request(mac, sender.into(), target.into());
            let outer = ethernet::Frame::new_checked(&frame).unwrap();
            prop_assert_eq!((outer.source(), outer.destination(), outer.ethertype()), (mac, [0xff; 6], ethertype::ARP));
            let packet = arp::Packet::new_checked(outer.payload()).unwrap();
            prop_assert_eq!((packet.operation(), packet.sender_mac(), outer.payload().len()), (1, mac, arp::LEN));
            prop_assert_eq!((packet.sender_ip(), packet.target_ip()), (sender, target));
        }
    }
}

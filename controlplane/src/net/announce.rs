//! Announcements that tell the LAN where a virtual address lives now: gratuitous ARP, unsolicited neighbour advertisements, and the
//! router advertisements of a group's virtual link-local address.

use super::frame::{Header, arp_request, icmpv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Interval of a virtual router's advertisements while active: MinRtrAdvInterval's default (RFC 4861 section 6.2.1)
pub const ROUTER_INTERVAL: Duration = Duration::from_secs(200);
/// Between the first three advertisements after gaining the role (MAX_INITIAL_RTR_ADVERT_INTERVAL, section 10)
pub const ROUTER_INITIAL_INTERVAL: Duration = Duration::from_secs(16);

/// The frame that announces `address` as that of a station with `mac`.
#[must_use]
pub fn announcement(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => neighbour_advertisement(mac, address),
    }
}

/// An ARP request for one's own address, broadcast (RFC 5227 section 3, an announcement).
#[must_use]
pub fn gratuitous_arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, address, address)
}

/// An unsolicited neighbour advertisement with the override flag, to all nodes (RFC 4861 section 7.2.6). That of a
/// link-local address says that it is a router: without the flag, hosts would strike it off their list of routers
/// (section 7.2.5).
#[must_use]
pub fn neighbour_advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    const ROUTER: u8 = 0x80;
    const OVERRIDE: u8 = 0x20;
    let mut body = [0u8; 28];
    body[0] = if address.is_unicast_link_local() { ROUTER | OVERRIDE } else { OVERRIDE };
    body[4..20].copy_from_slice(&address.octets());
    // The target's link-layer address.
    body[20..22].copy_from_slice(&[2, 1]);
    body[22..].copy_from_slice(&mac);
    icmpv6(&to_all_nodes(mac, address), 136, &body)
}

/// A router advertisement to all nodes with the link-layer address and nothing else (RFC 4861 section 4.2): hop limit,
/// timers and prefixes are left to the routers' own advertisements. `lifetime` in whole seconds up to 65535; zero:
/// no default router any more.
#[must_use]
pub fn router_advertisement(mac: [u8; 6], address: Ipv6Addr, lifetime: Duration) -> Vec<u8> {
    let mut body = [0u8; 20];
    let seconds = u16::try_from(lifetime.as_secs()).unwrap_or(u16::MAX);
    body[2..4].copy_from_slice(&seconds.to_be_bytes());
    // The source's link-layer address.
    body[12..14].copy_from_slice(&[1, 1]);
    body[14..].copy_from_slice(&mac);
    icmpv6(&to_all_nodes(mac, address), 134, &body)
}

fn to_all_nodes(mac: [u8; 6], source: Ipv6Addr) -> Header<Ipv6Addr> {
    Header {
        source_mac: mac,
        destination_mac: ALL_NODES_MAC,
        source,
        destination: ALL_NODES,
        traffic_class: 0,
        // Neighbour discovery is believed with hop limit 255 only.
        hop_limit: 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::virtual_link_local;
    use platform::wire::{arp, checksum, icmpv6};

    #[test]
    fn a_gratuitous_arp_asks_for_its_own_address() {
        let mac = [0, 0, 0x0c, 7, 0xac, 1];
        let frame = gratuitous_arp(mac, Ipv4Addr::new(192, 0, 2, 100));
        let packet = arp::Packet::new_checked(&frame[14..]).unwrap();
        assert_eq!((packet.operation(), packet.sender_mac()), (1, mac));
        assert_eq!((packet.sender_ip(), packet.target_ip()), ([192, 0, 2, 100], [192, 0, 2, 100]));
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 0, 0, 0x0c, 7, 0xac, 1, 8, 6]);
    }

    #[test]
    fn a_neighbour_advertisement_overrides_and_its_checksum_is_right() {
        let mac = [0, 5, 0x73, 0xa0, 0, 1];
        let address: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let frame = neighbour_advertisement(mac, address);
        let message = &frame[54..];
        assert_eq!(icmpv6::neighbour_target(message), Some(address.octets()));
        assert_eq!((message[4], &message[24..26], &message[26..]), (0x20, &[2, 1][..], &mac[..]));
        assert!(checksum::verify(checksum::add(checksum::pseudo(&frame[22..54], 58, 32), message)));
    }

    #[test]
    fn a_link_local_address_stays_a_router() {
        let frame = neighbour_advertisement([0, 5, 0x73, 0xa0, 0, 1], "fe80::5:73ff:fea0:1".parse().unwrap());
        assert_eq!(frame[58], 0xa0);
    }

    #[test]
    fn a_router_advertisement_is_this() {
        let frame = router_advertisement(
            [0, 5, 0x73, 0xa0, 0x0a, 0xbc],
            virtual_link_local(0xabc),
            Duration::from_secs(1800),
        );
        #[rustfmt::skip]
        let wanted = [
            0x33, 0x33, 0, 0, 0, 1, 0, 5, 0x73, 0xa0, 0x0a, 0xbc, 0x86, 0xdd,
            0x60, 0, 0, 0, 0, 24, 58, 255,
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 5, 0x73, 0xff, 0xfe, 0xa0, 0x0a, 0xbc,
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            134, 0, 0x78, 0x5c, 0, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0,
            1, 1, 0, 5, 0x73, 0xa0, 0x0a, 0xbc,
        ];
        assert_eq!(frame, wanted);
        assert!(checksum::verify(checksum::add(checksum::pseudo(&frame[22..54], 58, 24), &frame[54..])));
        let last =
            router_advertisement([0, 5, 0x73, 0xa0, 0x0a, 0xbc], virtual_link_local(0xabc), Duration::ZERO);
        assert_eq!(last[60..62], [0, 0], "the last one");
    }
}

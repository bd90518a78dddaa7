//! Gratuitous ARP and unsolicited neighbour advertisements: what tells the LAN where a virtual address lives now.

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use platform::wire::checksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

/// Announces `addresses` from `device`, whose MAC is `mac`.
///
/// # Errors
/// When the device does not exist or the kernel does not take the frames.
pub fn announce(device: &str, mac: [u8; 6], addresses: &[IpAddr]) -> std::io::Result<()> {
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    let to = link_address(device)?;
    for address in addresses {
        let frame = match address {
            IpAddr::V4(address) => gratuitous_arp(mac, *address).to_vec(),
            IpAddr::V6(address) => neighbour_advertisement(mac, *address).to_vec(),
        };
        sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::MSG_DONTWAIT)?;
    }
    Ok(())
}

/// The packet address of a device; the kernel lists them with the interface addresses.
fn link_address(device: &str) -> std::io::Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, format!("no device {device}")))
}

/// An ARP request for one's own address, broadcast (RFC 5227 section 3, an announcement).
fn gratuitous_arp(mac: [u8; 6], address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0u8; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address.octets());
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// An unsolicited neighbour advertisement with the override flag, to all nodes (RFC 4861 section 7.2.6).
fn neighbour_advertisement(mac: [u8; 6], address: Ipv6Addr) -> [u8; 86] {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const OVERRIDE: u8 = 0x20;
    let mut frame = [0u8; 86];
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame[22..38].copy_from_slice(&address.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    frame[54] = 136;
    frame[58] = OVERRIDE;
    frame[62..78].copy_from_slice(&address.octets());
    frame[78..80].copy_from_slice(&[2, 1]);
    frame[80..86].copy_from_slice(&mac);
    let sum = checksum::add(checksum::pseudo(&frame[22..54], 58, 32), &frame[54..]);
    frame[56..58].copy_from_slice(&checksum::finish(sum));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::wire::{arp, icmpv6};

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
    fn a_missing_device_is_named() {
        let error = announce("nosuchdev0", [0; 6], &[]).unwrap_err();
        assert!(error.to_string().contains("nosuchdev0"), "{error}");
    }
}

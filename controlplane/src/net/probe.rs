//! ARP probe: whether another host has an address (RFC 5227 section 2.1).

use super::frame::arp_request;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recv, sendto};
use platform::wire::{arp, ethernet};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

/// Requests that are sent (PROBE_NUM, RFC 5227 section 1.1).
const REQUESTS: u32 = 3;
/// Wait for an answer after each. The RFC's seconds are for hosts that start together; here a role waits.
const WAIT: Duration = Duration::from_millis(200);

/// Probes `address` on the link of the device of packet address `link`: the MAC of another host that has it, or none. An
/// answer from `virtual_mac` is that of the group's active router, which is to have the address. Blocks for 600 ms at most.
///
/// Probes of other hosts for the same address are no conflict here, unlike in RFC 5227 section 2.1.1: routers of one
/// group learn at the same time.
///
/// # Errors
/// When the device has gone or the kernel does not take the frames.
pub fn holder(link: &LinkAddr, address: Ipv4Addr, virtual_mac: [u8; 6]) -> std::io::Result<Option<[u8; 6]>> {
    let mac = link.addr().unwrap_or_default();
    let protocol = Protocol::from(i32::from(ethernet::ethertype::ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec(), Some(protocol))?;
    bind(socket.as_raw_fd(), link)?;
    for _ in 0..REQUESTS {
        sendto(socket.as_raw_fd(), &request(mac, address), link, MsgFlags::MSG_DONTWAIT)?;
        let end = Instant::now() + WAIT;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            socket.set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
            let mut frame = [0; 64];
            // An error here is the end of the wait, or of the device, which the next request names.
            let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) else { continue };
            let other = sender(&frame[..length.min(frame.len())], address);
            if let Some(other) = other.filter(|other| *other != mac && *other != virtual_mac) {
                return Ok(Some(other));
            }
        }
    }
    Ok(None)
}

/// An ARP request from no address, broadcast.
fn request(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, Ipv4Addr::UNSPECIFIED, address)
}

/// The MAC of the host that uses `address` as its own in an ARP packet.
fn sender(frame: &[u8], address: Ipv4Addr) -> Option<[u8; 6]> {
    let packet = arp::Packet::new_checked(frame.get(ethernet::HEADER_LEN..)?).ok()?;
    (packet.sender_ip() == address.octets()).then(|| packet.sender_mac())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn a_probe_comes_from_no_address_and_is_nobody_s_answer() {
        let frame = request(MAC, ADDRESS);
        let packet = arp::Packet::new_checked(&frame[14..]).unwrap();
        assert_eq!((packet.operation(), packet.sender_mac()), (1, MAC));
        assert_eq!((packet.sender_ip(), packet.target_ip()), ([0; 4], ADDRESS.octets()));
        assert_eq!(sender(&frame, ADDRESS), None);
    }

    #[test]
    fn any_arp_packet_of_a_host_with_the_address_shows_it() {
        let frame = crate::net::announce::gratuitous_arp(MAC, ADDRESS);
        assert_eq!(sender(&frame, ADDRESS), Some(MAC));
        assert_eq!(sender(&frame, Ipv4Addr::new(192, 0, 2, 2)), None);
        assert_eq!(sender(&frame[..40], ADDRESS), None);
        assert_eq!(sender(&[], ADDRESS), None);
    }
}

//! Claims of other stations on virtual addresses that this node owns: ARP and neighbour advertisements heard on the
//! exception devices.

use super::links::LinkTable;
use crate::types::IfIndex;
use nix::sys::socket::{LinkAddr, bind, recvfrom};
use platform::wire::{arp, ethernet, icmpv6};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Room for frames that wait, bytes: a station that floods claims once a second, like any other.
const RECEIVE_BUFFER: usize = 32 << 10;
/// Frames of one socket that are read at once.
const BUDGET: usize = 32;
/// The pause after a socket had more than that.
const PAUSE: Duration = Duration::from_millis(100);
/// A station's claim to an address is reported once in this time.
const AGAIN: Duration = Duration::from_secs(1);
/// Claims that are reported in this time at most.
const MOST_CLAIMS: usize = 32;
/// Addresses of one device that are watched: a filter of the kernel has 4096 instructions.
const MOST_ADDRESSES: usize = 1024;
/// A claim is in the first bytes of a frame.
const SNAPSHOT: usize = 128;

/// A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    /// The virtual address
    pub address: IpAddr,
    /// The station
    pub mac: [u8; 6],
}

/// The addresses that are watched on one device, with their MAC address.
pub(super) type Watched = BTreeMap<IpAddr, [u8; 6]>;

/// The watch over all exception devices.
#[derive(Default)]
pub(super) struct Claims {
    devices: BTreeMap<String, Watch>,
    reported: BTreeSet<Claim>,
    forget_at: Option<Instant>,
    read_at: Option<Instant>,
}

struct Watch {
    index: IfIndex,
    watched: Watched,
    sockets: Vec<UdpSocket>,
}

impl Claims {
    /// Watches these addresses on these devices and no others.
    ///
    /// # Errors
    /// The devices on which that is not possible, each with the reason.
    pub fn watch(
        &mut self,
        wanted: &BTreeMap<String, Watched>,
        links: &LinkTable,
    ) -> Vec<(String, std::io::Error)> {
        self.devices.retain(|device, _| wanted.contains_key(device));
        let mut errors = Vec::new();
        for (device, watched) in wanted {
            let Some(packet) = links.packet(device) else { continue };
            let index = IfIndex::new(packet.ifindex() as u32);
            let known = self.devices.get(device);
            if known.is_some_and(|known| known.index == index && known.watched == *watched) {
                continue;
            }
            match open(&packet, watched) {
                Ok(sockets) => {
                    self.devices.insert(device.clone(), Watch { index, watched: watched.clone(), sockets });
                }
                Err(error) => {
                    self.devices.remove(device);
                    errors.push((device.clone(), error));
                }
            }
        }
        errors
    }

    /// When there is something to be read again after a pause.
    pub fn paused_until(&self) -> Option<Instant> {
        self.read_at
    }

    /// Waits for something to read.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.read_at.is_some() {
            return Poll::Pending;
        }
        let mut ready = Poll::Pending;
        for socket in self.devices.values().flat_map(|watch| &watch.sockets) {
            if socket.poll_recv_ready(context).is_ready() {
                ready = Poll::Ready(());
            }
        }
        ready
    }

    /// The claims that have come, with their devices; within bounds.
    pub fn read(&mut self, now: Instant) -> Vec<(String, Claim)> {
        if self.read_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.read_at = None;
        if self.forget_at.is_none_or(|at| now >= at) {
            self.reported.clear();
            self.forget_at = Some(now + AGAIN);
        }
        let mut claims = Vec::new();
        let mut frame = [0; SNAPSHOT];
        for (device, watch) in &self.devices {
            for socket in &watch.sockets {
                let mut read = 0;
                while let Ok((length, from)) =
                    socket.try_io(Interest::READABLE, || receive(socket, &mut frame))
                {
                    // Before it was bound, the socket heard all devices.
                    let heard_here = from.is_some_and(|from| from.ifindex() == watch.index.get() as usize);
                    if let Some(claim) = claim_in(&frame[..length], &watch.watched).filter(|_| heard_here)
                        && self.reported.len() < MOST_CLAIMS
                        && self.reported.insert(claim)
                    {
                        claims.push((device.clone(), claim));
                    }
                    read += 1;
                    if read == BUDGET {
                        self.read_at = Some(now + PAUSE);
                        break;
                    }
                }
            }
        }
        claims
    }
}

fn receive(socket: &UdpSocket, frame: &mut [u8]) -> std::io::Result<(usize, Option<LinkAddr>)> {
    Ok(recvfrom::<LinkAddr>(socket.as_raw_fd(), frame)?)
}

/// The sockets that hear claims on the device of `packet`: one for ARP, one for IPv6, each only where it is needed.
fn open(packet: &LinkAddr, watched: &Watched) -> std::io::Result<Vec<UdpSocket>> {
    let v4 = watched.keys().filter_map(|address| match address {
        IpAddr::V4(address) => Some(u32::from(*address)),
        IpAddr::V6(_) => None,
    });
    // Of an IPv6 address the last four bytes: the rest is looked at here.
    let v6 = watched.keys().filter_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(u128::from(*address) as u32),
    });
    let (v4, v6): (BTreeSet<u32>, BTreeSet<u32>) =
        (v4.take(MOST_ADDRESSES).collect(), v6.take(MOST_ADDRESSES).collect());
    let mut sockets = Vec::new();
    if !v4.is_empty() {
        // The sender's address of ARP.
        let mut filter = vec![load(WORD, 28)];
        filter.extend(v4.iter().flat_map(|address| [unless(*address, 1), accept()]));
        filter.push(reject());
        sockets.push(hear(packet, ethernet::ethertype::ARP, &filter)?);
    }
    if !v6.is_empty() {
        // The next header, the type of ICMPv6, the end of the target.
        let mut filter =
            vec![load(BYTE, 20), unless(58, 2), load(BYTE, 54), skip_if(136, 1), reject(), load(WORD, 74)];
        filter.extend(v6.iter().flat_map(|address| [unless(*address, 1), accept()]));
        filter.push(reject());
        sockets.push(hear(packet, ethernet::ethertype::IPV6, &filter)?);
    }
    Ok(sockets)
}

const WORD: u16 = 0x20;
const BYTE: u16 = 0x30;

/// Loads what stands at an offset of the frame.
const fn load(size: u16, offset: u32) -> SockFilter {
    SockFilter::new(size, 0, 0, offset)
}

/// Skips so many instructions unless it is this value.
const fn unless(value: u32, skip: u8) -> SockFilter {
    SockFilter::new(0x15, 0, skip, value)
}

/// Skips so many instructions if it is this value.
const fn skip_if(value: u32, skip: u8) -> SockFilter {
    SockFilter::new(0x15, skip, 0, value)
}

const fn accept() -> SockFilter {
    SockFilter::new(0x06, 0, 0, SNAPSHOT as u32)
}

const fn reject() -> SockFilter {
    SockFilter::new(0x06, 0, 0, 0)
}

fn hear(packet: &LinkAddr, ethertype: u16, filter: &[SockFilter]) -> std::io::Result<UdpSocket> {
    let protocol = Protocol::from(i32::from(ethertype.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))?;
    socket.attach_filter(filter)?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    // The kernel's listing leaves the protocol out: that of the socket stays.
    bind(socket.as_raw_fd(), packet)?;
    // Only a name for a socket that tokio can wait for.
    UdpSocket::from_std(socket.into())
}

/// The claim of a frame on one of the watched addresses, unless it is this node's or that of its group.
fn claim_in(frame: &[u8], watched: &Watched) -> Option<Claim> {
    let ethertype = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let (source, payload) = (frame.get(6..12)?.try_into().ok()?, frame.get(ethernet::HEADER_LEN..)?);
    let claim = if ethertype == ethernet::ethertype::ARP {
        let packet = arp::Packet::new_checked(payload).ok()?;
        // Whoever is the sender of any ARP claims the sender's address (RFC 5227 section 2.4).
        Claim { address: IpAddr::from(packet.sender_ip()), mac: packet.sender_mac() }
    } else {
        // Neighbour discovery is believed with hop limit 255 only (RFC 4861 section 7.1.2).
        if payload.get(6..8)? != [58, 255] {
            return None;
        }
        let message = payload.get(40..)?;
        if message.get(..2)? != [136, 0] {
            return None;
        }
        let target = icmpv6::neighbour_target(message)?;
        // The target's link-layer address where it is given, else the frame's source.
        let given = message.get(24..32).filter(|option| option[..2] == [2, 1]);
        let mac = given.and_then(|option| option[2..].try_into().ok()).unwrap_or(source);
        Claim { address: IpAddr::from(target), mac }
    };
    let own = watched.get(&claim.address)?;
    (claim.mac != *own && source != *own).then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::announce::{gratuitous_arp, neighbour_advertisement};

    const OWN: [u8; 6] = [0, 0, 0x0c, 7, 0xac, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

    #[test]
    fn only_another_stations_claim_on_a_watched_address_counts() {
        let (v4, v6) = ("10.0.0.100".parse().unwrap(), "2001:db8::100".parse().unwrap());
        let watched = Watched::from([(IpAddr::V4(v4), OWN), (IpAddr::V6(v6), OWN)]);
        let claim = |frame: &[u8]| claim_in(frame, &watched);
        assert_eq!(claim(&gratuitous_arp(OTHER, v4)), Some(Claim { address: v4.into(), mac: OTHER }));
        assert_eq!(
            claim(&neighbour_advertisement(OTHER, v6)),
            Some(Claim { address: v6.into(), mac: OTHER })
        );
        assert_eq!(claim(&gratuitous_arp(OWN, v4)), None, "this node, or another router of the group");
        assert_eq!(claim(&neighbour_advertisement(OWN, v6)), None);
        assert_eq!(claim(&gratuitous_arp(OTHER, "10.0.0.101".parse().unwrap())), None);
        assert_eq!(claim(&neighbour_advertisement(OTHER, "2001:db9::100".parse().unwrap())), None);
        let mut routed = neighbour_advertisement(OTHER, v6);
        routed[21] = 64;
        assert_eq!(claim(&routed), None, "hop limit 64");
    }

    #[test]
    fn no_frame_makes_it_panic() {
        let watched = Watched::from([(IpAddr::from([10, 0, 0, 100]), OWN)]);
        let frames =
            [gratuitous_arp(OTHER, [10, 0, 0, 100].into()), neighbour_advertisement(OTHER, 1.into())];
        for frame in frames {
            for length in 0..frame.len() {
                claim_in(&frame[..length], &watched);
            }
        }
    }
}

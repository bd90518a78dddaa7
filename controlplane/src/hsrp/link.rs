//! HSRP's two ways to the LAN: UDP sockets that hear the multicast groups, and a packet socket that sends.
//!
//! What is sent goes out as whole frames: only so does a hello leave from the macvlan with the virtual MAC and yet with
//! the interface's own address as its source. What is heard comes through the kernel, which checks it.

use super::packet::{MAX_LEN, PacketError, TRAFFIC_CLASS, Transport};
use crate::net::frame::{self, Header};
use crate::types::IfIndex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrStorage, recvmsg,
    sendto, socket,
};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Room for hellos that wait while the loop is busy, in bytes.
const RECEIVE_BUFFER: usize = 256 << 10;

/// Hears one multicast group on one device.
#[derive(Debug)]
pub struct Listening {
    /// Received messages
    pub transport: Transport,
    /// On which device, and its index when it was opened
    pub device: (String, IfIndex),
    socket: UdpSocket,
}

/// A payload as it came.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// From whom
    pub source: IpAddr,
    /// TTL or hop limit; 0 where the kernel does not tell it
    pub hop_limit: u8,
    /// Bytes in the buffer; [`MAX_LEN`] + 1: too long
    pub len: usize,
}

impl Listening {
    /// Opens a socket on `device`.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub fn open(transport: Transport, device: &str) -> std::io::Result<Listening> {
        let index = nix::net::if_::if_nametoindex(device)?;
        let port = transport.port();
        let (domain, address) = match transport.destination() {
            IpAddr::V4(group) => (Domain::IPV4, SocketAddr::V4(SocketAddrV4::new(group, port))),
            IpAddr::V6(group) => (Domain::IPV6, SocketAddr::V6(SocketAddrV6::new(group, port, 0, index))),
        };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(device.as_bytes()))?;
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        match transport.destination() {
            IpAddr::V4(group) => {
                socket.set_multicast_all_v4(false)?;
                nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv4RecvTtl, &true)?;
                socket.join_multicast_v4_n(&group, &socket2::InterfaceIndexOrAddress::Index(index))?;
            }
            IpAddr::V6(group) => {
                socket.set_only_v6(true)?;
                socket.set_recv_hoplimit_v6(true)?;
                socket.join_multicast_v6(&group, index)?;
            }
        }
        socket.bind(&SockAddr::from(address))?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Listening { transport, device: (device.to_owned(), IfIndex::new(index)), socket })
    }

    /// Waits for something to read.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_recv_ready(context).map(|_| ())
    }

    /// Reads the next payload; `None` when there is none.
    pub fn read(&self, buffer: &mut [u8; MAX_LEN + 1]) -> Option<Heard> {
        self.socket.try_io(Interest::READABLE, || receive(&self.socket, buffer)).ok()
    }
}

/// Hears the router solicitations on one device.
#[derive(Debug)]
pub struct Solicitations {
    /// The device, and its index when the socket was opened
    pub device: (String, IfIndex),
    socket: UdpSocket,
}

impl Solicitations {
    /// Opens a socket on `device`, a group's macvlan: it hears what is sent to all routers and to the virtual address.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub fn open(device: &str) -> std::io::Result<Solicitations> {
        const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        // Load the type, its first byte; 133 passes, all else does not.
        const FILTER: [SockFilter; 4] = [
            SockFilter::new(0x30, 0, 0, 0),
            SockFilter::new(0x15, 0, 1, 133),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ];
        let index = nix::net::if_::if_nametoindex(device)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
        socket.attach_filter(&FILTER)?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        // Only a name for a socket that tokio can wait for: it is read by recvmsg.
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Solicitations { device: (device.to_owned(), IfIndex::new(index)), socket })
    }

    /// Waits for something to read.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_recv_ready(context).map(|_| ())
    }

    /// Reads the next message, whose checksum the kernel has verified; `None` when there is none.
    pub fn read(&self, buffer: &mut [u8; MAX_LEN + 1]) -> Option<Heard> {
        self.socket.try_io(Interest::READABLE, || receive(&self.socket, buffer)).ok()
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8; MAX_LEN + 1]) -> std::io::Result<Heard> {
    let mut control = nix::cmsg_space!(i32, [u8; 64]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let hop_limit = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4Ttl(limit) | ControlMessageOwned::Ipv6HopLimit(limit) => {
            u8::try_from(limit).ok()
        }
        _ => None,
    });
    let source = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    Ok(Heard {
        source: source.ok_or(std::io::ErrorKind::InvalidData)?,
        hop_limit: hop_limit.unwrap_or(0),
        len: message.bytes,
    })
}

/// Sends whole frames.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Opens the socket.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn open() -> std::io::Result<Sender> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Sender { socket: socket(AddressFamily::Packet, SockType::Raw, flags, None)? })
    }

    /// Sends a payload from the device of packet address `to` with this source MAC and address.
    ///
    /// # Errors
    /// When the device is not there or its queue is full: the kernel never makes this wait.
    pub fn send(
        &self,
        to: &LinkAddr,
        transport: Transport,
        mac: [u8; 6],
        source: IpAddr,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let frame = frame(transport, mac, source, payload).map_err(std::io::Error::other)?;
        self.send_frame(to, &frame)
    }

    /// Sends a frame from the device of packet address `to`.
    ///
    /// # Errors
    /// When the device is not there or its queue is full: the kernel never makes this wait.
    pub fn send_frame(&self, to: &LinkAddr, frame: &[u8]) -> std::io::Result<()> {
        sendto(self.socket.as_raw_fd(), frame, to, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// The frame around a payload.
///
/// # Errors
/// When the source is of the other family.
pub fn frame(
    transport: Transport,
    mac: [u8; 6],
    source: IpAddr,
    payload: &[u8],
) -> Result<Vec<u8>, PacketError> {
    let header = Header {
        source_mac: mac,
        destination_mac: transport.destination_mac(),
        source,
        destination: transport.destination(),
        traffic_class: TRAFFIC_CLASS,
        hop_limit: transport.hop_limit(),
    };
    frame::udp(&header, transport.port(), payload).ok_or(PacketError::Source(source))
}

/// The link-local address that a MAC gives (RFC 4291 appendix A).
#[must_use]
pub fn link_local_of(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_gives_its_link_local_address() {
        assert_eq!(link_local_of([2, 0, 0, 0, 0, 0x11]).to_string(), "fe80::ff:fe00:11");
    }

    #[test]
    fn a_frame_goes_to_its_own_family_only() {
        assert!(frame(Transport::V2Ipv6, [2; 6], IpAddr::from([10, 0, 0, 1]), b"x").is_err());
        let frame = frame(Transport::V1, [2; 6], IpAddr::from([10, 0, 0, 1]), b"x").unwrap();
        assert_eq!((frame.len(), frame[22]), (43, 1), "TTL 1");
        assert_eq!(frame[..6], [1, 0, 0x5e, 0, 0, 2]);
    }
}

//! The events of rtnetlink: links, addresses and routes as they change, with their content.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, setsockopt,
    socket, sockopt,
};
use rtnetlink::packet_core::{NLM_F_REPLACE, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use socket2::SockFilter;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Room for events that wait, bytes.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The longest datagram that is read; a link with many virtual functions has some ten thousand bytes.
const LONGEST: usize = 256 << 10;
/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h).
const LINKS: u32 = 0x1 | 0x10 | 0x100;
/// RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE.
const ROUTES: u32 = 0x40 | 0x400;
/// The protocols of routes that are heard of: RTPROT_BOOT, which `ip route` writes, and RTPROT_STATIC.
const BY_HAND: [u8; 2] = [3, 4];

/// A change.
#[derive(Debug)]
pub(super) enum Event {
    /// A link that is new or has changed
    Link(LinkMessage),
    /// A link that is no more
    LinkGone(LinkMessage),
    /// An address that is new or has changed
    Address(AddressMessage),
    /// An address that is no more
    AddressGone(AddressMessage),
    /// A route that is new, and whether it replaces the one of the same destination
    Route(RouteMessage, bool),
    /// A route that is no more
    RouteGone(RouteMessage),
    /// Events were lost
    Lost,
}

/// A subscription.
pub(super) struct Events {
    /// Only a name for a socket that tokio watches: it is a netlink socket
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Events {
    /// Subscribes to links and addresses.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub fn of_links() -> std::io::Result<Events> {
        Events::subscribe(LINKS, None)
    }

    /// Subscribes to the routes that operators write. The kernel passes over those of routing daemons, which on a router
    /// may change a thousand times a second.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub fn of_routes() -> std::io::Result<Events> {
        // The protocol is the sixth byte of struct rtmsg, behind the 16 bytes of struct nlmsghdr.
        let filter = [
            SockFilter::new(0x30, 0, 0, 21),
            SockFilter::new(0x15, 1, 0, u32::from(BY_HAND[0])),
            SockFilter::new(0x15, 0, 1, u32::from(BY_HAND[1])),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ];
        Events::subscribe(ROUTES, Some(&filter))
    }

    fn subscribe(groups: u32, filter: Option<&[SockFilter]>) -> std::io::Result<Events> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        if let Some(filter) = filter {
            socket2::SockRef::from(&socket).attach_filter(filter)?;
        }
        // Beyond the limit for all, where that is allowed.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Events { socket: UdpSocket::from_std(socket.into())?, buffer: vec![0; LONGEST] })
    }

    /// Waits for something to read.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_recv_ready(context).map(|_| ())
    }

    /// Reads what has come, at most `most` datagrams; whether there may be more.
    pub fn read(&mut self, events: &mut Vec<Event>, most: usize) -> bool {
        for _ in 0..most {
            let (socket, buffer) = (&self.socket, &mut self.buffer);
            let read = socket.try_io(Interest::READABLE, || {
                let mut parts = [IoSliceMut::new(buffer)];
                let flags = MsgFlags::MSG_DONTWAIT;
                let message = recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, flags)?;
                let by_kernel = message.address.is_none_or(|from| from.pid() == 0);
                Ok((message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC), by_kernel))
            });
            match read {
                // Only the kernel is believed.
                Ok((_, _, false)) => {}
                Ok((_, true, true)) => events.push(Event::Lost),
                Ok((length, false, true)) => parse(&self.buffer[..length], events),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Err(error) => {
                    events.push(Event::Lost);
                    // Whatever else it is, it is not to be read again at once.
                    return error.raw_os_error() == Some(Errno::ENOBUFS as i32);
                }
            }
        }
        true
    }
}

/// The events of one datagram. What is not understood counts as lost: the whole is looked at anew then.
fn parse(mut datagram: &[u8], events: &mut Vec<Event>) {
    while datagram.len() >= 16 {
        let length = u32::from_ne_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]) as usize;
        if length < 16 || length > datagram.len() {
            return events.push(Event::Lost);
        }
        let event = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&datagram[..length]) {
            Ok(message) => event(message),
            Err(_) => Some(Event::Lost),
        };
        events.extend(event);
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
}

fn event(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    let replaces = message.header.flags & NLM_F_REPLACE != 0;
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => match inner {
            RouteNetlinkMessage::NewLink(link) => Some(Event::Link(link)),
            RouteNetlinkMessage::DelLink(link) => Some(Event::LinkGone(link)),
            RouteNetlinkMessage::NewAddress(address) => Some(Event::Address(address)),
            RouteNetlinkMessage::DelAddress(address) => Some(Event::AddressGone(address)),
            RouteNetlinkMessage::NewRoute(route) => Some(Event::Route(route, replaces)),
            RouteNetlinkMessage::DelRoute(route) => Some(Event::RouteGone(route)),
            _ => None,
        },
        NetlinkPayload::Overrun(_) => Some(Event::Lost),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_counts_as_lost() {
        let parsed = |bytes: &[u8]| {
            let mut events = Vec::new();
            parse(bytes, &mut events);
            events.iter().filter(|event| matches!(event, Event::Lost)).count()
        };
        assert_eq!(parsed(&[]), 0);
        assert_eq!(parsed(&[0; 16]), 1, "a length of 0 would never end");
        assert_eq!(parsed(&[0xff; 64]), 1);
        // RTM_NEWLINK that is cut short.
        let mut short = [0u8; 20];
        short[..4].copy_from_slice(&20u32.to_ne_bytes());
        short[4..6].copy_from_slice(&16u16.to_ne_bytes());
        assert_eq!(parsed(&short), 1);
    }
}

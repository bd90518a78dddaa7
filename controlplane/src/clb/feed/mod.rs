//! The load feed over TCP: the primary's [`Server`] and the member's [`Client`].
//!
//! Both live in tasks of the runtime that starts them, tell what happens in [`FeedEvent`]s, and end when their handle is
//! dropped. Nothing here blocks, and what a stranger can make it do is bounded: connections that have not said hello
//! ([`limits::MAX_PENDING`], the oldest gives way), accepts a second, openings a second, bytes and time of an opening,
//! members, messages a second of a member, bytes that wait for a slow reader, and log lines.

mod client;
mod connection;
pub mod limits;
mod server;

pub use client::{Client, ClientSettings};
pub use server::{Refusal, Server, ServerSettings, Stats};

use super::channel::ChannelError;
use super::wire::{Message, WireError};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Why a connection was closed. The name of each is its counter's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer took its leave
    #[error("the peer leaves: {0}")]
    Bye(String),
    /// The peer closed, between two frames
    #[error("the peer closed the connection")]
    End,
    /// The channel
    #[error("{0}")]
    Channel(#[from] ChannelError),
    /// A frame that is not understood
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The socket
    #[error("{step}: {error}")]
    Io {
        /// Step
        step: &'static str,
        /// Error of the kernel
        error: String,
    },
    /// A message that the peer has no business to send
    #[error("{0} is not for this side to hear")]
    OutOfPlace(&'static str),
    /// Too many messages
    #[error("more than {} messages a second", limits::MESSAGES_A_SECOND)]
    TooFast,
    /// The peer does not read what it is sent
    #[error("the peer does not read what it is sent")]
    SlowReader,
    /// No hello in time
    #[error("no hello within {} s", limits::OPENING.as_secs())]
    NoHello,
    /// Nothing was heard for too long
    #[error("nothing heard for {} ms", .0.as_millis())]
    Idle(Duration),
    /// A newer connection of the same member took its place
    #[error("a newer connection of the same address takes its place")]
    Replaced,
    /// Without a key a newer connection does not push a living one out
    #[error("the address has a connection that is alive")]
    Taken,
    /// The member table is full
    #[error("{0} members are connected already: raise `max-nodes`, or find the one that does not belong")]
    Full(usize),
    /// The address may not connect
    #[error("the address is not on the link, or is not one of the `member` lines")]
    NotAllowed,
    /// The address connects too often
    #[error("more than {} connections a second from one address", limits::ATTEMPTS_A_SECOND)]
    TooOften,
    /// Too many connections that have not said hello; this one was the oldest
    #[error("pushed out by newer connections before it said hello")]
    PushedOut,
    /// Too many openings wait for their turn
    #[error("too many openings at once")]
    Busy,
    /// This side closed it
    #[error("closed by this node: {0}")]
    Local(String),
    /// The client was told to connect elsewhere, or anew
    #[error("the cluster's address or its primary changed")]
    Moved,
}

impl Closed {
    /// The name of the reason, as counters and `show` have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Closed::Bye(_) => "bye",
            Closed::End => "end",
            Closed::Channel(error) => match error {
                ChannelError::Stranger => "stranger",
                ChannelError::Version(_) => "version",
                ChannelError::PeerPlain => "peer-plain",
                ChannelError::PeerKeyed => "peer-keyed",
                ChannelError::WrongKey => "wrong-key",
                ChannelError::WrongAddress(_) => "wrong-address",
                ChannelError::Translated(_) => "translated",
                ChannelError::TurnedAway(_) => "turned-away",
                ChannelError::Replayed => "replayed",
                ChannelError::Cut => "cut",
                ChannelError::Altered => "altered",
                ChannelError::Oversize { .. } => "oversize",
                ChannelError::Truncated(_) => "truncated",
                ChannelError::Crypto(_) => "crypto",
            },
            Closed::Wire(_) => "malformed",
            Closed::Io { .. } => "io",
            Closed::OutOfPlace(_) => "out-of-place",
            Closed::TooFast => "too-fast",
            Closed::SlowReader => "slow-reader",
            Closed::NoHello => "no-hello",
            Closed::Idle(_) => "idle",
            Closed::Replaced => "replaced",
            Closed::Taken => "taken",
            Closed::Full(_) => "full",
            Closed::NotAllowed => "not-allowed",
            Closed::TooOften => "too-often",
            Closed::PushedOut => "pushed-out",
            Closed::Busy => "busy",
            Closed::Local(_) => "local",
            Closed::Moved => "moved",
        }
    }

    /// Returns whether it is worth a line in the log: what ends in order is not.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Closed::Bye(_)
                | Closed::End
                | Closed::Replaced
                | Closed::Local(_)
                | Closed::Moved
                | Closed::PushedOut
        )
    }

    fn io(step: &'static str) -> impl FnOnce(std::io::Error) -> Closed {
        move |error| Closed::Io { step, error: error.to_string() }
    }
}

/// Event from the feed to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// At the primary: a member has said hello; its Hello follows
    MemberUp {
        /// Its address
        peer: IpAddr,
        /// It holds a cluster key
        authenticated: bool,
        /// Which of the accepted keys, counted from 0
        key: usize,
        /// The version of its messages ([`super::wire::VERSION`])
        version: u32,
    },
    /// At the primary: a Hello or an Update
    FromMember {
        /// The member's address
        peer: IpAddr,
        /// It holds the cluster key
        authenticated: bool,
        /// The message
        message: Message,
    },
    /// At the primary: a member that was up is no longer connected
    MemberDown {
        /// Its address
        peer: IpAddr,
        /// Why
        reason: Closed,
    },
    /// At a member: the channel to the primary is open; say hello within [`limits::OPENING`]
    PrimaryUp {
        /// It holds the cluster key
        authenticated: bool,
    },
    /// At a member: an Ack
    FromPrimary {
        /// It holds the cluster key
        authenticated: bool,
        /// The message
        message: Message,
    },
    /// At a member: the connection ended, or an attempt to connect failed. The next attempt comes by itself
    PrimaryDown(Closed),
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the load feed cannot listen on {listen}: {step}: {error}")]
pub struct FeedError {
    /// Where
    pub listen: SocketAddr,
    /// The step that the kernel refused
    pub step: &'static str,
    /// Error of the kernel
    pub error: std::io::Error,
}

//! Sessions of the IKE daemon, as a drain moves them.

use std::ffi::OsString;
use std::net::SocketAddr;

/// An established IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The daemon's own number of it, until it is rekeyed
    pub(super) id: u32,
    /// `None` where the daemon does not say
    pub(super) peer: Option<SocketAddr>,
    pub(super) identity: String,
    pub(super) ikev2: bool,
    /// It was this gateway that connected
    pub(super) initiator: bool,
    /// The connection with which it can be redirected, but not alone
    pub(super) connection: Option<OsString>,
}

//! The kernel's side of the ports: exception devices with the interfaces' addresses, and a macvlan for each group
//! that carries the virtual addresses under the virtual MAC.
//!
//! The [`reconciler`] is told what is wanted and changes only what differs, so that an usherd that starts again finds its
//! devices and addresses in place and leaves them untouched. The exception devices and the macvlans are usherd's own:
//! addresses on them that the configuration does not name are taken off.

pub mod announce;
mod claims;
mod compare;
mod device;
mod engine;
mod events;
mod follow;
pub mod frame;
pub mod links;
pub mod probe;
pub mod reconciler;
pub mod report;
mod requests;
mod routes;
mod settings;
mod store;
pub mod wanted;

use crate::types::Prefix;
use rtnetlink::packet_route::link::MacVlanMode;
use std::time::Duration;

/// Not private: there a multicast frame whose source is the macvlan's own MAC, which every hello of another active
/// router is, ends in the macvlan and never reaches the exception device. Frames between macvlans take the LAN.
const MODE: MacVlanMode = MacVlanMode::Vepa;
/// No request to the kernel is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request that the kernel did not carry out.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused
    #[error("{device}: {step}: {reason}")]
    Refused {
        /// The device
        device: String,
        /// The step
        step: &'static str,
        /// The kernel's answer and the remedy
        reason: String,
    },
    /// The kernel did not answer
    #[error("{device}: {step}: no answer from the kernel within 2 s: is the machine overloaded?")]
    Late {
        /// The device
        device: String,
        /// The step
        step: &'static str,
    },
    /// There is no netlink socket
    #[error("netlink: {0}: usherd needs CAP_NET_ADMIN: start it with systemctl start usherd, or as root")]
    Socket(std::io::Error),
    /// There is no thread
    #[error("a thread cannot be started: {0}: raise the limit of processes")]
    Thread(std::io::Error),
    /// A device of another kind has the name. It is never used
    #[error(
        "{device}: a device of this name is there that is not usherd's ({kind}): `ip link delete {device}`, or rename it"
    )]
    Foreign {
        /// The device
        device: String,
        /// Its kind
        kind: String,
    },
    /// There is no such device
    #[error("{device}: no such device: {remedy}")]
    Missing {
        /// The device
        device: String,
        /// The remedy
        remedy: &'static str,
    },
    /// Duplicate address detection failed: the kernel does not use the address
    #[error(
        "{device}: {} is in use by another host on the link: give one of the two another address; if it is this \
         node's to keep, `ip address del {prefix} dev {device}`: usherd adds it again", prefix.address
    )]
    Duplicate {
        /// The device
        device: String,
        /// The address
        prefix: Prefix,
    },
    /// Others change the device again and again
    #[error(
        "{device}: changed by others {times} times in {seconds} s: find out by what (`ip monitor`) and stop it"
    )]
    Contested {
        /// The device
        device: String,
        /// The number of repairs
        times: usize,
        /// The time that they took, s
        seconds: u64,
    },
    /// A later request about the same device came first
    #[error("a later request about the device came first")]
    Superseded,
}

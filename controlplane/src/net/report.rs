//! Reports of the reconciler: the kernel's devices, refusals, and what was put right.

use super::NetError;
use super::links::LinkTable;
use crate::types::Prefix;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A fault that was put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The device was missing
    Device,
    /// The device was up no more
    Down,
    /// The MAC address had changed
    Mac,
    /// The MTU had changed
    Mtu,
    /// An address was missing
    Address(Prefix),
    /// An address was there that is not wanted
    Stranger(Prefix),
    /// A route was missing
    Route(String),
    /// A setting of /proc/sys had changed
    Setting(String),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Device => f.write_str("the device was missing"),
            Repair::Down => f.write_str("the device was down"),
            Repair::Mac => f.write_str("the MAC address had changed"),
            Repair::Mtu => f.write_str("the MTU had changed"),
            Repair::Address(prefix) => write!(f, "{prefix} was missing"),
            Repair::Stranger(prefix) => write!(f, "{prefix} is not configured"),
            Repair::Route(route) => write!(f, "route {route} was missing"),
            Repair::Setting(setting) => write!(f, "{setting} had changed"),
        }
    }
}

/// A report of the reconciler.
#[derive(Debug)]
pub enum Report {
    /// The kernel's devices as they are now; once at the start, then at each change
    Links(Arc<LinkTable>),
    /// A group's device is as [`super::reconciler::Reconciler::set_group`] asked, or the kernel refused
    Done {
        /// The ticket of the request
        ticket: u64,
        /// Outcome; [`NetError::Superseded`] when a later request about the device came before it was carried out
        result: Result<(), NetError>,
    },
    /// A device is not as wanted, and an attempt to put it right was refused. Attempts go on: after 100 ms at first, 5 s
    /// at last, and when the kernel has changed something. A failure that lasts is reported every 5 s; one that
    /// [`Report::Done`] has told of is not repeated here at once
    Failed {
        /// The device
        device: String,
        /// The refusal
        error: NetError,
    },
    /// A device that failed is as wanted, or is wanted no more
    Recovered {
        /// The device
        device: String,
    },
    /// A device was changed by others and is put right
    Repaired {
        /// The device
        device: String,
        /// The fault
        what: Repair,
    },
    /// Another station announces a virtual address that this node owns
    Claim {
        /// The exception device on which it was heard
        device: String,
        /// The virtual address
        address: IpAddr,
        /// The station's MAC address
        mac: [u8; 6],
    },
}

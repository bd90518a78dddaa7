//! The runner of HSRP, on the process's main thread: sockets, timers, leases, and the snapshot that follows from roles.
//!
//! Nothing here waits for a disk, the kernel's RTNL, a client or a peer. Other threads send [`Command`]s and read the
//! [`View`]; the reconciler reports what became of devices. What takes time is a [`role::Phase`] that the loop looks at
//! again: a data plane has to apply a generation, the kernel has to put an address on.

mod configure;
mod handle;
mod lasting;
mod listeners;
mod network;
mod phases;
mod publisher;
mod role;
mod runner;
mod stalls;
mod tracking;

pub use handle::{Command, Handle, Settings, View};
pub use publisher::{Choices, GroupChoice, Publisher};
pub use role::{Refused, Role};
pub use runner::Runner;
pub use stalls::Histogram;

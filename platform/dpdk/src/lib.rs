//! The only safe layer over `dpdk-sys`: EAL, ports, queues, mempools and mbufs.
//!
//! Ownership carries the rules that C leaves to the caller:
//! - [`Eal`] is the proof that EAL runs; whatever needs it holds a clone, and EAL is cleaned up after the last of them.
//! - An [`Mbuf`] is owned, never cloned, and freed on drop; a queue takes it and gives it only by value. Mempools live
//!   as long as EAL, and EAL is left standing when an mbuf outlives everything else, so an mbuf never dangles.
//! - [`RxQueue`] and [`TxQueue`] belong to one thread at a time and keep their port open.

mod bond;
mod burst;
mod eal;
mod error;
mod log;
mod mbuf;
mod mempool;
mod port;
mod prefetch;
mod queue;
pub mod steer;

pub use bond::{Bond, BondMode, Member, MemberState};
pub use burst::{BURST, Burst, Drain};
pub use eal::{Eal, ThreadRegistration, rdtsc, tsc_hz};
pub use error::{EalError, LenError, MempoolError, PortError, SteerError, ThreadError};
pub use mbuf::{Mbuf, Segments, TxChecksums};
pub use mempool::{HEADROOM, Mempool};
pub use port::{Capabilities, Link, MacFilter, Port, PortConfig, PortId, PortStats};
pub use prefetch::prefetch;
pub use queue::{RxQueue, TxQueue};

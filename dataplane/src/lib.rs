//! Usher's data plane: per-core poll-mode workers that answer IKE_SA_INIT with a REDIRECT (RFC 5685) at line rate.
//!
//! ```text
//! port --rx--> classify -> decide -> answer in place --tx--> port
//!                 | pass (police)                     ^
//!                 v                                   |
//!          exception device (kernel) ----------------+
//! ```
//!
//! * [`classify`](classify()) says what a frame is; [`decide`](decide()) which gateway a request gets;
//!   [`answer`](answer()) writes the REDIRECT over the request. None of them knows a DPDK type, a clock or IO.
//! * [`view`] is a worker's private copy of the snapshot; [`reassemble`] makes pairs of fragments whole; [`police`]
//!   meters what passes to the kernel; [`vlan`] knows a port's subinterfaces.
//! * [`worker`] is the loop that moves bursts between these and the queues; `main` builds it up and takes it down.
//!
//! Every frame ends in exactly one [`Reason`], which is its counter.
#![forbid(unsafe_code)]

pub mod answer;
pub mod capture;
pub mod classify;
pub mod clients;
pub mod contents;
pub mod decide;
pub mod fixed;
pub mod idle;
pub mod limit;
pub mod link;
mod plain;
pub mod police;
pub mod ports;
pub mod queues;
pub mod reason;
pub mod reassemble;
pub mod replay;
pub mod run;
pub mod stages;
pub mod steer;
pub mod view;
pub mod vlan;
pub mod worker;

pub use answer::answer;
pub use classify::{FragmentInfo, PortView, Request, Verdict, classify};
pub use decide::{Decision, decide};
pub use police::{Class, Police};
pub use reason::{Action, Reason};
pub use view::{Gate, View};
pub use vlan::Vlans;

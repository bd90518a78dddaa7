//! Shared memory between the control plane and the data plane.
//!
//! Two memfds, each with one writer and sealed against shrinking, growing and later writers, so that neither side can be
//! stopped, led astray or crashed by the other's death, version or malice:
//!
//! - the **snapshot** ([`Writer`] in usherd, [`Reader`] in the data plane): virtual addresses, gateways and slots in two
//!   buffers under a seqlock; lease words and the heartbeat beside them, outside of generation and seqlock;
//! - the **feedback** ([`Feedback`] in the data plane, [`FeedbackReader`] in usherd): counters, what each worker has
//!   applied, the state of the ports.
//!
//! [`handover`] exchanges the two over a unix socket. All `unsafe` is in `memfd.rs`.

mod applied;
mod body;
mod destination;
mod error;
mod feedback;
mod feedback_reader;
pub mod handover;
#[cfg(test)]
mod lines;
mod members;
mod memfd;
mod reader;
mod seqlock;
mod writer;

pub use body::*;
pub use destination::RedirectView;
pub use error::SnapshotError;
pub use feedback::{
    CounterName, Feedback, FeedbackSpec, MAX_COUNTERS, MAX_PORTS, MAX_WORKERS, PortIdentity, PortStatus,
    STAGES, Shared, SharedBy, WorkerBlock,
};
pub use feedback_reader::{CounterView, FeedbackReader, FeedbackView, PortView, StageView, WorkerView};
pub use members::{MemberState, MemberStatus, Members};
pub use reader::{Copy, Lease, Reader, Refresh};
pub use writer::{Share, Writer};

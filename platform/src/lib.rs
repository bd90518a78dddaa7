//! What the data plane and the control plane share: formats on the wire, the shared-memory snapshot, the host, its profiles.
#![deny(unsafe_code)]

pub mod choose;
pub mod clock;
pub mod host;
pub mod lines;
pub mod profile;
pub mod siphash;
pub mod snapshot;
pub mod wire;

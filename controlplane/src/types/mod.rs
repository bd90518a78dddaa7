//! Plain types that several modules share. Nothing here imports another module of this crate.

mod address;
mod group;
pub(crate) mod ifname;
mod index;
pub mod keychain;
pub mod nanos;
mod percent;
mod secret;

pub use address::{Family, Prefix, is_link_local, virtual_link_local};
pub use group::GroupKey;
pub use ifname::IfName;
pub use index::{IfIndex, PortIndex};
pub use keychain::KeyChain;
pub use nanos::Nanos;
pub use percent::Percent;
pub use secret::{Authentication, Secret};

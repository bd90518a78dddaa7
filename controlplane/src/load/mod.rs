//! Where the load of this node comes from: the IKE daemon's sessions and the system's processors and memory.

use crate::clb::member::Percent;

/// What a load source has measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sample {
    /// IKE SAs that are being negotiated
    pub half_open: u32,
    /// Established IKE SAs
    pub ike: u32,
    /// IPsec SAs (CHILD_SAs)
    pub child: u32,
    /// Busy share of all cores since the sample before
    pub cpu: Percent,
    /// Memory that is not available
    pub mem: Percent,
}

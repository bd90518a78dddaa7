//! Indices that must not be taken for one another.

use serde::{Deserialize, Serialize};

/// The kernel's index of a network device: another one for a device that is made anew under the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IfIndex(u32);

impl IfIndex {
    /// No device
    pub const NONE: IfIndex = IfIndex(0);

    /// The index of this number.
    #[must_use]
    pub const fn new(index: u32) -> IfIndex {
        IfIndex(index)
    }

    /// The number, as the kernel has it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The data plane's number of a port or of a VLAN on one: not the place of an entry in the platform profile, which knows
/// only the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(usize);

impl PortIndex {
    /// The port of this number.
    #[must_use]
    pub const fn new(index: usize) -> PortIndex {
        PortIndex(index)
    }

    /// The number, as shared memory has it.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

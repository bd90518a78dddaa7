//! Identity of an HSRP group.

use super::{Family, IfName};
use std::fmt;

/// A group of one family: IPv4 and IPv6 have roles, virtual MACs and leases of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The interface
    pub interface: IfName,
    /// The group's number
    pub group: u16,
    /// The family
    pub family: Family,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.family == Family::V6 { " (IPv6)" } else { "" };
        write!(f, "{} Grp {}{family}", self.interface, self.group)
    }
}

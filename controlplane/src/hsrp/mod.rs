//! Election of the active router: HSRP versions 1 and 2 (RFC 2281 and its successor), IPv4 and IPv6.
//!
//! [`packet`] and [`auth`] are the wire, [`machine`] decides for one group, [`link`] holds the sockets, and the daemon
//! (`daemon::hsrp`) carries out what the machines ask for.
//!
//! # What HSRP cannot prevent
//! HSRP has no sequence numbers, not even under MD5. Who can send on the link with a router's source address can play
//! back what that router once sent, until the key changes:
//! - Its old **hellos** keep a dead active router alive: the standby waits for as long as they come. Only a change of
//!   the key ends that (`authentication md5 key-string NEW timeout 0`, or a key chain with short lifetimes).
//! - Its old **resign** makes the standby active for a moment. The true active router's next hello ends that, is logged as
//!   `%HSRP-4-REPLAY`, and for a minute a resign of this router counts only when its next hello is missing.
//! - Without MD5 anyone can also forge hellos. One forged hello is believed for three hold times at most.
//!
//! Ports of the link that carry no router belong behind a filter for 224.0.0.2, 224.0.0.102 and ff02::66 on the switch.

pub mod address;
pub mod auth;
mod bytes;
pub mod clocks;
pub mod link;
pub mod machine;
pub mod message;
pub mod packet;
pub mod ra;

use crate::types::Family;

/// The lease word of own addresses whose requests a member sheds: the last one, which no group takes.
pub const OWN_LEASE: usize = platform::snapshot::MAX_GROUPS - 1;
/// `standby delay minimum` where it is not configured.
pub const DELAY_MINIMUM: u16 = 1;
/// `standby delay reload` where it is not configured.
pub const DELAY_RELOAD: u16 = 5;

/// The virtual MAC of a group: 0000.0c07.acGG (version 1), 0000.0c9f.fGGG (version 2), 0005.73a0.0GGG (IPv6).
#[must_use]
pub fn virtual_mac(version: u8, group: u16, family: Family) -> [u8; 6] {
    let [high, low] = (group & 0x0fff).to_be_bytes();
    match (family, version) {
        (Family::V6, _) => [0x00, 0x05, 0x73, 0xa0, high, low],
        (Family::V4, 2) => [0x00, 0x00, 0x0c, 0x9f, 0xf0 | high, low],
        (Family::V4, _) => [0x00, 0x00, 0x0c, 0x07, 0xac, low],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_mac_follows_version_group_and_family() {
        assert_eq!(virtual_mac(1, 0x2a, Family::V4), [0, 0, 0x0c, 0x07, 0xac, 0x2a]);
        assert_eq!(virtual_mac(2, 0xabc, Family::V4), [0, 0, 0x0c, 0x9f, 0xfa, 0xbc]);
        assert_eq!(virtual_mac(2, 0xabc, Family::V6), [0, 5, 0x73, 0xa0, 0x0a, 0xbc]);
    }
}

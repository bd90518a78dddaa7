//! The part of ICMPv6 that moves addresses: neighbour discovery (RFC 4861).

use super::array;

/// Types 133 to 137: router and neighbour solicitation and advertisement, redirect.
#[inline]
pub fn is_neighbour_discovery(message: &[u8]) -> bool {
    matches!(message.first(), Some(133..=137))
}

/// The target of a neighbour solicitation (135) or advertisement (136).
#[inline]
pub fn neighbour_target(message: &[u8]) -> Option<[u8; 16]> {
    match message.first() {
        Some(135 | 136) => array(message, 8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_solicitation_is_read() {
        let mut message = [0u8; 24];
        message[0] = 135;
        message[8..24].copy_from_slice(&[0x20; 16]);
        assert!(is_neighbour_discovery(&message));
        assert_eq!(neighbour_target(&message), Some([0x20; 16]));
        assert_eq!(neighbour_target(&message[..23]), None, "cut");
        message[0] = 128;
        assert!(!is_neighbour_discovery(&message), "an echo request is none");
        assert_eq!(neighbour_target(&message), None);
    }
}

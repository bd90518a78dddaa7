//! SipHash-1-3 of a few words: the keyed hash that picks a slot.
//!
//! Keyed, because a client chooses its SPI and sees which gateway it gets: with a weaker hash it could learn to aim.
//! 1-3 is the variant that hash tables use against the same kind of attacker. Its length is known to the compiler, which
//! makes straight code of it.

/// The hash of `N` words and 4 bytes more under a key, 8N + 4 bytes in all, each little-endian.
#[inline(always)]
pub fn siphash13<const N: usize>(key: [u64; 2], words: [u64; N], tail: u32) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    for word in words {
        v[3] ^= word;
        round(&mut v);
        v[0] ^= word;
    }
    // The last block of SipHash: the length in the top byte, the bytes left over below.
    let last = (8 * N as u64 + 4) << 56 | u64::from(tail);
    v[3] ^= last;
    round(&mut v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::Hasher;

    proptest! {
        /// The standard library's SipHasher13 is not reachable with a key of ours; the `siphasher` crate is.
        #[test]
        fn agrees_with_the_siphasher_crate(key: [u64; 2], words: [u64; 3], tail: u32) {
            let mut other = siphasher::sip::SipHasher13::new_with_keys(key[0], key[1]);
            for word in words {
                other.write(&word.to_le_bytes());
            }
            other.write(&tail.to_le_bytes());
            prop_assert_eq!(siphash13(key, words, tail), other.finish());
        }
    }
}

//! The Internet checksum (RFC 1071) and the pseudo headers of UDP (RFC 768, RFC 8200 section 8.1).
//!
//! Sums are kept in native byte order and unfolded: the ones' complement sum does not care for the order of bytes as
//! long as the result is stored the same way (RFC 1071 section 2 (B)), nor for the width of the words (2 (C)): 64 bits
//! at a time with an end-around carry.

/// Adds `data` to a running sum; an odd last byte is padded with zero. Only the last piece of a sum may be odd.
#[inline(always)]
pub fn add(sum: u64, data: &[u8]) -> u64 {
    let (blocks, rest) = data.as_chunks::<32>();
    let mut sum = sum;
    for block in blocks {
        sum = add_words(sum, block);
    }
    let (half, rest) = rest.as_chunks::<16>();
    if let [half] = half {
        sum = add_words(sum, half);
    }
    let (word, rest) = rest.as_chunks::<8>();
    if let [word] = word {
        sum = add_words(sum, word);
    }
    if rest.is_empty() {
        return sum;
    }
    // The rest as a word padded with zeros: cut out of the last eight bytes, or put together if there are no eight.
    let last = match data.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    add_words(sum, &last.to_le_bytes())
}

/// Adds the words of a block in one chain of carries, whose last comes around.
#[inline(always)]
fn add_words<const LEN: usize>(sum: u64, block: &[u8; LEN]) -> u64 {
    let (mut sum, mut over) = (sum, false);
    for word in block.as_chunks::<8>().0 {
        (sum, over) = sum.carrying_add(u64::from_ne_bytes(*word), over);
    }
    // Cannot overflow again: a sum that wrapped is at most 2^64 - 2, and with a carry into the next word it still is.
    sum + u64::from(over)
}

/// The sum of what lies behind each other: sums add up like words.
#[inline(always)]
pub fn join(first: u64, second: u64) -> u64 {
    let (sum, over) = first.overflowing_add(second);
    sum + u64::from(over)
}

/// The sum of two bytes. A header is summed by its fields, not out of the buffer that it has just been written to: a read
/// that spans several writes must wait until they, and all before them, have left the processor's store buffer.
#[inline(always)]
pub fn pair(bytes: [u8; 2]) -> u64 {
    u16::from_ne_bytes(bytes).into()
}

/// The sum of four bytes.
#[inline(always)]
pub fn quad(bytes: [u8; 4]) -> u64 {
    u32::from_ne_bytes(bytes).into()
}

/// Folds a sum into 16 bits, not complemented, in native order.
#[inline]
pub fn fold(sum: u64) -> u16 {
    // Adding the halves to each other, swapped, leaves the folded sum in the upper half, carry included.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The checksum of a sum: the two bytes to store, as they go on the wire.
#[inline]
pub fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// Whether a sum over data with its checksum in place is right.
#[inline]
pub fn verify(sum: u64) -> bool {
    fold(sum) == 0xffff
}

/// The sum of a pseudo header: source and destination as they stand next to each other in the IP header (8 bytes
/// for IPv4, 32 for IPv6), the protocol and the length of the upper layer.
#[inline(always)]
pub fn pseudo(addresses: &[u8], protocol: u8, length: u16) -> u64 {
    add(pair([0, protocol]) + pair(length.to_be_bytes()), addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 3: the sum of 00 01 f2 03 f4 f5 f6 f7 is ddf2.
    #[test]
    fn the_example_of_rfc_1071() {
        let sum = add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(fold(sum).to_ne_bytes(), [0xdd, 0xf2]);
        assert_eq!(finish(sum), [0x22, 0x0d]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_textbook_loop(data in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let mut sum = 0u32;
            for pair in data.chunks(2) {
                sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            }
            while sum >> 16 != 0 {
                sum = (sum >> 16) + (sum & 0xffff);
            }
            prop_assert_eq!(finish(add(0, &data)), (!(sum as u16)).to_be_bytes());
        }

        /// Words of ones are where a carry could be lost: whatever the piece, the sum is that of one word after the other.
        #[test]
        fn no_carry_is_lost(words in proptest::collection::vec(prop_oneof![Just(u64::MAX), Just(1u64), Just(0), any::<u64>()], 0..20),
                            sum in prop_oneof![Just(u64::MAX), any::<u64>()]) {
            let data: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let one_by_one = words.iter().fold(sum, |sum, word| {
                let wide = u128::from(sum) + u128::from(*word);
                wide as u64 + (wide >> 64) as u64
            });
            prop_assert_eq!(fold(add(sum, &data)), fold(one_by_one));
        }

        #[test]
        fn a_stored_checksum_verifies(mut data in proptest::collection::vec(any::<u8>(), 2..256)) {
            data[..2].fill(0);
            let sum = finish(add(0, &data));
            data[..2].copy_from_slice(&sum);
            prop_assert!(verify(add(0, &data)));
        }
    }
}

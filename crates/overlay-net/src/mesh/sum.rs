//! Sums of the Internet's checksum (RFC 1071). Pure.

/// The sum of 16-bit words in network order, not yet folded. 2^16 is 1 in this arithmetic, so twice as wide words
/// may be added; and in which order a machine has the two bytes of all words matters only in the end (RFC 1071 §2).
pub(super) fn sum(bytes: &[u8], start: u64) -> u64 {
    start + u64::from(fold(native(bytes)).to_be())
}

pub(super) fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Of short ones there is nothing to win.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 128;

#[cfg(target_arch = "x86_64")]
fn native(bytes: &[u8]) -> u64 {
    /// The same, in wider steps.
    #[target_feature(enable = "avx2")]
    fn wide(bytes: &[u8]) -> u64 {
        words(bytes)
    }
    if bytes.len() < SHORT || !is_x86_feature_detected!("avx2") {
        return words(bytes);
    }
    // SAFETY: the processor has what the function is compiled for.
    #[expect(unsafe_code, reason = "what a processor can do is known when the program runs")]
    unsafe {
        wide(bytes)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn native(bytes: &[u8]) -> u64 {
    words(bytes)
}

/// The sum in the machine's order.
#[inline(always)]
fn words(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let wide: u64 =
        chunks.by_ref().map(|chunk| chunk.first_chunk().map_or(0, |b| u64::from(u32::from_ne_bytes(*b)))).sum();
    let mut rest = [0; 4];
    for (slot, byte) in rest.iter_mut().zip(chunks.remainder()) {
        *slot = *byte;
    }
    wide + u64::from(u32::from_ne_bytes(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Word by word.
        #[test]
        fn sums_are_of_words(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0..70_000_u64) {
            let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
            prop_assert_eq!(fold(sum(&bytes, start)), fold(bytes.chunks(2).map(word).sum::<u64>() + start));
        }
    }
}

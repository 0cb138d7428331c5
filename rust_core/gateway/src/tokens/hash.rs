//! The hashes that place tokens in their tables.
//!
//! Apart from the tables themselves because the build script, which lays them out, and the lookups
//! must agree on these to the bit: both compile this very file.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xc2b2_ae3d_27d4_eb4f;
const K2: u64 = 0xd6e8_feb8_6659_fd93;

/// Tokens of at most this many bytes are packed, with their length, into the low [`KEY_BITS`] of 128 bits; in the table
/// their rank is in the bits above.
pub(crate) const SHORT: usize = 13;
/// Bits of a key.
pub(crate) const KEY_BITS: u32 = 108;
const LENGTH_AT: u32 = 104;

/// 64 x 64 -> 128 bit product, folded: every input bit reaches every output bit.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hash of a packed key.
#[inline]
pub(crate) const fn short(key: u128) -> u64 {
    fold((key as u64) ^ K0, ((key >> 64) as u64) ^ K1)
}

/// Hash of a token too long to be packed.
#[inline]
pub(crate) fn long(bytes: &[u8]) -> u64 {
    let mut state = K2 ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word) ^ K0, K1);
    }
    if !rest.is_empty() {
        let mut word = [0_u8; 8];
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        state = fold(state ^ u64::from_le_bytes(word) ^ K0, K1);
    }
    state
}

/// Packs up to [`SHORT`] bytes: the bytes from the low end, their number above them.
#[inline]
pub(crate) fn pack(bytes: &[u8]) -> u128 {
    let mut word = [0_u8; 16];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    keyed(u128::from_le_bytes(word), bytes.len())
}

/// The key of `length` bytes that are already in place.
#[inline]
pub(crate) const fn keyed(bytes: u128, length: usize) -> u128 {
    bytes | (length as u128) << LENGTH_AT
}

/// How many bytes a key stands for; 0 for an empty slot.
#[inline]
pub(crate) const fn length(key: u128) -> usize {
    (key >> LENGTH_AT) as usize & 0xf
}

/// Which displacement entry a hash belongs to, among `1 << bits`.
#[inline]
pub(crate) const fn bucket(hash: u64, bits: u32) -> usize {
    (hash >> (64 - bits)) as usize
}

/// Which slot a hash takes, among `1 << bits`, under its bucket's displacement.
#[inline]
pub(crate) const fn slot(hash: u64, displacement: u16, bits: u32) -> usize {
    ((hash ^ (displacement as u64).wrapping_mul(K2)).wrapping_mul(K0) >> (64 - bits)) as usize
}

/// Which byte, and which bit of it, a hash has in a filter of `bytes` (a power of two) bytes.
#[inline]
pub(crate) const fn filtered(hash: u64, bytes: usize) -> (usize, u8) {
    ((hash >> 3) as usize & (bytes - 1), 1 << (hash & 7))
}

/// Which of `entries` (a power of two) sets of lengths belongs to tokens that begin so.
#[inline]
pub(crate) const fn beginning(word: u64, entries: usize) -> usize {
    (word.wrapping_mul(K0) >> 32) as usize & (entries - 1)
}

/// Hash of two neighbouring characters.
#[inline]
pub(crate) const fn neighbours(left: u32, right: u32) -> u64 {
    ((left as u64) << 32 | right as u64).wrapping_mul(K0) >> 32
}

/// Where the search for a pair of tokens begins, among `entries` (a power of two).
#[inline]
pub(crate) const fn pair(left: u32, right: u32, entries: usize) -> usize {
    neighbours(left, right) as usize & (entries - 1)
}

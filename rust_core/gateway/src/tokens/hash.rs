//! The hash that places a token in its table.
//!
//! Apart from the table itself because the build script, which lays the tables out, and the
//! lookup must agree on it to the bit: both compile this very file.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xc2b2_ae3d_27d4_eb4f;
const K2: u64 = 0xd6e8_feb8_6659_fd93;

/// Tokens of at most this many bytes are packed, with their length, into one 128-bit key.
pub(crate) const SHORT: usize = 15;

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
    for piece in bytes.chunks(8) {
        let mut word = [0_u8; 8];
        for (to, from) in word.iter_mut().zip(piece) {
            *to = *from;
        }
        state = fold(state ^ u64::from_le_bytes(word) ^ K0, K1);
    }
    state
}

/// Packs up to [`SHORT`] bytes: the bytes from the low end, the length in the top byte.
#[inline]
pub(crate) fn pack(bytes: &[u8]) -> u128 {
    let mut word = [0_u8; 16];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u128::from_le_bytes(word) | ((bytes.len() as u128) << 120)
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

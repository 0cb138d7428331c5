//! A vocabulary: from the bytes of a token to its rank.
//!
//! The tables are laid out by `build.rs` as read-only data: nothing to load, nothing on the heap.
//! A lookup is one displacement and one entry, which carries the rank. Where a miss is likely, a
//! filter small enough for the second-level cache comes first.

use super::hash;

/// No token is longer: 128 spaces is the longest of both vocabularies.
pub(super) const LONGEST: usize = 128;
/// Tokens of lower rank are single bytes, the others are merged from two.
pub(super) const BYTES: u32 = 256;

/// Tables start on a cache line, so that a 16-byte entry never lies across two.
#[repr(C, align(64))]
struct Aligned<const N: usize>([u8; N]);

macro_rules! table {
    ($name:literal, $part:literal) => {{
        static TABLE: Aligned<{ include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".", $part)).len() }> =
            Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".", $part)));
        &TABLE.0
    }};
}

macro_rules! vocabulary {
    ($name:literal) => {
        Vocab {
            displacements: table!($name, "displacements"),
            entries: table!($name, "entries"),
            filter: table!($name, "filter"),
            long_displacements: table!($name, "long_displacements"),
            long_entries: table!($name, "long_entries"),
            long_text: table!($name, "long_text"),
            lengths: table!($name, "lengths"),
            long_lengths: table!($name, "long_lengths"),
            halves: table!($name, "halves"),
            long_pairs: table!($name, "long_pairs"),
            neighbours: table!($name, "neighbours"),
            fragments: table!($name, "fragments"),
        }
    };
}

pub(super) static O200K: Vocab = vocabulary!("o200k_base");
pub(super) static CL100K: Vocab = vocabulary!("cl100k_base");

pub(super) struct Vocab {
    displacements: &'static [u8],
    entries: &'static [u8],
    filter: &'static [u8; 1 << 17],
    long_displacements: &'static [u8],
    long_entries: &'static [u8],
    long_text: &'static [u8],
    lengths: &'static [u8; 1 << 17],
    long_lengths: &'static [u8; 1 << 16],
    halves: &'static [u8],
    long_pairs: &'static [u8],
    neighbours: &'static [u8; 1 << 15],
    fragments: &'static [u8; 1 << 13],
}

/// A token, seen from inside: its length in bytes, what it is merged from, and the longest other token it begins with.
/// Of a single byte only the length means something.
#[derive(Clone, Copy)]
pub(super) struct Token(u64);

impl Token {
    #[inline]
    pub(super) const fn length(self) -> usize {
        (self.0 >> 54) as usize
    }

    #[inline]
    pub(super) const fn left(self) -> u32 {
        self.0 as u32 & 0x3_ffff
    }

    #[inline]
    pub(super) const fn right(self) -> u32 {
        (self.0 >> 18) as u32 & 0x3_ffff
    }

    #[inline]
    pub(super) const fn shorter(self) -> u32 {
        (self.0 >> 36) as u32 & 0x3_ffff
    }
}

impl Vocab {
    /// Rank of the token that is `text[start..end]`; meant for what mostly is none.
    #[inline]
    pub(super) fn rank(&self, text: &[u8], start: usize, end: usize) -> Option<u32> {
        if end - start > hash::SHORT {
            return self.long_rank(text.get(start..end)?);
        }
        self.short_rank(text, start, end - start)
    }

    #[inline(always)]
    fn short_rank(&self, text: &[u8], start: usize, length: usize) -> Option<u32> {
        let key = key(text, start, length);
        let hash = hash::short(key);
        let (byte, bit) = hash::filtered(hash, self.filter.len());
        if self.filter.get(byte)? & bit == 0 {
            return None;
        }
        self.entry(key, hash)
    }

    /// Whether `text[start..end]` is one token; meant for what mostly is one.
    #[inline(always)]
    pub(super) fn contains(&self, text: &[u8], start: usize, end: usize) -> bool {
        if end - start <= hash::SHORT {
            let key = key(text, start, end - start);
            return self.entry(key, hash::short(key)).is_some();
        }
        text.get(start..end).is_some_and(|piece| self.long_rank(piece).is_some())
    }

    #[inline(always)]
    fn entry(&self, key: u128, hash: u64) -> Option<u32> {
        let slot = place(self.displacements, self.entries.len() / 16, hash)?;
        let entry = word(self.entries, slot * 16).map(u128::from_le_bytes)?;
        (entry & KEY == key).then_some((entry >> hash::KEY_BITS) as u32)
    }

    fn long_rank(&self, piece: &[u8]) -> Option<u32> {
        if piece.len() > LONGEST {
            return None;
        }
        let slot = place(self.long_displacements, self.long_entries.len() / 16, hash::long(piece))?;
        let (offset, length, rank) = self.long_entry(slot)?;
        (length == piece.len() && self.long_text.get(offset..offset + length)? == piece).then_some(rank)
    }

    #[inline]
    fn long_entry(&self, slot: usize) -> Option<(usize, usize, u32)> {
        let entry = word(self.long_entries, slot * 16).map(u128::from_le_bytes)?;
        Some((entry as u32 as usize, (entry >> 32) as u32 as usize, (entry >> 64) as u32))
    }

    /// The longest token that begins `text[at..end]`: its rank and length.
    #[inline]
    pub(super) fn longest(&self, text: &[u8], at: usize, end: usize) -> (u32, usize) {
        let left = end - at;
        let mut lengths = match word(text, at) {
            None => 0b1111,
            Some(first) => {
                let slot = hash::beginning(u64::from(u32::from_le_bytes(first)), self.lengths.len() / 2);
                u32::from(word(self.lengths, slot * 2).map_or(0, u16::from_le_bytes)) | 0b1110
            }
        };
        if left <= hash::SHORT {
            lengths &= (2 << left) - 1;
        } else if lengths & 1 != 0
            && let Some(found) = self.longest_long(text, at, left)
        {
            return found;
        }
        lengths &= !1;
        while lengths > 2 {
            let length = lengths.ilog2();
            lengths ^= 1 << length;
            if let Some(rank) = self.short_rank(text, at, length as usize) {
                return (rank, length as usize);
            }
        }
        (self.short_rank(text, at, 1).unwrap_or(0), 1)
    }

    fn longest_long(&self, text: &[u8], at: usize, left: usize) -> Option<(u32, usize)> {
        let slot = hash::beginning(word(text, at).map_or(0, u64::from_le_bytes), self.long_lengths.len() / 16);
        let mut lengths = word(self.long_lengths, slot * 16).map_or(0, u128::from_le_bytes);
        if left < LONGEST {
            lengths &= (1 << (left - hash::SHORT)) - 1;
        }
        while lengths != 0 {
            let bit = lengths.ilog2();
            lengths ^= 1 << bit;
            let length = bit as usize + hash::SHORT + 1;
            if let Some(rank) = text.get(at..at + length).and_then(|token| self.long_rank(token)) {
                return Some((rank, length));
            }
        }
        None
    }

    #[inline]
    pub(super) fn token(&self, rank: u32) -> Token {
        Token(word(self.halves, rank as usize * 8).map_or(1 << 54, u64::from_le_bytes))
    }

    /// Rank of the token that is merged from `left`, `text[start..at]`, and `right`, `text[at..end]`.
    #[inline]
    pub(super) fn merged(&self, text: &[u8], start: usize, end: usize, left: u32, right: u32) -> Option<u32> {
        let length = end - start;
        if length <= hash::SHORT { self.short_rank(text, start, length) } else { self.merged_long(left, right) }
    }

    fn merged_long(&self, left: u32, right: u32) -> Option<u32> {
        let slots = self.long_pairs.len() / 16;
        let wanted = u64::from(left) | u64::from(right) << 32;
        let mut slot = hash::pair(left, right, slots);
        loop {
            let entry = word(self.long_pairs, slot * 16).map(u128::from_le_bytes)?;
            if entry as u64 == wanted {
                return Some((entry >> 64) as u32);
            }
            if entry == 0 {
                return None;
            }
            slot = (slot + 1) & (slots - 1);
        }
    }

    /// Whether some token may hold the bytes on both sides of `at`: the end of the character that starts at `left`,
    /// and the beginning of the one that starts at `at`. Never wrongly false.
    #[inline]
    pub(super) fn joins(&self, piece: &[u8], left: usize, at: usize, end: usize) -> bool {
        let (last, first) = (piece.get(at - 1).copied().unwrap_or(0), piece.get(at).copied().unwrap_or(0));
        let pair = usize::from(last) << 8 | usize::from(first);
        if self.fragments.get(pair >> 3).is_none_or(|byte| byte & 1 << (pair & 7) != 0) {
            return true;
        }
        let hash = hash::neighbours(character(piece, left, at), character(piece, at, end));
        let (byte, bit) = hash::filtered(hash, self.neighbours.len());
        self.neighbours.get(byte).is_none_or(|byte| byte & bit != 0)
    }

    /// All tokens with their ranks, in no order.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (Vec<u8>, u32)> {
        let short = (0..self.entries.len() / 16).filter_map(|slot| {
            let entry = word(self.entries, slot * 16).map(u128::from_le_bytes)?;
            let bytes = entry.to_le_bytes().get(..hash::length(entry))?.to_vec();
            (entry != 0).then_some((bytes, (entry >> hash::KEY_BITS) as u32))
        });
        let long = (0..self.long_entries.len() / 16).filter_map(|slot| {
            let (offset, length, rank) = self.long_entry(slot)?;
            let bytes = self.long_text.get(offset..offset + length)?.to_vec();
            (length != 0).then_some((bytes, rank))
        });
        short.chain(long)
    }

    /// Reads every page of the tables once; the sum keeps the reads from being optimised away.
    pub(super) fn touch(&self) -> u64 {
        [
            self.displacements,
            self.entries,
            self.filter.as_slice(),
            self.long_displacements,
            self.long_entries,
            self.long_text,
            self.lengths,
            self.long_lengths,
            self.halves,
            self.long_pairs,
            self.neighbours,
            self.fragments,
        ]
        .iter()
        .flat_map(|table| table.iter().step_by(4096))
        .map(|&byte| u64::from(byte))
        .sum()
    }
}

const KEY: u128 = (1 << hash::KEY_BITS) - 1;

/// As many low bytes as the index says.
static MASKS: [u128; 32] = {
    let mut masks = [u128::MAX; 32];
    let mut length = 0;
    while length < 16 {
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            masks[length] = (1 << (8 * length)) - 1;
        }
        length += 1;
    }
    masks
};

/// The low `length` bytes.
#[inline(always)]
pub(super) fn masked(bytes: u128, length: usize) -> u128 {
    bytes & MASKS.get(length & 31).copied().unwrap_or(0)
}

/// [`hash::pack`], but by one load and a mask when 16 bytes can be read.
#[inline(always)]
fn key(text: &[u8], start: usize, length: usize) -> u128 {
    match word(text, start) {
        Some(window) => hash::keyed(masked(u128::from_le_bytes(window), length), length),
        None => key_at_end(text, start, length),
    }
}

#[cold]
fn key_at_end(text: &[u8], start: usize, length: usize) -> u128 {
    hash::pack(text.get(start..start + length).unwrap_or_default())
}

/// The bytes of a character as one number.
#[inline(always)]
fn character(text: &[u8], start: usize, end: usize) -> u32 {
    text.get(start..end).unwrap_or_default().iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[inline(always)]
fn place(displacements: &[u8], slots: usize, hash: u64) -> Option<usize> {
    let buckets = displacements.len() / 2;
    let displacement = word(displacements, hash::bucket(hash, buckets.trailing_zeros()) * 2).map(u16::from_le_bytes)?;
    Some(hash::slot(hash, displacement, slots.trailing_zeros()))
}

#[inline(always)]
fn word<const N: usize>(table: &[u8], at: usize) -> Option<[u8; N]> {
    table.get(at..)?.first_chunk::<N>().copied()
}

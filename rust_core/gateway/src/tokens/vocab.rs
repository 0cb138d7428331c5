//! A vocabulary: from the bytes of a token to its rank.
//!
//! The tables are laid out by `build.rs` as read-only data: nothing to load, nothing on the heap.
//! A lookup is one displacement, one key and, on a hit, one rank: three memory accesses at most,
//! hit or miss.

use super::hash;

/// No token is longer: 128 spaces is the longest of both vocabularies.
pub(super) const LONGEST: usize = 128;

/// Tables start on a cache line, so that a 16-byte key never lies across two.
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
            keys: table!($name, "keys"),
            ranks: table!($name, "ranks"),
            long_displacements: table!($name, "long_displacements"),
            long_entries: table!($name, "long_entries"),
            long_text: table!($name, "long_text"),
        }
    };
}

pub(super) static O200K: Vocab = vocabulary!("o200k_base");
pub(super) static CL100K: Vocab = vocabulary!("cl100k_base");

pub(super) struct Vocab {
    displacements: &'static [u8],
    keys: &'static [u8],
    ranks: &'static [u8],
    long_displacements: &'static [u8],
    long_entries: &'static [u8],
    long_text: &'static [u8],
}

impl Vocab {
    /// Rank of the token that is `text[start..end]`.
    #[inline]
    pub(super) fn rank(&self, text: &[u8], start: usize, end: usize) -> Option<u32> {
        if end - start <= hash::SHORT {
            let slot = self.short_slot(key(text, start, end))?;
            return word(self.ranks, slot * 4).map(u32::from_le_bytes);
        }
        self.long_rank(text.get(start..end)?)
    }

    /// Whether `text[start..end]` is one token.
    #[inline]
    pub(super) fn contains(&self, text: &[u8], start: usize, end: usize) -> bool {
        if end - start <= hash::SHORT {
            return self.short_slot(key(text, start, end)).is_some();
        }
        text.get(start..end).is_some_and(|piece| self.long_rank(piece).is_some())
    }

    #[inline]
    fn short_slot(&self, key: u128) -> Option<usize> {
        let hash = hash::short(key);
        let slot = place(self.displacements, self.keys.len() / 16, hash)?;
        let found = word(self.keys, slot * 16).map(u128::from_le_bytes)?;
        (found == key).then_some(slot)
    }

    fn long_rank(&self, piece: &[u8]) -> Option<u32> {
        if piece.len() > LONGEST {
            return None;
        }
        let slot = place(self.long_displacements, self.long_entries.len() / 16, hash::long(piece))?;
        let (offset, length, rank) = self.long_entry(slot)?;
        (self.long_text.get(offset..offset + length)? == piece).then_some(rank)
    }

    fn long_entry(&self, slot: usize) -> Option<(usize, usize, u32)> {
        let field = |i: usize| word(self.long_entries, slot * 16 + i * 4).map(u32::from_le_bytes);
        Some((field(0)? as usize, field(1)? as usize, field(2)?))
    }

    /// All tokens with their ranks, in no order.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (Vec<u8>, u32)> {
        let short = (0..self.keys.len() / 16).filter_map(|slot| {
            let key = word(self.keys, slot * 16).map(u128::from_le_bytes)?;
            let rank = word(self.ranks, slot * 4).map(u32::from_le_bytes)?;
            let bytes = key.to_le_bytes().get(..(key >> 120) as usize)?.to_vec();
            (key != 0).then_some((bytes, rank))
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
        [self.displacements, self.keys, self.ranks, self.long_displacements, self.long_entries, self.long_text]
            .iter()
            .flat_map(|table| table.iter().step_by(4096))
            .map(|&byte| u64::from(byte))
            .sum()
    }
}

/// [`hash::pack`], but by one load and a mask when 16 bytes can be read.
#[inline(always)]
fn key(text: &[u8], start: usize, end: usize) -> u128 {
    let length = end - start;
    match text.get(start..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(window) => {
            let mask = (1_u128 << (8 * length)) - 1;
            (u128::from_le_bytes(*window) & mask) | ((length as u128) << 120)
        }
        None => hash::pack(text.get(start..end).unwrap_or_default()),
    }
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

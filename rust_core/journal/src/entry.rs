//! One entry of a segment, as bytes.
//!
//! ```text
//! u32  length of the payload (24 bits), kind (8 bits)      written last
//! u32  CRC-32 over generation, kind and length, id, payload
//! u64  id of what the entry is about
//! ...  payload, up to the next multiple of 8
//! ```
//!
//! Little-endian. The generation of the segment is not in the entry but in its checksum, so that what an earlier use of
//! the file left behind never passes for an entry of this one. Nor does what somebody had written into a payload:
//! generations begin at a number that nobody can foresee.

use std::sync::atomic::{Ordering, compiler_fence};

/// Bytes before the payload.
pub(crate) const HEADER: usize = 16;
/// Entries begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Begins something, or begins it again: what was said of its progress is void.
    Open = 1,
    /// How far it got; replaces what was said before.
    Update = 2,
    /// It is over; the payload begins with the ordinal of its record.
    Close = 3,
    /// A copy of an `Open` whose segment is needed; an `Update` stays in force.
    Carried = 4,
}

impl Kind {
    fn of(word: u32) -> Option<Self> {
        match word >> 24 {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Close),
            4 => Some(Self::Carried),
            _ => None,
        }
    }
}

/// Bytes that an entry takes.
pub(crate) const fn room(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGN)
}

fn checksum<'a>(generation: u64, word: u32, id: u64, parts: impl Iterator<Item = &'a [u8]>) -> u32 {
    let mut head = [0u8; 20];
    head[..8].copy_from_slice(&generation.to_le_bytes());
    head[8..12].copy_from_slice(&word.to_le_bytes());
    head[12..].copy_from_slice(&id.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    parts.for_each(|part| crc.update(part));
    crc.finalize()
}

/// Writes an entry; where the next one begins, or `None` when it does not fit.
pub(crate) fn write(
    segment: &mut [u8],
    at: usize,
    generation: u64,
    kind: Kind,
    id: u64,
    parts: &[&[u8]],
) -> Option<usize> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let end = at.checked_add(room(length))?;
    let word = u32::try_from(length).ok().filter(|n| *n < 1 << 24)? | (kind as u32) << 24;
    let crc = checksum(generation, word, id, parts.iter().copied());
    // What follows ends the segment, until it is written over: an earlier use may have left something there.
    segment.get_mut(end..end + HEADER)?.first_chunk_mut::<4>()?.fill(0);
    let (head, mut rest) = segment.get_mut(at..end)?.split_at_mut_checked(HEADER)?;
    for part in parts {
        let (here, after) = rest.split_at_mut_checked(part.len())?;
        here.copy_from_slice(part);
        rest = after;
    }
    let (said, head) = head.split_first_chunk_mut::<4>()?;
    let (sum, head) = head.split_first_chunk_mut::<4>()?;
    *sum = crc.to_le_bytes();
    *head.first_chunk_mut::<8>()? = id.to_le_bytes();
    // An entry is there when its first word is.
    compiler_fence(Ordering::SeqCst);
    *said = word.to_le_bytes();
    compiler_fence(Ordering::SeqCst);
    Some(end)
}

/// An entry, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) payload: &'a [u8],
}

fn at(segment: &[u8], at: usize, generation: u64) -> Option<(Entry<'_>, usize)> {
    let (word, rest) = segment.get(at..)?.split_first_chunk::<4>()?;
    let word = u32::from_le_bytes(*word);
    let kind = Kind::of(word)?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let length = (word & 0xff_ffff) as usize;
    let payload = rest.get(..length)?;
    let id = u64::from_le_bytes(*id);
    let whole = checksum(generation, word, id, std::iter::once(payload)) == u32::from_le_bytes(*crc);
    whole.then_some((Entry { kind, id, payload }, at + room(length)))
}

/// All entries from `start` on and where they begin, and how many places between and after them are damaged.
pub(crate) fn all(segment: &[u8], start: usize, generation: u64) -> (Vec<(usize, Entry<'_>)>, u64) {
    let (mut entries, mut damaged, mut next) = (Vec::new(), 0, start);
    loop {
        while let Some((entry, end)) = at(segment, next, generation) {
            entries.push((next, entry));
            next = end;
        }
        // The end, or a place where bytes were lost: then more comes.
        let ended = segment.get(next..next + 4).is_none_or(|word| word == [0; 4]);
        let more = (next + ALIGN..segment.len()).step_by(ALIGN).find(|place| at(segment, *place, generation).is_some());
        damaged += u64::from(!ended || more.is_some());
        match more {
            Some(place) => next = place,
            None => return (entries, damaged),
        }
    }
}

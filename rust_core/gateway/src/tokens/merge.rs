//! Byte pair merging of one piece that is not itself a token.
//!
//! The rule: merge the adjacent pair whose concatenation has the lowest rank, the leftmost of
//! equals, until no pair is a token. Three sizes, three ways to the same result:
//!
//! * up to 96 bytes, a scan over an array on the stack;
//! * up to a window, a heap of candidate pairs;
//! * beyond, windows. A sequence of tokens is the encoding of its text exactly when each adjacent
//!   pair of tokens is the encoding of its own text (proved at
//!   <https://github.blog/ai-and-ml/llms/so-many-tokens-so-little-time-introducing-a-faster-more-flexible-byte-pair-tokenizer/>),
//!   so encodings of parts may be joined where the two tokens at the seam are such a pair. That makes the time
//!   linear in the length of the piece, and a window equal to the one before costs a comparison.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocab::{LONGEST, Vocab};

const ON_STACK: usize = 96;
const WINDOW: usize = 4096;
/// Tokens this near the end of a window are thrown away: what follows could still change them.
const MARGIN: usize = 4 * LONGEST;

const NONE: u32 = u32::MAX;

/// Number of tokens in `piece`.
pub(super) fn count(vocab: &Vocab, piece: &[u8]) -> usize {
    if piece.len() <= ON_STACK {
        scan(vocab, piece)
    } else if piece.len() <= WINDOW {
        heap(vocab, piece).len()
    } else {
        windows::<WINDOW, MARGIN>(vocab, piece)
    }
}

fn rank(vocab: &Vocab, piece: &[u8], start: usize, end: usize) -> u32 {
    vocab.rank(piece, start, end).unwrap_or(NONE)
}

fn scan(vocab: &Vocab, piece: &[u8]) -> usize {
    // Part i is piece[starts[i]..starts[i + 1]]; ranks[i] is that of parts i and i + 1 together.
    let mut starts = [0_u8; ON_STACK + 2];
    let mut ranks = [NONE; ON_STACK + 2];
    let mut parts = piece.len();
    for (i, (start, slot)) in starts.iter_mut().zip(ranks.iter_mut()).take(parts + 1).enumerate() {
        *start = i as u8;
        if i + 1 < parts {
            *slot = rank(vocab, piece, i, i + 2);
        }
    }
    let bound = |starts: &[u8], i: usize| starts.get(i).copied().map_or(piece.len(), usize::from);
    while parts > 1 {
        let live = ranks.get(..parts - 1).unwrap_or_default();
        let lowest = live.iter().copied().min().unwrap_or(NONE);
        if lowest == NONE {
            break;
        }
        let Some(i) = live.iter().position(|&rank| rank == lowest) else { break };
        starts.copy_within(i + 2..=parts, i + 1);
        ranks.copy_within(i + 1..parts, i);
        parts -= 1;
        // The pair that starts at i now begins with the merged part; so does the one before it end.
        for first in [i.wrapping_sub(1), i] {
            if first.wrapping_add(1) < parts && first != usize::MAX {
                let (start, end) = (bound(&starts, first), bound(&starts, first + 2));
                if let Some(slot) = ranks.get_mut(first) {
                    *slot = rank(vocab, piece, start, end);
                }
            }
        }
    }
    parts
}

/// A part of the piece: where it ends, where the part before it starts, and the rank of it and the next together.
#[derive(Clone, Copy)]
struct Part {
    end: u32,
    before: u32,
    rank: u32,
}

/// Ends of the tokens of `piece`, in order.
fn heap(vocab: &Vocab, piece: &[u8]) -> Vec<u32> {
    let length = piece.len() as u32;
    let mut parts: Vec<Part> =
        (0..length).map(|i| Part { end: i + 1, before: i.wrapping_sub(1), rank: NONE }).collect();
    let mut candidates = Vec::with_capacity(piece.len() * 2);
    for (start, part) in parts.iter_mut().enumerate().take(piece.len().saturating_sub(1)) {
        part.rank = rank(vocab, piece, start, start + 2);
        if part.rank != NONE {
            candidates.push(candidate(part.rank, start as u32));
        }
    }
    let mut candidates = BinaryHeap::from(candidates);
    let get = |parts: &[Part], start: u32| parts.get(start as usize).copied();
    while let Some(Reverse(next)) = candidates.pop() {
        let (lowest, start) = ((next >> 32) as u32, next as u32);
        let Some(mut part) = get(&parts, start) else { break };
        if part.rank != lowest {
            continue;
        }
        let Some(absorbed) = get(&parts, part.end) else { continue };
        if let Some(slot) = parts.get_mut(part.end as usize) {
            slot.rank = NONE;
        }
        part.end = absorbed.end;
        part.rank = NONE;
        if let Some(after) = parts.get_mut(part.end as usize) {
            after.before = start;
            let end = after.end;
            part.rank = rank(vocab, piece, start as usize, end as usize);
            if part.rank != NONE {
                candidates.push(candidate(part.rank, start));
            }
        }
        if let Some(slot) = parts.get_mut(start as usize) {
            *slot = part;
        }
        if let Some(before) = parts.get_mut(part.before as usize) {
            before.rank = rank(vocab, piece, part.before as usize, part.end as usize);
            if before.rank != NONE {
                candidates.push(candidate(before.rank, part.before));
            }
        }
    }
    let mut ends = Vec::new();
    let mut start = 0;
    while let Some(part) = get(&parts, start) {
        ends.push(part.end);
        start = part.end;
    }
    ends
}

fn candidate(rank: u32, start: u32) -> Reverse<u64> {
    Reverse(u64::from(rank) << 32 | u64::from(start))
}

fn windows<const WINDOW: usize, const MARGIN: usize>(vocab: &Vocab, piece: &[u8]) -> usize {
    let mut total = 0;
    let mut start = 0;
    // Tokens counted last, to step back over when a seam does not hold; and what was expected after them.
    let mut kept: Vec<u32> = Vec::new();
    let mut kept_from = 0;
    let mut expected = None;
    let mut known: Option<(std::ops::Range<usize>, Vec<u32>)> = None;
    loop {
        let end = (start + WINDOW).min(piece.len());
        let window = piece.get(start..end).unwrap_or_default();
        let ends = match known.take() {
            Some((range, ends)) if piece.get(range.clone()) == Some(window) => ends,
            _ => heap(vocab, window),
        };
        let first = ends.first().map_or(start, |&first| start + first as usize);
        let seam_holds = match kept.last() {
            None => start == 0,
            Some(_) if expected == Some(first) => true,
            Some(_) => {
                let before = kept.iter().rev().nth(1).map_or(kept_from, |&end| kept_from + end as usize);
                let pair = piece.get(before..first).unwrap_or_default();
                heap(vocab, pair) == [(start - before) as u32, (first - before) as u32]
            }
        };
        if !seam_holds {
            if kept.pop().is_none() {
                // Never seen: more than a window's worth of seams failed. Correct, if not linear.
                return heap(vocab, piece).len();
            }
            total -= 1;
            start = kept.last().map_or(kept_from, |&end| kept_from + end as usize);
            expected = None;
            continue;
        }
        if end == piece.len() {
            return total + ends.len();
        }
        let limit = (WINDOW - MARGIN) as u32;
        let keep = ends.iter().take_while(|&&end| end <= limit).count().max(1);
        kept = ends.get(..keep).unwrap_or_default().to_vec();
        expected = ends.get(keep).map(|&end| start + end as usize);
        total += keep;
        kept_from = start;
        let next = kept.last().map_or(end, |&end| start + end as usize);
        known = Some((start..end, ends));
        start = next;
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocab::{CL100K, O200K};
    use super::*;

    /// With windows far too small for the rule about margins, so that seams do fail and are mended.
    #[test]
    fn windows_give_what_one_heap_gives() {
        let mut state = 3_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let letters: Vec<char> = "aaeinrst  --==\n\n漢字กข".chars().collect();
        for round in 0..3_000 {
            let used = 1 + random(letters.len());
            let piece: String = (0..random(200)).map(|_| letters[random(used)]).collect();
            let piece = piece.as_bytes();
            for vocab in [&O200K, &CL100K] {
                let expected = heap(vocab, piece).len();
                assert_eq!(windows::<16, 1>(vocab, piece), expected, "round {round}: {piece:?}");
                assert_eq!(windows::<40, 12>(vocab, piece), expected, "round {round}: {piece:?}");
                if piece.len() <= ON_STACK {
                    assert_eq!(scan(vocab, piece), expected, "round {round}: {piece:?}");
                }
            }
        }
    }
}

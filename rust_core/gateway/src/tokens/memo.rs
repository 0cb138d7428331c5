//! What was counted before.
//!
//! The words of a language that are no tokens come back, in one text and from text to text, and so do
//! the tokens that are neighbours in them. Two tables per thread hold what was found: of fixed size,
//! allocated when first needed, exact (an entry holds the whole word, the whole pair), and the newest
//! takes the place. They know no text's boundaries and change nothing but the time: a text made to
//! miss costs what it would without them.

use std::cell::Cell;

use super::vocab::masked;

/// Words, of 32 bytes each: more than a first-level cache, and what a second-level cache can spare.
const WORDS: usize = 8192;
/// Pairs of tokens, of 4 bytes each, as a power of two.
const PAIR_BITS: u32 = 15;
/// Bits of a pair: two ranks of 18.
const WIDTH: u32 = 36;
/// Longer words are not kept: the last two bytes of an entry are the length and the count.
pub(super) const LONGEST: usize = 30;

type Word = [u128; 2];

#[derive(Default)]
struct Tables {
    words: Vec<Word>,
    pairs: Vec<u32>,
}

thread_local! {
    static OF_THREAD: [Cell<Option<Box<Tables>>>; 2] = const { [const { Cell::new(None) }; 2] };
}

/// The tables of this thread and one vocabulary, borrowed on first use.
pub(super) struct Memo {
    vocabulary: usize,
    tables: Option<Box<Tables>>,
}

/// A word, packed, and its place.
#[derive(Clone, Copy)]
pub(super) struct Place {
    word: Word,
    slot: usize,
}

impl Memo {
    pub(super) const fn new(vocabulary: usize) -> Self {
        Self { vocabulary, tables: None }
    }

    /// Tokens of `text[start..start + length]`, where `length` is at most [`LONGEST`]; or where to put them.
    #[inline]
    pub(super) fn get(&mut self, text: &[u8], start: usize, length: usize) -> Result<usize, Place> {
        let word = pack(text, start, length);
        let [low, high] = word;
        let mixed = (low as u64 ^ (high as u64).rotate_left(29))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(((low >> 64) as u64) ^ ((high >> 64) as u64).rotate_left(17))
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        let slot = (mixed >> 40) as usize % WORDS;
        match self.tables().words.get(slot) {
            Some(&[first, second]) if first == low && second << 8 == high << 8 => Ok((second >> 120) as usize),
            _ => Err(Place { word, slot }),
        }
    }

    #[inline]
    pub(super) fn put(&mut self, place: Place, count: usize) {
        let [low, high] = place.word;
        if let Some(entry) = self.tables().words.get_mut(place.slot) {
            *entry = [low, high | (count as u128) << 120];
        }
    }

    /// What `decide` says of two tokens, or said when it was asked last.
    #[inline]
    pub(super) fn neighbours(&mut self, left: u32, right: u32, decide: impl FnOnce() -> bool) -> bool {
        // Times an odd number, modulo a power of two, is one to one: place and entry together are the pair.
        let pair = (u64::from(left) << 18 | u64::from(right)).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << WIDTH);
        let slot = (pair >> (WIDTH - PAIR_BITS)) as usize;
        let known = (pair as u32) << (32 + PAIR_BITS - WIDTH) | 1;
        match self.tables().pairs.get_mut(slot) {
            Some(entry) if *entry & !2 == known => *entry & 2 != 0,
            Some(entry) => {
                let decided = decide();
                *entry = known | u32::from(decided) << 1;
                decided
            }
            None => decide(),
        }
    }

    #[inline]
    fn tables(&mut self) -> &mut Tables {
        self.tables.get_or_insert_with(|| borrow(self.vocabulary))
    }
}

#[cold]
fn borrow(vocabulary: usize) -> Box<Tables> {
    // A thread that is ending has no tables any more; it gets some of its own.
    let kept = OF_THREAD.try_with(|all| all.get(vocabulary).and_then(Cell::take)).ok().flatten();
    kept.unwrap_or_else(|| Box::new(Tables { words: vec![[0; 2]; WORDS], pairs: vec![0; 1 << PAIR_BITS] }))
}

impl Drop for Memo {
    fn drop(&mut self) {
        if let Some(tables) = self.tables.take() {
            // Refused only by a thread that is ending.
            let _ = OF_THREAD.try_with(|all| all.get(self.vocabulary).map(|cell| cell.set(Some(tables))));
        }
    }
}

/// The bytes from the low end, and their number in the last byte but one.
#[inline]
fn pack(text: &[u8], start: usize, length: usize) -> Word {
    let mut copy = [0; 32];
    let window = match text.get(start..).and_then(|rest| rest.first_chunk::<32>()) {
        Some(window) => window,
        None => {
            for (to, from) in copy.iter_mut().zip(text.get(start..start + length).unwrap_or_default()) {
                *to = *from;
            }
            &copy
        }
    };
    let (halves, _) = window.as_chunks::<16>();
    let half = |i: usize| halves.get(i).map_or(0, |half| u128::from_le_bytes(*half));
    [masked(half(0), length.min(16)), masked(half(1), length.saturating_sub(16)) | (length as u128) << 112]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many more pairs than there are places, among them such as differ in one bit.
    #[test]
    fn a_pair_is_not_taken_for_another() {
        let decide =
            |left: u32, right: u32| (left.wrapping_mul(7) ^ right.rotate_left(5)).count_ones().is_multiple_of(2);
        let mut memo = Memo::new(0);
        let mut state = 3_u64;
        for round in 0..400_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (left, right) = ((state >> 40) as u32 % (1 << 18), (state >> 20) as u32 % (1 << 18));
            let near = (left ^ 1 << (round % 18), right ^ 1 << (round / 18 % 18));
            for (left, right) in [(left, right), (near.0, right), (left, near.1), (left, right)] {
                let decided = memo.neighbours(left, right, || decide(left, right));
                assert_eq!(decided, decide(left, right), "{left} {right}");
            }
        }
    }
}

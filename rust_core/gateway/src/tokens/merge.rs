//! Byte pair encoding of one piece that is not itself a token.
//!
//! The rule: merge the adjacent pair whose concatenation has the lowest rank, the leftmost of
//! equals, until no pair is a token. Nothing here merges. A sequence of tokens is the encoding of
//! its text exactly when each adjacent pair of tokens is the encoding of its own text (proved at
//! <https://github.blog/ai-and-ml/llms/so-many-tokens-so-little-time-introducing-a-faster-more-flexible-byte-pair-tokenizer/>),
//! which gives three means, each of them linear in the length of the piece:
//!
//! * cuts: between two characters that are neighbours in no token nothing is ever merged, so the
//!   parts on both sides stand alone. In scripts of many characters that is most places;
//! * search: take the longest token that may follow the one before, a shorter one if that leads
//!   nowhere. The encoding of a beginning of the text is unique, so a place that led nowhere once
//!   need not be entered again;
//! * windows: encodings of parts may be joined where the two tokens at the seam may be neighbours,
//!   which bounds the memory, and a window equal to the one before costs a comparison.

use super::memo::{self, Memo};
use super::vocab::{BYTES, LONGEST, Vocab};

/// Searched with what fits into registers and the stack.
const SMALL: usize = 63;
const WINDOW: usize = 16_384;
/// Tokens this near the end of a window are thrown away: what follows could still change them.
const MARGIN: usize = 4 * LONGEST;

/// Number of tokens in `text[start..end]`, which is whole characters and not itself a token.
#[inline(never)]
pub(super) fn count(vocab: &Vocab, memo: &mut Memo, text: &[u8], start: usize, end: usize) -> usize {
    if end - start > memo::LONGEST {
        return cut(vocab, memo, text, start, end);
    }
    match memo.get(text, start, end - start) {
        Ok(count) => count,
        Err(place) => {
            let count = cut(vocab, memo, text, start, end);
            memo.put(place, count);
            count
        }
    }
}

/// The tokens of `text[start..end]` themselves, appended to `ranks`. Unlike counting this takes memory in proportion to
/// the piece; so does what is asked for.
pub(super) fn encode_into(vocab: &Vocab, memo: &mut Memo, text: &[u8], start: usize, end: usize, ranks: &mut Vec<u32>) {
    let (before, length) = (ranks.len(), end - start);
    ranks.resize(before + length, 0);
    let tokens = ranks.get_mut(before..).unwrap_or_default();
    let found = if length <= SMALL {
        search(vocab, memo, text, start, end, tokens, &mut [0; SMALL / 64 + 1])
    } else {
        search(vocab, memo, text, start, end, tokens, &mut vec![0; length / 64 + 1])
    };
    ranks.truncate(before + found);
}

fn cut(vocab: &Vocab, memo: &mut Memo, text: &[u8], mut start: usize, end: usize) -> usize {
    let mut total = 0;
    let piece = text.get(start..end).unwrap_or_default();
    if piece.iter().any(|&byte| byte >= WIDE) {
        let whole = start;
        let mut left = start;
        let mut at = left + width(text, left);
        while at < end {
            let after = at + width(text, at);
            let wide = |at: usize| text.get(at).is_some_and(|&byte| byte >= WIDE);
            if (wide(left) || wide(at)) && !vocab.joins(text, left, at, after) {
                total += part(vocab, memo, text, start, at);
                start = at;
            }
            (left, at) = (at, after);
        }
        if start != whole {
            return total + part(vocab, memo, text, start, end);
        }
    }
    encode(vocab, memo, text, start, end)
}

/// First bytes of characters of three or more bytes. Those of shorter ones are neighbours in some token too often.
const WIDE: u8 = 0xe0;

#[inline(always)]
fn width(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        None | Some(0..0x80) => 1,
        Some(0x80..0xe0) => 2,
        Some(0xe0..0xf0) => 3,
        Some(0xf0..) => 4,
    }
}

fn part(vocab: &Vocab, memo: &mut Memo, text: &[u8], start: usize, end: usize) -> usize {
    if vocab.rank(text, start, end).is_some() {
        return 1;
    }
    if end - start > memo::LONGEST {
        return encode(vocab, memo, text, start, end);
    }
    match memo.get(text, start, end - start) {
        Ok(count) => count,
        Err(place) => {
            let count = encode(vocab, memo, text, start, end);
            memo.put(place, count);
            count
        }
    }
}

fn encode(vocab: &Vocab, memo: &mut Memo, text: &[u8], start: usize, end: usize) -> usize {
    if end - start <= SMALL {
        search(vocab, memo, text, start, end, &mut [0; SMALL], &mut [0; SMALL / 64 + 1])
    } else {
        windows::<WINDOW, MARGIN>(vocab, memo, text, start, end)
    }
}

/// Number of tokens in `text[start..end]`, which are left in `tokens`. `dead` is a bit per place, all 0.
fn search(
    vocab: &Vocab,
    memo: &mut Memo,
    text: &[u8],
    start: usize,
    end: usize,
    tokens: &mut [u32],
    dead: &mut [u64],
) -> usize {
    let (mut found, mut at, mut before) = (0, start, None);
    let (mut token, mut length) = vocab.longest(text, at, end);
    // Whether this token, and the one before, is the longest at its place: then it is not joined whole to what follows.
    let (mut longest, mut longest_before) = (true, false);
    loop {
        #[cfg(test)]
        tests::step();
        let place = at + length - start;
        let is_dead = dead.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 != 0);
        if !is_dead
            && before.is_none_or(|before| {
                memo.neighbours(before, token, || neighbours(vocab, text, at, before, token, longest_before))
            })
        {
            if let Some(slot) = tokens.get_mut(found) {
                *slot = token;
            }
            found += 1;
            at += length;
            if at == end {
                return found;
            }
            (before, longest_before) = (Some(token), longest);
            (token, length) = vocab.longest(text, at, end);
            longest = true;
            continue;
        }
        // Nothing begins here: back over the token before, and on with a shorter one in its place.
        while token < BYTES {
            let place = at - start;
            if let Some(word) = dead.get_mut(place / 64) {
                *word |= 1 << (place % 64);
            }
            // The first token of the encoding is among those tried first, so there always is one to go back to.
            let Some(last) = found.checked_sub(1) else { return end - start };
            found = last;
            token = before.unwrap_or(0);
            at -= vocab.token(token).length();
            before = last.checked_sub(1).and_then(|last| tokens.get(last).copied());
            longest_before = false;
        }
        longest = false;
        token = vocab.token(token).shorter();
        length = vocab.token(token).length();
    }
}

/// Whether `left` and `right`, which meet at `at`, are the encoding of their text.
///
/// They are unless, while they were being merged, what then ended and what then began at `at` would have been merged
/// instead; `apart` says that it is known that the two themselves make no token. So the merges are undone one after the other, latest first.
fn neighbours(vocab: &Vocab, text: &[u8], at: usize, mut left: u32, mut right: u32, mut apart: bool) -> bool {
    let (mut of_left, mut of_right) = (vocab.token(left), vocab.token(right));
    let mut next = u32::MAX;
    loop {
        let (start, end) = (at - of_left.length(), at + of_right.length());
        if !apart && vocab.merged(text, start, end, left, right).is_some_and(|rank| rank < next) {
            return false;
        }
        apart = false;
        if left < BYTES && right < BYTES {
            return true;
        }
        if left > right {
            // Of equals the leftmost is merged first: the one that made `left`.
            next = left;
            left = of_left.right();
            of_left = vocab.token(left);
        } else {
            next = right + 1;
            right = of_right.left();
            of_right = vocab.token(right);
        }
    }
}

fn windows<const WINDOW: usize, const MARGIN: usize>(
    vocab: &Vocab,
    memo: &mut Memo,
    text: &[u8],
    from: usize,
    limit: usize,
) -> usize {
    let size = WINDOW.min(limit - from);
    let (mut tokens, mut dead) = (vec![0; size], vec![0; size / 64 + 1]);
    let (mut total, mut start) = (0, from);
    // Tokens counted last, to step back over when a seam does not hold.
    let mut kept: Vec<u32> = Vec::new();
    let mut known: Option<(&[u8], usize)> = None;
    loop {
        let end = (start + WINDOW).min(limit);
        let window = text.get(start..end).unwrap_or_default();
        let found = match known {
            Some((same, found)) if same == window => found,
            _ => {
                dead.fill(0);
                search(vocab, memo, text, start, end, &mut tokens, &mut dead)
            }
        };
        known = Some((window, found));
        let first = tokens.first().copied().unwrap_or(0);
        if kept.last().is_some_and(|&last| !neighbours(vocab, text, start, last, first, false)) {
            let Some(back) = kept.pop().filter(|_| !kept.is_empty()) else {
                // Never seen: more than a window's worth of seams failed. Correct, if not bounded in memory.
                let length = limit - from;
                return search(vocab, memo, text, from, limit, &mut vec![0; length], &mut vec![0; length / 64 + 1]);
            };
            total -= 1;
            start -= vocab.token(back).length();
            continue;
        }
        if end == limit {
            return total + found;
        }
        kept.clear();
        let mut next = start;
        for &token in tokens.get(..found).unwrap_or_default() {
            let length = vocab.token(token).length();
            if !kept.is_empty() && next + length > start + WINDOW - MARGIN {
                break;
            }
            kept.push(token);
            next += length;
        }
        total += kept.len();
        start = next;
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocab::{CL100K, O200K};
    use super::*;

    thread_local! {
        static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// One token tried.
    pub(super) fn step() {
        STEPS.set(STEPS.get() + 1);
    }

    /// Wall time lies on a busy machine; the number of tokens tried does not.
    #[test]
    fn hostile_pieces_take_linearly_many_steps() {
        let mut state = 11_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut units: Vec<String> = (0..128_u8).map(|byte| char::from(byte).to_string()).collect();
        units.extend(["ab", "=-", "aaab", " =", "\u{301}", "漢", "字字漢", "ก", "\u{10ffff}", "é"].map(String::from));
        units.extend(["ab", "=-", "abAB", "etaoin", "-=*_#", "漢字日本", "กขคง"].map(|alphabet| {
            let letters: Vec<char> = alphabet.chars().collect();
            (0..40_000).map(|_| letters[random(letters.len())]).collect()
        }));
        for (number, vocab) in [&O200K, &CL100K].into_iter().enumerate() {
            for unit in &units {
                let steps = |bytes: usize| {
                    let text = unit.repeat(bytes.div_ceil(unit.len()));
                    let mut end = bytes;
                    while !text.is_char_boundary(end) {
                        end -= 1;
                    }
                    STEPS.set(0);
                    cut(vocab, &mut Memo::new(number), text.as_bytes(), 0, end);
                    STEPS.get()
                };
                // Past the window: whole periods are recognised, so that a run costs less and less.
                for bytes in [500, 2_000, 8_000, 32_000] {
                    let (once, twice) = (steps(bytes), steps(2 * bytes));
                    let label = unit.get(..4).unwrap_or(unit);
                    assert!(twice <= once * 23 / 10 + 2_000, "{label:?} {bytes}: {once} then {twice}");
                    assert!(once <= 70 * bytes as u64, "{label:?} {bytes}: {once}");
                }
            }
        }
    }

    /// Between two characters that some token holds there must be no cut.
    #[test]
    fn no_token_is_cut() {
        for vocab in [&O200K, &CL100K] {
            for (token, _) in vocab.tokens() {
                let text = String::from_utf8_lossy(&token);
                if text.contains('\u{fffd}') {
                    continue;
                }
                let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                for part in bounds.windows(3) {
                    assert!(vocab.joins(text.as_bytes(), part[0], part[1], part[2]), "{text:?}");
                }
            }
        }
    }

    /// Tokens that begin or end inside a character, in texts that hold them.
    #[test]
    fn no_token_of_broken_characters_is_cut() {
        let heads: [&[u8]; 9] = [
            &[0xc3],
            &[0xe4],
            &[0xe4, 0xb8],
            &[0xed],
            &[0xe0, 0xa4],
            &[0xf0, 0x9f],
            &[0xf0, 0x9f, 0x98],
            &[0xe3],
            &[0xd0],
        ];
        let tails: [&[u8]; 4] = [&[0xa0], &[0xa0, 0xa1], &[0x90, 0xa0, 0xa1], &[]];
        let mut seen = 0;
        for vocab in [&O200K, &CL100K] {
            for (token, _) in vocab.tokens().filter(|(token, _)| std::str::from_utf8(token).is_err()) {
                for head in heads.into_iter().chain([&[][..]]) {
                    for tail in tails {
                        let whole = [head, &token, tail].concat();
                        let Ok(text) = std::str::from_utf8(&whole) else { continue };
                        let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                        for part in bounds.windows(3) {
                            let inside = head.len() < part[1] && part[1] < head.len() + token.len();
                            if inside {
                                seen += 1;
                                assert!(vocab.joins(&whole, part[0], part[1], part[2]), "{token:?} in {text:?}");
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 500, "{seen}");
    }

    /// With windows far too small for the rule about margins, so that seams do fail and are mended.
    #[test]
    fn windows_give_what_one_search_gives() {
        let mut state = 3_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let letters: Vec<char> = "aaeinrst  --==\n\n漢字กข".chars().collect();
        for round in 0..3_000 {
            let used = 1 + random(letters.len());
            let piece: String = (0..1 + random(200)).map(|_| letters[random(used)]).collect();
            let piece = piece.as_bytes();
            for (number, vocab) in [&O200K, &CL100K].into_iter().enumerate() {
                let mut memo = Memo::new(number);
                let expected = search(
                    vocab,
                    &mut memo,
                    piece,
                    0,
                    piece.len(),
                    &mut vec![0; piece.len()],
                    &mut vec![0; piece.len() / 64 + 1],
                );
                assert_eq!(
                    windows::<16, 1>(vocab, &mut memo, piece, 0, piece.len()),
                    expected,
                    "round {round}: {piece:?}"
                );
                assert_eq!(
                    windows::<40, 12>(vocab, &mut memo, piece, 0, piece.len()),
                    expected,
                    "round {round}: {piece:?}"
                );
            }
        }
    }
}

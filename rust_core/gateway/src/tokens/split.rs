//! The two published pre-tokenizers, by hand.
//!
//! Each function returns where the piece that starts at `pos` ends. The patterns are those of
//! `tiktoken` 0.14 (`tiktoken_ext/openai_public.py`); the comments name the alternative at work.
//! By hand because the look-ahead in them (`\s+(?!\S)`) needs a backtracking engine, which is
//! slow on all text and overflows its stack on long runs of white space. Every branch looks at each
//! character at most twice, so a text is split in linear time.

use super::classes::{CASELESS, LETTER, LOWER, MARK, NEWLINE, NUMBER, OTHER, SPACE, UPPER, WHITE, at};

/// Characters that may stand before a word: `[^\r\n\p{L}\p{N}]`.
const BEFORE_WORD: u8 = MARK | SPACE | OTHER;
/// `[^\s\p{L}\p{N}]`.
const SYMBOL: u8 = MARK | OTHER;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
const HEAD: u8 = UPPER | CASELESS | MARK;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
const BODY: u8 = LOWER | CASELESS | MARK;

/// One piece of `o200k_base`:
///
/// 1. `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
/// 2. `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
/// 3. `\p{N}{1,3}`
/// 4. ` ?[^\s\p{L}\p{N}]+[\r\n/]*`
/// 5. `\s*[\r\n]+`
/// 6. `\s+(?!\S)`
/// 7. `\s+`
#[inline]
pub(super) fn o200k(text: &[u8], pos: usize) -> usize {
    let (class, width) = at(text, pos);
    let mut head_only = None;
    if class & BEFORE_WORD != 0 {
        match cased_word(text, pos + width) {
            Word::WithBody(end) => return end + contraction(text, end),
            Word::HeadOnly(end) => head_only = Some(end),
            Word::None => {}
        }
    }
    if class & (LETTER | MARK) != 0 {
        match cased_word(text, pos) {
            Word::WithBody(end) => return end + contraction(text, end),
            // The second alternative, too, tries its optional first character before going without.
            Word::HeadOnly(end) => head_only = head_only.or(Some(end)),
            Word::None => {}
        }
    }
    if let Some(end) = head_only {
        return end + contraction(text, end);
    }
    if class == NUMBER {
        return number(text, pos);
    }
    if let Some(mut end) = symbols(text, pos) {
        while matches!(text.get(end), Some(b'\r' | b'\n' | b'/')) {
            end += 1;
        }
        return end;
    }
    let white = WhiteRun::at(text, pos);
    white.newline_end.unwrap_or_else(|| white.before_word())
}

/// One piece of `cl100k_base`:
///
/// 1. `'(?i:[sdmt]|ll|ve|re)`
/// 2. `[^\r\n\p{L}\p{N}]?+\p{L}++`
/// 3. `\p{N}{1,3}+`
/// 4. ` ?[^\s\p{L}\p{N}]++[\r\n]*+`
/// 5. `\s++$`
/// 6. `\s*[\r\n]`
/// 7. `\s+(?!\S)`
/// 8. `\s`
#[inline]
pub(super) fn cl100k(text: &[u8], pos: usize) -> usize {
    let contracted = contraction(text, pos);
    if contracted != 0 {
        return pos + contracted;
    }
    let (class, width) = at(text, pos);
    let word = if class & BEFORE_WORD != 0 { pos + width } else { pos };
    let end = run(text, word, LETTER);
    if end > word {
        return end;
    }
    if class == NUMBER {
        return number(text, pos);
    }
    if let Some(mut end) = symbols(text, pos) {
        while matches!(text.get(end), Some(b'\r' | b'\n')) {
            end += 1;
        }
        return end;
    }
    let white = WhiteRun::at(text, pos);
    if white.end == text.len() {
        return white.end;
    }
    white.newline_end.unwrap_or_else(|| white.before_word())
}

enum Word {
    None,
    /// `HEAD* BODY+` matches up to here.
    WithBody(usize),
    /// Only `HEAD+` matches, up to here.
    HeadOnly(usize),
}

#[inline(always)]
fn cased_word(text: &[u8], pos: usize) -> Word {
    let mut end = pos;
    // `HEAD*` is greedy; when no `BODY` follows it gives back up to its last character that is both.
    let mut last_both = None;
    loop {
        let (class, width) = at(text, end);
        if class == LOWER {
            return Word::WithBody(run(text, end + width, BODY));
        }
        if class & HEAD == 0 {
            break;
        }
        end += width;
        if class != UPPER {
            last_both = Some(end);
        }
    }
    match last_both {
        Some(both) => Word::WithBody(both),
        None if end > pos => Word::HeadOnly(end),
        None => Word::None,
    }
}

/// End of the run of characters in `set` that starts at `pos`.
#[inline(always)]
fn run(text: &[u8], mut pos: usize, set: u8) -> usize {
    loop {
        let (class, width) = at(text, pos);
        if class & set == 0 {
            return pos;
        }
        pos += width;
    }
}

/// `\p{N}{1,3}`.
fn number(text: &[u8], mut pos: usize) -> usize {
    for _ in 0..3 {
        let (class, width) = at(text, pos);
        if class != NUMBER {
            break;
        }
        pos += width;
    }
    pos
}

/// ` ?[^\s\p{L}\p{N}]+`.
fn symbols(text: &[u8], pos: usize) -> Option<usize> {
    let start = if text.get(pos) == Some(&b' ') { pos + 1 } else { pos };
    let end = run(text, start, SYMBOL);
    (end > start).then_some(end)
}

/// Length of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `pos`, or 0. Case folding makes U+017F an `s`.
#[inline(always)]
fn contraction(text: &[u8], pos: usize) -> usize {
    if text.get(pos) != Some(&b'\'') {
        return 0;
    }
    let (first, second) = (text.get(pos + 1).copied().unwrap_or(0), text.get(pos + 2).copied().unwrap_or(0));
    match (first.to_ascii_lowercase(), second.to_ascii_lowercase()) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        _ if first == 0xc5 && second == 0xbf => 3,
        _ => 0,
    }
}

/// The longest run of white space that starts somewhere.
struct WhiteRun {
    end: usize,
    /// Start of its last character.
    last: usize,
    start: usize,
    /// End of its last `\r` or `\n`.
    newline_end: Option<usize>,
}

impl WhiteRun {
    fn at(text: &[u8], start: usize) -> Self {
        let mut white = Self { end: start, last: start, start, newline_end: None };
        loop {
            let (class, width) = at(text, white.end);
            if class & WHITE == 0 {
                break;
            }
            white.last = white.end;
            white.end += width;
            if class == NEWLINE {
                white.newline_end = Some(white.end);
            }
        }
        if white.end == text.len() {
            white.last = white.end;
        }
        white
    }

    /// `\s+(?!\S)|\s+`: all but the last character when something follows, and never nothing.
    fn before_word(&self) -> usize {
        if self.last > self.start { self.last } else { self.end }
    }
}

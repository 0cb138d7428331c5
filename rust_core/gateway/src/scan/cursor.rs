//! The JSON grammar, walked once over bytes without building anything.
//!
//! Apart from the body scan because values inside values (message parts, stream options) are
//! walked by the same code. Iterative: nesting costs one bit per level, not stack.

use super::{ScanError, Span};

/// Objects and arrays may be nested this deep, the body's own object included.
pub const MAX_DEPTH: usize = 512;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A position in JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    pos: usize,
    /// The text was scanned before.
    is_proven: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(text: &'a [u8], pos: usize) -> Self {
        Self { text, pos, is_proven: false }
    }

    /// The same in text that was scanned, where what may not stand in a string is not looked for again.
    pub(super) const fn again(text: &'a [u8], pos: usize) -> Self {
        Self { text, pos, is_proven: true }
    }

    pub(crate) const fn pos(&self) -> usize {
        self.pos
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    pub(crate) fn error<T>(&self, what: &'static str) -> Result<T, ScanError> {
        let what = if self.pos >= self.text.len() { "unexpected end" } else { what };
        Err(ScanError::NotJson { offset: self.pos, what })
    }

    #[inline]
    pub(crate) fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    /// Steps over `byte` and the white space after it, when it is next.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.pos += 1;
            self.white();
        }
        found
    }

    /// A member name with its colon; the span is what lies between the quotes. Ends at the value.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Span, ScanError> {
        if self.peek() != Some(b'"') {
            return self.error("expected a member name in double quotes");
        }
        let span = self.string()?;
        self.white();
        if self.eat(b':') { Ok(span) } else { self.error("expected ':'") }
    }

    /// A string, from its opening quote; the span is what lies between the quotes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Span, ScanError> {
        self.text().map(|(span, _)| span)
    }

    /// The same, and whether there are escapes in it.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<(Span, bool), ScanError> {
        self.pos += 1;
        let start = self.pos;
        let mut has_escapes = false;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    let span = Span { start, end: self.pos };
                    self.pos += 1;
                    return Ok((span, has_escapes));
                }
                Some(b'\\') => {
                    self.escape()?;
                    has_escapes = true;
                }
                _ => return self.error("control character inside a string; escape it"),
            }
        }
    }

    /// Steps over everything that stands for itself.
    #[inline]
    fn plain(&mut self) {
        let rest = self.text.get(self.pos..).unwrap_or_default();
        self.pos += if self.is_proven { proven_prefix(rest) } else { plain_prefix(rest) };
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.text.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'u') => {
                let digits = self.text.get(self.pos + 2..self.pos + 6).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return self.error("'\\u' must be followed by four hexadecimal digits");
                }
                self.pos += 6;
            }
            _ => return self.error("unknown escape in a string"),
        }
        Ok(())
    }

    /// One value of any kind, everything inside it included. `outside` is how many levels surround it.
    pub(crate) fn value(&mut self, outside: usize) -> Result<Span, ScanError> {
        let start = self.pos;
        let mut levels = Levels::default();
        loop {
            let open = self.peek();
            match open {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(b'{' | b'[') => {
                    let is_object = open == Some(b'{');
                    if outside + levels.depth >= MAX_DEPTH {
                        return Err(ScanError::TooDeep);
                    }
                    self.pos += 1;
                    self.white();
                    if self.peek() != Some(if is_object { b'}' } else { b']' }) {
                        levels.push(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                    self.pos += 1;
                }
                _ => return self.error("expected a value"),
            }
            loop {
                if levels.depth == 0 {
                    return Ok(Span { start, end: self.pos });
                }
                self.white();
                let in_object = levels.in_object();
                if self.eat(b',') {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                if self.peek() != Some(if in_object { b'}' } else { b']' }) {
                    return self.error(if in_object { "expected ',' or '}'" } else { "expected ',' or ']'" });
                }
                self.pos += 1;
                levels.depth -= 1;
            }
        }
    }

    /// `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if self.text.get(self.pos..self.pos + word.len()) != Some(word) {
            return self.error("expected a value");
        }
        self.pos += word.len();
        Ok(())
    }

    /// A number of any form.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.pos += 1;
                if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                    return self.error("a number must not start with 0");
                }
            }
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.pos;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.pos += 1;
        }
        if self.pos > start { Ok(()) } else { self.error("expected a digit") }
    }
}

/// How many bytes at the start of `text` stand for themselves in a JSON string: up to a quote, a backslash or a control
/// character.
pub(crate) fn plain_prefix(text: &[u8]) -> usize {
    let mut done = match soon(text) {
        Ok(end) => return end,
        Err(done) => done,
    };
    let rest = text.get(done..).unwrap_or_default();
    if rest.len() < 16 {
        let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        return done + rest.iter().position(special).unwrap_or(rest.len());
    }
    // In blocks, because what ends one search may stand far behind what ends the other.
    for block in rest.chunks(256) {
        let end = memchr::memchr2(b'"', b'\\', block).unwrap_or(block.len());
        let plain = printable_prefix(block.get(..end).unwrap_or_default());
        done += plain;
        if plain < block.len() {
            break;
        }
    }
    done
}

/// The same in text that was scanned.
fn proven_prefix(text: &[u8]) -> usize {
    soon(text).unwrap_or_else(|done| {
        let rest = text.get(done..).unwrap_or_default();
        done + memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len())
    })
}

/// Names and most words end soon: where, or else how many bytes were looked at.
#[inline]
fn soon(text: &[u8]) -> Result<usize, usize> {
    let mut done = 0;
    for word in text.as_chunks::<8>().0.iter().take(4) {
        let hits = special_in(u64::from_le_bytes(*word));
        if hits != 0 {
            return Ok(done + hits.trailing_zeros() as usize / 8);
        }
        done += 8;
    }
    Err(done)
}

/// How many bytes at the start are no control characters.
#[inline]
fn printable_prefix(text: &[u8]) -> usize {
    // Without an exit inside, so that the compiler compares many bytes at once.
    if text.iter().fold(u8::MAX, |least, byte| least.min(*byte)) >= 0x20 {
        return text.len();
    }
    text.iter().position(|byte| *byte < 0x20).unwrap_or(text.len())
}

/// The high bit of each special byte in a little-endian word; bits above the lowest one may be wrong.
#[inline]
const fn special_in(word: u64) -> u64 {
    let quote = word ^ (LOW * b'"' as u64);
    let slash = word ^ (LOW * b'\\' as u64);
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    let quote = quote.wrapping_sub(LOW) & !quote;
    let slash = slash.wrapping_sub(LOW) & !slash;
    (control | quote | slash) & HIGH
}

/// For each open level, whether it is an object.
#[derive(Default)]
struct Levels {
    depth: usize,
    bits: [u64; MAX_DEPTH / 64],
}

impl Levels {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if let Some(word) = self.bits.get_mut(self.depth / 64) {
            let bit = 1 << (self.depth % 64);
            *word = if is_object { *word | bit } else { *word & !bit };
        }
        self.depth += 1;
    }

    #[inline]
    fn in_object(&self) -> bool {
        let at = self.depth.wrapping_sub(1);
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
}

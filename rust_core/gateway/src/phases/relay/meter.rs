//! Generated text, kept only in case the provider never says how many tokens it was.
//!
//! What is kept are the JSON-escaped bytes of the deltas; they are unescaped and counted when the
//! call is settled without usage, which is rare. Long texts are counted in pieces, so that memory
//! stays bounded.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::providers::openai;
use crate::scan;
use crate::tokens::{self, Encoding};

/// Text kept before it is counted.
const KEEP: usize = 256 * 1024;

/// Frames kept before their text is taken out: many together are searched much faster than each by itself, and most
/// calls end with the provider's figures before any is.
const KEEP_FRAMES: usize = 2 * 1024;

/// Members of a delta that carry generated text.
static KEYS: LazyLock<[Finder<'static>; 8]> = LazyLock::new(|| {
    [
        "\"content\"",
        "\"arguments\"",
        "\"reasoning_content\"",
        "\"text\"",
        "\"delta\"",
        "\"refusal\"",
        "\"thinking\"",
        "\"partial_json\"",
    ]
    .map(Finder::new)
});

/// The text generated so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    frames: Vec<u8>,
    escaped: Vec<u8>,
    plain: String,
    counted: u64,
}

impl Meter {
    /// Keeps the text of one SSE frame in OpenAI's or Anthropic's shape.
    pub(crate) fn frame(&mut self, frame: &[u8]) {
        if self.frames.len() + frame.len() > KEEP_FRAMES {
            texts(&self.frames, &mut self.escaped);
            self.frames.clear();
            if self.escaped.len() > KEEP {
                self.fold(Encoding::O200kBase);
            }
        }
        if frame.len() > KEEP_FRAMES {
            texts(frame, &mut self.escaped);
        } else {
            self.frames.extend_from_slice(frame);
        }
    }

    /// Keeps text that is not escaped.
    pub(crate) fn text(&mut self, text: &str) {
        self.plain.push_str(text);
        if self.plain.len() > KEEP {
            self.fold(Encoding::O200kBase);
        }
    }

    fn fold(&mut self, encoding: Encoding) {
        self.counted = self.count(encoding);
        self.frames.clear();
        self.escaped.clear();
        self.plain.clear();
    }

    /// Tokens of all text seen.
    pub(crate) fn count(&self, encoding: Encoding) -> u64 {
        let mut escaped = Cow::Borrowed(&self.escaped);
        if !self.frames.is_empty() {
            texts(&self.frames, escaped.to_mut());
        }
        let mut n = self.counted;
        if !escaped.is_empty() {
            n += tokens::count(encoding, &scan::unescape(&escaped)) as u64;
        }
        if !self.plain.is_empty() {
            n += tokens::count(encoding, &self.plain) as u64;
        }
        n
    }
}

/// Adds the text in frames, still escaped.
fn texts(frames: &[u8], escaped: &mut Vec<u8>) {
    for key in KEYS.iter() {
        let mut at = 0;
        while let Some(found) = key.find(frames.get(at..).unwrap_or_default()) {
            at += found + key.needle().len();
            let value = openai::after_colon(frames.get(at..).unwrap_or_default());
            let Some(text) = value.and_then(|v| v.strip_prefix(b"\"")) else { continue };
            let end = string_end(text);
            escaped.extend_from_slice(text.get(..end).unwrap_or_default());
            at = frames.len() - text.len() + end;
        }
    }
}

/// Index of the quote that ends a string whose opening quote was just passed.
fn string_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(i) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        match text.get(at + i) {
            Some(b'\\') => at += i + 2,
            _ => return at + i,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_text_of_deltas() {
        let mut meter = Meter::default();
        meter.frame(br#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#);
        meter.frame(br#"data: {"choices":[{"delta":{"content":"Hello \"wor"}}]}"#);
        meter.frame(br#"data: {"choices": [{"delta": {"content": "ld\" \u00e9"}}]}"#);
        let expected = tokens::count(Encoding::O200kBase, "Hello \"world\" \u{e9}") as u64;
        assert_eq!(meter.count(Encoding::O200kBase), expected);
    }

    #[test]
    fn long_streams_lose_nothing() {
        let mut meter = Meter::default();
        for _ in 0..1000 {
            meter.frame(br#"data: {"type":"content_block_delta","delta":{"type":"text_delta","text":" water"}}"#);
        }
        let expected = tokens::count(Encoding::O200kBase, &" water".repeat(1000)) as u64;
        assert_eq!(meter.count(Encoding::O200kBase), expected);
    }
}

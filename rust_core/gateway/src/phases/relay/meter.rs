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

/// Text without a boundary between words that is counted over and over until it is longer than this.
const LONGEST_WORD: usize = 8 * 1024;

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

    /// Counts what is there for good, as far as nothing that follows can change the count, so that the next count is
    /// short.
    pub(crate) fn advance(&mut self, encoding: Encoding) {
        if !self.frames.is_empty() {
            texts(&self.frames, &mut self.escaped);
            self.frames.clear();
        }
        if !self.escaped.is_empty() {
            self.plain.push_str(&scan::unescape(&self.escaped));
            self.escaped.clear();
        }
        let end = match boundary(self.plain.as_bytes()) {
            // A script without spaces: the count may be off by a token here.
            None if self.plain.len() > LONGEST_WORD => self.plain.len(),
            found => found.unwrap_or(0),
        };
        if let Some(text) = self.plain.get(..end).filter(|text| !text.is_empty()) {
            self.counted += tokens::count(encoding, text) as u64;
            self.plain.drain(..end);
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
        let mut text = Cow::Borrowed(&self.plain[..]);
        if !escaped.is_empty() {
            // What is counted by itself may begin in the middle of a word.
            text.to_mut().push_str(&scan::unescape(&escaped));
        }
        if text.is_empty() { self.counted } else { self.counted + tokens::count(encoding, &text) as u64 }
    }
}

/// Where the last word begins, with the space before it: no token of either vocabulary reaches over such a place, because
/// both are split before a single space that a letter follows.
fn boundary(text: &[u8]) -> Option<usize> {
    let found = text.windows(3).rposition(|w| {
        matches!(w, [before, b' ', after] if !before.is_ascii_whitespace() && before.is_ascii() && after.is_ascii_alphabetic())
    });
    found.map(|at| at + 1)
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
    fn counting_on_the_way_changes_no_count() {
        const SAID: &str = "The weir above the mill was rebuilt in 1894,  after the flood; it's \u{e9}t\u{e9} (\"2.75 m\") \
            don't\n\n new  lines\t and\u{a0}spaces, caf\u{e9} cr\u{e8}me, x=1; a  b\r\n c \u{6c34}\u{8f66} d. E f";
        for encoding in [Encoding::O200kBase, Encoding::Cl100kBase] {
            for step in 1..SAID.chars().count() {
                let (mut meter, mut frames) = (Meter::default(), 0);
                let mut rest = SAID.repeat(3);
                while !rest.is_empty() {
                    let end = rest.char_indices().nth(step).map_or(rest.len(), |(at, _)| at);
                    let text = rest.drain(..end).collect::<String>();
                    let frame = serde_json::json!({"choices": [{"delta": {"content": text}}]});
                    meter.frame(format!("data: {frame}\n\n").as_bytes());
                    frames += 1;
                    if frames % 2 == 0 {
                        meter.advance(encoding);
                    }
                }
                assert_eq!(
                    meter.count(encoding),
                    tokens::count(encoding, &SAID.repeat(3)) as u64,
                    "{encoding:?} {step}"
                );
            }
        }
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

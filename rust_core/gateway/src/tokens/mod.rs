//! Tokens: how many a text has, before anybody is asked to pay for them.
//!
//! Byte pair encoding with the two vocabularies of the OpenAI models, equal to `tiktoken`'s
//! `encode_ordinary` count for count. Linear in the length of any text, free of panics, and without
//! anything to load: the tables are read-only data of the library. A thread that counts words which
//! are no tokens keeps 384 KiB per vocabulary to remember them by.

mod classes;
mod encode;
mod hash;
mod memo;
mod merge;
mod prompt;
mod split;
mod vocab;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use encode::encode;
use memo::Memo;
pub use prompt::count_prompt;
use vocab::Vocab;
use words::Words;

/// A vocabulary with its pre-tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// GPT-4o, 4.1, 5, the o-series; also the best guess for other vendors' models.
    #[default]
    O200kBase,
    /// GPT-4, GPT-3.5 and the embedding models.
    Cl100kBase,
}

impl Encoding {
    /// The name `tiktoken` gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::O200kBase => "o200k_base",
            Self::Cl100kBase => "cl100k_base",
        }
    }

    fn vocab(self) -> &'static Vocab {
        match self {
            Self::O200kBase => &vocab::O200K,
            Self::Cl100kBase => &vocab::CL100K,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is that of no encoding we have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEncoding(String);

impl fmt::Display for UnknownEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown encoding {:?}: use o200k_base or cl100k_base", self.0)
    }
}

impl std::error::Error for UnknownEncoding {}

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        match name {
            "o200k_base" => Ok(Self::O200kBase),
            "cl100k_base" => Ok(Self::Cl100kBase),
            _ => Err(UnknownEncoding(name.to_owned())),
        }
    }
}

/// The encoding of a model by its name, which may carry a provider prefix (`azure/gpt-4`). Unknown names get `o200k_base`.
pub fn for_model(model: &str) -> Encoding {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let old = name == "gpt-4"
        || [
            "gpt-4-",
            "gpt-3.5",
            "gpt-35-",
            "text-embedding-3-",
            "text-embedding-ada-002",
            "davinci-002",
            "babbage-002",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    if old { Encoding::Cl100kBase } else { Encoding::O200kBase }
}

/// Number of tokens of `text`; special tokens in it count as ordinary text.
///
/// About 1.5 ms per megabyte of English, 5 to 20 ms of other languages, and 20 to 100 ms of text that has no word
/// boundaries: off the event loop for bodies of many megabytes.
pub fn count(encoding: Encoding, text: &str) -> usize {
    count_bytes(encoding, text.as_bytes())
}

/// The same of bytes that are known to be UTF-8; of others nothing but the number is wrong.
fn count_bytes(encoding: Encoding, text: &[u8]) -> usize {
    let mut words = Words::default();
    match encoding {
        Encoding::O200kBase => count_with(&vocab::O200K, Memo::new(0), text, |text, pos| o200k(&mut words, text, pos)),
        Encoding::Cl100kBase => {
            count_with(&vocab::CL100K, Memo::new(1), text, |text, pos| cl100k(&mut words, text, pos))
        }
    }
}

/// End of the piece of `o200k_base` that starts at `pos`.
#[inline(always)]
fn o200k(words: &mut Words, text: &[u8], pos: usize) -> usize {
    words.o200k(text, pos).unwrap_or_else(|| split::o200k(text, pos))
}

/// End of the piece of `cl100k_base` that starts at `pos`.
#[inline(always)]
fn cl100k(words: &mut Words, text: &[u8], pos: usize) -> usize {
    words.cl100k(text, pos).unwrap_or_else(|| split::cl100k(text, pos))
}

#[inline(always)]
fn count_with(vocab: &Vocab, mut memo: Memo, text: &[u8], mut split: impl FnMut(&[u8], usize) -> usize) -> usize {
    let (mut total, mut start) = (0, 0);
    while start < text.len() {
        // Every alternative of both patterns takes at least one character; the bound is for the type system's sake.
        let end = split(text, start).max(start + 1).min(text.len());
        total += if end - start == 1 || vocab.contains(text, start, end) {
            1
        } else {
            merge::count(vocab, &mut memo, text, start, end)
        };
        start = end;
    }
    total
}

/// Maps the tables of an encoding into memory, so that the first count does not wait for page faults. Optional.
pub fn preload(encoding: Encoding) {
    std::hint::black_box(encoding.vocab().touch());
}

/// The bytes of every token, in rank order.
///
/// For conformance tests: written as `base64(bytes) + " " + rank` lines this is OpenAI's published `.tiktoken` file.
pub fn vocabulary(encoding: Encoding) -> Vec<Vec<u8>> {
    let mut tokens: Vec<(Vec<u8>, u32)> = encoding.vocab().tokens().collect();
    tokens.sort_unstable_by_key(|(_, rank)| *rank);
    tokens.into_iter().map(|(bytes, _)| bytes).collect()
}

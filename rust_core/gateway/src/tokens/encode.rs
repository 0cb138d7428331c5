//! The tokens of a text themselves, for clients that ask which they are.
//!
//! Apart from counting, which every call does and which therefore never writes down what it found.

use std::ops::ControlFlow;

use super::memo::Memo;
use super::vocab::{self, Vocab};
use super::words::Words;
use super::{Encoding, cl100k, merge, o200k};

/// Calls `each` with the rank and the bytes of every token of `text`, in order, until it breaks off; special tokens in
/// the text are ordinary text. The bytes of all tokens together are the text; those of one need not be whole characters.
///
/// Equal to `tiktoken`'s `encode_ordinary`. Time as [`super::count`]; memory in proportion to the longest piece without
/// a word boundary.
pub fn encode(encoding: Encoding, text: &str, each: impl FnMut(u32, &[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut words = Words::default();
    let text = text.as_bytes();
    match encoding {
        Encoding::O200kBase => {
            encode_with(&vocab::O200K, Memo::new(0), text, |text, pos| o200k(&mut words, text, pos), each)
        }
        Encoding::Cl100kBase => {
            encode_with(&vocab::CL100K, Memo::new(1), text, |text, pos| cl100k(&mut words, text, pos), each)
        }
    }
}

fn encode_with(
    vocab: &Vocab,
    mut memo: Memo,
    text: &[u8],
    mut split: impl FnMut(&[u8], usize) -> usize,
    mut each: impl FnMut(u32, &[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut ranks = Vec::new();
    let mut start = 0;
    while start < text.len() {
        // As in counting: every alternative takes at least one character.
        let end = split(text, start).max(start + 1).min(text.len());
        ranks.clear();
        match vocab.rank(text, start, end) {
            Some(rank) => ranks.push(rank),
            None => merge::encode_into(vocab, &mut memo, text, start, end, &mut ranks),
        }
        for &rank in &ranks {
            let next = (start + vocab.token(rank).length()).min(end);
            each(rank, text.get(start..next).unwrap_or_default())?;
            start = next;
        }
        start = end;
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow::{Break, Continue};

    use proptest::prelude::*;

    use super::super::{Encoding, count, vocabulary};
    use super::encode;

    const BOTH: [Encoding; 2] = [Encoding::O200kBase, Encoding::Cl100kBase];

    fn ranks(encoding: Encoding, text: &str) -> Vec<u32> {
        let mut ranks = Vec::new();
        let ended = encode(encoding, text, |rank, _| {
            ranks.push(rank);
            Continue(())
        });
        assert_eq!(ended, Continue(()));
        ranks
    }

    /// Known encodings, from `tiktoken` itself.
    #[test]
    fn published_examples() {
        assert_eq!(ranks(Encoding::Cl100kBase, "tiktoken is great!"), [83, 1609, 5963, 374, 2294, 0]);
        assert_eq!(ranks(Encoding::Cl100kBase, "antidisestablishmentarianism"), [519, 85342, 34500, 479, 8997, 2191]);
        assert_eq!(ranks(Encoding::O200kBase, "antidisestablishmentarianism"), [493, 129901, 376, 160388, 21203, 2367]);
        assert_eq!(
            ranks(Encoding::O200kBase, "お誕生日おめでとう"),
            [8930, 9697, 243, 128225, 8930, 17693, 4344, 48669]
        );
        assert!(ranks(Encoding::O200kBase, "").is_empty());
    }

    #[test]
    fn what_is_asked_to_stop_stops() {
        let mut seen = 0;
        let ended = encode(Encoding::O200kBase, "one two three four", |_, _| {
            seen += 1;
            if seen == 2 { Break(()) } else { Continue(()) }
        });
        assert_eq!((ended, seen), (Break(()), 2));
    }

    #[test]
    fn long_pieces_are_found_as_they_are_counted() {
        for encoding in BOTH {
            let vocabulary = vocabulary(encoding);
            for unit in ["a", "=-", "aaab", "ab漢", "ก", "\u{10ffff}", " ", "éÉ"] {
                let text = unit.repeat(40_000);
                let mut bytes = Vec::with_capacity(text.len());
                let mut tokens = 0;
                let _ = encode(encoding, &text, |rank, token| {
                    assert_eq!(vocabulary[rank as usize], token);
                    bytes.extend_from_slice(token);
                    tokens += 1;
                    Continue(())
                });
                assert_eq!(tokens, count(encoding, &text), "{encoding} {unit:?}");
                assert_eq!(bytes, text.as_bytes(), "{encoding} {unit:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_tokens_are_the_text_and_as_many_as_were_counted(text in "(\\PC|[a-z ]{0,12}|[\n\t ]|漢字){0,40}") {
            for encoding in BOTH {
                let mut bytes = Vec::new();
                let mut tokens = 0;
                let _ = encode(encoding, &text, |_, token| {
                    bytes.extend_from_slice(token);
                    tokens += 1;
                    Continue(())
                });
                prop_assert_eq!(&bytes, text.as_bytes());
                prop_assert_eq!(tokens, count(encoding, &text));
            }
        }
    }
}

//! The words of which answers are made: place `i` of an answer has word `i` modulo their number.
//!
//! Each is one token of both `o200k_base` and `cl100k_base`, alone and with a space before it, and
//! tokens stay tokens when they are joined, since both encodings split text before each space. So a
//! client that counts what it got, because the usage never came, arrives at the simulator's figure.
//! The list is in a file of its own so that a client can carry it, too, and check the order.

use std::sync::LazyLock;

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| include_str!("words.txt").lines().collect());

/// The word at a place.
pub(crate) fn word(place: u64) -> &'static str {
    let count = WORDS.len().max(1) as u64;
    WORDS.get((place % count) as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_distinct_and_need_no_escaping() {
        assert_eq!(WORDS.len(), 1_000);
        assert_eq!(WORDS.iter().collect::<HashSet<_>>().len(), WORDS.len());
        assert!(WORDS.iter().all(|w| (3..=9).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_lowercase())));
        assert!(!WORDS.contains(&"tool"), "a prompt made of them asks for no tool call");
    }

    #[test]
    fn places_go_round() {
        assert_eq!((word(0), word(1), word(1_000), word(2_001)), ("time", "river", "time", "river"));
    }
}

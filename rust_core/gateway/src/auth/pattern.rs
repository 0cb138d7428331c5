//! `*` patterns of model names and route paths.
//!
//! Apart because models and routes use the same ones: `*` stands for any text, the empty one and `/` included.

/// Whether `text` matches `pattern`. Linear in the text for one `*`; never exponential.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut rest = rest;
    // Between two stars the leftmost place is as good as any other: what follows has the most left to match.
    while let Some((middle, after)) = rest.split_once('*') {
        let Some(at) = text.find(middle) else { return false };
        let Some(left) = text.get(at + middle.len()..) else { return false };
        (text, rest) = (left, after);
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// The definition, without cleverness.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some((first, rest)) => text.split_first().is_some_and(|(head, tail)| head == first && naive(rest, tail)),
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches("openai/*", "openai/gpt-4o"));
        assert!(matches("openai/*", "openai/"));
        assert!(!matches("openai/*", "azure/openai/gpt-4o"));
        assert!(matches("*/gpt-*-mini", "openai/gpt-4o-mini"));
        assert!(!matches("a*a", "a"));
        assert!(!matches("gpt-4", "gpt-4o"));
        assert!(matches("*", ""));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261126), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_follows_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,12}") {
            prop_assert_eq!(matches(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}

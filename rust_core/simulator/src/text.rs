//! The text of a request: its words, counted without building it.
//!
//! Prompts can be megabytes and the simulator is a benchmark's mock, so message contents are never
//! turned into values; this visitor walks the JSON and counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Tokens around each message. Source, of the three: OpenAI cookbook, "How to count tokens with tiktoken".
pub(crate) const PER_MESSAGE: u64 = 3;
/// Its role; its name, if it has one, costs as much besides its words.
pub(crate) const ROLE: u64 = 1;
/// The answer is primed.
pub(crate) const PRIMING: u64 = 3;

/// What is known of some text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// White-space separated words; a number of a token list counts as one.
    pub(crate) words: u64,
    /// The word `tool` occurs.
    pub(crate) mentions_tool: bool,
    /// A tool result (Anthropic's block or a Responses item) is among it.
    pub(crate) tool_result: bool,
}

impl Text {
    pub(crate) fn of(text: &str) -> Self {
        let mut all = Self::default();
        for word in text.split_ascii_whitespace() {
            all.words += 1;
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            all.mentions_tool |= bare.eq_ignore_ascii_case("tool");
        }
        all
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.words += other.words;
        self.mentions_tool |= other.mentions_tool;
        self.tool_result |= other.tool_result;
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of content parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text::of(text))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text { words: 1, ..Text::default() })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text { words: 1, ..Text::default() })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text, A::Error> {
        let mut all = Text::default();
        while let Some(part) = parts.next_element::<Text>()? {
            all.add(part);
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        let mut all = Text::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "text" | "content" | "thinking" | "output" => all.add(map.next_value()?),
                "type" => all.tool_result |= map.next_value::<&'de RawValue>()?.get() == r#""tool_result""#,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(json: &str) -> u64 {
        serde_json::from_str::<Text>(json).unwrap().words
    }

    #[test]
    fn every_kind_of_content_is_counted() {
        assert_eq!(words(r#""one  two\nthree""#), 3);
        assert_eq!(words(r#"[{"type":"text","text":"a b"},{"type":"image_url","image_url":{"url":"x y"}}]"#), 2);
        assert_eq!(words(r#"[{"type":"tool_result","content":[{"type":"text","text":"a b c"}]}]"#), 3);
        assert_eq!(words("[1,2,3]"), 3);
        assert_eq!(words("null"), 0);
    }

    #[test]
    fn tool_is_found_as_a_word_only() {
        assert!(Text::of("use the Tool, please").mentions_tool);
        assert!(!Text::of("toolbox stool").mentions_tool);
    }
}

//! Members that providers write in several forms, read into one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::openai::{Text, text};

/// Unix seconds, however a provider writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl Visitor<'_> for Forms {
            type Value = Seconds;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("Unix seconds")
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<Seconds, E> {
                Ok(Seconds(seconds))
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<Seconds, E> {
                Ok(Seconds(i64::try_from(seconds).unwrap_or(0)))
            }

            fn visit_f64<E>(self, seconds: f64) -> Result<Seconds, E> {
                Ok(Seconds(seconds as i64))
            }

            fn visit_str<E>(self, seconds: &str) -> Result<Seconds, E> {
                Ok(Seconds(seconds.parse().unwrap_or(0)))
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// What was said: text, with some providers parts, of which some are thinking.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) thinking: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Content<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Content<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text or parts")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content { text: Cow::Borrowed(text), ..Content::default() })
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content { text: Cow::Owned(text.to_owned()), ..Content::default() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut all = Content::default();
                while let Some(part) = parts.next_element::<Part<'de>>()? {
                    all.text.to_mut().push_str(text(&part.text));
                    if let Some(thinking) = part.thinking {
                        all.thinking.to_mut().push_str(&thinking.text);
                    }
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// The strings of an array; what else it holds is passed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Urls<'a>(pub(super) Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Urls<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Urls<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut urls = Vec::new();
                while let Some(item) = items.next_element::<&'de RawValue>()? {
                    if item.get().starts_with('"') {
                        urls.push(serde_json::from_str::<Text<'de>>(item.get()).map_err(A::Error::custom)?.0);
                    }
                }
                Ok(Urls(urls))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Urls::default())
            }
        }
        deserializer.deserialize_any(Items)
    }
}

#[cfg(test)]
mod tests {
    use super::super::openai::Answer;
    use super::*;

    #[test]
    fn content_in_parts_is_joined_and_thinking_kept_apart() {
        let json = r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"},{"type":"text","text":"m"}]},
            {"type":"text","text":"a"},{"type":"reference","reference_ids":[1]},{"type":"text","text":"\n"}]"#;
        let content: Content<'_> = serde_json::from_str(json).unwrap();
        assert_eq!((&*content.text, &*content.thinking), ("a\n", "hmm"));
    }

    #[test]
    fn seconds_and_citations_are_read_in_any_form() {
        let of = |json| serde_json::from_str::<Answer<'_>>(json).unwrap();
        assert_eq!(of(r#"{"created":1.5e3}"#).created, Some(Seconds(1500)));
        assert_eq!(of(r#"{"created":"12"}"#).created, Some(Seconds(12)));
        assert_eq!(of(r#"{"created":null}"#).created, None);
        assert_eq!(of(r#"{"citations":["a",{"url":"b"},"c"]}"#).citations.unwrap().0, ["a", "c"]);
        assert_eq!(of(r#"{"citations":{}}"#).citations.unwrap(), Urls::default());
    }
}

//! What is read of OpenAI's answers: the members that have a place in xAI's messages, borrowed from the JSON text.
//!
//! Apart from the canonical types because those keep every member for writing it again, and here nothing is written
//! again. Whole answers and chunks share one set of types: a chunk's `delta` is a message in part.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::forms::{Content, Seconds, Urls};

/// A string, borrowed where it holds no escapes. (serde borrows a `Cow` only where it is the field itself.)
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The text of a member that may be absent or null.
pub(super) fn text<'t>(member: &'t Option<Text<'_>>) -> &'t str {
    member.as_ref().map_or("", |text| &text.0)
}

/// A chat completion, a chunk of one, or a text completion in either form.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    pub(super) created: Option<Seconds>,
    #[serde(borrow)]
    pub(super) system_fingerprint: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) service_tier: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    /// Where Groq puts the usage of a stream.
    #[serde(borrow)]
    pub(super) x_groq: Option<Groq<'a>>,
    /// URLs, with xAI and Perplexity.
    #[serde(borrow)]
    pub(super) citations: Option<Urls<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Groq<'a> {
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    pub(super) index: Option<u32>,
    #[serde(borrow)]
    pub(super) message: Option<Said<'a>>,
    #[serde(borrow)]
    pub(super) delta: Option<Said<'a>>,
    /// Of a text completion.
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
    /// Raw, because a text completion's have another form.
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// A message, or what a chunk adds to one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Text<'a>>,
    /// What some providers call the same.
    #[serde(borrow)]
    pub(super) reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    pub(super) annotations: Option<Vec<Annotation<'a>>>,
}

/// A call, or a fragment of one.
#[derive(Debug, Deserialize)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u32>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    /// A string of JSON; with some servers the JSON itself.
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

impl<'a> Function<'a> {
    /// The arguments as JSON text.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        match self.arguments.map(RawValue::get) {
            None => Cow::Borrowed(""),
            Some(raw) if raw.starts_with('"') => {
                serde_json::from_str::<Text<'a>>(raw).map_or(Cow::Borrowed(""), |text| text.0)
            }
            Some(raw) => Cow::Borrowed(raw),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Annotation<'a> {
    #[serde(borrow)]
    pub(super) url_citation: Option<UrlCitation<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct UrlCitation<'a> {
    #[serde(borrow)]
    pub(super) url: Option<Text<'a>>,
}

/// Log probabilities of a chat completion.
#[derive(Debug, Deserialize)]
pub(super) struct Logprobs<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Vec<Logprob<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Logprob<'a> {
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
    pub(super) logprob: Option<f32>,
    pub(super) bytes: Option<Vec<u8>>,
    #[serde(borrow)]
    pub(super) top_logprobs: Option<Vec<Logprob<'a>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_escapes_is_borrowed() {
        let json = r#"{"id":"plain","model":"with \"quotes\"","choices":[{"index":0,"delta":{"content":"hi"}}]}"#;
        let answer: Answer<'_> = serde_json::from_str(json).unwrap();
        assert!(matches!(answer.id, Some(Text(Cow::Borrowed("plain")))));
        assert_eq!(text(&answer.model), "with \"quotes\"");
        let choices = answer.choices.unwrap();
        let content = choices[0].delta.as_ref().unwrap().content.as_ref().unwrap();
        assert!(matches!(content.text, Cow::Borrowed("hi")));
    }

    #[test]
    fn arguments_are_text_however_they_are_written() {
        let of = |json: &'static str| serde_json::from_str::<Function<'_>>(json).unwrap().arguments();
        assert_eq!(of(r#"{"arguments":"{\"a\":1}"}"#), r#"{"a":1}"#);
        assert_eq!(of(r#"{"arguments":{"a": 1}}"#), r#"{"a": 1}"#);
        assert_eq!(of(r#"{"arguments":null}"#), "");
        assert_eq!(of("{}"), "");
    }
}

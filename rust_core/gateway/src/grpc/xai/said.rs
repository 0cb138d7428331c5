//! What a model said, as `CompletionMessage` or `Delta`: the two have the same fields.

use std::borrow::Cow;

use bytes::BytesMut;

use super::openai::{self, Call, Logprob, Logprobs, Said, text};
use super::put;

const ROLE_ASSISTANT: u64 = 2;
const CLIENT_SIDE_TOOL: u64 = 1;

/// Why an answer ended.
pub(super) const MAX_LEN: u64 = 1;
pub(super) const MAX_CONTEXT: u64 = 2;
pub(super) const STOP: u64 = 3;
pub(super) const TOOL_CALLS: u64 = 4;

/// The value of `FinishReason`; words that have none of their own mean that the model was done.
pub(super) fn finish_reason(word: &str) -> u64 {
    match word {
        "length" | "max_tokens" => MAX_LEN,
        "model_length" | "model_context_window_exceeded" => MAX_CONTEXT,
        "tool_calls" | "function_call" => TOOL_CALLS,
        _ => STOP,
    }
}

/// Text of an answer, or an addition to it.
#[derive(Debug, Default)]
pub(super) struct Words<'a> {
    pub(super) content: Cow<'a, str>,
    pub(super) reasoning: Cow<'a, str>,
}

impl<'a> Words<'a> {
    /// A refusal is told as content, for which it stands in.
    pub(super) fn of(said: &'a Said<'_>) -> Self {
        let (content, thinking) =
            said.content.as_ref().map_or(("", ""), |content| (&*content.text, &*content.thinking));
        let content = if content.is_empty() { text(&said.refusal) } else { content };
        let reasoning = [text(&said.reasoning_content), text(&said.reasoning), thinking];
        let reasoning = reasoning.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        Self { content: content.into(), reasoning: reasoning.into() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.content.is_empty() && self.reasoning.is_empty()
    }
}

/// A whole call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WholeCall<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) arguments: Cow<'a, str>,
}

impl<'a> WholeCall<'a> {
    pub(super) fn of(call: &'a Call<'_>) -> Self {
        let function = call.function.as_ref();
        Self {
            id: text(&call.id).into(),
            name: function.map_or("", |function| text(&function.name)).into(),
            arguments: function.map(openai::Function::arguments).unwrap_or_default(),
        }
    }
}

/// Writes the message's fields. The role is always the assistant's: clients skip what has another, or none.
pub(super) fn message(out: &mut BytesMut, field: u32, words: &Words<'_>, calls: &[WholeCall<'_>]) {
    put::message(out, field, |out| {
        put::text(out, 1, &words.content);
        put::number(out, 2, ROLE_ASSISTANT);
        for call in calls {
            put::message(out, 3, |out| {
                put::text(out, 1, &call.id);
                put::number(out, 2, CLIENT_SIDE_TOOL);
                put::message(out, 10, |out| {
                    put::text(out, 1, &call.name);
                    // Clients parse it as JSON, and nothing is none.
                    put::text(out, 2, if call.arguments.is_empty() { "{}" } else { &call.arguments });
                });
            });
        }
        put::text(out, 4, &words.reasoning);
    });
}

/// Log probabilities, where they have the form of chat completions.
pub(super) fn logprobs(choice: &openai::Choice<'_>) -> Option<Vec<u8>> {
    let raw = choice.logprobs?.get();
    let tokens = serde_json::from_str::<Logprobs<'_>>(raw).ok()?.content?;
    let mut out = BytesMut::new();
    tokens.iter().for_each(|token| put::message(&mut out, 1, |out| logprob(out, token)));
    (!out.is_empty()).then(|| out.to_vec())
}

fn logprob(out: &mut BytesMut, token: &Logprob<'_>) {
    put::text(out, 1, text(&token.token));
    put::float(out, 2, token.logprob.unwrap_or_default());
    put::bytes(out, 3, token.bytes.as_deref().unwrap_or_default());
    for other in token.top_logprobs.iter().flatten() {
        put::message(out, 4, |out| logprob(out, other));
    }
}

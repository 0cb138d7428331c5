//! A whole Messages answer as a chat completion.

use serde_json::value::RawValue;

use super::blocks;
use super::error::WireError;
use super::usage::{self, Tally};
use crate::canonical::raw::wire;
use crate::canonical::{ChatResponse, Choice, Content, Nullable, Object, Raw, ResponseMessage, raw};
use crate::usage::Usage;

/// What the answer must say about itself.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext<'a> {
    /// Model name as the client asked for it.
    pub model: &'a str,
    /// Unix seconds.
    pub created: u64,
}

wire! {
    /// The body of an answer.
    struct Message {
        /// `msg_...`.
        id: Option<String>,
        /// Blocks, unparsed.
        content: Option<Vec<Raw>>,
        /// Why the model stopped.
        stop_reason: Option<String>,
        /// Figures, unparsed.
        usage: Option<Raw>,
        /// Set when the body is an error in disguise.
        error: Option<Raw>,
    }
}

/// Translate an answer; also its usage (zeros when the upstream stated none).
///
/// # Errors
/// The body is not a Messages answer.
pub fn response(body: &[u8], ctx: &ResponseContext<'_>) -> Result<(Vec<u8>, Usage), WireError> {
    let message: Message =
        serde_json::from_slice(body).map_err(|error| WireError::malformed("the answer is not a message", &error))?;
    if let Some(error) = &message.error {
        return Err(stated(error));
    }
    let Some(content) = &message.content else {
        return Err(WireError {
            kind: "malformed_response".to_owned(),
            message: "the answer is not a message: it has no `content`".to_owned(),
        });
    };
    let mut answer = Answer::default();
    for block in content {
        answer.block(block)?;
    }

    let stop_reason = message.stop_reason.as_deref();
    blocks::stop_fields(stop_reason, &message.rest, &mut answer.fields);
    let refused = stop_reason == Some("refusal");
    let mut tally = Tally::default();
    if let Some(usage) = &message.usage {
        tally.add(usage, true);
    }
    let used = tally.usage().unwrap_or_default();
    let statement = message.usage.as_deref();
    let completion = ChatResponse {
        id: message.id.clone().unwrap_or_default(),
        object: "chat.completion".to_owned(),
        created: ctx.created,
        model: ctx.model.to_owned(),
        choices: vec![Choice {
            index: 0,
            finish_reason: Nullable(Some(blocks::finish_reason(stop_reason).to_owned())),
            message: answer.message(refused.then(|| blocks::refusal_text(&message.rest)).flatten()),
            ..Choice::default()
        }],
        usage: Some(usage::object(used, statement.as_slice())),
        service_tier: statement.and_then(usage::service_tier),
        ..ChatResponse::default()
    };
    Ok((completion.to_json(), used))
}

/// The error inside an `error` event or body.
pub(super) fn stated(error: &RawValue) -> WireError {
    let error: Object = raw::parse(error).unwrap_or_default();
    WireError {
        kind: error.text("type").unwrap_or_else(|| "api_error".to_owned()),
        message: error.text("message").unwrap_or_else(|| "the upstream failed without an explanation".to_owned()),
    }
}

/// The message while its blocks are read.
#[derive(Default)]
struct Answer {
    text: Option<String>,
    characters: usize,
    reasoning: Option<String>,
    thinking: Vec<Raw>,
    annotations: Vec<Raw>,
    citations: Vec<Raw>,
    others: Vec<Raw>,
    calls: Vec<crate::canonical::ToolCall>,
    fields: Object,
}

impl Answer {
    fn block(&mut self, raw: &Raw) -> Result<(), WireError> {
        let block: Object = serde_json::from_str(raw.get())
            .map_err(|error| WireError::malformed("a content block is not an object", &error))?;
        match block.text("type").as_deref() {
            Some("text") => {
                let text = block.text("text").unwrap_or_default();
                let start = self.characters;
                self.characters += text.chars().count();
                self.text.get_or_insert_default().push_str(&text);
                let cited: Vec<Raw> = block.get("citations").and_then(raw::parse).unwrap_or_default();
                let end = self.characters;
                self.annotations.extend(cited.iter().filter_map(|one| blocks::annotation(one, start, end)));
                self.citations.extend(cited);
            }
            Some("thinking") => {
                self.reasoning.get_or_insert_default().push_str(&block.text("thinking").unwrap_or_default());
                self.thinking.push(raw.clone());
            }
            Some("redacted_thinking") => self.thinking.push(raw.clone()),
            Some("tool_use") => {
                let arguments = block.get("input").filter(|input| !raw::is_null(input)).map_or("{}", RawValue::get);
                self.calls.push(blocks::tool_call(&block, None, arguments.to_owned()));
            }
            _ => self.others.push(raw.clone()),
        }
        Ok(())
    }

    fn message(mut self, refusal: Option<String>) -> ResponseMessage {
        let some = |list: Vec<Raw>| (!list.is_empty()).then_some(list);
        if !self.citations.is_empty() {
            self.fields.push("citations", &self.citations);
        }
        if !self.others.is_empty() {
            self.fields.push("content_blocks", &self.others);
        }
        ResponseMessage {
            role: "assistant".to_owned(),
            content: Nullable(self.text.map(Content::Text)),
            refusal: Nullable(refusal),
            tool_calls: (!self.calls.is_empty()).then_some(self.calls),
            reasoning_content: self.reasoning,
            thinking_blocks: some(self.thinking),
            annotations: some(self.annotations),
            provider_specific_fields: (!self.fields.is_empty()).then_some(self.fields),
            rest: Object::new(),
        }
    }
}

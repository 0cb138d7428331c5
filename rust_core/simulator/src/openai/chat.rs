//! `POST /chat/completions`.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{chat_stream, choices, sent, usage_json};
use crate::call::{Call, Early, Usage};
use crate::json::{put, quoted};
use crate::output::{Ask, Finish, Output, Stops, tree};
use crate::reply::{Answer, Refusal, Unary, Wire};
use crate::schema;
use crate::text::{PER_MESSAGE, PRIMING, ROLE, Text};

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Text,
    name: Option<Text>,
}

impl Message<'_> {
    fn prompt_tokens(&self) -> u64 {
        PER_MESSAGE + ROLE + self.content.words + self.name.map_or(0, |name| ROLE + name.words)
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    messages: Option<Vec<Message<'a>>>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u32>,
    #[serde(borrow)]
    stop: Option<Stops<'a>>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
}

/// What a chat answer says, before its form is chosen.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) model: String,
    pub(super) created: u64,
    pub(super) seq: u64,
    pub(super) choices: u32,
    pub(super) output: Output,
    pub(super) finish: &'static str,
    pub(super) usage: Usage,
    pub(super) azure: bool,
}

/// Azure's verdict on harmless content.
pub(super) const FILTER: &str = r#"{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}"#;

/// OpenAI's name of a finish.
pub(super) fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Sequence(_) => "stop",
        Finish::Length => "length",
        Finish::Call => "tool_calls",
    }
}

pub(crate) fn answer(call: &mut Call<'_>) -> Result<Answer, Early> {
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let messages = request.messages.ok_or_else(|| Refusal::missing("messages"))?;
    let prompt = messages.iter().map(Message::prompt_tokens).sum::<u64>() + PRIMING;
    let last_user = messages.iter().rev().find(|m| m.role == "user").map(|m| m.content);
    let after_result = messages.last().is_some_and(|m| m.role == "tool" || m.role == "function");
    let tool = match request.tools {
        Some(_) if !after_result => {
            let wanted = last_user.is_some_and(|t| t.mentions_tool);
            schema::choose(&tree(request.tools), &tree(request.tool_choice), wanted)
        }
        _ => None,
    };
    let choices = choices(request.n)?;
    let ask = Ask {
        max: request.max_completion_tokens.or(request.max_tokens),
        choices,
        stops: Vec::new(),
        tool,
        format: format(&tree(request.response_format)),
    }
    .with_stops(request.stop);
    ask.check(&call.control, request.stream == Some(true))?;
    let (output, finish) = ask.decide(&call.control);
    let usage = call.count(prompt, sent(&output, choices));
    let chat = Chat {
        model: quoted(&call.facts.model),
        created: call.created,
        seq: call.seq,
        choices,
        output,
        finish: finish_reason(&finish),
        usage,
        azure: call.wire == Wire::Azure,
    };
    if request.stream == Some(true) {
        call.facts.stream = true;
        let include_usage = request.stream_options.and_then(|o| o.include_usage).unwrap_or(false);
        return Ok(Answer::Stream(chat_stream::plan(&chat, include_usage, &call.control.faults)));
    }
    let tokens = sent(&chat.output, choices);
    Ok(Answer::Unary(Unary::json(unary(&chat, call.control.faults.no_usage).freeze()).tokens(tokens)))
}

/// The schema of `response_format`, when it asks for JSON.
fn format(format: &serde_json::Value) -> Option<serde_json::Value> {
    match format.get("type").and_then(|t| t.as_str()) {
        Some("json_schema") => Some(format.pointer("/json_schema/schema").cloned().unwrap_or_default()),
        Some("json_object") => Some(serde_json::json!({})),
        _ => None,
    }
}

fn unary(chat: &Chat, no_usage: bool) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    let Chat { model, created, seq, .. } = chat;
    put!(
        out,
        r#"{{"id":"chatcmpl-sim{seq:016}","object":"chat.completion","created":{created},"model":{model},"choices":["#
    );
    for choice in 0..chat.choices {
        if choice > 0 {
            out.put_u8(b',');
        }
        put!(out, r#"{{"index":{choice},"message":{{"role":"assistant","content":"#);
        match &chat.output {
            Output::Call { name, .. } => {
                put!(
                    out,
                    r#"null,"tool_calls":[{{"id":"call_sim{seq:016}_{choice}","type":"function","function":{{"name":{},"arguments":""#,
                    quoted(name)
                );
                chat.output.put(choice as usize, &mut out);
                out.put_slice(br#""}}]"#);
            }
            output => {
                out.put_u8(b'"');
                output.put(choice as usize, &mut out);
                out.put_u8(b'"');
            }
        }
        out.put_slice(br#","refusal":null,"annotations":[]},"logprobs":null,"#);
        if chat.azure {
            put!(out, r#""content_filter_results":{FILTER},"#);
        }
        put!(out, r#""finish_reason":"{}"}}"#, chat.finish);
    }
    out.put_u8(b']');
    if chat.azure {
        put!(out, r#","prompt_filter_results":[{{"prompt_index":0,"content_filter_results":{FILTER}}}]"#);
    }
    if !no_usage {
        put!(out, r#","usage":{}"#, usage_json(&chat.usage));
    }
    out.put_slice(br#","service_tier":"default","system_fingerprint":"fp_sim0000001"}"#);
    out
}

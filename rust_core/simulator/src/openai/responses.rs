//! `POST /responses`.

use std::borrow::Cow;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::responses_stream;
use crate::call::{Call, Early, Usage};
use crate::json::quoted;
use crate::output::{Ask, Finish, Output, tree};
use crate::reply::{Answer, Refusal, Unary};
use crate::schema;
use crate::text::{PER_MESSAGE, PRIMING, ROLE, Text};

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(default)]
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
}

/// The parts of a response object, rendered.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) seq: u64,
    created: u64,
    /// Fields that echo the request, each with a leading comma.
    echo: String,
    pub(super) output: Output,
    finish: Finish,
    usage: Usage,
    no_usage: bool,
}

impl Response {
    /// The response object; `done`: with its output and usage.
    pub(super) fn object(&self, done: bool) -> String {
        let Self { seq, created, echo, .. } = self;
        let (status, incomplete) = match (done, &self.finish) {
            (false, _) => ("in_progress", "null"),
            (true, Finish::Length) => ("incomplete", r#"{"reason":"max_output_tokens"}"#),
            (true, _) => ("completed", "null"),
        };
        let (output, usage) = if done { (self.item(true), self.usage()) } else { (String::new(), "null".into()) };
        format!(
            r#"{{"id":"resp_sim{seq:016}","object":"response","created_at":{created},"status":"{status}","background":false,"error":null,"incomplete_details":{incomplete},"output":[{output}],"usage":{usage}{echo}}}"#
        )
    }

    fn usage(&self) -> String {
        let Usage { prompt, cached, output, reasoning } = self.usage;
        if self.no_usage {
            return "null".into();
        }
        format!(
            r#"{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{}}}"#,
            prompt + output
        )
    }

    /// The one output item, empty or complete.
    pub(super) fn item(&self, done: bool) -> String {
        let seq = self.seq;
        let status = match (done, &self.finish) {
            (false, _) => "in_progress",
            (true, Finish::Length) => "incomplete",
            (true, _) => "completed",
        };
        match &self.output {
            Output::Call { name, .. } => format!(
                r#"{{"id":"fc_sim{seq:016}","type":"function_call","status":"{status}","arguments":"{}","call_id":"call_sim{seq:016}","name":{}}}"#,
                if done { self.text() } else { String::new() },
                quoted(name)
            ),
            _ => format!(
                r#"{{"id":"msg_sim{seq:016}","type":"message","status":"{status}","role":"assistant","content":[{}]}}"#,
                if done { self.part(true) } else { String::new() }
            ),
        }
    }

    /// The content part of a message.
    pub(super) fn part(&self, done: bool) -> String {
        let text = if done { self.text() } else { String::new() };
        format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}"#)
    }

    /// The text or the arguments, escaped.
    pub(super) fn text(&self) -> String {
        let mut text = BytesMut::new();
        self.output.put(0, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The name of the last event.
    pub(super) fn last_event(&self) -> &'static str {
        if self.finish == Finish::Length { "response.incomplete" } else { "response.completed" }
    }
}

/// Prompt tokens of the input, whether its last user message mentions a tool, and whether it ends in a tool's output.
fn read(input: &RawValue) -> Result<(u64, bool, bool), Refusal> {
    let text: Text = serde_json::from_str(input.get()).map_err(|e| Refusal::invalid(format!("input: {e}")))?;
    let Value::Array(items) = tree(Some(input)) else {
        return Ok((PER_MESSAGE + ROLE + text.words, text.mentions_tool, false));
    };
    let framing = |item: &Value| if item.get("role").is_some() { PER_MESSAGE + ROLE } else { PER_MESSAGE };
    let prompt = text.words + items.iter().filter(|i| i.is_object()).map(framing).sum::<u64>();
    let kind = |item: &Value| item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let after_result = items.last().is_some_and(|i| kind(i).ends_with("_output"));
    let last_user = items.iter().rev().find(|i| i.get("role").and_then(Value::as_str) == Some("user"));
    let wanted = last_user
        .and_then(|i| i.get("content"))
        .and_then(|c| serde_json::from_str::<Text>(&c.to_string()).ok())
        .is_some_and(|t| t.mentions_tool);
    Ok((prompt, wanted, after_result))
}

pub(crate) fn answer(call: &mut Call<'_>) -> Result<Answer, Early> {
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let (prompt, wanted, after_result) = match request.input {
        Some(input) => read(input)?,
        None => return Err(Refusal::missing("input").into()),
    };
    let instructions: Option<Text> = request.instructions.and_then(|i| serde_json::from_str(i.get()).ok()).flatten();
    let prompt = prompt + instructions.map_or(0, |i| PER_MESSAGE + i.words) + PRIMING;
    let tool =
        if after_result { None } else { schema::choose(&tree(request.tools), &tree(request.tool_choice), wanted) };
    let format = tree(request.text);
    let format = match format.pointer("/format/type").and_then(Value::as_str) {
        Some("json_schema") => Some(format.pointer("/format/schema").cloned().unwrap_or_default()),
        Some("json_object") => Some(serde_json::json!({})),
        _ => None,
    };
    let ask = Ask { max: request.max_output_tokens, choices: 1, stops: Vec::new(), tool, format };
    ask.check(&call.control, false)?;
    let (output, finish) = ask.decide(&call.control);
    let usage = call.count(prompt, output.tokens());
    let raw = |value: Option<&RawValue>, default: &str| value.map_or(default, RawValue::get).to_owned();
    let echo = format!(
        r#","instructions":{},"max_output_tokens":{},"max_tool_calls":null,"metadata":{},"model":{},"parallel_tool_calls":true,"previous_response_id":{},"reasoning":{{"effort":null,"summary":null}},"service_tier":"default","store":true,"temperature":1.0,"text":{},"tool_choice":{},"tools":{},"top_logprobs":0,"top_p":1.0,"truncation":"disabled","user":null"#,
        raw(request.instructions, "null"),
        request.max_output_tokens.map_or_else(|| "null".to_owned(), |n| n.to_string()),
        raw(request.metadata, "{}"),
        quoted(&call.facts.model),
        raw(request.previous_response_id, "null"),
        raw(request.text, r#"{"format":{"type":"text"}}"#),
        raw(request.tool_choice, r#""auto""#),
        raw(request.tools, "[]"),
    );
    let faults = &call.control.faults;
    let no_usage = faults.no_usage;
    let response = Response { seq: call.seq, created: call.created, echo, output, finish, usage, no_usage };
    if request.stream == Some(true) {
        call.facts.stream = true;
        return Ok(Answer::Stream(responses_stream::plan(&response, faults)));
    }
    let tokens = response.output.tokens();
    Ok(Answer::Unary(Unary::json(response.object(true)).tokens(tokens)))
}

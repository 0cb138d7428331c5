//! The Anthropic wire: `POST /v1/messages` and `/v1/messages/count_tokens`.

mod stream;

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Call, Early, Usage};
use crate::json::{put, quoted};
use crate::output::{Ask, Finish, Output, Words, tree};
use crate::reply::{Answer, Refusal, Unary};
use crate::schema;
use crate::text::{PER_MESSAGE, PRIMING, ROLE, Text};

/// Replayed byte for byte by a client, or the next turn is refused in real life.
const SIGNATURE: &str = "EqMBCkYIBxgCKkBzaW11bGF0ZWQtdGhpbmtpbmctc2lnbmF0dXJlLTAwMDAwMDAwMDAwMDAwMDE=";

/// Place in the vocabulary where thinking begins, far from where the answer does.
const THOUGHTS: u64 = 500;

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Text,
}

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    messages: Option<Vec<Message<'a>>>,
    system: Option<Text>,
    max_tokens: Option<u64>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(borrow, default)]
    stop_sequences: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    output_config: Option<&'a RawValue>,
}

impl Request<'_> {
    fn prompt_tokens(&self) -> u64 {
        let messages = self.messages.iter().flatten().map(|m| PER_MESSAGE + ROLE + m.content.words).sum::<u64>();
        messages + self.system.map_or(0, |s| PER_MESSAGE + s.words) + PRIMING
    }
}

/// What a message says, before its form is chosen.
#[derive(Debug)]
struct Reply {
    seq: u64,
    model: String,
    thinking: Option<Words>,
    output: Output,
    finish: Finish,
    usage: Usage,
    no_usage: bool,
}

impl Reply {
    fn id(&self) -> String {
        format!("msg_sim{:016}", self.seq)
    }

    fn stop(&self) -> (&'static str, String) {
        match &self.finish {
            Finish::Stop => ("end_turn", "null".into()),
            Finish::Sequence(stop) => ("stop_sequence", quoted(stop)),
            Finish::Length => ("max_tokens", "null".into()),
            Finish::Call => ("tool_use", "null".into()),
        }
    }

    /// `usage` with this many output tokens; Anthropic's input tokens leave the cached ones out.
    fn usage(&self, output: u64) -> String {
        let Usage { prompt, cached, .. } = self.usage;
        format!(
            r#"{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{cached},"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}"#,
            prompt - cached
        )
    }
}

/// `thinking: {type: enabled | adaptive}`; a quarter of the tokens, at least one.
fn thinking(request: &Request<'_>, call: &Call<'_>) -> Option<Words> {
    let thinking = tree(request.thinking);
    let asked = matches!(thinking.get("type").and_then(Value::as_str), Some("enabled" | "adaptive"));
    asked.then(|| Words::new(&call.control, THOUGHTS, (call.control.tokens / 4).max(1)))
}

pub(crate) fn answer(call: &mut Call<'_>) -> Result<Answer, Early> {
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let missing = |field: &str| Refusal::invalid(format!("{field}: Field required"));
    let messages = request.messages.as_ref().ok_or_else(|| missing("messages"))?;
    let max = request.max_tokens.ok_or_else(|| missing("max_tokens"))?;
    let last_user = messages.iter().rev().find(|m| m.role == "user").map(|m| m.content);
    let after_result = messages.last().is_some_and(|m| m.content.tool_result);
    let tool = match request.tools {
        Some(_) if !after_result => {
            let wanted = last_user.is_some_and(|t| t.mentions_tool);
            schema::choose(&tree(request.tools), &tree(request.tool_choice), wanted)
        }
        _ => None,
    };
    let mut thinking = thinking(&request, call);
    if let Some(words) = &mut thinking {
        words.count = words.count.min(max);
    }
    let thought = thinking.as_ref().map_or(0, |t| t.count);
    let format = tree(request.output_config);
    let format = match format.pointer("/format/type").and_then(Value::as_str) {
        Some("json_schema") => Some(format.pointer("/format/schema").cloned().unwrap_or_default()),
        _ => None,
    };
    let prompt = request.prompt_tokens();
    let ask =
        Ask { max: Some(max - thought), choices: 1, stops: request.stop_sequences.unwrap_or_default(), tool, format };
    ask.check(&call.control, request.stream == Some(true))?;
    let (output, finish) = ask.decide(&call.control);
    let sent = output.tokens() + thought;
    let usage = call.count(prompt, sent);
    let no_usage = call.control.faults.no_usage;
    let model = quoted(&call.facts.model);
    let reply = Reply { seq: call.seq, model, thinking, output, finish, usage, no_usage };
    if request.stream == Some(true) {
        call.facts.stream = true;
        return Ok(Answer::Stream(stream::plan(&reply, &call.control.faults)));
    }
    Ok(Answer::Unary(Unary::json(unary(&reply).freeze()).tokens(sent)))
}

fn unary(reply: &Reply) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    put!(out, r#"{{"id":"{}","type":"message","role":"assistant","model":{},"content":["#, reply.id(), reply.model);
    if let Some(words) = &reply.thinking {
        out.put_slice(br#"{"type":"thinking","thinking":""#);
        words.put_all(&mut out);
        put!(out, r#"","signature":"{SIGNATURE}"}},"#);
    }
    match &reply.output {
        Output::Call { name, arguments } => {
            put!(out, r#"{{"type":"tool_use","id":"toolu_sim{:016}","name":{},"input":"#, reply.seq, quoted(name));
            // The fragments are escaped as inside a string; here the object itself is wanted.
            let quoted: String = format!("\"{}\"", arguments.concat());
            let object: String = serde_json::from_str(&quoted).unwrap_or_else(|_| "{}".into());
            put!(out, "{object}}}");
        }
        output => {
            out.put_slice(br#"{"type":"text","text":""#);
            output.put(0, &mut out);
            out.put_slice(br#""}"#);
        }
    }
    let (reason, sequence) = reply.stop();
    put!(out, r#"],"stop_reason":"{reason}","stop_sequence":{sequence}"#);
    if !reply.no_usage {
        put!(out, r#","usage":{}"#, reply.usage(reply.usage.output));
    }
    out.put_u8(b'}');
    out
}

pub(crate) fn count_tokens(call: &mut Call<'_>) -> Result<Answer, Early> {
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let usage = call.count(request.prompt_tokens(), 0);
    Ok(Answer::Unary(Unary::json(format!(r#"{{"input_tokens":{}}}"#, usage.prompt))))
}

//! `GetCompletionsRequest` as the body of `POST /v1/chat/completions`.
//!
//! What OpenAI's API has no member for is refused by name and never left out in silence.

use bytes::Bytes;

use super::json::Json;
use super::read::{self, Value, each, word};
use super::{message, tools};
use crate::errors::{Failure, Kind, Outcome};

const EFFORTS: [&str; 5] = ["low", "medium", "high", "none", "xhigh"];
const TIERS: [&str; 2] = ["default", "priority"];
const SEARCH_OFF: u64 = 1;

/// The fields of a request; messages inside it are still wire bytes.
#[derive(Default)]
struct Completion<'a> {
    messages: Vec<&'a [u8]>,
    model: &'a str,
    frequency_penalty: Option<f32>,
    logprobs: bool,
    top_logprobs: Option<i32>,
    max_tokens: Option<i32>,
    n: Option<i32>,
    presence_penalty: Option<f32>,
    response_format: Option<tools::ResponseFormat<'a>>,
    seed: Option<i32>,
    stop: Vec<&'a str>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    user: &'a str,
    tools: Vec<&'a [u8]>,
    tool_choice: Option<tools::Choice<'a>>,
    reasoning_effort: Option<&'static str>,
    parallel_tool_calls: Option<bool>,
    service_tier: Option<&'static str>,
    safety_identifier: &'a str,
    search_mode: Option<u64>,
}

/// The JSON body; `stream` where the answer is to come in chunks, which then state the usage.
pub(super) fn body(message: &[u8], stream: bool, limit: usize) -> Outcome<Bytes> {
    let request = fields(message, limit)?;
    if request.search_mode.is_some_and(|mode| mode != SEARCH_OFF) {
        return Err(refused("search_parameters", "live search runs at xAI; leave it out or set its mode to OFF"));
    }
    let mut json = Json::object(message.len() + message.len() / 4 + 256, limit);
    json.text("model", request.model);
    message::all(&mut json, &request.messages)?;
    write(&request, &mut json)?;
    if stream {
        json.streamed();
    }
    json.finish()
}

fn fields(message: &[u8], limit: usize) -> Outcome<Completion<'_>> {
    let mut r = Completion::default();
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => read::push(&mut r.messages, bytes, r#"{"role":"","content":""}"#.len(), limit)?,
            (2, Value::Bytes(bytes)) => r.model = read::text("model", bytes)?,
            (3, Value::Fixed32(bits)) => r.frequency_penalty = Some(read::float("frequency_penalty", bits)?),
            (5, Value::Varint(bits)) => r.logprobs = bits != 0,
            (6, Value::Varint(bits)) => r.top_logprobs = Some(bits as i32),
            (7, Value::Varint(bits)) => r.max_tokens = Some(bits as i32),
            (8, Value::Varint(bits)) => r.n = Some(bits as i32),
            (9, Value::Fixed32(bits)) => r.presence_penalty = Some(read::float("presence_penalty", bits)?),
            (10, Value::Bytes(bytes)) => {
                read::within(|| "response_format", r.response_format.get_or_insert_default().read(bytes))?;
            }
            (11, Value::Varint(bits)) => r.seed = Some(bits as i32),
            (12, Value::Bytes(bytes)) => read::push(&mut r.stop, read::text("stop", bytes)?, r#""","#.len(), limit)?,
            (14, Value::Fixed32(bits)) => r.temperature = Some(read::float("temperature", bits)?),
            (15, Value::Fixed32(bits)) => r.top_p = Some(read::float("top_p", bits)?),
            (16, Value::Bytes(bytes)) => r.user = read::text("user", bytes)?,
            (17, Value::Bytes(bytes)) => read::push(&mut r.tools, bytes, r#"{"type":"function"}"#.len(), limit)?,
            (18, Value::Bytes(bytes)) => {
                read::within(|| "tool_choice", r.tool_choice.get_or_insert_default().read(bytes))?;
            }
            (19, Value::Varint(bits)) => r.reasoning_effort = word("reasoning_effort", bits, &EFFORTS)?,
            (20, Value::Bytes(bytes)) => search_mode(bytes, r.search_mode.get_or_insert(0))?,
            (21, Value::Varint(bits)) => r.parallel_tool_calls = Some(bits != 0),
            (31, Value::Varint(bits)) => r.service_tier = word("service_tier", bits, &TIERS)?,
            (34, Value::Bytes(bytes)) => r.safety_identifier = read::text("safety_identifier", bytes)?,
            (number, value) => without_counterpart(number, value)?,
        }
        Ok(())
    })?;
    Ok(r)
}

fn search_mode(parameters: &[u8], mode: &mut u64) -> Outcome<()> {
    each(parameters, |number, value| {
        if let (1, Value::Varint(bits)) = (number, value) {
            *mode = bits;
        }
        Ok(())
    })
}

/// Refuses what no member of OpenAI's request says. Fields that are not known at all are passed over, as in any message.
fn without_counterpart(number: u32, value: Value<'_>) -> Outcome<()> {
    let said = match value {
        Value::Varint(bits) => bits != 0,
        Value::Bytes(bytes) => !bytes.is_empty(),
        _ => false,
    };
    let (name, why) = match number {
        22 if said => ("previous_response_id", "answers are not stored; send the conversation as messages"),
        23 if said => ("store_messages", "answers are not stored; leave it out"),
        24 if said => ("use_encrypted_content", "only xAI can read encrypted thinking; leave it out"),
        25 => ("max_turns", "it bounds tools that run at xAI; leave it out"),
        26 if matches!(value, Value::Varint(_)) || said => {
            ("include", "it is about tools that run at xAI; leave it out")
        }
        29 if said => ("agent_count", "agents run at xAI; leave it out"),
        39 => ("guidelines", "they are xAI's own; leave them out"),
        _ => return Ok(()),
    };
    Err(refused(name, why))
}

/// A field that cannot be expressed in OpenAI's API.
pub(super) fn refused(field: &'static str, why: &'static str) -> Failure {
    Failure::new(Kind::ParameterUnsupported, why).param(field)
}

fn write(r: &Completion<'_>, json: &mut Json) -> Outcome<()> {
    json.display("frequency_penalty", r.frequency_penalty);
    json.display("logprobs", r.logprobs.then_some(true));
    json.display("top_logprobs", r.top_logprobs);
    json.display("max_tokens", r.max_tokens);
    // The Python client always says it; one is what providers give that do not know the member.
    json.display("n", r.n.filter(|n| *n != 1));
    json.display("presence_penalty", r.presence_penalty);
    if let Some(format) = &r.response_format {
        read::within(|| "response_format", format.write(json))?;
    }
    json.display("seed", r.seed);
    json.texts("stop", &r.stop);
    json.display("temperature", r.temperature);
    json.display("top_p", r.top_p);
    json.text_if_any("user", r.user);
    tools::all(json, &r.tools)?;
    if let Some(choice) = &r.tool_choice {
        read::within(|| "tool_choice", choice.write(json))?;
    }
    json.text_if_any("reasoning_effort", r.reasoning_effort.unwrap_or_default());
    json.display("parallel_tool_calls", r.parallel_tool_calls);
    json.text_if_any("service_tier", r.service_tier.unwrap_or_default());
    json.text_if_any("safety_identifier", r.safety_identifier);
    Ok(())
}

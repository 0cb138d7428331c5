//! `SampleTextRequest` as the body of `POST /v1/completions`.

use bytes::Bytes;

use super::json::Json;
use super::read::{Value, bad, each, float, push, text};
use super::request::refused;
use crate::errors::Outcome;

#[derive(Default)]
struct Sample<'a> {
    prompt: Vec<&'a str>,
    model: &'a str,
    max_tokens: Option<i32>,
    n: Option<i32>,
    presence_penalty: Option<f32>,
    seed: Option<i32>,
    stop: Vec<&'a str>,
    frequency_penalty: Option<f32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    user: &'a str,
}

/// The JSON body; `stream` where the answer is to come in pieces, which then state the usage.
pub(super) fn body(message: &[u8], stream: bool, limit: usize) -> Outcome<Bytes> {
    let mut r = Sample::default();
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => push(&mut r.prompt, text("prompt", bytes)?, r#""","#.len(), limit)?,
            (3, Value::Bytes(bytes)) => r.model = text("model", bytes)?,
            (5, Value::Varint(bits)) if bits != 0 => return Err(no_place("logprobs")),
            (6, Value::Varint(_)) => return Err(no_place("top_logprobs")),
            (7, Value::Varint(bits)) => r.max_tokens = Some(bits as i32),
            (8, Value::Varint(bits)) => r.n = Some(bits as i32),
            (9, Value::Fixed32(bits)) => r.presence_penalty = Some(float("presence_penalty", bits)?),
            (11, Value::Varint(bits)) => r.seed = Some(bits as i32),
            (12, Value::Bytes(bytes)) => push(&mut r.stop, text("stop", bytes)?, r#""","#.len(), limit)?,
            (13, Value::Fixed32(bits)) => r.frequency_penalty = Some(float("frequency_penalty", bits)?),
            (14, Value::Fixed32(bits)) => r.temperature = Some(float("temperature", bits)?),
            (15, Value::Fixed32(bits)) => r.top_p = Some(float("top_p", bits)?),
            (17, Value::Bytes(bytes)) => r.user = text("user", bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    let mut json = Json::object(message.len() + message.len() / 4 + 256, limit);
    json.text("model", r.model);
    match r.prompt.as_slice() {
        [] => return Err(bad("prompt", "must hold at least one text")),
        [prompt] => json.text("prompt", prompt),
        prompts => json.texts("prompt", prompts),
    }
    json.display("max_tokens", r.max_tokens);
    json.display("n", r.n.filter(|n| *n != 1));
    json.display("presence_penalty", r.presence_penalty);
    json.display("seed", r.seed);
    json.texts("stop", &r.stop);
    json.display("frequency_penalty", r.frequency_penalty);
    json.display("temperature", r.temperature);
    json.display("top_p", r.top_p);
    json.text_if_any("user", r.user);
    if stream {
        json.streamed();
    }
    json.finish()
}

fn no_place(field: &'static str) -> crate::errors::Failure {
    refused(field, "the answer's message has no place for log probabilities; leave it out")
}

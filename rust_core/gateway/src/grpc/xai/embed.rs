//! `EmbedRequest` as the body of `POST /v1/embeddings`, and the answer back.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::Json;
use super::openai::{self, Text};
use super::put;
use super::read::{Value, bad, each, push, text, within, word};
use super::request::refused;
use crate::errors::{Failure, Kind, Outcome};

const FORMATS: [&str; 2] = ["float", "base64"];

/// The JSON body.
pub(super) fn body(message: &[u8], limit: usize) -> Outcome<Bytes> {
    let (mut input, mut model, mut format, mut user) = (Vec::new(), "", None, "");
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => {
                let place = input.len();
                push(&mut input, within(|| format!("input[{place}]"), one(bytes))?, r#""","#.len(), limit)?;
            }
            (2, Value::Bytes(bytes)) => model = text("model", bytes)?,
            (3, Value::Varint(bits)) => format = word("encoding_format", bits, &FORMATS)?,
            (4, Value::Bytes(bytes)) => user = text("user", bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    let mut json = Json::object(message.len() + message.len() / 4 + 128, limit);
    json.text("model", model);
    match input.as_slice() {
        [] => return Err(bad("input", "must hold at least one text")),
        [input] => json.text("input", input),
        inputs => json.texts("input", inputs),
    }
    json.text_if_any("encoding_format", format.unwrap_or_default());
    json.text_if_any("user", user);
    json.finish()
}

fn one(message: &[u8]) -> Outcome<&str> {
    let mut input = None;
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => input = Some(text("string", bytes)?),
            (2, Value::Bytes(_)) => return Err(refused("image_url", "OpenAI's API embeds text only")),
            _ => {}
        }
        Ok(())
    })?;
    input.ok_or_else(|| bad("string", "must be set"))
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    system_fingerprint: Option<Text<'a>>,
    #[serde(borrow)]
    data: Vec<Vector<'a>>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// `EmbedResponse`: each vector in the form that the provider gave it.
pub(super) fn response(json: &[u8], out: &mut BytesMut) -> Outcome<()> {
    let malformed = || Failure::new(Kind::UpstreamProtocol, "the provider's answer is not a list of embeddings");
    let answer: Answer<'_> = serde_json::from_slice(json).map_err(|_| malformed())?;
    put::text(out, 1, openai::text(&answer.id));
    for (place, vector) in answer.data.iter().enumerate() {
        let raw = vector.embedding.get();
        let mut numbers: Vec<f32> = Vec::new();
        let mut base64 = None;
        if raw.starts_with('"') {
            base64 = Some(serde_json::from_str::<Text<'_>>(raw).map_err(|_| malformed())?);
        } else {
            numbers = serde_json::from_str(raw).map_err(|_| malformed())?;
        }
        put::message(out, 2, |out| {
            put::number(out, 1, vector.index.map_or(place as u64, u64::from));
            put::message(out, 2, |out| {
                put::floats(out, 1, &numbers);
                put::text(out, 2, openai::text(&base64));
            });
        });
    }
    put::message(out, 3, |out| put::number(out, 1, answer.data.len() as u64));
    put::text(out, 4, openai::text(&answer.model));
    put::text(out, 5, openai::text(&answer.system_fingerprint));
    Ok(())
}

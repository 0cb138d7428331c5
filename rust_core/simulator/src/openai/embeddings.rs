//! `POST /embeddings`: unit vectors that depend on the input alone.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base64;
use crate::call::{Call, Early};
use crate::json::{put, quoted};
use crate::reply::{Answer, Refusal, Unary};
use crate::text::Text;

const DIMENSIONS: usize = 1536;
const MAX_DIMENSIONS: usize = 8192;
const MAX_INPUTS: usize = 2048;

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
    dimensions: Option<usize>,
}

/// A text, a list of texts, a list of tokens, or a list of those.
fn inputs(input: &RawValue) -> Result<Vec<&RawValue>, Refusal> {
    let text = input.get();
    if !text.starts_with('[') {
        return Ok(vec![input]);
    }
    let all: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| Refusal::invalid(format!("input: {e}")))?;
    let tokens = all.first().is_some_and(|first| first.get().starts_with(|c: char| c.is_ascii_digit()));
    Ok(if tokens { vec![input] } else { all })
}

pub(crate) fn answer(call: &mut Call<'_>) -> Result<Answer, Early> {
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let inputs = inputs(request.input.ok_or_else(|| Refusal::missing("input"))?)?;
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
    let bad = |param, message: String| Refusal { param: Some(param), ..Refusal::invalid(message) };
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(bad("dimensions", format!("dimensions: must be between 1 and {MAX_DIMENSIONS}")).into());
    }
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        return Err(bad("input", format!("input: must have between 1 and {MAX_INPUTS} elements")).into());
    }
    let as_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(
                bad("encoding_format", format!("encoding_format: {other:?} is neither float nor base64")).into()
            );
        }
    };
    let mut words = 0;
    let mut out = BytesMut::with_capacity(inputs.len() * dimensions * if as_base64 { 6 } else { 13 } + 256);
    out.put_slice(br#"{"object":"list","data":["#);
    for (index, input) in inputs.iter().enumerate() {
        let text: Text = serde_json::from_str(input.get()).map_err(|e| Refusal::invalid(format!("input: {e}")))?;
        words += text.words;
        if index > 0 {
            out.put_u8(b',');
        }
        put!(out, r#"{{"object":"embedding","index":{index},"embedding":"#);
        put_vector(&vector(input.get(), dimensions), as_base64, &mut out);
        out.put_u8(b'}');
    }
    let usage = call.count(words, 0);
    put!(out, r#"],"model":{}"#, quoted(&call.facts.model));
    if !call.control.faults.no_usage {
        put!(out, r#","usage":{{"prompt_tokens":{0},"total_tokens":{0}}}"#, usage.prompt);
    }
    out.put_u8(b'}');
    Ok(Answer::Unary(Unary::json(out.freeze())))
}

/// Pseudo-random components (SplitMix64 seeded by FNV-1a of the input), scaled to length 1.
fn vector(input: &str, dimensions: usize) -> Vec<f32> {
    let mut state =
        input.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let mut vector: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|v| *v /= length);
    vector
}

fn put_vector(vector: &[f32], as_base64: bool, out: &mut BytesMut) {
    if as_base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
        out.put_u8(b'"');
        base64::encode(&bytes, out);
        out.put_u8(b'"');
    } else {
        let text = serde_json::to_vec(vector).unwrap_or_default();
        out.put_slice(&text);
    }
}

//! Speech, transcription and images: small valid media, sized by the control's tokens.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;

use crate::call::{Call, Early};
use crate::json::{put, quoted};
use crate::multipart;
use crate::output::Words;
use crate::reply::{Answer, Refusal, Unary};
use crate::text::Text;

/// Samples per second of the speech.
const RATE: u32 = 24_000;

/// `POST /audio/speech`: a silent WAV of 20 ms per word (whatever format is asked for, under its type).
pub(crate) fn speech(call: &mut Call<'_>) -> Result<Answer, Early> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow, default)]
        model: Cow<'a, str>,
        input: Option<Text>,
        #[serde(borrow, default)]
        response_format: Option<Cow<'a, str>>,
    }
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let words = request.input.ok_or_else(|| Refusal::missing("input"))?.words;
    call.count(words, 0);
    let samples = u32::try_from(words.min(100_000)).unwrap_or(0) * (RATE / 50);
    let content_type = match request.response_format.as_deref().unwrap_or("mp3") {
        "wav" => "audio/wav",
        "opus" => "audio/opus",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "pcm" => "audio/pcm",
        _ => "audio/mpeg",
    };
    Ok(Answer::Unary(Unary::new(200, content_type, wav(samples).freeze())))
}

/// 16-bit mono silence in a RIFF container.
fn wav(samples: u32) -> BytesMut {
    let size = samples * 2;
    let mut out = BytesMut::with_capacity(size as usize + 44);
    out.put_slice(b"RIFF");
    out.put_u32_le(36 + size);
    out.put_slice(b"WAVEfmt ");
    out.put_u32_le(16);
    out.put_u16_le(1);
    out.put_u16_le(1);
    out.put_u32_le(RATE);
    out.put_u32_le(RATE * 2);
    out.put_u16_le(2);
    out.put_u16_le(16);
    out.put_slice(b"data");
    out.put_u32_le(size);
    out.put_bytes(0, size as usize);
    out
}

/// `POST /audio/transcriptions` and `/audio/translations`; prompt tokens: one per started KiB of audio.
pub(crate) fn transcription(call: &mut Call<'_>) -> Result<Answer, Early> {
    let content_type = call.head.headers.get_str("content-type").unwrap_or_default();
    let body = call.body;
    let parts =
        multipart::parse(content_type, body).ok_or_else(|| Refusal::invalid("the body must be multipart/form-data"))?;
    call.model(multipart::text(&parts, "model").unwrap_or_default())?;
    let file = parts.iter().find(|p| p.name == "file").ok_or_else(|| Refusal::missing("file"))?;
    let words = Words::new(&call.control, 0, call.control.tokens);
    let usage = call.count(file.data.len().div_ceil(1024) as u64, words.count);
    let mut text = BytesMut::new();
    words.put_all(&mut text);
    let mut out = BytesMut::new();
    match multipart::text(&parts, "response_format").unwrap_or("json") {
        "text" => {
            text.put_u8(b'\n');
            return Ok(Answer::Unary(Unary::new(200, "text/plain; charset=utf-8", text.freeze()).tokens(words.count)));
        }
        "verbose_json" => {
            out.put_slice(br#"{"task":"transcribe","language":"english","duration":1.0,"segments":[],"text":""#);
        }
        "json" => out.put_slice(br#"{"text":""#),
        other => return Err(Refusal::invalid(format!("response_format: {} is not served", quoted(other))).into()),
    }
    out.put_slice(&text);
    put!(
        out,
        r#"","usage":{{"type":"tokens","input_tokens":{},"input_token_details":{{"text_tokens":0,"audio_tokens":{0}}},"output_tokens":{},"total_tokens":{}}}}}"#,
        usage.prompt,
        usage.output,
        usage.prompt + usage.output
    );
    Ok(Answer::Unary(Unary::json(out.freeze()).tokens(words.count)))
}

/// A PNG of one transparent pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// `POST /images/generations`: pixels; each counts as [`crate::Options::tokens`] output tokens.
pub(crate) fn image(call: &mut Call<'_>) -> Result<Answer, Early> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow, default)]
        model: Cow<'a, str>,
        prompt: Option<Text>,
        n: Option<u32>,
        #[serde(borrow, default)]
        response_format: Option<Cow<'a, str>>,
    }
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let words = request.prompt.ok_or_else(|| Refusal::missing("prompt"))?.words;
    let n = super::choices(request.n)?;
    let usage = call.count(words, call.control.tokens * u64::from(n));
    let item = match request.response_format.as_deref() {
        Some("url") => format!(r#"{{"url":"https://images.invalid/sim/{}.png"}}"#, call.seq),
        _ => format!(r#"{{"b64_json":"{PIXEL}"}}"#),
    };
    let data = vec![item; n as usize].join(",");
    let body = format!(
        r#"{{"created":{},"data":[{data}],"usage":{{"input_tokens":{},"input_tokens_details":{{"text_tokens":{1},"image_tokens":0}},"output_tokens":{},"total_tokens":{}}}}}"#,
        call.created,
        usage.prompt,
        usage.output,
        usage.prompt + usage.output
    );
    Ok(Answer::Unary(Unary::json(body).tokens(usage.output - usage.reasoning)))
}

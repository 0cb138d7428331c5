//! Tokens used: OpenAI's `usage` in any of its dialects as `SamplingUsage`.

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::openai::Answer;
use super::put;
use crate::grpc::wire;
use crate::providers::openai::find_usage_object;
use crate::usage::Usage;

/// What xAI's message says, but for the price, which is known only when all is over: see [`Price`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sampling {
    /// As the ledger counts: output includes reasoning.
    usage: Usage,
    images: u64,
    sources: u64,
}

/// What the ledger has no use for.
#[derive(Deserialize)]
struct More {
    prompt_tokens_details: Option<Images>,
    num_sources_used: Option<u64>,
}

#[derive(Deserialize)]
struct Images {
    image_tokens: Option<u64>,
}

impl Sampling {
    /// The usage of an answer or a chunk, if it states one.
    pub(super) fn of(answer: &Answer<'_>) -> Option<Self> {
        let raw = answer.usage.or_else(|| answer.x_groq.as_ref()?.usage)?;
        let usage = find_usage_object(raw.get().as_bytes())?;
        let more = serde_json::from_str::<More>(RawValue::get(raw)).ok();
        Some(Self {
            usage,
            images: more.as_ref().and_then(|m| m.prompt_tokens_details.as_ref()?.image_tokens).unwrap_or(0),
            sources: more.and_then(|m| m.num_sources_used).unwrap_or(0),
        })
    }

    /// Writes the message. Output is told without reasoning, as xAI counts; the total is the same either way.
    pub(super) fn write(&self, out: &mut BytesMut, field: u32) {
        let Usage { prompt, completion, cached, reasoning, .. } = self.usage;
        let count = |tokens: u64| tokens.min(i32::MAX as u64);
        put::message(out, field, |out| {
            put::number(out, 1, count(completion.saturating_sub(reasoning)));
            put::number(out, 2, count(prompt));
            put::number(out, 3, count(self.usage.total()));
            put::number(out, 4, count(prompt.saturating_sub(self.images)));
            put::number(out, 5, count(self.images));
            put::number(out, 6, count(reasoning));
            put::number(out, 7, count(cached));
            put::number(out, 8, count(self.sources));
        });
    }
}

/// What a call cost, in units of 1e-10 US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price(u64);

impl Price {
    /// From dollars as the gateway's metadata has them, with nine decimal places.
    pub(super) fn of(usd: &[u8]) -> Option<Self> {
        let (whole, fraction) = std::str::from_utf8(usd).ok()?.split_once('.')?;
        let nanos: u64 = (fraction.len() == 9).then(|| fraction.parse().ok())??;
        let dollars: u64 = whole.parse().ok()?;
        Some(Self(dollars.checked_mul(1_000_000_000)?.checked_add(nanos)?.checked_mul(10)?))
    }

    /// Writes a usage that holds nothing else; behind another one it is part of that, as protobuf merges messages.
    pub(super) fn write(self, out: &mut BytesMut, field: u32) {
        put::message(out, field, |out| wire::put_uint(out, 11, self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::Price;

    #[test]
    fn prices_are_exact() {
        assert_eq!(Price::of(b"0.000000000"), Some(Price(0)));
        assert_eq!(Price::of(b"12.000000345"), Some(Price(120_000_003_450)));
        for text in [&b"1"[..], b"1.5", b"-1.000000000", b"99999999999999.000000000", b"", b"\xff.000000000"] {
            assert_eq!(Price::of(text), None);
        }
    }
}

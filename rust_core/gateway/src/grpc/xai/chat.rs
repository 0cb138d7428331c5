//! Whole answers: OpenAI's chat and text completions as `GetChatCompletionResponse` and `SampleTextResponse`.

use std::borrow::Cow;

use bytes::BytesMut;

use super::openai::{Answer, Choice, Said, text};
use super::put;
use super::said::{self, WholeCall, Words};
use super::usage::Sampling;
use crate::errors::{Failure, Kind, Outcome};

const TIER_DEFAULT: u64 = 1;
const TIER_PRIORITY: u64 = 2;

/// An answer that is no completion.
pub(super) fn malformed() -> Failure {
    Failure::new(Kind::UpstreamProtocol, "the provider's answer is not a completion as OpenAI's API has them")
}

/// Reads an answer or a chunk. The provider's own errors never come here.
pub(super) fn read(json: &[u8]) -> Outcome<Answer<'_>> {
    serde_json::from_slice(json).map_err(|_| malformed())
}

/// `GetChatCompletionResponse`.
pub(super) fn completion(json: &[u8], out: &mut BytesMut) -> Outcome<()> {
    let answer = read(json)?;
    let choices = answer.choices.as_deref().ok_or_else(malformed)?;
    put::text(out, 1, text(&answer.id));
    for (place, choice) in choices.iter().enumerate() {
        let empty = Said::default();
        let said = choice.message.as_ref().unwrap_or(&empty);
        let calls: Vec<_> = said.tool_calls.iter().flatten().map(WholeCall::of).collect();
        put::message(out, 2, |out| {
            put::number(out, 1, choice.finish_reason.as_ref().map_or(0, |word| said::finish_reason(&word.0)));
            put::number(out, 2, index(choice, place));
            said::message(out, 3, &Words::of(said), &calls);
            if let Some(logprobs) = said::logprobs(choice) {
                put::bytes(out, 4, &logprobs);
            }
        });
    }
    tail(&answer, out);
    citations(&answer).iter().for_each(|url| put::text(out, 10, url));
    put::number(out, 15, service_tier(text(&answer.service_tier)));
    Ok(())
}

/// `SampleTextResponse`.
pub(super) fn sample(json: &[u8], out: &mut BytesMut) -> Outcome<()> {
    let answer = read(json)?;
    let choices = answer.choices.as_deref().ok_or_else(malformed)?;
    put::text(out, 1, text(&answer.id));
    for (place, choice) in choices.iter().enumerate() {
        put::message(out, 2, |out| {
            put::number(out, 1, choice.finish_reason.as_ref().map_or(0, |word| said::finish_reason(&word.0)));
            put::number(out, 2, index(choice, place));
            put::text(out, 3, text(&choice.text));
        });
    }
    tail(&answer, out);
    Ok(())
}

/// The fields that both messages have at the same numbers.
fn tail(answer: &Answer<'_>, out: &mut BytesMut) {
    if let Some(created) = answer.created {
        put::seconds(out, 5, created.0);
    }
    put::text(out, 6, text(&answer.model));
    put::text(out, 7, text(&answer.system_fingerprint));
    if let Some(usage) = Sampling::of(answer) {
        usage.write(out, 9);
    }
}

/// A choice's number; its place where it has none.
pub(super) fn index(choice: &Choice<'_>, place: usize) -> u64 {
    choice.index.map_or(place as u64, u64::from)
}

/// The value of `ServiceTier`.
pub(super) fn service_tier(word: &str) -> u64 {
    match word {
        "" => 0,
        "priority" => TIER_PRIORITY,
        _ => TIER_DEFAULT,
    }
}

/// URLs that the answer, or what a chunk adds to it, cites.
pub(super) fn citations<'a>(answer: &'a Answer<'_>) -> Vec<Cow<'a, str>> {
    let told = answer.citations.iter().flat_map(|urls| urls.0.iter().map(|url| Cow::Borrowed(&**url)));
    let said = answer.choices.iter().flatten().filter_map(|choice| choice.message.as_ref().or(choice.delta.as_ref()));
    let noted = said
        .flat_map(|said| said.annotations.iter().flatten())
        .filter_map(|note| Some(Cow::Borrowed(text(&note.url_citation.as_ref()?.url))));
    let mut urls: Vec<Cow<'a, str>> = Vec::new();
    for url in told.chain(noted) {
        if !url.is_empty() && !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

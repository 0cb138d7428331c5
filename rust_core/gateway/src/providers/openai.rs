//! OpenAI's wire, and Azure's paths for it.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Asked, Prepared, Reading, spliced, unsupported, with_query};
use crate::errors::Outcome;
use crate::snapshot::{Deployment, Wire};
use crate::surfaces::{Surface, path_segment};
use crate::usage::Usage;

/// Azure's operations that live under a deployment; the others take the model from the body.
const AZURE_BY_DEPLOYMENT: [&str; 2] = ["images/", "audio/"];

/// The upstream request: same bytes, another model name, usage asked for.
///
/// # Errors
/// The route is not OpenAI's.
pub fn prepare(deployment: &Deployment, asked: &Asked<'_>) -> Outcome<Prepared> {
    let path = match (asked.surface, deployment.wire) {
        (Surface::Messages | Surface::CountTokens, _) => {
            return Err(unsupported(deployment, "Anthropic's Messages API"));
        }
        (surface, Wire::Azure) => azure_path(surface, deployment, asked),
        (Surface::Chat, _) => [&*deployment.base_path, "/chat/completions"].concat(),
        (Surface::Completions, _) => [&*deployment.base_path, "/completions"].concat(),
        (Surface::Embeddings, _) => [&*deployment.base_path, "/embeddings"].concat(),
        (Surface::Passthrough, _) => [&*deployment.base_path, "/", rest(asked.target)].concat(),
    };
    let streams_usage = asked.stream
        && deployment.stream_usage
        && !asked.wants_usage
        && matches!(asked.surface, Surface::Chat | Surface::Completions);
    Ok(Prepared {
        target: with_query(path, deployment, asked.target),
        body: spliced(deployment, asked, streams_usage),
        headers: Vec::new(),
        reading: Reading::OpenAi,
        hide_usage: streams_usage && !asked.always_usage,
    })
}

/// The path after `/v1/`, without the query.
fn rest(target: &str) -> &str {
    let path = target.split_once('?').map_or(target, |(p, _)| p);
    ["/v1/", "/v2/", "/"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path)
}

fn azure_path(surface: Surface, deployment: &Deployment, asked: &Asked<'_>) -> String {
    let base = &deployment.base_path;
    let operation = match surface {
        Surface::Chat => "chat/completions",
        Surface::Completions => "completions",
        Surface::Embeddings => "embeddings",
        _ => {
            let rest = rest(asked.target);
            if !AZURE_BY_DEPLOYMENT.iter().any(|p| rest.starts_with(p)) {
                return format!("{base}/openai/{rest}");
            }
            rest
        }
    };
    format!("{base}/openai/deployments/{}/{operation}", path_segment(asked.model))
}

#[derive(Deserialize, Default)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    cache_creation_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// OpenAI's usage object in its dialects: chat, Responses, DeepSeek, Mistral, Together, xAI.
#[derive(Deserialize)]
struct Report {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    prompt_cache_hit_tokens: Option<u64>,
    num_cached_tokens: Option<u64>,
    cached_tokens: Option<u64>,
}

/// No call has more; a provider's defect must not lock a key for ever.
const MOST_TOKENS: u64 = 1 << 40;

impl Report {
    fn usage(self) -> Option<Usage> {
        let sane = |n: Option<u64>| n.map(|n| n.min(MOST_TOKENS));
        let prompt = sane(self.prompt_tokens.or(self.input_tokens));
        let completion = sane(self.completion_tokens.or(self.output_tokens));
        if prompt.is_none() && completion.is_none() && self.total_tokens.is_none() {
            return None;
        }
        let input = self.prompt_tokens_details.or(self.input_tokens_details).unwrap_or_default();
        let output = self.completion_tokens_details.or(self.output_tokens_details).unwrap_or_default();
        let reasoning = sane(output.reasoning_tokens).unwrap_or(0);
        let mut completion = completion.unwrap_or(0);
        let prompt = prompt.unwrap_or_else(|| self.total_tokens.unwrap_or(0).saturating_sub(completion));
        // xAI reports reasoning tokens beside the completion tokens; the total tells.
        if reasoning > 0 && self.total_tokens == Some(prompt + completion + reasoning) {
            completion += reasoning;
        }
        Some(Usage {
            prompt,
            completion,
            cached: input
                .cached_tokens
                .or(self.prompt_cache_hit_tokens)
                .or(self.num_cached_tokens)
                .or(self.cached_tokens)
                .unwrap_or(0)
                .min(prompt),
            cache_write: input.cache_write_tokens.or(input.cache_creation_tokens).unwrap_or(0),
            reasoning: reasoning.min(completion),
        })
    }
}

/// The name of the member that says it.
pub(crate) static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Where providers put the usage of the whole call.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<Part<'a>>,
    #[serde(borrow)]
    x_groq: Option<Part<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// The usage of the call in a JSON text: a whole answer, one SSE frame, or the tail of a long one.
///
/// A string that merely says `"usage":` cannot be mistaken for it, as its quotes are escaped. One
/// object of that name needs no parsing of the rest; several (a breakdown by part) do.
#[must_use]
pub fn find_usage(text: &[u8]) -> Option<Usage> {
    let mut candidates = USAGE.find_iter(text).filter_map(|at| {
        let rest = after_colon(text.get(at + USAGE.needle().len()..)?)?;
        (rest.first() == Some(&b'{')).then_some(rest)
    });
    let first = candidates.next()?;
    let Some(second) = candidates.next() else { return report(first) };
    let whole = memchr::memchr(b'{', text).and_then(|at| text.get(at..));
    match whole.and_then(|w| serde_json::Deserializer::from_slice(w).into_iter::<Whole<'_>>().next()) {
        Some(Ok(whole)) => [whole.usage, whole.response.and_then(|p| p.usage), whole.x_groq.and_then(|p| p.usage)]
            .into_iter()
            .flatten()
            .find_map(|raw| report(raw.get().as_bytes())),
        // Only a tail: the last one is the best guess.
        _ => candidates.last().or(Some(second)).and_then(report),
    }
}

/// The usage that one JSON object reports.
#[must_use]
pub fn find_usage_object(object: &[u8]) -> Option<Usage> {
    if object.first() == Some(&b'{') { report(object) } else { None }
}

fn report(text: &[u8]) -> Option<Usage> {
    serde_json::Deserializer::from_slice(text).into_iter::<Report>().next()?.ok()?.usage()
}

/// What follows a member's name: the value behind the colon, however it is spaced.
#[must_use]
pub fn after_colon(text: &[u8]) -> Option<&[u8]> {
    Some(text.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// The generated text of a whole answer, when its usage is missing and must be counted.
#[must_use]
pub fn generated_text(body: &[u8]) -> String {
    let mut text = String::new();
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else { return text };
    let choices = answer.get("choices").and_then(serde_json::Value::as_array);
    for choice in choices.into_iter().flatten() {
        let message = choice.get("message").unwrap_or(choice);
        for key in ["content", "text", "reasoning_content", "refusal"] {
            text.push_str(message.get(key).and_then(serde_json::Value::as_str).unwrap_or_default());
        }
        let calls = message.get("tool_calls").and_then(serde_json::Value::as_array);
        for call in calls.into_iter().flatten() {
            let function = call.get("function");
            for key in ["name", "arguments"] {
                text.push_str(
                    function.and_then(|f| f.get(key)).and_then(serde_json::Value::as_str).unwrap_or_default(),
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_dialects() {
        let chat = br#"{"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}"#;
        assert_eq!(
            find_usage(chat).unwrap(),
            Usage { prompt: 10, completion: 4, cached: 3, cache_write: 0, reasoning: 2 }
        );
        let xai = br#"{"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":20,"completion_tokens_details":{"reasoning_tokens":6}}}"#;
        assert_eq!(find_usage(xai).unwrap().completion, 10);
        let responses = br#"{"response":{"usage": {"input_tokens":7,"output_tokens":2,"total_tokens":9}}}"#;
        assert_eq!(find_usage(responses).unwrap().total(), 9);
        let embeddings = br#"{"data":[],"usage":{"prompt_tokens":5,"total_tokens":5}}"#;
        assert_eq!(find_usage(embeddings).unwrap(), Usage { prompt: 5, ..Usage::default() });
    }

    #[test]
    fn the_usage_of_a_part_is_not_that_of_the_call() {
        let groq = br#"{"usage": {"prompt_tokens":70,"completion_tokens":13},"usage_breakdown":{"models":[{"usage":{"prompt_tokens":29,"completion_tokens":6}}]}}"#;
        assert_eq!(find_usage(groq).unwrap().total(), 83);
        let frame = br#"data: {"x_groq":{"usage_breakdown":[{"usage":{"prompt_tokens":1,"completion_tokens":1}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}}"#;
        assert_eq!(find_usage(frame).unwrap().total(), 7);
    }

    #[test]
    fn text_about_usage_is_not_usage() {
        let body = br#"{"choices":[{"message":{"content":"say \"usage\":{\"prompt_tokens\":9}"}}],"usage":null}"#;
        assert_eq!(find_usage(body), None);
    }
}

//! Anthropic's usage figures.
//!
//! Anthropic counts input beside what was read from and written to the cache; [`Usage::prompt`] holds all three. In a
//! stream `message_start` states the input and `message_delta` the cumulative output, and it may restate the input:
//! what came last counts, unless it is a zero that would erase a figure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{CompletionDetails, Object, PromptDetails, UsageObject, raw};
use crate::usage::Usage;

/// The figures that cost money.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Figures {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

/// Figures collected from one answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    figures: Figures,
    known: bool,
    complete: bool,
}

impl Tally {
    /// Take in a `usage` object; `last` when it is the final statement (`message_delta`, or a whole body).
    pub(super) fn add(&mut self, usage: &RawValue, last: bool) {
        let Some(new) = raw::parse::<Figures>(usage) else { return };
        let put = |slot: &mut Option<u64>, value: Option<u64>| {
            let value = value.map(|n| n.min(1 << 40));
            if value.is_some_and(|value| value > 0) || slot.is_none() {
                *slot = value.or(*slot);
            }
        };
        put(&mut self.figures.input_tokens, new.input_tokens);
        put(&mut self.figures.cache_creation_input_tokens, new.cache_creation_input_tokens);
        put(&mut self.figures.cache_read_input_tokens, new.cache_read_input_tokens);
        put(&mut self.figures.output_tokens, new.output_tokens);
        if new.output_tokens_details.is_some() {
            self.figures.output_tokens_details = new.output_tokens_details;
        }
        self.known |= new.input_tokens.is_some() || new.output_tokens.is_some();
        self.complete |= last && new.output_tokens.is_some();
    }

    /// The latest figures; `None` when none came.
    pub(super) fn usage(&self) -> Option<Usage> {
        let cached = self.figures.cache_read_input_tokens.unwrap_or(0);
        let cache_write = self.figures.cache_creation_input_tokens.unwrap_or(0);
        let input = self.figures.input_tokens.unwrap_or(0);
        self.known.then(|| Usage {
            prompt: input.saturating_add(cached).saturating_add(cache_write),
            completion: self.figures.output_tokens.unwrap_or(0),
            cached,
            cache_write,
            reasoning: self.figures.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or(0),
        })
    }

    /// Whether the output figure is the final one, not the placeholder of `message_start`.
    pub(super) fn complete(&self) -> bool {
        self.complete
    }
}

/// Anthropic's figures beyond OpenAI's, kept under their own names in the usage object.
const KEPT: &[&str] = &["cache_creation", "server_tool_use", "iterations", "inference_geo", "speed"];

/// Usage as OpenAI states it. `statements` are Anthropic's `usage` objects, oldest first.
pub(super) fn object(usage: Usage, statements: &[&RawValue]) -> UsageObject {
    let mut rest = Object::new();
    rest.push("cache_creation_input_tokens", &usage.cache_write);
    rest.push("cache_read_input_tokens", &usage.cached);
    for statement in statements.iter().filter_map(|statement| raw::parse::<Object>(statement)) {
        for (name, value) in statement.iter() {
            if KEPT.contains(&name) && !raw::is_null(value) {
                rest.set(name, value);
            }
        }
    }
    UsageObject {
        prompt_tokens: usage.prompt,
        completion_tokens: usage.completion,
        total_tokens: usage.total(),
        prompt_tokens_details: Some(PromptDetails {
            cached_tokens: Some(usage.cached),
            cache_creation_tokens: Some(usage.cache_write),
            ..PromptDetails::default()
        }),
        completion_tokens_details: Some(CompletionDetails {
            reasoning_tokens: Some(usage.reasoning),
            ..CompletionDetails::default()
        }),
        rest,
    }
}

/// OpenAI's name of the tier that served the call.
pub(super) fn service_tier(usage: &RawValue) -> Option<String> {
    let tier = raw::parse::<Object>(usage)?.text("service_tier")?;
    Some(if tier == "standard" { "default".to_owned() } else { tier })
}

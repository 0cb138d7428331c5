//! A chat request as a Messages request: total, or refused with the name of the parameter.

use std::borrow::Cow;

use super::betas;
use super::params::{Gate, ParamError, RequestOptions};
use super::thinking::{self, Plan};
use super::tools::{self, Tools};
use super::turns::Conversation;
use super::wire::{Block, Body, Metadata};
use crate::canonical::{ChatRequest, Object, Raw, raw};

/// A request ready for the wire.
#[derive(Clone, Debug)]
pub struct Translated {
    /// JSON for `POST /v1/messages`.
    pub body: Vec<u8>,
    /// Flags for the `anthropic-beta` header: the client's and those its features need.
    pub betas: Vec<String>,
    /// Parameters that were dropped: those `drop_params` allowed, and hints that have no place on this wire.
    pub dropped: Vec<String>,
}

/// Translate a request.
///
/// # Errors
/// A parameter has no counterpart and `drop_params` is off, or a message cannot be expressed.
pub fn request(chat: &ChatRequest, options: &RequestOptions<'_>) -> Result<Translated, ParamError> {
    let mut gate = Gate::new(options);
    gate.check(chat)?;
    gate.rest(chat)?;
    let conversation = Conversation::read(&chat.messages)?;
    conversation.findings.unplaced.iter().for_each(|field| gate.note(field));
    let tools = tools::translate(chat, &conversation.called)?;

    let temperature = gate.temperature(chat.temperature)?;
    let stop_sequences = gate.stop(chat)?;
    let service_tier = gate.service_tier(chat.service_tier.as_deref())?;
    let mut reasoning = Reasoning::read(chat, &mut gate, &tools, conversation.unsigned_loop)?;
    let temperature = reasoning.temperature(temperature, &mut gate)?;
    let output_config = output_config(chat, &mut gate, &reasoning)?;
    let mut system = native_system(chat)?;
    system.extend(conversation.system);

    let body = Body {
        model: options.model,
        max_tokens: reasoning.max_tokens,
        system,
        messages: conversation.turns,
        tools: tools.list,
        tool_choice: tools.choice,
        stop_sequences,
        temperature,
        top_p: chat.top_p,
        thinking: reasoning.parameter.take(),
        output_config,
        metadata: user(chat).map(|user_id| Metadata { user_id }),
        service_tier,
        stream: chat.stream.filter(|stream| *stream),
        extra: gate.extra,
    };
    Ok(Translated {
        body: raw::to_bytes(&body),
        betas: betas::needed(chat, conversation.findings.files),
        dropped: gate.dropped,
    })
}

/// What `thinking`, `reasoning_effort` and the output bound come to.
struct Reasoning {
    parameter: Option<Raw>,
    effort: Option<&'static str>,
    max_tokens: u64,
}

impl Reasoning {
    fn read(
        chat: &ChatRequest,
        gate: &mut Gate<'_>,
        tools: &Tools<'_>,
        unsigned_loop: bool,
    ) -> Result<Self, ParamError> {
        let bound = chat.output_bound();
        let mut reasoning =
            Self { parameter: None, effort: None, max_tokens: bound.unwrap_or(gate.options.default_max_tokens) };
        let generation = thinking::generation(gate.options.model);
        let plan = match chat.reasoning_effort.as_deref() {
            None => Plan::Off,
            Some(effort) => thinking::plan(effort, generation).ok_or_else(|| {
                let known = "none, minimal, low, medium, high, xhigh or max";
                ParamError::new("reasoning_effort", format!("unknown effort `{effort}`; use {known}"))
            })?,
        };
        if let Some(native) = chat.rest.get("thinking").filter(|value| !raw::is_null(value)) {
            reasoning.parameter = Some(native.to_owned());
            match plan {
                Plan::Effort(effort) => reasoning.effort = Some(effort),
                Plan::Off | Plan::Disabled => {}
                Plan::Budget(_) | Plan::Unsupported => gate.note("reasoning_effort"),
            }
            return Ok(reasoning);
        }
        let thinks = matches!(plan, Plan::Budget(_) | Plan::Effort(_));
        if thinks && tools.forced() {
            gate.refuse("reasoning_effort", "Anthropic does not think while `tool_choice` forces a call")?;
            return Ok(reasoning);
        }
        match plan {
            Plan::Unsupported => gate.refuse("reasoning_effort", "the model does not think")?,
            // Anthropic demands the signed thinking that began the loop; clients that know OpenAI's API only cannot
            // have kept it. Refusing would end every tool loop, so such a step goes without thinking, and says so.
            Plan::Budget(_) if unsigned_loop => gate.note("reasoning_effort"),
            Plan::Budget(budget) => reasoning.budget(budget, bound, gate)?,
            Plan::Effort(effort) => {
                reasoning.effort = Some(effort);
                reasoning.parameter = thinking::parameter(&plan);
            }
            Plan::Off | Plan::Disabled => reasoning.parameter = thinking::parameter(&plan),
        }
        Ok(reasoning)
    }

    /// The budget is part of `max_tokens` and must be smaller: a client's bound shrinks the budget, a default one grows.
    fn budget(&mut self, budget: u64, bound: Option<u64>, gate: &mut Gate<'_>) -> Result<(), ParamError> {
        let budget = match bound {
            None => {
                if self.max_tokens <= budget {
                    self.max_tokens = self.max_tokens.saturating_add(budget);
                }
                budget
            }
            Some(bound) if bound > thinking::SMALLEST_BUDGET => budget.min((bound / 2).max(thinking::SMALLEST_BUDGET)),
            Some(_) => {
                return gate.refuse(
                    "reasoning_effort",
                    "thinking takes at least 1024 tokens of `max_completion_tokens`, which is not above that",
                );
            }
        };
        self.parameter = thinking::parameter(&Plan::Budget(budget));
        Ok(())
    }

    /// With thinking on, Anthropic takes no temperature but 1.
    fn temperature(&self, value: Option<f64>, gate: &mut Gate<'_>) -> Result<Option<f64>, ParamError> {
        let thinks = self.parameter.as_ref().is_some_and(|parameter| !parameter.get().contains("\"disabled\""));
        match value {
            Some(temperature) if thinks && temperature != 1.0 => {
                gate.refuse("temperature", "Anthropic takes only 1 while the model thinks (`reasoning_effort`)")?;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

/// The client's own `output_config`, completed by the effort and the response format.
fn output_config(chat: &ChatRequest, gate: &mut Gate<'_>, reasoning: &Reasoning) -> Result<Object, ParamError> {
    let mut config = match chat.rest.get("output_config").filter(|value| !raw::is_null(value)) {
        None => Object::new(),
        Some(value) => raw::parse(value).ok_or_else(|| ParamError::new("output_config", "must be an object"))?,
    };
    if let Some(effort) = reasoning.effort.filter(|_| config.get("effort").is_none()) {
        config.push("effort", effort);
    }
    let Some(format) = &chat.response_format else { return Ok(config) };
    match format.kind.as_str() {
        "text" => {}
        "json_schema" => {
            let schema = format.json_schema.as_ref().and_then(|named| named.schema.as_ref());
            let schema = schema.ok_or_else(|| ParamError::new("response_format.json_schema.schema", "is missing"))?;
            if config.get("format").is_some() {
                return Err(ParamError::new("response_format", "is also given as `output_config.format`; send one"));
            }
            let mut form = Object::new();
            form.push("type", "json_schema");
            form.push("schema", schema);
            config.push("format", &form);
        }
        "json_object" => gate.refuse(
            "response_format",
            "Anthropic has no `json_object` mode; use `json_schema` with the schema you expect",
        )?,
        kind => {
            let message = format!("unknown type `{kind}`; use `text` or `json_schema`");
            return Err(ParamError::new("response_format.type", message));
        }
    }
    Ok(config)
}

/// `system` in Anthropic's own form, given beside OpenAI's messages: it comes before them.
fn native_system(chat: &ChatRequest) -> Result<Vec<Block<'_>>, ParamError> {
    let Some(value) = chat.rest.get("system").filter(|value| !raw::is_null(value)) else { return Ok(Vec::new()) };
    if let Some(text) = raw::parse::<String>(value) {
        return Ok(if text.trim().is_empty() { Vec::new() } else { vec![Block::text(text)] });
    }
    let blocks: Vec<Raw> =
        raw::parse(value).ok_or_else(|| ParamError::new("system", "must be a string or a list of text blocks"))?;
    Ok(blocks.into_iter().map(Block::Native).collect())
}

/// The end user: `user`, Anthropic's `metadata.user_id`, or the hashed id.
fn user(chat: &ChatRequest) -> Option<Cow<'_, str>> {
    chat.user
        .as_deref()
        .map(Cow::Borrowed)
        .or_else(|| chat.metadata.as_ref().and_then(|metadata| metadata.text("user_id")).map(Cow::Owned))
        .or_else(|| chat.safety_identifier.as_deref().map(Cow::Borrowed))
        .filter(|id| !id.is_empty())
}

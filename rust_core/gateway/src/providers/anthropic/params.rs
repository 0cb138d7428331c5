//! Which request parameters Anthropic's wire can express, and what happens to the others.
//!
//! A parameter is translated, has no effect on the answer (`store`, `metadata`, cache hints, neutral values),
//! or is refused by name. `drop_params` turns refusals into drops that are reported.

use serde::Serialize;

use crate::canonical::{ChatRequest, Object, raw};

/// What the deployment says about translating requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions<'a> {
    /// The upstream's model name.
    pub model: &'a str,
    /// `max_tokens` when the request sets no bound; Anthropic requires one.
    pub default_max_tokens: u64,
    /// Drop what the wire cannot express instead of refusing it.
    pub drop_params: bool,
    /// Parameters passed on although this translation does not know them.
    pub allowed_params: &'a [String],
}

/// A request that the wire cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// Path of the parameter, e.g. `messages[2].content[0].input_audio`.
    pub param: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl ParamError {
    pub(super) fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into() }
    }
}

impl std::fmt::Display for ParamError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.param, self.message)
    }
}

impl std::error::Error for ParamError {}

/// How many drops are reported by name.
const REPORTED: usize = 64;

/// Decides about parameters and remembers what was dropped or passed on.
pub(super) struct Gate<'a> {
    pub options: &'a RequestOptions<'a>,
    pub dropped: Vec<String>,
    pub extra: Object,
}

impl<'a> Gate<'a> {
    pub(super) fn new(options: &'a RequestOptions<'a>) -> Self {
        Self { options, dropped: Vec::new(), extra: Object::new() }
    }

    /// Record a drop that does not change what the answer must be.
    pub(super) fn note(&mut self, param: &str) {
        if self.dropped.len() < REPORTED && !self.dropped.iter().any(|known| known == param) {
            self.dropped.push(param.to_owned());
        }
    }

    /// Refuse a parameter, or drop it where that is allowed.
    pub(super) fn refuse(&mut self, param: &str, why: &str) -> Result<(), ParamError> {
        if self.options.drop_params {
            self.note(param);
            return Ok(());
        }
        Err(ParamError::new(param, format!("{why}; remove it, or set `drop_params: true` to have it dropped")))
    }

    fn allowed(&self, param: &str) -> bool {
        self.options.allowed_params.iter().any(|name| name == param)
    }

    /// A parameter without counterpart: fine when absent or neutral, passed on when allowed, else refused.
    fn unsupported<T: Serialize>(
        &mut self,
        param: &str,
        value: Option<&T>,
        neutral: impl Fn(&T) -> bool,
    ) -> Result<(), ParamError> {
        match value {
            None => Ok(()),
            Some(value) if self.allowed(param) => {
                self.extra.push(param, value);
                Ok(())
            }
            Some(value) if neutral(value) => Ok(()),
            Some(_) => self.refuse(param, "Anthropic's Messages API has no such parameter"),
        }
    }

    /// Everything in the request that has no counterpart.
    pub(super) fn check(&mut self, chat: &ChatRequest) -> Result<(), ParamError> {
        self.unsupported("n", chat.n.as_ref(), |n| *n == 1)?;
        self.unsupported("logprobs", chat.logprobs.as_ref(), |wanted| !wanted)?;
        self.unsupported("top_logprobs", chat.top_logprobs.as_ref(), |count| *count == 0)?;
        self.unsupported("seed", chat.seed.as_ref(), |seed| raw::is_null(seed))?;
        self.unsupported("frequency_penalty", chat.frequency_penalty.as_ref(), |value| *value == 0.0)?;
        self.unsupported("presence_penalty", chat.presence_penalty.as_ref(), |value| *value == 0.0)?;
        self.unsupported("logit_bias", chat.logit_bias.as_ref(), |bias| {
            raw::parse::<Object>(bias).is_some_and(|bias| bias.is_empty())
        })?;
        self.unsupported("modalities", chat.modalities.as_ref(), |list| list.iter().all(|item| item == "text"))?;
        self.unsupported("audio", chat.audio.as_ref(), |_| false)?;
        self.unsupported("prediction", chat.prediction.as_ref(), |_| false)?;
        self.unsupported("verbosity", chat.verbosity.as_ref(), |value| value == "medium")?;
        self.unsupported("functions", chat.functions.as_ref(), |_| false)?;
        self.unsupported("function_call", chat.function_call.as_ref(), |_| false)?;
        Ok(())
    }

    /// Fields that the canonical form does not know: Anthropic's own pass, allowed ones too, the rest is refused.
    pub(super) fn rest(&mut self, chat: &ChatRequest) -> Result<(), ParamError> {
        for (name, value) in chat.rest.iter() {
            if raw::is_null(value) || TRANSLATED.contains(&name) {
                continue;
            }
            if NATIVE.contains(&name) || self.allowed(name) {
                self.extra.set(name, value);
            } else {
                self.refuse(name, "neither OpenAI's nor Anthropic's API has such a parameter that can be passed on")?;
            }
        }
        Ok(())
    }

    /// `temperature` within Anthropic's range.
    pub(super) fn temperature(&mut self, value: Option<f64>) -> Result<Option<f64>, ParamError> {
        match value {
            Some(value) if value > 1.0 => {
                self.refuse("temperature", "Anthropic accepts 0 to 1")?;
                Ok(Some(1.0))
            }
            other => Ok(other),
        }
    }

    /// Stop sequences; Anthropic refuses those of white space only.
    pub(super) fn stop(&mut self, chat: &ChatRequest) -> Result<Vec<String>, ParamError> {
        use crate::canonical::Either;
        let mut list = match &chat.stop {
            None => Vec::new(),
            Some(Either::Text(one)) => vec![one.clone()],
            Some(Either::Other(many)) => many.clone(),
        };
        if let Some(value) = chat.rest.get("stop_sequences").filter(|value| !raw::is_null(value)) {
            let native: Vec<String> =
                raw::parse(value).ok_or_else(|| ParamError::new("stop_sequences", "must be a list of strings"))?;
            list.extend(native);
        }
        if list.iter().any(|stop| stop.trim().is_empty()) {
            self.refuse("stop", "Anthropic refuses stop sequences that are empty or only white space")?;
            list.retain(|stop| !stop.trim().is_empty());
        }
        Ok(list)
    }

    /// OpenAI's tiers in Anthropic's terms: `default` never uses reserved capacity, `auto` and `priority` do where there is any.
    pub(super) fn service_tier(&mut self, tier: Option<&str>) -> Result<Option<&'static str>, ParamError> {
        match tier {
            None => Ok(None),
            Some("auto" | "priority") => Ok(Some("auto")),
            Some("default" | "standard_only") => Ok(Some("standard_only")),
            Some(_) => {
                self.refuse("service_tier", "Anthropic knows `auto`, `priority` and `default` only")?;
                Ok(None)
            }
        }
    }
}

/// Anthropic's own top-level parameters, passed on as they are.
const NATIVE: &[&str] = &[
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "output_format",
    "speed",
    "top_k",
    "user_profile_id",
];

/// Anthropic's own parameters that other code here merges with their OpenAI counterparts.
const TRANSLATED: &[&str] = &["anthropic_beta", "betas", "output_config", "stop_sequences", "system", "thinking"];

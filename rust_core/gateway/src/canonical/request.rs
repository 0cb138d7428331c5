//! A chat completion request.

use super::message::Message;
use super::raw::{Either, Nullable, Object, Raw, wire};

/// One stop sequence or several.
pub type Stop = Either<Vec<String>>;

/// `auto`, `none`, `required`, or an object that names tools.
pub type ToolChoice = Either<Object>;

wire! {
    /// The body of `POST /v1/chat/completions`.
    pub struct ChatRequest {
        /// Model name as the client sent it.
        model: String,
        /// The conversation.
        messages: Vec<Message>,
        /// Tools that the model may call.
        tools: Option<Vec<Tool>>,
        /// Whether and which.
        tool_choice: Option<ToolChoice>,
        /// False: at most one call per turn.
        parallel_tool_calls: Option<bool>,
        /// Output bound, tokens; superseded by `max_completion_tokens`.
        max_tokens: Option<u64>,
        /// Output bound with reasoning, tokens.
        max_completion_tokens: Option<u64>,
        /// 0 to 2.
        temperature: Option<f64>,
        /// 0 to 1.
        top_p: Option<f64>,
        /// How many answers.
        n: Option<u64>,
        /// Where to stop.
        stop: Option<Stop>,
        /// Answer as server-sent events.
        stream: Option<bool>,
        /// Only with `stream`.
        stream_options: Option<StreamOptions>,
        /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
        reasoning_effort: Option<String>,
        /// Text, JSON, or JSON under a schema.
        response_format: Option<ResponseFormat>,
        /// `auto`, `default`, `flex`, `priority`.
        service_tier: Option<String>,
        /// End user id.
        user: Option<String>,
        /// Hashed end user id.
        safety_identifier: Option<String>,
        /// Wish for repeatable sampling.
        seed: Option<Raw>,
        /// -2 to 2.
        frequency_penalty: Option<f64>,
        /// -2 to 2.
        presence_penalty: Option<f64>,
        /// Token id to bias.
        logit_bias: Option<Raw>,
        /// Return log probabilities.
        logprobs: Option<bool>,
        /// How many alternatives per token.
        top_logprobs: Option<u64>,
        /// `text`, `audio`.
        modalities: Option<Vec<String>>,
        /// Voice and format of a spoken answer.
        audio: Option<Raw>,
        /// Text that the answer will mostly repeat.
        prediction: Option<Raw>,
        /// `low`, `medium`, `high`.
        verbosity: Option<String>,
        /// Search the web.
        web_search_options: Option<Object>,
        /// Keep the answer at the provider.
        store: Option<bool>,
        /// Labels for what is kept.
        metadata: Option<Object>,
        /// Routing hint for prompt caches.
        prompt_cache_key: Option<String>,
        /// How long prompt caches live.
        prompt_cache_retention: Option<String>,
        /// The form that `tools` replaced.
        functions: Option<Raw>,
        /// The form that `tool_choice` replaced.
        function_call: Option<Raw>,
    }
}

impl ChatRequest {
    /// The output bound that the request sets, tokens.
    pub fn output_bound(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Whether the client asked for the usage chunk of a stream.
    pub fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }
}

wire! {
    /// Options of a stream.
    pub struct StreamOptions {
        /// End with a chunk that holds the usage.
        include_usage: Option<bool>,
    }
}

wire! {
    /// A tool: an OpenAI function, or a provider's own tool (all of it in `rest`).
    pub struct Tool {
        /// `function`, or a provider's own type.
        kind as "type": Option<String>,
        /// The function.
        function: Option<FunctionDef>,
        /// Prompt-cache mark.
        cache_control: Option<Raw>,
    }
}

wire! {
    /// A function that the model may call.
    pub struct FunctionDef {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// JSON Schema of the arguments.
        parameters: Option<Raw>,
        /// Hold the model to the schema.
        strict: Option<bool>,
        /// Prompt-cache mark.
        cache_control: Option<Raw>,
    }
}

wire! {
    /// What form the answer takes.
    pub struct ResponseFormat {
        /// `text`, `json_object`, `json_schema`.
        kind as "type": String,
        /// For `json_schema`.
        json_schema: Option<JsonSchema>,
    }
}

wire! {
    /// A named schema.
    pub struct JsonSchema {
        /// Its name.
        name: Nullable<String>,
        /// The schema.
        schema: Option<Raw>,
        /// Hold the model to it.
        strict: Option<bool>,
        /// What it is for.
        description: Option<String>,
    }
}

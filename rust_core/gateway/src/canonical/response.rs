//! A chat completion, whole and in chunks.

use super::message::{Content, ToolCall};
use super::raw::{Nullable, Object, Raw, Slot, wire};

wire! {
    /// `chat.completion`.
    pub struct ChatResponse {
        /// Id of the answer.
        id: String,
        /// `chat.completion`.
        object: String,
        /// Unix seconds.
        created: u64,
        /// Model name as the client knows it.
        model: String,
        /// The answers.
        choices: Vec<Choice>,
        /// Tokens used.
        usage: Option<UsageObject>,
        /// Tier that served the call.
        service_tier: Option<String>,
        /// Backend configuration.
        system_fingerprint: Option<String>,
    }
}

wire! {
    /// One answer.
    pub struct Choice {
        /// Position.
        index: u64,
        /// What was said.
        message: ResponseMessage,
        /// Log probabilities, where asked for.
        logprobs: Nullable<Logprobs>,
        /// `stop`, `length`, `tool_calls`, `content_filter`.
        finish_reason: Nullable<String>,
    }
}

wire! {
    /// The message of an answer.
    pub struct ResponseMessage {
        /// `assistant`.
        role: String,
        /// Text, with some providers parts; null when there is none.
        content: Nullable<Content>,
        /// What was said instead of answering.
        refusal: Nullable<String>,
        /// Calls to tools.
        tool_calls: Option<Vec<ToolCall>>,
        /// Thinking as plain text.
        reasoning_content: Option<String>,
        /// Signed thinking, to be sent back unchanged.
        thinking_blocks: Option<Vec<Raw>>,
        /// Citations.
        annotations: Option<Vec<Raw>>,
        /// What OpenAI's API has no place for.
        provider_specific_fields: Option<Object>,
    }
}

wire! {
    /// `chat.completion.chunk`.
    pub struct ChatChunk {
        /// Id of the answer, equal in all chunks.
        id: String,
        /// `chat.completion.chunk`.
        object: String,
        /// Unix seconds, equal in all chunks.
        created: u64,
        /// Model name as the client knows it.
        model: String,
        /// Empty in the usage chunk.
        choices: Vec<ChunkChoice>,
        /// In the usage chunk.
        usage: Option<UsageObject>,
        /// Tier that served the call.
        service_tier: Option<String>,
        /// Backend configuration.
        system_fingerprint: Option<String>,
    }
}

wire! {
    /// What a chunk adds to one answer.
    pub struct ChunkChoice {
        /// Position.
        index: u64,
        /// The addition.
        delta: Delta,
        /// Log probabilities of the added tokens.
        logprobs: Option<Logprobs>,
        /// In the last chunk of an answer.
        finish_reason: Nullable<String>,
    }
}

wire! {
    /// An addition to an answer.
    pub struct Delta {
        /// In the first chunk.
        role: Option<String>,
        /// Text to append, with some providers parts.
        content: Option<Content>,
        /// Refusal text to append.
        refusal: Option<String>,
        /// Calls begun or continued, by `index`.
        tool_calls: Option<Vec<ToolCall>>,
        /// Thinking to append.
        reasoning_content: Option<String>,
        /// Whole signed thinking blocks to append.
        thinking_blocks: Option<Vec<Raw>>,
        /// Citations to append.
        annotations: Option<Vec<Raw>>,
        /// What OpenAI's API has no place for.
        provider_specific_fields: Option<Object>,
    }
}

wire! {
    /// Log probabilities of an answer.
    pub struct Logprobs {
        /// Of the text.
        content: Nullable<Vec<TokenLogprob>>,
        /// Of the refusal.
        refusal: Nullable<Vec<TokenLogprob>>,
    }
}

wire! {
    /// Log probability of one token.
    pub struct TokenLogprob {
        /// The token.
        token: String,
        /// Natural logarithm.
        logprob: Option<f64>,
        /// Its UTF-8 bytes.
        bytes: Nullable<Vec<u64>>,
        /// The likeliest alternatives.
        top_logprobs: Option<Vec<TokenLogprob>>,
    }
}

wire! {
    /// Tokens used, as OpenAI states them.
    pub struct UsageObject {
        /// Input, cached parts included.
        prompt_tokens: u64,
        /// Output, reasoning included.
        completion_tokens: u64,
        /// Their sum.
        total_tokens: u64,
        /// Parts of the input.
        prompt_tokens_details: Option<PromptDetails>,
        /// Parts of the output.
        completion_tokens_details: Option<CompletionDetails>,
    }
}

wire! {
    /// Parts of the input.
    pub struct PromptDetails {
        /// Read from a prompt cache.
        cached_tokens: Option<u64>,
        /// Written to a prompt cache.
        cache_creation_tokens: Option<u64>,
        /// Spoken input.
        audio_tokens: Option<u64>,
    }
}

wire! {
    /// Parts of the output.
    pub struct CompletionDetails {
        /// Thinking.
        reasoning_tokens: Option<u64>,
        /// Spoken output.
        audio_tokens: Option<u64>,
        /// Predicted tokens that were used.
        accepted_prediction_tokens: Option<u64>,
        /// Predicted tokens that were not.
        rejected_prediction_tokens: Option<u64>,
    }
}

impl Slot for ResponseMessage {}
impl Slot for Delta {}

//! One message of a conversation, its parts and its tool calls.

use super::raw::{Either, Object, Raw, wire};

/// A message's content: plain text or parts.
pub type Content = Either<Vec<Part>>;

wire! {
    /// A message in any role (`system`, `developer`, `user`, `assistant`, `tool`).
    pub struct Message {
        /// Who speaks.
        role: String,
        /// Absent (or null) on assistant messages that only call tools.
        content: Option<Content>,
        /// Which participant of that role speaks.
        name: Option<String>,
        /// Assistant: what it said instead of answering.
        refusal: Option<String>,
        /// Assistant: the calls it made.
        tool_calls: Option<Vec<ToolCall>>,
        /// Tool: which call this answers.
        tool_call_id: Option<String>,
        /// Assistant: thinking as plain text.
        reasoning_content: Option<String>,
        /// Assistant: signed thinking blocks as the provider gave them; replayed byte for byte.
        thinking_blocks: Option<Vec<Raw>>,
        /// Prompt-cache mark for the whole message.
        cache_control: Option<Raw>,
        /// What only the provider that produced the message understands.
        provider_specific_fields: Option<Object>,
        /// Assistant: citations, as an answer had them.
        annotations: Option<Raw>,
        /// Assistant: reference to a spoken answer.
        audio: Option<Raw>,
        /// The form that `tool_calls` replaced.
        function_call: Option<Raw>,
    }
}

wire! {
    /// One part of a message: which of the other fields is there depends on `kind`.
    pub struct Part {
        /// `text`, `image_url`, `input_audio`, `file`, `refusal`, or a provider's own block type.
        kind as "type": String,
        /// For `text`.
        text: Option<String>,
        /// For `refusal`.
        refusal: Option<String>,
        /// For `image_url`: an object, or with some clients the URL alone.
        image_url: Option<Either<ImageUrl>>,
        /// For `input_audio`.
        input_audio: Option<Raw>,
        /// For `file`.
        file: Option<FilePart>,
        /// Prompt-cache mark.
        cache_control: Option<Raw>,
    }
}

wire! {
    /// An image by `https:` or `data:` URL.
    pub struct ImageUrl {
        /// The URL.
        url: String,
        /// `auto`, `low` or `high`.
        detail: Option<String>,
    }
}

wire! {
    /// A document: inline as a data URL, or by id.
    pub struct FilePart {
        /// `data:<media type>;base64,<data>`.
        file_data: Option<String>,
        /// Id of an uploaded file.
        file_id: Option<String>,
        /// Its name.
        filename: Option<String>,
    }
}

wire! {
    /// A call to a tool: whole in messages, in fragments in stream deltas.
    pub struct ToolCall {
        /// Position among the message's calls; only in streams.
        index: Option<u64>,
        /// Id that the tool's answer refers to.
        id: Option<String>,
        /// `function`.
        kind as "type": Option<String>,
        /// The function called.
        function: Option<FunctionCall>,
        /// What only the provider that produced the call understands.
        provider_specific_fields: Option<Object>,
    }
}

wire! {
    /// Name and arguments of a call.
    pub struct FunctionCall {
        /// The function's name.
        name: Option<String>,
        /// JSON text, or a fragment of it in a stream.
        arguments: Option<String>,
    }
}

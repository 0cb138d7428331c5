//! OpenAI's chat semantics as types: the one form in which surfaces and providers meet.
//!
//! It is apart from both so that a provider never learns which API the client spoke and a surface never learns
//! who answers. Every object keeps the fields it does not know in `rest`, unparsed and in the order they came:
//! a document read and written again means the same, and schemas keep the order of their properties.

pub mod frames;
pub mod message;
pub mod raw;
pub mod request;
pub mod response;

#[cfg(test)]
mod tests;

pub use frames::ChunkFrames;
pub use message::{Content, FilePart, FunctionCall, ImageUrl, Message, Part, ToolCall};
pub use raw::{Either, Nullable, Object, Raw};
pub use request::{ChatRequest, FunctionDef, JsonSchema, ResponseFormat, Stop, StreamOptions, Tool, ToolChoice};
pub use response::{
    ChatChunk, ChatResponse, Choice, ChunkChoice, CompletionDetails, Delta, Logprobs, PromptDetails, ResponseMessage,
    TokenLogprob, UsageObject,
};

/// A document that is not what it should be; the message starts with the path of the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// For people, e.g. `messages: role: invalid type: integer, expected a string at line 1 column 40`.
    pub message: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Malformed {}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self { message: raw::explain(&error) }
    }
}

macro_rules! document {
    ($($name:ident),*) => {$(
        impl $name {
            /// Read from JSON.
            ///
            /// # Errors
            /// The bytes are not JSON, or a known field has another type.
            pub fn from_json(bytes: &[u8]) -> Result<Self, Malformed> {
                Ok(serde_json::from_slice(bytes)?)
            }

            /// Write as JSON.
            pub fn to_json(&self) -> Vec<u8> {
                raw::to_bytes(self)
            }
        }
    )*};
}

document!(ChatRequest, ChatResponse, ChatChunk);

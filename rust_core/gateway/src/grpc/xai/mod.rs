//! xAI's gRPC API, for its published clients: the same calls as over REST, in other messages.
//!
//! Chat, text completions and embeddings become the REST route's JSON and go through the phases like any call; their
//! answers are read as JSON and written as xAI's messages. Models, tokens and keys are answered from what the thread
//! knows. The rest of the API is about things that live at xAI and is refused by name. The whole mapping is in
//! `proto/xai/README.md`.

mod auth;
mod chat;
mod chunk;
mod content;
mod embed;
mod forms;
mod json;
mod message;
mod models;
mod openai;
mod put;
mod read;
mod request;
mod said;
mod sample;
#[cfg(test)]
mod tests;
mod tokenize;
mod tools;
mod usage;

use bytes::{Bytes, BytesMut};

use super::frame::Messages;
use crate::auth::record::Key;
use crate::errors::{Failure, Kind, Outcome};
use crate::snapshot::Snapshot;
use crate::surfaces::Surface;

/// What a path of this API asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rpc {
    /// A call, which goes through the phases.
    Call(Method),
    /// Something the thread knows.
    Local(Local),
    /// Something this gateway does not do; the sentence says so.
    Refused(&'static str),
}

/// A method that is a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `Chat.GetCompletion`
    Completion,
    /// `Chat.GetCompletionChunk`
    CompletionChunk,
    /// `Sample.SampleText`
    Sample,
    /// `Sample.SampleTextStreaming`
    SampleStreaming,
    /// `Embedder.Embed`
    Embed,
}

/// A method that is answered without a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the methods are")]
pub(crate) enum Local {
    ListLanguageModels,
    GetLanguageModel,
    ListEmbeddingModels,
    GetEmbeddingModel,
    ListImageGenerationModels,
    GetImageGenerationModel,
    TokenizeText,
    ApiKeyInfo,
}

const NOT_STORED: &str =
    "Answers are not stored here, so that none can be fetched later; call GetCompletion or GetCompletionChunk.";
const NOT_FOLDED: &str =
    "CompactContext makes a form of the conversation that only xAI can read; send the messages instead.";
const ELSEWHERE: &str = "Of xAI's API this gateway offers Chat, Sample, Embedder, Tokenize, Models and Auth.";

/// Looks a path up, as `/xai_api.Chat/GetCompletion`; `None` when it is not of this API.
pub(crate) fn find(path: &str) -> Option<Rpc> {
    let method = path.strip_prefix("/xai_api.")?;
    Some(match method {
        "Chat/GetCompletion" => Rpc::Call(Method::Completion),
        "Chat/GetCompletionChunk" => Rpc::Call(Method::CompletionChunk),
        "Sample/SampleText" => Rpc::Call(Method::Sample),
        "Sample/SampleTextStreaming" => Rpc::Call(Method::SampleStreaming),
        "Embedder/Embed" => Rpc::Call(Method::Embed),
        "Models/ListLanguageModels" => Rpc::Local(Local::ListLanguageModels),
        "Models/GetLanguageModel" => Rpc::Local(Local::GetLanguageModel),
        "Models/ListEmbeddingModels" => Rpc::Local(Local::ListEmbeddingModels),
        "Models/GetEmbeddingModel" => Rpc::Local(Local::GetEmbeddingModel),
        "Models/ListImageGenerationModels" => Rpc::Local(Local::ListImageGenerationModels),
        "Models/GetImageGenerationModel" => Rpc::Local(Local::GetImageGenerationModel),
        "Tokenize/TokenizeText" => Rpc::Local(Local::TokenizeText),
        "Auth/get_api_key_info" => Rpc::Local(Local::ApiKeyInfo),
        "Chat/StartDeferredCompletion"
        | "Chat/GetDeferredCompletion"
        | "Chat/GetStoredCompletion"
        | "Chat/DeleteStoredCompletion" => Rpc::Refused(NOT_STORED),
        "Chat/CompactContext" => Rpc::Refused(NOT_FOLDED),
        _ => Rpc::Refused(ELSEWHERE),
    })
}

/// The failure of a method that is refused.
pub(crate) fn refusal(why: &'static str) -> Failure {
    Failure::new(Kind::RouteUnsupported, why)
}

impl Method {
    /// The kind of call.
    pub(crate) const fn surface(self) -> Surface {
        match self {
            Self::Completion | Self::CompletionChunk => Surface::Chat,
            Self::Sample | Self::SampleStreaming => Surface::Completions,
            Self::Embed => Surface::Embeddings,
        }
    }

    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] =
        [Self::Completion, Self::CompletionChunk, Self::Sample, Self::SampleStreaming, Self::Embed];

    /// The path of the method.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Completion => "/xai_api.Chat/GetCompletion",
            Self::CompletionChunk => "/xai_api.Chat/GetCompletionChunk",
            Self::Sample => "/xai_api.Sample/SampleText",
            Self::SampleStreaming => "/xai_api.Sample/SampleTextStreaming",
            Self::Embed => "/xai_api.Embedder/Embed",
        }
    }

    /// The REST route.
    pub(crate) const fn template(self) -> &'static str {
        match self {
            Self::Completion | Self::CompletionChunk => "/v1/chat/completions",
            Self::Sample | Self::SampleStreaming => "/v1/completions",
            Self::Embed => "/v1/embeddings",
        }
    }

    /// Whether the answer is a stream of messages.
    pub(crate) const fn streams(self) -> bool {
        matches!(self, Self::CompletionChunk | Self::SampleStreaming)
    }
}

/// Where whole answers have their usage.
const USAGE: u32 = 9;

/// Translates one call's messages.
#[derive(Debug)]
pub(crate) struct Translator {
    method: Method,
    stream: chunk::Stream,
    price: Option<usage::Price>,
}

impl Translator {
    /// For one call of this method.
    pub(crate) fn new(method: Method) -> Self {
        Self { method, stream: chunk::Stream::default(), price: None }
    }

    /// The request message as the JSON body of the REST route, of at most `limit` bytes.
    ///
    /// # Errors
    /// A field is wrong or has no counterpart; it is named. Or the body is too large.
    pub(crate) fn request(&mut self, message: &[u8], limit: usize) -> Outcome<Bytes> {
        let stream = self.method.streams();
        let body = match self.method {
            Method::Completion | Method::CompletionChunk => request::body(message, stream, limit),
            Method::Sample | Method::SampleStreaming => sample::body(message, stream, limit),
            Method::Embed => embed::body(message, limit),
        };
        body.map_err(read::named)
    }

    /// A whole JSON answer as one message, appended to `out`.
    ///
    /// # Errors
    /// It is not what its wire promises.
    pub(crate) fn answer(&mut self, json: &[u8], out: &mut BytesMut) -> Outcome<()> {
        match self.method {
            Method::Completion => chat::completion(json, out),
            Method::Sample => chat::sample(json, out),
            Method::Embed => embed::response(json, out),
            Method::CompletionChunk | Method::SampleStreaming => Err(chat::malformed()),
        }
    }

    /// One event of a stream as at most one message.
    ///
    /// # Errors
    /// It is not what its wire promises.
    pub(crate) fn event(&mut self, _name: &[u8], data: &[u8], messages: &mut Messages) -> Outcome<()> {
        match self.method {
            Method::CompletionChunk => self.stream.chat(data, messages),
            Method::SampleStreaming => self.stream.sample(data, messages),
            Method::Completion | Method::Sample | Method::Embed => Err(chat::malformed()),
        }
    }

    /// The stream ended well: what is still held back.
    ///
    /// # Errors
    /// None so far.
    pub(crate) fn end(&mut self, messages: &mut Messages) -> Outcome<()> {
        match self.method {
            Method::SampleStreaming => self.stream.end_of_sample(messages),
            _ => self.stream.end_of_chat(messages),
        }
        Ok(())
    }

    /// What the call cost, in US dollars as the metadata has it: known after the last event and before the end, or
    /// after an answer was translated.
    pub(crate) fn cost(&mut self, usd: &[u8]) {
        self.price = usage::Price::of(usd);
        if let Some(price) = self.price {
            self.stream.cost(price);
        }
    }

    /// Appends to a whole answer what was not known when it was translated.
    pub(crate) fn finish_answer(&self, out: &mut BytesMut) {
        if let (Method::Completion | Method::Sample, Some(price)) = (self.method, self.price) {
            price.write(out, USAGE);
        }
    }
}

/// Answers a method that needs no provider, for a key that was let in; `None` is the master key. Long texts take their
/// time to tokenize: see [`crate::tokens::count`].
///
/// # Errors
/// A field is wrong, or what it names does not exist or is not this key's to see.
pub(crate) fn local(method: Local, snapshot: &Snapshot, key: Option<&Key>, message: &[u8]) -> Outcome<Bytes> {
    use models::Sort;
    let answer = match method {
        Local::ListLanguageModels => Ok(models::list(Sort::Language, snapshot, key)),
        Local::ListEmbeddingModels => Ok(models::list(Sort::Embedding, snapshot, key)),
        Local::ListImageGenerationModels => Ok(models::list(Sort::Image, snapshot, key)),
        Local::GetLanguageModel => models::get(Sort::Language, snapshot, key, message),
        Local::GetEmbeddingModel => models::get(Sort::Embedding, snapshot, key, message),
        Local::GetImageGenerationModel => models::get(Sort::Image, snapshot, key, message),
        Local::TokenizeText => tokenize::text_tokens(snapshot, key, message),
        Local::ApiKeyInfo => Ok(auth::key_info(key)),
    };
    answer.map_err(read::named)
}

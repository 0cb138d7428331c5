//! What clients speak: which paths the data plane answers itself, and in whose dialect.
//!
//! A surface knows nothing of providers. It says what a route is, where the model name is to be
//! found and how errors are written; the phases do the rest.

pub mod models;
mod multipart;
mod routes;
mod url;

use crate::auth::routes::RouteKind;
pub use multipart::text_field;
pub use routes::{Route, route, runs_its_model};
pub use url::{climbs, path_segment, percent_decode, query_value};

/// Whose dialect a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's REST API.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// Any other route of the OpenAI API, relayed as it is.
    Passthrough,
}

impl Surface {
    /// The dialect of its errors.
    #[must_use]
    pub fn api(self) -> Api {
        match self {
            Self::Messages | Self::CountTokens => Api::Anthropic,
            _ => Api::OpenAi,
        }
    }

    /// What a key's `allowed_routes` calls it.
    #[must_use]
    pub fn kind(self) -> RouteKind {
        match self.api() {
            Api::OpenAi => RouteKind::OpenAi,
            Api::Anthropic => RouteKind::Anthropic,
        }
    }

    /// Label for records and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Passthrough => "passthrough",
        }
    }

    /// Whether the body must be a JSON object with a `model`.
    #[must_use]
    pub fn needs_model(self) -> bool {
        self != Self::Passthrough
    }
}

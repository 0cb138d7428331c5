//! Failures as bytes, in the shape each client API uses.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Failure, Kind};
use crate::surfaces::Api;

/// The error body for a client of this API.
#[must_use]
pub fn body(api: Api, failure: &Failure) -> Bytes {
    match api {
        Api::OpenAi => openai_body(failure),
        Api::Anthropic => anthropic_body(failure),
    }
}

fn openai_value(failure: &Failure) -> Value {
    json!({"error": {
        "message": failure.message,
        "type": failure.type_name(),
        "param": failure.param,
        "code": failure.code(),
    }})
}

/// OpenAI's error object.
#[must_use]
pub fn openai_body(failure: &Failure) -> Bytes {
    Bytes::from(openai_value(failure).to_string())
}

fn anthropic_value(failure: &Failure) -> Value {
    let kind = match failure.status() {
        401 => "authentication_error",
        402 | 422 if failure.kind == Kind::BudgetExceeded => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": failure.message}})
}

/// Anthropic's error object.
#[must_use]
pub fn anthropic_body(failure: &Failure) -> Bytes {
    Bytes::from(anthropic_value(failure).to_string())
}

/// The last frame of a stream that broke: an error event, and no `[DONE]`.
#[must_use]
pub fn stream_event(api: Api, failure: &Failure) -> Bytes {
    Bytes::from(match api {
        Api::OpenAi => format!("data: {}\n\n", openai_value(failure)),
        Api::Anthropic => format!("event: error\ndata: {}\n\n", anthropic_value(failure)),
    })
}

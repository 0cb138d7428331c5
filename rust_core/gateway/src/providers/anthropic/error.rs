//! Anthropic's errors in OpenAI's terms.

use std::borrow::Cow;

use crate::canonical::Object;
use crate::canonical::raw::{self, explain};

/// The upstream broke the protocol, or said inside its answer that it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    /// Anthropic's error type (`overloaded_error`, ...), or `malformed_response`.
    pub kind: String,
    /// What the upstream said, or what is wrong with it.
    pub message: String,
}

impl WireError {
    pub(super) fn malformed(what: &str, error: &serde_json::Error) -> Self {
        Self { kind: "malformed_response".to_owned(), message: format!("{what}: {}", explain(error)) }
    }

    /// The same error as if it had come before the answer.
    pub fn upstream(&self) -> UpstreamError {
        let status = match self.kind.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            "malformed_response" => 502,
            _ => 500,
        };
        translate(status, &self.kind, self.message.clone(), None)
    }
}

impl std::fmt::Display for WireError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for WireError {}

/// An upstream's refusal, ready for an OpenAI error body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// HTTP status that fits; the upstream's own where there was one.
    pub status: u16,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// What the upstream said.
    pub message: String,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// Anthropic's error type; empty when the body was not Anthropic's.
    pub upstream_kind: String,
    /// Anthropic's id of the request, for its support.
    pub request_id: Option<String>,
}

/// The longest part of a foreign error body that is shown, bytes.
const SHOWN: usize = 500;

/// Translate an error answer, whatever its body is.
pub fn error(status: u16, body: &[u8]) -> UpstreamError {
    let Ok(envelope) = serde_json::from_slice::<Object>(body) else {
        return translate(status, "", plain(status, body), None);
    };
    let inner: Object = envelope.get("error").and_then(raw::parse).unwrap_or_default();
    // Others in front of Anthropic answer `{"message": ...}`, `{"error": "..."}` or `{"detail": ...}`.
    let message = inner
        .text("message")
        .or_else(|| ["message", "Message", "error", "detail"].iter().find_map(|name| envelope.text(name)))
        .filter(|text| !text.is_empty());
    let kind = inner.text("type").unwrap_or_default();
    translate(status, &kind, message.unwrap_or_else(|| fallback(status)), envelope.text("request_id"))
}

/// Gateways and load balancers answer in text or HTML; markup tells a client nothing.
fn plain(status: u16, body: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() || text.starts_with('<') || text.starts_with('{') || text.starts_with('[') {
        return fallback(status);
    }
    let end = (0..=SHOWN.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

fn fallback(status: u16) -> String {
    format!("the upstream answered {status} without an explanation")
}

fn translate(status: u16, upstream_kind: &str, message: String, request_id: Option<String>) -> UpstreamError {
    let named = match upstream_kind {
        "" => None,
        "invalid_request_error" => Some(invalid(&message)),
        "authentication_error" => Some(("authentication_error", Some("invalid_api_key"))),
        "billing_error" => Some(("insufficient_quota", Some("insufficient_quota"))),
        "permission_error" => Some(("permission_error", Some("permission_denied"))),
        "not_found_error" => Some(("invalid_request_error", Some(not_found(&message)))),
        "request_too_large" => Some(("invalid_request_error", Some("request_too_large"))),
        "rate_limit_error" => Some(("rate_limit_error", Some("rate_limit_exceeded"))),
        "timeout_error" => Some(("server_error", Some("timeout"))),
        "overloaded_error" => Some(("server_error", Some("overloaded"))),
        "api_error" => Some(("server_error", None)),
        _ => None,
    };
    let (kind, code) = named.unwrap_or_else(|| match status {
        401 => ("authentication_error", Some("invalid_api_key")),
        402 => ("insufficient_quota", Some("insufficient_quota")),
        403 => ("permission_error", Some("permission_denied")),
        404 => ("invalid_request_error", Some(not_found(&message))),
        413 => ("invalid_request_error", Some("request_too_large")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        529 | 503 => ("server_error", Some("overloaded")),
        408 | 504 => ("server_error", Some("timeout")),
        400..=499 => invalid(&message),
        _ => ("server_error", None),
    });
    UpstreamError { status, kind, message, code, upstream_kind: upstream_kind.to_owned(), request_id }
}

/// OpenAI's codes for what Anthropic tells in words only.
fn invalid(message: &str) -> (&'static str, Option<&'static str>) {
    let says = |words: &str| message.contains(words);
    if says("prompt is too long") || says("exceed context limit") || says("context window") {
        ("invalid_request_error", Some("context_length_exceeded"))
    } else if says("credit balance is too low") {
        ("insufficient_quota", Some("insufficient_quota"))
    } else {
        ("invalid_request_error", None)
    }
}

fn not_found(message: &str) -> &'static str {
    if message.starts_with("model:") { "model_not_found" } else { "not_found" }
}

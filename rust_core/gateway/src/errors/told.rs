//! What a provider says of its own failure: in an answer with an error's status, in one without, and in a stream.
//!
//! On OpenAI's wire, which knows no one way to say it in a stream: the event may be called so, be of that type, or have a
//! member `error` wherever in a chunk it stands, as aggregators write it. Clients' libraries raise whatever is there.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value;

use super::{Failure, Kind};
use crate::providers::openai::after_colon;

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"error"));

/// Whether a frame of an event stream is worth a closer look.
pub(crate) fn may_be_in(frame: &[u8]) -> bool {
    ERROR.find_iter(frame).any(|at| {
        let (before, word) = frame.split_at_checked(at).unwrap_or_default();
        if before.ends_with(b"\"") {
            return is_told(word);
        }
        let line =
            memchr::memrchr2(b'\n', b'\r', before).map_or(before, |end| before.get(end + 1..).unwrap_or_default());
        line.starts_with(b"event:")
    })
}

/// Whether the word is all of a string, and not the name of a member that is `null`, as many providers write it into every chunk.
/// In texts quotation marks are escaped.
fn is_told(word: &[u8]) -> bool {
    let after = word.strip_prefix(b"error\"");
    after.is_some_and(|after| !after_colon(after).is_some_and(|value| value.starts_with(b"null")))
}

/// What an event of a stream says.
pub(crate) fn in_event(name: &[u8], data: &[u8]) -> Option<Failure> {
    let is_named = name == b"error";
    if !is_named && !has_member(data) {
        return None;
    }
    match serde_json::from_slice(data) {
        Ok(Value::String(text)) if is_named => Some(said(&text)),
        Ok(value) => in_value(&value, is_named),
        Err(_) => {
            let member = data.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
            let value = member.and_then(|m| m.strip_prefix(b"\"error\"")).and_then(after_colon);
            let is_first = value.is_some_and(|v| v.starts_with(b"{"));
            (is_named || is_first).then(|| said(&String::from_utf8_lossy(data)))
        }
    }
}

/// What an answer says whose status is that of a good one.
pub(crate) fn in_answer(body: &[u8]) -> Option<Failure> {
    // Most answers do not even have the word.
    if !has_member(body) {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    if value.get("choices").is_some() { None } else { in_value(&value, false) }
}

fn has_member(data: &[u8]) -> bool {
    ERROR.find_iter(data).any(|at| {
        let (before, word) = data.split_at_checked(at).unwrap_or_default();
        before.ends_with(b"\"") && is_told(word)
    })
}

fn in_value(value: &Value, is_error: bool) -> Option<Failure> {
    match value.get("error") {
        Some(Value::String(text)) if !text.is_empty() => Some(said(text)),
        Some(error) if is_something(error) => Some(described(error, None)),
        // The Responses API has the members of the error in the event itself.
        _ if is_error || value.get("type").is_some_and(|t| t == "error") => Some(described(value, None)),
        _ => None,
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn said(text: &str) -> Failure {
    Failure::new(Kind::UpstreamStatus(500), text.to_owned())
}

/// The failure that a provider's error body describes; `status` is that of its answer.
pub(crate) fn refusal(status: u16, body: &[u8]) -> Option<Failure> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error").unwrap_or(&value);
    let text = error.as_str().or_else(|| value.get("detail")?.as_str());
    match text {
        Some(text) => Some(Failure::new(Kind::UpstreamStatus(status), text.to_owned())),
        None => error.get("message").is_some().then(|| described(error, Some(status))),
    }
}

fn described(error: &Value, status: Option<u16>) -> Failure {
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let status = status.unwrap_or_else(|| status_of(error));
    let message = text("message").unwrap_or("The provider failed and did not say why.");
    let mut failure = Failure::new(Kind::UpstreamStatus(status), message.to_owned());
    failure.type_name = text("type").map(Into::into);
    failure.code = match error.get("code") {
        Some(Value::String(code)) => Some(code.as_str().into()),
        Some(Value::Number(code)) => Some(code.to_string().into()),
        _ => None,
    };
    failure.param = text("param").map(|p| p.to_owned().into());
    failure
}

/// The status that an error told in a stream would have had as an answer.
fn status_of(error: &Value) -> u16 {
    let told = ["status", "code"].iter().find_map(|name| error.get(name)?.as_u64());
    if let Some(status) = told.and_then(|s| u16::try_from(s).ok()).filter(|s| (400..600).contains(s)) {
        return status;
    }
    let words = ["type", "code"].iter().filter_map(|name| error.get(name)?.as_str());
    let known = words.filter_map(|word| match word {
        "invalid_request_error" | "invalid_request" | "context_length_exceeded" | "content_filter" => Some(400),
        "authentication_error" | "invalid_api_key" => Some(401),
        "billing_error" | "insufficient_quota" => Some(429),
        "permission_error" | "permission_denied" => Some(403),
        "not_found_error" | "model_not_found" => Some(404),
        "request_too_large" => Some(413),
        "rate_limit_error" | "rate_limit_exceeded" | "throttling_error" | "requests" | "tokens" => Some(429),
        "timeout_error" | "timeout" => Some(504),
        "overloaded_error" | "overloaded" | "service_unavailable" | "engine_overloaded" => Some(503),
        _ => None,
    });
    known.into_iter().next().unwrap_or(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_from_an_answer() {
        let told = |data: &str| in_event(b"", data.as_bytes());
        let failure = told(r#"{"error": {"message": "slow down", "type": "rate_limit_error", "code": null}}"#).unwrap();
        assert_eq!((failure.kind, &*failure.message), (Kind::UpstreamStatus(429), "slow down"));
        assert_eq!(told(r#"{"error":{"message":"x","code":503}}"#).unwrap().kind, Kind::UpstreamStatus(503));
        assert_eq!(told(r#"{"error":{"message":"x"}}"#).unwrap().kind, Kind::UpstreamStatus(500));
        assert!(told(r#"{"error":null,"choices":[]}"#).is_none());
        assert!(told(r#"{"choices":[{"delta":{"content":"{\"error\":{}}"}}]}"#).is_none());
        let event = super::in_event(b"error", br#"{"type":"error","code":"server_error","message":"no"}"#).unwrap();
        assert_eq!((event.status(), event.code()), (500, "server_error"));
        assert!(
            super::in_event(b"response.failed", br#"{"type":"response.failed","response":{"error":{}}}"#).is_none()
        );
        // Aggregators have it wherever in a chunk.
        let chunk =
            r#"{"id":"a","error":{"code":"server_error","message":"gone"},"choices":[{"finish_reason":"error"}]}"#;
        assert_eq!(told(chunk).unwrap().message, "gone");
        assert_eq!(told(r#"{"id":"a","error":"gone"}"#).unwrap().message, "gone");
        assert_eq!(told(r#"{"sequence_number":7,"type":"error","message":"gone"}"#).unwrap().message, "gone");
        assert_eq!(super::in_event(b"error", b"gone").unwrap().kind, Kind::UpstreamStatus(500));
        for none in [r#"{"error":""}"#, r#"{"choices":[{"finish_reason":"error","delta":{"error":{}}}],"error":null}"#]
        {
            assert!(told(none).is_none(), "{none}");
        }
    }

    #[test]
    fn an_error_is_something() {
        let is = |error: &str| in_event(b"", format!(r#"{{"id":"a","error":{error}}}"#).as_bytes()).is_some();
        for some in [r#"{"a":1}"#, r#""no""#, "true", "7", "[1]", r#" { "message" : "no" } "#] {
            assert!(is(some), "{some}");
        }
        for none in ["null", " null", "false", "0", r#""""#, "{}", "{ }", "[]"] {
            assert!(!is(none), "{none}");
        }
        // No JSON, and an error all the same.
        assert_eq!(in_event(b"error", b"overloaded").unwrap().message, "overloaded");
        assert_eq!(in_event(b"error", br#""overloaded""#).unwrap().message, "overloaded");
        assert!(in_event(b"", b"{\"error\": {\"message\":\"a\tb\"}}").is_some());
        assert!(in_event(b"", b"{\"id\":\"\xff\",\"text\":\"error\"}").is_none());
    }

    #[test]
    fn frames_worth_a_look() {
        for frame in [
            "data: {\"error\":{}}\n\n",
            "data: {\"error\" :\n\n",
            "event: error\ndata: {}\n\n",
            "event:error\r\n\r\n",
            "id: 7\nevent: error\ndata: {}\n\n",
            "\nevent: error\ndata: {}\n\n",
            ": c\r\nevent: error\r\ndata: {}\r\n\r\n",
            "data: {}\revent: error\r\r",
            "data: {\"error\":null,\"type\":\"error\"}\n\n",
        ] {
            assert!(may_be_in(frame.as_bytes()), "{frame}");
        }
        for frame in [
            "data: {\"error\" : null}\n\n",
            "data: {\"content\":\"an error, an \\\"error\\\"\"}\n\n",
            "data: event: error\n\n",
        ] {
            assert!(!may_be_in(frame.as_bytes()), "{frame}");
        }
    }
}

//! Events of a provider's stream, and errors where answers were expected.
//!
//! By the time a frame gets here its end has been found; name and data are looked for once.

use bytes::Bytes;
use serde_json::Value;

use crate::errors::{Failure, Kind, Outcome};
use crate::providers::openai;
use crate::sse::{self, Frames};

/// Calls `then` with name and data of every frame that has data, until it fails. Mostly there is one frame; a translator
/// makes several at once.
pub(crate) fn each(mut frames: &[u8], mut then: impl FnMut(&[u8], &[u8]) -> Outcome<()>) -> Outcome<()> {
    while !frames.is_empty() {
        if let Some((name, data, rest)) = plain(frames) {
            then(name, data)?;
            frames = rest;
            continue;
        }
        // The last may lack its blank line.
        let end = Frames::new().end(frames).unwrap_or(frames.len());
        let (frame, rest) = frames.split_at_checked(end).unwrap_or((frames, &[]));
        if let Some(event) = sse::parse(&Bytes::copy_from_slice(frame)) {
            then(&event.kind, &event.data)?;
        }
        frames = rest;
    }
    Ok(())
}

/// Name, data and what follows of the usual frame: perhaps a line with a name, one line of data, a blank line.
fn plain(frames: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = match frames.strip_prefix(b"event:") {
        Some(rest) => line(rest)?,
        None => (&[][..], frames),
    };
    let (data, rest) = line(rest.strip_prefix(b"data:")?)?;
    let rest = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n"))?;
    Some((name, data, rest))
}

/// The value up to the end of the line, and what follows the line.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text)?;
    let (value, rest) = (text.get(..end)?, text.get(end + 1..)?);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    let value = value.strip_prefix(b" ").unwrap_or(value);
    // A carriage return by itself ends a line as well.
    (memchr::memchr(b'\r', value).is_none()).then_some((value, rest))
}

/// What a provider says in its stream of its own failure.
pub(crate) fn told(name: &[u8], data: &[u8]) -> Option<Failure> {
    openai::tells_error(name, data).then(|| failure_in(data))
}

/// An answer that says that the provider failed, whatever its status.
pub(crate) fn failure(body: &[u8]) -> Option<Failure> {
    // Most answers do not even have the word.
    let has_one = memchr::memmem::find(body, b"\"error\"").is_some() && openai::is_error_body(body);
    has_one.then(|| failure_in(body))
}

fn failure_in(data: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    match value.get("error") {
        Some(error @ Value::Object(_)) => described(error, None),
        Some(Value::String(message)) if !message.is_empty() => Failure::new(Kind::UpstreamStatus(500), message.clone()),
        // The Responses API has the members of the error in the event itself.
        _ => described(&value, None),
    }
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

    fn split(frames: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        each(frames.as_bytes(), |name, data| {
            found.push((text(name), text(data)));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn name_and_data_however_they_are_written() {
        let pair = |n: &str, d: &str| vec![(n.to_owned(), d.to_owned())];
        assert_eq!(split("data: {}\n\n"), pair("", "{}"));
        assert_eq!(split("data:{}\r\n\r\n"), pair("", "{}"));
        assert_eq!(split("event: a\ndata: {}\n\n"), pair("a", "{}"));
        assert_eq!(split("data: {}\nevent: a\n\n"), pair("a", "{}"));
        assert_eq!(split(": comment\ndata: {}\n\n"), pair("", "{}"));
        assert_eq!(split("data: {\ndata: }\n\n"), pair("", "{\n}"));
        assert_eq!(split("data: {}\rid: 1\r\r"), pair("", "{}"));
        assert_eq!(split("data: {}"), pair("", "{}"));
        assert_eq!(split(": keep-alive\n\n"), []);
        assert_eq!(split("\n"), []);
        let several = ["data: 1\n\n", "data: 2\ndata: 3\n\n", "event: a\r\ndata: 4\r\n\r\n", "data: [DONE]"].concat();
        let expected = [pair("", "1"), pair("", "2\n3"), pair("a", "4"), pair("", "[DONE]")].concat();
        assert_eq!(split(&several), expected);
    }

    #[test]
    fn a_failure_is_told_from_an_answer() {
        let told = |data: &str| told(b"", data.as_bytes());
        let failure = told(r#"{"error": {"message": "slow down", "type": "rate_limit_error", "code": null}}"#).unwrap();
        assert_eq!((failure.kind, &*failure.message), (Kind::UpstreamStatus(429), "slow down"));
        assert_eq!(told(r#"{"error":{"message":"x","code":503}}"#).unwrap().kind, Kind::UpstreamStatus(503));
        assert_eq!(told(r#"{"error":{"message":"x"}}"#).unwrap().kind, Kind::UpstreamStatus(500));
        assert!(told(r#"{"error":null,"choices":[]}"#).is_none());
        assert!(told(r#"{"choices":[{"delta":{"content":"{\"error\":{}}"}}]}"#).is_none());
        let event = super::told(b"error", br#"{"type":"error","code":"server_error","message":"no"}"#).unwrap();
        assert_eq!((event.status(), event.code()), (500, "server_error"));
        assert!(super::told(b"response.failed", br#"{"type":"response.failed","response":{"error":{}}}"#).is_none());
        // Aggregators have it wherever in a chunk.
        let chunk =
            r#"{"id":"a","error":{"code":"server_error","message":"gone"},"choices":[{"finish_reason":"error"}]}"#;
        assert_eq!(told(chunk).unwrap().message, "gone");
        assert_eq!(told(r#"{"id":"a","error":"gone"}"#).unwrap().message, "gone");
        assert_eq!(told(r#"{"sequence_number":7,"type":"error","message":"gone"}"#).unwrap().message, "gone");
        assert_eq!(super::told(b"error", b"gone").unwrap().kind, Kind::UpstreamStatus(500));
        for none in [r#"{"error":""}"#, r#"{"choices":[{"finish_reason":"error","delta":{"error":{}}}],"error":null}"#]
        {
            assert!(told(none).is_none(), "{none}");
        }
    }
}

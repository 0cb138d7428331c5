//! Upstream errors in OpenAI's terms.

use crate::providers::anthropic::{WireError, error};

#[test]
fn anthropic_errors_get_openai_types_and_codes() {
    let cases: &[(u16, &str, &str, &str, Option<&str>)] = &[
        (400, "invalid_request_error", "max_tokens: Field required", "invalid_request_error", None),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 9 tokens > 8 maximum",
            "invalid_request_error",
            Some("context_length_exceeded"),
        ),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the API",
            "insufficient_quota",
            Some("insufficient_quota"),
        ),
        (401, "authentication_error", "invalid x-api-key", "authentication_error", Some("invalid_api_key")),
        (403, "permission_error", "no", "permission_error", Some("permission_denied")),
        (404, "not_found_error", "model: claude-x", "invalid_request_error", Some("model_not_found")),
        (404, "not_found_error", "Not Found", "invalid_request_error", Some("not_found")),
        (413, "request_too_large", "big", "invalid_request_error", Some("request_too_large")),
        (429, "rate_limit_error", "slow down", "rate_limit_error", Some("rate_limit_exceeded")),
        (500, "api_error", "oops", "server_error", None),
        (529, "overloaded_error", "Overloaded", "server_error", Some("overloaded")),
        (418, "a_new_error", "prompt is too long", "invalid_request_error", Some("context_length_exceeded")),
    ];
    for (status, upstream, message, kind, code) in cases {
        let body = serde_json::json!({"type": "error", "error": {"type": upstream, "message": message}, "request_id": "req_1"});
        let told = error(*status, body.to_string().as_bytes());
        assert_eq!((told.status, told.kind, told.code, told.message.as_str()), (*status, *kind, *code, *message));
        assert_eq!((told.upstream_kind.as_str(), told.request_id.as_deref()), (*upstream, Some("req_1")));
    }
}

#[test]
fn bodies_that_are_not_anthropics_still_make_an_error() {
    let told = error(502, b"<html><body>Bad Gateway</body></html>");
    assert_eq!((told.kind, told.code), ("server_error", None));
    assert_eq!(told.message, "the upstream answered 502 without an explanation");
    assert_eq!(error(503, b"upstream connect error").message, "upstream connect error");
    assert_eq!(error(429, b"").code, Some("rate_limit_exceeded"));
    assert_eq!(error(403, br#"{"message":"not authorized"}"#).message, "not authorized");
    assert_eq!(error(502, br#"{"error":"no route"}"#).message, "no route");
    assert_eq!(error(500, br#"{"error":{"type":7}}"#).message, "the upstream answered 500 without an explanation");
    assert_eq!(error(500, b"[1]").kind, "server_error");
    let long = "\u{e9}".repeat(2000);
    assert!(error(500, long.as_bytes()).message.len() <= 500);
    assert!(!error(500, &[0xff, 0xfe, b'x']).message.is_empty());
}

#[test]
fn an_error_inside_a_stream_gets_the_status_it_would_have_had() {
    let told = WireError { kind: "overloaded_error".into(), message: "Overloaded".into() }.upstream();
    assert_eq!((told.status, told.kind, told.code), (529, "server_error", Some("overloaded")));
    assert_eq!(WireError { kind: "rate_limit_error".into(), message: String::new() }.upstream().status, 429);
    assert_eq!(WireError { kind: "malformed_response".into(), message: String::new() }.upstream().status, 502);
}

//! Answers and how their heads and errors are written in each wire.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use penstock_http1::{put_header, put_status_line};

use crate::json::{self, put};
use crate::plan::Plan;

/// Which provider is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAi,
    Azure,
    Anthropic,
}

/// An answer in one piece.
#[derive(Debug)]
pub(crate) struct Unary {
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) body: Bytes,
    /// Further fields, each with its line end.
    pub(crate) fields: String,
    /// Send none of the wire's usual fields.
    pub(crate) only: bool,
    /// Output tokens in it.
    pub(crate) tokens: u64,
}

impl Unary {
    pub(crate) fn new(status: u16, content_type: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: content_type.into(),
            body: body.into(),
            fields: String::new(),
            only: false,
            tokens: 0,
        }
    }

    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, "application/json", body)
    }

    pub(crate) fn tokens(mut self, tokens: u64) -> Self {
        self.tokens = tokens;
        self
    }

    pub(crate) fn with_only(mut self, fields: String) -> Self {
        (self.only, self.fields) = (true, fields);
        self
    }
}

/// What a call is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    Unary(Unary),
    Stream(Plan),
}

/// A call that is refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    pub(crate) code: Option<&'static str>,
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(crate) fn missing(param: &'static str) -> Self {
        Self {
            param: Some(param),
            code: Some("missing_required_parameter"),
            ..Self::new(400, format!("Missing required parameter: '{param}'."))
        }
    }

    /// An error status somebody asked for.
    pub(crate) fn scripted(status: u16, retry_after: Option<u64>) -> Self {
        let code = match status {
            401 => Some("invalid_api_key"),
            404 => Some("model_not_found"),
            429 => Some("rate_limit_exceeded"),
            _ => None,
        };
        Self { code, retry_after, ..Self::new(status, format!("The simulator was asked to answer {status}.")) }
    }

    /// In the wire's shape.
    pub(crate) fn answer(&self, wire: Wire, seq: u64) -> Unary {
        let mut body = BytesMut::new();
        let message = json::quoted(&self.message);
        let quoted = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), json::quoted);
        match wire {
            Wire::OpenAi => put!(
                body,
                r#"{{"error":{{"message":{message},"type":"{}","param":{},"code":{}}}}}"#,
                openai_type(self.status),
                quoted(self.param),
                quoted(self.code)
            ),
            Wire::Azure => {
                let code = self.code.map_or_else(|| self.status.to_string(), ToOwned::to_owned);
                put!(body, r#"{{"error":{{"code":"{code}","message":{message}}}}}"#);
            }
            Wire::Anthropic => put!(
                body,
                r#"{{"type":"error","error":{{"type":"{}","message":{message}}},"request_id":"req_sim{seq:016}"}}"#,
                anthropic_type(self.status)
            ),
        }
        let mut unary = Unary::new(self.status, "application/json", body.freeze());
        if let Some(seconds) = self.retry_after {
            unary.fields = format!("retry-after: {seconds}\r\nretry-after-ms: {}\r\n", seconds * 1000);
        }
        unary
    }
}

fn openai_type(status: u16) -> &'static str {
    match status {
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    Length(usize),
    Chunked,
    /// A stream to an HTTP/1.0 client.
    UntilClose,
}

/// What a head says besides the answer's own fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadFacts {
    pub(crate) wire: Wire,
    pub(crate) seq: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) elapsed_ms: u64,
    pub(crate) keep_alive: bool,
}

/// Appends a response head.
pub(crate) fn put_head(
    out: &mut BytesMut,
    (status, content_type): (u16, &str),
    (fields, only): (&str, bool),
    body: Body,
    facts: &HeadFacts,
) {
    put_status_line(out, status);
    put_header(out, b"content-type", content_type.as_bytes());
    out.put_slice(fields.as_bytes());
    let HeadFacts { seq, prompt_tokens, elapsed_ms, .. } = *facts;
    if !only {
        match facts.wire {
            Wire::OpenAi => {
                put!(
                    *out,
                    "x-request-id: req_sim{seq:016}\r\nopenai-processing-ms: {elapsed_ms}\r\n\
                     openai-version: 2020-10-01\r\nopenai-organization: sim\r\n"
                );
                put_ratelimits(out, prompt_tokens);
            }
            Wire::Azure => {
                put!(
                    *out,
                    "x-request-id: req_sim{seq:016}\r\napim-request-id: apim_sim{seq:016}\r\nx-ms-region: East US\r\n\
                     x-ms-rai-invoked: true\r\n"
                );
                put_ratelimits(out, prompt_tokens);
            }
            Wire::Anthropic => put!(
                *out,
                "request-id: req_sim{seq:016}\r\nanthropic-organization-id: org_sim\r\n\
                 anthropic-ratelimit-requests-limit: 10000\r\nanthropic-ratelimit-requests-remaining: 9999\r\n\
                 anthropic-ratelimit-tokens-limit: 2000000\r\nanthropic-ratelimit-tokens-remaining: {}\r\n",
                2_000_000u64.saturating_sub(prompt_tokens)
            ),
        }
    }
    put!(*out, "x-sim-seq: {seq}\r\n");
    match body {
        Body::Length(n) => put!(*out, "content-length: {n}\r\n"),
        Body::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Body::UntilClose => {}
    }
    if !facts.keep_alive {
        out.put_slice(b"connection: close\r\n");
    }
    out.put_slice(b"\r\n");
}

fn put_ratelimits(out: &mut BytesMut, prompt_tokens: u64) {
    put!(
        *out,
        "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n\
         x-ratelimit-reset-requests: 6ms\r\nx-ratelimit-limit-tokens: 2000000\r\n\
         x-ratelimit-remaining-tokens: {}\r\nx-ratelimit-reset-tokens: 0s\r\n",
        2_000_000u64.saturating_sub(prompt_tokens)
    );
}

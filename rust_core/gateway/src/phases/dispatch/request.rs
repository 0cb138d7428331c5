//! The upstream request as bytes: which of the client's fields travel on, and which never do.

use bytes::{BufMut, BytesMut};
use penstock_http1::RequestHead;

use crate::listener::forwarded::is_nominated;
use crate::phases::Call;
use crate::providers::Prepared;
use crate::snapshot::Deployment;

/// Bodies up to this size are sent in one write with their head.
pub(super) const INLINE: usize = 32 * 1024;
/// Client header fields that are always sent on.
const FORWARDED: [&str; 10] = [
    "accept",
    "accept-language",
    "content-type",
    "openai-beta",
    "anthropic-beta",
    "anthropic-version",
    "anthropic-dangerous-direct-browser-access",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// Renders the upstream request's head, and its body when that is small.
pub(super) fn put(call: &Call, deployment: &Deployment, head: &RequestHead, prepared: &Prepared, out: &mut BytesMut) {
    penstock_http1::put_request_line(out, &head.method, prepared.target.as_bytes());
    out.put_slice(&deployment.header_block.0);
    for (name, value) in head.headers.iter() {
        let mut buffer = [0u8; 64];
        let Some(lower) = buffer.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let Ok(lower) = std::str::from_utf8(lower) else { continue };
        let wanted = FORWARDED.contains(&lower) || may_forward(deployment, lower);
        let ours = deployment.header_names.iter().any(|n| n == lower);
        if wanted && !ours && !is_nominated(&head.headers, name) && !prepared.headers.iter().any(|(n, _)| *n == lower) {
            penstock_http1::put_header(out, lower.as_bytes(), value);
        }
    }
    for (name, value) in &prepared.headers {
        penstock_http1::put_header(out, name.as_bytes(), value.as_bytes());
    }
    penstock_http1::put_header(out, b"x-penstock-call-id", call.id.as_bytes());
    let method = &head.method[..];
    if !prepared.body.is_empty() || matches!(method, b"POST" | b"PUT" | b"PATCH") {
        out.put_slice(b"content-length: ");
        penstock_http1::put_decimal(out, prepared.body.len() as u64);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    if prepared.body.len() <= INLINE {
        out.put_slice(&prepared.body);
    }
}

/// Fields beyond the standard ones that the deployment asks for; never credentials or what belongs to the gateway.
fn may_forward(deployment: &Deployment, name: &str) -> bool {
    const NEVER: [&str; 12] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-litellm-api-key",
        "cookie",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "expect",
        "accept-encoding",
    ];
    deployment.forward_headers.iter().any(|p| name.starts_with(p.as_str()))
        && !NEVER.contains(&name)
        && !name.starts_with("x-penstock-")
        && !name.starts_with("x-forwarded-")
}

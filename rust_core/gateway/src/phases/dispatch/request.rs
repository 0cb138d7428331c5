//! The upstream request as bytes: which of the client's fields travel on, and which never do.

use bytes::{BufMut, BytesMut};
use penstock_http1::RequestHead;

use crate::listener::forwarded::{is_nominated, nominates};
use crate::phases::Call;
use crate::providers::Prepared;
use crate::snapshot::Deployment;

/// Bodies up to this size are sent in one write with their head.
pub(super) const INLINE: usize = 32 * 1024;

/// Renders the upstream request's head, and its body when that is small.
pub(super) fn put(call: &Call, deployment: &Deployment, head: &RequestHead, prepared: &Prepared, out: &mut BytesMut) {
    penstock_http1::put_request_line(out, &head.method, prepared.target.as_bytes());
    out.put_slice(&deployment.header_block.0);
    let nominates = nominates(&head.headers);
    for (name, value) in head.headers.iter() {
        let mut buffer = [0u8; 64];
        let Some(lower) = buffer.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let lower = &*lower;
        if (always_forwarded(lower) || may_forward(deployment, lower))
            && !deployment.header_names.iter().any(|n| n.as_bytes() == lower)
            && !(nominates && is_nominated(&head.headers, name))
            && !prepared.headers.iter().any(|(n, _)| n.as_bytes() == lower)
        {
            penstock_http1::put_header(out, lower, value);
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
        prepared.body.pieces().for_each(|piece| out.put_slice(piece));
    }
}

/// Client header fields that are sent on to every provider.
fn always_forwarded(name: &[u8]) -> bool {
    matches!(
        name,
        b"accept"
            | b"accept-language"
            | b"content-type"
            | b"openai-beta"
            | b"anthropic-beta"
            | b"anthropic-version"
            | b"anthropic-dangerous-direct-browser-access"
            | b"traceparent"
            | b"tracestate"
            | b"user-agent"
    )
}

/// Fields beyond the standard ones that the deployment asks for; never credentials or what belongs to the gateway.
fn may_forward(deployment: &Deployment, name: &[u8]) -> bool {
    const NEVER: [&[u8]; 12] = [
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"x-litellm-api-key",
        b"cookie",
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"expect",
        b"accept-encoding",
    ];
    deployment.forward_headers.iter().any(|p| name.starts_with(p.as_bytes()))
        && !NEVER.contains(&name)
        && !name.starts_with(b"x-penstock-")
        && !name.starts_with(b"x-forwarded-")
}

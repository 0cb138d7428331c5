//! The head of an HTTP/2 request in the form of an HTTP/1.1 head, with the same checks on authority and target.

use bytes::Bytes;
use penstock_http1::{Framing, FramingError, Headers, HeadersBuilder, RequestHead, Version, host_is_valid};
use penstock_http2::Head;

/// `empty`: it has no body.
pub(super) fn head(asked: &Head, empty: bool) -> Result<RequestHead, FramingError> {
    let headers = headers(asked, |_| true, None)?;
    let target = asked.path();
    let is_server = target == b"*" && asked.method() == b"OPTIONS";
    if !(target.starts_with(b"/") || is_server) || target.contains(&b'#') {
        return Err(FramingError::Target);
    }
    Ok(RequestHead {
        method: Bytes::copy_from_slice(asked.method()),
        target: Bytes::copy_from_slice(target),
        version: Version::Http2,
        framing: match headers.get_str("content-length").and_then(|l| l.parse().ok()) {
            _ if empty => Framing::None,
            Some(n) => Framing::Length(n),
            None => Framing::UntilClose,
        },
        headers,
        keep_alive: true,
        expect_continue: false,
        upgrade: false,
    })
}

/// The fields that `keep` says, `host` first; `content_type` is added to them.
pub(super) fn headers(
    asked: &Head,
    keep: impl Fn(&[u8]) -> bool,
    content_type: Option<&[u8]>,
) -> Result<Headers, FramingError> {
    if asked.method() == b"CONNECT" {
        return Err(FramingError::Target);
    }
    let mut headers = HeadersBuilder::with_capacity(asked.len() + 2, asked.bytes() + 32);
    let mut hosts = asked.fields().filter(|(name, _)| *name == b"host").map(|(_, value)| value);
    let host = hosts.next();
    let authority = asked.authority();
    match (host, authority) {
        (None, None) => return Err(FramingError::HostMissing),
        (Some(h), Some(a)) if !h.eq_ignore_ascii_case(a) => return Err(FramingError::AuthorityMismatch),
        (_, Some(a)) if a.contains(&b'@') => return Err(FramingError::HostInvalid),
        (Some(h), None) if !host_is_valid(h) => return Err(FramingError::HostInvalid),
        _ => {}
    }
    if hosts.next().is_some() {
        return Err(FramingError::HostRepeated);
    }
    headers.put(b"host", authority.or(host).unwrap_or_default())?;
    if let Some(content_type) = content_type {
        headers.put(b"content-type", content_type)?;
    }
    for (name, value) in asked.fields() {
        if name != b"host" && keep(name) {
            headers.put(name, value)?;
        }
    }
    Ok(headers.build())
}

//! The head of an HTTP/2 request in the form of an HTTP/1.1 head, with the same checks on authority and target.

use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use penstock_http1::{Framing, FramingError, Headers, HeadersBuilder, RequestHead, Version};

/// `empty`: it has no body.
pub(super) fn head(parts: &Parts, empty: bool) -> Result<RequestHead, FramingError> {
    let headers = headers(parts, |_| true, None)?;
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if (!target.starts_with('/') && target != "*") || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(FramingError::Target);
    }
    Ok(RequestHead {
        method: Bytes::copy_from_slice(parts.method.as_str().as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
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
    parts: &Parts,
    keep: impl Fn(&str) -> bool,
    content_type: Option<&[u8]>,
) -> Result<Headers, FramingError> {
    if parts.method == http::Method::CONNECT {
        return Err(FramingError::Target);
    }
    let mut headers = HeadersBuilder::with_capacity(parts.headers.len() + 2, 512);
    let mut hosts = parts.headers.get_all("host").iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    match (host, authority) {
        (None, None) => return Err(FramingError::HostMissing),
        (Some(h), Some(a)) if !h.eq_ignore_ascii_case(a.as_bytes()) => return Err(FramingError::AuthorityMismatch),
        (_, Some(a)) if a.contains('@') => return Err(FramingError::HostInvalid),
        _ => {}
    }
    if hosts.next().is_some() {
        return Err(FramingError::HostRepeated);
    }
    headers.push(b"host", authority.map_or(host.unwrap_or_default(), str::as_bytes))?;
    if let Some(content_type) = content_type {
        headers.push(b"content-type", content_type)?;
    }
    for (name, value) in &parts.headers {
        if name != "host" && keep(name.as_str()) {
            headers.push(name.as_str().as_bytes(), value.as_bytes())?;
        }
    }
    Ok(headers.build())
}

//! Request and response heads.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2, memmem};

use crate::headers::{Field, Headers, field_value_prefix, is_field_value, is_token, tag, token_prefix};
use crate::{FramingError, body::Framing};

static EMPTY_LINE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));

/// Bounds on a head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes from the first of the start line to the empty line.
    pub head_bytes: usize,
    /// Number of fields.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 64 * 1024, fields: 256 }
    }
}

/// The HTTP version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2, for heads that were translated into this form.
    Http2,
}

/// A request head that passed every check.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// A token, as sent.
    pub method: Bytes,
    /// Path and query, starting with `/`; or `*`.
    pub target: Bytes,
    /// Of the message.
    pub version: Version,
    /// All fields.
    pub headers: Headers,
    /// How the body is delimited.
    pub framing: Framing,
    /// The connection may serve another request afterwards.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client asks to change the protocol (`Connection: upgrade`).
    pub upgrade: bool,
}

/// A response head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// Of the message.
    pub version: Version,
    /// All fields.
    pub headers: Headers,
    /// How the body is delimited.
    pub framing: Framing,
    /// The connection may be used again once the body was read.
    pub keep_alive: bool,
}

/// Reads one request head from the front of `buf`; `None` when more bytes are needed.
pub fn parse_request(buf: &mut BytesMut, limits: &Limits) -> Result<Option<RequestHead>, FramingError> {
    // RFC 9112, section 2.2: empty lines before a request line are ignored.
    while buf.starts_with(b"\r\n") {
        let _ = buf.split_to(2);
    }
    let Some(end) = head_end(buf, limits)? else { return Ok(None) };
    let raw = buf.split_to(end).freeze();
    request(&raw, limits).map(Some).map_err(|fault| first_fault(&raw, fault))
}

fn request(raw: &Bytes, limits: &Limits) -> Result<RequestHead, FramingError> {
    let line_end = first_line_end(raw)?;
    let (method, target, version) = request_line(raw, line_end)?;
    let headers = fields(raw, line_end + 2, limits)?;
    let host = single_host(&headers, version)?;
    let target = origin_form(&method, target, host)?;
    let framing = request_framing(&headers, version)?;
    let keep_alive = keep_alive(&headers, version);
    let expect_continue = version == Version::Http11 && headers.lists("expect", "100-continue");
    let upgrade =
        version == Version::Http11 && headers.get("upgrade").is_some() && headers.lists("connection", "upgrade");
    Ok(RequestHead { method, target, version, headers, framing, keep_alive, expect_continue, upgrade })
}

/// Reads one response head from the front of `buf`; `None` when more bytes are needed.
/// `head_request`: the request was `HEAD`, so no body follows whatever the fields say.
pub fn parse_response(
    buf: &mut BytesMut,
    limits: &Limits,
    head_request: bool,
) -> Result<Option<ResponseHead>, FramingError> {
    let Some(end) = head_end(buf, limits)? else { return Ok(None) };
    let raw = buf.split_to(end).freeze();
    response(&raw, limits, head_request).map(Some).map_err(|fault| first_fault(&raw, fault))
}

fn response(raw: &Bytes, limits: &Limits, head_request: bool) -> Result<ResponseHead, FramingError> {
    let line_end = first_line_end(raw)?;
    let line = raw.get(..line_end).unwrap_or_default();
    let version = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return Err(FramingError::StartLine),
    };
    let code = line.get(9..12).filter(|c| c.iter().all(u8::is_ascii_digit)).ok_or(FramingError::StartLine)?;
    if line.get(12).is_some_and(|b| *b != b' ') {
        return Err(FramingError::StartLine);
    }
    let status = code.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
    if !(100..=599).contains(&status) {
        return Err(FramingError::StartLine);
    }
    let headers = fields(raw, line_end + 2, limits)?;
    let framing = if head_request || (100..200).contains(&status) || status == 204 || status == 304 {
        Framing::None
    } else {
        match length_or_chunked(&headers, version)? {
            Some(f) => f,
            None => Framing::UntilClose,
        }
    };
    let keep_alive = framing != Framing::UntilClose && keep_alive(&headers, version);
    Ok(ResponseHead { status, version, headers, framing, keep_alive })
}

/// The index after the empty line, or `None`; refuses bare LF and heads over the limit.
fn head_end(buf: &[u8], limits: &Limits) -> Result<Option<usize>, FramingError> {
    let window = buf.get(..buf.len().min(limits.head_bytes)).unwrap_or_default();
    // A bare LF before it is no part of any line that can be read.
    if let Some(at) = EMPTY_LINE.find(window) {
        return Ok(Some(at + 4));
    }
    if has_bare_lf(window) {
        return Err(FramingError::BareLineEnd);
    }
    if buf.len() >= limits.head_bytes { Err(FramingError::HeadTooLarge) } else { Ok(None) }
}

fn has_bare_lf(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).any(|lf| lf == 0 || bytes.get(lf - 1) != Some(&b'\r'))
}

/// Of several faults of a head the one to name: what would have been told before the rest had arrived.
#[cold]
fn first_fault(head: &[u8], fault: FramingError) -> FramingError {
    if has_bare_lf(head) { FramingError::BareLineEnd } else { fault }
}

/// Where the first line ends; a CR without LF ends nothing, nor does an LF without CR.
fn first_line_end(raw: &[u8]) -> Result<usize, FramingError> {
    let end = memchr2(b'\r', b'\n', raw).ok_or(FramingError::StartLine)?;
    if raw.get(end..end + 2) == Some(b"\r\n") { Ok(end) } else { Err(FramingError::BareLineEnd) }
}

fn request_line(raw: &Bytes, line_end: usize) -> Result<(Bytes, Bytes, Version), FramingError> {
    let line = raw.get(..line_end).unwrap_or_default();
    let first = memchr(b' ', line).ok_or(FramingError::StartLine)?;
    let rest = line.get(first + 1..).unwrap_or_default();
    let second = first + 1 + memchr(b' ', rest).ok_or(FramingError::StartLine)?;
    let version = match line.get(second + 1..) {
        Some(b"HTTP/1.1") => Version::Http11,
        Some(b"HTTP/1.0") => Version::Http10,
        Some(v) if v.starts_with(b"HTTP/") && v.iter().all(u8::is_ascii_graphic) => return Err(FramingError::Version),
        _ => return Err(FramingError::StartLine),
    };
    let method = raw.slice(..first);
    if !is_token(&method) {
        return Err(FramingError::StartLine);
    }
    let target = raw.slice(first + 1..second);
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(FramingError::Target);
    }
    Ok((method, target, version))
}

/// The fields of a head whose first field line begins at `start`.
fn fields(raw: &Bytes, start: usize, limits: &Limits) -> Result<Headers, FramingError> {
    let mut fields = Vec::with_capacity(24);
    let mut at = start;
    loop {
        let rest = raw.get(at..).unwrap_or_default();
        if rest.starts_with(b"\r\n") {
            return Ok(Headers { raw: raw.clone(), fields });
        }
        let (colon, value) = field(rest).map_err(|fault| fault_of_line(rest, fault))?;
        if fields.len() >= limits.fields {
            return Err(FramingError::HeadTooLarge);
        }
        let value_at = at + colon + 1;
        let trimmed = value.trim_ascii_start();
        let from = value_at + value.len() - trimmed.len();
        let to = from + trimmed.trim_ascii_end().len();
        let place = |n: usize| u32::try_from(n).map_err(|_| FramingError::HeadTooLarge);
        fields.push(Field {
            tag: tag(rest.get(..colon).unwrap_or_default()),
            name: (place(at)?, place(at + colon)?),
            value: (place(from)?, place(to)?),
        });
        at = value_at + value.len() + 2;
    }
}

/// Of several faults of a line the one to name: what ends no line comes before all others.
#[cold]
fn fault_of_line(rest: &[u8], fault: FramingError) -> FramingError {
    let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    match line.strip_suffix(b"\r") {
        Some(line) if !line.contains(&b'\r') => fault,
        _ => FramingError::BareLineEnd,
    }
}

/// The first field line of `rest`, up to its line end: the place of the colon and what follows it.
fn field(rest: &[u8]) -> Result<(usize, &[u8]), FramingError> {
    let colon = colon(rest)?;
    let after = rest.get(colon + 1..).unwrap_or_default();
    // What a value may not hold ends it: one look at each byte.
    let (value, end) = after.split_at_checked(field_value_prefix(after)).unwrap_or((after, &[]));
    if end.starts_with(b"\r\n") { Ok((colon, value)) } else { Err(FramingError::HeaderValue) }
}

/// Checks one field line without its line end.
pub(crate) fn check_field(line: &[u8]) -> Result<(), FramingError> {
    let value = line.get(colon(line)? + 1..).unwrap_or_default();
    if is_field_value(value) { Ok(()) } else { Err(FramingError::HeaderValue) }
}

/// Where the name of a field line ends, which is checked.
fn colon(line: &[u8]) -> Result<usize, FramingError> {
    if line.first().is_some_and(|b| *b == b' ' || *b == b'\t') {
        return Err(FramingError::ObsFold);
    }
    // One look at each letter finds the colon and what may not stand before it.
    let end = token_prefix(line);
    if end > 0 && line.get(end) == Some(&b':') { Ok(end) } else { Err(FramingError::HeaderName) }
}

fn single_host(headers: &Headers, version: Version) -> Result<Option<&[u8]>, FramingError> {
    let mut hosts = headers.get_all("host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(FramingError::HostRepeated);
    }
    match host {
        None if version == Version::Http11 => Err(FramingError::HostMissing),
        None => Ok(None),
        Some(h) if host_is_valid(h) => Ok(Some(h)),
        Some(_) => Err(FramingError::HostInvalid),
    }
}

/// `uri-host [":" port]`: a registered name, an IPv4 address or a bracketed IPv6 address.
pub fn host_is_valid(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        Some(b'[') => match memchr(b']', host) {
            Some(end) => {
                let inside = host.get(1..end).unwrap_or_default();
                if inside.is_empty() || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
                    return false;
                }
                (inside, host.get(end + 1..).unwrap_or_default())
            }
            None => return false,
        },
        _ => {
            let end = memchr(b':', host).unwrap_or(host.len());
            let name = host.get(..end).unwrap_or_default();
            if !name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%')) {
                return false;
            }
            (name, host.get(end..).unwrap_or_default())
        }
    };
    let port_ok = port.is_empty()
        || (port.first() == Some(&b':') && port.len() <= 6 && port.iter().skip(1).all(u8::is_ascii_digit));
    !name.is_empty() && port_ok
}

/// Path and query of the target; an absolute-form target must name the same authority as `Host`.
fn origin_form(method: &[u8], target: Bytes, host: Option<&[u8]>) -> Result<Bytes, FramingError> {
    if target.starts_with(b"/") {
        return Ok(target);
    }
    if &target[..] == b"*" && method == b"OPTIONS" {
        return Ok(target);
    }
    let scheme = if target.len() > 7 && target.get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"http://")) {
        7
    } else if target.len() > 8 && target.get(..8).is_some_and(|s| s.eq_ignore_ascii_case(b"https://")) {
        8
    } else {
        return Err(FramingError::Target);
    };
    let rest = target.slice(scheme..);
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = rest.slice(..end);
    if !host.is_some_and(|h| h.eq_ignore_ascii_case(&authority)) {
        return Err(FramingError::AuthorityMismatch);
    }
    match rest.get(end) {
        Some(b'/') => Ok(rest.slice(end..)),
        None => Ok(Bytes::from_static(b"/")),
        Some(_) => Err(FramingError::Target),
    }
}

fn request_framing(headers: &Headers, version: Version) -> Result<Framing, FramingError> {
    Ok(length_or_chunked(headers, version)?.unwrap_or(Framing::None))
}

fn length_or_chunked(headers: &Headers, version: Version) -> Result<Option<Framing>, FramingError> {
    let mut lengths = headers.get_all("content-length");
    let mut encodings = headers.get_all("transfer-encoding");
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(FramingError::LengthAndEncoding),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err(FramingError::ContentLength);
            }
            decimal(length).map(|n| Some(if n == 0 { Framing::None } else { Framing::Length(n) }))
        }
        (None, Some(encoding)) => {
            let only = encodings.next().is_none() && encoding.eq_ignore_ascii_case(b"chunked");
            if only && version == Version::Http11 {
                Ok(Some(Framing::Chunked))
            } else {
                Err(FramingError::TransferEncoding)
            }
        }
    }
}

fn decimal(text: &[u8]) -> Result<u64, FramingError> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::ContentLength);
    }
    Ok(text.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0')))
}

fn keep_alive(headers: &Headers, version: Version) -> bool {
    if headers.lists("connection", "close") {
        return false;
    }
    version == Version::Http11 || headers.lists("connection", "keep-alive")
}

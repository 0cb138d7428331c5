//! A call as it is sent each time: head and framed message, made once.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};

use super::frame::framed;
use crate::LoadError;
use crate::options::{GrpcOptions, Options};

/// What the load generator sets, or HTTP/2 forbids.
const TAKEN: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "content-type",
    "grpc-timeout",
];

/// A call that is sent again and again.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) head: Request<()>,
    /// With its prefix.
    pub(crate) message: Bytes,
    /// At a time on each connection.
    pub(crate) calls: usize,
}

impl Call {
    /// `uri` is the whole address, the method's path in it.
    pub(crate) fn new(options: &Options, grpc: &GrpcOptions, uri: &str) -> Result<Self, LoadError> {
        if options.method != "POST" || !options.body.is_empty() || options.body_bytes.is_some() {
            return Err(bad(
                "grpc: its calls are POST and have a message; leave out `method`, `body` and `body_bytes`",
            ));
        }
        let calls = grpc.calls_per_connection;
        if calls == 0 || calls.saturating_mul(options.connections) > 65_536 {
            return Err(bad("calls_per_connection: must be at least 1, and at most 65,536 over all connections"));
        }
        let message = decoded(&grpc.message).ok_or_else(|| bad("grpc: `message` is not base64"))?;
        let message = framed(&message).ok_or_else(|| bad("grpc: `message` is longer than 4 GB"))?;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri.parse().map_err(|e| LoadError::Options(format!("url: {e}")))?;
        let fields = head.headers_mut();
        fields.insert("te", HeaderValue::from_static("trailers"));
        fields.insert("content-type", HeaderValue::from_static("application/grpc"));
        fields.insert("grpc-timeout", timeout(Duration::from_millis(options.timeout_ms)));
        for (name, value) in &options.headers {
            if TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
                return Err(LoadError::Options(format!("headers: `{name}` is set by the load generator")));
            }
            let wrong = |what: &str| LoadError::Options(format!("headers: `{name}`: {what}"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is no name of a header"))?;
            fields.append(name, HeaderValue::from_str(value).map_err(|_| wrong("its value cannot be sent"))?);
        }
        Ok(Self { head, message, calls })
    }
}

fn bad(message: &str) -> LoadError {
    LoadError::Options(message.to_owned())
}

/// At most eight digits and a unit, never less than what it says.
fn timeout(time: Duration) -> HeaderValue {
    let millis = time.as_millis();
    let text = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", time.as_secs().min(99_999_999)) };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("60S"))
}

/// Base64 of RFC 4648, section 4, with its padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut groups = text.as_bytes().chunks(4).peekable();
    while let Some(group) = groups.next() {
        let filled = group.iter().take_while(|b| **b != b'=').count();
        let is_last = groups.peek().is_none();
        if group.len() != 4 || filled < 2 || (filled < 4 && !is_last) || group.iter().skip(filled).any(|b| *b != b'=') {
            return None;
        }
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | if *byte == b'=' { 0 } else { u32::from(sextet(*byte)?) };
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend(bytes.iter().take(filled - 1));
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let of = |text| decoded(text).map(|bytes| String::from_utf8(bytes).unwrap());
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE=", "fooba")] {
            assert_eq!(of(text).as_deref(), Some(bytes));
        }
        assert_eq!(decoded("+/8="), Some(vec![0xfb, 0xff]));
        for wrong in ["Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Z\u{e9}v", "Zm9v\n", "Zg=v"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_deadline_is_at_most_eight_digits() {
        for (millis, text) in [(1, "1m"), (60_000, "60000m"), (99_999_999, "99999999m"), (100_000_000, "100000S")] {
            assert_eq!(timeout(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn what_does_not_go_with_grpc_is_refused_by_name() {
        let refusal = |rest: &str, grpc: &str| {
            let json = format!(r#"{{"url": "http://127.0.0.1/", "requests": 1, {rest}"grpc": {{{grpc}}}}}"#);
            let options: Options = serde_json::from_str(&json).unwrap();
            crate::plan::Plan::new(&options).map(|_| ()).unwrap_err().to_string()
        };
        let message = r#""message": "Zm9v""#;
        for (rest, grpc, names) in [
            (r#""method": "GET", "#, message, "grpc:"),
            (r#""body": "{}", "#, message, "grpc:"),
            (r#""headers": [["TE", "trailers"]], "#, message, "headers:"),
            (r#""headers": [["a b", "c"]], "#, message, "headers:"),
            (r#""headers": [["a", "b\nc"]], "#, message, "headers:"),
            ("", r#""message": "?""#, "grpc:"),
            ("", r#""message": "", "calls_per_connection": 0"#, "calls_per_connection:"),
            (r#""connections": 20, "#, r#""message": "", "calls_per_connection": 4000"#, "calls_per_connection:"),
        ] {
            assert!(refusal(rest, grpc).starts_with(names), "{rest}{grpc}: {}", refusal(rest, grpc));
        }
    }
}

//! What load to generate, and the plan compiled from it: address resolved, request encoded.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{HeadersBuilder, is_token, put_decimal, put_header, put_request_line};
use serde::Deserialize;

use crate::LoadError;

/// Stands in the body where filler goes.
const PAD: &str = "{pad}";
/// What the filler repeats: plain words, so that counting its tokens costs what prose costs.
const FILLER: &str = "water falls through the gate and turns the wheel below the dam ";

/// One run. Fields that are absent have the defaults said here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `http://host[:port]/path`.
    pub url: String,
    /// Default `POST`.
    #[serde(default = "default_method")]
    pub method: String,
    /// Sent besides `Host` and `Content-Length`.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Sent as it is, but for `{pad}`.
    #[serde(default)]
    pub body: String,
    /// Bytes that the body shall have: `{pad}` in it becomes as many characters of prose as are missing.
    #[serde(default)]
    pub body_bytes: Option<usize>,
    /// Connections, each with one request at a time; default 1.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Requests per second at constant intervals (open loop); absent: each connection sends its next request
    /// when it has its answer (closed loop).
    #[serde(default)]
    pub rate: Option<f64>,
    /// End after so many requests.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Send no request after this time; those in flight are waited for. The first of both bounds ends the run.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Requests sent before, in a closed loop on the same connections, and not reported; default 0.
    #[serde(default)]
    pub warmup_requests: u64,
    /// Closed loop: the connections begin one after the other, spread over this time, so that paced streams are
    /// not in step with each other; default 0.
    #[serde(default)]
    pub ramp_ms: u64,
    /// Longest time for one request; default 30,000.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// Status of a good answer; default 200.
    #[serde(default = "default_status")]
    pub expect_status: u16,
    /// Answers are event streams, watched as said here; absent: answers are read as they are.
    #[serde(default)]
    pub stream: Option<StreamOptions>,
}

/// What is expected of each event stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Events with text; absent: any number.
    #[serde(default)]
    pub deltas: Option<u64>,
    /// How the order of the deltas is checked; default `same`.
    #[serde(default)]
    pub order: Order,
    /// The stream must end with `[DONE]` or `message_stop`; default true.
    #[serde(default = "default_true")]
    pub done: bool,
    /// The stream must contain a `usage` object; default false.
    #[serde(default)]
    pub usage: bool,
}

/// How the order of the deltas of a stream is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Every stream carries the same deltas in the same order as the first complete one. With deltas that are
    /// distinct this finds each loss, repetition and swap.
    #[default]
    Same,
    /// Each delta begins with the word that follows its predecessor's in the simulator's vocabulary (its number there is
    /// one more; after the last comes the first).
    Numbered,
    /// Not checked.
    Any,
}

fn default_method() -> String {
    "POST".to_owned()
}
fn default_connections() -> usize {
    1
}
fn default_timeout() -> u64 {
    30_000
}
fn default_status() -> u16 {
    200
}
fn default_true() -> bool {
    true
}

/// The constant arrivals of an open loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrivals {
    pub(crate) interval: Duration,
    pub(crate) count: u64,
}

/// Options checked and compiled.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) request: Bytes,
    pub(crate) head_request: bool,
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    pub(crate) duration: Option<Duration>,
    pub(crate) arrivals: Option<Arrivals>,
    pub(crate) warmup_requests: u64,
    pub(crate) ramp: Duration,
    pub(crate) timeout: Duration,
    pub(crate) expect_status: u16,
    pub(crate) stream: Option<StreamOptions>,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Result<Self, LoadError> {
        let (authority, target) = split_url(&options.url)?;
        if options.connections == 0 || options.connections > 65_536 {
            return Err(bad("connections: must be between 1 and 65,536"));
        }
        if options.requests.is_none() && options.duration_ms.is_none() {
            return Err(bad("requests: give `requests`, `duration_ms` or both; a run needs an end"));
        }
        if options.requests == Some(0) || options.duration_ms == Some(0) {
            return Err(bad("requests: `requests` and `duration_ms` must be positive"));
        }
        if options.rate.is_some() && options.ramp_ms > 0 {
            return Err(bad("ramp_ms: is for closed loops; in an open one the rate says when requests are due"));
        }
        if options.timeout_ms == 0 {
            return Err(bad("timeout_ms: must be positive"));
        }
        let body = padded(&options.body, options.body_bytes)?;
        Ok(Self {
            address: resolve(authority)?,
            request: encode(options, authority, target, &body)?,
            head_request: options.method == "HEAD",
            connections: options.connections,
            requests: options.requests.unwrap_or(u64::MAX),
            duration: options.duration_ms.map(Duration::from_millis),
            arrivals: options.rate.map(|rate| arrivals(rate, options)).transpose()?,
            warmup_requests: options.warmup_requests,
            ramp: Duration::from_millis(options.ramp_ms),
            timeout: Duration::from_millis(options.timeout_ms),
            expect_status: options.expect_status,
            stream: options.stream.clone(),
        })
    }
}

fn bad(message: &str) -> LoadError {
    LoadError::Options(message.to_owned())
}

fn arrivals(rate: f64, options: &Options) -> Result<Arrivals, LoadError> {
    if !(rate > 0.0 && rate <= 1_000_000.0) {
        return Err(bad("rate: must be above 0 and at most 1,000,000 requests per second"));
    }
    let by_time = options.duration_ms.map_or(u64::MAX, |ms| ((ms as f64 / 1e3) * rate).round().max(1.0) as u64);
    Ok(Arrivals {
        interval: Duration::from_nanos((1e9 / rate) as u64),
        count: options.requests.unwrap_or(u64::MAX).min(by_time),
    })
}

fn split_url(url: &str) -> Result<(&str, &str), LoadError> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(bad("url: must begin with `http://`; TLS is not measured"));
    };
    let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !plain(authority) || !plain(target) || authority.contains('@') {
        return Err(bad("url: must be `http://host[:port]/path` without white space or credentials"));
    }
    Ok((authority, target))
}

fn resolve(authority: &str) -> Result<SocketAddr, LoadError> {
    let with_port = |e: std::io::Error| LoadError::Options(format!("url: `{authority}` cannot be resolved: {e}"));
    let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
    let full = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    full.to_socket_addrs().map_err(with_port)?.next().ok_or_else(|| bad("url: the host has no address"))
}

fn padded(body: &str, size: Option<usize>) -> Result<String, LoadError> {
    let Some(size) = size else { return Ok(body.to_owned()) };
    if !body.contains(PAD) {
        return Err(bad("body_bytes: the body has no `{pad}` to fill"));
    }
    let fixed = body.len() - PAD.len();
    let missing = size.checked_sub(fixed).ok_or_else(|| bad("body_bytes: the body is longer without its filler"))?;
    let filler: String = FILLER.chars().cycle().take(missing).collect();
    Ok(body.replacen(PAD, &filler, 1))
}

fn encode(options: &Options, authority: &str, target: &str, body: &str) -> Result<Bytes, LoadError> {
    if !is_token(options.method.as_bytes()) {
        return Err(bad("method: is not an HTTP method"));
    }
    let mut checked = HeadersBuilder::default();
    for (name, value) in &options.headers {
        let taken = ["host", "content-length", "transfer-encoding", "connection"];
        if taken.iter().any(|t| name.eq_ignore_ascii_case(t)) {
            return Err(LoadError::Options(format!("headers: `{name}` is set by the load generator")));
        }
        checked
            .push(name.as_bytes(), value.as_bytes())
            .map_err(|e| LoadError::Options(format!("headers: `{name}`: {e}")))?;
    }
    let mut out = BytesMut::with_capacity(body.len() + 1024);
    put_request_line(&mut out, options.method.as_bytes(), target.as_bytes());
    put_header(&mut out, b"host", authority.as_bytes());
    for (name, value) in checked.build().iter() {
        put_header(&mut out, name, value);
    }
    out.extend_from_slice(b"content-length: ");
    put_decimal(&mut out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body.as_bytes());
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Options {
        serde_json::from_str(json).unwrap()
    }

    fn refusal(json: &str) -> String {
        Plan::new(&options(json)).unwrap_err().to_string()
    }

    #[test]
    fn the_request_is_encoded_once_with_its_body_filled_to_size() {
        let plan = Plan::new(&options(
            r#"{"url": "http://127.0.0.1:9/v1?x=1", "body": "[\"{pad}\"]", "body_bytes": 100, "requests": 1,
                "headers": [["authorization", "Bearer k"]]}"#,
        ))
        .unwrap();
        let text = std::str::from_utf8(&plan.request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            "POST /v1?x=1 HTTP/1.1\r\nhost: 127.0.0.1:9\r\nauthorization: Bearer k\r\ncontent-length: 100"
        );
        assert_eq!(body.len(), 100);
        assert!(body.starts_with("[\"water falls") && body.ends_with("\"]"), "{body}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        assert!(refusal(r#"{"url": "https://127.0.0.1/", "requests": 1}"#).starts_with("url:"));
        assert!(
            refusal(r#"{"url": "http://127.0.0.1/", "connections": 0, "requests": 1}"#).starts_with("connections:")
        );
        assert!(refusal(r#"{"url": "http://127.0.0.1/"}"#).starts_with("requests:"));
        assert!(refusal(r#"{"url": "http://127.0.0.1/", "requests": 1, "rate": 0}"#).starts_with("rate:"));
        assert!(refusal(r#"{"url": "http://127.0.0.1/", "requests": 1, "body_bytes": 9}"#).starts_with("body_bytes:"));
        assert!(
            refusal(r#"{"url": "http://127.0.0.1/", "requests": 1, "headers": [["a", "b\r\nc: d"]]}"#)
                .starts_with("headers:")
        );
        assert!(serde_json::from_str::<Options>(r#"{"url": "http://127.0.0.1/", "request": 1}"#).is_err());
    }

    #[test]
    fn an_open_loop_has_as_many_arrivals_as_fit() {
        let plan = Plan::new(&options(r#"{"url": "http://127.0.0.1/", "rate": 500, "duration_ms": 2000}"#)).unwrap();
        let arrivals = plan.arrivals.unwrap();
        assert_eq!((arrivals.count, arrivals.interval), (1000, Duration::from_millis(2)));
    }
}

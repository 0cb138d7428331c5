//! The plan compiled from the options: checked, address resolved, request encoded.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{HeadersBuilder, is_token, put_decimal, put_header, put_request_line};
use rustls::pki_types::ServerName;

use crate::LoadError;
use crate::grpc::Call;
use crate::options::{Options, StreamOptions};
use crate::transport::{Connector, tls};

/// Stands in the body where filler goes.
const PAD: &str = "{pad}";
/// What the filler repeats: plain words, so that counting its tokens costs what prose costs.
const FILLER: &str = "water falls through the gate and turns the wheel below the dam ";

/// The constant arrivals of an open loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrivals {
    pub(crate) interval: Duration,
    pub(crate) count: u64,
}

/// Options checked and compiled.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) connector: Connector,
    /// What is sent on a connection of HTTP/1.1; over gRPC, the message with its prefix.
    pub(crate) request: Bytes,
    pub(crate) grpc: Option<Arc<Call>>,
    pub(crate) head_request: bool,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
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
        let Url { secure, authority, target } = Url::parse(&options.url)?;
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
        if options.threads == 0 || options.threads > options.connections.min(256) {
            return Err(bad("threads: must be between 1 and 256, and not more than there are connections"));
        }
        if !secure && (options.insecure || options.ca_file.is_some()) {
            return Err(bad("url: `ca_file` and `insecure` are for `https://`, and this is `http://`"));
        }
        if options.insecure && options.ca_file.is_some() {
            return Err(bad("insecure: accepts any certificate, so `ca_file` would not be asked; give one of them"));
        }
        if options.timeout_ms == 0 {
            return Err(bad("timeout_ms: must be positive"));
        }
        let grpc = options.grpc.as_ref().map(|grpc| Call::new(options, grpc, &options.url)).transpose()?;
        let request = match &grpc {
            Some(call) => call.message.clone(),
            None => encode(options, authority, target, &padded(&options.body, options.body_bytes)?)?,
        };
        Ok(Self {
            connector: Connector {
                addresses: resolve(authority, if secure { 443 } else { 80 })?,
                tls: secure.then(|| trust(authority, options)).transpose()?,
            },
            request,
            grpc: grpc.map(Arc::new),
            head_request: options.method == "HEAD",
            connections: options.connections,
            threads: options.threads,
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

impl Plan {
    /// Requests at a time, over all connections.
    pub(crate) fn in_flight(&self) -> usize {
        self.connections * self.grpc.as_ref().map_or(1, |call| call.calls)
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

struct Url<'a> {
    secure: bool,
    authority: &'a str,
    target: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, LoadError> {
        let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(bad("url: must begin with `http://` or `https://`")),
        };
        let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !plain(authority) || !plain(target) || authority.contains('@') || target.contains('#') {
            return Err(bad("url: must be `http[s]://host[:port]/path` without white space, credentials or fragment"));
        }
        Ok(Self { secure, authority, target })
    }
}

/// The host of an authority, without the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    if let Some(inside) = authority.strip_prefix('[') {
        return inside.split(']').next().unwrap_or(inside);
    }
    authority.split(':').next().unwrap_or(authority)
}

fn resolve(authority: &str, port: u16) -> Result<Vec<SocketAddr>, LoadError> {
    let unknown = |e: std::io::Error| LoadError::Options(format!("url: `{authority}` cannot be resolved: {e}"));
    let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
    let full = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let addresses: Vec<_> = full.to_socket_addrs().map_err(unknown)?.collect();
    if addresses.is_empty() { Err(bad("url: the host has no address")) } else { Ok(addresses) }
}

fn trust(authority: &str, options: &Options) -> Result<(tokio_rustls::TlsConnector, ServerName<'static>), LoadError> {
    let name = ServerName::try_from(host(authority).to_owned())
        .map_err(|_| LoadError::Options(format!("url: `{authority}` is no name that a certificate can have")))?;
    let alpn: &[u8] = if options.grpc.is_some() { b"h2" } else { b"http/1.1" };
    let connector = tls::connector(options.ca_file.as_deref(), options.insecure, alpn).map_err(LoadError::Options)?;
    Ok((connector, name))
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
        for url in
            ["ftp://127.0.0.1/", "http://a:b@127.0.0.1/", "http://127.0.0.1/#f", "http://127.0.0.1/a b", "https://"]
        {
            let json = format!(r#"{{"url": "{url}", "requests": 1}}"#);
            assert!(refusal(&json).starts_with("url:"), "{url}");
        }
        for (rest, names) in [
            (r#""threads": 2"#, "threads:"),
            (r#""threads": 0"#, "threads:"),
            (r#""insecure": true"#, "url:"),
            (r#""ca_file": "x.pem""#, "url:"),
            (r#""rate": 5, "ramp_ms": 5"#, "ramp_ms:"),
            (r#""timeout_ms": 0"#, "timeout_ms:"),
            (r#""method": "P OST""#, "method:"),
        ] {
            let json = format!(r#"{{"url": "http://127.0.0.1/", "requests": 1, {rest}}}"#);
            assert!(refusal(&json).starts_with(names), "{rest}: {}", refusal(&json));
        }
        let both = r#"{"url": "https://127.0.0.1/", "requests": 1, "insecure": true, "ca_file": "x"}"#;
        assert!(refusal(both).starts_with("insecure:"));
        let absent = r#"{"url": "https://127.0.0.1/", "requests": 1, "ca_file": "/nonexistent/ca.pem"}"#;
        assert!(refusal(absent).starts_with("ca_file:"), "{}", refusal(absent));
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
    fn hosts_are_found_in_authorities() {
        assert_eq!(host("localhost:4000"), "localhost");
        assert_eq!(host("[::1]:4000"), "::1");
        assert_eq!(host("example.com"), "example.com");
        let secure = Plan::new(&options(r#"{"url": "https://[::1]/", "requests": 1}"#)).unwrap();
        assert_eq!(secure.connector.addresses, ["[::1]:443".parse().unwrap()]);
        assert!(secure.connector.tls.is_some());
    }

    #[test]
    fn an_open_loop_has_as_many_arrivals_as_fit() {
        let plan = Plan::new(&options(r#"{"url": "http://127.0.0.1/", "rate": 500, "duration_ms": 2000}"#)).unwrap();
        let arrivals = plan.arrivals.unwrap();
        assert_eq!((arrivals.count, arrivals.interval), (1000, Duration::from_millis(2)));
    }
}

//! What load to generate, as whoever asks for it says it.

use serde::Deserialize;

/// One run. Fields that are absent have the defaults said here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `http[s]://host[:port]/path`.
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
    /// Connections, each with one request at a time, or with so many calls as `grpc` says; default 1.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Threads over which the connections are spread; default 1.
    #[serde(default = "default_connections")]
    pub threads: usize,
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
    /// gRPC over HTTP/2 instead of HTTP/1.1: the path of `url` is the method's, and `stream`, where it is given, watches the
    /// messages of `penstock.v1.Chat/Stream`; absent: HTTP/1.1.
    #[serde(default)]
    pub grpc: Option<GrpcOptions>,
    /// PEM bundle that `https` servers must chain to; absent: Mozilla's roots.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Accept any certificate of an `https` server; default false.
    #[serde(default)]
    pub insecure: bool,
}

/// What is sent in each call, and how many there are at a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcOptions {
    /// The request message as Protocol Buffers have it, in base64.
    pub message: String,
    /// Calls at a time on each connection; default 1.
    #[serde(default = "default_connections")]
    pub calls_per_connection: usize,
}

/// What is expected of each stream of events or messages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Events, or messages, with text; absent: any number.
    #[serde(default)]
    pub deltas: Option<u64>,
    /// How the order of the deltas is checked; default `same`.
    #[serde(default)]
    pub order: Order,
    /// The stream must end as its wire says: `[DONE]`, `message_stop`, `response.completed`; default true. Over gRPC the
    /// status says so, and always must.
    #[serde(default = "default_true")]
    pub done: bool,
    /// The stream must state its usage; default false.
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

//! The documents Python sends, field for field (`python/penstock/engine/snapshot.py`).

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::pricing::Price;
use crate::tokens::Encoding;

/// A value that no log, error or panic may show.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Hidden<T>(pub T);

impl<T> std::fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What is fixed for the life of the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // documented on the Python side, which owns the contract
pub struct EngineOptions {
    pub host: String,
    pub port: Option<u16>,
    pub threads: usize,
    pub control_socket: String,
    pub pepper: Hidden<String>,
    pub tls: Option<ListenerTls>,
    pub max_body_bytes: usize,
    pub max_header_bytes: usize,
    pub header_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub busy_poll_us: u64,
    pub max_connections: usize,
    pub max_streams: u32,
    pub trusted_proxies: Vec<String>,
    pub key_table_capacity: usize,
    pub negative_ttl_ms: u64,
    pub hook_timeout_ms: u64,
    /// Limits hold over several gateways: units of them are drawn by `hook.quota`.
    pub shared_limits: bool,
    pub usage_queue_capacity: usize,
    pub ca_file: Option<String>,
    pub grpc: GrpcOptions,
    pub incarnation: String,
    pub journal_dir: Option<String>,
    pub checkpoint_ms: u64,
    pub idempotency: IdempotencyOptions,
}

/// Answers kept under idempotency keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct IdempotencyOptions {
    pub keep_ms: u64,
    pub answer_bytes: usize,
    pub memory_bytes: usize,
    /// Answers hold over several gateways: `hook.claim` is asked who runs a request.
    pub shared: bool,
    pub claim_ms: u64,
}

impl Default for IdempotencyOptions {
    fn default() -> Self {
        Self { keep_ms: 86_400_000, answer_bytes: 1 << 20, memory_bytes: 64 << 20, shared: false, claim_ms: 30_000 }
    }
}

/// What is only about gRPC.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct GrpcOptions {
    pub reflection: bool,
    pub web_origins: Vec<String>,
    pub max_connection_age_ms: Option<u64>,
    pub max_connection_age_grace_ms: Option<u64>,
    pub keepalive_ms: u64,
    pub keepalive_timeout_ms: u64,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            reflection: true,
            web_origins: Vec::new(),
            max_connection_age_ms: None,
            max_connection_age_grace_ms: None,
            keepalive_ms: 60_000,
            keepalive_timeout_ms: 20_000,
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: Some(4000),
            threads: 1,
            control_socket: String::new(),
            pepper: Hidden(String::new()),
            tls: None,
            max_body_bytes: 32 << 20,
            max_header_bytes: 64 << 10,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 75_000,
            write_timeout_ms: 60_000,
            busy_poll_us: 0,
            max_connections: 65_536,
            max_streams: 256,
            trusted_proxies: Vec::new(),
            key_table_capacity: 100_000,
            negative_ttl_ms: 5_000,
            hook_timeout_ms: 5_000,
            shared_limits: false,
            usage_queue_capacity: 1_000_000,
            ca_file: None,
            grpc: GrpcOptions::default(),
            incarnation: String::new(),
            journal_dir: None,
            checkpoint_ms: 500,
            idempotency: IdempotencyOptions::default(),
        }
    }
}

/// TLS of the public port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ListenerTls {
    pub certificate: String,
    pub key: String,
    #[serde(default)]
    pub client_ca: Option<String>,
}

/// Which protocol an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// OpenAI's REST API, or a server compatible with it.
    OpenAi,
    /// OpenAI's API under Azure's paths.
    Azure,
    /// Anthropic Messages.
    Anthropic,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Deployment {
    pub id: String,
    pub provider: String,
    pub wire: Wire,
    pub model: String,
    pub base_url: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub query: String,
    pub weight: u32,
    pub order: i32,
    pub rpm: Option<u64>,
    pub tpm: Option<u64>,
    pub max_parallel_requests: Option<u64>,
    pub connect_timeout_ms: u64,
    pub first_byte_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub total_timeout_ms: Option<u64>,
    pub keepalive_ms: Option<u64>,
    pub stream_usage: bool,
    pub drop_params: bool,
    #[serde(default)]
    pub drop: Vec<String>,
    #[serde(default)]
    pub allowed_params: Vec<String>,
    #[serde(default)]
    pub defaults: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    pub overrides: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    pub forward_headers: Vec<String>,
    pub max_output_tokens: Option<u64>,
    #[serde(deserialize_with = "encoding")]
    pub tokenizer: Encoding,
    pub price: Option<Price>,
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
    pub mode: String,
}

fn encoding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Encoding, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ModelGroup {
    pub name: String,
    pub deployments: Vec<usize>,
    #[serde(default)]
    pub access_groups: Vec<String>,
    #[serde(default)]
    pub fallbacks: Vec<String>,
    #[serde(default)]
    pub hidden: bool,
    #[serde(default)]
    pub created: u64,
    pub owned_by: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Settings {
    pub retries: u32,
    pub retry_backoff_ms: u64,
    pub allowed_fails: u64,
    pub cooldown_ms: u64,
    pub max_fallbacks: usize,
    #[serde(default)]
    pub default_fallbacks: Vec<String>,
    pub budget_exceeded_status: u16,
    pub default_output_tokens: u64,
    pub max_parallel_requests: Option<u64>,
    pub passthrough_group: Option<String>,
    pub always_include_stream_usage: bool,
    #[serde(default = "yes")]
    pub spend_logs: bool,
    #[serde(default)]
    pub customers: bool,
    #[serde(default)]
    pub request_tags: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Snapshot {
    pub version: u64,
    pub deployments: Vec<Deployment>,
    pub groups: Vec<ModelGroup>,
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    #[serde(default)]
    pub master_token: String,
    pub settings: Settings,
}

//! One usage record (`python/penstock/engine/events.py` has the meaning of every field).

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::auth::record::Key;
use crate::usage::Usage;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client got the whole answer.
    Ok,
    /// The client got an error.
    Error,
    /// The client left before the end.
    ClientDisconnect,
    /// The upstream broke off after the first byte.
    UpstreamCut,
    /// The gateway was stopped.
    Shutdown,
}

impl Outcome {
    /// Label for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::ClientDisconnect => "client_disconnect",
            Self::UpstreamCut => "upstream_cut",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Where token figures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider said so.
    Upstream,
    /// Counted here, because the provider did not.
    Counted,
    /// Nothing was generated.
    None,
}

/// A settled call.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct UsageRecord {
    pub call_id: Arc<str>,
    pub seq: u64,
    pub started_at: u64,
    pub surface: &'static str,
    pub route: &'static str,
    pub key: Option<Arc<Key>>,
    pub token: String,
    pub end_user: Option<String>,
    pub model: String,
    pub model_group: Arc<str>,
    pub deployment_id: Arc<str>,
    pub provider: Arc<str>,
    pub upstream_model: String,
    pub stream: bool,
    pub status: u16,
    pub outcome: Outcome,
    pub error_code: Option<String>,
    pub usage: Usage,
    pub usage_source: UsageSource,
    pub cost: u64,
    pub price_version: String,
    pub snapshot_version: u64,
    pub ttft_us: Option<u64>,
    pub duration_us: u64,
    pub overhead_us: u64,
    pub attempts: u32,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    event_id: String,
    call_id: &'a str,
    seq: u64,
    started_at: u64,
    surface: &'a str,
    route: &'a str,
    token: &'a str,
    key_alias: Option<&'a str>,
    user_id: Option<&'a str>,
    team_id: Option<&'a str>,
    org_id: Option<&'a str>,
    end_user: Option<&'a str>,
    model: &'a str,
    model_group: &'a str,
    deployment_id: &'a str,
    provider: &'a str,
    upstream_model: &'a str,
    stream: bool,
    status: u16,
    outcome: Outcome,
    error_code: Option<&'a str>,
    prompt_tokens: u64,
    completion_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    usage_source: UsageSource,
    cost: u64,
    price_version: &'a str,
    snapshot_version: u64,
    ttft_us: Option<u64>,
    duration_us: u64,
    overhead_us: u64,
    attempts: u32,
    cache: &'a str,
    tags: &'a [String],
    request_bytes: u64,
    response_bytes: u64,
}

impl Serialize for UsageRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = self.key.as_ref().map(|k| &k.record);
        Row {
            event_id: format!("{}:{}", self.call_id, self.attempts),
            call_id: &self.call_id,
            seq: self.seq,
            started_at: self.started_at,
            surface: self.surface,
            route: self.route,
            token: &self.token,
            key_alias: key.and_then(|k| k.alias.as_deref()),
            user_id: key.and_then(|k| k.user_id.as_deref()),
            team_id: key.and_then(|k| k.team_id.as_deref()),
            org_id: key.and_then(|k| k.org_id.as_deref()),
            end_user: self.end_user.as_deref(),
            model: &self.model,
            model_group: &self.model_group,
            deployment_id: &self.deployment_id,
            provider: &self.provider,
            upstream_model: &self.upstream_model,
            stream: self.stream,
            status: self.status,
            outcome: self.outcome,
            error_code: self.error_code.as_deref(),
            prompt_tokens: self.usage.prompt,
            completion_tokens: self.usage.completion,
            cached_tokens: self.usage.cached,
            cache_write_tokens: self.usage.cache_write,
            reasoning_tokens: self.usage.reasoning,
            usage_source: self.usage_source,
            cost: self.cost,
            price_version: &self.price_version,
            snapshot_version: self.snapshot_version,
            ttft_us: self.ttft_us,
            duration_us: self.duration_us,
            overhead_us: self.overhead_us,
            attempts: self.attempts,
            cache: "off",
            tags: key.map_or(&[], |k| k.tags.as_slice()),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        }
        .serialize(serializer)
    }
}

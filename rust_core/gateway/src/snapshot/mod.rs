//! The compiled configuration: immutable, swapped whole, loaded once per call.
//!
//! Everything a call would otherwise work out again is worked out here: parsed origins, rendered
//! header blocks, resolved groups. State that must survive a change of configuration (cooldowns,
//! a deployment's own limits) lives in [`DeploymentState`] and is carried over by id.

mod group;
mod price_list;
#[cfg(test)]
pub(crate) mod testing;
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::auth::digest::Digest;
use crate::limits::deployment::{DeploymentLimits, DeploymentState};
use crate::pricing::Price;
use crate::tokens::Encoding;
use crate::trusted_hash::ByTrusted;
use crate::upstream::Origin;
pub use group::{Group, Match};
use price_list::PriceList;
pub use wire::{EngineOptions, Hidden, ListenerTls, Settings, Wire};

/// One upstream that can answer calls for a group.
#[derive(Debug)]
pub struct Deployment {
    /// Stable identity.
    pub id: Arc<str>,
    /// Label for records and metrics.
    pub provider: Arc<str>,
    /// Protocol.
    pub wire: Wire,
    /// Upstream model; may hold one `*`.
    pub model: String,
    /// Where it is.
    pub origin: Arc<Origin>,
    /// Path before the provider's own.
    pub base_path: String,
    /// Query to append, without `?`.
    pub query: String,
    /// Rendered `name: value` lines: host, authentication, extras.
    pub header_block: Hidden<Bytes>,
    /// Lower-case names in `header_block`; a client's fields of these names are not sent on.
    pub header_names: Vec<String>,
    /// Share among deployments of the same order.
    pub weight: u32,
    /// Lower first.
    pub order: i32,
    /// What it can take.
    pub limits: DeploymentLimits,
    /// Milliseconds to connect.
    pub connect_timeout_ms: u64,
    /// Milliseconds to the first byte of the answer.
    pub first_byte_timeout_ms: u64,
    /// Milliseconds between two pieces of the answer.
    pub idle_timeout_ms: u64,
    /// Milliseconds for the whole of a call that is not streamed.
    pub total_timeout_ms: Option<u64>,
    /// Milliseconds of silence after which an SSE comment is sent before the first token.
    pub keepalive_ms: Option<u64>,
    /// Understands `stream_options.include_usage`.
    pub stream_usage: bool,
    /// Drop what the wire cannot express.
    pub drop_params: bool,
    /// Parameters always removed.
    pub drop: Vec<String>,
    /// Parameters passed on although unknown.
    pub allowed_params: Vec<String>,
    /// Parameters set when absent.
    pub defaults: BTreeMap<String, Box<RawValue>>,
    /// Parameters always set.
    pub overrides: BTreeMap<String, Box<RawValue>>,
    /// Prefixes of client headers sent on.
    pub forward_headers: Vec<String>,
    /// The model's bound on output tokens.
    pub max_output_tokens: Option<u64>,
    /// How its tokens are counted.
    pub tokenizer: Encoding,
    /// What the model does: `chat`, `completion`, `embedding`, ...
    pub mode: String,
    prices: PriceList,
    /// Limits and cooldown, carried over from snapshot to snapshot.
    pub state: Arc<DeploymentState>,
}

impl Deployment {
    /// The upstream's model name for a call whose group name matched `*` with `wildcard`.
    #[must_use]
    pub fn upstream_model(&self, wildcard: &str) -> String {
        self.model.replacen('*', wildcard, 1)
    }

    /// The price list for an upstream model.
    #[must_use]
    pub fn price(&self, upstream_model: &str) -> Option<Arc<Price>> {
        self.prices.get(upstream_model)
    }
}

struct Pattern {
    prefix: String,
    suffix: String,
    group: Arc<Group>,
}

/// The configuration in force.
pub struct Snapshot {
    /// Number of this configuration.
    pub version: u64,
    /// Policies.
    pub settings: Settings,
    /// Digest of the master key.
    pub master: Option<Digest>,
    /// All groups, in the order of the configuration.
    pub groups: Vec<Arc<Group>>,
    exact: HashMap<String, Arc<Group>, ByTrusted>,
    aliases: BTreeMap<String, String>,
    patterns: Vec<Pattern>,
    /// All deployments by id, for carrying state over.
    pub deployments: Vec<Arc<Deployment>>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version).field("groups", &self.groups.len()).finish()
    }
}

impl Snapshot {
    /// Compiles a document; `former` lends the state of deployments that go on.
    ///
    /// # Errors
    /// A sentence naming the field that does not parse.
    pub fn compile(json: &[u8], former: Option<&Self>) -> Result<Self, String> {
        let document: wire::Snapshot = serde_json::from_slice(json).map_err(|e| format!("snapshot: {e}"))?;
        let states: HashMap<&str, &Arc<DeploymentState>> =
            former.map(|f| f.deployments.iter().map(|d| (&*d.id, &d.state)).collect()).unwrap_or_default();
        let mut deployments = Vec::with_capacity(document.deployments.len());
        for d in document.deployments {
            let state = states.get(d.id.as_str()).map_or_else(Default::default, |s| Arc::clone(s));
            deployments.push(Arc::new(deployment(d, state)?));
        }
        let mut groups = Vec::with_capacity(document.groups.len());
        for g in document.groups {
            groups.push(Arc::new(group::group(g, &deployments)?));
        }
        let exact =
            groups.iter().filter(|g| !g.name.contains('*')).map(|g| (g.name.to_string(), Arc::clone(g))).collect();
        let mut patterns: Vec<Pattern> = groups
            .iter()
            .filter_map(|g| {
                let (prefix, suffix) = g.name.split_once('*')?;
                Some(Pattern { prefix: prefix.into(), suffix: suffix.into(), group: Arc::clone(g) })
            })
            .collect();
        // The most specific pattern wins.
        patterns.sort_by_key(|p| std::cmp::Reverse(p.prefix.len() + p.suffix.len()));
        let master = match document.master_token.as_str() {
            "" => None,
            hex => Some(hex.parse::<Digest>().map_err(|_| "snapshot: master_token is not 64 hexadecimal digits")?),
        };
        Ok(Self {
            version: document.version,
            settings: document.settings,
            master,
            groups,
            exact,
            aliases: document.aliases,
            patterns,
            deployments,
        })
    }

    /// The group that a requested model name means.
    #[must_use]
    pub fn find(&self, model: &str) -> Option<Match> {
        let model = self.aliases.get(model).map_or(model, String::as_str);
        if let Some(group) = self.exact.get(model) {
            return Some(Match { group: Arc::clone(group), wildcard: String::new() });
        }
        self.patterns.iter().find_map(|p| {
            let inner = model.strip_prefix(p.prefix.as_str())?.strip_suffix(p.suffix.as_str())?;
            (!inner.is_empty()).then(|| Match { group: Arc::clone(&p.group), wildcard: inner.to_owned() })
        })
    }

    /// Other names of groups that are to be listed.
    pub fn listed_aliases(&self) -> impl Iterator<Item = (&str, &Arc<Group>)> {
        self.aliases.iter().filter_map(|(alias, name)| Some((alias.as_str(), self.exact.get(name)?)))
    }
}

fn deployment(d: wire::Deployment, state: Arc<DeploymentState>) -> Result<Deployment, String> {
    let (origin, base_path) =
        Origin::parse(&d.base_url).map_err(|e| format!("deployment {:?}: base_url: {e}", d.id))?;
    let mut block = BytesMut::new();
    penstock_http1::put_header(&mut block, b"host", origin.host_header.as_bytes());
    let mut header_names = vec!["host".to_owned()];
    let mut check = penstock_http1::HeadersBuilder::default();
    for (name, value) in &d.headers {
        check
            .push(name.as_bytes(), value.as_bytes())
            .map_err(|e| format!("deployment {:?}: header {name:?}: {e}", d.id))?;
        penstock_http1::put_header(&mut block, name.to_ascii_lowercase().as_bytes(), value.as_bytes());
        header_names.push(name.to_ascii_lowercase());
    }
    Ok(Deployment {
        id: d.id.into(),
        provider: d.provider.into(),
        wire: d.wire,
        model: d.model,
        origin: Arc::new(origin),
        base_path,
        query: d.query,
        header_block: Hidden(block.freeze()),
        header_names,
        weight: d.weight,
        order: d.order,
        limits: DeploymentLimits { rpm: d.rpm, tpm: d.tpm, max_parallel_requests: d.max_parallel_requests },
        connect_timeout_ms: d.connect_timeout_ms,
        first_byte_timeout_ms: d.first_byte_timeout_ms,
        idle_timeout_ms: d.idle_timeout_ms,
        total_timeout_ms: d.total_timeout_ms,
        keepalive_ms: d.keepalive_ms,
        stream_usage: d.stream_usage,
        drop_params: d.drop_params,
        drop: d.drop,
        allowed_params: d.allowed_params,
        defaults: d.defaults,
        overrides: d.overrides,
        forward_headers: d.forward_headers,
        max_output_tokens: d.max_output_tokens,
        tokenizer: d.tokenizer,
        mode: d.mode,
        prices: PriceList::new(d.price, d.prices),
        state,
    })
}

//! A virtual key as the control plane sends it, and as the hot path uses it.
//!
//! Apart from the table because compiling (addresses, patterns, rates) happens once per record and checking once per
//! call. The field names are those of `penstock.engine.snapshot.KeyRecord`; an unknown one is refused, so that the two
//! sides cannot drift apart.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::cidr::{BadCidr, CidrSet};
use super::digest::Digest;
use super::pattern;
use super::routes::{self, RouteKind};
use super::scope::{Rules, Scope};
use crate::limits::{Counters, Limits, Seed, WhenGone};

/// A key as the control plane sends it. Money in nano-dollars, times in Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Digest of the key.
    pub token: Digest,
    /// Name for people.
    #[serde(default)]
    pub alias: Option<String>,
    /// Groups, aliases, access groups, or patterns with `*`; empty or `all-proxy-models`: every model; `no-default-models`: none.
    #[serde(default)]
    pub models: Vec<String>,
    /// This key's own model names.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Requests per minute.
    #[serde(default)]
    pub rpm: Option<u64>,
    /// Tokens per minute.
    #[serde(default)]
    pub tpm: Option<u64>,
    /// Calls in flight.
    #[serde(default)]
    pub max_parallel_requests: Option<u64>,
    /// Nano-dollars per budget window.
    #[serde(default)]
    pub max_budget: Option<u64>,
    /// Nano-dollars spent in the current window, as the ledger has it; corrections may have brought it below 0.
    #[serde(default)]
    pub spend: i64,
    /// Ordinal of the last usage record contained in `spend`.
    #[serde(default)]
    pub spend_version: u64,
    /// The ledger's version of `spend`: a later figure has a larger one.
    #[serde(default)]
    pub spend_at: u64,
    /// Beginning of the current budget window.
    #[serde(default)]
    pub budget_window_start: Option<u64>,
    /// End of the current budget window.
    #[serde(default)]
    pub budget_reset_at: Option<u64>,
    /// Length of a budget window.
    #[serde(default)]
    pub budget_duration_ms: Option<u64>,
    /// The key is void from then on.
    #[serde(default)]
    pub expires_at: Option<u64>,
    /// Switched off.
    #[serde(default)]
    pub blocked: bool,
    /// Client addresses that may use the key; empty: all.
    #[serde(default)]
    pub cidrs: Vec<String>,
    /// Paths or route groups; empty: all.
    #[serde(default)]
    pub allowed_routes: Vec<String>,
    /// Labels for spending.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Owner.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Owner's team.
    #[serde(default)]
    pub team_id: Option<String>,
    /// Team's organisation.
    #[serde(default)]
    pub org_id: Option<String>,
    /// Names of the scopes above the key whose limits hold for it, from near to far.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What becomes of shared rates and slots without Redis; `None`: whatever else the call stands under says.
    #[serde(default)]
    pub when_gone: Option<WhenGone>,
    /// Records older than the held one are ignored; 0: never.
    #[serde(default)]
    pub revision: u64,
}

impl KeyRecord {
    /// The record of a key that may do everything without limits: the master key.
    #[must_use]
    pub fn unlimited(token: Digest) -> Self {
        Self {
            token,
            alias: None,
            models: Vec::new(),
            aliases: BTreeMap::new(),
            rpm: None,
            tpm: None,
            max_parallel_requests: None,
            max_budget: None,
            spend: 0,
            spend_version: 0,
            spend_at: 0,
            budget_window_start: None,
            budget_reset_at: None,
            budget_duration_ms: None,
            expires_at: None,
            blocked: false,
            cidrs: Vec::new(),
            allowed_routes: Vec::new(),
            tags: Vec::new(),
            user_id: None,
            team_id: None,
            org_id: None,
            scopes: Vec::new(),
            when_gone: None,
            revision: 0,
        }
    }

    /// The ledger's figure in this record.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed {
            spent: u64::try_from(self.spend).unwrap_or(0),
            version: self.spend_version,
            since: self.budget_window_start.unwrap_or(0),
            reset_at: self.budget_reset_at,
            duration_ms: self.budget_duration_ms,
        }
    }
}

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Digest of the key.
    pub token: Digest,
    /// What is wrong with its `cidrs`.
    pub cidr: BadCidr,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: cidrs: {}", self.token, self.cidr)
    }
}

impl std::error::Error for RecordError {}

/// Why a known key may not be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyDenied {
    /// Switched off.
    Blocked,
    /// Past its end.
    Expired,
    /// Not from this client address.
    AddressNotAllowed,
}

/// Which models a key may use, compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ModelRule {
    /// Every model.
    #[default]
    All,
    /// These names, and what matches these patterns; none when both are empty.
    Listed {
        /// Groups, aliases and access groups, sorted.
        names: Vec<String>,
        /// Texts with `*`.
        patterns: Vec<String>,
    },
}

impl ModelRule {
    /// From a record's `models`. `no-default-models` takes away what `all-proxy-models` or `*` would give.
    #[must_use]
    pub fn compile(models: &[String]) -> Self {
        let none = models.iter().any(|model| model == "no-default-models");
        let everything = |model: &String| model == "all-proxy-models" || model == "*";
        if models.is_empty() || (!none && models.iter().any(everything)) {
            return Self::All;
        }
        let listed = models.iter().filter(|model| !everything(model) && *model != "no-default-models").cloned();
        let (patterns, mut names): (Vec<_>, Vec<_>) = listed.partition(|model| model.contains('*'));
        names.sort_unstable();
        Self::Listed { names, patterns }
    }

    /// Whether the rule covers a group of this name that is in these access groups.
    #[must_use]
    pub fn allows(&self, group: &str, access_groups: &[String]) -> bool {
        match self {
            Self::All => true,
            Self::Listed { names, patterns } => {
                let listed = |name: &str| names.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
                listed(group)
                    || patterns.iter().any(|pattern| pattern::matches(pattern, group))
                    || access_groups.iter().any(|access| listed(access))
            }
        }
    }
}

/// Who does not let a model be used.
#[derive(Debug, Clone)]
pub enum Refuser {
    /// The key itself.
    Key,
    /// A scope that it stands under.
    Scope(Arc<Rules>),
}

/// A key as the hot path uses it: immutable, but for the counters it shares with its former versions.
#[derive(Debug)]
pub struct Key {
    /// What the control plane sent.
    pub record: KeyRecord,
    /// Digest of the key.
    pub digest: Digest,
    /// Client addresses that may use it.
    pub cidrs: CidrSet,
    /// Models it may use.
    pub models: ModelRule,
    /// How much it may use.
    pub limits: Limits,
    /// Counters.
    pub state: Arc<Counters>,
    /// What it stands under, from near to far.
    pub scopes: Box<[Arc<Scope>]>,
}

impl Key {
    /// Compile a record onto existing counters, or onto new ones that start from the record's figure.
    ///
    /// # Errors
    /// [`RecordError`] when an address block does not parse; the former version stays in force then.
    pub fn compile(record: KeyRecord, state: Option<Arc<Counters>>) -> Result<Self, RecordError> {
        let cidrs = CidrSet::parse(&record.cidrs).map_err(|cidr| RecordError { token: record.token, cidr })?;
        let state = match state {
            Some(state) => {
                state.seed(record.seed());
                state
            }
            None => Arc::new(Counters::new(record.seed())),
        };
        Ok(Self {
            digest: record.token,
            cidrs,
            models: ModelRule::compile(&record.models),
            limits: Limits::new(record.rpm, record.tpm, record.max_parallel_requests, record.max_budget),
            state,
            scopes: Box::default(),
            record,
        })
    }

    /// A key that may do everything without limits: the master key.
    #[must_use]
    pub fn unlimited(digest: Digest) -> Self {
        Self {
            record: KeyRecord::unlimited(digest),
            digest,
            cidrs: CidrSet::default(),
            models: ModelRule::All,
            limits: Limits::default(),
            scopes: Box::default(),
            state: Arc::default(),
        }
    }

    /// Whether the key may be used now, from this address. Independent of what it is used for.
    ///
    /// # Errors
    /// [`KeyDenied`]; the graver reason first.
    pub fn check(&self, now_unix_ms: u64, client_ip: IpAddr) -> Result<(), KeyDenied> {
        if self.record.blocked {
            return Err(KeyDenied::Blocked);
        }
        if self.record.expires_at.is_some_and(|end| end <= now_unix_ms) {
            return Err(KeyDenied::Expired);
        }
        if !self.cidrs.is_empty() && !self.cidrs.contains(client_ip) {
            return Err(KeyDenied::AddressNotAllowed);
        }
        Ok(())
    }

    /// The same key under these scopes.
    #[must_use]
    pub fn under(mut self, scopes: Box<[Arc<Scope>]>) -> Self {
        self.scopes = scopes;
        self
    }

    /// The nearest scope that is switched off as a whole.
    #[must_use]
    pub fn blocked_scope(&self) -> Option<Arc<Rules>> {
        self.scopes.iter().find_map(|scope| {
            let rules = scope.rules();
            (rules.record.blocked && rules.record.only_model.is_none()).then(|| Arc::clone(&rules))
        })
    }

    /// Whether the key may use a model: by its exact name, by an access group it is in, or by a pattern. Where the
    /// requested name differs from the model group's (an alias, a name that a wildcard group such as `openai/*` answers),
    /// give both: either is enough, for the key and for each scope above it.
    #[must_use]
    pub fn may_use(&self, names: &[&str], access_groups: &[String]) -> bool {
        self.refuses(names, access_groups).is_none()
    }

    /// Who does not let the key use a model, if anybody.
    #[must_use]
    pub fn refuses(&self, names: &[&str], access_groups: &[String]) -> Option<Refuser> {
        if !names.iter().any(|name| self.models.allows(name, access_groups)) {
            return Some(Refuser::Key);
        }
        self.scopes.iter().find_map(|scope| {
            let rules = scope.rules();
            (!rules.allow(names, access_groups)).then(|| Refuser::Scope(Arc::clone(&rules)))
        })
    }

    /// Whether every model is allowed, for the key and for what it stands under.
    #[must_use]
    pub fn may_use_all(&self) -> bool {
        self.models == ModelRule::All && self.scopes.iter().all(|scope| scope.rules().models == ModelRule::All)
    }

    /// What this key means by a model name, if it has its own meaning for it.
    #[must_use]
    pub fn model_alias(&self, model: &str) -> Option<&str> {
        self.record.aliases.get(model).map(String::as_str)
    }

    /// Whether the key may call a route.
    #[must_use]
    pub fn allows_route(&self, path: &str, kind: RouteKind) -> bool {
        routes::allows(&self.record.allowed_routes, path, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn key(fields: &str) -> Key {
        let record = serde_json::from_str(&format!(r#"{{"token":"{TOKEN}"{fields}}}"#)).unwrap();
        Key::compile(record, None).unwrap()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_record_has_exactly_the_contracts_fields() {
        let json = format!(
            r#"{{"token":"{TOKEN}","alias":"a","models":["m"],"aliases":{{"x":"y"}},"rpm":1,"tpm":2,
            "max_parallel_requests":3,"max_budget":4,"spend":5,"spend_version":6,"budget_window_start":2,
            "budget_reset_at":7,"budget_duration_ms":8,"expires_at":9,"blocked":true,"cidrs":["10.0.0.0/8"],"allowed_routes":["/v1"],"tags":["t"],"user_id":"u",
            "team_id":"t","org_id":"o","scopes":["team:t"],"when_gone":"local_share","revision":10}}"#
        );
        let record: KeyRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(record.token.to_string(), TOKEN);
        assert_eq!(record.seed(), Seed { spent: 5, version: 6, since: 2, reset_at: Some(7), duration_ms: Some(8) });
        assert_eq!(record.when_gone, Some(WhenGone::LocalShare));
        let key = Key::compile(record, None).unwrap();
        assert_eq!(key.limits, Limits::new(Some(1), Some(2), Some(3), Some(4)));
        assert_eq!(key.model_alias("x"), Some("y"));
        assert_eq!(key.model_alias("y"), None);
        assert_eq!(key.state.usage(), (5, 0, 0));
        assert!(serde_json::from_str::<KeyRecord>(r#"{"alias":"a"}"#).is_err());
        let unknown = format!(r#"{{"token":"{TOKEN}","rpn":1}}"#);
        assert!(serde_json::from_str::<KeyRecord>(&unknown).unwrap_err().to_string().contains("rpn"));
        let bare: KeyRecord = serde_json::from_str(&format!(r#"{{"token":"{TOKEN}"}}"#)).unwrap();
        assert_eq!(bare, KeyRecord::unlimited(TOKEN.parse().unwrap()));
    }

    #[test]
    fn a_record_with_a_bad_block_is_refused_by_name() {
        let json = format!(r#"{{"token":"{TOKEN}","cidrs":["10.0.0.0/8","10.0.0.0/99"]}}"#);
        let error = Key::compile(serde_json::from_str(&json).unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("cidrs: `10.0.0.0/99`"));
    }

    #[test]
    fn models_are_allowed_by_name_access_group_or_pattern() {
        let listed = key(r#","models":["gpt-4o","beta","openai/*","*-mini"]"#);
        assert!(listed.may_use(&["gpt-4o"], &[]));
        assert!(!listed.may_use(&["gpt-4"], &[]));
        assert!(listed.may_use(&["secret"], &strings(&["alpha", "beta"])));
        assert!(!listed.may_use(&["secret"], &strings(&["alpha", "bet"])));
        assert!(listed.may_use(&["openai/o3"], &[]));
        assert!(listed.may_use(&["openai/*"], &[]));
        assert!(listed.may_use(&["o4-mini"], &[]));
        assert!(!listed.may_use(&["azure/o3"], &[]));
        // A pattern speaks of models, not of access groups.
        assert!(!key(r#","models":["al*"]"#).may_use(&["secret"], &strings(&["alpha"])));
    }

    #[test]
    fn the_special_names_mean_all_and_none() {
        assert!(key("").may_use(&["anything"], &[]));
        assert!(key(r#","models":["x","all-proxy-models"]"#).may_use(&["anything"], &[]));
        assert!(key(r#","models":["*"]"#).may_use(&["anything"], &[]));
        let none = key(r#","models":["no-default-models"]"#);
        assert!(!none.may_use(&["anything"], &[]));
        assert!(!none.may_use(&["no-default-models"], &[]));
        let only = key(r#","models":["no-default-models","all-proxy-models","x"]"#);
        assert!(only.may_use(&["x"], &[]));
        assert!(!only.may_use(&["y"], &[]));
        assert!(!key(r#","models":["all-team-models"]"#).may_use(&["x"], &[]));
    }

    #[test]
    fn a_key_is_refused_for_each_reason_in_turn() {
        let at = IpAddr::from([10, 0, 0, 1]);
        let other = IpAddr::from([192, 0, 2, 1]);
        let refused = key(r#","blocked":true,"expires_at":5,"cidrs":["10.0.0.0/8"]"#);
        assert_eq!(refused.check(9, other), Err(KeyDenied::Blocked));
        let ends = key(r#","expires_at":5,"cidrs":["10.0.0.0/8"]"#);
        assert_eq!(ends.check(5, other), Err(KeyDenied::Expired));
        assert_eq!(ends.check(4, other), Err(KeyDenied::AddressNotAllowed));
        assert_eq!(ends.check(4, at), Ok(()));
        assert_eq!(key("").check(u64::MAX, other), Ok(()));
    }

    #[test]
    fn routes_are_those_of_the_record() {
        let key = key(r#","allowed_routes":["/v1/embeddings","anthropic_routes"]"#);
        assert!(key.allows_route("/embeddings", RouteKind::OpenAi));
        assert!(key.allows_route("/v1/messages", RouteKind::Anthropic));
        assert!(!key.allows_route("/v1/chat/completions", RouteKind::OpenAi));
    }
}

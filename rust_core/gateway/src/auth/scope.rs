//! A scope: whoever else than the key a limit or a budget belongs to, as the control plane sends it and as calls use it.
//!
//! Team, member, user, organisation, customer, tag, and each of them per model: to the data plane they are the same
//! thing, a name with rules and counters. Apart from the key because the rules of a scope change under the keys that
//! hold it: a [`Scope`] is one stable place that they all point to, whose rules are replaced and whose counters stay.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use serde::Deserialize;

use super::record::ModelRule;
use crate::limits::{Counters, Limits, Seed, WhenGone};

/// A scope as the control plane sends it (`penstock.engine.snapshot.ScopeRecord`). Money in nano-dollars, times in Unix
/// milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeRecord {
    /// `kind:id`.
    pub name: String,
    /// Name for people.
    #[serde(default)]
    pub alias: Option<String>,
    /// Switched off.
    #[serde(default)]
    pub blocked: bool,
    /// As a key's `models`; empty: every model.
    #[serde(default)]
    pub models: Vec<String>,
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
    /// Length of a budget window; `None` with an end: a calendar window, whose successor the next record brings.
    #[serde(default)]
    pub budget_duration_ms: Option<u64>,
    /// The scope is one of the calls of this model group or requested model.
    #[serde(default)]
    pub only_model: Option<String>,
    /// Names of the scopes for one model below this one, of a customer or a tag: a call that names it stands under them too.
    #[serde(default)]
    pub below: Vec<String>,
    /// What becomes of shared rates and slots without Redis; `None`: whatever else the call stands under says.
    #[serde(default)]
    pub when_gone: Option<WhenGone>,
    /// Records older than the held one are ignored; 0: never.
    #[serde(default)]
    pub revision: u64,
}

impl ScopeRecord {
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

/// What a record says, compiled.
#[derive(Debug, Default)]
pub struct Rules {
    /// As it came.
    pub record: ScopeRecord,
    /// Models that may be used.
    pub models: ModelRule,
    /// How much.
    pub limits: Limits,
    /// Those of the record's `below`.
    pub below: Box<[Arc<Scope>]>,
    /// Customers and tags, under which a call stands because it or its key says so: such a name may not loosen anything.
    pub is_named_by_calls: bool,
}

impl Rules {
    fn compile(record: ScopeRecord, below: Box<[Arc<Scope>]>) -> Self {
        let whose = record.name.strip_prefix("model:").unwrap_or(&record.name);
        Self {
            is_named_by_calls: whose.starts_with("customer:") || whose.starts_with("tag:"),
            below,
            models: ModelRule::compile(&record.models),
            limits: Limits::new(record.rpm, record.tpm, record.max_parallel_requests, record.max_budget),
            record,
        }
    }

    /// Whether a call that asks for one of these names (as requested, as its group is called) is one of the scope's.
    #[must_use]
    pub fn hold_for(&self, names: &[&str]) -> bool {
        self.record.only_model.as_deref().is_none_or(|only| names.contains(&only))
    }

    /// Whether the scope lets a model be used that has one of these names and is in these access groups.
    #[must_use]
    pub fn allow(&self, names: &[&str], access_groups: &[String]) -> bool {
        let sub = self.record.only_model.is_some();
        if sub && !self.hold_for(names) {
            return true;
        }
        let listed = || names.iter().any(|name| self.models.allows(name, access_groups));
        !(sub && self.record.blocked) && listed()
    }

    /// The level for people: `Team=t1`, or `Team=t1 (Platform)`; of a sub-scope `Team=t1, model=gpt-4o`.
    #[must_use]
    pub fn level(&self) -> Level<'_> {
        Level(&self.record)
    }

    /// Whose the limits are, for programs: the scope's name, `team:t1` or `model:team:t1/gpt-4o`. Of a key it is `key`, as
    /// its id is a digest.
    #[must_use]
    pub fn subject(&self) -> Box<str> {
        let name = &self.record.name;
        let whole = name.strip_prefix("model:").unwrap_or(name);
        let Some(key) = whole.strip_prefix("key:") else { return name.as_str().into() };
        match key.split_once('/') {
            Some((_, model)) if whole.len() < name.len() => format!("model:key/{model}").into(),
            _ => "key".into(),
        }
    }
}

/// See [`Rules::level`].
#[derive(Debug, Clone, Copy)]
pub struct Level<'a>(&'a ScopeRecord);

impl fmt::Display for Level<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScopeRecord { name, alias, only_model, .. } = self.0;
        let whole = name.strip_prefix("model:").unwrap_or(name);
        let of_model = |model: &String| whole.strip_suffix(model.as_str())?.strip_suffix('/');
        let parent = only_model.as_ref().and_then(of_model).unwrap_or(whole);
        let (kind, id) = parent.split_once(':').unwrap_or(("", parent));
        match kind {
            "" => f.write_str(id)?,
            // A key's id is its digest: no help to anybody.
            "key" => f.write_str("Key")?,
            "org" => write!(f, "Organization={id}")?,
            kind => {
                let (first, rest) = kind.split_at(kind.chars().next().map_or(0, char::len_utf8));
                write!(f, "{}{rest}={id}", first.to_uppercase())?;
            }
        }
        if let Some(alias) = alias {
            write!(f, " ({alias})")?;
        }
        match only_model {
            Some(model) => write!(f, ", model={model}"),
            None => Ok(()),
        }
    }
}

/// One scope. Keys and calls hold it; its rules may change at any time.
#[derive(Debug)]
pub struct Scope {
    name: Arc<str>,
    rules: ArcSwap<Rules>,
    known: AtomicBool,
    used: AtomicBool,
    /// What has been used.
    pub counters: Arc<Counters>,
}

impl Scope {
    /// A scope that nothing is known of yet: it limits nothing, and counts.
    #[must_use]
    pub fn new(name: Arc<str>) -> Self {
        let record = ScopeRecord { name: name.to_string(), ..ScopeRecord::default() };
        Self {
            name,
            rules: ArcSwap::from_pointee(Rules { record, ..Rules::default() }),
            known: AtomicBool::new(false),
            used: AtomicBool::new(true),
            counters: Arc::default(),
        }
    }

    /// `kind:id`.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What holds now.
    #[must_use]
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// Take over a record, unless a later one is in force, with the scopes that its `below` names. The counters meet its
    /// figure of spending.
    pub(super) fn update(&self, record: ScopeRecord, below: Box<[Arc<Scope>]>) {
        let held = self.rules.load().record.revision;
        let known = self.known.swap(true, Ordering::AcqRel);
        if known && record.revision != 0 && record.revision < held {
            return;
        }
        self.counters.seed(record.seed());
        self.rules.store(Arc::new(Rules::compile(record, below)));
    }

    /// What is known is out of date: who looks the scope up asks again. Until then the old rules stay in force.
    pub(super) fn forget(&self) {
        self.known.store(false, Ordering::Release);
    }

    /// Whether a record came, and stands.
    pub(super) fn is_known(&self) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        self.known.load(Ordering::Acquire)
    }

    /// Nobody used it since this was asked last, and only the table (the caller) holds it.
    pub(super) fn is_idle(self: &Arc<Self>) -> bool {
        let used = self.used.swap(false, Ordering::Relaxed);
        !used && Arc::strong_count(self) == 1 && Arc::strong_count(&self.counters) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Rules {
        Rules::compile(serde_json::from_str(json).unwrap(), Box::default())
    }

    #[test]
    fn a_record_has_exactly_the_contracts_fields() {
        let record: ScopeRecord = serde_json::from_str(
            r#"{"name":"team:t1","alias":"a","blocked":true,"models":["m"],"rpm":1,"tpm":2,"max_parallel_requests":3,
            "max_budget":4,"spend":-5,"spend_version":6,"budget_window_start":2,"budget_reset_at":7,"budget_duration_ms":8,
            "only_model":"x","below":["y"],"when_gone":"fail_open","revision":9}"#,
        )
        .unwrap();
        assert_eq!(record.seed(), Seed { spent: 0, version: 6, since: 2, reset_at: Some(7), duration_ms: Some(8) });
        assert!(serde_json::from_str::<ScopeRecord>(r#"{"name":"team:t1","rmp":1}"#).is_err());
        assert!(serde_json::from_str::<ScopeRecord>("{}").is_err());
    }

    #[test]
    fn levels_read_well() {
        let level = |json: &str| rules(json).level().to_string();
        assert_eq!(level(r#"{"name":"team:t1"}"#), "Team=t1");
        assert_eq!(level(r#"{"name":"org:o:1","alias":"Acme"}"#), "Organization=o:1 (Acme)");
        assert_eq!(level(r#"{"name":"member:t1/u1"}"#), "Member=t1/u1");
        assert_eq!(
            level(r#"{"name":"model:key:00ff/openai/gpt-4o","only_model":"openai/gpt-4o"}"#),
            "Key, model=openai/gpt-4o"
        );
        assert_eq!(level(r#"{"name":"model:team:t/1/m","only_model":"m","alias":"A"}"#), "Team=t/1 (A), model=m");
        assert_eq!(level(r#"{"name":"odd"}"#), "odd");
        let subject = |name: &str| rules(&format!(r#"{{"name":"{name}"}}"#)).subject().to_string();
        for name in ["team:t1", "member:t1/u1", "model:team:t/1/m", "odd"] {
            assert_eq!(subject(name), name);
        }
        assert_eq!(subject("key:00ff"), "key");
        assert_eq!(subject("model:key:00ff/openai/gpt-4o"), "model:key/openai/gpt-4o");
    }

    #[test]
    fn rules_are_those_of_the_latest_revision_and_counters_stay() {
        let scope = Arc::new(Scope::new("user:u".into()));
        assert!(!scope.is_known());
        let record =
            |rpm, revision| ScopeRecord { name: "user:u".into(), rpm: Some(rpm), revision, ..ScopeRecord::default() };
        scope.update(record(5, 7), Box::default());
        scope.update(record(6, 6), Box::default());
        assert_eq!(scope.rules().record.rpm, Some(5));
        scope.update(record(8, 0), Box::default());
        assert_eq!(scope.rules().record.rpm, Some(8));
        assert!(scope.is_known());
        scope.forget();
        assert!(!scope.is_known());
        assert_eq!(scope.rules().record.rpm, Some(8), "in force until something better is known");
    }

    #[test]
    fn a_sub_scope_speaks_of_its_model_alone() {
        let sub = rules(r#"{"name":"model:team:t/m","only_model":"m","blocked":true}"#);
        assert!(sub.hold_for(&["alias", "m"]) && !sub.hold_for(&["n"]));
        assert!(sub.allow(&["n"], &[]) && !sub.allow(&["m"], &[]));
        let team = rules(r#"{"name":"team:t","models":["m","beta"]}"#);
        assert!(team.allow(&["x", "m"], &[]) && team.allow(&["x"], &["beta".to_owned()]) && !team.allow(&["x"], &[]));
    }
}

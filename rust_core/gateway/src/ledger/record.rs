//! One usage record (`python/penstock/engine/events.py` has the meaning of every field).

use serde::ser::{Error, SerializeTuple};
use serde::{Serialize, Serializer};

use crate::auth::record::KeyRecord;
use crate::usage::Usage;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client got the whole answer.
    Ok,
    /// The client got an error.
    Error,
    /// The client left before the end.
    ClientDisconnect,
    /// The time that the client gave the call was over before the end.
    DeadlineExceeded,
    /// The upstream broke off after the first byte.
    UpstreamCut,
    /// The gateway was stopped.
    Shutdown,
    /// The gateway was killed, and a later one found the call in its journal.
    GatewayLost,
}

impl Outcome {
    /// Label for metrics, and as the store has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::ClientDisconnect => "client_disconnect",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::UpstreamCut => "upstream_cut",
            Self::Shutdown => "shutdown",
            Self::GatewayLost => "gateway_lost",
        }
    }
}

/// Where token figures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageSource {
    /// The provider said so.
    Upstream,
    /// Counted here, because the provider did not.
    Counted,
    /// Nothing was generated.
    None,
}

impl UsageSource {
    /// As the store has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Counted => "counted",
            Self::None => "none",
        }
    }
}

/// A settled call, seen where its values are: it is written out at once and kept as text.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct UsageRecord<'a> {
    pub call_id: &'a str,
    pub seq: u64,
    pub started_at: u64,
    pub surface: &'a str,
    pub route: &'a str,
    pub key: Option<&'a KeyRecord>,
    pub token: &'a str,
    pub request_tags: &'a [String],
    pub end_user: &'a str,
    pub model: &'a str,
    pub model_group: &'a str,
    pub deployment_id: &'a str,
    pub provider: &'a str,
    pub upstream_model: &'a str,
    pub stream: bool,
    pub status: u16,
    pub outcome: Outcome,
    pub error_code: &'a str,
    pub usage: Usage,
    pub usage_source: UsageSource,
    pub cost: u64,
    pub price_version: &'a str,
    pub snapshot_version: u64,
    pub ttft_us: Option<u64>,
    pub duration_us: u64,
    pub overhead_us: u64,
    pub attempts: u32,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl<'a> UsageRecord<'a> {
    /// A record that holds the place of one that could not be made, so that ordinals stay without a gap.
    pub(super) fn void(call_id: &'a str, seq: u64) -> Self {
        Self {
            call_id,
            seq,
            started_at: 0,
            surface: "",
            route: "",
            key: None,
            token: "",
            end_user: "",
            request_tags: &[],
            model: "",
            model_group: "",
            deployment_id: "",
            provider: "",
            upstream_model: "",
            stream: false,
            status: 500,
            outcome: Outcome::Error,
            error_code: "internal_error",
            usage: Usage::default(),
            usage_source: UsageSource::None,
            cost: 0,
            price_version: "",
            snapshot_version: 0,
            ttft_us: None,
            duration_us: 0,
            overhead_us: 0,
            attempts: 0,
            request_bytes: 0,
            response_bytes: 0,
        }
    }
}

/// Values of a record as the store has them.
const COLUMNS: usize = 38;

/// `call id:attempt`, without a buffer of its own.
struct EventId<'a>(&'a UsageRecord<'a>);

impl Serialize for EventId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.0.call_id, self.0.attempts))
    }
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

/// Tags as the store keeps them, JSON in a text: the key's, then those of the request that it does not have.
struct Tags<'a>(&'a [String], &'a [String]);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(of_key, of_request) = *self;
        if of_key.is_empty() && of_request.is_empty() {
            return serializer.serialize_str("[]");
        }
        let more = of_request.iter().filter(|tag| !of_key.contains(tag));
        let tags: Vec<&String> = of_key.iter().chain(more).collect();
        serializer.serialize_str(&serde_json::to_string(&tags).map_err(S::Error::custom)?)
    }
}

/// The values in the order of the columns, and none of them `null`: a text that is not there is empty, a time that was
/// not taken is -1. Names would be most of the bytes, and binding a `None` costs Python's SQLite module ten times as
/// much as binding a number.
impl Serialize for UsageRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = self.key;
        let mut row = serializer.serialize_tuple(COLUMNS)?;
        row.serialize_element(&EventId(self))?;
        row.serialize_element(self.call_id)?;
        row.serialize_element(&self.seq)?;
        row.serialize_element(&self.started_at)?;
        row.serialize_element(self.surface)?;
        row.serialize_element(self.route)?;
        row.serialize_element(self.token)?;
        row.serialize_element(text(key.and_then(|k| k.alias.as_ref())))?;
        row.serialize_element(text(key.and_then(|k| k.user_id.as_ref())))?;
        row.serialize_element(text(key.and_then(|k| k.team_id.as_ref())))?;
        row.serialize_element(text(key.and_then(|k| k.org_id.as_ref())))?;
        row.serialize_element(self.end_user)?;
        row.serialize_element(self.model)?;
        row.serialize_element(self.model_group)?;
        row.serialize_element(self.deployment_id)?;
        row.serialize_element(self.provider)?;
        row.serialize_element(self.upstream_model)?;
        row.serialize_element(&u8::from(self.stream))?;
        row.serialize_element(&self.status)?;
        row.serialize_element(self.outcome.name())?;
        row.serialize_element(self.error_code)?;
        row.serialize_element(&self.usage.prompt)?;
        row.serialize_element(&self.usage.completion)?;
        row.serialize_element(&self.usage.cached)?;
        row.serialize_element(&self.usage.cache_write)?;
        row.serialize_element(&self.usage.reasoning)?;
        row.serialize_element(self.usage_source.name())?;
        row.serialize_element(&self.cost)?;
        row.serialize_element(self.price_version)?;
        row.serialize_element(&self.snapshot_version)?;
        match self.ttft_us {
            Some(time) => row.serialize_element(&time)?,
            None => row.serialize_element(&-1)?,
        }
        row.serialize_element(&self.duration_us)?;
        row.serialize_element(&self.overhead_us)?;
        row.serialize_element(&self.attempts)?;
        row.serialize_element("off")?;
        row.serialize_element(&Tags(key.map_or(&[], |k| k.tags.as_slice()), self.request_tags))?;
        row.serialize_element(&self.request_bytes)?;
        row.serialize_element(&self.response_bytes)?;
        row.end()
    }
}

/// A record in which most values differ from their defaults.
#[cfg(test)]
pub(super) fn example(seq: u64) -> UsageRecord<'static> {
    UsageRecord {
        call_id: "c-1",
        seq,
        started_at: 1_000,
        surface: "chat",
        route: "/v1/chat/completions",
        key: None,
        token: "t",
        request_tags: &[],
        end_user: "a \"b\" \u{1f600}\n",
        model: "m",
        model_group: "g",
        deployment_id: "d",
        provider: "p",
        upstream_model: "u",
        stream: true,
        status: 499,
        outcome: Outcome::ClientDisconnect,
        error_code: "",
        usage: Usage::default(),
        usage_source: UsageSource::Counted,
        cost: u64::MAX,
        price_version: "v",
        snapshot_version: 3,
        ttft_us: None,
        duration_us: 5,
        overhead_us: 6,
        attempts: 2,
        request_bytes: 8,
        response_bytes: 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_the_order_of_the_columns_and_none_is_null() {
        let row: Vec<serde_json::Value> = serde_json::from_str(&serde_json::to_string(&example(7)).unwrap()).unwrap();
        assert_eq!(row.len(), COLUMNS);
        assert!(row.iter().all(|value| !value.is_null()));
        assert_eq!(row[0], "c-1:2");
        assert_eq!(row[1], "c-1");
        assert_eq!(row[7..11], ["", "", "", ""]);
        assert_eq!(row[11], "a \"b\" \u{1f600}\n");
        assert_eq!((&row[17], &row[18], &row[19]), (&1.into(), &499.into(), &"client_disconnect".into()));
        assert_eq!((&row[26], &row[27], &row[30]), (&"counted".into(), &u64::MAX.into(), &(-1).into()));
        assert_eq!((&row[35], &row[37]), (&"[]".into(), &9.into()));
    }

    #[test]
    fn tags_are_json_within_a_text() {
        let tags = ["a".to_owned(), "b\"c".to_owned()];
        let text = |tags: Tags<'_>| -> String { serde_json::from_str(&serde_json::to_string(&tags).unwrap()).unwrap() };
        assert_eq!(serde_json::from_str::<Vec<String>>(&text(Tags(&tags, &[]))).unwrap(), tags);
        let more = ["d".to_owned(), "a".to_owned()];
        assert_eq!(text(Tags(&tags, &more)), r#"["a","b\"c","d"]"#);
        assert_eq!(text(Tags(&[], &more)), r#"["d","a"]"#);
    }
}

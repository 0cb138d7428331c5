//! One usage record (`python/penstock/engine/events.py` has the meaning of every field).

use penstock_http1::put_decimal;

use crate::auth::record::KeyRecord;
use crate::scan;
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

/// The values in the order of the columns, and none of them `null`: a text that is not there is empty, a time that was
/// not taken is -1. Names would be most of the bytes, and binding a `None` costs Python's SQLite module ten times as
/// much as binding a number.
impl UsageRecord<'_> {
    /// Adds the record as a JSON array.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut row = Row(out);
        row.0.push(b'[');
        row.event_id(self.call_id, self.attempts);
        row.text(self.call_id);
        row.number(self.seq);
        row.number(self.started_at);
        row.text(self.surface);
        row.text(self.route);
        row.text(self.token);
        let key = self.key;
        for name in [
            key.and_then(|k| k.alias.as_ref()),
            key.and_then(|k| k.user_id.as_ref()),
            key.and_then(|k| k.team_id.as_ref()),
            key.and_then(|k| k.org_id.as_ref()),
        ] {
            row.text(name.map_or("", String::as_str));
        }
        row.text(self.end_user);
        row.text(self.model);
        row.text(self.model_group);
        row.text(self.deployment_id);
        row.text(self.provider);
        row.text(self.upstream_model);
        row.number(u64::from(self.stream));
        row.number(u64::from(self.status));
        row.word(self.outcome.name());
        row.text(self.error_code);
        row.number(self.usage.prompt);
        row.number(self.usage.completion);
        row.number(self.usage.cached);
        row.number(self.usage.cache_write);
        row.number(self.usage.reasoning);
        row.word(self.usage_source.name());
        row.number(self.cost);
        row.text(self.price_version);
        row.number(self.snapshot_version);
        match self.ttft_us {
            Some(time) => row.number(time),
            None => row.0.extend_from_slice(b"-1,"),
        }
        row.number(self.duration_us);
        row.number(self.overhead_us);
        row.number(u64::from(self.attempts));
        row.word("off");
        row.tags(key.map_or(&[], |k| k.tags.as_slice()), self.request_tags);
        row.number(self.request_bytes);
        row.number(self.response_bytes);
        if let Some(last) = row.0.last_mut() {
            *last = b']';
        }
    }
}

/// Values of a record being written, each with a comma. By hand, because there is one record per call, and most of its
/// texts need no escapes.
struct Row<'a>(&'a mut Vec<u8>);

impl Row<'_> {
    fn text(&mut self, text: &str) {
        if scan::plain_prefix(text.as_bytes()) == text.len() {
            return self.word(text);
        }
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.0, text);
        self.0.push(b',');
    }

    /// A text that needs no escapes: words of our own, ids and digests.
    fn word(&mut self, text: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"\",");
    }

    fn number(&mut self, number: u64) {
        put_decimal(self.0, number);
        self.0.push(b',');
    }

    /// `call id:attempt`.
    fn event_id(&mut self, call_id: &str, attempts: u32) {
        self.0.push(b'"');
        self.0.extend_from_slice(call_id.as_bytes());
        self.0.push(b':');
        put_decimal(self.0, u64::from(attempts));
        self.0.extend_from_slice(b"\",");
    }

    /// Tags as the store keeps them, JSON in a text: the key's, then those of the request that it does not have.
    fn tags(&mut self, of_key: &[String], of_request: &[String]) {
        if of_key.is_empty() && of_request.is_empty() {
            return self.text("[]");
        }
        let more = of_request.iter().filter(|tag| !of_key.contains(tag));
        let tags: Vec<&String> = of_key.iter().chain(more).collect();
        // What is a list of texts can be written.
        self.text(&serde_json::to_string(&tags).unwrap_or_default());
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

/// The values of a record that was written.
#[cfg(test)]
pub(super) fn values(record: &UsageRecord<'_>) -> Vec<serde_json::Value> {
    let mut row = Vec::new();
    record.write(&mut row);
    serde_json::from_slice(&row).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_the_order_of_the_columns_and_none_is_null() {
        let row = values(&example(7));
        assert_eq!(row.len(), 38);
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
        let text = |of_key: &[String], of_request: &[String]| -> String {
            let mut row = Vec::new();
            Row(&mut row).tags(of_key, of_request);
            serde_json::from_slice(row.strip_suffix(b",").unwrap()).unwrap()
        };
        let tags = ["a".to_owned(), "b\"c".to_owned()];
        assert_eq!(serde_json::from_str::<Vec<String>>(&text(&tags, &[])).unwrap(), tags);
        let more = ["d".to_owned(), "a".to_owned()];
        assert_eq!(text(&tags, &more), r#"["a","b\"c","d"]"#);
        assert_eq!(text(&[], &more), r#"["d","a"]"#);
    }
}

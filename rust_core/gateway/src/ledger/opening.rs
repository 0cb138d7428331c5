//! What the journal is told of a call before it is settled, as bytes and back.
//!
//! Binary, and only what a row needs: it is written for every call and read for none but those that a killed process left
//! behind. Numbers are 64 bits, little-endian; a text is its length in 32 bits and its bytes.

use super::record::{Outcome, UsageRecord, UsageSource};
use crate::auth::Digest;
use crate::auth::record::KeyRecord;
use crate::usage::Usage;

/// The layout below.
const LAYOUT: u8 = 1;
/// A time that was not taken.
const NEVER: u64 = u64::MAX;

/// What is known of a call when its request goes to an upstream.
#[derive(Debug)]
#[allow(missing_docs)] // as in `UsageRecord`
pub struct Opening<'a> {
    pub call_id: &'a str,
    pub started_at: u64,
    pub surface: &'a str,
    pub route: &'a str,
    pub key: Option<&'a KeyRecord>,
    pub token: &'a str,
    pub end_user: &'a str,
    pub request_tags: &'a [String],
    pub model: &'a str,
    pub model_group: &'a str,
    pub deployment_id: &'a str,
    pub provider: &'a str,
    pub upstream_model: &'a str,
    pub stream: bool,
    /// Prompt tokens as far as they are known, and what they cost.
    pub prompt: u64,
    pub cost: u64,
    pub price_version: &'a str,
    pub snapshot_version: u64,
    pub overhead_us: u64,
    pub attempts: u32,
    pub request_bytes: u64,
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn optional(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

impl Opening<'_> {
    /// Replaces what is in the buffer.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[LAYOUT, u8::from(self.stream)]);
        for number in [
            self.started_at,
            self.prompt,
            self.cost,
            self.snapshot_version,
            self.overhead_us,
            u64::from(self.attempts),
            self.request_bytes,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let key = self.key;
        for text in [
            self.call_id,
            self.surface,
            self.route,
            self.token,
            self.end_user,
            self.model,
            self.model_group,
            self.deployment_id,
            self.provider,
            self.upstream_model,
            self.price_version,
            optional(key.and_then(|k| k.alias.as_ref())),
            optional(key.and_then(|k| k.user_id.as_ref())),
            optional(key.and_then(|k| k.team_id.as_ref())),
            optional(key.and_then(|k| k.org_id.as_ref())),
        ] {
            put_text(out, text);
        }
        let of_key = key.map_or(&[][..], |k| k.tags.as_slice());
        // As in the record: those of the request that the key does not have.
        let more = self.request_tags.iter().filter(|tag| !of_key.contains(tag));
        of_key.iter().chain(more).for_each(|tag| put_text(out, tag));
    }
}

/// How far a call has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as in `UsageRecord`
pub struct Progress {
    pub usage: Usage,
    pub usage_source: UsageSource,
    pub cost: u64,
    pub status: u16,
    pub ttft_us: Option<u64>,
    pub duration_us: u64,
    pub response_bytes: u64,
}

/// Bytes of a [`Progress`].
const PROGRESS: usize = 2 + 11 * 8;

impl Progress {
    pub(super) fn write(&self) -> [u8; PROGRESS] {
        let source = match self.usage_source {
            UsageSource::None => 0,
            UsageSource::Counted => 1,
            UsageSource::Upstream => 2,
        };
        let Usage { prompt, completion, cached, cache_write, reasoning, .. } = self.usage;
        let numbers = [
            prompt,
            completion,
            cached,
            cache_write,
            reasoning,
            self.cost,
            u64::from(self.status),
            self.ttft_us.unwrap_or(NEVER),
            self.duration_us,
            self.response_bytes,
            0,
        ];
        let mut out = [0; PROGRESS];
        let (head, rest) = out.split_at_mut(2);
        head.copy_from_slice(&[LAYOUT, source]);
        let (places, _) = rest.as_chunks_mut();
        places.iter_mut().zip(numbers).for_each(|(place, number)| *place = number.to_le_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<2>()?;
        let usage_source = match head {
            [LAYOUT, 0] => UsageSource::None,
            [LAYOUT, 1] => UsageSource::Counted,
            [LAYOUT, 2] => UsageSource::Upstream,
            _ => return None,
        };
        let rest = &mut rest;
        Some(Self {
            usage: Usage {
                prompt: number(rest)?,
                completion: number(rest)?,
                cached: number(rest)?,
                cache_write: number(rest)?,
                reasoning: number(rest)?,
            },
            usage_source,
            cost: number(rest)?,
            status: u16::try_from(number(rest)?).ok()?,
            ttft_us: number(rest).map(|time| (time != NEVER).then_some(time))?,
            duration_us: number(rest)?,
            response_bytes: number(rest)?,
        })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

/// Hands on the record of a call that a killed process had open; `None` when its bytes are not of this layout.
///
/// It ended where it was last heard of: duration, tokens and cost are those of the last checkpoint, or the prompt's when there
/// was none. Its status is what the client had been told, and 503 when it had been told nothing.
pub(super) fn lost<T>(
    open: &[u8],
    update: Option<&[u8]>,
    seq: u64,
    then: impl FnOnce(&UsageRecord<'_>) -> T,
) -> Option<T> {
    let (head, mut rest) = open.split_first_chunk::<2>()?;
    let [LAYOUT, stream] = *head else { return None };
    let rest = &mut rest;
    let [started_at, prompt, cost, snapshot_version, overhead_us, attempts, request_bytes] = take(rest, number)?;
    let [call_id, surface, route, token, end_user, model] = take(rest, text)?;
    let [model_group, deployment_id, provider, upstream_model, price_version] = take(rest, text)?;
    let [alias, user_id, team_id, org_id] = take(rest, |rest| text(rest).map(|text| Some(text.to_owned())))?;
    let mut tags = Vec::new();
    while !rest.is_empty() {
        tags.push(text(rest)?.to_owned());
    }
    // Only its names are looked at.
    let key = KeyRecord { alias, user_id, team_id, org_id, tags, ..KeyRecord::unlimited(Digest::from_bytes([0; 32])) };
    let last = update.and_then(Progress::read).unwrap_or(Progress {
        usage: Usage { prompt, ..Usage::default() },
        usage_source: if prompt == 0 { UsageSource::None } else { UsageSource::Counted },
        cost,
        status: 503,
        ttft_us: None,
        duration_us: 0,
        response_bytes: 0,
    });
    Some(then(&UsageRecord {
        call_id,
        seq,
        started_at,
        surface,
        route,
        key: Some(&key),
        token,
        end_user,
        request_tags: &[],
        model,
        model_group,
        deployment_id,
        provider,
        upstream_model,
        stream: stream != 0,
        status: last.status,
        outcome: Outcome::GatewayLost,
        error_code: "gateway_lost",
        usage: last.usage,
        usage_source: last.usage_source,
        cost: last.cost,
        price_version,
        snapshot_version,
        ttft_us: last.ttft_us,
        duration_us: last.duration_us,
        overhead_us,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        request_bytes,
        response_bytes: last.response_bytes,
    }))
}

fn take<'a, T: Default, const N: usize>(
    rest: &mut &'a [u8],
    mut one: impl FnMut(&mut &'a [u8]) -> Option<T>,
) -> Option<[T; N]> {
    let mut all = std::array::from_fn(|_| T::default());
    for place in &mut all {
        *place = one(rest)?;
    }
    Some(all)
}

/// What a call opens with.
#[cfg(test)]
pub(super) fn example(key: &KeyRecord) -> Opening<'_> {
    Opening {
        call_id: "c-1",
        started_at: 1_000,
        surface: "chat",
        route: "/v1/chat/completions",
        key: Some(key),
        token: "t",
        end_user: "\u{1f600}",
        request_tags: &[],
        model: "m",
        model_group: "g",
        deployment_id: "d",
        provider: "p",
        upstream_model: "u",
        stream: true,
        prompt: 11,
        cost: 12,
        price_version: "v",
        snapshot_version: 3,
        overhead_us: 6,
        attempts: 2,
        request_bytes: 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record;

    fn row(open: &[u8], update: Option<&[u8]>) -> Option<Vec<serde_json::Value>> {
        lost(open, update, 7, record::values)
    }

    #[test]
    fn a_lost_call_has_the_figures_of_its_last_checkpoint() {
        let key = KeyRecord {
            alias: Some("alias".to_owned()),
            team_id: Some("team".to_owned()),
            tags: vec!["a".to_owned(), "b\"c".to_owned()],
            ..KeyRecord::unlimited(Digest::from_bytes([1; 32]))
        };
        let mut open = b"what was there".to_vec();
        Opening { request_tags: &["a".to_owned(), "r".to_owned()], ..example(&key) }.write(&mut open);
        let first = row(&open, None).unwrap();
        assert_eq!((&first[0], &first[2], &first[3]), (&"c-1:2".into(), &7.into(), &1_000.into()));
        assert_eq!(first[7..12], ["alias", "", "team", "", "\u{1f600}"]);
        assert_eq!((&first[18], &first[19], &first[20]), (&503.into(), &"gateway_lost".into(), &"gateway_lost".into()));
        assert_eq!(
            (&first[21], &first[22], &first[26], &first[27]),
            (&11.into(), &0.into(), &"counted".into(), &12.into())
        );
        assert_eq!((&first[30], &first[31], &first[33]), (&(-1).into(), &0.into(), &2.into()));
        assert_eq!(first[35], r#"["a","b\"c","r"]"#);
        let progress = Progress {
            usage: Usage { prompt: 20, completion: 21, cached: 1, cache_write: 2, reasoning: 3 },
            usage_source: UsageSource::Upstream,
            cost: 22,
            status: 200,
            ttft_us: Some(30),
            duration_us: 40,
            response_bytes: 50,
        };
        assert_eq!(Progress::read(&progress.write()), Some(progress));
        let last = row(&open, Some(&progress.write())).unwrap();
        assert_eq!(last[21..26], [20, 21, 1, 2, 3]);
        assert_eq!((&last[18], &last[26], &last[27]), (&200.into(), &"upstream".into(), &22.into()));
        assert_eq!((&last[30], &last[31], &last[37]), (&30.into(), &40.into(), &50.into()));
    }

    #[test]
    fn other_layouts_and_torn_bytes_are_no_call() {
        let mut open = Vec::new();
        example(&KeyRecord::unlimited(Digest::from_bytes([1; 32]))).write(&mut open);
        assert!(row(&open, None).is_some());
        for end in 0..open.len() {
            assert_eq!(row(&open[..end], None), None, "{end}");
        }
        open[0] = 9;
        assert_eq!(row(&open, None), None);
    }
}

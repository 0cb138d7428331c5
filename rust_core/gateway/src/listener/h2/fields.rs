//! Header fields in the form that the HTTP/2 library takes.
//!
//! Apart from the exchange because it is most of what an answer costs: names that are sent with every answer are made
//! once, and values share the buffer that they were written into.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::listener::transport::HeaderLines;
use crate::trusted_hash::ByTrusted;

/// Fields that room is made for: those of an answer, ours and the usual ones of providers, are hardly more.
const USUAL: usize = 24;
/// Bytes that a field has at least, mostly.
const LINE: usize = 24;

/// Names that many answers have, whose values repeat.
const STEADY: [&str; 16] = [
    "content-type",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "openai-version",
    "retry-after",
    "x-penstock-attempts",
    "x-penstock-cache",
    "x-penstock-deployment",
    "x-penstock-model",
    "x-penstock-provider",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "vary",
    "cache-control",
    "x-envoy-upstream-service-time",
];

/// Those whose values are others with each answer.
const CHANGING: [&str; 11] = [
    "openai-processing-ms",
    "request-id",
    "retry-after-ms",
    "x-penstock-call-id",
    "x-penstock-cost-usd",
    "x-penstock-overhead-us",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
];

/// A name, and the bit that it has in [`Told`] when its values change.
type Known = (HeaderName, u32);

/// Only looked up: what a provider sends adds nothing.
static NAMES: LazyLock<HashMap<&'static [u8], Known, ByTrusted>> = LazyLock::new(|| {
    let known = |name: &'static str, bit| (name.as_bytes(), (HeaderName::from_static(name), bit));
    let changing = CHANGING.into_iter().zip(0..).map(|(name, place)| known(name, 1 << place));
    STEADY.into_iter().map(|name| known(name, 0)).chain(changing).collect()
});

/// Which names of changing values a connection has heard.
///
/// HPACK (RFC 7541) keeps what was said in a table of 4 KiB, in the hope that it is said again. With values that are not,
/// the table is soon full of them, and each of them is compared with all before it. So of such a name only the first value
/// goes into the table, for the name; values that follow are marked to be sent as they are.
#[derive(Debug, Default)]
pub(super) struct Told(Cell<u32>);

impl Told {
    /// Whether the name was said before; now it was.
    fn knows(&self, bit: u32) -> bool {
        let told = self.0.replace(self.0.get() | bit);
        told & bit != 0
    }
}

/// The lines for which `keep` holds as a map.
pub(super) fn header_map(lines: &HeaderLines, told: &Told, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> HeaderMap {
    let mut map = HeaderMap::with_capacity((lines.0.len() / LINE).clamp(2, USUAL));
    let whole = Bytes::copy_from_slice(&lines.0);
    for (name, value) in lines.iter() {
        if !keep(name, value) {
            continue;
        }
        let known = NAMES.get(name);
        let Some(name) = known.map(|(name, _)| name.clone()).or_else(|| HeaderName::from_bytes(name).ok()) else {
            continue;
        };
        // It lies in the lines, so at the same place in their copy.
        let start = value.as_ptr() as usize - lines.0.as_ptr() as usize;
        if let Ok(mut value) = HeaderValue::from_maybe_shared(whole.slice(start..start + value.len())) {
            let bit = known.map_or(0, |(_, bit)| *bit);
            value.set_sensitive(bit != 0 && told.knows(bit));
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_becomes_a_field_and_what_is_none_is_left_out() {
        let mut lines = HeaderLines::default();
        lines.add("x-penstock-call-id", b"c-1");
        lines.add("x-own", b"");
        lines.add("x-own", b"two: three");
        lines.add("bad name", b"v");
        lines.add_number("grpc-status", 0);
        let map = header_map(&lines, &Told::default(), |_, _| true);
        let all: Vec<(&str, &[u8])> = map.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(map.get("x-penstock-call-id").unwrap(), "c-1");
        assert_eq!(map.get_all("x-own").iter().collect::<Vec<_>>(), ["", "two: three"]);
        assert_eq!(map.get("grpc-status").unwrap(), "0");
    }

    #[test]
    fn a_value_that_changes_is_kept_out_of_the_table_once_its_name_is_there() {
        let mut lines = HeaderLines::default();
        for (name, value) in [("x-penstock-call-id", "c-1"), ("x-penstock-model", "m"), ("x-other", "o")] {
            lines.add(name, value.as_bytes());
        }
        let told = Told::default();
        let marked = || {
            let map = header_map(&lines, &told, |name, _| name != b"x-other");
            map.iter().map(|(name, value)| (name.to_string(), value.is_sensitive())).collect::<Vec<_>>()
        };
        let expected =
            |is_known| [("x-penstock-call-id".to_owned(), is_known), ("x-penstock-model".to_owned(), false)].to_vec();
        assert_eq!(marked(), expected(false));
        assert_eq!(marked(), expected(true));
    }
}

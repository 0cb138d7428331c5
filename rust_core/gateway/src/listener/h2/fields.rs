//! Header fields in the form that the HTTP/2 library takes.
//!
//! Apart from the exchange because it is most of what an answer costs: names that are sent with every answer are made
//! once, and values share the buffer that they were written into.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::listener::transport::HeaderLines;
use crate::trusted_hash::ByTrusted;

/// Fields of an answer, ours and the usual ones of providers, and room for a few more.
const USUAL: usize = 24;

/// Names that many answers have. Only looked up: what a provider sends adds nothing.
static NAMES: LazyLock<HashMap<&'static [u8], HeaderName, ByTrusted>> = LazyLock::new(|| {
    const KNOWN: [&str; 27] = [
        "content-type",
        "grpc-encoding",
        "grpc-message",
        "grpc-status",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-penstock-attempts",
        "x-penstock-cache",
        "x-penstock-call-id",
        "x-penstock-cost-usd",
        "x-penstock-deployment",
        "x-penstock-model",
        "x-penstock-overhead-us",
        "x-penstock-provider",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
        "x-request-id",
        "vary",
        "cache-control",
        "x-envoy-upstream-service-time",
    ];
    KNOWN.iter().map(|name| (name.as_bytes(), HeaderName::from_static(name))).collect()
});

/// The lines as a map.
pub(crate) fn header_map(lines: &HeaderLines) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(USUAL);
    let whole = Bytes::copy_from_slice(&lines.0);
    for (name, value) in lines.iter() {
        let known = NAMES.get(name).cloned();
        let Some(name) = known.or_else(|| HeaderName::from_bytes(name).ok()) else { continue };
        // It lies in the lines, so at the same place in their copy.
        let start = value.as_ptr() as usize - lines.0.as_ptr() as usize;
        if let Ok(value) = HeaderValue::from_maybe_shared(whole.slice(start..start + value.len())) {
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
        let map = header_map(&lines);
        let all: Vec<(&str, &[u8])> = map.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(map.get("x-penstock-call-id").unwrap(), "c-1");
        assert_eq!(map.get_all("x-own").iter().collect::<Vec<_>>(), ["", "two: three"]);
        assert_eq!(map.get("grpc-status").unwrap(), "0");
    }
}

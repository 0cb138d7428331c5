//! Header fields of answers: ours, and those of the upstream that may travel on.

use bytes::BytesMut;
use penstock_http1::ResponseHead;

use super::Call;
use crate::limits::State;
use crate::listener::exchange::HeaderLines;
use crate::listener::forwarded::{is_hop_by_hop, is_nominated};

/// Upstream fields that describe its connection, its server or its cookies.
const DROPPED: [&str; 15] = [
    "content-length",
    "set-cookie",
    "server",
    "date",
    "via",
    "alt-svc",
    "strict-transport-security",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "nel",
    "report-to",
    "x-powered-by",
    "cf-cache-status",
    "openai-organization",
    "openai-project",
];

/// The fields of a relayed answer.
pub(super) fn of_answer(call: &Call, upstream: &ResponseHead) -> HeaderLines {
    let mut lines = HeaderLines(BytesMut::with_capacity(1024));
    ours(call, &mut lines);
    let limited = call.rates.requests.is_some() || call.rates.tokens.is_some();
    for (name, value) in upstream.headers.iter() {
        let mut buffer = [0u8; 64];
        let Some(lower) = buffer.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let lower = &*lower;
        if is_hop_by_hop(lower)
            || DROPPED.iter().any(|d| d.as_bytes() == lower)
            || lower.starts_with(b"x-penstock-")
            || (limited && lower.starts_with(b"x-ratelimit-"))
            || is_nominated(&upstream.headers, lower)
        {
            continue;
        }
        if let Ok(name) = std::str::from_utf8(lower) {
            lines.add(name, value);
        }
    }
    lines
}

/// The fields of an error of our own.
pub(super) fn of_failure(call: &Call) -> HeaderLines {
    let mut lines = HeaderLines(BytesMut::with_capacity(512));
    ours(call, &mut lines);
    lines
}

pub(super) fn ours(call: &Call, lines: &mut HeaderLines) {
    lines.add("x-penstock-call-id", call.id.as_bytes());
    if let Some(group) = &call.group {
        let name = if group.name.contains('*') { super::admit::bounded(&call.model) } else { &group.name };
        lines.add("x-penstock-model", name.as_bytes());
    }
    if let Some(deployment) = &call.deployment {
        lines.add("x-penstock-deployment", deployment.id.as_bytes());
        lines.add("x-penstock-provider", deployment.provider.as_bytes());
        lines.add_number("x-penstock-attempts", u64::from(call.attempts));
        lines.add_number("x-penstock-overhead-us", call.overhead_us);
        lines.add("x-penstock-cache", b"off");
    }
    rate(lines, "requests", call.rates.requests);
    rate(lines, "tokens", call.rates.tokens);
}

/// `x-penstock-cost-usd`, once the cost is known.
pub(super) fn cost(lines: &mut HeaderLines, nanos: u64) {
    lines.add("x-penstock-cost-usd", format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000).as_bytes());
}

fn rate(lines: &mut HeaderLines, what: &str, state: Option<State>) {
    let Some(state) = state else { return };
    lines.add_number(&format!("x-ratelimit-limit-{what}"), state.limit);
    lines.add_number(&format!("x-ratelimit-remaining-{what}"), state.remaining);
    lines.add(&format!("x-ratelimit-reset-{what}"), span(state.reset_ns).as_bytes());
}

/// OpenAI's way of writing a duration: `120ms`, `1.5s`, `6m0s`.
fn span(ns: u64) -> String {
    let ms = ns.div_ceil(1_000_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        1_000..60_000 => format!("{}.{:03}s", ms / 1_000, ms % 1_000),
        _ => format!("{}m{}s", ms / 60_000, (ms % 60_000) / 1_000),
    }
}

/// The fields of an answer whose body was translated: those that speak of the bytes do not hold any more.
pub(super) fn of_translated(call: &Call, upstream: &ResponseHead) -> HeaderLines {
    let mut lines = HeaderLines(BytesMut::with_capacity(1024));
    ours(call, &mut lines);
    for (name, value) in upstream.headers.iter() {
        let lower = name.to_ascii_lowercase();
        let kept = lower.starts_with(b"anthropic-ratelimit-") || lower == b"request-id" || lower == b"x-request-id";
        if let (true, Ok(name)) = (kept, std::str::from_utf8(&lower)) {
            lines.add(name, value);
        }
    }
    lines
}

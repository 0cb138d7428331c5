//! Header fields of answers: ours, and those of the upstream that may travel on.

use bytes::{BufMut, BytesMut};
use penstock_http1::{ResponseHead, put_decimal};

use super::Call;
use crate::limits::State;
use crate::listener::exchange::HeaderLines;
use crate::listener::forwarded::{is_hop_by_hop, is_nominated, nominates};

/// Upstream fields that describe its connection, its server or its cookies.
fn is_dropped(name: &[u8]) -> bool {
    matches!(
        name,
        b"content-length"
            | b"set-cookie"
            | b"server"
            | b"date"
            | b"via"
            | b"alt-svc"
            | b"strict-transport-security"
            | b"access-control-allow-origin"
            | b"access-control-expose-headers"
            | b"nel"
            | b"report-to"
            | b"x-powered-by"
            | b"cf-cache-status"
            | b"openai-organization"
            | b"openai-project"
    )
}

/// The fields of a relayed answer.
pub(super) fn of_answer(call: &Call, upstream: &ResponseHead) -> HeaderLines {
    let mut lines = HeaderLines(BytesMut::with_capacity(1024));
    ours(call, &mut lines);
    let nominates = nominates(&upstream.headers);
    let limited = call.rates.requests.is_some() || call.rates.tokens.is_some();
    for (name, value) in upstream.headers.iter() {
        let mut buffer = [0u8; 64];
        let Some(lower) = buffer.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let lower = &*lower;
        if is_hop_by_hop(lower)
            || is_dropped(lower)
            || lower.starts_with(b"x-penstock-")
            || (limited && lower.starts_with(b"x-ratelimit-"))
            || (nominates && is_nominated(&upstream.headers, lower))
        {
            continue;
        }
        lines.pass_on(lower, value);
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
    const REQUESTS: [&str; 3] =
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
    const TOKENS: [&str; 3] = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
    rate(lines, REQUESTS, call.rates.requests);
    rate(lines, TOKENS, call.rates.tokens);
}

/// `x-penstock-cost-usd`, once the cost is known.
pub(super) fn cost(lines: &mut HeaderLines, nanos: u64) {
    let out = &mut lines.0;
    out.put_slice(b"x-penstock-cost-usd: ");
    put_decimal(out, nanos / 1_000_000_000);
    put_fraction::<9>(out, nanos % 1_000_000_000);
    out.put_slice(b"\r\n");
}

fn rate(lines: &mut HeaderLines, [limit, remaining, reset]: [&str; 3], state: Option<State>) {
    let Some(state) = state else { return };
    lines.add_number(limit, state.limit);
    lines.add_number(remaining, state.remaining);
    span(&mut lines.0, reset, state.reset_ns);
}

/// A duration in OpenAI's way: `120ms`, `1.5s`, `6m0s`.
fn span(out: &mut BytesMut, name: &str, ns: u64) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    let ms = ns.div_ceil(1_000_000);
    if ms < 1_000 {
        put_decimal(out, ms);
        out.put_slice(b"ms");
    } else {
        if ms >= 60_000 {
            put_decimal(out, ms / 60_000);
            out.put_u8(b'm');
        }
        put_decimal(out, (ms % 60_000) / 1_000);
        if ms < 60_000 && !ms.is_multiple_of(1_000) {
            put_fraction::<3>(out, ms % 1_000);
        }
        out.put_u8(b's');
    }
    out.put_slice(b"\r\n");
}

/// `.` and so many digits.
fn put_fraction<const DIGITS: usize>(out: &mut BytesMut, mut n: u64) {
    let mut text = [b'0'; DIGITS];
    for place in text.iter_mut().rev() {
        *place += (n % 10) as u8;
        n /= 10;
    }
    out.put_u8(b'.');
    out.put_slice(&text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_dollars_read_as_openai_writes_them() {
        let written = |ms: u64| {
            let mut out = BytesMut::new();
            span(&mut out, "r", ms * 1_000_000);
            String::from_utf8(out.to_vec()).unwrap()
        };
        for (ms, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (1_500, "1.500s"),
            (1_007, "1.007s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (366_100, "6m6s"),
        ] {
            assert_eq!(written(ms), format!("r: {text}\r\n"));
        }
        let mut lines = HeaderLines::default();
        cost(&mut lines, 12_000_000_345);
        assert_eq!(&lines.0[..], b"x-penstock-cost-usd: 12.000000345\r\n");
    }
}

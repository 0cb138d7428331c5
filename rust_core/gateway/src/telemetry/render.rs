//! Series as Prometheus text (exposition format 0.0.4).

use std::collections::HashMap;
use std::fmt::Write;

use super::histogram::{BOUNDS, Histogram};
use super::{Gauges, Labels, Series};
use crate::snapshot::Snapshot;
use crate::trusted_hash::ByTrusted;

pub(super) fn render(
    series: HashMap<Labels, Series, ByTrusted>,
    refused: HashMap<&'static str, u64>,
    gauges: &Gauges,
    snapshot: &Snapshot,
) -> String {
    let mut sorted: Vec<(String, Series)> = series.into_iter().map(|(l, s)| (labels(&l), s)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out = String::with_capacity(4096 + sorted.len() * 4096);
    counter(&mut out, "penstock_requests_total", "Settled calls.", &sorted, |s| s.calls);
    counter(&mut out, "penstock_retries_total", "Attempts beyond the first.", &sorted, |s| s.retries);
    histogram(&mut out, "penstock_request_duration_seconds", "From arrival to the end of the answer.", &sorted, |s| {
        &s.duration
    });
    histogram(
        &mut out,
        "penstock_time_to_first_token_seconds",
        "From arrival to the first byte of the answer.",
        &sorted,
        |s| &s.ttft,
    );
    histogram(
        &mut out,
        "penstock_gateway_overhead_seconds",
        "Time in the gateway before the request went upstream.",
        &sorted,
        |s| &s.overhead,
    );
    head(&mut out, "penstock_tokens_total", "counter", "Tokens by direction.");
    for (labels, s) in &sorted {
        for (direction, n) in
            [("input", s.input), ("output", s.output), ("cached", s.cached), ("reasoning", s.reasoning)]
        {
            let _ = writeln!(out, "penstock_tokens_total{{{labels},direction=\"{direction}\"}} {n}");
        }
    }
    head(&mut out, "penstock_cost_usd_total", "counter", "Cost in US dollars.");
    for (labels, s) in &sorted {
        let _ = writeln!(
            out,
            "penstock_cost_usd_total{{{labels}}} {}.{:09}",
            s.cost / 1_000_000_000,
            s.cost % 1_000_000_000
        );
    }
    head(&mut out, "penstock_refused_total", "counter", "Requests refused before they became calls.");
    let mut refused: Vec<_> = refused.into_iter().collect();
    refused.sort_unstable();
    for (code, n) in refused {
        let _ = writeln!(out, "penstock_refused_total{{code=\"{code}\"}} {n}");
    }
    head(&mut out, "penstock_deployment_in_flight_requests", "gauge", "Calls in flight by deployment.");
    for group in &snapshot.groups {
        for deployment in &group.deployments {
            let (model, id, n) = (escape(&group.name), escape(&deployment.id), deployment.state.in_flight());
            let _ =
                writeln!(out, "penstock_deployment_in_flight_requests{{model=\"{model}\",deployment=\"{id}\"}} {n}");
        }
    }
    for (name, help, value) in [
        ("penstock_in_flight_requests", "Calls in flight.", gauges.in_flight),
        ("penstock_connections", "Open client connections.", gauges.connections),
        ("penstock_usage_queue_records", "Usage records not yet in the store.", gauges.usage_queue),
        ("penstock_key_table_keys", "Virtual keys held in memory.", gauges.keys),
        ("penstock_snapshot_version", "Version of the configuration in force.", gauges.snapshot_version),
    ] {
        head(&mut out, name, "gauge", help);
        let _ = writeln!(out, "{name} {value}");
    }
    if let Some((writable, bytes)) = gauges.journal {
        head(
            &mut out,
            "penstock_journal_writable",
            "gauge",
            "1: calls can be opened in the journal; 0: they are refused.",
        );
        let _ = writeln!(out, "penstock_journal_writable {}", u8::from(writable));
        head(&mut out, "penstock_journal_bytes", "gauge", "Size of the journal's files.");
        let _ = writeln!(out, "penstock_journal_bytes {bytes}");
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn counter(out: &mut String, name: &str, help: &str, series: &[(String, Series)], value: fn(&Series) -> u64) {
    head(out, name, "counter", help);
    for (labels, s) in series {
        let _ = writeln!(out, "{name}{{{labels}}} {}", value(s));
    }
}

fn histogram(out: &mut String, name: &str, help: &str, series: &[(String, Series)], of: fn(&Series) -> &Histogram) {
    head(out, name, "histogram", help);
    for (labels, s) in series {
        let h = of(s);
        if h.count == 0 {
            continue;
        }
        let mut total = 0;
        for (n, bound) in h.buckets.iter().zip(BOUNDS) {
            total += n;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {total}", seconds(bound));
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", h.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", seconds(h.sum));
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", h.count);
    }
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn labels(l: &Labels) -> String {
    format!(
        "model=\"{}\",deployment=\"{}\",provider=\"{}\",surface=\"{}\",protocol=\"{}\",status=\"{}\",outcome=\"{}\"",
        escape(&l.model),
        escape(&l.deployment),
        escape(&l.provider),
        l.surface,
        l.protocol,
        l.status,
        l.outcome
    )
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

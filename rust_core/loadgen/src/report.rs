//! What was measured: collected while the load runs, reported as JSON.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::Failure;
use crate::histogram::Histogram;
use crate::sse::Seen;

/// A distribution of durations, in microseconds; within 0.0125 %, `min` and `max` exact.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Quantiles {
    /// Number of samples.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

impl From<&Histogram> for Quantiles {
    fn from(h: &Histogram) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        Self {
            count: h.len(),
            min: micros(h.min()),
            mean: h.mean() / 1e3,
            p50: micros(h.quantile(0.5)),
            p90: micros(h.quantile(0.9)),
            p99: micros(h.quantile(0.99)),
            p999: micros(h.quantile(0.999)),
            max: micros(h.max()),
        }
    }
}

/// What one run measured. Only requests that were answered as expected are in the distributions.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Requests answered as expected.
    pub requests: u64,
    /// Requests that were not.
    pub errors: u64,
    /// How many, by kind: `connect`, `closed`, `io`, `framing`, `timeout`, `status_<code>`, `sse_<flaw>`, and
    /// `unsent` for arrivals of an open loop that no connection came to within the timeout.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// From the start to the last answer.
    pub elapsed_s: f64,
    /// Answered requests per second.
    pub rps: f64,
    /// From when a request was due (open loop) or sent (closed loop) to the end of its answer.
    pub latency_us: Quantiles,
    /// From when a request was sent to the end of its answer: what a tool that ignores coordinated omission shows.
    pub service_us: Quantiles,
    /// Open loop: how much later than due requests were sent; its floor is the load generator's own delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_delay_us: Option<Quantiles>,
    /// Present when streams were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamReport>,
    /// Bytes of request heads and bodies sent.
    pub bytes_sent: u64,
    /// Bytes of response bodies read.
    pub bytes_received: u64,
    /// The load generator's own CPU time per answered request; absent where the kernel does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cpu_us_per_request: Option<f64>,
}

/// What was seen of event streams.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// From when a request was due or sent to its first delta with text.
    pub ttft_us: Quantiles,
    /// Between two successive deltas of a stream; deltas that arrived in one piece have gaps of 0.
    pub gap_us: Quantiles,
    /// Events with data, over all complete streams.
    pub frames: u64,
    /// Events with text, over all complete streams.
    pub deltas: u64,
    /// Hash of the text of the first complete stream, boundaries included: equal for equal deltas in equal order.
    pub digest: String,
}

#[derive(Debug, Default)]
struct Collected {
    latency: Histogram,
    service: Histogram,
    send_delay: Histogram,
    ttft: Histogram,
    gap: Histogram,
    errors: BTreeMap<String, u64>,
    frames: u64,
    deltas: u64,
    bytes: u64,
    reference: Option<Seen>,
}

/// Collects what all connections see.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    collected: Mutex<Collected>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answered(&self, due: Instant, sent: Instant, done: Instant) {
        let mut c = self.lock();
        c.latency.record(done.saturating_duration_since(due));
        c.service.record(done.saturating_duration_since(sent));
        c.send_delay.record(sent.saturating_duration_since(due));
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        *self.lock().errors.entry(failure.kind()).or_default() += 1;
    }

    pub(crate) fn unsent(&self) {
        *self.lock().errors.entry("unsent".to_owned()).or_default() += 1;
    }

    /// `count` deltas arrived together at `now`, the former at `last`.
    pub(crate) fn deltas(&self, due: Instant, last: Option<Instant>, now: Instant, count: u64) {
        let mut c = self.lock();
        match last {
            None => c.ttft.record(now.saturating_duration_since(due)),
            Some(last) => c.gap.record(now.saturating_duration_since(last)),
        }
        for _ in 1..count {
            c.gap.record(Duration::ZERO);
        }
    }

    pub(crate) fn reference(&self) -> Option<Seen> {
        self.lock().reference
    }

    pub(crate) fn stream(&self, seen: Seen) {
        let mut c = self.lock();
        c.frames += seen.frames;
        c.deltas += seen.deltas;
        c.reference.get_or_insert(seen);
    }

    pub(crate) fn bytes(&self, count: u64) {
        self.lock().bytes += count;
    }

    pub(crate) fn report(&self, run: &Run) -> Report {
        let c = self.lock();
        let requests = c.latency.len();
        let errors: u64 = c.errors.values().sum();
        let unsent = c.errors.get("unsent").copied().unwrap_or(0);
        let elapsed_s = run.elapsed.as_secs_f64();
        Report {
            requests,
            errors,
            errors_by_kind: c.errors.clone(),
            elapsed_s,
            rps: if elapsed_s > 0.0 { requests as f64 / elapsed_s } else { 0.0 },
            latency_us: (&c.latency).into(),
            service_us: (&c.service).into(),
            send_delay_us: run.open.then(|| (&c.send_delay).into()),
            stream: run.stream.then(|| StreamReport {
                ttft_us: (&c.ttft).into(),
                gap_us: (&c.gap).into(),
                frames: c.frames,
                deltas: c.deltas,
                digest: c.reference.map(|s| format!("{:016x}", s.digest)).unwrap_or_default(),
            }),
            bytes_sent: (requests + errors - unsent) * run.request_bytes,
            bytes_received: c.bytes,
            client_cpu_us_per_request: run
                .cpu
                .filter(|_| requests > 0)
                .map(|cpu| cpu.as_secs_f64() * 1e6 / requests as f64),
        }
    }
}

/// What the report needs to know of the run besides the samples.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Option<Duration>,
    pub(crate) open: bool,
    pub(crate) stream: bool,
    pub(crate) request_bytes: u64,
}

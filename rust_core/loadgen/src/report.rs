//! What was measured, as it is reported: JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::course::Second;
use crate::histogram::Histogram;
use crate::recorder::{Collected, UNSENT};

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
    /// 75th percentile.
    pub p75: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// 99.99th percentile.
    pub p9999: f64,
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
            p75: micros(h.quantile(0.75)),
            p90: micros(h.quantile(0.9)),
            p95: micros(h.quantile(0.95)),
            p99: micros(h.quantile(0.99)),
            p999: micros(h.quantile(0.999)),
            p9999: micros(h.quantile(0.9999)),
            max: micros(h.max()),
        }
    }
}

/// What one run measured. Only requests that were answered as expected are in `latency_us` and `service_us`; time to first token and
/// gaps are those of every delta that came, whatever became of its stream.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Requests answered as expected.
    pub requests: u64,
    /// Requests that were not.
    pub errors: u64,
    /// How many, by kind: `connect`, `tls`, `timeout` and `timeout_body` (the answer had begun), `closed` and
    /// `closed_body`, `io`, `framing` and `framing_body`, `status_<code>`, `sse_<flaw>`, and `unsent` for
    /// arrivals of an open loop that no connection came to within the timeout. Over gRPC also `grpc_<status>`,
    /// `grpc_<flaw>`, `reset_<reason>` and `goaway_<reason>`.
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
    /// Bytes of request heads and bodies sent; over gRPC of messages with their prefixes.
    pub bytes_sent: u64,
    /// Bytes of response bodies read.
    pub bytes_received: u64,
    /// The load generator's own CPU time per answered request; absent where the kernel does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cpu_us_per_request: Option<f64>,
    /// Connections opened again, for whatever reason, after the first of each. A kept-alive connection that the
    /// server closed before it answered at all is opened again without an error.
    pub reconnects: u64,
    /// The course of the run.
    pub seconds: Vec<Second>,
    /// The first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<FirstError>,
    /// The run was told to stop before its end.
    pub stopped: bool,
    /// Requests in flight when it stopped: neither answered nor errors.
    pub abandoned: u64,
}

/// A failure with more than its kind.
#[derive(Debug, Clone, Serialize)]
pub struct FirstError {
    /// As in [`Report::errors_by_kind`].
    pub kind: String,
    /// The system's words, or the beginning of the answer's body; may quote what the request sent.
    pub detail: String,
}

/// What was seen of streams of events or messages.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// From when a request was due or sent to its first delta with text.
    pub ttft_us: Quantiles,
    /// Between two successive deltas of a stream; deltas that arrived in one piece have gaps of 0.
    pub gap_us: Quantiles,
    /// Events with data, or messages, over all complete streams.
    pub frames: u64,
    /// Those with text.
    pub deltas: u64,
    /// Hash of the text of the first complete stream, boundaries included: equal for equal deltas in equal order.
    pub digest: String,
}

/// What the report needs to know of the run besides the samples.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Option<Duration>,
    pub(crate) open: bool,
    pub(crate) stream: bool,
    pub(crate) request_bytes: u64,
    pub(crate) digest: Option<u64>,
    pub(crate) stopped: bool,
}

impl Report {
    pub(crate) fn new(c: &Collected, run: &Run) -> Self {
        let requests = c.latency.len();
        let errors: u64 = c.errors.values().sum();
        let never_sent: u64 =
            [UNSENT, "connect", "tls"].iter().map(|kind| c.errors.get(*kind).copied().unwrap_or(0)).sum();
        let elapsed_s = run.elapsed.as_secs_f64();
        Self {
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
                digest: run.digest.map(|digest| format!("{digest:016x}")).unwrap_or_default(),
            }),
            bytes_sent: (requests + errors + c.abandoned - never_sent) * run.request_bytes,
            bytes_received: c.bytes,
            client_cpu_us_per_request: run
                .cpu
                .filter(|_| requests > 0)
                .map(|cpu| cpu.as_secs_f64() * 1e6 / requests as f64),
            reconnects: c.reconnects,
            seconds: c.course.seconds(),
            first_error: c.first_error.as_ref().map(|(_, error)| error.clone()),
            stopped: run.stopped,
            abandoned: c.abandoned,
        }
    }
}

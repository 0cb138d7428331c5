//! Metrics in the Prometheus text format.
//!
//! Each thread writes its own bank; a scrape adds the banks up. A call touches its bank once, when
//! it is settled. Labels come from the configuration and from fixed tables, and their number is
//! bounded, so that no client can make the set grow.

mod histogram;
mod render;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use histogram::Histogram;

use crate::snapshot::Snapshot;
use crate::trusted_hash::ByTrusted;
use crate::usage::Usage;

/// Distinct label sets per thread; further ones are counted under `other`.
const MAX_SERIES: usize = 2_000;

/// What identifies a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// Model group.
    pub model: Arc<str>,
    /// Deployment id.
    pub deployment: Arc<str>,
    /// Provider label.
    pub provider: Arc<str>,
    /// Surface.
    pub surface: &'static str,
    /// How the client speaks: `rest` or `grpc`.
    pub protocol: &'static str,
    /// HTTP status.
    pub status: u16,
    /// How the call ended.
    pub outcome: &'static str,
}

/// The figures of one settled call.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Microseconds from arrival to the end.
    pub duration_us: u64,
    /// Microseconds from arrival to the first byte of the answer.
    pub ttft_us: Option<u64>,
    /// Microseconds in the gateway before the request went upstream.
    pub overhead_us: u64,
    /// Tokens.
    pub usage: Usage,
    /// Nano-dollars.
    pub cost: u64,
    /// Attempts beyond the first.
    pub retries: u32,
}

#[derive(Debug, Default, Clone)]
struct Series {
    calls: u64,
    duration: Histogram,
    ttft: Histogram,
    overhead: Histogram,
    input: u64,
    output: u64,
    cached: u64,
    reasoning: u64,
    cost: u64,
    retries: u64,
}

#[derive(Debug, Default)]
struct Bank {
    series: HashMap<Labels, Series, ByTrusted>,
    refused: HashMap<&'static str, u64>,
}

/// The banks of all threads.
#[derive(Debug)]
pub struct Metrics {
    banks: Vec<Mutex<Bank>>,
}

/// Figures that are read at scrape time.
#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Calls in flight.
    pub in_flight: u64,
    /// Open client connections.
    pub connections: u64,
    /// Usage records waiting.
    pub usage_queue: u64,
    /// Whether the journal of calls can be written, and the bytes of its files; `None`: there is none.
    pub journal: Option<(bool, u64)>,
    /// Keys in the table.
    pub keys: u64,
    /// Version of the configuration.
    pub snapshot_version: u64,
}

impl Metrics {
    /// Banks for so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { banks: (0..threads.max(1)).map(|_| Mutex::default()).collect() }
    }

    fn bank(&self, thread: usize) -> Option<MutexGuard<'_, Bank>> {
        self.banks.get(thread % self.banks.len()).map(|b| b.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a settled call.
    pub fn call(&self, thread: usize, labels: Labels, sample: &Sample) {
        let Some(mut bank) = self.bank(thread) else { return };
        let known = bank.series.len() < MAX_SERIES || bank.series.contains_key(&labels);
        let labels = if known {
            labels
        } else {
            let other: Arc<str> = "other".into();
            Labels { model: Arc::clone(&other), deployment: Arc::clone(&other), provider: other, ..labels }
        };
        let s = bank.series.entry(labels).or_default();
        s.calls += 1;
        s.duration.observe(sample.duration_us);
        s.overhead.observe(sample.overhead_us);
        if let Some(ttft) = sample.ttft_us {
            s.ttft.observe(ttft);
        }
        s.input += sample.usage.prompt;
        s.output += sample.usage.completion;
        s.cached += sample.usage.cached;
        s.reasoning += sample.usage.reasoning;
        s.cost += sample.cost;
        s.retries += u64::from(sample.retries);
    }

    /// Counts a request refused before it became a call (no usable key).
    pub fn refused(&self, thread: usize, code: &'static str) {
        if let Some(mut bank) = self.bank(thread) {
            *bank.refused.entry(code).or_default() += 1;
        }
    }

    /// The text for a scrape.
    #[must_use]
    pub fn render(&self, gauges: &Gauges, snapshot: &Snapshot) -> String {
        let mut series: HashMap<Labels, Series, ByTrusted> = HashMap::default();
        let mut refused: HashMap<&'static str, u64> = HashMap::new();
        for bank in &self.banks {
            let bank = bank.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, s) in &bank.series {
                series.entry(labels.clone()).or_default().add(s);
            }
            for (code, n) in &bank.refused {
                *refused.entry(code).or_default() += n;
            }
        }
        render::render(series, refused, gauges, snapshot)
    }
}

impl Series {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.duration.add(&other.duration);
        self.ttft.add(&other.ttft);
        self.overhead.add(&other.overhead);
        self.input += other.input;
        self.output += other.output;
        self.cached += other.cached;
        self.reasoning += other.reasoning;
        self.cost += other.cost;
        self.retries += other.retries;
    }
}

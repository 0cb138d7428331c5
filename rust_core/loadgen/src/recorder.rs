//! What the connections of one thread see, collected while the load runs.
//!
//! One recorder per thread, so that its lock is never waited for; they are merged when the load is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::caller::Answered;
use crate::control::Control;
use crate::course::Course;
use crate::deltas::Seen;
use crate::failure::Failure;
use crate::histogram::Histogram;
use crate::report::FirstError;

/// Arrivals of an open loop that no connection came to within the timeout.
pub(crate) const UNSENT: &str = "unsent";

#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) latency: Histogram,
    pub(crate) service: Histogram,
    pub(crate) send_delay: Histogram,
    pub(crate) ttft: Histogram,
    pub(crate) gap: Histogram,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) first_error: Option<(Instant, FirstError)>,
    pub(crate) frames: u64,
    pub(crate) deltas: u64,
    pub(crate) bytes: u64,
    pub(crate) reconnects: u64,
    pub(crate) abandoned: u64,
    pub(crate) course: Course,
}

impl Collected {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            latency: Histogram::new(),
            service: Histogram::new(),
            send_delay: Histogram::new(),
            ttft: Histogram::new(),
            gap: Histogram::new(),
            errors: BTreeMap::new(),
            first_error: None,
            frames: 0,
            deltas: 0,
            bytes: 0,
            reconnects: 0,
            abandoned: 0,
            course: Course::new(start),
        }
    }

    /// Adds what another thread has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.send_delay.merge(&other.send_delay);
        self.ttft.merge(&other.ttft);
        self.gap.merge(&other.gap);
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        let firsts = [self.first_error.take(), other.first_error.clone()];
        self.first_error = firsts.into_iter().flatten().min_by_key(|(at, _)| *at);
        self.frames += other.frames;
        self.deltas += other.deltas;
        self.bytes += other.bytes;
        self.reconnects += other.reconnects;
        self.abandoned += other.abandoned;
        self.course.merge(&other.course);
    }
}

/// Collects what the connections of a thread see.
#[derive(Debug)]
pub(crate) struct Recorder {
    collected: Mutex<Collected>,
    /// The first complete stream of all threads.
    reference: Arc<OnceLock<Seen>>,
    /// Told of every request, unless this is the warm-up.
    control: Option<Arc<Control>>,
}

impl Recorder {
    pub(crate) fn new(start: Instant, reference: Arc<OnceLock<Seen>>, control: Option<Arc<Control>>) -> Self {
        Self { collected: Mutex::new(Collected::new(start)), reference, control }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answered(&self, due: Instant, sent: Instant, done: Instant, answered: &Answered) {
        let latency = done.saturating_duration_since(due);
        let mut c = self.lock();
        c.latency.record(latency);
        c.service.record(done.saturating_duration_since(sent));
        c.send_delay.record(sent.saturating_duration_since(due));
        c.course.answered(done, latency);
        c.bytes += answered.bytes;
        if let Some(seen) = answered.seen {
            c.frames += seen.frames;
            c.deltas += seen.deltas;
        }
        drop(c);
        if let Some(control) = &self.control {
            control.answered();
        }
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.count(&failure.kind(), || failure.detail());
    }

    pub(crate) fn unsent(&self) {
        self.count(UNSENT, || "no connection was free to send a request before it timed out".to_owned());
    }

    fn count(&self, kind: &str, detail: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut c = self.lock();
        if let Some(count) = c.errors.get_mut(kind) {
            *count += 1;
        } else {
            c.errors.insert(kind.to_owned(), 1);
        }
        c.course.failed(now);
        if c.first_error.is_none() {
            c.first_error = Some((now, FirstError { kind: kind.to_owned(), detail: detail() }));
        }
        drop(c);
        if let Some(control) = &self.control {
            control.failed();
        }
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

    /// The first complete stream of the run, which may be this one.
    pub(crate) fn reference(&self, seen: Seen) -> Seen {
        *self.reference.get_or_init(|| seen)
    }

    pub(crate) fn reconnects(&self, count: u64) {
        self.lock().reconnects += count;
    }

    pub(crate) fn abandoned(&self, count: u64) {
        self.lock().abandoned += count;
    }
}

//! The course of a run, second by second.
//!
//! Coarser than the run's own distributions (0.4 %), so that it stays in the cache, and only the slots that
//! were hit are kept of a second that is over: a run of an hour takes a few megabytes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::histogram::Histogram;

type Coarse = Histogram<7>;

/// One second of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Second {
    /// Counted from the start of the run, from 0.
    pub second: u64,
    /// Requests answered in it as expected.
    pub requests: u64,
    /// Requests that failed in it.
    pub errors: u64,
    /// Median of the latencies of the requests that it answered; 0 when there are none.
    pub p50_us: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
}

/// What happens in the seconds of a run.
#[derive(Debug)]
pub(crate) struct Course {
    start: Instant,
    /// When the current second is over.
    over: Instant,
    current: Bucket,
    past: BTreeMap<u64, Bucket>,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    errors: u64,
    latency: Coarse,
}

impl Course {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, over: start + Duration::from_secs(1), current: Bucket::default(), past: BTreeMap::new() }
    }

    pub(crate) fn answered(&mut self, now: Instant, latency: Duration) {
        self.turn(now);
        self.current.latency.record(latency);
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        self.turn(now);
        self.current.errors += 1;
    }

    /// Puts the current second away once it is over.
    fn turn(&mut self, now: Instant) {
        if now < self.over {
            return;
        }
        let number = self.number();
        if self.current.errors > 0 || !self.current.latency.is_empty() {
            self.past.insert(number, self.current.clone());
            self.current.errors = 0;
            self.current.latency.clear();
        }
        let whole = now.saturating_duration_since(self.start).as_secs();
        self.over = self.start + Duration::from_secs(whole + 1);
    }

    fn number(&self) -> u64 {
        self.over.saturating_duration_since(self.start).as_secs().saturating_sub(1)
    }

    /// Adds what happened on another thread of the same run.
    pub(crate) fn merge(&mut self, other: &Self) {
        let last = (other.number(), &other.current);
        for (number, bucket) in other.past.iter().map(|(n, b)| (*n, b)).chain(std::iter::once(last)) {
            let mine = self.past.entry(number).or_default();
            mine.errors += bucket.errors;
            mine.latency.merge(&bucket.latency);
        }
    }

    /// Every second up to the last in which anything happened; those without anything too.
    pub(crate) fn seconds(&self) -> Vec<Second> {
        let mut whole = Self::new(self.start);
        whole.merge(self);
        let busy = |bucket: &Bucket| bucket.errors > 0 || !bucket.latency.is_empty();
        let Some(last) = whole.past.iter().filter(|(_, b)| busy(b)).map(|(n, _)| *n).max() else { return Vec::new() };
        let nothing = Bucket::default();
        (0..=last)
            .map(|second| {
                let bucket = whole.past.get(&second).unwrap_or(&nothing);
                Second {
                    second,
                    requests: bucket.latency.len(),
                    errors: bucket.errors,
                    p50_us: bucket.latency.quantile(0.5) as f64 / 1e3,
                    p99_us: bucket.latency.quantile(0.99) as f64 / 1e3,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_counted_in_its_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut one, mut two) = (Course::new(start), Course::new(start));
        one.answered(at(10), Duration::from_millis(1));
        one.failed(at(20));
        one.answered(at(2_500), Duration::from_millis(3));
        two.answered(at(999), Duration::from_millis(1));
        two.answered(at(4_000), Duration::from_millis(5));
        one.merge(&two);
        let seen: Vec<_> = one.seconds().iter().map(|s| (s.second, s.requests, s.errors)).collect();
        assert_eq!(seen, [(0, 2, 1), (1, 0, 0), (2, 1, 0), (3, 0, 0), (4, 1, 0)]);
        let p99 = one.seconds()[2].p99_us;
        assert!((p99 - 3_000.0).abs() <= 12.0, "{p99}");
        assert!(Course::new(start).seconds().is_empty());
    }
}

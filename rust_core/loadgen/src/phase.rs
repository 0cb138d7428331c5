//! One loop over all connections, and when its next request is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::LoadError;
use crate::pacer;
use crate::plan::{Arrivals, Plan};
use crate::recorder::Recorder;

/// One loop, shared by all threads.
#[derive(Debug)]
pub(crate) struct Phase {
    /// Ordinal of the next request.
    next: AtomicU64,
    limit: u64,
    stopped: AtomicBool,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    Closed { until: Option<Instant> },
    Open { start: Instant, arrivals: Arrivals, permits: Arc<Semaphore>, give_up: Instant },
}

impl Phase {
    /// A closed loop: so many requests, until some time.
    pub(crate) fn closed(limit: u64, until: Option<Instant>) -> Self {
        Self { next: AtomicU64::new(0), limit, stopped: AtomicBool::new(false), pace: Pace::Closed { until } }
    }

    /// The loop that the plan asks for.
    pub(crate) fn measured(plan: &Plan, start: Instant) -> Result<Self, LoadError> {
        let Some(arrivals) = plan.arrivals else {
            return Ok(Self::closed(plan.requests, plan.duration.map(|d| start + d)));
        };
        let permits = Arc::new(Semaphore::new(0));
        let give_up = pacer::due(start, arrivals, arrivals.count) + plan.timeout;
        // The thread ends by itself with the last arrival, which every connection waits for, or with the loop.
        drop(pacer::start(start, arrivals, plan.in_flight(), Arc::clone(&permits)).map_err(LoadError::Runtime)?);
        let pace = Pace::Open { start, arrivals, permits, give_up };
        Ok(Self { next: AtomicU64::new(0), limit: arrivals.count, stopped: AtomicBool::new(false), pace })
    }

    /// No request is due any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Pace::Open { permits, .. } = &self.pace {
            permits.close();
        }
    }

    /// When the next request is due, once it is; `None` when there is none.
    pub(crate) async fn due(&self, recorder: &Recorder) -> Option<Instant> {
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            match &self.pace {
                Pace::Closed { until } => {
                    let now = Instant::now();
                    let on = until.is_none_or(|u| now < u) && self.next.fetch_add(1, Ordering::Relaxed) < self.limit;
                    return on.then_some(now);
                }
                Pace::Open { start, arrivals, permits, give_up } => {
                    permits.acquire().await.ok()?.forget();
                    let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
                    if ordinal >= self.limit {
                        return None;
                    }
                    if Instant::now() < *give_up {
                        return Some(pacer::due(*start, *arrivals, ordinal));
                    }
                    recorder.unsent();
                }
            }
        }
    }
}

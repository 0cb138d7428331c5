//! The clock of an open loop.
//!
//! It is a thread because tokio's timers have a resolution of a millisecond, which at a thousand
//! requests per second would send bursts instead of a constant rate. The kernel wakes a parked
//! thread within some tens of microseconds; what is missing is reported as send delay.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::plan::Arrivals;

/// Longest sleep, so that a loop that was stopped does not keep the thread.
const LONGEST_PARK: Duration = Duration::from_millis(100);

/// Starts a thread that adds a permit for each arrival when it is due, and `extra` at the end; it ends when the
/// permits are closed.
pub(crate) fn start(
    start: Instant,
    arrivals: Arrivals,
    extra: usize,
    permits: Arc<Semaphore>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("pacer".to_owned()).spawn(move || {
        let mut issued = 0;
        while issued < arrivals.count && !permits.is_closed() {
            let due = due(start, arrivals, issued);
            let now = Instant::now();
            if let Some(wait) = due.checked_duration_since(now).filter(|w| !w.is_zero()) {
                thread::park_timeout(wait.min(LONGEST_PARK));
                continue;
            }
            permits.add_permits(1);
            issued += 1;
        }
        permits.add_permits(extra);
    })
}

/// When the arrival with this ordinal is due.
pub(crate) fn due(start: Instant, arrivals: Arrivals, ordinal: u64) -> Instant {
    let nanos = (arrivals.interval.as_nanos() as u64).saturating_mul(ordinal);
    start.checked_add(Duration::from_nanos(nanos)).unwrap_or(start)
}

//! What others may do with a load that runs: see how far it is, and stop it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A hold on one load, for other threads.
#[derive(Debug)]
pub struct Control {
    stop: watch::Sender<bool>,
    started: OnceLock<Instant>,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Since the warm-up was over; zero before.
    pub elapsed: Duration,
    /// Requests answered as expected.
    pub requests: u64,
    /// Requests that were not.
    pub errors: u64,
}

impl Default for Control {
    fn default() -> Self {
        let (stop, _) = watch::channel(false);
        Self { stop, started: OnceLock::new(), answered: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }
}

impl Control {
    /// Sends no more requests; those in flight have a moment to finish. Idempotent.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// How far the load is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            elapsed: self.started.get().map(Instant::elapsed).unwrap_or_default(),
            requests: self.answered.load(Ordering::Relaxed),
            errors: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns once the load is told to stop.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as this borrow, so there is no other end to the wait.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    pub(crate) fn started(&self, at: Instant) {
        let _ = self.started.set(at);
    }

    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

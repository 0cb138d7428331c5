//! The times that limits need, read once per decision.
//!
//! Apart so that limits take time as an argument: tests set it, and one reading serves all checks of a call.
//!
//! Budget windows have a time of their own. One that a gateway begins has begun for all of them, so a machine whose clock is
//! fast must not begin one: [`Clock::bound_windows`] says what time it can be at the latest, and from there on the monotonic
//! clock counts, which nobody sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment on all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of the monotonic clock since the [`Clock`] was made: rates and cooldowns.
    pub mono_ns: u64,
    /// Unix milliseconds: expiry.
    pub unix_ms: u64,
    /// Unix milliseconds: budget windows.
    pub window_ms: u64,
}

/// Reads the clocks. Make one per process; clones agree.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    /// The latest Unix milliseconds that it can have been at `start`, for budget windows.
    bound: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), bound: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// The time, when the monotonic clock was read already.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let mono_ns = self.mono_ns(instant);
        let latest = self.bound.load(Ordering::Relaxed).saturating_add(mono_ns / 1_000_000);
        Now { mono_ns, unix_ms, window_ms: unix_ms.min(latest) }
    }

    /// For budget windows it is no later now than `latest`, in Unix milliseconds.
    pub fn bound_windows(&self, latest: u64) {
        let since = self.mono_ns(Instant::now()) / 1_000_000;
        self.bound.store(latest.saturating_sub(since), Ordering::Relaxed);
    }

    /// The monotonic half of a moment.
    #[must_use]
    pub fn mono_ns(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run() {
        let clock = Clock::new();
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono_ns >= first.mono_ns);
        assert!(first.unix_ms > 1_700_000_000_000);
        assert_eq!(first.window_ms, first.unix_ms);
    }

    #[test]
    fn windows_go_by_the_earlier_of_two_clocks() {
        let clock = Clock::new();
        let real = clock.now().unix_ms;
        clock.clone().bound_windows(real - 3_600_000);
        let now = clock.now();
        assert!(now.unix_ms >= real);
        assert!((real - 3_600_000..real - 3_590_000).contains(&now.window_ms), "{now:?}");
        let later = clock.at(Instant::now() + std::time::Duration::from_secs(60));
        assert!((60_000..70_000).contains(&(later.window_ms - now.window_ms)), "the bound goes on by itself");
        clock.bound_windows(real + 3_600_000);
        let now = clock.now();
        assert_eq!(now.window_ms, now.unix_ms);
    }
}

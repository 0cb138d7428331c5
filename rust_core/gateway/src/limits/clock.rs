//! The two times that limits need, read once per decision.
//!
//! Apart so that limits take time as an argument: tests set it, and one reading serves all checks of a call.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of the monotonic clock since the [`Clock`] was made: rates and cooldowns.
    pub mono_ns: u64,
    /// Unix milliseconds: expiry and budget windows.
    pub unix_ms: u64,
}

/// Reads both clocks. Make one per process; copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
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
        Now { mono_ns: self.mono_ns(instant), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
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
    }
}

//! Busy polling: a thread that has just worked looks for more before it sleeps.
//!
//! Waking a sleeping core costs tens of microseconds, twice per call when there is little load.
//! Whoever pays for a whole core anyway may spend it on not sleeping; it is off by default, because
//! on a shared or metered core the same time is somebody's money.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::engine::Core;

/// Notes that a thread did something after which more may follow at once.
#[derive(Debug, Default)]
pub struct Busy {
    span: Duration,
    marks: Cell<u64>,
    begun: Notify,
}

impl Busy {
    /// Looks for more for `span` after each mark; never when that is zero.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        Self { span, ..Self::default() }
    }

    /// Something was sent, and its answer may be near.
    pub fn mark(&self) {
        if !self.span.is_zero() {
            self.marks.set(self.marks.get().wrapping_add(1));
            self.begun.notify_one();
        }
    }
}

/// Keeps the thread of `core` from sleeping for the configured time after each mark. Runs for ever; ends at once when
/// busy polling is off.
pub(crate) async fn poll(core: Rc<Core>) {
    let busy = &core.busy;
    let mut seen = 0;
    while !busy.span.is_zero() {
        let before = seen;
        busy.begun.notified().await;
        seen = busy.marks.get();
        if seen == before {
            // Notified of a mark that was seen while the thread was awake.
            continue;
        }
        let mut until = Instant::now() + busy.span;
        while Instant::now() < until {
            // Each yield asks the sockets without waiting for them.
            tokio::task::yield_now().await;
            if seen != busy.marks.get() {
                seen = busy.marks.get();
                until = Instant::now() + busy.span;
            }
        }
    }
}

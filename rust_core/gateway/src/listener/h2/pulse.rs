//! Pings, while there are calls, to notice that the other side is gone although nothing says so.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_http2::PingPong;
use tokio::time::Instant;

use crate::engine::Core;
use crate::timers::Deadline;

/// The pings of one connection.
pub(super) struct Pulse<'a> {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    next: Deadline<'a>,
    waiting: bool,
}

impl<'a> Pulse<'a> {
    /// `None`: no pings are wanted.
    pub(super) fn new(core: &'a Core, pings: PingPong) -> Option<Self> {
        let options = &core.shared.options.grpc;
        let interval = Duration::from_millis(options.keepalive_ms);
        let timeout = Duration::from_millis(options.keepalive_timeout_ms);
        let next = core.timers.after(interval);
        (!interval.is_zero()).then_some(Self { pings, interval, timeout, next, waiting: false })
    }

    fn poll(&mut self, is_busy: bool, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waiting && self.pings.poll_pong(cx).is_ready() {
                self.waiting = false;
                self.next.move_to(Instant::now() + self.interval);
            }
            if self.next.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.waiting {
                return Poll::Ready(());
            }
            self.waiting = is_busy && self.pings.send();
            let wait = if self.waiting { self.timeout } else { self.interval };
            self.next.move_to(Instant::now() + wait);
        }
    }
}

/// Returns when a ping was not answered in time. `is_busy`: there are calls.
pub(super) async fn lost(pulse: &mut Option<Pulse<'_>>, is_busy: bool) {
    match pulse {
        Some(pulse) => poll_fn(|cx| pulse.poll(is_busy, cx)).await,
        None => std::future::pending().await,
    }
}

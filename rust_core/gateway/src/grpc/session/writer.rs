//! Writes what the calls of a session say, as its client takes it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::outbox::Outbox;
use crate::engine::Core;
use crate::grpc::status::Status;
use crate::listener::exchange::HeaderLines;
use crate::listener::h2::Outgoing;
use crate::timers::Deadline;

/// The way to the client.
pub(super) struct Writer<'a> {
    core: &'a Core,
    pub(super) outbox: Rc<Outbox>,
    outgoing: Outgoing,
    pending: Bytes,
    /// When a client that takes nothing is given up.
    stalled: Option<Deadline<'a>>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(core: &'a Core, outgoing: Outgoing, outbox: Rc<Outbox>) -> Self {
        Self { core, outbox, outgoing, pending: Bytes::new(), stalled: None }
    }

    /// Whether all that was said is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && self.pending.is_empty()
    }

    /// Writes what there is; ready when the client has gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.pending.is_empty() {
                match self.outbox.take(cx) {
                    Some(bytes) => self.pending = bytes,
                    None => {
                        self.stalled = None;
                        return self.outgoing.poll_gone(cx);
                    }
                }
            }
            match self.outgoing.poll_send(&mut self.pending, false, cx) {
                Poll::Ready(Ok(())) => self.stalled = None,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    let core = self.core;
                    let patience = Duration::from_millis(core.shared.options.write_timeout_ms);
                    let stalled = self.stalled.get_or_insert_with(|| core.timers.after(patience));
                    if stalled.poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    return self.outgoing.poll_gone(cx);
                }
            }
        }
    }

    /// Ends the session with a status, or because nobody hears it.
    pub(super) fn close(mut self, status: Option<Status>) {
        match status {
            Some(status) => {
                let mut lines = HeaderLines::default();
                status.put(&mut lines);
                let _ = self.outgoing.trailers(&lines);
            }
            None => self.outgoing.reset(penstock_http2::Reason::CANCEL),
        }
    }
}

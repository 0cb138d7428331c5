//! Pings: those that we are asked to send, and those that tell when a client knows of the end.

use std::task::{Context, Poll};

use crate::core::{Core, Leaving};
use crate::error::{Fault, Taken};
use crate::frame::{self, Head, flag};
use crate::stream::Waiting;

/// What the ping says that follows the first GOAWAY.
const GOODBYE: [u8; 8] = *b"going---";

/// Pings of our own.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    count: u64,
    /// One is on its way.
    is_out: bool,
    waiting: Waiting,
}

impl Core {
    pub(crate) fn ping(&mut self, head: Head, payload: &[u8]) -> Taken {
        let payload: [u8; 8] = payload.try_into().map_err(|_| Fault::SIZE)?;
        if head.stream != 0 {
            return Err(Fault::PROTOCOL);
        }
        self.abuse.idle()?;
        if !head.has(flag::ACK) {
            frame::put_ping(&mut self.out.urgent, flag::ACK, payload);
        } else if payload == GOODBYE {
            if self.leaving == Leaving::Told {
                self.leaving = Leaving::Acknowledged;
            }
        } else if payload == self.pings.count.to_be_bytes() && self.pings.is_out {
            self.pings.is_out = false;
            self.pings.waiting.wake();
        }
        Ok(())
    }

    /// Sends one, unless one is on its way or nobody listens any more.
    pub(crate) fn send_ping(&mut self) -> bool {
        if self.pings.is_out || self.leaving == Leaving::Ended {
            return false;
        }
        self.pings.is_out = true;
        self.pings.count += 1;
        frame::put_ping(&mut self.out.urgent, 0, self.pings.count.to_be_bytes());
        self.call();
        true
    }

    pub(crate) fn poll_pong(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.pings.is_out {
            return Poll::Ready(());
        }
        self.pings.waiting.wait(cx);
        Poll::Pending
    }

    /// Tells the client to open no more streams on this connection; those that it opened before it knew are served.
    pub(crate) fn say_goodbye(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told;
            frame::put_goaway(&mut self.out.urgent, frame::MOST, crate::Reason::NO_ERROR);
            frame::put_ping(&mut self.out.urgent, 0, GOODBYE);
            self.call();
        }
    }

    /// Tells it which stream was the last.
    pub(crate) fn name_last(&mut self) {
        if self.leaving == Leaving::Acknowledged {
            self.leaving = Leaving::Last(self.highest);
            frame::put_goaway(&mut self.out.urgent, self.highest, crate::Reason::NO_ERROR);
        }
    }
}

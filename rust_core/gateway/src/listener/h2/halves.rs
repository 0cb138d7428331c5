//! The two directions of one HTTP/2 stream, each as far as the other side lets it.
//!
//! Apart from [`H2Exchange`](super::H2Exchange), which asks first and answers then, because a session of calls hears and
//! speaks at the same time. How long is waited is each one's own affair.

use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};

use super::fields::{Told, header_map};
use crate::listener::transport::{Gone, HeaderLines};

/// What the client says.
#[derive(Debug)]
pub(crate) struct Incoming(RecvStream);

impl Incoming {
    pub(super) fn new(body: RecvStream) -> Self {
        Self(body)
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_end_stream()
    }

    /// The next piece, for which the client may send as much again; `None` at the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        Poll::Ready(match ready!(self.0.poll_data(cx)) {
            None => Ok(None),
            Some(Err(_)) => Err(Gone),
            Some(Ok(piece)) => {
                let _ = self.0.flow_control().release_capacity(piece.len());
                Ok(Some(piece))
            }
        })
    }
}

/// What it is told, after the head of the answer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream<Bytes>,
    told: Rc<Told>,
}

impl Outgoing {
    /// `told`: what the connection has heard.
    pub(super) fn new(stream: SendStream<Bytes>, told: &Rc<Told>) -> Self {
        Self { stream, told: Rc::clone(told) }
    }

    /// Sends as much of the data as the client takes now, which is some of it when this is ready. `end`: with the last of
    /// it the answer is over.
    pub(crate) fn poll_send(&mut self, data: &mut Bytes, end: bool, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        // What is granted at once would wake the task that is just asking for it, and all it waits for be looked at
        // again: until the grant has to be waited for, nobody is to be woken.
        if self.stream.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
            return Poll::Ready(Err(Gone));
        }
        self.stream.reserve_capacity(data.len());
        let Some(Ok(granted)) = ready!(self.stream.poll_capacity(cx)) else { return Poll::Ready(Err(Gone)) };
        let piece = data.split_to(granted.min(data.len()));
        Poll::Ready(self.stream.send_data(piece, end && !data.has_remaining()).map_err(|_| Gone))
    }

    /// Ready when the client gave the stream up.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }

    /// Ends the answer.
    pub(crate) fn finish(&mut self) -> Result<(), Gone> {
        self.stream.send_data(Bytes::new(), true).map_err(|_| Gone)
    }

    /// Ends the answer with trailers.
    pub(crate) fn trailers(&mut self, fields: &HeaderLines) -> Result<(), Gone> {
        self.stream.send_trailers(header_map(fields, &self.told, |_, _| true)).map_err(|_| Gone)
    }

    /// Breaks it off.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

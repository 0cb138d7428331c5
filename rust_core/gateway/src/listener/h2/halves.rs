//! The two directions of one HTTP/2 stream, each as far as the other side lets it.
//!
//! Apart from [`H2Exchange`](super::H2Exchange), which asks first and answers then, because a session of calls hears and
//! speaks at the same time. How long is waited is each one's own affair.

use std::task::{Context, Poll};

use bytes::Bytes;
use penstock_http2::{Answer, Body, Closed, Reason};

use crate::listener::transport::{Gone, HeaderLines};

/// What the client says.
#[derive(Debug)]
pub(crate) struct Incoming(Body);

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self(body)
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// The next piece, for which the client may send as much again; `None` at the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        self.0.poll_piece(cx).map_err(gone)
    }
}

/// What it is told.
#[derive(Debug)]
pub(crate) struct Outgoing(Answer);

impl Outgoing {
    pub(super) fn new(answer: Answer) -> Self {
        Self(answer)
    }

    /// Begins the answer; `end`: with this it is over.
    pub(super) fn head<'a>(
        &mut self,
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        end: bool,
    ) -> Result<(), Gone> {
        self.0.head(status, fields, end).map_err(gone)
    }

    /// Sends as much of the data as the client takes now, which is some of it when this is ready. `end`: with the last of
    /// it the answer is over.
    pub(crate) fn poll_send(&mut self, data: &mut Bytes, end: bool, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.0.poll_send(data, end, cx).map_err(gone)
    }

    /// Ready when the client gave the stream up.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_reset(cx).map(|_| ())
    }

    /// Ends the answer.
    pub(crate) fn finish(&mut self) -> Result<(), Gone> {
        self.0.finish().map_err(gone)
    }

    /// Ends the answer with trailers.
    pub(crate) fn trailers(&mut self, fields: &HeaderLines) -> Result<(), Gone> {
        self.0.trailers(fields.iter()).map_err(gone)
    }

    /// Breaks it off.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.0.reset(reason);
    }
}

fn gone(_: Closed) -> Gone {
    Gone
}

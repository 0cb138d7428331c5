//! What those who answer a stream hold of it: its body and its answer. A stream that is let go of before it is answered
//! is reset.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::Head;
use crate::core::Core;
use crate::error::{Closed, Reason};

/// A request, and the way to answer it.
#[derive(Debug)]
pub struct Request {
    /// What it begins with.
    pub head: Head,
    /// What follows.
    pub body: Body,
    /// Where the answer goes.
    pub answer: Answer,
}

impl Request {
    pub(crate) fn new(core: &Rc<RefCell<Core>>, at: usize, head: Head) -> Self {
        let handle = || Handle { core: Rc::clone(core), at };
        Self { head, body: Body(handle()), answer: Answer(handle()) }
    }
}

/// A hold on a stream.
struct Handle {
    core: Rc<RefCell<Core>>,
    at: usize,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.borrow_mut().let_go(self.at);
    }
}

/// The body of a request.
#[derive(Debug)]
pub struct Body(Handle);

impl Body {
    /// Whether nothing more comes and all was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let mut core = self.0.core.borrow_mut();
        core.streams.get(self.0.at).is_none_or(|s| s.reset.is_none() && s.heard && s.body.is_empty())
    }

    /// The next piece, for which the client may send as much again; `None` at the end, whatever trailers there were.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Closed>> {
        let mut core = self.0.core.borrow_mut();
        let Some(stream) = core.streams.get(self.0.at) else { return Poll::Ready(Err(Closed)) };
        if stream.reset.is_some() {
            return Poll::Ready(Err(Closed));
        }
        if let Some(piece) = stream.pop() {
            core.return_credit(self.0.at, piece.len());
            return Poll::Ready(Ok(Some(piece)));
        }
        if stream.heard {
            return Poll::Ready(Ok(None));
        }
        stream.reader.wait(cx);
        Poll::Pending
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut core = self.0.core.borrow_mut();
        let Some(stream) = core.streams.get(self.0.at) else { return };
        stream.deaf = true;
        stream.reader.forget();
        let unread: usize = stream.body.drain(..).map(|piece| piece.len()).sum();
        core.give_back(unread);
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer(Handle);

impl Answer {
    /// Begins it. Names may be in any case; fields that HTTP/2 does not have are left out. `end`: there is no more of it.
    ///
    /// # Errors
    /// The client gave the stream up, or an answer was begun.
    pub fn head<'a>(
        &mut self,
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        end: bool,
    ) -> Result<(), Closed> {
        self.0.core.borrow_mut().send_head(self.0.at, status, fields, end)
    }

    /// Sends as much of the data as the client and the other streams let it, which is some of it when this is ready.
    /// `end`: with the last of it the answer is over.
    pub fn poll_send(&mut self, data: &mut Bytes, end: bool, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.0.core.borrow_mut().poll_send(self.0.at, data, end, cx)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The client gave the stream up, or the answer is not under way.
    pub fn finish(&mut self) -> Result<(), Closed> {
        let sent = self.poll_send(&mut Bytes::new(), true, &mut Context::from_waker(std::task::Waker::noop()));
        if let Poll::Ready(sent) = sent { sent } else { Err(Closed) }
    }

    /// Ends it with trailers.
    ///
    /// # Errors
    /// The client gave the stream up, or the answer is not under way.
    pub fn trailers<'a>(&mut self, fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Closed> {
        self.0.core.borrow_mut().send_trailers(self.0.at, fields)
    }

    /// Breaks the stream off, unless it is over.
    pub fn reset(&mut self, reason: Reason) {
        self.0.core.borrow_mut().send_reset(self.0.at, reason);
    }

    /// Ready when the stream was broken off, by whomever; not when it has ended.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        let mut core = self.0.core.borrow_mut();
        let Some(stream) = core.streams.get(self.0.at) else { return Poll::Pending };
        match stream.reset {
            Some(reason) => Poll::Ready(reason),
            None => {
                stream.writer.wait(cx);
                Poll::Pending
            }
        }
    }
}

/// Pings of a connection.
#[derive(Debug)]
pub struct PingPong(pub(crate) Rc<RefCell<Core>>);

impl PingPong {
    /// Sends a ping; `false` while one is on its way, or when the connection is over.
    pub fn send(&mut self) -> bool {
        self.0.borrow_mut().send_ping()
    }

    /// Ready when no ping is on its way.
    pub fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().poll_pong(cx)
    }
}

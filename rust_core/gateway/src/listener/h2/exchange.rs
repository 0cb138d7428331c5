//! One HTTP/2 request being answered.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use penstock_http2::{Answer, Body, Reason};

use super::crew::Common;
use super::halves::{Incoming, Outgoing};
use crate::engine::Core;
use crate::listener::transport::{BodyError, Gone, HeaderLines};

const LENGTH: &[u8] = b"content-length";

/// One HTTP/2 request being answered.
pub struct H2Exchange {
    core: Rc<Core>,
    body: Incoming,
    answer: Outgoing,
    pending: BytesMut,
    head_only: bool,
    started: bool,
    /// There was somebody to take the head.
    answered: bool,
    done: bool,
    broken: bool,
    body_timeout: Duration,
    write_timeout: Duration,
    pub(in crate::listener) sent: u64,
}

impl std::fmt::Debug for H2Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2Exchange").field("started", &self.started).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl H2Exchange {
    pub(super) fn new(common: &Common, body: Body, answer: Answer, head_only: bool) -> Self {
        let core = &common.core;
        let options = &core.shared.options;
        Self {
            body: Incoming::new(body),
            answer: Outgoing::new(answer),
            pending: BytesMut::new(),
            head_only,
            started: false,
            answered: false,
            done: false,
            broken: false,
            body_timeout: Duration::from_millis(options.body_timeout_ms),
            write_timeout: Duration::from_millis(options.write_timeout_ms),
            sent: 0,
            core: Rc::clone(core),
        }
    }

    /// The request has no body, or no more of it.
    pub(super) fn is_read(&self) -> bool {
        self.body.is_over()
    }

    /// The answer is complete.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// There was somebody to take the head of an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Both directions by themselves, once the answer was begun: for one that does not wait for the end of the request.
    pub(crate) fn into_halves(self) -> Option<(Incoming, Outgoing)> {
        self.answered.then_some((self.body, self.answer))
    }

    pub(in crate::listener) async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.body.is_over() {
            return Ok(None);
        }
        match self.core.timers.within(self.body_timeout, poll_fn(|cx| self.body.poll_piece(cx))).await {
            Err(_) => Err(BodyError::Timeout),
            Ok(read) => read.map_err(|Gone| BodyError::Gone),
        }
    }

    pub(in crate::listener) async fn full(
        &mut self,
        status: u16,
        headers: &HeaderLines,
        body: Bytes,
    ) -> Result<(), Gone> {
        self.sent = body.len() as u64;
        let end = self.head_only || body.is_empty();
        if status == 204 || status == 304 {
            self.begin(status, headers.iter(), end)?;
        } else {
            let mut length = BytesMut::new();
            penstock_http1::put_decimal(&mut length, self.sent);
            let lines = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(LENGTH));
            self.begin(status, lines.chain([(LENGTH, &length[..])]), end)?;
        }
        if end { Ok(()) } else { self.write(body, true).await }
    }

    fn begin<'a>(
        &mut self,
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        end: bool,
    ) -> Result<(), Gone> {
        self.started = true;
        self.answer.head(status, fields, end)?;
        self.answered = true;
        self.done = end;
        Ok(())
    }

    pub(in crate::listener) fn start(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.begin(status, headers.iter(), false)
    }

    /// Begins an answer with the fields for which `keep` holds, and others.
    pub(crate) fn start_with(
        &mut self,
        headers: &HeaderLines,
        mut keep: impl FnMut(&[u8], &[u8]) -> bool,
        others: &[(&[u8], &[u8])],
    ) -> Result<(), Gone> {
        let kept = headers.iter().filter(|(name, value)| keep(name, value));
        self.begin(200, kept.chain(others.iter().copied()), false)
    }

    /// An answer that ends with its head.
    pub(crate) fn head(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.begin(status, headers.iter(), true)
    }

    pub(in crate::listener) fn queue(&mut self, data: &[u8]) {
        if !self.head_only && !self.broken {
            self.sent += data.len() as u64;
            self.pending.extend_from_slice(data);
        }
    }

    pub(in crate::listener) async fn flush(&mut self) -> Result<(), Gone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let data = self.pending.split().freeze();
        self.write(data, false).await
    }

    pub(in crate::listener) async fn send(&mut self, data: Bytes) -> Result<(), Gone> {
        self.sent += data.len() as u64;
        self.write(data, false).await
    }

    async fn write(&mut self, mut data: Bytes, end: bool) -> Result<(), Gone> {
        // Stays set when this write is given up midway: nothing more would land in its place.
        if std::mem::replace(&mut self.broken, true) {
            return Err(Gone);
        }
        let answer = &mut self.answer;
        while data.has_remaining() {
            let sent = poll_fn(|cx| answer.poll_send(&mut data, end, cx));
            match self.core.timers.within(self.write_timeout, sent).await {
                Ok(Ok(())) => self.done = end && data.is_empty(),
                _ => return Err(Gone),
            }
        }
        self.broken = false;
        Ok(())
    }

    pub(in crate::listener) async fn finish(&mut self) -> Result<(), Gone> {
        self.flush().await?;
        if self.broken {
            return Err(Gone);
        }
        if !self.done {
            self.answer.finish()?;
            self.done = true;
        }
        Ok(())
    }

    /// Ends the answer with trailers, after what was sent. They say how it ended, so they go out after a torn body too.
    pub(crate) fn trailers(&mut self, fields: &HeaderLines) -> Result<(), Gone> {
        if self.done {
            return Err(Gone);
        }
        self.answer.trailers(fields)?;
        self.done = true;
        Ok(())
    }

    pub(in crate::listener) fn abort(&mut self) {
        self.answer.reset(Reason::INTERNAL_ERROR);
        self.done = true;
    }

    pub(in crate::listener) async fn closed(&mut self) {
        poll_fn(|cx| self.answer.poll_gone(cx)).await;
    }

    pub(in crate::listener) fn started(&self) -> bool {
        self.started
    }

    /// An answer that was never finished must not look complete.
    pub(super) fn close(&mut self) {
        // One that is finished while the request goes on is reset when it is let go of, after its last frame.
        if !self.done {
            self.abort();
        }
    }
}

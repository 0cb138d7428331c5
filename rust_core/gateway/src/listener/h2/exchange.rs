//! One HTTP/2 request being answered.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::crew::Common;
use super::fields::{Told, header_map};
use super::halves::{Incoming, Outgoing};
use crate::engine::Core;
use crate::listener::transport::{BodyError, Gone, HeaderLines};

/// One HTTP/2 request being answered.
pub struct H2Exchange {
    core: Rc<Core>,
    told: Rc<Told>,
    body: Incoming,
    respond: SendResponse<Bytes>,
    stream: Option<Outgoing>,
    pending: BytesMut,
    head_only: bool,
    started: bool,
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
    pub(super) fn new(common: &Common, body: RecvStream, respond: SendResponse<Bytes>, head_only: bool) -> Self {
        let core = &common.core;
        let options = &core.shared.options;
        Self {
            told: Rc::clone(&common.told),
            body: Incoming::new(body),
            respond,
            stream: None,
            pending: BytesMut::new(),
            head_only,
            started: false,
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
        self.stream.is_some()
    }

    /// Both directions by themselves, once the answer was begun: for one that does not wait for the end of the request.
    pub(crate) fn into_halves(self) -> Option<(Incoming, Outgoing)> {
        Some((self.body, self.stream?))
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
        let mut response = response(status, self.fields(headers));
        if status != 204 && status != 304 {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        self.sent = body.len() as u64;
        let end = self.head_only || body.is_empty();
        self.begin(response, end)?;
        if end { Ok(()) } else { self.write(body, true).await }
    }

    fn begin(&mut self, response: Response<()>, end: bool) -> Result<(), Gone> {
        self.started = true;
        self.stream = Some(Outgoing::new(self.respond.send_response(response, end).map_err(|_| Gone)?, &self.told));
        self.done = end;
        Ok(())
    }

    fn fields(&self, headers: &HeaderLines) -> HeaderMap {
        header_map(headers, &self.told, |_, _| true)
    }

    pub(in crate::listener) fn start(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.begin(response(status, self.fields(headers)), false)
    }

    /// Begins an answer with the fields for which `keep` holds, and others.
    pub(crate) fn start_with(
        &mut self,
        headers: &HeaderLines,
        keep: impl FnMut(&[u8], &[u8]) -> bool,
        others: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<(), Gone> {
        let mut map = header_map(headers, &self.told, keep);
        map.extend(others);
        self.begin(response(200, map), false)
    }

    /// An answer that ends with its head.
    pub(crate) fn head(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.begin(response(status, self.fields(headers)), true)
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
        let stream = self.stream.as_mut().ok_or(Gone)?;
        while data.has_remaining() {
            let sent = poll_fn(|cx| stream.poll_send(&mut data, end, cx));
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
            let stream = self.stream.as_mut().ok_or(Gone)?;
            stream.finish()?;
            self.done = true;
        }
        Ok(())
    }

    /// Ends the answer with trailers, after what was sent. They say how it ended, so they go out after a torn body too.
    pub(crate) fn trailers(&mut self, fields: &HeaderLines) -> Result<(), Gone> {
        if self.done {
            return Err(Gone);
        }
        let stream = self.stream.as_mut().ok_or(Gone)?;
        stream.trailers(fields)?;
        self.done = true;
        Ok(())
    }

    pub(in crate::listener) fn abort(&mut self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.reset(reason),
            None => self.respond.send_reset(reason),
        }
        self.done = true;
    }

    pub(in crate::listener) async fn closed(&mut self) {
        match &mut self.stream {
            Some(stream) => poll_fn(|cx| stream.poll_gone(cx)).await,
            None => drop(poll_fn(|cx| self.respond.poll_reset(cx)).await),
        }
    }

    pub(in crate::listener) fn started(&self) -> bool {
        self.started
    }

    /// An answer that was never finished must not look complete.
    pub(super) fn close(&mut self) {
        // One that is finished while the request goes on is reset by h2 itself, after its last frame.
        if !self.done {
            self.abort();
        }
    }
}

fn response(status: u16, fields: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = fields;
    response
}

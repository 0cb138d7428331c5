//! One HTTP/2 request being answered.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Response, StatusCode};

use super::fields::header_map;
use crate::engine::Core;
use crate::listener::transport::{BodyError, Gone, HeaderLines};

/// One HTTP/2 request being answered.
pub struct H2Exchange {
    core: Rc<Core>,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
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
    pub(super) fn new(core: &Rc<Core>, body: RecvStream, respond: SendResponse<Bytes>, head_only: bool) -> Self {
        let options = &core.shared.options;
        Self {
            body,
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
        self.body.is_end_stream()
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
    pub(crate) fn into_halves(self) -> Option<(RecvStream, SendStream<Bytes>)> {
        Some((self.body, self.stream?))
    }

    pub(in crate::listener) async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.body.is_end_stream() {
            return Ok(None);
        }
        match self.core.timers.within(self.body_timeout, self.body.data()).await {
            Err(_) => Err(BodyError::Timeout),
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(BodyError::Gone),
            Ok(Some(Ok(data))) => {
                let _ = self.body.flow_control().release_capacity(data.len());
                Ok(Some(data))
            }
        }
    }

    pub(in crate::listener) async fn full(
        &mut self,
        status: u16,
        headers: &HeaderLines,
        body: Bytes,
    ) -> Result<(), Gone> {
        let mut response = response(status, headers);
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
        self.stream = Some(self.respond.send_response(response, end).map_err(|_| Gone)?);
        self.done = end;
        Ok(())
    }

    pub(in crate::listener) fn start(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.begin(response(status, headers), false)
    }

    /// An answer that ends with its head.
    pub(crate) fn head(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.begin(response(status, headers), true)
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
            // What is granted at once would wake the task that is just asking for it, and all it waits for be looked at
            // again: until the grant has to be waited for, nobody is to be woken.
            if stream.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
                return Err(Gone);
            }
            stream.reserve_capacity(data.len());
            let granted = self.core.timers.within(self.write_timeout, poll_fn(|cx| stream.poll_capacity(cx)));
            let granted = match granted.await {
                Ok(Some(Ok(n))) => n.min(data.len()),
                _ => return Err(Gone),
            };
            let piece = data.split_to(granted);
            let last = end && data.is_empty();
            stream.send_data(piece, last).map_err(|_| Gone)?;
            self.done = last;
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
            stream.send_data(Bytes::new(), true).map_err(|_| Gone)?;
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
        stream.send_trailers(header_map(fields)).map_err(|_| Gone)?;
        self.done = true;
        Ok(())
    }

    pub(in crate::listener) fn abort(&mut self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
        self.done = true;
    }

    pub(in crate::listener) async fn closed(&mut self) {
        let reset = match &mut self.stream {
            Some(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        let _ = reset;
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

fn response(status: u16, headers: &HeaderLines) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = header_map(headers);
    response
}

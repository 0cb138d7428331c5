//! One gRPC call on the wire: request messages in, then metadata, messages and a status out. Native over HTTP/2, or
//! gRPC-Web over any HTTP, where the trailers are the last part of the body.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::frame::{Frame, Inflating, Messages, Reader};
use super::status::{Code, Status};
use super::{Encoding, Opening, web};
use crate::engine::Core;
use crate::errors::{Failure, Kind};
use crate::listener::transport::{BodyError, Gone, HeaderLines, Pace, Transport};
use crate::timers::Deadline;

/// A client's clock runs ahead of ours by the time that its request took, so that it gives up a call before we do.
const EARLY: Duration = Duration::from_millis(50);

/// The metadata by which a call is found in the logs.
pub(crate) const CALL_ID: &str = "x-penstock-call-id";

/// A call that is being answered.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    transport: Transport<'a>,
    web: Option<web::Web>,
    inflating: Inflating<'a>,
    gzip_answers: bool,
    call_id: Option<Arc<str>>,
    deadline: Option<Deadline<'a>>,
    /// From when on a client that leaves does so because of its deadline.
    due: Option<Instant>,
    reader: Reader,
    /// The code that a failure has by gRPC's own rules, whatever its kind says.
    code: Option<Code>,
    opened: bool,
    done: bool,
    expired: bool,
    /// The client left when its time was over by its own clock.
    left_late: bool,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(core: &'a Core, transport: Transport<'a>, opening: &Opening) -> Self {
        Self {
            transport,
            web: web::Web::new(opening, &core.shared.options),
            inflating: Inflating::new(core, opening.encoding),
            call_id: None,
            gzip_answers: opening.encoding == Encoding::Gzip && opening.takes_gzip,
            deadline: opening.timeout.map(|t| core.timers.after(t)),
            due: opening.timeout.and_then(|t| Instant::now().checked_add(t - EARLY.min(t / 10))),
            reader: Reader::default(),
            code: None,
            opened: false,
            done: false,
            expired: false,
            left_late: false,
        }
    }

    /// A buffer for messages of the answer.
    pub(crate) fn messages(&self) -> Messages {
        Messages::new(self.gzip_answers)
    }

    /// Whether initial metadata was sent.
    pub(crate) fn opened(&self) -> bool {
        self.opened
    }

    /// Bytes of messages handed over so far.
    pub(crate) fn sent(&self) -> u64 {
        self.transport.sent()
    }

    /// The transport, for whatever comes after the call.
    pub(crate) fn into_transport(self) -> Transport<'a> {
        self.transport
    }

    /// The call has this id, which the client hears however it ends.
    pub(crate) fn name(&mut self, id: &Arc<str>) {
        self.call_id = Some(Arc::clone(id));
    }

    /// Whether the client's time was over first.
    pub(crate) fn expired(&self) -> bool {
        self.expired || self.left_late
    }

    /// The one request message of a method that takes one.
    pub(crate) async fn message(&mut self, limit: usize, pause: Duration) -> Result<Bytes, BodyError> {
        let mut pace = Pace::new(pause);
        let Some(frame) = self.frame(limit, Some(&mut pace)).await? else {
            return Err(self.cardinality("The request has no message; this method takes one."));
        };
        if self.frame(limit, Some(&mut pace)).await?.is_some() {
            return Err(self.cardinality("The request has several messages; this method takes one."));
        }
        // Only now: what it grows to does not lie about while the client may still say something.
        self.read(frame, limit).await
    }

    fn cardinality(&mut self, what: &'static str) -> BodyError {
        self.code = Some(Code::Unimplemented);
        BodyError::Refused(Box::new(Failure::new(Kind::BadRequest, what)))
    }

    /// The next request message; `None` when the client has said all.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, BodyError> {
        match self.frame(limit, None).await? {
            Some(frame) => self.read(frame, limit).await.map(Some),
            None => Ok(None),
        }
    }

    async fn read(&mut self, frame: Frame, limit: usize) -> Result<Bytes, BodyError> {
        self.inflating.message(frame, limit).await.map_err(|(failure, code)| {
            self.code = code;
            refused(failure)
        })
    }

    async fn frame(&mut self, limit: usize, mut pace: Option<&mut Pace>) -> Result<Option<Frame>, BodyError> {
        loop {
            if let Some(frame) = self.reader.next(limit).map_err(refused)? {
                return Ok(Some(frame));
            }
            if let Some(pace) = &mut pace {
                pace.check(self.reader.len())?;
            }
            match self.piece().await? {
                Some(piece) => self.reader.push(piece),
                None if self.reader.is_empty() => return Ok(None),
                None => {
                    let failure = Failure::new(Kind::BadRequest, "The request ended in the middle of a message.");
                    return Err(refused(failure));
                }
            }
        }
    }

    /// The next piece of the request body, before the deadline.
    async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Self { transport, deadline, .. } = self;
        let read = {
            let mut read = pin!(transport.next_piece());
            poll_fn(|cx| match read.as_mut().poll(cx) {
                Poll::Pending => over(deadline, cx).map(|()| Err(None)),
                Poll::Ready(read) => Poll::Ready(read.map_err(Some)),
            })
            .await
        };
        match (read, &mut self.web) {
            (Err(None), _) => {
                self.expire();
                Err(BodyError::Gone)
            }
            (Err(Some(e)), _) => Err(e),
            (Ok(piece), Some(web)) => web.decode(piece).map_err(refused),
            (Ok(piece), None) => Ok(piece),
        }
    }

    /// A failure as a status of this call.
    pub(crate) fn status(&self, failure: &Failure) -> Status {
        self.code.map_or_else(|| Status::of(failure), |code| Status::with(code, failure))
    }

    /// Begins an answer that has nothing to say in its initial metadata.
    pub(crate) fn begin(&mut self) -> Result<(), Gone> {
        self.open(&HeaderLines::default(), |_, _| true)
    }

    /// Sends initial metadata: the lines for which `keep` holds.
    pub(crate) fn open(&mut self, lines: &HeaderLines, keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), Gone> {
        if self.done {
            return Err(Gone);
        }
        self.opened = true;
        if let (Transport::H2(x), None) = (&mut self.transport, &self.web) {
            let own: [(&[u8], &[u8]); 2] = [(b"content-type", b"application/grpc"), (b"grpc-encoding", b"gzip")];
            return x.start_with(lines, keep, own.get(..1 + usize::from(self.gzip_answers)).unwrap_or_default());
        }
        let mut lines = lines.kept(keep);
        self.head(&mut lines);
        self.transport.start(200, &lines, None)
    }

    fn head(&self, lines: &mut HeaderLines) {
        match &self.web {
            Some(web) => web.head(lines),
            None => lines.add("content-type", b"application/grpc"),
        }
        if self.gzip_answers {
            lines.add("grpc-encoding", b"gzip");
        }
    }

    /// Sends messages, waiting for the client to take them, but not past the deadline.
    pub(crate) async fn send(&mut self, messages: &mut Messages) -> Result<(), Gone> {
        if self.done {
            return Err(Gone);
        }
        if messages.is_empty() {
            return Ok(());
        }
        let mut data = messages.take();
        if let Some(web) = &self.web {
            data = web.encode(data);
        }
        let Self { transport, deadline, .. } = self;
        let sent = {
            let mut sending = pin!(transport.send(data));
            poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Pending => over(deadline, cx).map(|()| None),
                Poll::Ready(sent) => Poll::Ready(Some(sent)),
            })
            .await
        };
        match sent {
            Some(Ok(())) => return Ok(()),
            Some(Err(Gone)) => self.left(),
            None => self.expire(),
        }
        Err(Gone)
    }

    /// Ends what never was a call.
    pub(crate) async fn refuse(&mut self, http: u16, status: &Status, mut lines: HeaderLines) {
        self.done = true;
        self.head(&mut lines);
        status.put(&mut lines);
        let _ = self.transport.head(http, &lines).await;
    }

    /// Ends the call. Without anything before it the status is all there is of an answer.
    pub(crate) async fn close(&mut self, status: &Status, mut lines: HeaderLines) -> Result<(), Gone> {
        if std::mem::replace(&mut self.done, true) {
            return Err(Gone);
        }
        if self.expired {
            lines = self.farewell();
        } else {
            status.put(&mut lines);
        }
        if !self.opened {
            self.head(&mut lines);
            return self.transport.head(200, &lines).await;
        }
        match &self.web {
            None => self.transport.trailers(&lines).await,
            Some(web) => {
                let mut frame = BytesMut::with_capacity(lines.0.len() + 8);
                web::put_trailers(&lines, &mut frame);
                self.transport.queue(&web.encode(frame.freeze()));
                self.transport.finish().await
            }
        }
    }

    /// The client's time is over: over HTTP/2 it is told at once, whatever the call still has to do.
    fn expire(&mut self) {
        self.expired = true;
        let mut lines = self.farewell();
        if let Transport::H2(x) = &mut self.transport
            && self.web.is_none()
            && !std::mem::replace(&mut self.done, true)
        {
            let _ = if self.opened {
                x.trailers(&lines)
            } else {
                lines.add("content-type", b"application/grpc");
                x.head(200, &lines)
            };
        }
    }

    /// What there is to say when the client's time is over.
    fn farewell(&self) -> HeaderLines {
        let mut lines = HeaderLines::default();
        if let Some(id) = &self.call_id {
            lines.add(CALL_ID, id.as_bytes());
        }
        Status::expired().put(&mut lines);
        lines
    }

    /// After the call: a client that is still there is told how it ended, whatever ended it.
    pub(crate) async fn conclude(&mut self) {
        if self.done {
            return;
        }
        if self.expired {
            let _ = self.close(&Status::expired(), HeaderLines::default()).await;
        } else {
            self.transport.abort();
            self.done = true;
        }
    }

    /// Breaks the answer off.
    pub(crate) fn abort(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            self.transport.abort();
        }
    }

    /// Returns when the client has gone or its time is over.
    pub(crate) async fn closed(&mut self) {
        if self.expired {
            return;
        }
        let Self { transport, deadline, .. } = self;
        let is_over = {
            let mut left = pin!(transport.closed());
            poll_fn(|cx| match left.as_mut().poll(cx) {
                Poll::Pending => over(deadline, cx).map(|()| true),
                Poll::Ready(()) => Poll::Ready(false),
            })
            .await
        };
        if is_over {
            self.expire();
        } else {
            self.left();
        }
    }

    /// The client has gone.
    fn left(&mut self) {
        self.left_late |= self.due.is_some_and(|due| Instant::now() >= due);
    }

    /// How requests are read that are compressed.
    pub(crate) fn inflating(&self) -> Inflating<'a> {
        self.inflating
    }

    /// The time that the client gives.
    pub(crate) fn take_deadline(&mut self) -> Option<Deadline<'a>> {
        self.deadline.take()
    }
}

fn over(deadline: &mut Option<Deadline<'_>>, cx: &mut std::task::Context<'_>) -> Poll<()> {
    deadline.as_mut().map_or(Poll::Pending, |d| d.poll(cx))
}

fn refused(failure: Failure) -> BodyError {
    BodyError::Refused(Box::new(failure))
}

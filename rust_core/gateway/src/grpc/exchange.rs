//! A gRPC call as the phases see it: the request comes as JSON, the answer goes as JSON or as an event stream, and is
//! translated on the way.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::dialect::Dialect;
use super::event;
use super::frame::{Mark, Messages};
use super::method::{Call, SESSION};
use super::session::Lane;
use super::status::Status;
use super::stream::Stream;
use crate::errors::{Failure, Kind, Outcome, told};
use crate::listener::transport::{BodyError, Gone, HeaderLines};

/// A provider's event that is put together from parts may grow so large.
const MOST_HELD: usize = 16 << 20;

/// What is known only at the end of an answer.
const COST: &[u8] = b"x-penstock-cost-usd";

/// Metadata of one kind, in the size that clients count: by default they take 8 KiB of each. What the transport adds has the rest.
const METADATA: usize = 8 * 1024 - 512;
/// Of which a provider's header fields may take so much.
const FIELDS: usize = 4 * 1024;
/// What each field counts beside its name and value (RFC 9113, section 6.5.2).
const FIELD: usize = 32;

/// Where the messages go.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    /// To a stream of their own.
    Stream(Stream<'a>),
    /// To one that they share with other calls.
    Lane(Lane<'a>),
}

/// A gRPC call being answered.
#[derive(Debug)]
pub struct GrpcExchange<'a> {
    sink: Sink<'a>,
    call: Call,
    dialect: Dialect,
    messages: Messages,
    /// The beginning of an event that comes in parts.
    held: BytesMut,
    trailing: HeaderLines,
    /// Where the message of a whole answer begins that is translated and only has to be sent.
    accepted: Option<Mark>,
    /// What could not be translated.
    fault: Option<Failure>,
    /// The provider said in its stream that it failed.
    told: Option<Failure>,
}

impl<'a> GrpcExchange<'a> {
    /// A call of this method.
    pub(crate) fn new(sink: Sink<'a>, call: Call) -> Self {
        let messages = match &sink {
            Sink::Stream(s) => s.messages(),
            Sink::Lane(_) => Messages::default(),
        };
        Self {
            sink,
            call,
            dialect: call.dialect(),
            messages,
            held: BytesMut::new(),
            trailing: HeaderLines::default(),
            accepted: None,
            fault: None,
            told: None,
        }
    }

    /// The method, as records tell it from others.
    pub(crate) fn method(&self) -> &'static str {
        match self.sink {
            Sink::Stream(_) => self.call.path(),
            Sink::Lane(_) => SESSION,
        }
    }

    /// The call has this id, which the client hears however it ends.
    pub(crate) fn name(&mut self, id: &Arc<str>) {
        match &mut self.sink {
            Sink::Stream(s) => s.name(id),
            Sink::Lane(l) => l.name(id),
        }
    }

    /// Whether the client's time was over before the call was.
    pub(crate) fn expired(&self) -> bool {
        match &self.sink {
            Sink::Stream(s) => s.expired(),
            Sink::Lane(l) => l.expired(),
        }
    }

    /// What is left after the call.
    pub(crate) fn into_sink(self) -> Sink<'a> {
        self.sink
    }

    /// The request as JSON.
    pub(crate) async fn body(&mut self, limit: usize, pause: Duration) -> Result<Bytes, BodyError> {
        let message = match &mut self.sink {
            Sink::Stream(s) => s.message(limit, pause).await?,
            Sink::Lane(l) => l.request().map_err(BodyError::Refused)?,
        };
        self.dialect.request(&message, limit).map_err(|failure| BodyError::Refused(Box::new(failure)))
    }

    /// Translates a whole answer.
    pub(crate) fn accept(&mut self, body: &[u8]) -> Outcome<()> {
        if let Some(failure) = told::in_answer(body) {
            return Err(failure);
        }
        if self.call.streams() {
            let what = "The provider answered a streamed request without streaming.";
            return Err(Failure::new(Kind::UpstreamProtocol, what));
        }
        let mark = self.messages.begin();
        match self.dialect.answer(body, self.messages.out()) {
            Ok(()) => self.accepted = Some(mark),
            Err(failure) => {
                self.messages.undo(mark);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Sends a complete answer.
    pub(crate) async fn full(&mut self, lines: &HeaderLines, body: &[u8]) -> Result<(), Gone> {
        if self.accepted.is_none()
            && let Err(failure) = self.accept(body)
        {
            self.fail(&failure, HeaderLines::default()).await;
            return Err(Gone);
        }
        self.open(lines)?;
        self.tell_cost();
        if let Some(mark) = self.accepted.take() {
            self.dialect.finish_answer(self.messages.out());
            self.messages.end(mark);
        }
        self.flush().await?;
        self.close(&Status::OK).await
    }

    /// Begins a stream.
    pub(crate) fn start(&mut self, lines: &HeaderLines) -> Result<(), Gone> {
        if !self.call.streams() {
            let what = "The provider streamed an answer to a request that asked for a whole one.";
            self.fault = Some(Failure::new(Kind::UpstreamProtocol, what));
        }
        self.open(lines)
    }

    /// Sends what of an answer's header fields is initial metadata.
    fn open(&mut self, lines: &HeaderLines) -> Result<(), Gone> {
        let keep = initial(&mut self.trailing, FIELDS);
        match &mut self.sink {
            Sink::Stream(s) => s.open(lines, keep),
            Sink::Lane(l) => l.open(lines, keep),
        }
    }

    /// Tells the dialect what the call cost, if that is known.
    fn tell_cost(&mut self) {
        if let Some((_, usd)) = self.trailing.iter().find(|(name, _)| *name == COST) {
            self.dialect.cost(usd);
        }
    }

    /// Translates frames of the event stream.
    pub(crate) fn queue(&mut self, frame: &[u8]) {
        if self.fault.is_some() || self.told.is_some() {
            return;
        }
        if self.held.is_empty() {
            self.event(frame);
        } else {
            self.queue_part(frame);
            let whole = self.held.split();
            self.event(&whole);
        }
    }

    /// Keeps a part of a frame.
    pub(crate) fn queue_part(&mut self, part: &[u8]) {
        if self.held.len() + part.len() > MOST_HELD {
            self.fault =
                Some(Failure::new(Kind::UpstreamProtocol, "The provider sent an event too large to translate."));
        } else if self.fault.is_none() {
            self.held.extend_from_slice(part);
        }
    }

    fn event(&mut self, frames: &[u8]) {
        let Self { dialect, messages, told, .. } = self;
        let translated = event::each(frames, |name, data| {
            if told.is_some() || data == b"[DONE]" {
                return Ok(());
            }
            *told = told::in_event(name, data);
            if told.is_some() { Ok(()) } else { dialect.event(name, data, messages) }
        });
        if let Err(failure) = translated {
            self.fault = Some(failure);
        }
    }

    /// What could not be translated.
    pub(crate) fn fault(&mut self) -> Option<Failure> {
        self.fault.take()
    }

    /// Sends what is translated.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        match &mut self.sink {
            Sink::Stream(s) => s.send(&mut self.messages).await,
            Sink::Lane(l) => l.send(&mut self.messages).await,
        }
    }

    /// Fields for the end.
    pub(crate) fn trailing(&mut self) -> &mut HeaderLines {
        &mut self.trailing
    }

    /// Ends a stream: well, unless the provider said that it failed.
    pub(crate) async fn finish(&mut self) -> Result<(), Gone> {
        self.tell_cost();
        let failed = self.told.take().or(self.fault.take());
        let failed = failed.map_or_else(|| self.dialect.end(&mut self.messages), Err);
        let sent = self.flush().await;
        if failed.is_ok() && sent.is_err() {
            // Messages are missing: no status may call that well.
            self.abort();
            return sent;
        }
        let status = failed.as_ref().map_or_else(|f| self.status(f), |()| Status::OK);
        let closed = self.close(&status).await;
        sent.and(closed)
    }

    fn status(&self, failure: &Failure) -> Status {
        match &self.sink {
            Sink::Stream(s) => s.status(failure),
            Sink::Lane(_) => Status::of(failure),
        }
    }

    async fn close(&mut self, status: &Status) -> Result<(), Gone> {
        let trailing = std::mem::take(&mut self.trailing);
        match &mut self.sink {
            Sink::Stream(s) => s.close(status, trailing).await,
            Sink::Lane(l) => l.close(status, &trailing),
        }
    }

    /// Ends the call with a failure. `lines` are an answer's header fields; they are told if none were told yet.
    pub(crate) async fn fail(&mut self, failure: &Failure, lines: HeaderLines) {
        let told = self.told.take();
        let status = self.status(told.as_ref().unwrap_or(failure));
        if self.started() {
            let _ = self.flush().await;
        } else {
            // All of it goes in one block.
            let mut needed = HeaderLines::default();
            status.put(&mut needed);
            let needed: usize = needed.iter().map(|(name, value)| name.len() + value.len() + FIELD).sum();
            let told = lines.kept(initial(&mut self.trailing, FIELDS.min(METADATA.saturating_sub(needed))));
            self.trailing.0.extend_from_slice(&told.0);
        }
        let _ = self.close(&status).await;
    }

    /// Breaks the answer off.
    pub(crate) fn abort(&mut self) {
        match &mut self.sink {
            Sink::Stream(s) => s.abort(),
            Sink::Lane(l) => l.abort(),
        }
    }

    /// After the call: whatever ended it, the client is told.
    pub(crate) async fn conclude(&mut self) {
        match &mut self.sink {
            Sink::Stream(s) => s.conclude().await,
            Sink::Lane(l) => l.conclude(),
        }
    }

    /// Returns when the client has gone or has no more time.
    pub(crate) async fn closed(&mut self) {
        match &mut self.sink {
            Sink::Stream(s) => s.closed().await,
            Sink::Lane(l) => l.closed().await,
        }
    }

    /// Whether initial metadata was sent.
    pub(crate) fn started(&self) -> bool {
        match &self.sink {
            Sink::Stream(s) => s.opened(),
            Sink::Lane(l) => l.opened(),
        }
    }

    /// Bytes of messages handed over.
    pub(crate) fn sent(&self) -> u64 {
        match &self.sink {
            Sink::Stream(s) => s.sent(),
            Sink::Lane(l) => l.sent(),
        }
    }
}

/// Whether a header field of an answer is initial metadata, of which there may be `room` bytes; what belongs at the end is kept for
/// then.
fn initial(trailing: &mut HeaderLines, mut room: usize) -> impl FnMut(&[u8], &[u8]) -> bool {
    // Ours come first, so that it is a provider's that find no room.
    move |name, value| {
        if name == COST {
            trailing.add(name, value);
            return false;
        }
        let size = name.len() + value.len() + FIELD;
        let keeps = size <= room && is_metadata(name, value);
        room -= if keeps { size } else { 0 };
        keeps
    }
}

/// Whether a header field of an answer may be gRPC metadata: not one that describes the body or the connection, and not
/// one that would mean something else there.
fn is_metadata(name: &[u8], value: &[u8]) -> bool {
    let other = matches!(
        name,
        b"content-type" | b"content-length" | b"content-encoding" | b"transfer-encoding" | b"cache-control" | b"vary"
    );
    let reserved = name.starts_with(b"grpc-") || name.ends_with(b"-bin") || name.starts_with(b"access-control-");
    // No other control character is in a field's value.
    !other && !reserved && value.is_ascii() && !value.contains(&b'\t')
}

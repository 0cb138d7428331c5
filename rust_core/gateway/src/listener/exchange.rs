//! One request and its answer, whatever the transport and whatever the protocol.
//!
//! The phases talk to a client only through this type: they hear REST and say REST, over HTTP/1.1, HTTP/2 and for calls
//! handed over by another listener. A gRPC call is translated on its way in and out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::rest::Rest;
pub use super::transport::{BodyError, Gone, HeaderLines, Transport};
use crate::errors::{self, Failure, Outcome};
use crate::grpc::{self, GrpcExchange};
use crate::idempotency::Transcript;
use crate::surfaces::Api;

/// A request being answered.
#[derive(Debug)]
pub enum Exchange<'a> {
    /// The answer is the body.
    Rest(Rest<'a>),
    /// The answer is messages, and a status in the end.
    Grpc(Box<GrpcExchange<'a>>),
}

impl<'a> Exchange<'a> {
    /// A call over REST.
    pub(super) fn rest(transport: Transport<'a>) -> Self {
        Self::Rest(transport.into())
    }

    /// The way to a client that speaks REST.
    pub(super) fn into_transport(self) -> Option<Transport<'a>> {
        match self {
            Self::Rest(x) => Some(x.into_transport()),
            Self::Grpc(_) => None,
        }
    }

    /// From now on a copy is made of the answer, of at most so many bytes; only of one over REST.
    pub(crate) fn keep_copy(&mut self, room: usize) {
        if let Self::Rest(x) = self {
            x.keep_copy(room);
        }
    }

    /// The copy, if one was asked for and the answer was not broken off.
    pub(crate) fn take_copy(&mut self) -> Option<Box<Transcript>> {
        match self {
            Self::Rest(x) => x.take_copy(),
            Self::Grpc(_) => None,
        }
    }

    /// What is called, where that is no REST route.
    #[must_use]
    pub fn method(&self) -> Option<&'static str> {
        match self {
            Self::Rest(_) => None,
            Self::Grpc(x) => Some(x.method()),
        }
    }

    /// The call has this id, which a client that gives calls a deadline is to hear however it ends.
    pub fn name(&mut self, id: &Arc<str>) {
        if let Self::Grpc(x) = self {
            x.name(id);
        }
    }

    /// Whether the call was given up because the client's deadline had come.
    #[must_use]
    pub fn expired(&self) -> bool {
        match self {
            Self::Rest(_) => false,
            Self::Grpc(x) => x.expired(),
        }
    }

    /// The next piece of the request body; `None` at its end.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Rest(x) => x.next_piece().await,
            Self::Grpc(_) => Ok(None),
        }
    }

    /// The whole request body. One that comes in crumbs for ever is given up.
    pub async fn body(&mut self, limit: usize, pause: Duration) -> Result<Bytes, BodyError> {
        match self {
            Self::Rest(x) => x.body(limit, pause).await,
            Self::Grpc(x) => x.body(limit, pause).await,
        }
    }

    /// Whether an answer can only be passed on whole, because it is translated.
    #[must_use]
    pub fn wants_whole(&self) -> bool {
        matches!(self, Self::Grpc(_))
    }

    /// Makes sure that this body can be told the client, before it is taken for the answer.
    ///
    /// # Errors
    /// It is not what the provider's wire promises, or says that the provider failed.
    pub fn accept(&mut self, body: &[u8]) -> Outcome<()> {
        match self {
            Self::Rest(_) => Ok(()),
            Self::Grpc(x) => x.accept(body),
        }
    }

    /// Sends a complete answer.
    pub async fn full(&mut self, status: u16, headers: &HeaderLines, body: Bytes) -> Result<(), Gone> {
        match self {
            Self::Rest(x) => x.full(status, headers, body).await,
            Self::Grpc(x) => x.full(headers, &body).await,
        }
    }

    /// Ends the answer with a failure, in the words of the client's API; as an event when a stream was begun.
    pub(crate) async fn fail(&mut self, api: Api, failure: &Failure, mut lines: HeaderLines) {
        let x = match self {
            Self::Rest(x) => x,
            Self::Grpc(x) => return x.fail(failure, lines).await,
        };
        if x.started() {
            x.queue(&errors::stream_event(api, failure));
            let _ = x.finish().await;
            return;
        }
        lines.add("content-type", b"application/json");
        if let Some(ms) = failure.retry_after_ms {
            lines.add_number("retry-after", ms.div_ceil(1000).max(1));
            lines.add_number("retry-after-ms", ms);
        }
        if failure.status() == 401 {
            lines.add("www-authenticate", b"Bearer");
        }
        let _ = x.full(failure.status(), &lines, errors::body(api, failure)).await;
    }

    /// Ends the answer with a provider's refusal, in its own words; `failure` is what is known without them.
    pub(crate) async fn pass_refusal(&mut self, failure: &Failure, status: u16, lines: HeaderLines, body: Bytes) {
        match self {
            Self::Rest(x) => drop(x.full(status, &lines, body).await),
            Self::Grpc(x) => x.fail(&grpc::refusal(failure, &body), lines).await,
        }
    }

    /// Begins an answer whose body follows; `length` when it is known.
    pub fn start(&mut self, status: u16, headers: &HeaderLines, length: Option<u64>) -> Result<(), Gone> {
        match self {
            Self::Rest(x) => x.start(status, headers, length),
            Self::Grpc(x) => x.start(headers),
        }
    }

    /// Adds a piece of the body, a whole SSE frame if it is an event stream; it leaves with the next [`Exchange::flush`].
    pub fn queue(&mut self, data: &[u8]) {
        match self {
            Self::Rest(x) => x.queue(data),
            Self::Grpc(x) => x.queue(data),
        }
    }

    /// Adds a part of an SSE frame; the next [`Exchange::queue`] has the rest.
    pub fn queue_part(&mut self, data: &[u8]) {
        match self {
            Self::Rest(x) => x.queue(data),
            Self::Grpc(x) => x.queue_part(data),
        }
    }

    /// What of the queued frames cannot be told the client, and so ends the answer.
    pub fn fault(&mut self) -> Option<Failure> {
        match self {
            Self::Rest(_) => None,
            Self::Grpc(x) => x.fault(),
        }
    }

    /// Sends what is queued, waiting for the client to take it.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::Rest(x) => x.flush().await,
            Self::Grpc(x) => x.flush().await,
        }
    }

    /// Where to put fields that are known only at the end of the answer; `None` when the client cannot be told any.
    pub fn trailing(&mut self) -> Option<&mut HeaderLines> {
        match self {
            Self::Rest(_) => None,
            Self::Grpc(x) => Some(x.trailing()),
        }
    }

    /// Ends the body.
    pub async fn finish(&mut self) -> Result<(), Gone> {
        match self {
            Self::Rest(x) => x.finish().await,
            Self::Grpc(x) => x.finish().await,
        }
    }

    /// Breaks the answer off so that the client cannot take it for complete.
    pub fn abort(&mut self) {
        match self {
            Self::Rest(x) => x.abort(),
            Self::Grpc(x) => x.abort(),
        }
    }

    /// Returns when the client has gone, or has no more time for the call. Cancel-safe; only to be polled after the body was
    /// read.
    pub async fn closed(&mut self) {
        match self {
            Self::Rest(x) => x.closed().await,
            Self::Grpc(x) => x.closed().await,
        }
    }

    /// Whether the head of the answer was sent or queued.
    #[must_use]
    pub fn started(&self) -> bool {
        match self {
            Self::Rest(x) => x.started(),
            Self::Grpc(x) => x.started(),
        }
    }

    /// Bytes of answer bodies handed over so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            Self::Rest(x) => x.sent(),
            Self::Grpc(x) => x.sent(),
        }
    }
}

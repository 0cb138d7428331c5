//! One call at a time, on a connection that others use too.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::{Reason, RecvStream};
use http::{Response, StatusCode};

use super::answer::{Read, beginning, stream, unary};
use super::connection::{Lease, Shared};
use super::request::Call;
use super::status::{Status, Violation};
use crate::caller::{Answered, Caller};
use crate::failure::Failure;
use crate::plan::Plan;
use crate::recorder::Recorder;

/// Connections found closed one after the other before a call is given up.
const MOST_CLOSED: usize = 3;
/// Both ends watch the deadline; a server that is so much before this one was not early.
const CLOCKS: Duration = Duration::from_millis(5);

/// A place for one call at a time on a shared connection.
#[derive(Debug)]
pub(crate) struct Grpc {
    plan: Arc<Plan>,
    call: Arc<Call>,
    shared: Arc<Shared>,
    lease: Option<Lease>,
    /// The call that is under way has an answer that has begun.
    begun: bool,
}

impl Grpc {
    /// The callers of one connection.
    pub(crate) fn group(plan: &Arc<Plan>, call: &Arc<Call>) -> Vec<Self> {
        let shared = Arc::new(Shared::default());
        let one = || Self {
            plan: Arc::clone(plan),
            call: Arc::clone(call),
            shared: Arc::clone(&shared),
            lease: None,
            begun: false,
        };
        (0..call.calls).map(|_| one()).collect()
    }

    /// A connection that takes another call.
    async fn ready(&mut self) -> Result<(), Failure> {
        let mut closed = Failure::Closed;
        // Servers may close connections between two calls: this caller's own, and then the one that another opened.
        for _ in 0..MOST_CLOSED {
            let lease = match &mut self.lease {
                Some(lease) => lease,
                None => self.lease.insert(self.shared.lease(&self.plan.connector).await?),
            };
            match poll_fn(|cx| lease.send.poll_ready(cx)).await {
                Ok(()) => return Ok(()),
                Err(e) => closed = Failure::of_h2(e, false),
            }
            self.hang_up().await;
        }
        Err(closed)
    }

    async fn hang_up(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.shared.leave(&lease).await;
        }
    }

    /// Sends the call and waits for the head of its answer.
    async fn head(&mut self) -> Result<Response<RecvStream>, h2::Error> {
        let Some(lease) = &mut self.lease else { return Err(Reason::INTERNAL_ERROR.into()) };
        let (response, mut stream) = lease.send.send_request(self.call.head.clone(), false)?;
        stream.send_data(self.call.message.clone(), true)?;
        let response = response.await?;
        lease.heard();
        Ok(response)
    }

    async fn exchange(&mut self, due: Instant, recorder: &Recorder) -> Result<Answered, Failure> {
        self.begun = false;
        self.ready().await?;
        let response = match self.head().await {
            // The server has not looked at it, and says so: sent again, once, as gRPC clients do.
            Err(e) if is_refused(&e) => {
                if e.is_go_away() {
                    self.hang_up().await;
                }
                self.ready().await?;
                self.head().await
            }
            answer => answer,
        };
        let response = match response {
            Ok(response) => response,
            Err(e) => {
                if !e.is_reset() {
                    self.hang_up().await;
                }
                return Err(Failure::of_h2(e, false));
            }
        };
        let (head, mut body) = response.into_parts();
        let is_over = body.is_end_stream();
        self.begun = !is_over;
        if head.status != StatusCode::OK {
            return Err(Failure::Status(head.status.as_u16(), beginning(&mut body).await));
        }
        if !head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            return Err(Failure::Violation(Violation::ContentType));
        }
        if is_over {
            return Err(match Status::read(&head.headers) {
                Some(Err(status)) => Failure::Grpc(status),
                Some(Ok(())) => Failure::Violation(Violation::Count),
                None => Failure::Violation(Violation::NoStatus),
            });
        }
        let read = match &self.plan.stream {
            Some(expected) => stream(&mut body, self.lease.as_ref(), expected, due, recorder).await,
            None => unary(&mut body).await,
        };
        if let Some(lease) = &self.lease {
            lease.heard();
        }
        let Read { answered, trailers } = read?;
        match trailers.as_ref().and_then(Status::read) {
            Some(Ok(())) => {}
            Some(Err(status)) => return Err(Failure::Grpc(status)),
            None => return Err(Failure::Violation(Violation::NoStatus)),
        }
        Ok(answered)
    }
}

impl Caller for Grpc {
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.lease.is_none() {
            self.lease = Some(self.shared.lease(&self.plan.connector).await?);
        }
        Ok(())
    }

    async fn call(&mut self, due: Instant, recorder: &Recorder) -> Result<Answered, Failure> {
        let timeout = self.plan.timeout;
        let sent = Instant::now();
        // A call that is given up is dropped, which resets its stream and nothing else of the connection.
        let is_late = match tokio::time::timeout(timeout, self.exchange(due, recorder)).await {
            Ok(Err(Failure::Grpc(status))) if status.is_late() && sent.elapsed() + CLOCKS >= timeout => true,
            Ok(ended) => return ended,
            Err(_) => false,
        };
        if self.begun {
            return Err(Failure::TimeoutBody);
        }
        if self.lease.is_none() {
            return Err(Failure::Connect(std::io::ErrorKind::TimedOut.into()));
        }
        if !is_late && !self.lease.as_ref().is_some_and(|lease| lease.has_heard_since(sent)) {
            self.hang_up().await;
        }
        Err(Failure::Timeout)
    }

    fn take_reconnects(&mut self) -> u64 {
        self.shared.take_reconnects()
    }
}

/// The server did not look at the call: it came after the last that a closing connection takes, or was refused.
fn is_refused(e: &h2::Error) -> bool {
    let reason = e.reason();
    e.is_remote()
        && ((e.is_go_away() && reason == Some(Reason::NO_ERROR))
            || (e.is_reset() && reason == Some(Reason::REFUSED_STREAM)))
}

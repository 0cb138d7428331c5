//! What sends one request and reads its answer: the seam between when to send (the loops of [`crate::drive`]) and how.
//!
//! A loop is compiled for each protocol, so the seam costs nothing per request.

use std::future::Future;
use std::time::Instant;

use crate::deltas::Seen;
use crate::failure::Failure;
use crate::recorder::Recorder;

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Bytes of the body.
    pub(crate) bytes: u64,
    /// What was in it, when it was a stream.
    pub(crate) seen: Option<Seen>,
}

/// A place for one request at a time: a connection, or a part of one.
pub(crate) trait Caller: Send + 'static {
    /// Opens the connection unless it is open.
    fn connect(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Sends the request and reads its answer; opens the connection when it must. `due` is the time from which a client
    /// would count; the recorder is told of deltas when they come.
    fn call(&mut self, due: Instant, recorder: &Recorder) -> impl Future<Output = Result<Answered, Failure>> + Send;

    /// Connections opened since the last question, but for the first of this caller.
    fn take_reconnects(&mut self) -> u64;
}

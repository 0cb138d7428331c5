//! HTTP/1.1: one kept-alive connection and the requests on it.

use std::sync::Arc;
use std::time::Instant;

use penstock_http1::{BodyDecoder, Conn, Framing, FramingError, Limits, ResponseHead};

use crate::caller::{Answered, Caller};
use crate::failure::Failure;
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::sse::Watch;
use crate::transport::Transport;

/// Bytes kept of the body of an answer that was not expected.
const KEPT_OF_ERROR: usize = 1024;

/// A connection that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct Http1 {
    plan: Arc<Plan>,
    conn: Option<Conn<Transport>>,
    opened: u64,
    reported: u64,
    /// The request that is under way has an answer that has begun.
    begun: bool,
}

/// A response head, and whether the connection is good for another request once the body was read.
struct Head {
    head: ResponseHead,
    keep: bool,
}

impl Http1 {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, conn: None, opened: 0, reported: 0, begun: false }
    }

    /// Sends the request and reads the head of its answer.
    async fn head(conn: &mut Conn<Transport>, plan: &Plan, begun: &mut bool) -> Result<Head, Failure> {
        let mut sent = 0;
        let whole = match conn.write_hearing(&plan.request, &mut sent).await {
            Ok(whole) => whole,
            // It may have answered before it closed.
            Err(e) if conn.buf.is_empty() => return Err(Failure::of_io(e, false)),
            Err(_) => false,
        };
        let limits = Limits::default();
        loop {
            let head = match conn.read_response(&limits, plan.head_request).await {
                Ok(Ok(Some(head))) => head,
                Ok(Ok(None)) => return Err(Failure::closed(*begun)),
                Ok(Err(e)) => {
                    *begun = true;
                    return Err(Failure::of_framing(e));
                }
                Err(e) => {
                    *begun |= !conn.buf.is_empty();
                    return Err(Failure::of_io(e, *begun));
                }
            };
            *begun = true;
            if head.status >= 200 {
                let keep = whole && head.keep_alive;
                return Ok(Head { head, keep });
            }
        }
    }

    async fn exchange(&mut self, plan: &Plan, due: Instant, recorder: &Recorder) -> Result<Answered, Failure> {
        self.begun = false;
        let Head { head, keep } = loop {
            let reused = self.conn.is_some();
            self.connect().await?;
            let conn = self.conn.as_mut().ok_or(Failure::Closed)?;
            match Self::head(conn, plan, &mut self.begun).await {
                Ok(head) => break head,
                // A server may close an idle connection whenever it likes; only a new one says whether it answers.
                Err(Failure::Closed) if reused && !self.begun => self.conn = None,
                Err(failure) => {
                    self.conn = None;
                    return Err(failure);
                }
            }
        };
        let Some(conn) = self.conn.as_mut() else { return Err(Failure::Closed) };
        let answer = if head.status == plan.expect_status {
            read(conn, head.framing, plan, due, recorder).await
        } else {
            refused(conn, &head).await
        };
        let reusable = match &answer {
            Ok(_) | Err(Failure::Stream(_)) => keep,
            // Of an answer that has no other end than the close, the rest was left unread.
            Err(Failure::Status(..)) => keep && head.framing != Framing::UntilClose,
            Err(_) => false,
        };
        if !reusable {
            self.conn = None;
        }
        answer
    }
}

impl Caller for Http1 {
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.conn.is_none() {
            self.conn = Some(Conn::new(self.plan.connector.connect().await?));
            self.opened += 1;
        }
        Ok(())
    }

    async fn call(&mut self, due: Instant, recorder: &Recorder) -> Result<Answered, Failure> {
        let plan = Arc::clone(&self.plan);
        match tokio::time::timeout(plan.timeout, self.exchange(&plan, due, recorder)).await {
            Ok(answered) => answered,
            Err(_) => {
                let connected = self.conn.take().is_some();
                Err(match (connected, self.begun) {
                    (_, true) => Failure::TimeoutBody,
                    (true, false) => Failure::Timeout,
                    (false, false) => Failure::Connect(std::io::ErrorKind::TimedOut.into()),
                })
            }
        }
    }

    fn take_reconnects(&mut self) -> u64 {
        let again = self.opened.saturating_sub(1);
        let new = again - self.reported;
        self.reported = again;
        new
    }
}

/// Reads the body of an expected answer.
async fn read(
    conn: &mut Conn<Transport>,
    framing: Framing,
    plan: &Plan,
    due: Instant,
    recorder: &Recorder,
) -> Result<Answered, Failure> {
    let mut body = BodyDecoder::new(framing);
    let mut bytes = 0;
    let Some(expected) = &plan.stream else {
        while let Some(data) = piece(conn, &mut body).await? {
            bytes += data.len() as u64;
        }
        return Ok(Answered { bytes, seen: None });
    };
    let mut watch = Watch::new(expected.order);
    let mut last = None;
    while let Some(data) = piece(conn, &mut body).await? {
        bytes += data.len() as u64;
        let deltas = watch.feed(&data);
        if deltas > 0 {
            let now = Instant::now();
            recorder.deltas(due, last, now, deltas);
            last = Some(now);
        }
    }
    let seen = watch.finish(expected, |seen| recorder.reference(seen)).map_err(Failure::Stream)?;
    Ok(Answered { bytes, seen: Some(seen) })
}

/// Reads what came with an unexpected status, so that the connection stays good, and keeps its beginning.
async fn refused(conn: &mut Conn<Transport>, head: &ResponseHead) -> Result<Answered, Failure> {
    let mut body = BodyDecoder::new(head.framing);
    let mut kept = Vec::new();
    while let Some(data) = piece(conn, &mut body).await? {
        let room = KEPT_OF_ERROR - kept.len();
        kept.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        if kept.len() == KEPT_OF_ERROR && head.framing == Framing::UntilClose {
            break;
        }
    }
    Err(Failure::Status(head.status, kept))
}

async fn piece(conn: &mut Conn<Transport>, body: &mut BodyDecoder) -> Result<Option<bytes::Bytes>, Failure> {
    match conn.read_body(body).await {
        Ok(Ok(data)) => Ok(data),
        Ok(Err(FramingError::UnexpectedEof)) => Err(Failure::ClosedBody),
        Ok(Err(e)) => Err(Failure::FramingBody(e)),
        Err(e) => Err(Failure::of_io(e, true)),
    }
}

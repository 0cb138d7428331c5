//! Reading an answer: its messages, and what they tell, to the trailers.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::connection::Lease;
use super::frame::Messages;
use super::message::chunk;
use super::status::{Status, Violation};
use crate::caller::Answered;
use crate::deltas::Deltas;
use crate::failure::Failure;
use crate::options::StreamOptions;
use crate::recorder::Recorder;

/// Bytes kept of the body of an answer that is not gRPC.
const KEPT_OF_ERROR: usize = 1024;

/// What an answer held.
pub(super) struct Read {
    pub(super) answered: Answered,
    pub(super) trailers: Option<HeaderMap>,
}

/// Reads an answer that must be one message.
pub(super) async fn unary(body: &mut RecvStream) -> Result<Read, Failure> {
    let (mut messages, mut bytes, mut count) = (Messages::default(), 0, 0_u64);
    while let Some(data) = body.data().await {
        let data = data.map_err(|e| Failure::of_h2(e, true))?;
        take(body, &data, &mut bytes);
        let each = |_: &[u8]| {
            count += 1;
            Ok(())
        };
        messages.feed(&data, each).map_err(Failure::Violation)?;
    }
    let trailers = trailers(body).await?;
    // A failure needs no message, and says more than its absence.
    if trailers.as_ref().and_then(Status::read).is_some_and(|status| status.is_ok()) {
        messages.finish().map_err(Failure::Violation)?;
        if count != 1 {
            return Err(Failure::Violation(Violation::Count));
        }
    }
    Ok(Read { answered: Answered { bytes, seen: None }, trailers })
}

/// Reads a stream, watched as `expected` says; the recorder is told of deltas when they come.
pub(super) async fn stream(
    body: &mut RecvStream,
    lease: Option<&Lease>,
    expected: &StreamOptions,
    due: Instant,
    recorder: &Recorder,
) -> Result<Read, Failure> {
    let (mut messages, mut deltas, mut bytes) = (Messages::default(), Deltas::new(expected.order), 0);
    let mut last = None;
    loop {
        let before = deltas.count();
        let mut next = body.data().await;
        let ended = loop {
            let data = match next {
                Some(Ok(data)) => data,
                Some(Err(e)) => break Some(Err(Failure::of_h2(e, true))),
                None => break Some(Ok(())),
            };
            take(body, &data, &mut bytes);
            if let Err(violation) = messages.feed(&data, |message| watch(message, &mut deltas)) {
                break Some(Err(Failure::Violation(violation)));
            }
            // Several frames of one read have come together, as events of one read do.
            next = match at_hand(body).await {
                Poll::Ready(next) => next,
                Poll::Pending => break None,
            };
        };
        let arrived = deltas.count() - before;
        if arrived > 0 {
            let now = Instant::now();
            recorder.deltas(due, last, now, arrived);
            last = Some(now);
            if let Some(lease) = lease {
                lease.heard();
            }
        }
        if let Some(ended) = ended {
            ended?;
            break;
        }
    }
    let trailers = trailers(body).await?;
    if trailers.as_ref().and_then(Status::read).is_some_and(|status| status.is_ok()) {
        messages.finish().map_err(Failure::Violation)?;
        // Its end marker is the status.
        let seen = deltas.finish(expected, true, |seen| recorder.reference(seen)).map_err(Failure::Messages)?;
        return Ok(Read { answered: Answered { bytes, seen: Some(seen) }, trailers });
    }
    Ok(Read { answered: Answered { bytes, seen: None }, trailers })
}

fn watch(message: &[u8], deltas: &mut Deltas) -> Result<(), Violation> {
    let chunk = chunk(message)?;
    deltas.frame();
    if let Some(text) = chunk.text {
        deltas.text(text);
    }
    if chunk.usage {
        deltas.usage();
    }
    Ok(())
}

/// Counts a piece and gives its room in the window back.
fn take(body: &mut RecvStream, data: &Bytes, bytes: &mut u64) {
    *bytes += data.len() as u64;
    // It fails for a stream that is gone, which the next piece says.
    let _ = body.flow_control().release_capacity(data.len());
}

/// The next piece, if it has come already.
async fn at_hand(body: &mut RecvStream) -> Poll<Option<Result<Bytes, h2::Error>>> {
    poll_fn(|cx| Poll::Ready(body.poll_data(cx))).await
}

async fn trailers(body: &mut RecvStream) -> Result<Option<HeaderMap>, Failure> {
    body.trailers().await.map_err(|e| Failure::of_h2(e, true))
}

/// The beginning of an answer that is not gRPC.
pub(super) async fn beginning(body: &mut RecvStream) -> Vec<u8> {
    let mut kept = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        let room = KEPT_OF_ERROR - kept.len();
        kept.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        if kept.len() == KEPT_OF_ERROR {
            break;
        }
    }
    kept
}

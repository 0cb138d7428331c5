//! `Idempotency-Key`: a request that was answered is answered again, not run again.
//!
//! Stands between reading the body and admission: what is answered from memory takes nothing of a key's limits or
//! budget. Only calls that send the header pay for it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use penstock_http1::RequestHead;

use super::Call;
use crate::errors::{Failure, Kind, Outcome};
use crate::idempotency::{Answer, Begun, LONGEST_KEY, Print};
use crate::ledger;
use crate::listener::exchange::{Exchange, HeaderLines};

const HEADER: &str = "idempotency-key";
/// Said with an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";

/// The answer that this request had before; `None`: it is to be run.
///
/// # Errors
/// The key is malformed, in use, or was used for another request.
pub(super) fn begin(
    call: &mut Call,
    head: &RequestHead,
    body: &Bytes,
    exchange: &mut Exchange<'_>,
) -> Outcome<Option<Arc<Answer>>> {
    let Some(key) = head.headers.get(HEADER).filter(|_| &head.method[..] == b"POST") else { return Ok(None) };
    if key.is_empty() || key.len() > LONGEST_KEY || !key.iter().all(u8::is_ascii_graphic) {
        let message =
            format!("`Idempotency-Key` must be 1 to {LONGEST_KEY} visible ASCII characters, a UUID for example.");
        return Err(Failure::new(Kind::BadRequest, message).param("Idempotency-Key"));
    }
    let header = |name: &str| head.headers.get(name).unwrap_or_default();
    let caller = Print::of(&[call.token.as_bytes(), &head.method, path(&head.target), key]);
    let request =
        Print::of(&[&head.target, header("content-type"), header("x-penstock-model"), header("x-litellm-model"), body]);
    let failure = match call.core.shared.answers.begin(caller, request, call.now.mono_ns) {
        Begun::First(ticket) => {
            exchange.keep_copy(ticket.room());
            call.ticket = Some(ticket);
            return Ok(None);
        }
        Begun::Answered(answer) => return Ok(Some(answer)),
        Begun::Running => Failure::new(
            Kind::IdempotencyRunning,
            "A request with this `Idempotency-Key` is still running; send it again when that one is over.",
        )
        .retry_after(1000),
        Begun::Other => Failure::new(
            Kind::IdempotencyMismatch,
            "This `Idempotency-Key` was used for a request with another body; use a new key for a new request.",
        ),
        Begun::TooLarge => Failure::new(
            Kind::IdempotencyTooLarge,
            "The request with this `Idempotency-Key` was answered, and its answer was too large to be kept; \
             use a new key to run it again.",
        ),
    };
    Err(failure.param("Idempotency-Key"))
}

/// The path, under whichever of its names it was called.
fn path(target: &[u8]) -> &[u8] {
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    path.strip_prefix(b"/v1").unwrap_or(path)
}

/// Answers as before. The record of the call has no attempt and no cost.
pub(super) async fn replay(call: &mut Call, answer: &Answer, exchange: &mut Exchange<'_>) -> Outcome<()> {
    let mut lines = HeaderLines(BytesMut::from(&answer.headers[..]));
    lines.add(REPLAYED, b"true");
    call.status = answer.status;
    call.first_byte();
    let sent = if answer.streamed {
        match exchange.start(answer.status, &lines, None) {
            Ok(()) => {
                exchange.queue(&answer.body);
                exchange.finish().await
            }
            gone => gone,
        }
    } else {
        exchange.full(answer.status, &lines, answer.body.clone()).await
    };
    match sent {
        Ok(()) => call.outcome = if answer.status < 400 { ledger::Outcome::Ok } else { ledger::Outcome::Error },
        Err(_) => call.client_gone(),
    }
    Ok(())
}

/// The call is over: keeps its answer if it is one that would be given again.
pub(super) fn end(call: &mut Call, exchange: &mut Exchange<'_>) {
    let Some(ticket) = call.ticket.take() else { return };
    let Some(copy) = exchange.take_copy() else { return };
    let whole = match call.outcome {
        ledger::Outcome::Ok => true,
        // A complete answer that the client did not wait for is what it will ask for again.
        ledger::Outcome::Error | ledger::Outcome::ClientDisconnect => !copy.streamed(),
        ledger::Outcome::DeadlineExceeded
        | ledger::Outcome::UpstreamCut
        | ledger::Outcome::Shutdown
        | ledger::Outcome::GatewayLost => false,
    };
    // What the gateway itself refuses costs nothing to decide anew, and may be another thing then: a budget, a permission.
    let decided = copy.status() < 300 || call.attempts > 0;
    if whole
        && decided
        && is_lasting(copy.status())
        && let Some(answer) = copy.answer()
    {
        ticket.answered(answer, call.core.shared.now_ns());
    }
}

/// Whether the same request would have the same answer later: not what may pass, nor what depends on who may do what.
fn is_lasting(status: u16) -> bool {
    matches!(status, 200..=299 | 400 | 404 | 413 | 415 | 422)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_not_kept() {
        for status in [0, 101, 301, 401, 403, 408, 409, 429, 499, 500, 502, 503, 504, 529] {
            assert!(!is_lasting(status), "{status}");
        }
        for status in [200, 201, 400, 404, 422] {
            assert!(is_lasting(status), "{status}");
        }
    }

    #[test]
    fn a_route_is_the_same_under_both_of_its_names() {
        assert_eq!(path(b"/v1/chat/completions?x=1"), path(b"/chat/completions"));
        assert_ne!(path(b"/v1/chat/completions"), path(b"/v1/completions"));
    }
}

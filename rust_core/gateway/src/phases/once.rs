//! `Idempotency-Key`: a request that was answered is answered again, not run again.
//!
//! Stands between reading the body and admission: what is answered from memory takes nothing of a key's limits or
//! budget. Only calls that send the header pay for it. What this process does not know is asked of the control plane
//! where several gateways share their answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{Headers, RequestHead};

use super::Call;
use crate::errors::{Failure, Kind, Outcome};
use crate::idempotency::{Answer, Begun, Claimed, LONGEST_KEY, Names, Print};
use crate::ledger;
use crate::listener::exchange::{Exchange, HeaderLines};

const HEADER: &str = "idempotency-key";
/// Headers that say what is asked, or travel on and change what a provider answers.
const TELLING: [&str; 7] = [
    "content-type",
    "x-penstock-model",
    "x-litellm-model",
    "anthropic-beta",
    "anthropic-version",
    "openai-beta",
    "accept",
];
/// Said with an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";

/// What is to be done with a request.
pub(super) enum Before {
    /// It is run.
    Run,
    /// It had this answer before.
    Answered(Arc<Answer>),
    /// It is new here: others are to be asked.
    Ask(Asked),
}

/// A request under a key.
pub(super) struct Asked {
    caller: Print,
    request: Print,
}

/// Looks at what this process knows of the request.
///
/// # Errors
/// The key is malformed, in use, or was used for another request.
pub(super) fn begin(call: &mut Call, head: &RequestHead, body: &Bytes, exchange: &mut Exchange<'_>) -> Outcome<Before> {
    // Not over gRPC: the metadata of a session are those of all its calls.
    let may_be_kept = &head.method[..] == b"POST" && exchange.method().is_none();
    let Some(key) = head.headers.get(HEADER).filter(|_| may_be_kept) else { return Ok(Before::Run) };
    if key.is_empty() || key.len() > LONGEST_KEY || !key.iter().all(u8::is_ascii_graphic) {
        let message =
            format!("`Idempotency-Key` must be 1 to {LONGEST_KEY} visible ASCII characters, a UUID for example.");
        return Err(Failure::new(Kind::BadRequest, message).param("Idempotency-Key"));
    }
    let caller = Print::of(&[call.token.as_bytes(), &head.method, path(&head.target), key]);
    let request = asked(&head.target, &head.headers, body);
    let shared = &call.core.shared;
    let begun = if shared.options.idempotency.shared {
        match shared.answers.look(caller, request, call.now.mono_ns) {
            Some(begun) => begun,
            None => return Ok(Before::Ask(Asked { caller, request })),
        }
    } else {
        shared.answers.begin(caller, request, call.now.mono_ns)
    };
    decide(call, begun, exchange)
}

/// Looks at what all gateways know of the request.
///
/// # Errors
/// The key is in use, was used for another request, or nobody can say.
pub(super) async fn ask(call: &mut Call, asked: Asked, exchange: &mut Exchange<'_>) -> Outcome<Before> {
    let shared = &call.core.shared;
    let Asked { caller, request } = asked;
    let names = Names::of(&shared.pepper, &caller, &request);
    let Some(answer) = shared.elsewhere.claim(names.clone()) else { return Err(unknown()) };
    let limit = Duration::from_millis(shared.options.hook_timeout_ms);
    let Ok(Ok(claimed)) = call.core.timers.within(limit, answer).await else { return Err(unknown()) };
    let begin = || shared.answers.begin(caller, request, shared.now_ns());
    let begun = match claimed {
        Claimed::Run(claim) => match begin() {
            Begun::First(ticket) => Begun::First(ticket.claimed(claim)),
            // Without the others, two may be told to run it.
            known => known,
        },
        Claimed::Running => Begun::Running,
        Claimed::OtherRequest => Begun::OtherRequest,
        Claimed::TooLarge => Begun::TooLarge,
        // One that does not open was changed by somebody: the request is run, by the rules of this process alone.
        Claimed::Answered(sealed) => names.open(&sealed).map_or_else(begin, |answer| Begun::Answered(Arc::new(answer))),
        Claimed::Unknown => return Err(unknown()),
    };
    decide(call, begun, exchange)
}

fn decide(call: &mut Call, begun: Begun, exchange: &mut Exchange<'_>) -> Outcome<Before> {
    let failure = match begun {
        Begun::First(ticket) => {
            exchange.keep_copy(ticket.room());
            call.once = Some(ticket);
            return Ok(Before::Run);
        }
        Begun::Answered(answer) => return Ok(Before::Answered(answer)),
        Begun::Running => Failure::new(
            Kind::IdempotencyRunning,
            "A request with this `Idempotency-Key` is still running; send it again when that one is over.",
        )
        .retry_after(1000),
        Begun::OtherRequest => Failure::new(
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

#[cold]
fn unknown() -> Failure {
    Failure::new(
        Kind::IdempotencyUnknown,
        "Whether a request with this `Idempotency-Key` runs at another gateway cannot be said now; try again in a \
         moment, or send it without `Idempotency-Key`.",
    )
    .param("Idempotency-Key")
    .retry_after(1000)
}

/// Digest of what is asked beside the path: all that another answer may depend on.
fn asked(target: &[u8], headers: &Headers, body: &[u8]) -> Print {
    let query = target.iter().position(|b| *b == b'?').and_then(|at| target.get(at..)).unwrap_or_default();
    let headers = TELLING.map(|name| headers.get(name).unwrap_or_default());
    Print::of(&[&[query, body][..], &headers].concat())
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
    let Some(ticket) = call.once.take() else { return };
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
    use penstock_http1::HeadersBuilder;

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
        let none = headers(&[]);
        assert_eq!(asked(b"/v1/chat/completions", &none, b"{}"), asked(b"/chat/completions", &none, b"{}"));
        assert_ne!(asked(b"/chat/completions?x=1", &none, b"{}"), asked(b"/chat/completions", &none, b"{}"));
        assert_ne!(asked(b"/chat/completions", &none, b"{ }"), asked(b"/chat/completions", &none, b"{}"));
    }

    #[test]
    fn a_header_that_changes_the_answer_makes_another_request() {
        let plain = asked(b"/v1/messages", &headers(&[]), b"{}");
        for name in TELLING {
            let one = asked(b"/v1/messages", &headers(&[(name, "a")]), b"{}");
            assert_ne!(one, plain, "{name}");
            assert_ne!(one, asked(b"/v1/messages", &headers(&[(name, "b")]), b"{}"), "{name}");
        }
        assert_eq!(asked(b"/v1/messages", &headers(&[("user-agent", "a")]), b"{}"), plain);
    }

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = HeadersBuilder::default();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        headers.build()
    }
}

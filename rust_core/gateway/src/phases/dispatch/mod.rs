//! Dispatch: attempts at the planned deployments until one begins to answer.
//!
//! Retries, fallbacks and cooldowns all happen before the first byte of an answer; never after.

mod request;
mod send;

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use penstock_http1::{BodyDecoder, RequestHead, ResponseHead};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Call;
use super::admit::{Place, Request};
use super::plan::{Next, Plan, time_left};
use crate::errors::{Failure, Kind, Outcome};
use crate::listener::exchange::{Exchange, HeaderLines};
use crate::providers::{self, Asked, Prepared, Reading};
use crate::snapshot::Deployment;
use crate::upstream::Lease;

/// Most of an upstream's error body that is kept.
const ERROR_BODY: usize = 256 * 1024;
/// Longest wait on an upstream's `Retry-After`, or on the end of a cooldown, while the client waits.
pub(super) const PATIENCE_MS: u64 = 5_000;
/// After the client has left: how long the upstream may take to notice, while what it had sent is still counted.
pub(super) const AFTERMATH: Duration = Duration::from_millis(500);

/// An upstream that began to answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) lease: Lease,
    pub(super) head: ResponseHead,
    pub(super) decoder: BodyDecoder,
    pub(super) reading: Reading,
    pub(super) hide_usage: bool,
    /// The client left before the head came, and the upstream was told: that its answer ends early says nothing about it.
    pub(super) client_left: bool,
}

/// What became of one attempt.
enum Attempt {
    Answered(Box<Answer>),
    /// An error status, with what the client gets to see if it is the last word.
    Refused(Failure, Box<Refusal>),
    Failed(Failure),
    ClientGone,
}

/// An upstream's error answer.
struct Refusal {
    head: ResponseHead,
    body: Bytes,
    reading: Reading,
}

/// Asks deployments until one begins to answer; `None` when the client has gone or has its (error) answer.
pub(super) async fn dispatch(
    call: &mut Call,
    head: &RequestHead,
    request: &mut Request<'_>,
    exchange: &mut Exchange<'_>,
) -> Outcome<Option<Box<Answer>>> {
    let mut last: Option<(Failure, Option<Box<Refusal>>)> = None;
    loop {
        let deployment = match request.plan.next(call) {
            Next::Ask(deployment) => deployment,
            Next::Nobody => break,
            Next::Again => match backoff(call, last.as_ref().and_then(|(f, _)| f.retry_after_ms), exchange).await {
                Wait::Over => {
                    request.plan.again();
                    continue;
                }
                Wait::TooLong => {
                    request.plan.next_group();
                    continue;
                }
                Wait::ClientGone => {
                    call.client_gone();
                    return Ok(None);
                }
            },
        };
        if let (Some(_), Some(Duration::ZERO)) = (&last, time_left(call, &deployment)) {
            break;
        }
        let prepared = match prepare(call, &deployment, head, request) {
            Ok(prepared) => prepared,
            // Another deployment of the group may speak a wire that can express it.
            Err(failure) => {
                last.get_or_insert((failure, None));
                continue;
            }
        };
        let (failure, refusal) = match attempt(call, &deployment, head, &prepared, exchange).await {
            Attempt::Answered(answer) => {
                call.answered = (200..300).contains(&answer.head.status);
                return Ok(Some(answer));
            }
            Attempt::ClientGone => {
                call.client_gone();
                return Ok(None);
            }
            Attempt::Refused(failure, refusal) => (failure, Some(refusal)),
            Attempt::Failed(failure) => (failure, None),
        };
        call.attempt_failed(&failure);
        request.plan.failed(&failure);
        let stop = !failure.retryable();
        last = Some((failure, refusal));
        if stop {
            break;
        }
    }
    match last {
        None => Err(nobody(call, &request.plan)),
        Some((failure, None)) => Err(failure),
        Some((failure, Some(refusal))) => pass_refusal(call, failure, *refusal, exchange).await.map(|()| None),
    }
}

/// Every deployment refused before it was asked.
fn nobody(call: &Call, plan: &Plan) -> Failure {
    let model = super::admit::bounded(&call.model);
    let message =
        format!("No deployment of the model `{model}` can take the call: all are cooling down or at their limits.");
    Failure::new(Kind::NoDeployment, message).retry_after(plan.wait_ms(call))
}

/// How a wait ended.
enum Wait {
    Over,
    TooLong,
    ClientGone,
}

/// Waits before asking the same deployments again.
async fn backoff(call: &mut Call, retry_after_ms: Option<u64>, exchange: &mut Exchange<'_>) -> Wait {
    let base = call.snapshot.settings.retry_backoff_ms << call.attempts.saturating_sub(1).min(6);
    let jitter = if base > 0 { call.core.random() % (base / 2 + 1) } else { 0 };
    let wait = retry_after_ms.unwrap_or(0).max(base / 2 + jitter);
    if wait > PATIENCE_MS {
        return Wait::TooLong;
    }
    let begun = Instant::now();
    let ended = tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(wait)) => Wait::Over,
        () = exchange.closed() => Wait::ClientGone,
    };
    call.waited += begun.elapsed();
    ended
}

/// Makes the request in the words of the deployment's provider.
fn prepare(call: &Call, deployment: &Deployment, head: &RequestHead, request: &Request<'_>) -> Outcome<Prepared> {
    let asked = Asked {
        surface: call.surface,
        target: std::str::from_utf8(&head.target).unwrap_or_default(),
        body: &call.body,
        json: request.json.as_ref(),
        part: match &request.place {
            Place::Part(range) => Some(range),
            _ => None,
        },
        model: &call.upstream_model,
        stream: call.stream,
        wants_usage: call.wants_usage,
        always_usage: call.snapshot.settings.always_include_stream_usage,
        default_output_tokens: call.snapshot.settings.default_output_tokens,
    };
    let prepared = providers::prepare(deployment, &asked)?;
    if !prepared.target.bytes().all(|b| b.is_ascii_graphic()) {
        // Nothing a client sends may end the request line; what gets here is a defect of a provider.
        return Err(Failure::new(Kind::Internal, "The provider's request target is malformed."));
    }
    Ok(prepared)
}

async fn attempt(
    call: &mut Call,
    deployment: &Arc<Deployment>,
    head: &RequestHead,
    prepared: &Prepared,
    exchange: &mut Exchange<'_>,
) -> Attempt {
    call.attempts += 1;
    let mut out = call.core.buffers.take();
    request::put(call, deployment, head, prepared, &mut out);
    let begun = Instant::now();
    let overhead = begun.into_std().saturating_duration_since(call.started).saturating_sub(call.waited);
    call.overhead_us = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX);
    call.attempt_ns = call.core.shared.clock.mono_ns(begun.into_std());
    if let Err(failure) = call.open() {
        call.core.buffers.give(out);
        return Attempt::Failed(failure);
    }
    let result = exchange_with(call, deployment, prepared, &out, exchange).await;
    call.waited += begun.elapsed();
    call.core.buffers.give(out);
    result
}

/// Sends one request and waits for the head of its answer, watching the client.
async fn exchange_with(
    call: &mut Call,
    deployment: &Arc<Deployment>,
    prepared: &Prepared,
    out: &BytesMut,
    exchange: &mut Exchange<'_>,
) -> Attempt {
    let core = std::rc::Rc::clone(&call.core);
    let streams = call.stream;
    let keepalive = deployment.keepalive_ms.filter(|_| streams).map(Duration::from_millis);
    let mut next_ping = keepalive.map(|k| Instant::now() + k);
    let left = time_left(call, deployment);
    let gone = Notify::new();
    let mut left_early = false;
    let mut asked = std::pin::pin!(send::ask(&core, deployment, prepared, out, left, &gone));
    let asked = loop {
        let ping = async {
            match next_ping {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            asked = &mut asked => break asked,
            () = exchange.closed() => {
                // The upstream is told, and what it had begun to send by then is still counted.
                gone.notify_one();
                left_early = true;
                match tokio::time::timeout(AFTERMATH, &mut asked).await {
                    Ok(asked) => break asked,
                    Err(_) => return Attempt::ClientGone,
                }
            }
            () = ping => {
                if !exchange.started() {
                    let mut lines = HeaderLines::default();
                    lines.add("content-type", b"text/event-stream; charset=utf-8");
                    lines.add("cache-control", b"no-cache");
                    super::headers::ours(call, &mut lines);
                    if exchange.start(200, &lines, None).is_err() {
                        return Attempt::ClientGone;
                    }
                    call.status = 200;
                    call.events = true;
                }
                exchange.queue(b": keep-alive\n\n");
                if exchange.flush().await.is_err() {
                    return Attempt::ClientGone;
                }
                next_ping = keepalive.map(|k| Instant::now() + k);
            }
        }
    };
    let (mut lease, head) = match asked {
        Ok((_, head)) if left_early && head.status >= 400 => return Attempt::ClientGone,
        Err(_) if left_early => return Attempt::ClientGone,
        Ok(answered) => answered,
        Err(failure) => return Attempt::Failed(failure),
    };
    let mut decoder = BodyDecoder::new(head.framing);
    if head.status < 400 {
        return Attempt::Answered(Box::new(Answer {
            lease,
            head,
            decoder,
            reading: prepared.reading,
            hide_usage: prepared.hide_usage,
            client_left: left_early,
        }));
    }
    let body = error_body(&mut lease, &mut decoder).await;
    let mut failure = upstream_failure(prepared.reading, head.status, &body);
    failure.retry_after_ms = retry_after(&head);
    if decoder.is_done() && head.keep_alive {
        lease.give_back();
    }
    Attempt::Refused(failure, Box::new(Refusal { head, body, reading: prepared.reading }))
}

async fn error_body(lease: &mut Lease, decoder: &mut BodyDecoder) -> Bytes {
    let mut body = BytesMut::new();
    let read = async {
        while let Ok(Ok(Some(piece))) = lease.conn.read_body(decoder).await {
            body.put(piece);
            if body.len() > ERROR_BODY {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
    body.freeze()
}

/// The upstream's own words, when its error body has the shape its wire promises.
fn upstream_failure(reading: Reading, status: u16, body: &[u8]) -> Failure {
    let mut failure =
        Failure::new(Kind::UpstreamStatus(status), format!("The provider answered with status {status}."));
    if reading == Reading::AnthropicToChat {
        let error = providers::anthropic::error(status, body);
        failure.message = error.message.into();
        failure.type_name = Some(error.kind.into());
        failure.code = error.code.map(Into::into);
    }
    failure
}

fn retry_after(head: &ResponseHead) -> Option<u64> {
    if let Some(ms) = head.headers.get_str("retry-after-ms").and_then(|v| v.parse::<f64>().ok()) {
        return (ms.is_finite() && ms >= 0.0).then_some(ms as u64);
    }
    let seconds = head.headers.get_str("retry-after")?.parse::<f64>().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0) as u64)
}

/// Gives the client the upstream's error: its bytes on the same wire, translated otherwise.
async fn pass_refusal(call: &mut Call, failure: Failure, refusal: Refusal, exchange: &mut Exchange<'_>) -> Outcome<()> {
    if refusal.reading == Reading::AnthropicToChat || exchange.started() {
        return Err(failure);
    }
    call.fail(&failure);
    let lines = super::headers::of_answer(call, &refusal.head);
    exchange.pass_refusal(&failure, refusal.head.status, lines, refusal.body).await;
    call.response_bytes = exchange.sent();
    Ok(())
}

//! Dispatch: attempts at the planned deployments until one begins to answer.
//!
//! Retries, fallbacks and cooldowns all happen before the first byte of an answer; never after.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use penstock_http1::{BodyDecoder, Limits, RequestHead, ResponseHead};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Call;
use super::admit::{Place, Request};
use super::plan::{Next, Plan, time_left};
use crate::errors::{Failure, Kind, Outcome};
use crate::limits::deployment::CooldownPolicy;
use crate::listener::exchange::{Exchange, HeaderLines};
use crate::listener::forwarded::is_nominated;
use crate::providers::{self, Asked, Prepared, Reading};
use crate::snapshot::Deployment;
use crate::upstream::Lease;

/// Most of an upstream's error body that is kept.
const ERROR_BODY: usize = 256 * 1024;
/// Longest wait on an upstream's `Retry-After` while the client waits.
const PATIENCE_MS: u64 = 5_000;
/// A connection that breaks so soon after a request was written was closed before the request arrived.
const IDLE_CLOSE: Duration = Duration::from_millis(10);
/// After the client has left: how long the upstream may take to notice, while what it had sent is still counted.
pub(super) const AFTERMATH: Duration = Duration::from_millis(500);
/// Client header fields that are always sent on.
const FORWARDED: [&str; 10] = [
    "accept",
    "accept-language",
    "content-type",
    "openai-beta",
    "anthropic-beta",
    "anthropic-version",
    "anthropic-dangerous-direct-browser-access",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// An upstream that began to answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) lease: Lease,
    pub(super) head: ResponseHead,
    pub(super) decoder: BodyDecoder,
    pub(super) reading: Reading,
    pub(super) hide_usage: bool,
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
        let started_ns = call.core.shared.now_ns();
        let (failure, refusal) = match attempt(call, &deployment, head, &prepared, exchange).await {
            Attempt::Answered(answer) => {
                deployment.state.ok(started_ns);
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
        note(call, &deployment, &failure);
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

/// Counts a failure against its deployment.
fn note(call: &Call, deployment: &Deployment, failure: &Failure) {
    let counts = match failure.kind {
        Kind::UpstreamStatus(status) => matches!(status, 401 | 403 | 404 | 408 | 429 | 500..),
        Kind::UpstreamConnect | Kind::UpstreamTimeout | Kind::UpstreamProtocol => true,
        _ => false,
    };
    if counts {
        let settings = &call.snapshot.settings;
        let policy = CooldownPolicy { allowed_fails: settings.allowed_fails, cooldown_ms: settings.cooldown_ms };
        let retry_after = failure.retry_after_ms.filter(|_| failure.status() == 429 && settings.cooldown_ms > 0);
        deployment.state.fail(policy, retry_after, call.core.shared.now_ns());
    }
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
    put_request(call, deployment, head, prepared, &mut out);
    call.overhead_us =
        u64::try_from(call.started.elapsed().saturating_sub(call.waited).as_micros()).unwrap_or(u64::MAX);
    let begun = Instant::now();
    let result = exchange_with(call, deployment, prepared, &out, exchange).await;
    call.waited += begun.elapsed();
    call.core.buffers.give(out);
    result
}

/// Renders the upstream request's head, and its body when that is small.
fn put_request(call: &Call, deployment: &Deployment, head: &RequestHead, prepared: &Prepared, out: &mut BytesMut) {
    penstock_http1::put_request_line(out, &head.method, prepared.target.as_bytes());
    out.put_slice(&deployment.header_block);
    for (name, value) in head.headers.iter() {
        let mut buffer = [0u8; 64];
        let Some(lower) = buffer.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let Ok(lower) = std::str::from_utf8(lower) else { continue };
        let wanted = FORWARDED.contains(&lower) || may_forward(deployment, lower);
        let ours = deployment.header_names.iter().any(|n| n == lower);
        if wanted && !ours && !is_nominated(&head.headers, name) && !prepared.headers.iter().any(|(n, _)| *n == lower) {
            penstock_http1::put_header(out, lower.as_bytes(), value);
        }
    }
    for (name, value) in &prepared.headers {
        penstock_http1::put_header(out, name.as_bytes(), value.as_bytes());
    }
    penstock_http1::put_header(out, b"x-penstock-call-id", call.id.as_bytes());
    let method = &head.method[..];
    if !prepared.body.is_empty() || matches!(method, b"POST" | b"PUT" | b"PATCH") {
        out.put_slice(b"content-length: ");
        penstock_http1::put_decimal(out, prepared.body.len() as u64);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    if prepared.body.len() <= 32 * 1024 {
        out.put_slice(&prepared.body);
    }
}

/// Fields beyond the standard ones that the deployment asks for; never credentials or what belongs to the gateway.
fn may_forward(deployment: &Deployment, name: &str) -> bool {
    const NEVER: [&str; 12] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-litellm-api-key",
        "cookie",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "expect",
        "accept-encoding",
    ];
    deployment.forward_headers.iter().any(|p| name.starts_with(p.as_str()))
        && !NEVER.contains(&name)
        && !name.starts_with("x-penstock-")
        && !name.starts_with("x-forwarded-")
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
    let mut asked = std::pin::pin!(ask(&core, deployment, prepared, out, left, &gone));
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
                exchange.queue(Bytes::from_static(b": keep-alive\n\n"));
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

/// Connects, sends, and reads the head of the answer. A reused connection that turns out closed is replaced once.
async fn ask(
    core: &crate::engine::Core,
    deployment: &Deployment,
    prepared: &Prepared,
    out: &BytesMut,
    left: Option<Duration>,
    gone: &Notify,
) -> Result<(Lease, ResponseHead), Failure> {
    let left = left.unwrap_or(Duration::MAX);
    let connect = Duration::from_millis(deployment.connect_timeout_ms).min(left);
    let first_byte = Duration::from_millis(deployment.first_byte_timeout_ms).min(left);
    let mut fresh = false;
    let mut told = false;
    loop {
        let mut lease = core.pool.lease(&deployment.origin, connect, fresh).await.map_err(|e| {
            let kind =
                if e.kind() == std::io::ErrorKind::TimedOut { Kind::UpstreamTimeout } else { Kind::UpstreamConnect };
            Failure::new(kind, format!("The provider could not be reached: {}.", describe(&e)))
        })?;
        let reused = lease.reused;
        let mut written: Option<Instant> = None;
        let round = async {
            let mut sent = lease.conn.write(out).await;
            if sent.is_ok() && prepared.body.len() > 32 * 1024 {
                sent = lease.conn.write(&prepared.body).await;
            }
            // An upstream that refuses early answers although it did not take the whole request.
            written = Some(Instant::now());
            let limits = Limits::default();
            let answer = loop {
                let read = tokio::select! {
                    biased;
                    read = lease.conn.read_response(&limits, false) => read,
                    () = gone.notified(), if !told => {
                        told = true;
                        let _ = lease.conn.stream.shutdown().await;
                        continue;
                    }
                };
                match read {
                    Ok(Ok(Some(head))) if head.status < 200 && head.status != 101 => {}
                    other => break other,
                }
            };
            sent.and(Ok(())).or_else(|e| if matches!(answer, Ok(Ok(Some(_)))) { Ok(()) } else { Err(e) })?;
            answer
        };
        let answer = match tokio::time::timeout(first_byte, round).await {
            Ok(answer) => answer,
            Err(_) => {
                let ms = first_byte.as_millis();
                return Err(Failure::new(
                    Kind::UpstreamTimeout,
                    format!("The provider did not begin to answer within {ms} ms."),
                ));
            }
        };
        match answer {
            Ok(Ok(Some(head))) if head.status == 101 => {
                return Err(Failure::new(Kind::UpstreamProtocol, "The provider changed the protocol unasked."));
            }
            Ok(Ok(Some(head))) => return Ok((lease, head)),
            // It closed an idle connection just as it was taken into use. One that took its time had taken the request.
            Ok(Ok(None)) | Err(_) if reused && !told && written.is_none_or(|at| at.elapsed() < IDLE_CLOSE) => {
                fresh = true
            }
            Ok(Ok(None)) => {
                return Err(Failure::new(
                    Kind::UpstreamProtocol,
                    "The provider closed the connection without an answer.",
                ));
            }
            Ok(Err(e)) => {
                return Err(Failure::new(Kind::UpstreamProtocol, format!("The provider's answer is malformed: {e}.")));
            }
            Err(e) => {
                return Err(Failure::new(
                    Kind::UpstreamProtocol,
                    format!("The connection to the provider broke: {}.", describe(&e)),
                ));
            }
        }
    }
}

/// An I/O error without addresses, which are not the client's business.
fn describe(error: &std::io::Error) -> String {
    error.kind().to_string()
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
        failure.type_name = Some(error.kind.to_owned());
        failure.code = error.code.map(str::to_owned);
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
    let _ = exchange.full(refusal.head.status, &lines, refusal.body).await;
    call.response_bytes = exchange.sent();
    Ok(())
}

//! One client connection: requests in turn, each read to its end before it is answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{BodyDecoder, Conn, Framing, FramingError, Limits, RequestHead, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::admin;
use crate::call::Call;
use crate::control::Control;
use crate::exchange::{After, Exchange, Scratch};
use crate::ledger::Outcome;
use crate::reply::{Answer, HeadFacts, Refusal, Unary, Wire};
use crate::server::Shared;

/// Largest request body.
const MAX_BODY: u64 = 256 << 20;
/// Bytes read and thrown away after a refusal, so that the client can read it.
const MAX_DRAIN: usize = 1 << 20;

/// Serves a connection until one side ends it.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut conn = Conn::new(stream);
    let mut scratch = Scratch::default();
    loop {
        match one(&mut conn, &mut scratch, &shared).await {
            Ok(After::KeepAlive) => {}
            Ok(After::Close) => {
                let _ = tokio::time::timeout(Duration::from_secs(1), linger(&mut conn)).await;
                return;
            }
            Ok(After::Reset) => {
                let _ = conn.stream.set_zero_linger();
                return;
            }
            Err(_) => return,
        }
    }
}

/// Closing while the client still sends would reset the connection under the answer.
async fn linger(conn: &mut Conn<TcpStream>) -> io::Result<()> {
    conn.stream.shutdown().await?;
    let mut drained = 0;
    while drained < MAX_DRAIN {
        conn.buf.clear();
        match conn.fill().await? {
            0 => break,
            n => drained += n,
        }
    }
    Ok(())
}

async fn one(conn: &mut Conn<TcpStream>, scratch: &mut Scratch, shared: &Shared) -> io::Result<After> {
    let head = match conn.read_request(&Limits::default()).await? {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(After::Close),
        Err(e) => return refuse(conn, scratch, e.status(), e.message()).await,
    };
    if matches!(head.framing, Framing::Length(n) if n > MAX_BODY) {
        return refuse(conn, scratch, 413, "the request body is too large").await;
    }
    if head.expect_continue && head.framing != Framing::None && conn.buf.is_empty() {
        conn.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = match read_body(conn, head.framing).await? {
        Ok(Some(body)) => body,
        Ok(None) => return refuse(conn, scratch, 413, "the request body is too large").await,
        Err(e) => return refuse(conn, scratch, e.status(), e.message()).await,
    };
    let started = Instant::now();
    let keep_alive = head.keep_alive;
    if admin::is_for(&head.target) {
        let unary = admin::answer(shared, &head, &body);
        let facts = HeadFacts { wire: Wire::OpenAi, seq: 0, prompt_tokens: 0, elapsed_ms: 0, keep_alive };
        let control = Control::default();
        let head_only = &head.method[..] == b"HEAD";
        let end = Exchange::new(conn, scratch, &control, started).unary(&unary, &facts, head_only).await;
        return Ok(end.after);
    }
    answer(conn, scratch, shared, &head, &body, started).await
}

async fn answer(
    conn: &mut Conn<TcpStream>,
    scratch: &mut Scratch,
    shared: &Shared,
    head: &RequestHead,
    body: &Bytes,
    started: Instant,
) -> io::Result<After> {
    let seq = shared.ledger.begin(head, body);
    let mut call = Call::new(shared, head, body, seq);
    let answer = call.answer();
    let elapsed = call.control.ttft.as_millis().max(1) as u64;
    let facts = HeadFacts {
        wire: call.wire,
        seq,
        prompt_tokens: call.facts.usage.prompt,
        elapsed_ms: elapsed,
        keep_alive: head.keep_alive,
    };
    let mut exchange = Exchange::new(conn, scratch, &call.control, started);
    let (status, streamed, end) = match answer {
        Answer::Unary(unary) => {
            let head_only = &head.method[..] == b"HEAD";
            (unary.status, false, exchange.unary(&unary, &facts, head_only).await)
        }
        Answer::Stream(plan) => {
            let chunked = head.version != Version::Http10;
            let facts = HeadFacts { keep_alive: facts.keep_alive && chunked, ..facts };
            (plan.status, true, exchange.stream(plan, &facts, chunked).await)
        }
    };
    let (tokens, events, first_byte) = (exchange.tokens_sent, exchange.events_sent, exchange.first_byte);
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let told = call.facts;
    shared.ledger.finish(seq, |entry| {
        entry.model = told.model;
        entry.stream = streamed;
        entry.status = status;
        entry.outcome = end.outcome;
        entry.prompt_tokens = told.usage.prompt;
        entry.cached_tokens = told.usage.cached;
        entry.completion_tokens = told.usage.output;
        entry.reasoning_tokens = told.usage.reasoning;
        entry.tokens_sent = tokens;
        entry.events_sent = events;
        entry.ttft_us = first_byte.map(micros);
        entry.duration_us = Some(micros(started.elapsed()));
    });
    Ok(if end.outcome == Outcome::Cut { After::Close } else { end.after })
}

/// The whole body; `None` when it is too large.
async fn read_body(conn: &mut Conn<TcpStream>, framing: Framing) -> io::Result<Result<Option<Bytes>, FramingError>> {
    let mut decoder = BodyDecoder::new(framing);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        match conn.read_body(&mut decoder).await? {
            Ok(Some(piece)) => {
                if (all.len() + first.len() + piece.len()) as u64 > MAX_BODY {
                    return Ok(Ok(None));
                }
                if first.is_empty() && all.is_empty() {
                    first = piece;
                } else {
                    if all.is_empty() {
                        all.extend_from_slice(&std::mem::take(&mut first));
                    }
                    all.extend_from_slice(&piece);
                }
            }
            Ok(None) => return Ok(Ok(Some(if all.is_empty() { first } else { all.freeze() }))),
            Err(e) => return Ok(Err(e)),
        }
    }
}

async fn refuse(conn: &mut Conn<TcpStream>, scratch: &mut Scratch, status: u16, message: &str) -> io::Result<After> {
    let unary: Unary = Refusal::new(status, message).answer(Wire::OpenAi, 0);
    let facts = HeadFacts { wire: Wire::OpenAi, seq: 0, prompt_tokens: 0, elapsed_ms: 0, keep_alive: false };
    let control = Control::default();
    Exchange::new(conn, scratch, &control, Instant::now()).unary(&unary, &facts, false).await;
    Ok(After::Close)
}

//! Event streams: frames go to the client as they arrive, with backpressure to the upstream.
//!
//! On the same wire a frame's bytes are not touched, but for the usage that the gateway asked for
//! on its own account. On another wire each event is translated. Either way the call's own polls
//! drive the upstream's socket, and frames that arrived together leave in one write.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use penstock_http1::Decoded;
use tokio::time::Instant;

use crate::errors::{self, Failure, Kind, Outcome};
use crate::ledger;
use crate::listener::exchange::Exchange;
use crate::phases::dispatch::Answer;
use crate::phases::{Call, headers};
use crate::providers::{Reading, anthropic, openai};
use crate::sse::{self, Frames};
use crate::surfaces::Surface;

/// A frame that grows beyond this is passed on in pieces, not held.
const MAX_HELD: usize = 256 * 1024;
/// After the client has left: how long the upstream may take to notice, while what it had sent is still counted.
const AFTERMATH: Duration = Duration::from_millis(500);

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"choices\""));

/// Reads frames on behalf of the client.
enum Reader {
    OpenAi { hide_usage: bool, needs_end: bool },
    Anthropic(Box<anthropic::UsageWatch>),
    Translator(Box<anthropic::StreamTranslator>),
}

/// The state of one relayed stream.
struct Stream {
    reader: Reader,
    frames: Frames,
    buffer: BytesMut,
    tail: Vec<u8>,
    oversized: bool,
    ended: bool,
    out: Vec<u8>,
}

/// Relays an event stream to its end.
pub(super) async fn events(call: &mut Call, mut answer: Answer, exchange: &mut Exchange<'_>) -> Outcome<()> {
    let mut stream = Stream::new(call, &answer);
    call.status = answer.head.status;
    if !exchange.started() {
        let lines = match answer.reading {
            Reading::AnthropicToChat => {
                let mut lines = headers::of_translated(call, &answer.head);
                lines.add("content-type", b"text/event-stream; charset=utf-8");
                lines.add("cache-control", b"no-cache");
                lines
            }
            _ => headers::of_answer(call, &answer.head),
        };
        if exchange.start(answer.head.status, &lines, None).is_err() {
            call.outcome = ledger::Outcome::ClientDisconnect;
            return Ok(());
        }
    }
    let ended = pump(call, &mut stream, &mut answer, exchange).await;
    stream.report(call);
    match ended {
        Ended::Complete => {
            if answer.decoder.is_done() && answer.head.keep_alive {
                answer.lease.give_back();
            }
            call.outcome =
                if exchange.finish().await.is_ok() { ledger::Outcome::Ok } else { ledger::Outcome::ClientDisconnect };
        }
        Ended::ClientGone => {
            call.outcome = ledger::Outcome::ClientDisconnect;
            aftermath(call, &mut stream, answer).await;
        }
        Ended::Broken(failure) => {
            call.outcome = ledger::Outcome::UpstreamCut;
            call.error_code = Some(failure.code().to_owned());
            exchange.queue(errors::stream_event(call.surface.api(), &failure));
            let _ = exchange.finish().await;
        }
    }
    Ok(())
}

enum Ended {
    Complete,
    ClientGone,
    Broken(Failure),
}

async fn pump(call: &mut Call, stream: &mut Stream, answer: &mut Answer, exchange: &mut Exchange<'_>) -> Ended {
    let idle = Duration::from_millis(call.deployment.as_ref().map_or(120_000, |d| d.idle_timeout_ms));
    let ping = call.deployment.as_ref().and_then(|d| d.keepalive_ms).map(Duration::from_millis);
    let mut heard = Instant::now();
    // One timer for the whole stream, set again only when it fires.
    let mut timer = Box::pin(tokio::time::sleep(ping.unwrap_or(idle).min(idle)));
    loop {
        match stream.take(call, answer, Some(exchange)) {
            Ok(true) => return if exchange.flush().await.is_ok() { stream.verdict() } else { Ended::ClientGone },
            Ok(false) => {}
            Err(failure) => {
                let _ = exchange.flush().await;
                return Ended::Broken(failure);
            }
        }
        if exchange.flush().await.is_err() {
            return Ended::ClientGone;
        }
        let read = loop {
            tokio::select! {
                biased;
                read = answer.lease.conn.fill() => break read,
                () = exchange.closed() => return Ended::ClientGone,
                () = timer.as_mut() => {
                    let silent = heard.elapsed();
                    if silent >= idle {
                        return Ended::Broken(Failure::new(Kind::UpstreamTimeout, "The provider's stream stalled for longer than allowed."));
                    }
                    let mut next = heard + idle;
                    if let Some(ping) = ping.filter(|_| call.ttft_us.is_none()) {
                        exchange.queue(Bytes::from_static(b": keep-alive\n\n"));
                        if exchange.flush().await.is_err() {
                            return Ended::ClientGone;
                        }
                        next = next.min(Instant::now() + ping);
                    }
                    timer.as_mut().reset(next);
                }
            }
        };
        heard = Instant::now();
        match read {
            Ok(n) if n > 0 => {}
            Ok(_) if answer.decoder.eof().is_ok() => {}
            _ => return Ended::Broken(Failure::new(Kind::UpstreamProtocol, "The provider's stream broke off.")),
        }
    }
}

/// The client has gone: the upstream is told by a half-close, and what it had sent by then is counted, as it will be billed.
async fn aftermath(call: &mut Call, stream: &mut Stream, mut answer: Answer) {
    use tokio::io::AsyncWriteExt;
    let _ = tokio::time::timeout(AFTERMATH, async {
        if answer.lease.conn.stream.shutdown().await.is_err() {
            return;
        }
        loop {
            if !matches!(stream.take(call, &mut answer, None), Ok(false)) {
                return;
            }
            if !matches!(answer.lease.conn.fill().await, Ok(n) if n > 0) {
                return;
            }
        }
    })
    .await;
    stream.report(call);
}

impl Stream {
    fn new(call: &Call, answer: &Answer) -> Self {
        let reader = match answer.reading {
            Reading::OpenAi => Reader::OpenAi {
                hide_usage: answer.hide_usage,
                needs_end: matches!(call.surface, Surface::Chat | Surface::Completions),
            },
            Reading::Anthropic => Reader::Anthropic(Box::default()),
            Reading::AnthropicToChat => {
                let context = anthropic::ResponseContext { model: &call.model, created: call.started_ms / 1000 };
                let usage = call.wants_usage || call.snapshot.settings.always_include_stream_usage;
                Reader::Translator(Box::new(anthropic::StreamTranslator::new(&context, usage)))
            }
        };
        Self {
            reader,
            frames: Frames::new(),
            buffer: BytesMut::new(),
            tail: Vec::new(),
            oversized: false,
            ended: false,
            out: Vec::new(),
        }
    }

    /// Takes what was read; `true` at the end of the body.
    fn take(&mut self, call: &mut Call, answer: &mut Answer, mut exchange: Option<&mut Exchange<'_>>) -> Outcome<bool> {
        loop {
            let decoded = answer.decoder.decode(&mut answer.lease.conn.buf).map_err(|e| {
                Failure::new(Kind::UpstreamProtocol, format!("The provider's stream is malformed: {e}."))
            })?;
            match decoded {
                Decoded::NeedMore => return Ok(false),
                Decoded::End => {
                    if !self.buffer.is_empty() {
                        let rest = self.buffer.split().freeze();
                        self.frame(call, rest, &mut exchange)?;
                    }
                    return Ok(true);
                }
                Decoded::Data(data) => {
                    self.buffer.extend_from_slice(&data);
                    while let Some(frame) = self.frames.next(&mut self.buffer) {
                        self.frame(call, frame, &mut exchange)?;
                    }
                    if self.buffer.len() > MAX_HELD && !matches!(self.reader, Reader::Translator(_)) {
                        let part = self.frames.take_part(&mut self.buffer);
                        self.part(call, part, &mut exchange);
                        self.oversized = true;
                    } else if self.buffer.len() > 64 * MAX_HELD {
                        return Err(Failure::new(
                            Kind::UpstreamProtocol,
                            "The provider sent an event too large to translate.",
                        ));
                    }
                }
            }
        }
    }

    /// Part of a frame too large to hold.
    fn part(&mut self, call: &mut Call, part: Bytes, exchange: &mut Option<&mut Exchange<'_>>) {
        const TAIL: usize = 16 * 1024;
        self.tail.extend_from_slice(part.get(part.len().saturating_sub(TAIL)..).unwrap_or_default());
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        send(call, part, exchange);
    }

    fn frame(&mut self, call: &mut Call, frame: Bytes, exchange: &mut Option<&mut Exchange<'_>>) -> Outcome<()> {
        if std::mem::take(&mut self.oversized) {
            self.tail.extend_from_slice(&frame);
            if matches!(self.reader, Reader::OpenAi { .. })
                && let Some(usage) = openai::find_usage(&self.tail)
            {
                call.usage = Some(usage);
            }
            self.tail.clear();
            send(call, frame, exchange);
            return Ok(());
        }
        match &mut self.reader {
            Reader::OpenAi { hide_usage, .. } => {
                let hide = *hide_usage;
                if let Some(shown) = openai_frame(call, frame, hide, &mut self.ended) {
                    send(call, shown, exchange);
                }
            }
            Reader::Anthropic(watch) => {
                if let Some(event) = sse::parse(&frame) {
                    watch.event(Some(&event.kind).filter(|k| !k.is_empty()).map(|k| &k[..]), &event.data);
                    anthropic_text(call, &event.data);
                }
                send(call, frame, exchange);
            }
            Reader::Translator(translator) => {
                let Some(event) = sse::parse(&frame) else { return Ok(()) };
                let name = Some(&event.kind).filter(|k| !k.is_empty()).map(|k| &k[..]);
                let result = translator.event(name, &event.data, &mut self.out);
                if !self.out.is_empty() {
                    send(call, Bytes::from(std::mem::take(&mut self.out)), exchange);
                }
                result.map_err(|e| {
                    let upstream = e.upstream();
                    let mut failure = Failure::new(Kind::UpstreamStatus(upstream.status), upstream.message);
                    failure.type_name = Some(upstream.kind.to_owned());
                    failure.code = upstream.code.map(str::to_owned);
                    failure
                })?;
            }
        }
        Ok(())
    }

    /// Whether a body that ended well held a whole answer.
    fn verdict(&self) -> Ended {
        let whole = match &self.reader {
            Reader::OpenAi { needs_end, .. } => self.ended || !needs_end,
            Reader::Anthropic(watch) => watch.finished() || watch.error().is_some(),
            Reader::Translator(translator) => translator.finished(),
        };
        if whole {
            Ended::Complete
        } else {
            Ended::Broken(Failure::new(
                Kind::UpstreamProtocol,
                "The provider's stream ended before the answer was complete.",
            ))
        }
    }

    /// Hands what was seen of usage to the call.
    fn report(&mut self, call: &mut Call) {
        match &mut self.reader {
            Reader::OpenAi { .. } => {}
            Reader::Anthropic(watch) => {
                call.usage = watch.usage().filter(|_| watch.complete());
                if call.usage.is_none() && call.prompt_tokens.is_none() {
                    call.prompt_tokens = watch.usage().map(|u| u.prompt);
                }
            }
            Reader::Translator(translator) => {
                call.usage = translator.usage().filter(|_| translator.usage_complete());
                if call.usage.is_none() {
                    call.prompt_tokens = translator.usage().map(|u| u.prompt).or(call.prompt_tokens);
                    call.meter.text(&translator.take_text());
                }
            }
        }
    }
}

fn send(call: &mut Call, data: Bytes, exchange: &mut Option<&mut Exchange<'_>>) {
    if let Some(exchange) = exchange {
        call.first_byte();
        exchange.queue(data);
    }
}

/// Watches one frame of OpenAI's wire; `None` when it is not for the client.
fn openai_frame(call: &mut Call, frame: Bytes, hide_usage: bool, ended: &mut bool) -> Option<Bytes> {
    call.meter.frame(&frame);
    if !*ended {
        *ended = finishes(&frame) || is_done(&frame);
    }
    let Some(at) = USAGE.find(&frame) else { return Some(frame) };
    if let Some(usage) = openai::find_usage(&frame) {
        call.usage = Some(usage);
        return if hide_usage && has_no_choices(&frame) { None } else { Some(frame) };
    }
    if !hide_usage { Some(frame) } else { Some(without_null_usage(&frame, at)) }
}

/// Without the `"usage":null` that providers add to each chunk when usage was asked for.
fn without_null_usage(frame: &Bytes, at: usize) -> Bytes {
    let cut = || {
        let rest = frame.get(at + 7..)?;
        let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"null")?;
        let end = frame.len() - value.len();
        let before = frame.get(..at)?.trim_ascii_end();
        // The comma before it goes too; a first member takes the comma after it.
        Some(match before.strip_suffix(b",") {
            Some(kept) => [kept, value].concat(),
            None => [before, value.trim_ascii_start().strip_prefix(b",").unwrap_or(value).trim_ascii_start()].concat(),
        })
        .filter(|_| end <= frame.len())
    };
    cut().map_or_else(|| frame.clone(), Bytes::from)
}

/// Whether a choice says why it stopped.
fn finishes(frame: &[u8]) -> bool {
    FINISH.find_iter(frame).any(|at| {
        let value = frame.get(at + FINISH.needle().len()..).and_then(openai::after_colon);
        value.is_some_and(|v| v.starts_with(b"\""))
    })
}

/// Whether the frame's list of choices is empty, as a usage chunk's is.
fn has_no_choices(frame: &[u8]) -> bool {
    let value =
        CHOICES.find(frame).and_then(|at| frame.get(at + CHOICES.needle().len()..)).and_then(openai::after_colon);
    value.and_then(|v| v.strip_prefix(b"[")).is_some_and(|v| v.trim_ascii_start().starts_with(b"]"))
}

fn is_done(frame: &[u8]) -> bool {
    frame.strip_prefix(b"data:").is_some_and(|d| d.trim_ascii() == b"[DONE]")
}

/// Text deltas of Anthropic's wire, kept in case the final figures never come.
fn anthropic_text(call: &mut Call, data: &[u8]) {
    static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"content_block_delta"));
    if DELTA.find(data).is_some() {
        call.meter.frame(data);
    }
}

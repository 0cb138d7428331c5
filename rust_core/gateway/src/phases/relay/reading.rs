//! What is read of an event stream on its way: where frames end, what the client sees of them, what they say of usage, and
//! whether the answer is whole.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;

use super::openai_frame;
use crate::errors::{Failure, Kind, Outcome};
use crate::listener::exchange::Exchange;
use crate::phases::Call;
use crate::phases::dispatch::Answer;
use crate::providers::{Reading, anthropic, openai};
use crate::sse::{self, Frames};
use crate::surfaces::Surface;

/// A frame that grows beyond this is passed on in pieces, not held.
const MAX_HELD: usize = 256 * 1024;

/// What shows that an answer on OpenAI's wire is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A choice's finish reason, or `[DONE]`.
    Choice,
    /// The last event of a Responses stream.
    Response,
    /// The end of the body.
    Body,
}

/// Reads frames on behalf of the client.
enum Reader {
    OpenAi { hide_usage: bool, end: End },
    Anthropic(Box<anthropic::UsageWatch>),
    Translator(Box<anthropic::StreamTranslator>),
}

/// The state of one relayed stream.
pub(super) struct Stream {
    reader: Reader,
    frames: Frames,
    buffer: BytesMut,
    tail: Vec<u8>,
    /// The last frame was too large to hold, and its end has not come.
    pub(super) oversized: bool,
    ended: bool,
    /// What the provider said of its own failure, on OpenAI's wire.
    told: Option<Failure>,
    out: Vec<u8>,
}

/// How a stream came to its end.
pub(super) enum Ended {
    /// The answer is whole.
    Complete,
    /// Nobody reads it any more.
    ClientGone,
    /// The provider said in the stream that it failed; the client has its words.
    ToldError(Failure),
    /// It is not whole, and the client has not been told.
    Broken(Failure),
}

impl Stream {
    /// Nothing was read yet.
    pub(super) fn new(call: &Call, answer: &Answer) -> Self {
        let reader = match answer.reading {
            Reading::OpenAi => Reader::OpenAi {
                hide_usage: answer.hide_usage,
                end: match call.surface {
                    Surface::Chat | Surface::Completions => End::Choice,
                    Surface::Passthrough if call.template == "/v1/responses" => End::Response,
                    _ => End::Body,
                },
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
            told: None,
            out: Vec::new(),
        }
    }

    /// Takes what was read; `true` at the end of the body.
    pub(super) fn take(
        &mut self,
        call: &mut Call,
        answer: &mut Answer,
        mut exchange: Option<&mut Exchange<'_>>,
    ) -> Outcome<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let decoded = answer.decoder.decode_into(&mut answer.lease.conn.buf, &mut buffer);
        let mut start = 0;
        // What came before a fault is for the client all the same.
        while let Some(rest) = buffer.get(start..).filter(|rest| !rest.is_empty()) {
            let Some(end) = self.frames.end(rest) else { break };
            self.frame(call, rest.get(..end).unwrap_or_default(), &mut exchange)?;
            start += end;
        }
        buffer.advance(start);
        self.buffer = buffer;
        let whole = decoded
            .map_err(|e| Failure::new(Kind::UpstreamProtocol, format!("The provider's stream is malformed: {e}.")))?;
        if whole {
            if !self.buffer.is_empty() {
                let rest = self.buffer.split();
                self.unterminated(call, &rest, &mut exchange)?;
            }
            return Ok(true);
        }
        if self.buffer.len() > MAX_HELD && !matches!(self.reader, Reader::Translator(_)) {
            let part = self.frames.take_part(&mut self.buffer);
            self.part(call, &part, &mut exchange);
            self.oversized = true;
        } else if self.buffer.len() > 64 * MAX_HELD {
            return Err(Failure::new(Kind::UpstreamProtocol, "The provider sent an event too large to translate."));
        }
        Ok(false)
    }

    /// What the body ends with when no blank line follows: an event if it makes the answer whole or tells an error, else a torn one.
    fn unterminated(&mut self, call: &mut Call, rest: &[u8], exchange: &mut Option<&mut Exchange<'_>>) -> Outcome<()> {
        if matches!(self.reader, Reader::Translator(_)) {
            return self.frame(call, rest, exchange);
        }
        let (torn, was_told) = (self.oversized, self.told().is_some());
        self.frame(call, rest, &mut None)?;
        // The end of a frame whose beginning the client has is for it as well, and tells where an error may begin.
        self.oversized = torn;
        let tells = !was_told && self.told().is_some();
        if tells || self.is_whole() {
            let shown = match self.reader {
                Reader::OpenAi { hide_usage, .. } => openai_frame::read(rest, hide_usage).shown,
                _ => Some(Cow::Borrowed(rest)),
            };
            if let Some(shown) = shown {
                send(call, &shown, exchange);
            }
        }
        if tells {
            // Without a blank line clients would drop it, and take the answer for whole.
            send(call, b"\n\n", exchange);
        }
        Ok(())
    }

    /// Part of a frame too large to hold.
    fn part(&mut self, call: &mut Call, part: &[u8], exchange: &mut Option<&mut Exchange<'_>>) {
        const TAIL: usize = 16 * 1024;
        if !self.oversized {
            self.glean(call, part.get(..TAIL.min(part.len())).unwrap_or_default());
        }
        self.tail.extend_from_slice(part.get(part.len().saturating_sub(TAIL)..).unwrap_or_default());
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        if let Some(exchange) = exchange {
            call.first_byte();
            exchange.queue_part(part);
        }
    }

    /// Looks for usage at either end of a frame too large to hold.
    fn glean(&mut self, call: &mut Call, text: &[u8]) {
        match &mut self.reader {
            Reader::OpenAi { .. } => call.usage = openai::find_usage(text).or(call.usage),
            Reader::Anthropic(watch) => watch.fragment(text),
            Reader::Translator(_) => {}
        }
    }

    fn frame(&mut self, call: &mut Call, frame: &[u8], exchange: &mut Option<&mut Exchange<'_>>) -> Outcome<()> {
        if std::mem::take(&mut self.oversized) {
            self.tail.extend_from_slice(frame);
            let tail = std::mem::take(&mut self.tail);
            self.glean(call, &tail);
            if let Reader::OpenAi { end, .. } = &self.reader {
                // The name of a huge event is in a part that is gone; nothing but a whole answer is that large.
                self.ended |= *end == End::Response || openai_frame::ends(&tail);
            }
            send(call, frame, exchange);
            return Ok(());
        }
        match &mut self.reader {
            Reader::OpenAi { hide_usage, end } => {
                if *end != End::Body && self.told.is_none() {
                    self.told = openai_frame::error(frame);
                }
                if let Some(shown) = openai_frame(call, frame, *hide_usage, *end, &mut self.ended) {
                    send(call, &shown, exchange);
                }
            }
            Reader::Anthropic(watch) => {
                if let Some(event) = sse::parse(&Bytes::copy_from_slice(frame)) {
                    watch.event(Some(&event.kind).filter(|k| !k.is_empty()).map(|k| &k[..]), &event.data);
                    anthropic_text(call, &event.data);
                }
                send(call, frame, exchange);
            }
            Reader::Translator(translator) => {
                let Some(event) = sse::parse(&Bytes::copy_from_slice(frame)) else { return Ok(()) };
                let name = Some(&event.kind).filter(|k| !k.is_empty()).map(|k| &k[..]);
                let result = translator.event(name, &event.data, &mut self.out);
                // Handed on at once: the stream may be dropped at any moment.
                call.meter.text(&translator.take_text());
                call.prompt_tokens = translator.usage().map(|u| u.prompt).or(call.prompt_tokens);
                if !self.out.is_empty() {
                    send(call, &self.out, exchange);
                    self.out.clear();
                }
                result.map_err(|e| upstream_failure(e.upstream()))?;
            }
        }
        Ok(())
    }

    /// What the provider said of its own failure.
    fn told(&self) -> Option<Failure> {
        match &self.reader {
            Reader::Anthropic(watch) => watch.error().map(|error| upstream_failure(error.upstream())),
            _ => self.told.clone(),
        }
    }

    /// Whether what shows that an answer is whole was there.
    fn is_whole(&self) -> bool {
        match &self.reader {
            Reader::OpenAi { end, .. } => self.ended || *end == End::Body,
            Reader::Anthropic(watch) => watch.finished(),
            Reader::Translator(translator) => translator.finished(),
        }
    }

    /// Whether a body that ended well held a whole answer.
    pub(super) fn verdict(&self) -> Ended {
        // Neither a reason to stop nor a `[DONE]` makes an answer of it: clients' libraries raise what they are told.
        if let Some(failure) = self.told() {
            return Ended::ToldError(failure);
        }
        if self.is_whole() {
            Ended::Complete
        } else {
            Ended::Broken(Failure::new(
                Kind::UpstreamProtocol,
                "The provider's stream ended before the answer was complete.",
            ))
        }
    }

    /// Notes how far the call has got in the journal.
    pub(super) fn checkpoint(&mut self, call: &mut Call) {
        self.report(call);
        call.checkpoint();
    }

    /// Notes what the provider says of usage when it first does, and in the end: some say it with every frame, and what
    /// lies between is noted from time to time anyway.
    pub(super) fn note_told(&mut self, call: &mut Call) {
        let complete = match &self.reader {
            Reader::OpenAi { .. } => call.usage.is_some(),
            Reader::Anthropic(watch) => watch.complete(),
            Reader::Translator(translator) => translator.usage_complete(),
        };
        if complete && (self.ended || call.has_told_nothing()) {
            self.report(call);
            call.checkpoint_told();
        }
    }

    /// Hands what was seen of usage to the call.
    pub(super) fn report(&mut self, call: &mut Call) {
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
            }
        }
    }
}

fn upstream_failure(said: anthropic::UpstreamError) -> Failure {
    let mut failure = Failure::new(Kind::UpstreamStatus(said.status), said.message);
    failure.type_name = Some(said.kind.into());
    failure.code = said.code.map(Into::into);
    failure
}

fn send(call: &mut Call, data: &[u8], exchange: &mut Option<&mut Exchange<'_>>) {
    if let Some(exchange) = exchange {
        call.first_byte();
        exchange.queue(data);
    }
}

/// Watches one frame of OpenAI's wire; `None` when it is not for the client.
fn openai_frame<'a>(
    call: &mut Call,
    frame: &'a [u8],
    hide_usage: bool,
    end: End,
    ended: &mut bool,
) -> Option<Cow<'a, [u8]>> {
    call.meter.frame(frame);
    *ended = *ended
        || match end {
            End::Choice => openai_frame::ends(frame),
            End::Response => openai_frame::ends_response(frame),
            End::Body => true,
        };
    let seen = openai_frame::read(frame, hide_usage);
    if seen.usage.is_some() {
        call.usage = seen.usage;
    }
    seen.shown
}

/// Text deltas of Anthropic's wire, kept in case the final figures never come.
fn anthropic_text(call: &mut Call, data: &[u8]) {
    static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"content_block_delta"));
    if DELTA.find(data).is_some() {
        call.meter.frame(data);
    }
}

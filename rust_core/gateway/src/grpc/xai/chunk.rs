//! Streams: OpenAI's chunks as `GetChatCompletionChunk` and `SampleTextResponse`.
//!
//! Clients take id, model, time, usage, role and finish reason from the latest chunk and not from the one that told
//! them, and they append tool calls without joining fragments. So what the answer has said of itself is kept and told
//! in every chunk, and calls are kept until they are whole.

use bytes::BytesMut;

use super::chat::{self, index, service_tier};
use super::openai::{Answer, Choice, Said, text};
use super::put;
use super::said::{self, TOOL_CALLS, WholeCall, Words};
use super::usage::{Price, Sampling};
use crate::errors::{Failure, Kind, Outcome};
use crate::grpc::frame::Messages;

/// OpenAI's API gives at most 128 answers; a provider's defect must not make the client's memory grow without bound.
const MOST_CHOICES: u64 = 1024;
/// Bytes of unfinished calls: clients take messages of 20 MiB.
const MOST_HELD: usize = 16 << 20;

/// What a stream has said so far that must be said again.
#[derive(Debug, Default)]
pub(super) struct Stream {
    id: String,
    model: String,
    fingerprint: String,
    created: i64,
    tier: u64,
    usage: Option<Sampling>,
    /// Usage was told in a chunk that told nothing else: it goes with the next, or with the price at the end.
    owed: bool,
    price: Option<Price>,
    citations: Vec<String>,
    choices: Vec<Progress>,
    held: usize,
}

/// One answer of the stream.
#[derive(Debug, Default)]
struct Progress {
    index: u64,
    finish: u64,
    calls: Vec<Pending>,
}

/// A call of which fragments have come.
#[derive(Debug, Default)]
struct Pending {
    index: Option<u32>,
    call: WholeCall<'static>,
}

/// What a chunk adds to one answer.
struct Addition<'a> {
    choice: usize,
    words: Words<'a>,
    calls: Vec<WholeCall<'static>>,
    logprobs: Option<Vec<u8>>,
}

impl Stream {
    /// The chunk of a chat completion as at most one message: none where it adds nothing that a client would see.
    pub(super) fn chat(&mut self, json: &[u8], messages: &mut Messages) -> Outcome<()> {
        let chunk = chat::read(json)?;
        let told = self.learn(&chunk);
        let citations = self.new_citations(&chunk);
        let empty = Said::default();
        let mut additions = Vec::new();
        for (place, choice) in chunk.choices.iter().flatten().enumerate() {
            // A provider that was asked for a stream and answered whole has a message instead.
            let said = choice.delta.as_ref().or(choice.message.as_ref()).unwrap_or(&empty);
            additions.extend(self.add(choice, place, said)?);
        }
        self.owed |= told;
        if !additions.is_empty() || !citations.is_empty() {
            self.write(&additions, &citations, messages);
        }
        Ok(())
    }

    /// What the call cost.
    pub(super) fn cost(&mut self, price: Price) {
        self.owed |= self.usage.is_some();
        self.price = Some(price);
    }

    /// The end of a stream of chunks: calls whose answer never said that it had ended, and what is owed.
    pub(super) fn end_of_chat(&mut self, messages: &mut Messages) {
        let mut additions = Vec::new();
        for (choice, progress) in self.choices.iter_mut().enumerate().filter(|(_, p)| !p.calls.is_empty()) {
            progress.finish = TOOL_CALLS;
            let calls = progress.calls.drain(..).map(|pending| pending.call).collect();
            additions.push(Addition { choice, words: Words::default(), calls, logprobs: None });
        }
        if self.owed || !additions.is_empty() {
            self.write(&additions, &[], messages);
        }
    }

    /// The chunk of a text completion.
    pub(super) fn sample(&mut self, json: &[u8], messages: &mut Messages) -> Outcome<()> {
        let chunk = chat::read(json)?;
        let told = self.learn(&chunk);
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let adds = |choice: &Choice<'_>| !text(&choice.text).is_empty() || choice.finish_reason.is_some();
        self.owed |= told;
        if choices.iter().any(adds) {
            self.write_sample(choices.iter().enumerate().filter(|(_, choice)| adds(choice)), messages);
        }
        Ok(())
    }

    /// The end of a stream of pieces.
    pub(super) fn end_of_sample(&mut self, messages: &mut Messages) {
        if self.owed {
            self.write_sample(std::iter::empty(), messages);
        }
    }

    fn write_sample<'a>(&mut self, choices: impl Iterator<Item = (usize, &'a Choice<'a>)>, messages: &mut Messages) {
        self.owed = false;
        put::framed(messages, |out| {
            put::text(out, 1, &self.id);
            for (place, choice) in choices {
                put::message(out, 2, |out| {
                    put::number(out, 1, choice.finish_reason.as_ref().map_or(0, |word| said::finish_reason(&word.0)));
                    put::number(out, 2, index(choice, place));
                    put::text(out, 3, text(&choice.text));
                });
            }
            put::seconds(out, 5, self.created);
            put::text(out, 6, &self.model);
            put::text(out, 7, &self.fingerprint);
            self.write_usage(out, 9);
        });
    }

    fn write_usage(&self, out: &mut BytesMut, field: u32) {
        if let Some(usage) = &self.usage {
            usage.write(out, field);
        }
        if let Some(price) = self.price {
            price.write(out, field);
        }
    }

    /// Remembers what the chunk says of the answer as a whole; whether it told the usage.
    fn learn(&mut self, chunk: &Answer<'_>) -> bool {
        let news = [
            (&mut self.id, &chunk.id),
            (&mut self.model, &chunk.model),
            (&mut self.fingerprint, &chunk.system_fingerprint),
        ];
        for (kept, told) in news {
            let told = text(told);
            if !told.is_empty() && kept != told {
                told.clone_into(kept);
            }
        }
        if let Some(created) = chunk.created.filter(|created| created.0 != 0) {
            self.created = created.0;
        }
        if let Some(tier) = &chunk.service_tier {
            self.tier = service_tier(&tier.0);
        }
        let usage = Sampling::of(chunk);
        let told = usage.is_some() && usage != self.usage;
        self.usage = usage.or(self.usage);
        told
    }

    fn new_citations(&mut self, chunk: &Answer<'_>) -> Vec<String> {
        let all = chat::citations(chunk);
        let new: Vec<_> = all.into_iter().filter(|url| !self.citations.iter().any(|known| known == url)).collect();
        let new: Vec<_> = new.into_iter().map(std::borrow::Cow::into_owned).collect();
        self.citations.extend_from_slice(&new);
        new
    }

    fn add<'a>(&mut self, choice: &Choice<'_>, place: usize, said: &'a Said<'_>) -> Outcome<Option<Addition<'a>>> {
        let at = self.progress(index(choice, place))?;
        let Some(progress) = self.choices.get_mut(at) else { return Ok(None) };
        for call in said.tool_calls.iter().flatten() {
            self.held += progress.fragment(call.index, &WholeCall::of(call));
        }
        if self.held > MOST_HELD {
            return Err(Failure::new(
                Kind::UpstreamProtocol,
                "the provider's tool calls are larger than a client takes",
            ));
        }
        let mut calls = Vec::new();
        if let Some(word) = &choice.finish_reason {
            progress.finish = said::finish_reason(&word.0);
            calls.extend(progress.calls.drain(..).map(|pending| pending.call));
        }
        let words = Words::of(said);
        let logprobs = said::logprobs(choice);
        let adds = !words.is_empty() || logprobs.is_some() || choice.finish_reason.is_some();
        Ok(adds.then_some(Addition { choice: at, words, calls, logprobs }))
    }

    /// The place of an answer among those that have begun.
    fn progress(&mut self, index: u64) -> Outcome<usize> {
        if let Some(at) = self.choices.iter().position(|progress| progress.index == index) {
            return Ok(at);
        }
        if index >= MOST_CHOICES {
            return Err(chat::malformed());
        }
        self.choices.push(Progress { index, ..Progress::default() });
        Ok(self.choices.len() - 1)
    }

    fn write(&mut self, additions: &[Addition<'_>], citations: &[String], messages: &mut Messages) {
        self.owed = false;
        put::framed(messages, |out| {
            put::text(out, 1, &self.id);
            for addition in additions {
                let Some(progress) = self.choices.get(addition.choice) else { continue };
                put::message(out, 2, |out| output(out, progress, addition));
            }
            put::seconds(out, 3, self.created);
            put::text(out, 4, &self.model);
            put::text(out, 5, &self.fingerprint);
            self.write_usage(out, 6);
            citations.iter().for_each(|url| put::text(out, 7, url));
            put::number(out, 12, self.tier);
        });
    }
}

fn output(out: &mut BytesMut, progress: &Progress, addition: &Addition<'_>) {
    said::message(out, 1, &addition.words, &addition.calls);
    if let Some(logprobs) = &addition.logprobs {
        put::bytes(out, 2, logprobs);
    }
    put::number(out, 3, progress.finish);
    put::number(out, 4, progress.index);
}

impl Progress {
    /// Adds a fragment to its call, or begins one; how many bytes it was.
    ///
    /// A fragment belongs to the call of its index, or to the latest where it has none; but one with an id of its own
    /// begins a call, because some servers give every call the same index.
    fn fragment(&mut self, index: Option<u32>, part: &WholeCall<'_>) -> usize {
        let known = match index {
            Some(_) => self.calls.iter().rposition(|pending| pending.index == index),
            None => self.calls.len().checked_sub(1),
        };
        let known = known.and_then(|at| self.calls.get_mut(at));
        let same = |call: &WholeCall<'_>| part.id.is_empty() || call.id.is_empty() || call.id == part.id;
        let call = match known {
            Some(pending) if same(&pending.call) => &mut pending.call,
            _ => {
                self.calls.push(Pending { index, ..Pending::default() });
                let Some(pending) = self.calls.last_mut() else { return 0 };
                &mut pending.call
            }
        };
        if call.id.is_empty() {
            call.id = part.id.clone().into_owned().into();
        }
        if call.name.is_empty() {
            call.name = part.name.clone().into_owned().into();
        }
        call.arguments.to_mut().push_str(&part.arguments);
        part.id.len() + part.name.len() + part.arguments.len() + size_of::<Pending>()
    }
}

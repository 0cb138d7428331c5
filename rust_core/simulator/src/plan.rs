//! A streamed answer, laid out before its first byte is sent: ready-made events and templates
//! into which tokens are copied.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use penstock_http1::put_decimal;

use crate::output::{Output, Words};

/// One event with a hole for a token, and one for its number where the wire numbers events.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) before: Bytes,
    /// With it: the event's number goes before it.
    pub(crate) numbered: Option<Bytes>,
    pub(crate) after: Bytes,
}

impl Template {
    /// Cuts a rendered event at its hole, written as U+001A, which JSON text cannot have raw.
    pub(crate) fn new(event: &str) -> Self {
        let (before, after) = event.split_once('\u{1a}').unwrap_or((event, ""));
        let (before, numbered) = before.split_once('\u{1b}').map_or((before, None), |(b, n)| (b, Some(n)));
        let owned = |s: &str| Bytes::copy_from_slice(s.as_bytes());
        Self { before: owned(before), numbered: numbered.map(owned), after: owned(after) }
    }

    fn put(&self, number: u64, token: impl FnOnce(&mut BytesMut), out: &mut BytesMut) {
        out.put_slice(&self.before);
        if let Some(rest) = &self.numbered {
            put_decimal(out, number);
            out.put_slice(rest);
        }
        token(out);
        out.put_slice(&self.after);
    }
}

#[derive(Debug)]
enum Segment {
    Event(Bytes),
    /// Word `i` of every choice, then word `i + 1`.
    Words(Vec<(Words, Template)>),
    Pieces(Vec<String>, Template),
}

/// The events of one answer.
#[derive(Debug)]
pub(crate) struct Plan {
    segments: VecDeque<Segment>,
    at: u64,
    sent: u64,
    /// Number of events planned so far, words included.
    pub(crate) events: u64,
    /// The wire's error event.
    pub(crate) error: Bytes,
    pub(crate) status: u16,
    pub(crate) content_type: Cow<'static, str>,
    /// These fields in place of the wire's usual ones, each with its line end.
    pub(crate) only_fields: Option<String>,
    /// Each event in a write of its own.
    pub(crate) flush: bool,
}

impl Plan {
    pub(crate) fn new(error: Bytes) -> Self {
        Self {
            segments: VecDeque::with_capacity(8),
            at: 0,
            sent: 0,
            events: 0,
            error,
            status: 200,
            content_type: Cow::Borrowed("text/event-stream; charset=utf-8"),
            only_fields: None,
            flush: false,
        }
    }

    pub(crate) fn event(&mut self, event: impl Into<Bytes>) {
        self.events += 1;
        self.segments.push_back(Segment::Event(event.into()));
    }

    /// One event per token; `template` is asked for each choice.
    pub(crate) fn tokens(&mut self, output: &Output, choices: u32, template: impl Fn(u32) -> Template) {
        match output {
            Output::Words(words) => {
                self.events += words.iter().map(|w| w.count).sum::<u64>();
                let words = words.iter().zip(0..).map(|(w, choice)| (w.clone(), template(choice))).collect();
                self.segments.push_back(Segment::Words(words));
            }
            Output::Text(pieces) | Output::Call { arguments: pieces, .. } => {
                for choice in 0..choices {
                    self.events += pieces.len() as u64;
                    self.segments.push_back(Segment::Pieces(pieces.clone(), template(choice)));
                }
            }
        }
    }

    /// Words outside the choices (thinking).
    pub(crate) fn words(&mut self, words: Words, template: Template) {
        self.events += words.count;
        self.segments.push_back(Segment::Words(vec![(words, template)]));
    }

    /// Whether the next event carries a token, skipping what is empty; `None` at the end.
    pub(crate) fn peek(&mut self) -> Option<bool> {
        loop {
            let done = match self.segments.front()? {
                Segment::Event(_) => return Some(false),
                Segment::Words(words) => {
                    let most = words.iter().map(|(w, _)| w.count).max().unwrap_or(0);
                    let width = words.len() as u64;
                    while self.at < most * width && self.exhausted(self.at) {
                        self.at += 1;
                    }
                    self.at >= most * width
                }
                Segment::Pieces(pieces, _) => self.at >= pieces.len() as u64,
            };
            if !done {
                return Some(true);
            }
            self.segments.pop_front();
            self.at = 0;
        }
    }

    /// Whether the choice whose turn it is has no more words.
    fn exhausted(&self, at: u64) -> bool {
        let Some(Segment::Words(words)) = self.segments.front() else { return false };
        let width = words.len() as u64;
        words.get((at % width) as usize).is_none_or(|(w, _)| at / width >= w.count)
    }

    /// Appends the next event; says whether there was one.
    pub(crate) fn next(&mut self, out: &mut BytesMut) -> bool {
        if self.peek().is_none() {
            return false;
        }
        let (number, at) = (self.sent, self.at);
        let mut event_done = false;
        match self.segments.front() {
            Some(Segment::Event(event)) => {
                out.put_slice(event);
                event_done = true;
            }
            Some(Segment::Words(words)) => {
                let width = words.len() as u64;
                if let Some((words, template)) = words.get((at % width) as usize) {
                    template.put(number, |out| words.put(at / width, out), out);
                }
            }
            Some(Segment::Pieces(pieces, template)) => {
                if let Some(piece) = pieces.get(at as usize) {
                    template.put(number, |out| out.put_slice(piece.as_bytes()), out);
                }
            }
            None => return false,
        }
        self.sent += 1;
        self.at += 1;
        if event_done {
            self.segments.pop_front();
            self.at = 0;
        }
        true
    }
}

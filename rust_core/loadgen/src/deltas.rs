//! What is expected of every stream, on whichever wire: its deltas, their number and order, its usage.
//!
//! Apart from the wires so that streams over SSE and over gRPC are held to the same.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::options::{Order, StreamOptions};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// What is wrong with a stream; the names, after that of the wire, are those of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The end marker is missing.
    NotDone,
    /// Something came after the end marker.
    AfterDone,
    /// Not as many deltas as expected.
    DeltaCount,
    /// A delta is missing, repeated or out of order.
    Order,
    /// No `usage` object.
    Usage,
    /// The stream carried an error.
    Error,
    /// A line is longer than is kept.
    Line,
}

impl Flaw {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotDone => "not_done",
            Self::AfterDone => "after_done",
            Self::DeltaCount => "delta_count",
            Self::Order => "order",
            Self::Usage => "no_usage",
            Self::Error => "error",
            Self::Line => "line_too_long",
        }
    }

    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::NotDone => "the stream ended without `[DONE]`, `message_stop` or `response.completed`",
            Self::AfterDone => "text came after the end marker",
            Self::DeltaCount => "another number of deltas with text than expected",
            Self::Order => "a delta is missing, repeated or out of order",
            Self::Usage => "the stream does not state its usage",
            Self::Error => "the stream carried an error",
            Self::Line => "a line is longer than 16 MB",
        }
    }
}

/// A finished stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Events with data, or messages.
    pub(crate) frames: u64,
    pub(crate) deltas: u64,
    /// Hash of the deltas with their boundaries, in order.
    pub(crate) digest: u64,
}

/// What was seen of one stream so far.
#[derive(Debug)]
pub(crate) struct Deltas {
    order: Order,
    seen: Seen,
    number: Option<usize>,
    usage: bool,
    flaw: Option<Flaw>,
}

impl Deltas {
    pub(crate) fn new(order: Order) -> Self {
        let seen = Seen { frames: 0, deltas: 0, digest: FNV_OFFSET };
        Self { order, seen, number: None, usage: false, flaw: None }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.seen.deltas
    }

    /// An event with data, or a message, is complete.
    pub(crate) fn frame(&mut self) {
        self.seen.frames += 1;
    }

    /// The usage was stated.
    pub(crate) fn usage(&mut self) {
        self.usage = true;
    }

    pub(crate) fn has_usage(&self) -> bool {
        self.usage
    }

    /// The first flaw is the one that is reported.
    pub(crate) fn flaw(&mut self, flaw: Flaw) {
        self.flaw = self.flaw.or(Some(flaw));
    }

    /// A delta with this text, as its wire spells it.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.seen.deltas += 1;
        for byte in text.iter().chain(std::iter::once(&b'"')) {
            self.seen.digest = (self.seen.digest ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
        if self.order == Order::Numbered {
            let number = number_of(text);
            let follows = match (self.number, number) {
                (Some(before), Some(now)) => (before + 1) % NUMBERS.len() == now,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if !follows {
                self.flaw(Flaw::Order);
            }
            self.number = number;
        }
    }

    /// The stream has ended, `done` with its wire's end marker: what was seen, or the first thing that is wrong with it.
    /// `reference` is told of a stream that is otherwise complete and says which one [`Order::Same`] compares it with.
    pub(crate) fn finish(
        self,
        expected: &StreamOptions,
        done: bool,
        reference: impl FnOnce(Seen) -> Seen,
    ) -> Result<Seen, Flaw> {
        let Self { order, seen, usage, flaw, .. } = self;
        if let Some(flaw) = flaw {
            return Err(flaw);
        }
        if expected.done && !done {
            return Err(Flaw::NotDone);
        }
        if expected.deltas.is_some_and(|n| n != seen.deltas) {
            return Err(Flaw::DeltaCount);
        }
        if expected.usage && !usage {
            return Err(Flaw::Usage);
        }
        let same_as = reference(seen);
        if order == Order::Same && (same_as.deltas, same_as.digest) != (seen.deltas, seen.digest) {
            return Err(Flaw::Order);
        }
        Ok(seen)
    }
}

/// The simulator's words and their numbers.
static NUMBERS: LazyLock<HashMap<&'static [u8], usize>> = LazyLock::new(|| {
    include_str!("../../simulator/src/words.txt").lines().enumerate().map(|(n, word)| (word.as_bytes(), n)).collect()
});

/// The number of the word that a delta begins with.
fn number_of(text: &[u8]) -> Option<usize> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|b| !b.is_ascii_lowercase()).unwrap_or(text.len());
    NUMBERS.get(text.get(..end)?).copied()
}

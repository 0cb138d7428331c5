//! What the model says: words of the vocabulary, or a text split into fragments.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::control::Control;
use crate::json;
use crate::reply::Refusal;
use crate::schema::{self, Tool};
use crate::vocabulary::word;

/// Most bytes of an answer that is made as a whole.
const MAX_ANSWER: usize = 128 << 20;
/// Bytes of one fragment of a text that is not words.
const FRAGMENT: usize = 6;
/// Places of the vocabulary between the first words of two choices, so that choices differ.
const CHOICE_STEP: u64 = 7;

/// Consecutive words of the vocabulary, made when they are written.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// How many.
    pub(crate) count: u64,
    /// Place of the first in the vocabulary.
    first: u64,
    bytes: usize,
    huge: Option<usize>,
    /// Bytes kept of the last one.
    keep: Option<usize>,
}

impl Words {
    pub(crate) fn new(control: &Control, first: u64, count: u64) -> Self {
        Self { count, first, bytes: control.token_bytes, huge: control.faults.huge, keep: None }
    }

    /// Appends word `i` with its space; it needs no JSON escaping.
    pub(crate) fn put(&self, i: u64, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(b' ');
        out.put_slice(word(self.first.saturating_add(i)).as_bytes());
        let wanted = self.huge.filter(|_| i == 0).unwrap_or(self.bytes);
        let filler = wanted.saturating_sub(out.len() - start);
        out.put_bytes(b'.', filler);
        if let Some(keep) = self.keep.filter(|_| i + 1 == self.count) {
            out.truncate(start + keep);
        }
    }

    /// Appends all of them.
    pub(crate) fn put_all(&self, out: &mut BytesMut) {
        for i in 0..self.count {
            self.put(i, out);
        }
    }

    /// Roughly how long they are together.
    pub(crate) fn size(&self) -> usize {
        (self.count as usize).saturating_mul(self.bytes.max(12)).saturating_add(self.huge.unwrap_or(0))
    }

    /// Ends the words before the first of the sequences, if one occurs; says which.
    fn cut_at(&mut self, stops: &[Cow<'_, str>]) -> Option<String> {
        let mut text = BytesMut::with_capacity(self.size());
        let mut ends = Vec::with_capacity(self.count as usize);
        for i in 0..self.count {
            self.put(i, &mut text);
            ends.push(text.len());
        }
        let found = stops.iter().filter(|s| !s.is_empty());
        let (at, stop) = found
            .filter_map(|s| memchr::memmem::find(&text, s.as_bytes()).map(|at| (at, s)))
            .min_by_key(|(at, _)| *at)?;
        let whole = ends.partition_point(|end| *end <= at);
        let start = whole.checked_sub(1).and_then(|i| ends.get(i)).copied().unwrap_or(0);
        self.count = whole as u64;
        if at > start {
            self.count += 1;
            self.keep = Some(at - start);
        }
        Some(stop.to_string())
    }
}

/// An answer's content.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// One set of words per choice.
    Words(Vec<Words>),
    /// Fragments of a text, the same in every choice; already escaped as inside a JSON string.
    Text(Vec<String>),
    /// Fragments of a tool call's arguments, escaped likewise.
    Call { name: String, arguments: Vec<String> },
}

impl Output {
    /// Tokens of one choice.
    pub(crate) fn tokens(&self) -> u64 {
        match self {
            Self::Words(words) => words.first().map_or(0, |w| w.count),
            Self::Text(pieces) | Self::Call { arguments: pieces, .. } => pieces.len() as u64,
        }
    }

    /// Appends the content of one choice, escaped as inside a JSON string.
    pub(crate) fn put(&self, choice: usize, out: &mut BytesMut) {
        match self {
            Self::Words(words) => {
                if let Some(words) = words.get(choice) {
                    words.put_all(out);
                }
            }
            Self::Text(pieces) | Self::Call { arguments: pieces, .. } => {
                pieces.iter().for_each(|p| out.put_slice(p.as_bytes()));
            }
        }
    }
}

/// Why the content ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// A stop sequence.
    Sequence(String),
    Length,
    Call,
}

/// `stop` as a string or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Stops<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

/// What a request says about the answer's content.
#[derive(Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) max: Option<u64>,
    pub(crate) choices: u32,
    pub(crate) stops: Vec<Cow<'a, str>>,
    pub(crate) tool: Option<Tool>,
    /// The request's response format: a JSON schema, or `{}` for any object.
    pub(crate) format: Option<serde_json::Value>,
}

impl<'a> Ask<'a> {
    pub(crate) fn with_stops(mut self, stops: Option<Stops<'a>>) -> Self {
        match stops {
            None => {}
            Some(Stops::One(stop)) => self.stops.push(stop),
            Some(Stops::Many(stops)) => self.stops = stops,
        }
        self
    }

    /// Refuses an answer that is made as a whole and would not fit in memory.
    pub(crate) fn check(&self, control: &Control, streamed: bool) -> Result<(), Refusal> {
        if streamed && self.stops.is_empty() {
            return Ok(());
        }
        let count = control.tokens.min(self.max.unwrap_or(u64::MAX)) as usize;
        let one = count.saturating_mul(control.token_bytes.max(12)).saturating_add(control.faults.huge.unwrap_or(0));
        let size = one.saturating_mul(self.choices.max(1) as usize);
        if size > MAX_ANSWER {
            return Err(Refusal::invalid(format!("the answer would have {size} bytes; at most {MAX_ANSWER} are made")));
        }
        Ok(())
    }

    /// Decides the content.
    pub(crate) fn decide(&self, control: &Control) -> (Output, Finish) {
        if let Some(tool) = &self.tool {
            let arguments = schema::instance(&tool.schema).to_string();
            let arguments = fragments(&arguments);
            return (Output::Call { name: tool.name.clone(), arguments }, Finish::Call);
        }
        let max = self.max.unwrap_or(u64::MAX);
        if let Some(format) = &self.format {
            let mut pieces = fragments(&schema::instance(format).to_string());
            let fits = pieces.len() as u64 <= max;
            pieces.truncate(usize::try_from(max).unwrap_or(usize::MAX));
            return (Output::Text(pieces), if fits { Finish::Stop } else { Finish::Length });
        }
        let count = control.tokens.min(max);
        let mut finish = if count < control.tokens { Finish::Length } else { Finish::Stop };
        let mut words: Vec<Words> =
            (0..self.choices.max(1)).map(|c| Words::new(control, u64::from(c) * CHOICE_STEP, count)).collect();
        if !self.stops.is_empty() {
            for words in &mut words {
                if let Some(stop) = words.cut_at(&self.stops) {
                    finish = Finish::Sequence(stop);
                }
            }
        }
        (Output::Words(words), finish)
    }
}

/// Splits a text into escaped fragments.
pub(crate) fn fragments(text: &str) -> Vec<String> {
    let mut pieces = Vec::with_capacity(text.len() / FRAGMENT + 1);
    let mut piece = String::new();
    for c in text.chars() {
        piece.push(c);
        if piece.len() >= FRAGMENT {
            pieces.push(json::escaped(&piece));
            piece.clear();
        }
    }
    if !piece.is_empty() {
        pieces.push(json::escaped(&piece));
    }
    pieces
}

/// A raw JSON value as a tree; absent and malformed are `null`.
pub(crate) fn tree(raw: Option<&RawValue>) -> serde_json::Value {
    raw.and_then(|r| serde_json::from_str(r.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ask: &Ask<'_>, tokens: u64) -> (String, u64, Finish) {
        let control = Control { tokens, ..Control::default() };
        let (output, finish) = ask.decide(&control);
        let mut text = BytesMut::new();
        output.put(0, &mut text);
        (String::from_utf8(text.to_vec()).unwrap(), output.tokens(), finish)
    }

    #[test]
    fn words_are_in_order_and_bounded() {
        assert_eq!(said(&Ask::default(), 3), (" time river that".into(), 3, Finish::Stop));
        let ask = Ask { max: Some(2), ..Ask::default() };
        assert_eq!(said(&ask, 3), (" time river".into(), 2, Finish::Length));
    }

    #[test]
    fn a_stop_sequence_cuts_inside_a_token() {
        let ask = Ask { stops: vec!["that".into()], ..Ask::default() };
        assert_eq!(said(&ask, 9), (" time river ".into(), 3, Finish::Sequence("that".into())));
        let ask = Ask { stops: vec![" river".into(), "nowhere".into()], ..Ask::default() };
        assert_eq!(said(&ask, 9), (" time".into(), 1, Finish::Sequence(" river".into())));
        let ask = Ask { stops: vec![" time".into()], ..Ask::default() };
        assert_eq!(said(&ask, 9), (String::new(), 0, Finish::Sequence(" time".into())));
    }

    #[test]
    fn a_length_per_token_is_kept() {
        let control = Control { tokens: 2, token_bytes: 9, ..Control::default() };
        let (output, _) = Ask::default().decide(&control);
        let mut text = BytesMut::new();
        output.put(0, &mut text);
        assert_eq!(&text[..], b" time.... river...");
    }

    #[test]
    fn fragments_join_to_the_text() {
        let text = "{\"city\":\"Zürich \\\"x\\\"\"}";
        let joined: String = fragments(text).concat();
        assert_eq!(serde_json::from_str::<String>(&format!("\"{joined}\"")).unwrap(), text);
    }
}

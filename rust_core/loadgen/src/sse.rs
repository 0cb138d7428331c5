//! Watching an event stream: frames, deltas, their order, and whether the stream was complete.
//!
//! Lines are scanned, not parsed as JSON: the watcher must cost much less than what it watches.
//! The event stream format is that of the HTML standard, section 9.2. Three wires are told apart by the names of
//! their events: OpenAI's chat and completions have none and end with `[DONE]`, Anthropic's messages end with
//! `message_stop`, OpenAI's responses with `response.completed` or `response.incomplete`.

use memchr::memchr;
use memchr::memmem;

use crate::deltas::{Deltas, Flaw, Seen};
use crate::options::{Order, StreamOptions};

/// Longest line kept when it comes in pieces.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// What the event under way is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// It has no name that says anything.
    Plain,
    /// A delta of the responses wire: its text is under `delta`.
    ResponseDelta,
    /// It carries no delta, whatever text is in it.
    Frame,
}

impl Event {
    fn of(name: &[u8]) -> Self {
        match name {
            b"response.output_text.delta" => Self::ResponseDelta,
            b"message_start" | b"message_delta" | b"content_block_stop" | b"ping" => Self::Frame,
            _ if name.starts_with(b"response.") => Self::Frame,
            _ => Self::Plain,
        }
    }
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct Watch {
    partial: Vec<u8>,
    in_event: bool,
    event: Event,
    done: bool,
    deltas: Deltas,
}

impl Watch {
    pub(crate) fn new(order: Order) -> Self {
        Self { partial: Vec::new(), in_event: false, event: Event::Plain, done: false, deltas: Deltas::new(order) }
    }

    /// Takes the next bytes and says how many deltas they completed.
    pub(crate) fn feed(&mut self, mut data: &[u8]) -> u64 {
        let before = self.deltas.count();
        while let Some(end) = memchr(b'\n', data) {
            let (line, rest) = data.split_at(end);
            if self.partial.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole);
                whole.clear();
                self.partial = whole;
            }
            data = rest.get(1..).unwrap_or_default();
        }
        if self.partial.len() + data.len() > MAX_LINE {
            self.deltas.flaw(Flaw::Line);
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(data);
        }
        self.deltas.count() - before
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if self.in_event {
                self.deltas.frame();
            }
            self.in_event = false;
            self.event = Event::Plain;
            return;
        }
        if let Some(name) = line.strip_prefix(b"event:") {
            let name = name.trim_ascii();
            self.event = Event::of(name);
            match name {
                b"message_stop" | b"response.completed" | b"response.incomplete" => self.done = true,
                b"error" | b"response.failed" => self.deltas.flaw(Flaw::Error),
                _ => {}
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.in_event = true;
            self.data(data.trim_ascii());
        }
    }

    fn data(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        let text = match self.event {
            Event::Plain => text_of(data),
            Event::ResponseDelta => string_of(data, b"\"delta\""),
            Event::Frame => None,
        };
        if let Some(text) = text {
            if self.done {
                self.deltas.flaw(Flaw::AfterDone);
            }
            self.deltas.text(text);
        } else if value_of(data, b"\"error\"").is_some_and(|v| v.first() == Some(&b'{')) {
            self.deltas.flaw(Flaw::Error);
        }
        if !self.deltas.has_usage() && value_of(data, b"\"usage\"").is_some_and(|v| v.first() == Some(&b'{')) {
            self.deltas.usage();
        }
    }

    /// The stream has ended; see [`Deltas::finish`].
    pub(crate) fn finish(self, expected: &StreamOptions, reference: impl FnOnce(Seen) -> Seen) -> Result<Seen, Flaw> {
        self.deltas.finish(expected, self.done, reference)
    }
}

/// The text of a delta: a non-empty `content` (OpenAI chat) or `text` (OpenAI completions, Anthropic messages).
fn text_of(data: &[u8]) -> Option<&[u8]> {
    string_of(data, b"\"content\"").or_else(|| string_of(data, b"\"text\""))
}

/// The characters, still escaped, of the first non-empty string under this key.
fn string_of<'a>(data: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let text = value_of(data, key)?.strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = text.iter().position(|b| {
        let ends = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    })?;
    text.get(..end).filter(|t| !t.is_empty())
}

/// What follows the first `key:`.
fn value_of<'a>(data: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut rest = data;
    while let Some(at) = memmem::find(rest, key) {
        rest = rest.get(at + key.len()..)?;
        if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
            return Some(value.trim_ascii_start());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = concat!(
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"time \\\"q\\\"\"}}]}\n\n",
        "data: {\"choices\": [{\"delta\": {\"content\": \" river\"}}]}\r\n\r\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );
    const ANTHROPIC: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"a\":1}}}\n\n",
        "event: content_block_start\ndata: {\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"w1\"}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );

    const RESPONSES: &str = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null,\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"item_id\":\"i\",\"delta\":\" time\"}\n\n",
        "event: response.output_text.delta\ndata: {\"item_id\":\"i\",\"delta\":\" river\"}\n\n",
        "event: response.output_text.done\ndata: {\"text\":\" time river\"}\n\n",
        "event: response.output_item.done\ndata: {\"item\":{\"content\":[{\"text\":\" time river\"}]}}\n\n",
        "event: response.completed\ndata: {\"response\":{\"output\":[{\"text\":\" time river\"}],\"usage\":{\"a\":1}}}\n\n",
    );

    fn expected(order: Order) -> StreamOptions {
        StreamOptions { deltas: None, order, done: true, usage: true }
    }

    fn watch(order: Order, text: &str, piece: usize) -> Watch {
        let mut watch = Watch::new(order);
        for piece in text.as_bytes().chunks(piece) {
            watch.feed(piece);
        }
        watch
    }

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let whole = watch(Order::Numbered, CHAT, CHAT.len()).finish(&expected(Order::Numbered), |seen| seen).unwrap();
        assert_eq!((whole.frames, whole.deltas), (5, 2));
        for piece in 1..40 {
            let cut = watch(Order::Numbered, CHAT, piece).finish(&expected(Order::Numbered), |seen| seen).unwrap();
            assert_eq!(cut, whole);
        }
    }

    #[test]
    fn anthropic_streams_are_understood() {
        let seen = watch(Order::Any, ANTHROPIC, 7).finish(&expected(Order::Any), |seen| seen).unwrap();
        assert_eq!((seen.frames, seen.deltas), (4, 1));
    }

    #[test]
    fn streams_of_responses_are_understood() {
        let seen = watch(Order::Any, RESPONSES, 13).finish(&expected(Order::Any), |seen| seen).unwrap();
        assert_eq!((seen.frames, seen.deltas), (6, 2));
        let cut = RESPONSES.replace("response.completed", "response.in_progress");
        assert_eq!(watch(Order::Any, &cut, 13).finish(&expected(Order::Any), |seen| seen), Err(Flaw::NotDone));
        let failed = RESPONSES.replace("response.completed", "response.failed");
        assert_eq!(watch(Order::Any, &failed, 13).finish(&expected(Order::Any), |seen| seen), Err(Flaw::Error));
        let numbered = watch(Order::Numbered, RESPONSES, 9).finish(&expected(Order::Numbered), |seen| seen).unwrap();
        assert_eq!(numbered, seen);
    }

    #[test]
    fn an_error_beside_other_fields_is_an_error_and_one_in_a_text_is_not() {
        let text = CHAT.replace("river", "river \\\"error\\\":{");
        assert!(watch(Order::Any, &text, 64).finish(&expected(Order::Any), |seen| seen).is_ok());
        let event = format!("data: {{\"id\":\"a\", \"error\": {{\"message\":\"m\"}}}}\n\n{CHAT}");
        assert_eq!(watch(Order::Any, &event, 64).finish(&expected(Order::Any), |seen| seen), Err(Flaw::Error));
        let null = format!("data: {{\"id\":\"a\", \"error\": null}}\n\n{CHAT}");
        assert!(watch(Order::Any, &null, 64).finish(&expected(Order::Any), |seen| seen).is_ok());
    }

    #[test]
    fn each_flaw_is_told_apart() {
        let flaw = |text: &str, order, same_as: Option<Seen>| {
            watch(order, text, 11).finish(&expected(order), |seen| same_as.unwrap_or(seen)).unwrap_err()
        };
        let swapped = CHAT.replace("time", "that");
        assert_eq!(flaw(&swapped, Order::Numbered, None), Flaw::Order);
        let reference = watch(Order::Same, CHAT, 9).finish(&expected(Order::Same), |seen| seen).unwrap();
        assert_eq!(flaw(&swapped, Order::Same, Some(reference)), Flaw::Order);
        assert_eq!(flaw(&CHAT.replace("[DONE]", "{}"), Order::Any, None), Flaw::NotDone);
        assert_eq!(flaw(&CHAT.replace("\"usage\":{", "\"other\":{"), Order::Any, None), Flaw::Usage);
        let late = format!("{CHAT}data: {{\"choices\":[{{\"delta\":{{\"content\":\"w3\"}}}}]}}\n\n");
        assert_eq!(flaw(&late, Order::Any, None), Flaw::AfterDone);
        let error = format!("data: {{\"error\":{{\"message\":\"m\"}}}}\n\n{CHAT}");
        assert_eq!(flaw(&error, Order::Any, None), Flaw::Error);
        let two = StreamOptions { deltas: Some(3), order: Order::Any, done: true, usage: true };
        assert_eq!(watch(Order::Any, CHAT, 11).finish(&two, |seen| seen).unwrap_err(), Flaw::DeltaCount);
    }

    #[test]
    fn the_word_after_the_last_is_the_first() {
        let turn = CHAT.replace("time", "monitor").replace("river", "time");
        assert!(watch(Order::Numbered, &turn, 11).finish(&expected(Order::Numbered), |seen| seen).is_ok());
        let unknown = CHAT.replace("river", "riverbed");
        assert_eq!(
            watch(Order::Numbered, &unknown, 11).finish(&expected(Order::Numbered), |seen| seen),
            Err(Flaw::Order)
        );
    }

    #[test]
    fn moved_boundaries_change_the_digest() {
        let moved = CHAT.replace("time \\\"q\\\"", "time \\\"q").replace("\" river\"", "\"\\\" river\"");
        let digest =
            |text: &str| watch(Order::Same, text, 64).finish(&expected(Order::Same), |seen| seen).unwrap().digest;
        assert_ne!(digest(CHAT), digest(&moved));
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut watch = Watch::new(Order::Any);
        for _ in 0..17 {
            watch.feed(&vec![b'x'; 1024 * 1024]);
        }
        assert!(watch.partial.len() <= MAX_LINE);
        assert_eq!(watch.finish(&expected(Order::Any), |seen| seen).unwrap_err(), Flaw::Line);
    }
}

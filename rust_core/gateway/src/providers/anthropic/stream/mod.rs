//! A Messages stream as chat completion chunks.
//!
//! Text, thinking and tool arguments go out as they come. Citations, signed thinking and blocks that only Anthropic
//! understands go out once, whole, at the end: clients that merge deltas cannot merge such lists, and replay them, and should an intermediary restart the answer in the
//! same stream (a second `message_start`), those of the abandoned message must not be among them.

mod end;
mod event;
mod open;

use serde_json::value::RawValue;

use self::event::{Event, KNOWN};
use self::open::Open;
use super::blocks;
use super::error::WireError;
use super::response::{ResponseContext, stated};
use super::usage::Tally;
use crate::canonical::{ChunkFrames, Content, Delta, FunctionCall, Object, Raw, ToolCall, raw};
use crate::usage::Usage;

/// Translates the events of one answer. Feed every event to [`event`](Self::event).
#[derive(Debug)]
pub struct StreamTranslator {
    model: String,
    created: u64,
    include_usage: bool,
    frames: Option<ChunkFrames>,
    message_id: String,
    open: Vec<(u64, Open)>,
    calls: u64,
    characters: usize,
    thinking: Vec<Raw>,
    others: Vec<Raw>,
    annotations: Vec<Raw>,
    citations: Vec<Raw>,
    stop_reason: Option<String>,
    stop_members: Object,
    finish_sent: bool,
    finished: bool,
    tally: Tally,
    statements: Vec<Raw>,
    text: String,
}

impl StreamTranslator {
    /// `include_usage`: the client asked for the usage chunk.
    pub fn new(ctx: &ResponseContext<'_>, include_usage: bool) -> Self {
        Self {
            model: ctx.model.to_owned(),
            created: ctx.created,
            include_usage,
            frames: None,
            message_id: String::new(),
            open: Vec::new(),
            calls: 0,
            characters: 0,
            thinking: Vec::new(),
            others: Vec::new(),
            annotations: Vec::new(),
            citations: Vec::new(),
            stop_reason: None,
            stop_members: Object::new(),
            finish_sent: false,
            finished: false,
            tally: Tally::default(),
            statements: Vec::new(),
            text: String::new(),
        }
    }

    /// Take one event (`name`: its `event:` line) and append what the client gets.
    ///
    /// # Errors
    /// The upstream sent an `error` event, or an event of a known kind that is not JSON. Chunks that went out before
    /// stay valid.
    pub fn event(&mut self, name: Option<&[u8]>, data: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        let foreign = name.is_some_and(|name| !name.is_empty() && !KNOWN.contains(&name));
        let data = data.trim_ascii();
        if self.finished || foreign || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|error| WireError::malformed("an event of the stream cannot be read", &error))?;
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        match if event.kind.is_empty() { name } else { &event.kind } {
            "error" => return Err(stated(event.error.unwrap_or(RawValue::NULL))),
            "message_start" => self.message_start(event.message, out),
            "message_delta" => self.message_delta(&event, out),
            "message_stop" => self.message_stop(out),
            // Nothing may follow the finish chunk but usage.
            _ if self.finish_sent => {}
            "content_block_start" => self.block_start(event.index.unwrap_or(0), event.content_block, out),
            "content_block_delta" => self.block_delta(event.index.unwrap_or(0), event.delta, out),
            "content_block_stop" => {
                let index = event.index.unwrap_or(0);
                if let Some(at) = self.open.iter().position(|(known, _)| *known == index) {
                    let (_, block) = self.open.remove(at);
                    self.close_block(block, out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The latest figures; `None` when none came.
    pub fn usage(&self) -> Option<Usage> {
        self.tally.usage()
    }

    /// Whether the output figure is final, not the placeholder that a stream begins with.
    pub fn usage_complete(&self) -> bool {
        self.tally.complete()
    }

    /// Whether the answer came to its end and `[DONE]` was written.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Text, thinking and tool arguments generated so far and not yet taken: what to count when usage never came.
    pub fn text_so_far(&self) -> &str {
        &self.text
    }

    /// The same, and forget it.
    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    fn send(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        self.begin(out).delta(delta, None, out);
    }

    /// The chunk writer; the first use also sends the role.
    fn begin(&mut self, out: &mut Vec<u8>) -> &ChunkFrames {
        let Self { frames, message_id, model, created, .. } = self;
        frames.get_or_insert_with(|| {
            let frames = ChunkFrames::new(message_id, model, *created);
            let delta = Delta {
                role: Some("assistant".to_owned()),
                content: Some(Content::Text(String::new())),
                ..Delta::default()
            };
            frames.delta(&delta, None, out);
            frames
        })
    }

    fn message_start(&mut self, message: Option<&RawValue>, out: &mut Vec<u8>) {
        let message: Object = message.and_then(raw::parse).unwrap_or_default();
        let id = message.text("id").unwrap_or_default();
        if self.frames.is_some() && self.message_id != id && !self.finish_sent {
            self.open.clear();
            self.thinking.clear();
            self.others.clear();
            self.annotations.clear();
            self.citations.clear();
            self.statements.clear();
            self.tally = Tally::default();
        }
        self.message_id = id;
        if let Some(usage) = message.get("usage") {
            self.statement(usage, false);
        }
        self.begin(out);
    }

    fn statement(&mut self, usage: &RawValue, last: bool) {
        self.tally.add(usage, last);
        self.statements.push(usage.to_owned());
    }

    fn block_start(&mut self, index: u64, block: Option<&RawValue>, out: &mut Vec<u8>) {
        let Some(block) = block.and_then(raw::parse::<Object>) else { return };
        let opened = match block.text("type").as_deref() {
            Some("text") => {
                let citations = block.get("citations").and_then(raw::parse).unwrap_or_default();
                let opened = Open::Text { start: self.characters, citations };
                self.say(&block.text("text").unwrap_or_default(), out);
                opened
            }
            Some("thinking") => {
                let thinking = block.text("thinking").unwrap_or_default();
                self.think(&thinking, out);
                Open::Thinking { thinking, signature: block.text("signature").unwrap_or_default() }
            }
            Some("redacted_thinking") => {
                self.thinking.push(raw::to_raw(&block));
                return;
            }
            Some("tool_use") => {
                let call = self.calls;
                self.calls += 1;
                let header = blocks::tool_call(&block, Some(call), String::new());
                self.send(&Delta { tool_calls: Some(vec![header]), ..Delta::default() }, out);
                let input = block.get("input").filter(|input| !raw::is_null(input)).map(ToOwned::to_owned);
                Open::Tool { call, input, fragments: false }
            }
            _ => Open::Other { block, input: String::new() },
        };
        self.open.retain(|(known, _)| *known != index);
        self.open.push((index, opened));
    }

    fn block_delta(&mut self, index: u64, delta: Option<&RawValue>, out: &mut Vec<u8>) {
        let Some(raw) = delta else { return };
        let Ok(delta) = serde_json::from_str::<open::Delta<'_>>(raw.get()) else { return };
        let mut opened = self.open.iter_mut().find(|(known, _)| *known == index).map(|(_, block)| block);
        match (delta.kind.as_ref(), &mut opened) {
            (_, Some(Open::Other { input, .. })) if delta.partial_json.is_some() => {
                input.push_str(delta.partial_json.as_deref().unwrap_or_default());
            }
            (_, Some(Open::Other { block, .. })) => open::merge(block, raw),
            ("text_delta", _) => self.say(delta.text.as_deref().unwrap_or_default(), out),
            ("thinking_delta", opened) => {
                let more = delta.thinking.as_deref().unwrap_or_default();
                if let Some(Open::Thinking { thinking, .. }) = opened {
                    thinking.push_str(more);
                }
                self.think(more, out);
            }
            ("signature_delta", Some(Open::Thinking { signature, .. })) => {
                *signature = delta.signature.as_deref().unwrap_or_default().to_owned();
            }
            ("input_json_delta", Some(Open::Tool { call, fragments, .. })) => {
                let fragment = delta.partial_json.as_deref().unwrap_or_default();
                if !fragment.is_empty() {
                    *fragments = true;
                    let call = *call;
                    self.arguments(call, fragment, out);
                }
            }
            ("citations_delta", Some(Open::Text { citations, .. })) => {
                citations.extend(delta.citation.map(ToOwned::to_owned));
            }
            _ => {}
        }
    }

    fn close_block(&mut self, block: Open, out: &mut Vec<u8>) {
        match block {
            Open::Text { citations, .. } if citations.is_empty() => {}
            Open::Text { start, citations } => {
                let end = self.characters;
                let found: Vec<Raw> = citations.iter().filter_map(|one| blocks::annotation(one, start, end)).collect();
                self.annotations.extend(found);
                self.citations.extend(citations);
            }
            Open::Thinking { thinking, signature } => {
                self.thinking.push(open::thinking_block(&thinking, &signature));
            }
            Open::Tool { fragments: true, .. } => {}
            Open::Tool { call, input, .. } => {
                let arguments = input.as_ref().map_or("{}", |input| input.get());
                self.arguments(call, arguments, out);
            }
            Open::Other { block, input } => self.others.push(open::whole(block, input)),
        }
    }

    fn say(&mut self, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.characters += text.chars().count();
            self.text.push_str(text);
            self.send(&Delta { content: Some(Content::Text(text.to_owned())), ..Delta::default() }, out);
        }
    }

    fn think(&mut self, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.send(&Delta { reasoning_content: Some(text.to_owned()), ..Delta::default() }, out);
        }
    }

    fn arguments(&mut self, call: u64, fragment: &str, out: &mut Vec<u8>) {
        self.text.push_str(fragment);
        let function = FunctionCall { arguments: Some(fragment.to_owned()), ..FunctionCall::default() };
        let call = ToolCall { index: Some(call), function: Some(function), ..ToolCall::default() };
        self.send(&Delta { tool_calls: Some(vec![call]), ..Delta::default() }, out);
    }
}

//! The conversation as Anthropic wants it: system apart, turns alternating, tool results first in their turn.
//!
//! System and developer messages move into `system` wherever they stand, in order: Anthropic's own compatibility
//! layer does the same. When nothing else is there, the last of them is asked as the user.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::content::{self, Findings};
use super::params::ParamError;
use super::wire::{Block, Turn};
use crate::canonical::{Message, Object, ToolCall, raw};

/// The conversation.
pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<'a>>,
    pub findings: Findings,
    /// Names of the tools that the history calls.
    pub called: BTreeSet<&'a str>,
    /// The last turn answers calls of an assistant turn that does not begin with signed thinking.
    pub unsigned_loop: bool,
    /// Tool results of the turn being read; they go before what else it holds.
    results: Vec<Block<'a>>,
}

impl<'a> Conversation<'a> {
    /// # Errors
    /// Names the message that cannot be expressed.
    pub(super) fn read(messages: &'a [Message]) -> Result<Self, ParamError> {
        let mut conversation = Self {
            system: Vec::new(),
            turns: Vec::new(),
            findings: Findings::default(),
            called: BTreeSet::new(),
            unsigned_loop: false,
            results: Vec::new(),
        };
        for (index, message) in messages.iter().enumerate() {
            conversation.message(message, &format!("messages[{index}]"))?;
        }
        conversation.finish()?;
        Ok(conversation)
    }

    fn message(&mut self, message: &'a Message, path: &str) -> Result<(), ParamError> {
        let known = if message.role == "tool" { &["is_error"][..] } else { &[] };
        for (name, _) in message.rest.iter().filter(|(name, value)| !known.contains(name) && !raw::is_null(value)) {
            self.findings.unplaced(&format!("messages[].{name}"));
        }
        if message.name.is_some() && message.role != "tool" {
            self.findings.unplaced("messages[].name");
        }
        let content_path = format!("{path}.content");
        let mark = content::mark(message.cache_control.as_ref());
        match message.role.as_str() {
            "system" | "developer" => {
                let mut blocks = content::blocks(message.content.as_ref(), &content_path, &mut self.findings)?;
                if blocks.iter().any(|block| !matches!(block, Block::Text { .. })) {
                    return Err(ParamError::new(content_path, "a system message can hold text only"));
                }
                mark_last(&mut blocks, mark);
                self.system.append(&mut blocks);
            }
            "user" => {
                let mut blocks = content::blocks(message.content.as_ref(), &content_path, &mut self.findings)?;
                mark_last(&mut blocks, mark);
                self.append("user", blocks);
            }
            "assistant" => {
                let mut blocks = self.assistant(message, path)?;
                mark_last(&mut blocks, mark);
                self.append("assistant", blocks);
            }
            "tool" => self.tool_result(message, path, mark)?,
            role => {
                return Err(ParamError::new(
                    format!("{path}.role"),
                    format!("unknown role `{role}`; use system, developer, user, assistant or tool"),
                ));
            }
        }
        Ok(())
    }

    /// Thinking first, then what only Anthropic understands, then text, then calls.
    fn assistant(&mut self, message: &'a Message, path: &str) -> Result<Vec<Block<'a>>, ParamError> {
        if message.function_call.as_ref().is_some_and(|call| !raw::is_null(call)) {
            return Err(ParamError::new(format!("{path}.function_call"), "is obsolete; use `tool_calls`"));
        }
        if message.audio.as_ref().is_some_and(|audio| !raw::is_null(audio)) {
            return Err(ParamError::new(format!("{path}.audio"), "Anthropic has no spoken answers; send their text"));
        }
        let mut blocks = Vec::new();
        for (index, block) in message.thinking_blocks.iter().flatten().enumerate() {
            if content::is_signed(block) {
                blocks.push(Block::Native(block.clone()));
            } else {
                self.findings.unplaced(&format!("{path}.thinking_blocks[{index}]"));
            }
        }
        if message.thinking_blocks.is_none() && message.reasoning_content.is_some() {
            // Without its signature thinking cannot be sent back; models do not need that of finished turns.
            self.findings.unplaced("messages[].reasoning_content");
        }
        let signed = !blocks.is_empty();
        if let Some(own) = message.provider_specific_fields.as_ref().and_then(|fields| fields.get("content_blocks")) {
            let own: Vec<Box<RawValue>> = raw::parse(own).ok_or_else(|| {
                ParamError::new(format!("{path}.provider_specific_fields.content_blocks"), "must be a list of blocks")
            })?;
            blocks.extend(own.into_iter().map(Block::Native));
        }
        let said = content::blocks(message.content.as_ref(), &format!("{path}.content"), &mut self.findings)?;
        blocks.extend(said.into_iter().filter(|block| !(signed && is_thinking(block))));
        blocks.extend(message.refusal.as_deref().and_then(content::text_block));
        for (index, call) in message.tool_calls.iter().flatten().enumerate() {
            blocks.push(self.tool_use(call, &format!("{path}.tool_calls[{index}]"))?);
        }
        Ok(blocks)
    }

    fn tool_use(&mut self, call: &'a ToolCall, path: &str) -> Result<Block<'a>, ParamError> {
        let bad = |field: &str, message: &str| ParamError::new(format!("{path}.{field}"), message);
        if call.kind.as_deref().is_some_and(|kind| kind != "function") {
            return Err(bad("type", "Anthropic has function calls only"));
        }
        let function = call.function.as_ref().ok_or_else(|| bad("function", "is missing"))?;
        let name = function.name.as_deref().ok_or_else(|| bad("function.name", "is missing"))?;
        let id = call.id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| bad("id", "is missing"))?;
        let arguments = function.arguments.as_deref().map_or("", str::trim);
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        let input = RawValue::from_string(arguments.to_owned())
            .ok()
            .filter(|value| value.get().starts_with('{'))
            .ok_or_else(|| bad("function.arguments", "must be the text of a JSON object"))?;
        self.called.insert(name);
        let caller = call.provider_specific_fields.as_ref().and_then(|fields| fields.get("caller"));
        let cache_control = call.rest.get("cache_control").filter(|mark| !raw::is_null(mark));
        Ok(Block::ToolUse { id: tool_id(id), name, input, caller, cache_control })
    }

    fn tool_result(&mut self, message: &'a Message, path: &str, mark: Option<&'a RawValue>) -> Result<(), ParamError> {
        let id = message
            .tool_call_id
            .as_deref()
            .filter(|id| !id.is_empty())
            .ok_or_else(|| ParamError::new(format!("{path}.tool_call_id"), "is missing"))?;
        let content = content::blocks(message.content.as_ref(), &format!("{path}.content"), &mut self.findings)?;
        let is_error = message.rest.get("is_error").filter(|value| !raw::is_null(value));
        let result = Block::ToolResult { tool_use_id: tool_id(id), content, is_error, cache_control: mark };
        if self.turns.last().is_none_or(|turn| turn.role != "user") {
            self.turns.push(Turn { role: "user", content: Vec::new() });
        }
        self.results.push(result);
        Ok(())
    }

    /// The turn is complete: its results go to its front.
    fn settle(&mut self) {
        if let Some(turn) = self.turns.last_mut().filter(|_| !self.results.is_empty()) {
            self.results.append(&mut turn.content);
            std::mem::swap(&mut self.results, &mut turn.content);
        }
    }

    fn append(&mut self, role: &'static str, mut blocks: Vec<Block<'a>>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.append(&mut blocks),
            _ => {
                self.settle();
                self.turns.push(Turn { role, content: blocks });
            }
        }
    }

    fn finish(&mut self) -> Result<(), ParamError> {
        self.settle();
        if self.turns.is_empty() {
            let Some(last) = self.system.pop() else {
                return Err(ParamError::new("messages", "hold nothing to answer; send a message with visible text"));
            };
            self.append("user", vec![last]);
        }
        self.trim_prefill();
        self.unsigned_loop = match self.turns.as_slice() {
            [.., assistant, user] if user.role == "user" => {
                user.content.iter().any(|block| matches!(block, Block::ToolResult { .. }))
                    && !assistant.content.first().is_some_and(is_thinking)
            }
            _ => false,
        };
        Ok(())
    }

    /// Anthropic refuses a prefilled answer that ends in white space.
    fn trim_prefill(&mut self) {
        let Some(turn) = self.turns.last_mut().filter(|turn| turn.role == "assistant") else { return };
        if let Some(Block::Text { text, .. }) = turn.content.last_mut() {
            let visible = text.trim_end().len();
            if visible < text.len() {
                text.to_mut().truncate(visible);
            }
        }
    }
}

fn mark_last<'a>(blocks: &mut [Block<'a>], mark: Option<&'a RawValue>) {
    if let (Some(block), Some(mark)) = (blocks.last_mut(), mark) {
        block.mark(mark);
    }
}

fn is_thinking(block: &Block<'_>) -> bool {
    match block {
        Block::Native(value) => raw::parse::<Object>(value)
            .and_then(|object| object.text("type"))
            .is_some_and(|kind| matches!(kind.as_str(), "thinking" | "redacted_thinking")),
        _ => false,
    }
}

/// A call id within Anthropic's alphabet (`[a-zA-Z0-9_-]`). Ids of other providers may hold more; those are spelled with
/// `_` and told apart by an FNV-1a hash of the original, the same in the call and in its result.
fn tool_id(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let spelled: String = id.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    Cow::Owned(format!("{spelled}_{hash:016x}"))
}

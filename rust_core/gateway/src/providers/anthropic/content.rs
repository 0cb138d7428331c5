//! Message parts as content blocks.
//!
//! Anthropic refuses text blocks without a visible character; they say nothing and are left out.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::media;
use super::params::ParamError;
use super::wire::Block;
use crate::canonical::{Content, Either, Object, Part, Raw, raw};

/// How many fields without a place are reported: enough to see what a client sends, too few to be worth abusing.
const REPORTED: usize = 32;

/// What reading blocks finds out beside the blocks.
#[derive(Default)]
pub(super) struct Findings {
    /// A block refers to an uploaded file.
    pub files: bool,
    /// Fields without effect on the answer that have no place (`messages[].name`, ...).
    pub unplaced: Vec<String>,
}

impl Findings {
    pub(super) fn unplaced(&mut self, field: &str) {
        if self.unplaced.len() < REPORTED && !self.unplaced.iter().any(|known| known == field) {
            self.unplaced.push(field.to_owned());
        }
    }
}

/// The blocks of a content; `path` names it in errors.
pub(super) fn blocks<'a>(
    content: Option<&'a Content>,
    path: &str,
    findings: &mut Findings,
) -> Result<Vec<Block<'a>>, ParamError> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(text_block(text).into_iter().collect()),
        Some(Content::Other(parts)) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                if let Some(block) = block(part, &format!("{path}[{index}]"), findings)? {
                    blocks.push(block);
                }
            }
            Ok(blocks)
        }
    }
}

/// A text block, unless nothing in it can be seen.
pub(super) fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then(|| Block::text(text))
}

fn block<'a>(part: &'a Part, path: &str, findings: &mut Findings) -> Result<Option<Block<'a>>, ParamError> {
    let cache_control = mark(part.cache_control.as_ref());
    let missing = |field: &str| ParamError::new(format!("{path}.{field}"), format!("a `{}` part needs it", part.kind));
    match part.kind.as_str() {
        "text" | "input_text" | "output_text" => {
            let text = part.text.as_deref().ok_or_else(|| missing("text"))?;
            for (name, _) in part.rest.iter().filter(|(name, _)| *name != "citations") {
                findings.unplaced(&format!("messages[].content[].{name}"));
            }
            let citations = part.rest.get("citations").filter(|list| !raw::is_null(list));
            Ok((!text.trim().is_empty()).then_some(Block::Text { text: Cow::Borrowed(text), citations, cache_control }))
        }
        "refusal" => Ok(text_block(part.refusal.as_deref().ok_or_else(|| missing("refusal"))?)),
        "image_url" => {
            let image = part.image_url.as_ref().ok_or_else(|| missing("image_url"))?;
            let (url, detail) = match image {
                Either::Text(url) => (url, None),
                Either::Other(image) => (&image.url, image.detail.as_deref()),
            };
            if detail.is_some_and(|detail| detail != "auto") {
                findings.unplaced("messages[].content[].image_url.detail");
            }
            media::image(url, cache_control, path).map(Some)
        }
        "file" => {
            let (block, uploaded) =
                media::file(part.file.as_ref().ok_or_else(|| missing("file"))?, cache_control, path)?;
            findings.files |= uploaded;
            Ok(Some(block))
        }
        kind if is_native(kind) => {
            let block = raw::to_raw(part);
            if matches!(kind, "thinking" | "redacted_thinking") && !is_signed(&block) {
                findings.unplaced("messages[].content[].thinking");
                return Ok(None);
            }
            findings.files |= part.rest.get("source").is_some_and(|source| source.get().contains("\"file_id\""));
            Ok(Some(Block::Native(block)))
        }
        kind => Err(ParamError::new(
            format!("{path}.type"),
            format!("Anthropic has no content like `{kind}`; send `text`, `image_url` or `file`"),
        )),
    }
}

/// Whether the type is one of Anthropic's own blocks, which pass as they are.
pub(super) fn is_native(kind: &str) -> bool {
    const KINDS: &[&str] = &[
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "thinking",
        "tool_reference",
        "tool_result",
        "tool_use",
    ];
    KINDS.contains(&kind) || kind.ends_with("_tool_result")
}

/// A prompt-cache mark; `null` is none.
pub(super) fn mark(cache_control: Option<&Raw>) -> Option<&RawValue> {
    cache_control.map(|mark| &**mark).filter(|mark| !raw::is_null(mark))
}

/// Whether Anthropic can take the block back: thinking with its signature, or redacted thinking.
pub(super) fn is_signed(block: &RawValue) -> bool {
    let Some(block) = raw::parse::<Object>(block) else { return false };
    match block.text("type").as_deref() {
        Some("thinking") => block.text("signature").is_some_and(|signature| !signature.is_empty()),
        Some("redacted_thinking") => block.get("data").is_some(),
        _ => false,
    }
}

//! Pieces of an answer that whole bodies and streams have in common.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{FunctionCall, Object, Raw, ToolCall, raw};

/// OpenAI's `finish_reason`.
pub(super) fn finish_reason(stop_reason: Option<&str>) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}

/// The part of a stop that `finish_reason` does not say: the reason where several share a name, and its details.
pub(super) fn stop_fields(stop_reason: Option<&str>, members: &Object, fields: &mut Object) {
    if let Some(reason) = stop_reason.filter(|reason| !matches!(*reason, "end_turn" | "max_tokens" | "tool_use")) {
        fields.push("stop_reason", reason);
    }
    for (name, value) in members.iter() {
        let kept = matches!(name, "stop_sequence" | "stop_details" | "container" | "context_management");
        if kept && !raw::is_null(value) {
            fields.push(name, value);
        }
    }
}

/// What the model says about its refusal.
pub(super) fn refusal_text(members: &Object) -> Option<String> {
    let details: Object = members.get("stop_details").and_then(raw::parse)?;
    details.text("explanation").filter(|text| !text.is_empty())
}

/// A finished call. `caller` tells calls that code in Anthropic's sandbox made; it must come back with them.
pub(super) fn tool_call(block: &Object, index: Option<u64>, arguments: String) -> ToolCall {
    ToolCall {
        index,
        id: Some(block.text("id").unwrap_or_default()),
        kind: Some("function".to_owned()),
        function: Some(FunctionCall {
            name: Some(block.text("name").unwrap_or_default()),
            arguments: Some(arguments),
            rest: Object::new(),
        }),
        provider_specific_fields: caller(block),
        rest: Object::new(),
    }
}

fn caller(block: &Object) -> Option<Object> {
    let caller = block.get("caller").filter(|caller| !raw::is_null(caller))?;
    if raw::parse::<Object>(caller)?.text("type").as_deref() == Some("direct") {
        return None;
    }
    let mut fields = Object::new();
    fields.push("caller", caller);
    Some(fields)
}

/// A citation as OpenAI's `url_citation`, when it cites a page of the web. Offsets are in characters of the content.
pub(super) fn annotation(citation: &RawValue, start: usize, end: usize) -> Option<Raw> {
    #[derive(Deserialize)]
    struct Cited<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        url: Option<String>,
        title: Option<String>,
    }
    let cited: Cited<'_> = serde_json::from_str(citation.get()).ok()?;
    if cited.kind != "web_search_result_location" {
        return None;
    }
    let mut url_citation = Object::new();
    url_citation.push("start_index", &start);
    url_citation.push("end_index", &end);
    url_citation.push("title", &cited.title.unwrap_or_default());
    url_citation.push("url", &cited.url?);
    let mut annotation = Object::new();
    annotation.push("type", "url_citation");
    annotation.push("url_citation", &url_citation);
    Some(raw::to_raw(&annotation))
}

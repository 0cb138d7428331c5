//! What the gateway reads in one SSE frame of OpenAI's wire, and what of it the client may see.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::errors::{Failure, told};
use crate::providers::openai::{self, USAGE};
use crate::scan;
use crate::sse;
use crate::usage::Usage;

static TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"type\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));

/// The member as providers write it into every chunk once usage was asked for.
const NULL_USAGE: &[u8] = b",\"usage\":null}";

/// One frame, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    /// The call's usage.
    pub(super) usage: Option<Usage>,
    /// The frame for the client; `None` when it holds only what the gateway had asked for.
    pub(super) shown: Option<Cow<'a, [u8]>>,
}

/// Reads a frame. `hide`: usage was asked for on the gateway's own account.
pub(super) fn read(frame: &[u8], hide: bool) -> Seen<'_> {
    let untouched = |usage| Seen { usage, shown: Some(Cow::Borrowed(frame)) };
    let Some(first) = USAGE.find(frame) else { return untouched(None) };
    // The common case: it stands last in the chunk, so the brace behind it closes the chunk itself.
    let (before, tail) = frame.split_at_checked(first.saturating_sub(1)).unwrap_or((frame, &[]));
    if let Some(after) = tail.strip_prefix(NULL_USAGE).filter(|after| after.trim_ascii().is_empty()) {
        let shown = if hide { Cow::Owned([before, b"}", after].concat()) } else { Cow::Borrowed(frame) };
        return Seen { usage: None, shown: Some(shown) };
    }
    if !USAGE.find_iter(frame).any(|at| may_matter(frame.get(at + USAGE.needle().len()..).unwrap_or_default(), hide)) {
        return untouched(None);
    }
    let Some(event) = sse::parse(&Bytes::copy_from_slice(frame)) else { return untouched(None) };
    let Ok(data) = scan::object(&event.data) else { return untouched(openai::find_usage(&event.data)) };
    let member = data.get("usage");
    if let Some(usage) = member.and_then(|m| openai::find_usage_object(m.text())) {
        let alone = data.get("choices").is_some_and(|c| c.is_array() && c.items().next().is_none());
        return Seen { usage: Some(usage), shown: (!(hide && alone)).then_some(Cow::Borrowed(frame)) };
    }
    let shown = if hide && member.is_some_and(scan::Value::is_null) {
        without_null(frame, &event, &data)
    } else {
        Cow::Borrowed(frame)
    };
    Seen { usage: openai::find_usage(&event.data), shown: Some(shown) }
}

/// Whether what follows the member's name may be figures, or something to hide. Providers write `null` into every chunk
/// but one.
fn may_matter(after: &[u8], hide: bool) -> bool {
    match openai::after_colon(after) {
        Some(value) if value.starts_with(b"null") => hide,
        Some(value) => !value.starts_with(b"\""),
        // Perhaps the next line of data has the rest.
        None => true,
    }
}

/// The frame without its chunk's `usage`; untouched when its data stand on several lines.
fn without_null<'a>(frame: &'a [u8], event: &sse::Event, data: &scan::Body<'_>) -> Cow<'a, [u8]> {
    let at = memchr::memmem::find(frame, &event.data);
    let Some((before, after)) = at.and_then(|at| Some((frame.get(..at)?, frame.get(at + event.data.len()..)?))) else {
        return Cow::Borrowed(frame);
    };
    let mut edit = data.edit();
    edit.remove("usage");
    Cow::Owned([before, &edit.apply(), after].concat())
}

/// Whether a choice says why it stopped, or the stream says that it is over.
pub(super) fn ends(frame: &[u8]) -> bool {
    let finished = FINISH.find_iter(frame).any(|at| {
        let value = frame.get(at + FINISH.needle().len()..).and_then(openai::after_colon);
        value.is_some_and(|v| v.starts_with(b"\""))
    });
    finished || is_done(frame)
}

/// What the provider says in this frame of its own failure.
pub(super) fn error(frame: &[u8]) -> Option<Failure> {
    let event = sse::parse(&Bytes::copy_from_slice(Some(frame).filter(|f| told::may_be_in(f))?))?;
    told::in_event(&event.kind, &event.data)
}

/// Whether this is one of the last events of a Responses stream.
pub(super) fn ends_response(frame: &[u8]) -> bool {
    const LAST: [&[u8]; 5] = [
        b"\"response.completed\"",
        b"\"response.incomplete\"",
        b"\"response.failed\"",
        b"\"response.cancelled\"",
        b"\"error\"",
    ];
    // By the event's own type: every event that shows the response has a member `error`, mostly null.
    TYPE.find_iter(frame).any(|at| {
        let value = frame.get(at + TYPE.needle().len()..).and_then(openai::after_colon);
        value.is_some_and(|v| LAST.iter().any(|last| v.starts_with(last)))
    }) || is_done(frame)
}

fn is_done(frame: &[u8]) -> bool {
    frame.trim_ascii_start().strip_prefix(b"data:").is_some_and(|d| d.trim_ascii() == b"[DONE]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frame: &'static str, hide: bool) -> Option<String> {
        read(frame.as_bytes(), hide).shown.map(|s| String::from_utf8(s.to_vec()).unwrap())
    }

    #[test]
    fn only_the_chunks_own_null_goes() {
        assert_eq!(shown("data: {\"choices\":[1],\"usage\":null}\n\n", true).unwrap(), "data: {\"choices\":[1]}\n\n");
        assert_eq!(
            shown("data: {\"a\":\"usage\",\"usage\": null, \"b\":1}\r\n\r\n", true).unwrap(),
            "data: {\"a\":\"usage\", \"b\":1}\r\n\r\n"
        );
        for untouched in [
            "data: {\"choices\":[{\"delta\":{\"usage\":null,\"x\":1}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}]}\n\n",
            "data: {\"usage\"\ndata: : null}\n\n",
        ] {
            assert_eq!(shown(untouched, true).unwrap(), untouched);
        }
        assert_eq!(shown("data: {\"usage\":null}\n\n", false).unwrap(), "data: {\"usage\":null}\n\n");
    }

    #[test]
    fn a_response_ends_with_an_event_of_that_type_only() {
        let ends = |data: &str| ends_response(format!("event: x\ndata: {data}\n\n").as_bytes());
        assert!(ends(r#"{"type":"response.completed","response":{"error":null}}"#));
        assert!(ends(r#"{"sequence_number":3,"type" : "error","message":"no"}"#));
        assert!(ends_response(b"data: [DONE]\n\n"));
        assert!(!ends(r#"{"type":"response.created","response":{"error":null,"status":"in_progress"}}"#));
        assert!(!ends(r#"{"type":"response.output_text.delta","delta":"\"type\":\"response.completed\" [DONE]"}"#));
    }

    #[test]
    fn an_error_is_seen_wherever_it_stands() {
        for told in [
            "data: {\"error\":{\"message\":\"no\"}}\n\n",
            "event: error\ndata: {\"message\":\"no\"}\n\n",
            "event:error\r\ndata:{\"message\":\"no\"}\r\n\r\n",
            ": hello\nevent: error\ndata: {\"message\":\"no\"}\n\n",
            // The second half of a line's end, which came later.
            "\nid: 7\r\nevent: error\r\ndata: {\"message\":\"no\"}\r\n\r\n",
            "data: {\"id\":\"a\",\ndata: \"error\" : {\"message\":\"no\"}}\n\n",
            "data: {\"choices\":[{\"finish_reason\":\"error\"}],\"error\":\"no\"}\n\n",
        ] {
            assert!(error(told.as_bytes()).is_some(), "{told}");
        }
        for other in [
            "data: {\"error\":null,\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":{}}\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"error\":{}},\"finish_reason\":\"error\"}]}\n\n",
            "event: errors\ndata: {}\n\n",
            "event: error\n\n",
        ] {
            assert!(error(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn the_usage_chunk_is_hidden_only_when_we_asked() {
        let chunk = "data: {\"choices\": [ ],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
        assert_eq!(shown(chunk, true), None);
        assert_eq!(shown(chunk, false).unwrap(), chunk);
        let split = "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
        assert_eq!(
            read(split.as_bytes(), true),
            Seen { usage: Some(Usage { prompt: 1, completion: 2, ..Usage::default() }), shown: None }
        );
        let with_choice = "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1}}\n\n";
        assert_eq!(shown(with_choice, true).unwrap(), with_choice);
    }
}

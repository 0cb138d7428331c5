//! Watches an answer that is relayed unchanged (`/v1/messages` in and out) for its usage.
//!
//! Apart from translation because it must cost next to nothing: it reads single fields of events and writes none.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::WireError;
use super::response::stated;
use super::usage::Tally;
use crate::usage::Usage;

/// What is known about one answer so far.
#[derive(Clone, Debug, Default)]
pub struct UsageWatch {
    tally: Tally,
    generated: u64,
    finished: bool,
    stop_reason: Option<String>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Option<Carrier<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Carrier<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(borrow)]
    partial_json: Option<Cow<'a, str>>,
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
    stop_reason: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

fn length(text: Option<&str>) -> u64 {
    text.map_or(0, |text| text.len() as u64)
}

/// The text, thinking and tool arguments of a whole body, when its usage is missing and must be counted.
#[must_use]
pub fn generated_text(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return String::new() };
    let parts = body.content.iter().flat_map(|block| {
        [block.text.as_deref(), block.thinking.as_deref(), block.input.map(RawValue::get)].into_iter().flatten()
    });
    parts.collect::<Vec<_>>().join("\n")
}

impl UsageWatch {
    /// A watch that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// See one event of a stream. What cannot be read is ignored: the client gets it as it is.
    pub fn event(&mut self, name: Option<&[u8]>, data: &[u8]) {
        if matches!(name, Some(b"ping" | b"content_block_start" | b"content_block_stop")) {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return };
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        match if event.kind.is_empty() { name.unwrap_or_default() } else { &event.kind } {
            "message_start" => {
                // A second one restarts the answer (some intermediaries do); its figures replace the former.
                self.tally = Tally::default();
                if let Some(usage) = event.message.and_then(|message| message.usage) {
                    self.tally.add(usage, false);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = event.delta {
                    self.generated += length(delta.text.as_deref())
                        + length(delta.thinking.as_deref())
                        + length(delta.partial_json.as_deref());
                }
            }
            "message_delta" => {
                if let Some(usage) = event.usage {
                    self.tally.add(usage, true);
                }
                self.stop_reason = event.delta.and_then(|delta| delta.stop_reason).or(self.stop_reason.take());
            }
            "message_stop" => self.finished = true,
            "error" => self.error = event.error.map(stated),
            _ => {}
        }
    }

    /// See a whole body.
    pub fn body(&mut self, body: &[u8]) {
        let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return };
        if let Some(usage) = body.usage {
            self.tally.add(usage, true);
        }
        for block in &body.content {
            self.generated += length(block.text.as_deref())
                + length(block.thinking.as_deref())
                + length(block.input.map(RawValue::get));
        }
        self.stop_reason = body.stop_reason;
        self.error = body.error.map(stated);
        self.finished = true;
    }

    /// See a piece of a body too long to be held: usage objects in it are taken as they come.
    pub fn fragment(&mut self, text: &[u8]) {
        for at in memchr::memmem::find_iter(text, b"\"usage\"") {
            let value = text.get(at + 7..).and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"));
            let object = value.map(<[u8]>::trim_ascii_start).filter(|value| value.first() == Some(&b'{'));
            let parsed = object.and_then(|o| serde_json::Deserializer::from_slice(o).into_iter::<&RawValue>().next());
            if let Some(Ok(usage)) = parsed {
                self.tally.add(usage, true);
            }
        }
    }

    /// The latest figures; `None` when none came.
    pub fn usage(&self) -> Option<Usage> {
        self.tally.usage()
    }

    /// Whether the output figure is final. Until then it is `message_start`'s placeholder, and
    /// [`generated_bytes`](Self::generated_bytes) tells more.
    pub fn complete(&self) -> bool {
        self.tally.complete()
    }

    /// UTF-8 bytes of text, thinking and tool arguments seen.
    pub fn generated_bytes(&self) -> u64 {
        self.generated
    }

    /// Whether the answer came to its end.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Anthropic's reason for stopping.
    pub fn stop_reason(&self) -> Option<&str> {
        self.stop_reason.as_deref()
    }

    /// The error that the upstream put into the stream.
    pub fn error(&self) -> Option<&WireError> {
        self.error.as_ref()
    }
}

//! A content block of a stream between its start and its stop.
//!
//! Apart from the translator because it knows deltas but neither chunks nor events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{Object, Raw, raw};

/// A block that has begun.
#[derive(Clone, Debug)]
pub(super) enum Open {
    /// Text, with the offset of its first character in the content.
    Text { start: usize, citations: Vec<Raw> },
    /// Thinking, kept whole because it must be replayed.
    Thinking { thinking: String, signature: String },
    /// A call: its number among the calls, the input that came with its start, whether fragments came.
    Tool { call: u64, input: Option<Raw>, fragments: bool },
    /// Any other block: kept whole, its deltas merged in.
    Other { block: Object, input: String },
}

/// A delta; its other members are read where they are wanted.
#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub thinking: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub partial_json: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub citation: Option<&'a RawValue>,
}

/// Take a delta into a block of the last kind: strings grow, everything else is replaced.
pub(super) fn merge(block: &mut Object, delta: &RawValue) {
    let members: Object = raw::parse(delta).unwrap_or_default();
    for (name, value) in members.iter().filter(|(name, _)| *name != "type") {
        match (block.text(name), raw::parse::<String>(value)) {
            (Some(mut before), Some(more)) => {
                before.push_str(&more);
                block.set(name, &before);
            }
            _ => block.set(name, value),
        }
    }
}

/// A finished block of the last kind. Its input came as fragments of JSON text.
pub(super) fn whole(mut block: Object, input: String) -> Raw {
    if let Ok(input) = RawValue::from_string(input) {
        block.set("input", &input);
    }
    raw::to_raw(&block)
}

/// A finished thinking block.
pub(super) fn thinking_block(thinking: &str, signature: &str) -> Raw {
    let mut block = Object::new();
    block.push("type", "thinking");
    block.push("thinking", thinking);
    block.push("signature", signature);
    raw::to_raw(&block)
}

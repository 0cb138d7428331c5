//! The lazy body scan: one pass over a JSON request body that proves it well formed and finds what
//! the hot path acts on, without building a tree.
//!
//! The bytes themselves travel on untouched; what must change is spliced in by [`Edit`]. Because
//! other readers will parse the same bytes later, whatever two JSON readers could see differently
//! (duplicate members, wrong types of the members we act on) is refused here.

mod cursor;
mod edit;
mod error;
mod text;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Deref;

pub use cursor::MAX_DEPTH;
pub(crate) use cursor::{Cursor, plain_prefix};
pub use edit::{Edit, with_include_usage};
pub use error::ScanError;
pub use text::{strings, unescape};
pub(crate) use text::{unescape_bytes, unescape_to};
pub use value::Value;

/// A piece of the body, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes of `text` it covers; nothing when it does not fit.
    #[inline]
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// One member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name as written, without its quotes.
    pub key: Span,
    /// The value as written.
    pub value: Span,
}

impl Member {
    /// Whether its name is `name`, however it is escaped in `text`.
    pub fn is(&self, text: &[u8], name: &str) -> bool {
        let key = self.key.of(text);
        key == name.as_bytes() || (key.contains(&b'\\') && unescape(key) == name)
    }
}

/// What one pass found in a request body. Absent and `null` are the same.
#[derive(Clone, Debug)]
pub struct Found {
    members: Vec<Member>,
    /// `model`, with its quotes.
    pub model: Option<Span>,
    /// `stream`.
    pub stream: bool,
    /// `stream_options`, an object.
    pub stream_options: Option<Span>,
    /// `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    /// The bound on output tokens: `max_completion_tokens`, else `max_tokens`, else `max_output_tokens`; one that is
    /// not a non-negative integer counts as absent.
    pub max_tokens: Option<u64>,
    /// How many answers are asked for; 1 when not said, or not said in positive integers.
    pub n: u64,
    /// `user`, with its quotes, when it is a string.
    pub user: Option<Span>,
    /// `messages`.
    pub messages: Option<Span>,
    /// `input`.
    pub input: Option<Span>,
    /// `prompt`.
    pub prompt: Option<Span>,
    /// `system`.
    pub system: Option<Span>,
    /// `tools`.
    pub tools: Option<Span>,
    /// `metadata`.
    pub metadata: Option<Span>,
}

impl Found {
    /// The body in which it was found, or a copy of it.
    pub const fn within(self, bytes: &[u8]) -> Body<'_> {
        Body { bytes, found: self }
    }
}

/// A request body and what was found in it.
#[derive(Clone, Debug)]
pub struct Body<'a> {
    bytes: &'a [u8],
    found: Found,
}

impl Deref for Body<'_> {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.found
    }
}

impl<'a> Body<'a> {
    /// The scanned bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What was found in them, to be taken elsewhere.
    pub const fn found(&self) -> &Found {
        &self.found
    }

    /// All members of the body, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The first member of that name, `null` included.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members.iter().find(|member| member.is(self.bytes, name)).map(|member| self.value(member.value))
    }

    /// The value at a span of this body.
    pub fn value(&self, span: Span) -> Value<'a> {
        Value::new(span.of(self.bytes))
    }

    /// The model asked for, unescaped.
    pub fn model_str(&self) -> Option<Cow<'a, str>> {
        self.value(self.model?).as_str()
    }

    /// Who the request is made for, unescaped.
    pub fn user_str(&self) -> Option<Cow<'a, str>> {
        self.value(self.user?).as_str()
    }

    /// Starts an edit of this body.
    pub fn edit(&self) -> Edit<'_> {
        Edit::new(self.bytes, &self.members)
    }
}

/// The members that the gateway acts on: each at most once, and of the right type.
const KNOWN: [&str; 14] = [
    "model",
    "stream",
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "max_output_tokens",
    "n",
    "user",
    "messages",
    "input",
    "prompt",
    "system",
    "tools",
    "metadata",
];

/// Scans a request body, which must be one JSON object in UTF-8 without a byte order mark.
///
/// # Errors
/// Anything that is not well-formed JSON, at any depth; nesting beyond [`MAX_DEPTH`]; a member that
/// the gateway acts on twice or with the wrong type.
pub fn object(body: &[u8]) -> Result<Body<'_>, ScanError> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(ScanError::InvalidUtf8 { offset: error.valid_up_to() });
    }
    let members = top(body)?;
    let mut found = Found {
        members: Vec::new(),
        model: None,
        stream: false,
        stream_options: None,
        include_usage: None,
        max_tokens: None,
        n: 1,
        user: None,
        messages: None,
        input: None,
        prompt: None,
        system: None,
        tools: None,
        metadata: None,
    };
    let mut seen = 0_u32;
    let mut bounds = [None; 3];
    for member in &members {
        let key = member.key.of(body);
        let key =
            if key.contains(&b'\\') { unescape(key).into_owned().into_bytes().into() } else { Cow::Borrowed(key) };
        let Some((number, &name)) = KNOWN.iter().enumerate().find(|(_, name)| name.as_bytes() == &*key) else {
            continue;
        };
        if seen & (1 << number) != 0 {
            return Err(ScanError::DuplicateKey { name });
        }
        seen |= 1 << number;
        let value = Value::new(member.value.of(body));
        if value.is_null() {
            continue;
        }
        let span = Some(member.value);
        let wrong = |expected| ScanError::WrongType { field: name, expected };
        match name {
            "model" if value.is_string() => found.model = span,
            "model" => return Err(wrong("a string")),
            "stream" => found.stream = value.as_bool().ok_or_else(|| wrong("true or false"))?,
            "stream_options" => {
                found.include_usage = include_usage(value)?;
                found.stream_options = span;
            }
            "max_completion_tokens" | "max_tokens" | "max_output_tokens" => {
                // What is no bound is the provider's to refuse, in its own words. The three stand next to each
                // other in KNOWN, the strongest first.
                if let Some(slot) = bounds.get_mut(number - 3) {
                    *slot = value.as_u64();
                }
            }
            "n" => found.n = value.as_u64().unwrap_or(1).max(1),
            "user" => found.user = value.is_string().then_some(member.value),
            "messages" => found.messages = span,
            "input" => found.input = span,
            "prompt" => found.prompt = span,
            "system" => found.system = span,
            "tools" => found.tools = span,
            _ => found.metadata = span,
        }
    }
    found.max_tokens = bounds.into_iter().flatten().next();
    found.members = members;
    Ok(found.within(body))
}

/// The members of the one object that is `body`.
fn top(body: &[u8]) -> Result<Vec<Member>, ScanError> {
    let mut cursor = Cursor::new(body, 0);
    if body.starts_with(b"\xef\xbb\xbf") {
        return cursor.error("a byte order mark; send the JSON without it");
    }
    cursor.white();
    if !cursor.eat(b'{') {
        cursor.value(0)?;
        end(&mut cursor)?;
        return Err(ScanError::NotObject);
    }
    let mut members = Vec::with_capacity(12);
    if cursor.peek() != Some(b'}') {
        loop {
            let key = cursor.key()?;
            let value = cursor.value(1)?;
            members.push(Member { key, value });
            cursor.white();
            if !cursor.eat(b',') {
                break;
            }
        }
    }
    if !cursor.eat(b'}') {
        return cursor.error("expected ',' or '}'");
    }
    end(&mut cursor)?;
    Ok(members)
}

fn end(cursor: &mut Cursor<'_>) -> Result<(), ScanError> {
    cursor.white();
    if cursor.peek().is_some() { cursor.error("something after the end of the JSON value") } else { Ok(()) }
}

fn include_usage(options: Value<'_>) -> Result<Option<bool>, ScanError> {
    if !options.is_object() {
        return Err(ScanError::WrongType { field: "stream_options", expected: "an object" });
    }
    let mut members = options.members().filter(|(name, _)| **name == *b"include_usage");
    let Some((_, value)) = members.next() else { return Ok(None) };
    if members.next().is_some() {
        return Err(ScanError::DuplicateKey { name: "stream_options.include_usage" });
    }
    match value.as_bool() {
        None if !value.is_null() => {
            Err(ScanError::WrongType { field: "stream_options.include_usage", expected: "true or false" })
        }
        asked => Ok(asked),
    }
}

//! What one frame says.

use bytes::{Bytes, BytesMut};

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The value of its last `event` field; empty when there is none.
    pub kind: Bytes,
    /// Its `data` fields, joined by line feeds. Shares the frame's memory when there is but one.
    pub data: Bytes,
    /// The value of its last `id` field.
    pub id: Option<Bytes>,
    /// Its `retry` field: how long to wait before reconnecting, in milliseconds.
    pub retry: Option<u64>,
    /// The frame as received, blank line included.
    pub raw: Bytes,
}

impl Event {
    /// The event's name: `message` unless it says otherwise.
    pub fn name(&self) -> &str {
        match std::str::from_utf8(&self.kind) {
            Ok("") => "message",
            Ok(name) => name,
            Err(_) => "\u{fffd}",
        }
    }

    /// Whether it is OpenAI's end of a stream.
    pub fn is_done(&self) -> bool {
        &*self.data == b"[DONE]"
    }
}

/// The event in one frame; `None` when it has no `data` field (comments, a blank line, a lone `event`).
pub fn parse(raw: &Bytes) -> Option<Event> {
    parse_from(raw, 0)
}

/// As [`parse`], but the first line starts at `skip`.
pub(super) fn parse_from(raw: &Bytes, skip: usize) -> Option<Event> {
    let mut event = Event { kind: Bytes::new(), data: Bytes::new(), id: None, retry: None, raw: raw.clone() };
    let mut first = None;
    let mut joined: Option<BytesMut> = None;
    let mut start = skip;
    while start < raw.len() {
        let rest = raw.get(start..).unwrap_or_default();
        let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        // The line feed of a CR LF pair becomes a blank line here, and blank lines mean nothing inside a frame.
        let (name, value) = field(line);
        let value_at = |value: &[u8]| raw.slice(start + length - value.len()..start + length);
        match name {
            b"data" => match (&first, &mut joined) {
                (None, _) => first = Some(value_at(value)),
                (Some(_), Some(joined)) => {
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(value);
                }
                (Some(first), None) => {
                    let mut lines = BytesMut::with_capacity(raw.len());
                    lines.extend_from_slice(first);
                    lines.extend_from_slice(b"\n");
                    lines.extend_from_slice(value);
                    joined = Some(lines);
                }
            },
            b"event" => event.kind = value_at(value),
            b"id" if !value.contains(&0) => event.id = Some(value_at(value)),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                event.retry = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).or(event.retry);
            }
            _ => {}
        }
        start += length + 1;
    }
    event.data = joined.map(BytesMut::freeze).or(first)?;
    Some(event)
}

/// Name and value of a line; a comment has an empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    // Field names are short: a colon far into a line without one of them would not matter.
    match line.iter().position(|&byte| byte == b':') {
        None => (line, &[]),
        Some(colon) => {
            let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
            let value = value.get(1..).unwrap_or_default();
            (name, value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

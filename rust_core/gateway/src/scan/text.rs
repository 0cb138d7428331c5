//! Strings inside JSON text that has been scanned.

use std::borrow::Cow;

use super::Span;
use super::cursor::Cursor;

/// The text of a JSON string, given what lies between its quotes. A lone surrogate becomes U+FFFD.
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    match unescape_bytes(raw) {
        Cow::Borrowed(text) => utf8(text),
        Cow::Owned(text) => {
            String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()).into()
        }
    }
}

/// The same as bytes. Those of scanned text are UTF-8: who does not need the type for it need not look again.
pub(crate) fn unescape_bytes(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    unescape_to(raw, |piece| text.extend_from_slice(piece));
    Cow::Owned(text)
}

/// The same in pieces, each of whole characters.
pub(crate) fn unescape_to(raw: &[u8], mut push: impl FnMut(&[u8])) {
    let first = memchr::memchr(b'\\', raw).unwrap_or(raw.len());
    let (plain, mut rest) = raw.split_at_checked(first).unwrap_or((raw, &[]));
    push(plain);
    while let Some((_, after)) = rest.split_first() {
        let (kind, tail) = after.split_first().map_or((b'\\', &[][..]), |(&kind, tail)| (kind, tail));
        rest = tail;
        match kind {
            b'b' => push(b"\x08"),
            b'f' => push(b"\x0c"),
            b'n' => push(b"\n"),
            b'r' => push(b"\r"),
            b't' => push(b"\t"),
            b'u' => {
                let (character, used) = code_point(rest);
                push(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(used..).unwrap_or_default();
            }
            other => push(&[other]),
        }
        let plain_end = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at_checked(plain_end).unwrap_or((rest, &[]));
        push(plain);
        rest = tail;
    }
}

/// Bytes that were scanned are UTF-8, which is faster to confirm than to repair.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The character after `\u`, and how many bytes of it there are (a pair spans two escapes).
fn code_point(after: &[u8]) -> (char, usize) {
    let Some(high) = hex(after) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if let 0xd800..0xdc00 = high {
        let second = after.get(4..).and_then(|rest| rest.strip_prefix(b"\\u")).and_then(hex);
        if let Some(low @ 0xdc00..0xe000) = second {
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
        }
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.get(..4)?.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// All string values inside a JSON value (not the member names), as spans of what lies between the quotes.
///
/// `text` must have been scanned.
pub fn strings(text: &[u8]) -> impl Iterator<Item = Span> + '_ {
    let mut pos = 0;
    std::iter::from_fn(move || {
        loop {
            pos += memchr::memchr(b'"', text.get(pos..)?)?;
            let mut cursor = Cursor::again(text, pos);
            let span = cursor.string().ok()?;
            cursor.white();
            pos = cursor.pos();
            if cursor.peek() != Some(b':') {
                return Some(span);
            }
        }
    })
}

//! Strings inside JSON text that has been scanned.

use std::borrow::Cow;

use super::Span;
use super::cursor::Cursor;

/// The text of a JSON string, given what lies between its quotes. A lone surrogate becomes U+FFFD.
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw) else {
        return utf8(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let (plain, mut rest) = raw.split_at_checked(first).unwrap_or((raw, &[]));
    text.push_str(&utf8(plain));
    while let Some((_, after)) = rest.split_first() {
        let (kind, tail) = after.split_first().map_or((b'\\', &[][..]), |(&kind, tail)| (kind, tail));
        rest = tail;
        match kind {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let (character, used) = code_point(rest);
                text.push(character);
                rest = rest.get(used..).unwrap_or_default();
            }
            other => text.push(char::from(other)),
        }
        let plain_end = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at_checked(plain_end).unwrap_or((rest, &[]));
        text.push_str(&utf8(plain));
        rest = tail;
    }
    Cow::Owned(text)
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
            let mut cursor = Cursor::new(text, pos);
            let span = cursor.string().ok()?;
            cursor.white();
            pos = cursor.pos();
            if cursor.peek() != Some(b':') {
                return Some(span);
            }
        }
    })
}

//! A look inside one value of a scanned body, without a tree.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::text::unescape_bytes;
use super::{Member, Span, unescape};

/// One JSON value, as its text. It must come out of a scanned body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Wraps the text of one value, no white space around it.
    pub const fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The JSON text.
    pub const fn text(self) -> &'a [u8] {
        self.0
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// The unescaped text of a string.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        self.quoted().map(unescape)
    }

    /// The same as bytes, which are UTF-8.
    pub(crate) fn as_bytes(self) -> Option<Cow<'a, [u8]>> {
        self.quoted().map(unescape_bytes)
    }

    fn quoted(self) -> Option<&'a [u8]> {
        self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }

    /// `true` or `false`.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// A number written as a non-negative integer that fits.
    pub fn as_u64(self) -> Option<u64> {
        let digits = std::str::from_utf8(self.0).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// Whether it is a number of any form.
    pub fn is_number(self) -> bool {
        matches!(self.0.first(), Some(b'-' | b'0'..=b'9'))
    }

    /// Whether it is a string.
    pub fn is_string(self) -> bool {
        self.0.first() == Some(&b'"')
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.0.first() == Some(&b'[')
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The elements of an array; nothing for any other kind.
    pub fn items(self) -> impl Iterator<Item = Value<'a>> {
        let text = self.0;
        let mut cursor = Cursor::again(text, 0);
        let mut more = cursor.eat(b'[') && cursor.peek() != Some(b']');
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let span = cursor.value(0).ok()?;
            cursor.white();
            more = cursor.eat(b',');
            Some(Value(span.of(text)))
        })
    }

    /// The members of an object, in order; nothing for any other kind.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, [u8]>, Value<'a>)> {
        let text = self.0;
        self.spans().map(move |member| (unescape_bytes(member.key.of(text)), Value(member.value.of(text))))
    }

    /// The first member of that name.
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        let text = self.0;
        self.spans().find(|member| member.is(text, name)).map(|member| Value(member.value.of(text)))
    }

    pub(super) fn spans(self) -> impl Iterator<Item = Member> {
        let mut cursor = Cursor::again(self.0, 0);
        let mut more = cursor.eat(b'{') && cursor.peek() != Some(b'}');
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let key = cursor.key().ok()?;
            let value: Span = cursor.value(0).ok()?;
            cursor.white();
            more = cursor.eat(b',');
            Some(Member { key, value })
        })
    }
}

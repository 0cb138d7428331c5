//! A position in the JSON text, and the steps that are taken from it.

use super::error::{Done, Malformed};
use crate::scan::{Cursor, Value};

/// A string of the JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    /// What is between its quotes.
    pub(super) text: &'a [u8],
    /// Whether some of it stands for something else.
    pub(super) has_escapes: bool,
}

impl<'a> From<&'a [u8]> for Raw<'a> {
    /// Text without escapes.
    fn from(text: &'a [u8]) -> Self {
        Self { text, has_escapes: false }
    }
}

/// Reads one JSON text, which must be UTF-8, from front to end. Cloning it marks a place to go back to.
#[derive(Clone, Debug)]
pub(super) struct Reading<'a> {
    cursor: Cursor<'a>,
    text: &'a [u8],
}

impl<'a> Reading<'a> {
    /// Before the first value.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let mut cursor = Cursor::new(text, 0);
        cursor.white();
        Self { cursor, text }
    }

    /// The first byte of the value that comes next.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.cursor.peek()
    }

    /// Nothing but white space may follow.
    pub(super) fn finish(&mut self) -> Done {
        self.cursor.white();
        if self.cursor.peek().is_some() {
            self.cursor.error("something after the end of the JSON value")?;
        }
        Ok(())
    }

    /// Enters an object or array, whose bracket comes next; whether there is something in it.
    #[inline]
    pub(super) fn open(&mut self, bracket: u8, closing: u8) -> bool {
        self.cursor.eat(bracket) && !self.close(closing)
    }

    /// After an element: whether there is another one. Leaves the object or array when not.
    #[inline]
    pub(super) fn another(&mut self, closing: u8) -> Result<bool, Malformed> {
        self.cursor.white();
        if self.cursor.eat(b',') {
            return Ok(true);
        }
        if !self.close(closing) {
            self.cursor.error(if closing == b'}' { "expected ',' or '}'" } else { "expected ',' or ']'" })?;
        }
        Ok(false)
    }

    #[inline]
    fn close(&mut self, closing: u8) -> bool {
        self.cursor.eat(closing)
    }

    /// A member's name. Ends at its value.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Raw<'a>, Malformed> {
        if self.peek() != Some(b'"') {
            self.cursor.error("expected a member name in double quotes")?;
        }
        let key = self.string()?;
        self.cursor.white();
        if !self.cursor.eat(b':') {
            self.cursor.error("expected ':'")?;
        }
        Ok(key)
    }

    /// The string that comes next.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Raw<'a>, Malformed> {
        let (span, has_escapes) = self.cursor.text()?;
        Ok(Raw { text: span.of(self.text), has_escapes })
    }

    /// The text of the number that comes next; nothing when something else does.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Ok(None);
        }
        let start = self.cursor.pos();
        self.cursor.number()?;
        Ok(self.text.get(start..self.cursor.pos()))
    }

    /// `true` or `false`; nothing when something else comes next.
    #[inline]
    pub(super) fn bool(&mut self) -> Result<Option<bool>, Malformed> {
        let value = match self.peek() {
            Some(b't') => true,
            Some(b'f') => false,
            _ => return Ok(None),
        };
        self.cursor.literal(if value { b"true" } else { b"false" })?;
        Ok(Some(value))
    }

    /// Whether `null` comes next; if so it is stepped over.
    #[inline]
    pub(super) fn null(&mut self) -> Result<bool, Malformed> {
        let found = self.peek() == Some(b'n');
        if found {
            self.cursor.literal(b"null")?;
        }
        Ok(found)
    }

    /// The text of the value that comes next, which is stepped over.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        Ok(self.cursor.value(0)?.of(self.text))
    }

    /// Steps over the value that comes next.
    pub(super) fn skip(&mut self) -> Done {
        self.raw().map(drop)
    }

    /// The value that comes next, which is not stepped over.
    pub(super) fn ahead(&self) -> Result<Value<'a>, Malformed> {
        self.clone().raw().map(Value::new)
    }
}

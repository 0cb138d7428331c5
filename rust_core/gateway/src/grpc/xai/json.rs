//! Writes the JSON body of the REST route, member by member, straight into one buffer of bounded length.

use std::io;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::errors::{Failure, Kind, Outcome};
use crate::grpc::base64;

/// Text of one JSON object or array being written: knows whether a comma is due.
///
/// What is beyond the limit is not written, and that it was is said at the end: the members in between stay free of it.
#[derive(Debug)]
pub(super) struct Json {
    out: BytesMut,
    limit: usize,
    is_too_large: bool,
}

impl Json {
    /// An object whose members follow, of at most `limit` bytes.
    pub(super) fn object(capacity: usize, limit: usize) -> Self {
        let mut json = Self { out: BytesMut::with_capacity(capacity.min(limit)), limit, is_too_large: false };
        json.put(b"{");
        json
    }

    /// Ends the object and gives its text.
    pub(super) fn finish(mut self) -> Outcome<Bytes> {
        self.close(b'}');
        self.check()?;
        Ok(self.out.freeze())
    }

    /// How much room there is for everything.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether everything had room: asked between elements, to go no further when not.
    pub(super) fn check(&self) -> Outcome<()> {
        if self.is_too_large { Err(too_large(self.limit)) } else { Ok(()) }
    }

    fn put(&mut self, text: &[u8]) {
        if self.has_room(text.len()) {
            self.out.extend_from_slice(text);
        }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        self.is_too_large |= bytes > self.limit.saturating_sub(self.out.len());
        !self.is_too_large
    }

    /// A comma, where something stands before.
    fn next(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.put(b",");
        }
    }

    /// The name of a member. Names are the code's own and hold nothing to escape.
    pub(super) fn key(&mut self, name: &'static str) {
        self.next();
        self.put(b"\"");
        self.put(name.as_bytes());
        self.put(b"\":");
    }

    /// Begins an object or an array, as an element or after its key.
    pub(super) fn open(&mut self, bracket: u8) {
        self.next();
        self.put(&[bracket]);
    }

    pub(super) fn close(&mut self, bracket: u8) {
        self.put(&[bracket]);
    }

    /// A string, as an element or after its key.
    pub(super) fn string(&mut self, text: &str) {
        self.next();
        // Fails only when it is too large, which is remembered.
        let _ = serde_json::to_writer(self, text);
    }

    /// Text that needs no escapes: numbers, words, JSON that was checked.
    pub(super) fn raw(&mut self, text: &str) {
        self.next();
        self.put(text.as_bytes());
    }

    /// A member that is a string.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.key(name);
        self.string(text);
    }

    /// A member that is a string, unless it is empty: what proto3 cannot tell from absent.
    pub(super) fn text_if_any(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// A member of another kind, where there is one.
    pub(super) fn display(&mut self, name: &'static str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.key(name);
            self.raw(&value.to_string());
        }
    }

    /// A member that is an array of strings, unless it is empty.
    pub(super) fn texts(&mut self, name: &'static str, texts: &[&str]) {
        if !texts.is_empty() {
            self.key(name);
            self.open(b'[');
            texts.iter().for_each(|text| self.string(text));
            self.close(b']');
        }
    }

    /// Asks for an answer in pieces, the last of which states the usage.
    pub(super) fn streamed(&mut self) {
        self.display("stream", Some(true));
        self.key("stream_options");
        self.raw(r#"{"include_usage":true}"#);
    }

    /// A string that is the base64 form of `bytes` after `prefix`, which needs no escapes.
    pub(super) fn base64(&mut self, prefix: &str, bytes: &[u8]) {
        self.next();
        self.put(b"\"");
        self.put(prefix.as_bytes());
        if self.has_room(bytes.len().div_ceil(3) * 4) {
            base64::encode(bytes, true, &mut self.out);
        }
        self.put(b"\"");
    }
}

impl io::Write for Json {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.put(text);
        if self.is_too_large { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The failure of a request that has no room.
#[cold]
pub(super) fn too_large(limit: usize) -> Failure {
    Failure::new(Kind::BodyTooLarge, format!("The request message is larger than {limit} bytes as JSON."))
}

/// Whether the text is one JSON object.
pub(super) fn is_object(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_and_only_between() {
        let mut json = Json::object(0, 1024);
        json.text("a", "x\"\n");
        json.text_if_any("b", "");
        json.display("n", Some(-1));
        json.display("none", None::<u8>);
        json.texts("empty", &[]);
        json.texts("s", &["1", "2"]);
        json.key("o");
        json.open(b'{');
        json.key("l");
        json.open(b'[');
        json.open(b'{');
        json.close(b'}');
        json.open(b'{');
        json.display("t", Some(true));
        json.close(b'}');
        json.close(b']');
        json.close(b'}');
        assert_eq!(json.finish().unwrap(), br#"{"a":"x\"\n","n":-1,"s":["1","2"],"o":{"l":[{},{"t":true}]}}"#[..]);
    }

    #[test]
    fn a_string_that_ends_like_an_opening_still_needs_its_comma() {
        let mut json = Json::object(0, 1024);
        json.text("a", "[");
        json.text("b", ":{");
        assert_eq!(json.finish().unwrap(), br#"{"a":"[","b":":{"}"#[..]);
    }

    #[test]
    fn a_data_url_is_one_string() {
        let mut json = Json::object(0, 1024);
        json.key("d");
        json.base64("data:x;base64,", b"foob");
        assert_eq!(json.finish().unwrap(), br#"{"d":"data:x;base64,Zm9vYg=="}"#[..]);
    }

    #[test]
    fn nothing_is_written_beyond_the_limit() {
        let made = |limit: usize| {
            let mut json = Json::object(1 << 20, limit);
            json.text("a", "\u{1}");
            json.key("d");
            json.base64("x:", b"foob");
            assert!(json.out.len() <= limit && json.out.capacity() <= limit.max(64));
            json.finish()
        };
        let whole = br#"{"a":"\u0001","d":"x:Zm9vYg=="}"#;
        assert_eq!(made(whole.len()).unwrap(), whole[..]);
        for limit in 0..whole.len() {
            assert_eq!(made(limit).unwrap_err().kind, Kind::BodyTooLarge, "{limit}");
        }
        let mut json = Json::object(0, 100);
        json.string(&"\n".repeat(1 << 20));
        assert!(json.check().is_err());
    }

    #[test]
    fn schemas_are_objects() {
        assert!(is_object(" {\"a\": [1]} "));
        for text in ["", "[]", "{", "{} {}", "\"{}\"", "{'a':1}"] {
            assert!(!is_object(text), "{text}");
        }
    }
}

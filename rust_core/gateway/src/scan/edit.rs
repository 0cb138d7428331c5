//! Changes to a scanned body: what is not changed is copied byte for byte.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{Member, Span, Value};

/// A piece of a changed text.
enum Piece<'a> {
    /// This part of the text as it was.
    Kept(Span),
    /// Other bytes.
    New(&'a [u8]),
}

/// Changes to one JSON object, applied together by [`Edit::apply`].
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    text: &'a [u8],
    members: &'a [Member],
    splices: Vec<(Span, Cow<'a, [u8]>)>,
    removed: Vec<usize>,
    appended: Vec<(&'a str, Cow<'a, [u8]>)>,
}

impl<'a> Edit<'a> {
    /// Starts with no change; `members` are all of those of the object `text`.
    pub const fn new(text: &'a [u8], members: &'a [Member]) -> Self {
        Self { text, members, splices: Vec::new(), removed: Vec::new(), appended: Vec::new() }
    }

    /// Gives the member `key` the value `json`, in its place when it is there, else at the end. The last call wins.
    pub fn set_raw(&mut self, key: &'a str, json: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        let json = json.into();
        let mut present = false;
        for (number, member) in self.members.iter().enumerate() {
            if member.is(self.text, key) {
                present = true;
                self.removed.retain(|&removed| removed != number);
                self.splices.push((member.value, json.clone()));
            }
        }
        if !present {
            self.appended.retain(|(appended, _)| *appended != key);
            self.appended.push((key, json));
        }
        self
    }

    /// Like [`Edit::set_raw`], but only when the body has no such member or has it as `null`.
    pub fn set_default_raw(&mut self, key: &'a str, json: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        let present = |member: &Member| member.is(self.text, key) && member.value.of(self.text) != b"null";
        if self.members.iter().any(present) { self } else { self.set_raw(key, json) }
    }

    /// Drops the member `key`, with the comma it no longer needs.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.appended.retain(|(appended, _)| *appended != key);
        for (number, member) in self.members.iter().enumerate() {
            if member.is(self.text, key) && !self.removed.contains(&number) {
                self.removed.push(number);
            }
        }
        self
    }

    /// Puts `json` in the place of a piece that lies inside one member's value. Of two changes to the same place the
    /// last wins, of two that overlap the one that starts first.
    pub fn splice(&mut self, span: Span, json: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.splices.push((span, json.into()));
        self
    }

    /// Asks for usage at the end of a stream: `stream_options.include_usage` is `true`, its other members stay.
    pub fn include_usage(&mut self) -> &mut Self {
        let options = self.members.iter().find(|member| member.is(self.text, "stream_options"));
        let json = with_include_usage(options.map(|member| member.value.of(self.text)));
        self.set_raw("stream_options", json)
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty() && self.removed.is_empty() && self.appended.is_empty()
    }

    /// The changed text.
    pub fn apply(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + self.growth());
        self.write(|piece| {
            out.extend_from_slice(match piece {
                Piece::Kept(span) => span.of(self.text),
                Piece::New(bytes) => bytes,
            });
        });
        out
    }

    /// The changed text as pieces to be sent one after the other: what stays as it is and has at least `large` bytes is
    /// shared with `whole`, which is the text that is changed, and not copied.
    pub fn pieces(&self, whole: &Bytes, large: usize) -> Vec<Bytes> {
        debug_assert_eq!(self.text.as_ptr(), whole.as_ptr(), "these are changes to another text");
        let mut pieces = Vec::new();
        let mut small = BytesMut::new();
        self.write(|piece| match piece {
            Piece::Kept(span) if span.end - span.start >= large && span.end <= whole.len() => {
                if !small.is_empty() {
                    pieces.push(small.split().freeze());
                }
                pieces.push(whole.slice(span.start..span.end));
            }
            Piece::Kept(span) => small.extend_from_slice(span.of(self.text)),
            Piece::New(bytes) => small.extend_from_slice(bytes),
        });
        if !small.is_empty() {
            pieces.push(small.freeze());
        }
        pieces
    }

    /// Most bytes that the text gets longer by.
    fn growth(&self) -> usize {
        let added: usize = self.appended.iter().map(|(key, json)| key.len() + json.len() + 8).sum();
        let spliced: usize = self.splices.iter().map(|(_, json)| json.len()).sum();
        added + spliced
    }

    /// Hands over the pieces of the changed text, in order.
    fn write(&self, mut put: impl FnMut(Piece<'_>)) {
        let open = memchr::memchr(b'{', self.text).map_or(0, |brace| brace + 1);
        let mut splices: Vec<&(Span, Cow<'_, [u8]>)> = self.splices.iter().collect();
        // Stable: of equal spans the one given last comes last.
        splices.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
        let mut splices = splices.into_iter().peekable();

        let first = self.members.first().map_or(open, |member| member.key.start - 1);
        put(Piece::Kept(Span { start: 0, end: first }));
        let mut empty = true;
        let mut previous_end = first;
        for (number, member) in self.members.iter().enumerate() {
            let start = member.key.start - 1;
            let Span { start: value, end } = member.value;
            if self.removed.contains(&number) {
                previous_end = end;
                continue;
            }
            if !empty {
                put(Piece::Kept(Span { start: previous_end, end: start }));
            }
            empty = false;
            previous_end = end;
            let mut copied = start;
            while let Some((span, json)) = splices.next_if(|(span, _)| span.start <= end) {
                if splices.peek().is_some_and(|(next, _)| next == span) {
                    continue;
                }
                if span.start >= copied && span.start >= value && span.end <= end {
                    put(Piece::Kept(Span { start: copied, end: span.start }));
                    put(Piece::New(json));
                    copied = span.end;
                }
            }
            put(Piece::Kept(Span { start: copied, end }));
        }
        for (key, json) in &self.appended {
            if !empty {
                put(Piece::New(b","));
            }
            empty = false;
            // A string always serialises.
            put(Piece::New(&serde_json::to_vec(key).unwrap_or_default()));
            put(Piece::New(b":"));
            put(Piece::New(json));
        }
        put(Piece::Kept(Span { start: previous_end, end: self.text.len() }));
    }
}

/// The value of `stream_options` with `include_usage` true; other members of an existing one are kept as they are.
pub fn with_include_usage(options: Option<&[u8]>) -> Vec<u8> {
    match options.map(Value::new) {
        Some(options) if options.is_object() => {
            let members: Vec<Member> = options.spans().collect();
            let mut edit = Edit::new(options.text(), &members);
            edit.set_raw("include_usage", b"true");
            edit.apply()
        }
        _ => b"{\"include_usage\":true}".to_vec(),
    }
}

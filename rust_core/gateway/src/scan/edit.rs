//! Changes to a scanned body: what is not changed is copied byte for byte.

use std::borrow::Cow;

use super::{Member, Span, Value};

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
        let added: usize = self.appended.iter().map(|(key, json)| key.len() + json.len() + 8).sum();
        let spliced: usize = self.splices.iter().map(|(_, json)| json.len()).sum();
        let mut out = Vec::with_capacity(self.text.len() + added + spliced);
        let open = memchr::memchr(b'{', self.text).map_or(0, |brace| brace + 1);
        let mut splices: Vec<&(Span, Cow<'_, [u8]>)> = self.splices.iter().collect();
        // Stable: of equal spans the one given last comes last.
        splices.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
        let mut splices = splices.into_iter().peekable();

        let first = self.members.first().map_or(open, |member| member.key.start - 1);
        out.extend_from_slice(Span { start: 0, end: first }.of(self.text));
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
                out.extend_from_slice(Span { start: previous_end, end: start }.of(self.text));
            }
            empty = false;
            previous_end = end;
            let mut copied = start;
            while let Some((span, json)) = splices.next_if(|(span, _)| span.start <= end) {
                if splices.peek().is_some_and(|(next, _)| next == span) {
                    continue;
                }
                if span.start >= copied && span.start >= value && span.end <= end {
                    out.extend_from_slice(Span { start: copied, end: span.start }.of(self.text));
                    out.extend_from_slice(json);
                    copied = span.end;
                }
            }
            out.extend_from_slice(Span { start: copied, end }.of(self.text));
        }
        for (key, json) in &self.appended {
            if !empty {
                out.push(b',');
            }
            empty = false;
            // A string always serialises.
            out.extend(serde_json::to_vec(key).unwrap_or_default());
            out.push(b':');
            out.extend_from_slice(json);
        }
        out.extend_from_slice(self.text.get(previous_end..).unwrap_or_default());
        out
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

//! A JSON answer as a message: from JSON text straight to the protobuf wire, in one pass.
//!
//! A member is written where it is found, for on the wire fields may stand in any order; so may the pieces of `extra`, which
//! every parser puts together. Lengths are patched in afterwards. A value that does not fit its field is taken back and
//! goes to `extra`, where anything fits, so that nothing is read more often than its messages are nested. The rules are
//! those of `proto/README.md`.

mod error;
mod extra;
mod fit;
mod logprobs;
mod number;
mod reading;

#[cfg(test)]
mod tests;

use bytes::BytesMut;

pub(crate) use self::error::Malformed;
use self::error::{Done, deeper};
use self::reading::{Raw, Reading};
use super::schema::{Kind, Message, Shape};
use super::wire;
use crate::scan;

/// Appends the message of that schema to `out` that stands for a JSON object.
///
/// Where a member comes twice, the first counts.
///
/// # Errors
/// The text is not one JSON object in UTF-8, or is nested deeper than clients read. What has been written to `out` by
/// then stays there.
pub(crate) fn object(json: &[u8], schema: &'static Message, out: &mut BytesMut) -> Result<(), Malformed> {
    if let Err(error) = std::str::from_utf8(json) {
        return Err(Malformed::Utf8 { offset: error.valid_up_to() });
    }
    out.reserve(json.len());
    let mut reading = Reading::new(json);
    if reading.peek() != Some(b'{') {
        return Err(Malformed::NotObject);
    }
    members(&mut reading, schema, 1, out)?;
    reading.finish()
}

/// The object that comes next, its members as fields of a message. `depth` is that of the message.
fn members(reading: &mut Reading<'_>, schema: &'static Message, depth: usize, out: &mut BytesMut) -> Done {
    let mut members = Members::new(schema, depth);
    if matches!(schema.shape, Shape::Tagged | Shape::BareOrTagged | Shape::Flat) {
        members.tag = tag(reading, schema)?;
        if let (Shape::Flat, Some(field)) = (schema.shape, members.tag.and_then(|place| schema.fields.get(place))) {
            // Its members come one by one; this says that it is there even when it has none.
            wire::put_bytes(out, field.number, &[]);
        }
    }
    let (begin, start) = (reading.clone(), out.len());
    members.read_all(reading, out)?;
    if members.payloads.count_ones() > 1 {
        // Of a oneof every parser keeps what comes last. All is read once more, with one of them chosen.
        let named = tag(&begin, schema)?.filter(|place| members.payloads >> place & 1 != 0);
        let tag = named.or(members.tag);
        *reading = begin;
        out.truncate(start);
        members = Members { tag, is_chosen: true, ..Members::new(schema, depth) };
        members.read_all(reading, out)?;
    }
    if schema.shape == Shape::Columns {
        logprobs::tokens(&members.columns, schema, depth, out)?;
    }
    Ok(())
}

/// The place of the payload that an object's `type` names, if the object has a fitting one.
fn tag(reading: &Reading<'_>, schema: &Message) -> Result<Option<usize>, Malformed> {
    let object = reading.ahead()?;
    let Some(kind) = object.get("type").and_then(scan::Value::as_str) else { return Ok(None) };
    let place = schema.by_name(kind.as_bytes()).filter(|place| schema.oneof >> place & 1 != 0);
    Ok(place.filter(|&place| {
        let is_text = schema.fields.get(place).is_some_and(|field| matches!(field.kind, Kind::Text));
        let first = object.get(&kind).and_then(|payload| payload.text().first());
        schema.shape == Shape::Flat || first == Some(if is_text { &b'"' } else { &b'{' })
    }))
}

/// Where the members of one object go.
struct Members<'a> {
    schema: &'static Message,
    /// The payload that `type` names, by its place in the schema; of [`Shape::Call`] the first that is there, until
    /// there turn out to be several.
    tag: Option<usize>,
    /// Of [`Shape::Call`]: that the payload is chosen, and no other goes to its field.
    is_chosen: bool,
    /// Of [`Shape::Call`]: payloads that went to their fields, as bits by their places.
    payloads: u64,
    /// Members that were there, as bits by the places of their fields.
    seen: u64,
    /// Where the arrays of [`Shape::Columns`] begin.
    columns: logprobs::Columns<'a>,
    depth: usize,
}

impl<'a> Members<'a> {
    fn new(schema: &'static Message, depth: usize) -> Self {
        let columns = [const { None }; 4];
        Self { schema, tag: None, is_chosen: false, payloads: 0, seen: 0, columns, depth }
    }

    #[inline]
    fn read_all(&mut self, reading: &mut Reading<'a>, out: &mut BytesMut) -> Done {
        let mut more = reading.open(b'{', b'}');
        while more {
            let key = reading.key()?;
            self.read(reading, key, out)?;
            more = reading.another(b'}')?;
        }
        Ok(())
    }

    /// Reads the value of the member `key`.
    #[inline]
    fn read(&mut self, reading: &mut Reading<'a>, key: Raw<'_>, out: &mut BytesMut) -> Done {
        match self.schema.by_name(key.text) {
            Some(place) => self.read_field(reading, key, place, out),
            None => self.read_other(reading, key, out),
        }
    }

    #[inline]
    fn read_field(&mut self, reading: &mut Reading<'a>, key: Raw<'_>, place: usize, out: &mut BytesMut) -> Done {
        let bit = 1 << place;
        if self.schema.shape == Shape::Columns && logprobs::is_column(key.text) {
            return logprobs::note(&mut self.columns, key.text, reading);
        }
        if self.seen & bit != 0 {
            return reading.skip();
        }
        self.seen |= bit;
        let is_payload = match self.schema.shape {
            // Nothing but the payload's own members is read into the payload.
            Shape::Flat => false,
            Shape::Tagged | Shape::BareOrTagged if self.schema.oneof & bit != 0 => Some(place) == self.tag,
            Shape::Call if self.is_chosen && self.schema.oneof & bit != 0 => Some(place) == self.tag,
            _ => true,
        };
        let alternatives = self.schema.fields.get(place..).unwrap_or_default();
        let takes_empty = self.schema.written & bit != 0;
        if is_payload && fit::any(reading, alternatives, takes_empty, self.depth, out)? {
            if self.schema.shape == Shape::Call && self.schema.oneof & bit != 0 {
                self.payloads |= bit;
                self.tag.get_or_insert(place);
            }
            return Ok(());
        }
        extra::member(reading, self.schema, key, self.depth, out)
    }

    /// A member without a field of its own, by the name that is written.
    fn read_other(&mut self, reading: &mut Reading<'a>, key: Raw<'_>, out: &mut BytesMut) -> Done {
        if key.has_escapes {
            let name = scan::unescape(key.text);
            if let Some(place) = self.schema.by_name(name.as_bytes()) {
                return self.read_field(reading, key, place, out);
            }
        }
        if self.schema.shape == Shape::Columns && logprobs::is_column(key.text) {
            return logprobs::note(&mut self.columns, key.text, reading);
        }
        if self.tag.is_some() && self.schema.shape != Shape::Call && key.text == b"type" {
            return reading.skip();
        }
        if !self.schema.object.is_empty() && key.text == b"object" {
            let before = reading.clone();
            if reading.peek() == Some(b'"') && reading.string()?.text == self.schema.object.as_bytes() {
                return Ok(());
            }
            *reading = before;
        }
        if self.schema.shape == Shape::Flat && self.read_inner(reading, key, out)? {
            return Ok(());
        }
        extra::member(reading, self.schema, key, self.depth, out)
    }

    /// A member of the payload of [`Shape::Flat`], which stands beside `type`; false when it is none.
    fn read_inner(&self, reading: &mut Reading<'_>, key: Raw<'_>, out: &mut BytesMut) -> Result<bool, Malformed> {
        let Some(field) = self.tag.and_then(|place| self.schema.fields.get(place)) else { return Ok(false) };
        let Kind::Message(inner) = field.kind else { return Ok(false) };
        let Some(place) = inner.by_name(key.text) else { return Ok(false) };
        let depth = deeper(self.depth)?;
        let before = out.len();
        let mark = wire::begin(out, field.number);
        let alternatives = inner.fields.get(place..).unwrap_or_default();
        let fits = fit::any(reading, alternatives, inner.written >> place & 1 != 0, depth, out)?;
        if fits {
            wire::end(out, mark);
        } else {
            out.truncate(before);
        }
        Ok(fits)
    }
}

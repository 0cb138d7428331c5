//! The first walk over a message: which fields are there, and whether they stand in the order of the JSON.
//!
//! Almost always they do, and then the second walk goes through them once more from front to end. Else a walk
//! in between notes where each of them begins.

use std::borrow::Cow;

use super::error::Wrong;
use crate::grpc::schema::{EXTRA, Field, Kind, Message};
use crate::grpc::wire::{Reader, Value};

/// So many fields of one message may be out of order. Every parser must take any order and every serializer writes one
/// that is close to the schema's, so that only somebody who wants it to be slow has more.
const MAX_SCATTERED: usize = 65_536;

/// What there is in a message.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    /// Fields that are there, as bits by their places in the schema; of a oneof the one that came last.
    pub(super) present: u64,
    /// Whether they are in the order of the schema, each once, and nothing else but `extra` at the end.
    pub(super) is_ordered: bool,
    /// Fields that are there more than once.
    twice: u64,
    /// The `Struct` in `extra`.
    pub(super) extra: Option<Cow<'a, [u8]>>,
    message: &'a [u8],
    /// The oneof that is set, and where the message's rest begins in which nothing of the same oneof is something else.
    oneof: (u64, &'a [u8]),
    schema: &'static Message,
}

impl<'a> Survey<'a> {
    /// Walks over the fields of `message`.
    pub(super) fn of(message: &'a [u8], schema: &'static Message) -> Result<Self, Wrong> {
        let mut survey =
            Self { present: 0, is_ordered: true, twice: 0, extra: None, message, oneof: (0, message), schema };
        let mut reader = Reader::new(message);
        // The place after the last one that was there.
        let mut next = 0;
        let mut count = 0_usize;
        loop {
            let rest = reader.rest();
            let Some((number, value)) = reader.next()? else { break };
            count += 1;
            let Some(place) = schema.by_number(number) else {
                match (number, value) {
                    (EXTRA, Value::Bytes(bytes)) if schema.extra => {
                        survey.add_extra(bytes);
                        next = 64;
                    }
                    _ => survey.is_ordered = false,
                }
                continue;
            };
            let Some(field) = schema.fields.get(place).filter(|field| fits(field, value)) else {
                survey.is_ordered = false;
                continue;
            };
            let bit = 1 << place;
            if schema.oneof & bit != 0 && survey.oneof.0 != bit {
                if survey.oneof.0 != 0 {
                    survey.present &= !schema.oneof;
                    survey.is_ordered = false;
                }
                survey.oneof = (bit, rest);
            }
            survey.is_ordered &= place >= next || (place + 1 == next && field.is_repeated());
            survey.twice |= survey.present & bit;
            survey.present |= bit;
            next = next.max(place + 1);
        }
        if !survey.is_ordered && count > MAX_SCATTERED {
            return Err(Wrong::new("has too many fields out of order; write them in the order of their numbers"));
        }
        Ok(survey)
    }

    fn add_extra(&mut self, bytes: &'a [u8]) {
        match &mut self.extra {
            None => self.extra = Some(Cow::Borrowed(bytes)),
            // A message that comes in pieces is their concatenation.
            Some(pieces) => pieces.to_mut().extend_from_slice(bytes),
        }
    }

    /// Reads the fields, each at most once, and in the order of the schema.
    pub(super) fn reader(&self) -> Result<Occurrences<'a>, Wrong> {
        self.occurrences(self.is_ordered)
    }

    /// Reads the fields in any order.
    pub(super) fn anywhere(&self) -> Result<Occurrences<'a>, Wrong> {
        self.occurrences(false)
    }

    fn occurrences(&self, is_ordered: bool) -> Result<Occurrences<'a>, Wrong> {
        let mut starts = Vec::new();
        if !is_ordered {
            starts.resize(self.schema.fields.len(), &[][..]);
            let mut reader = Reader::new(self.message);
            let mut seen = 0_u64;
            loop {
                let rest = reader.rest();
                let Some((number, _)) = reader.next()? else { break };
                let Some(place) = self.schema.by_number(number).filter(|place| seen >> place & 1 == 0) else {
                    continue;
                };
                seen |= 1 << place;
                if let Some(start) = starts.get_mut(place) {
                    // What a member of a oneof said before another was set is forgotten.
                    *start = if self.oneof.0 == 1 << place { self.oneof.1 } else { rest };
                }
            }
        }
        Ok(Occurrences { reader: Reader::new(self.message), starts, twice: self.twice, schema: self.schema })
    }
}

/// What stands on the wire for one field after the other.
#[derive(Debug)]
pub(super) struct Occurrences<'a> {
    reader: Reader<'a>,
    /// Where each field is first, by its place in the schema. Empty: they are in order.
    starts: Vec<&'a [u8]>,
    twice: u64,
    schema: &'static Message,
}

impl<'a> Occurrences<'a> {
    /// Goes to where a field begins. Returns whether it may come more than once.
    #[inline]
    pub(super) fn start(&mut self, field: &Field) -> bool {
        let is_ordered = self.starts.is_empty();
        if is_ordered {
            return false;
        }
        let place = self.schema.by_number(field.number).unwrap_or_default();
        if let Some(start) = self.starts.get(place) {
            self.reader = Reader::new(start);
        }
        self.twice >> place & 1 != 0
    }

    /// The next value of that field.
    #[inline]
    pub(super) fn next(&mut self, field: &Field) -> Result<Option<Value<'a>>, Wrong> {
        loop {
            let before = self.reader.clone();
            match self.reader.next()? {
                Some((number, value)) if number == field.number && fits(field, value) => return Ok(Some(value)),
                Some(_) if self.starts.is_empty() => {
                    self.reader = before;
                    return Ok(None);
                }
                Some(_) => (),
                None => return Ok(None),
            }
        }
    }

    /// The value of a field that is no message: the last one counts.
    #[inline]
    pub(super) fn last(&mut self, field: &Field) -> Result<Value<'a>, Wrong> {
        let many = self.start(field);
        let mut found = self.next(field)?;
        while many && let Some(value) = self.next(field)? {
            found = Some(value);
        }
        found.ok_or_else(|| Wrong::new("is not there"))
    }

    /// A message: one that comes in pieces is their concatenation.
    #[inline]
    pub(super) fn merged(&mut self, field: &Field) -> Result<Cow<'a, [u8]>, Wrong> {
        let many = self.start(field);
        let mut found = Cow::Borrowed(self.next(field)?.and_then(Value::bytes).unwrap_or_default());
        while many && let Some(more) = self.next(field)? {
            found.to_mut().extend_from_slice(more.bytes().unwrap_or_default());
        }
        Ok(found)
    }
}

/// Whether the wire type is that of the field; what has another is an unknown field.
#[inline]
pub(super) const fn fits(field: &Field, value: Value<'_>) -> bool {
    match (field.kind, value) {
        (
            Kind::Text | Kind::Json | Kind::Id | Kind::Bytes | Kind::Message(_) | Kind::Struct | Kind::Map(_),
            Value::Bytes(_),
        )
        | (Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Null, Value::Varint(_))
        | (Kind::Double, Value::Fixed64(_))
        | (Kind::Float, Value::Fixed32(_)) => true,
        (Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double | Kind::Float, Value::Bytes(_)) => {
            field.is_repeated()
        }
        _ => false,
    }
}

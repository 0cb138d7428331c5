//! A request message as the JSON body of its REST route: from the protobuf wire straight to JSON text.
//!
//! There is no struct and no tree between them. Each message is walked twice: [`survey`] notes which fields are there, for
//! the JSON has an order of its own and the wire may have any; then its members are written, fields in the order of the
//! schema, what is in `extra` at the end. A nested message is stepped over by its length in the first walk, so that no
//! byte is looked at more than a few times however deep the nesting. The rules are those of `proto/README.md`.
//!
//! Every member and element is written with a comma after it, and whatever ends makes its bracket out of the last one.

mod error;
mod extra;
mod logprobs;
mod map;
mod out;
mod scalar;
mod survey;

#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};

use self::error::{Done, Wrong};
use self::extra::Extra;
use self::out::Out;
use self::survey::Survey;
use super::schema::{Field, Kind, Message, Shape};
use super::wire::{MAX_DEPTH, Value};
use crate::errors::Outcome;

/// Appends the JSON object of a message of that schema to `out`. `stream` is what the method says of streaming, where the
/// route knows of it: it is written when it is true.
///
/// # Errors
/// `BadRequest` for what is no such message, naming the field: malformed, text that is not UTF-8, numbers that JSON does
/// not have, JSON text that is none, members both in a field and in `extra`, `stream` in `extra` that says something
/// else, nesting of more than [`MAX_DEPTH`] messages.
#[cfg(test)]
pub(crate) fn object(
    message: &[u8],
    schema: &'static Message,
    stream: Option<bool>,
    out: &mut BytesMut,
) -> Outcome<()> {
    object_within(message, schema, stream, usize::MAX, out)
}

/// The same for an object of at most `limit` bytes: a message may be many times smaller than its JSON.
///
/// # Errors
/// Those of [`object`], and `BodyTooLarge` as soon as it is longer.
pub(crate) fn object_within(
    message: &[u8],
    schema: &'static Message,
    stream: Option<bool>,
    limit: usize,
    out: &mut BytesMut,
) -> Outcome<()> {
    out.reserve((message.len() + message.len() / 4).min(limit) + 64);
    let mut out = Out::new(out, limit);
    out.put_u8(b'{');
    members(message, schema, 1, Some(stream == Some(true)), &mut out)
        .and_then(|()| {
            close(&mut out, b'}');
            out.check()
        })
        .map_err(|wrong| wrong.failure())
}

/// Ends an object or array: its last comma becomes the bracket.
#[inline]
fn close(out: &mut Out<'_>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.put_u8(bracket),
    }
}

/// One level further in.
#[inline]
fn deeper(depth: usize) -> Result<usize, Wrong> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(Wrong::new("is nested too deep; more than 100 levels are refused"))
    }
}

/// A message as JSON; false, and nothing written, when it has none: a union of which nothing is set.
fn value(message: &[u8], schema: &'static Message, depth: usize, out: &mut Out<'_>) -> Result<bool, Wrong> {
    let depth = deeper(depth)?;
    if matches!(schema.shape, Shape::Bare | Shape::BareOrTagged) {
        let survey = Survey::of(message, schema)?;
        let set = survey.present.trailing_zeros() as usize;
        match schema.fields.get(set) {
            Some(field) if field.key.is_empty() => {
                if survey.extra.is_some() {
                    return Err(Wrong::new(
                        "has members in `extra` beside a value that is no object; send one of them",
                    ));
                }
                return contents(field, &mut survey.reader()?, depth, out);
            }
            None if schema.shape == Shape::Bare => {
                let list = schema.fields.first().filter(|field| field.is_repeated());
                if list.is_some() {
                    out.extend_from_slice(b"[]");
                }
                return Ok(list.is_some());
            }
            _ => (),
        }
    }
    out.put_u8(b'{');
    members(message, schema, depth, None, out)?;
    close(out, b'}');
    Ok(true)
}

/// The members of a message's JSON object. `stream` at the outermost level: whether the method streams.
fn members(message: &[u8], schema: &'static Message, depth: usize, stream: Option<bool>, out: &mut Out<'_>) -> Done {
    let survey = Survey::of(message, schema)?;
    let extra = Extra::of(&survey, schema, stream, out.limit())?;
    let payload = schema.fields.get((survey.present & schema.oneof).trailing_zeros() as usize);
    let mut type_written = false;
    match (schema.shape, payload) {
        (Shape::Tagged | Shape::BareOrTagged | Shape::Flat, Some(field)) => {
            extra.must_not_have("type")?;
            tag(field, out);
            type_written = true;
        }
        (Shape::Call, Some(field)) if survey.present & 1 == 0 && !extra.has("type") => {
            tag(field, out);
            type_written = true;
        }
        _ => (),
    }
    if !type_written {
        extra.write_type(depth, out)?;
    }
    if !schema.object.is_empty() && !extra.has("object") {
        out.extend_from_slice(b"\"object\":\"");
        out.extend_from_slice(schema.object.as_bytes());
        out.extend_from_slice(b"\",");
    }
    if schema.shape == Shape::Columns {
        logprobs::members(&survey, schema, &extra, depth, out)?;
    } else {
        fields(&survey, schema, &extra, depth, out)?;
    }
    if stream == Some(true) {
        out.extend_from_slice(b"\"stream\":true,");
    }
    extra.write(depth, out)
}

/// The member `type` of the payload that is set.
fn tag(field: &Field, out: &mut Out<'_>) {
    out.extend_from_slice(b"\"type\":");
    let name = field.key.as_bytes();
    out.extend_from_slice(name.get(..name.len().saturating_sub(1)).unwrap_or_default());
    out.put_u8(b',');
}

/// The members that have fields.
fn fields(survey: &Survey<'_>, schema: &'static Message, extra: &Extra<'_>, depth: usize, out: &mut Out<'_>) -> Done {
    let mut reader = survey.reader()?;
    let mut todo = survey.present | schema.written & !extra.named;
    while todo != 0 {
        let place = todo.trailing_zeros() as usize;
        todo &= todo - 1;
        let Some(field) = schema.fields.get(place) else { continue };
        let start = out.len();
        out.extend_from_slice(field.key.as_bytes());
        if survey.present >> place & 1 == 0 {
            unset(field, out);
        } else {
            let written = if schema.shape == Shape::Flat && schema.oneof >> place & 1 != 0 {
                out.truncate(start);
                let (Kind::Message(inner), payload) = (field.kind, reader.merged(field)?) else { continue };
                members(&payload, inner, deeper(depth)?, None, out)?;
                continue;
            } else {
                contents(field, &mut reader, depth, out).map_err(|wrong| wrong.inside(field.name()))?
            };
            if !written {
                out.truncate(start);
                continue;
            }
        }
        out.put_u8(b',');
        out.check()?;
    }
    Ok(())
}

/// A member that is there although its field is not set.
fn unset(field: &Field, out: &mut Out<'_>) {
    out.extend_from_slice(match field.kind {
        _ if field.is_nullable() => b"null",
        _ if field.is_repeated() => b"[]",
        Kind::Text => b"\"\"",
        Kind::Bool => b"false",
        _ => b"0",
    });
}

/// What a field holds, which is known to be set; false, and nothing written, when it has no JSON.
fn contents(
    field: &'static Field,
    reader: &mut survey::Occurrences<'_>,
    depth: usize,
    out: &mut Out<'_>,
) -> Result<bool, Wrong> {
    match field.kind {
        Kind::Map(of) => map::object(field, of, reader, depth, out)?,
        _ if field.is_repeated() => list(field, reader, depth, out)?,
        Kind::Message(schema) => return value(&reader.merged(field)?, schema, depth, out),
        Kind::Struct => extra::object(&reader.merged(field)?, depth, out)?,
        kind => scalar::write(kind, reader.last(field)?, out)?,
    }
    Ok(true)
}

/// An array of everything that a repeated field holds.
fn list(field: &'static Field, reader: &mut survey::Occurrences<'_>, depth: usize, out: &mut Out<'_>) -> Done {
    reader.start(field);
    out.put_u8(b'[');
    let mut index = 0;
    while let Some(found) = reader.next(field)? {
        let one = match (field.kind, found) {
            (Kind::Message(schema), Value::Bytes(bytes)) => value(bytes, schema, depth, out).map(drop),
            (Kind::Struct, Value::Bytes(bytes)) => extra::object(bytes, depth, out),
            (Kind::Text, _) => scalar::write(field.kind, found, out),
            (_, Value::Bytes(packed)) => {
                scalar::packed(field.kind, packed, out)?;
                continue;
            }
            _ => scalar::write(field.kind, found, out),
        };
        one.map_err(|wrong| wrong.at(index))?;
        index += 1;
        out.put_u8(b',');
        out.check()?;
    }
    close(out, b']');
    Ok(())
}

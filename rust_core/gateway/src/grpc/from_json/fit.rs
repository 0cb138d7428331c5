//! A JSON value into the field it fits.

use bytes::{BufMut, BytesMut};

use super::error::{Malformed, deeper};
use super::reading::{Raw, Reading};
use super::{extra, members, number};
use crate::grpc::base64::Decoder;
use crate::grpc::schema::{Field, Kind, Message, Shape};
use crate::grpc::wire;
use crate::scan::unescape_to;

/// Whether it fits. If not, what was read and written must be taken back.
pub(super) type Fits = Result<bool, Malformed>;

/// Writes the value that comes next into the first field that it fits, of those that are the same member as the first of
/// `fields`. False, and nothing read or written, when it fits none. `takes_empty`: an array without elements fits.
#[inline]
pub(super) fn any(
    reading: &mut Reading<'_>,
    fields: &'static [Field],
    takes_empty: bool,
    depth: usize,
    out: &mut BytesMut,
) -> Fits {
    let Some(first) = fields.first() else { return Ok(false) };
    let (before, written) = (reading.clone(), out.len());
    if first.is_nullable() && reading.null()? {
        return Ok(true);
    }
    if one(reading, first, takes_empty, depth, out)? {
        return Ok(true);
    }
    *reading = before.clone();
    out.truncate(written);
    for field in fields.iter().skip(1).take_while(|field| field.key == first.key) {
        if one(reading, field, takes_empty, depth, out)? {
            return Ok(true);
        }
        *reading = before.clone();
        out.truncate(written);
    }
    Ok(false)
}

#[inline]
fn one(reading: &mut Reading<'_>, field: &'static Field, takes_empty: bool, depth: usize, out: &mut BytesMut) -> Fits {
    match field.kind {
        Kind::Map(of) => map(reading, field.number, of, depth, out),
        kind if field.is_repeated() => list(reading, field.number, kind, takes_empty, depth, out),
        kind => {
            let before = out.len();
            let fits = single(reading, field.number, kind, depth, out)?;
            // Of what has no presence, zero is not written.
            if fits && !field.is_optional() && out.last() == Some(&0) && is_zero(kind, before, out) {
                out.truncate(before);
            }
            Ok(fits)
        }
    }
}

/// Whether what was written from `start` on is the zero of its kind.
fn is_zero(kind: Kind, start: usize, out: &BytesMut) -> bool {
    let value = if matches!(kind, Kind::Double) { 8 } else { 1 };
    let zeros = out.iter().skip(start).rev().take(value).all(|&byte| byte == 0);
    // The tags of field numbers below 16 are one byte; others are written even when they are zero.
    zeros && out.len() - start == 1 + value
}

/// One value as one field.
#[inline]
fn single(reading: &mut Reading<'_>, field: u32, kind: Kind, depth: usize, out: &mut BytesMut) -> Fits {
    match kind {
        Kind::Text if reading.peek() == Some(b'"') => text(field, reading.string()?, out),
        Kind::Json if matches!(reading.peek(), Some(b'{' | b'[' | b't' | b'f')) => {
            wire::put_bytes(out, field, reading.raw()?);
        }
        Kind::Bool => match reading.bool()? {
            Some(value) => wire::put_bool(out, field, value),
            None => return Ok(false),
        },
        Kind::Int32 | Kind::Int64 | Kind::Uint32 => match reading.number()?.and_then(number::integer) {
            Some(value) if in_range(kind, value) => wire::put_int(out, field, value),
            _ => return Ok(false),
        },
        Kind::Double => match reading.number()?.and_then(number::double) {
            Some(value) => wire::put_double(out, field, value),
            None => return Ok(false),
        },
        Kind::Float => match reading.number()?.and_then(number::float) {
            Some(value) => wire::put_float(out, field, value),
            None => return Ok(false),
        },
        Kind::Null if reading.null()? => wire::put_uint(out, field, 0),
        Kind::Message(schema) => return message(reading, field, schema, depth, out),
        Kind::Struct if reading.peek() == Some(b'{') => extra::object(reading, field, depth, out)?,
        Kind::Bytes if reading.peek() == Some(b'[') => return octets(reading, field, out),
        Kind::Id if reading.peek() == Some(b'{') => return id(reading, field, out),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A string.
#[inline]
pub(super) fn text(field: u32, raw: Raw<'_>, out: &mut BytesMut) {
    if raw.has_escapes {
        wire::put_message(out, field, |out| unescape_to(raw.text, |piece| out.extend_from_slice(piece)));
    } else {
        wire::put_bytes(out, field, raw.text);
    }
}

fn in_range(kind: Kind, value: i64) -> bool {
    match kind {
        Kind::Int32 => i32::try_from(value).is_ok(),
        Kind::Uint32 => u32::try_from(value).is_ok(),
        _ => true,
    }
}

/// A message: an object, or a value of its own where the message is a union of such.
fn message(reading: &mut Reading<'_>, field: u32, schema: &'static Message, depth: usize, out: &mut BytesMut) -> Fits {
    let is_object = reading.peek() == Some(b'{');
    let is_bare = schema.shape == Shape::Bare || (schema.shape == Shape::BareOrTagged && !is_object);
    if !is_bare && !is_object {
        return Ok(false);
    }
    let depth = deeper(depth)?;
    let mark = wire::begin(out, field);
    if is_bare {
        if !any(reading, schema.fields, true, depth, out)? {
            return Ok(false);
        }
    } else {
        members(reading, schema, depth, out)?;
    }
    wire::end(out, mark);
    Ok(true)
}

/// A repeated field.
fn list(
    reading: &mut Reading<'_>,
    field: u32,
    kind: Kind,
    takes_empty: bool,
    depth: usize,
    out: &mut BytesMut,
) -> Fits {
    if let (Kind::Float, Some(b'"')) = (kind, reading.peek()) {
        return floats_in_base64(reading, field, out);
    }
    if reading.peek() != Some(b'[') {
        return Ok(false);
    }
    if !reading.open(b'[', b']') {
        return Ok(takes_empty);
    }
    if matches!(kind, Kind::Float | Kind::Uint32) {
        return packed(reading, field, kind, out);
    }
    loop {
        if !single(reading, field, kind, depth, out)? {
            return Ok(false);
        }
        if !reading.another(b']')? {
            return Ok(true);
        }
    }
}

/// The numbers of an array that was entered, packed.
fn packed(reading: &mut Reading<'_>, field: u32, kind: Kind, out: &mut BytesMut) -> Fits {
    let mark = wire::begin(out, field);
    loop {
        let Some(text) = reading.number()? else { return Ok(false) };
        if matches!(kind, Kind::Float) {
            let Some(value) = number::float(text) else { return Ok(false) };
            out.put_f32_le(value);
        } else {
            let Some(value) = number::integer(text).and_then(|value| u32::try_from(value).ok()) else {
                return Ok(false);
            };
            wire::put_varint(out, u64::from(value));
        }
        if !reading.another(b']')? {
            break;
        }
    }
    wire::end(out, mark);
    Ok(true)
}

/// Embeddings in base64 hold the bytes of their floats, which are those of a packed list.
fn floats_in_base64(reading: &mut Reading<'_>, field: u32, out: &mut BytesMut) -> Fits {
    let text = reading.string()?.text;
    let mark = wire::begin(out, field);
    let start = out.len();
    let mut decoder = Decoder::default();
    let is_whole = decoder.push(text, out) && decoder.finish(out) && (out.len() - start).is_multiple_of(4);
    if is_whole {
        wire::end(out, mark);
    }
    Ok(is_whole && out.len() > start)
}

/// A map: an object with members, all of which fit.
fn map(reading: &mut Reading<'_>, field: u32, of: &'static Kind, depth: usize, out: &mut BytesMut) -> Fits {
    if reading.peek() != Some(b'{') || !reading.open(b'{', b'}') {
        return Ok(false);
    }
    let depth = deeper(depth)?;
    loop {
        let entry = wire::begin(out, field);
        text(1, reading.key()?, out);
        if !single(reading, 2, *of, depth, out)? {
            return Ok(false);
        }
        wire::end(out, entry);
        if !reading.another(b'}')? {
            return Ok(true);
        }
    }
}

/// Bytes: an array of integers.
fn octets(reading: &mut Reading<'_>, field: u32, out: &mut BytesMut) -> Fits {
    let mark = wire::begin(out, field);
    let mut more = reading.open(b'[', b']');
    while more {
        match reading.number()?.and_then(number::integer).map(u8::try_from) {
            Some(Ok(byte)) => out.put_u8(byte),
            _ => return Ok(false),
        }
        more = reading.another(b']')?;
    }
    wire::end(out, mark);
    Ok(true)
}

/// `{"id": ...}` and nothing else.
fn id(reading: &mut Reading<'_>, field: u32, out: &mut BytesMut) -> Fits {
    if !reading.open(b'{', b'}') || reading.key()?.text != b"id" || reading.peek() != Some(b'"') {
        return Ok(false);
    }
    text(field, reading.string()?, out);
    Ok(!reading.another(b'}')?)
}

//! The protobuf wire format: fields out of bytes, bytes out of fields.
//!
//! Apart from the messages because three users speak it (the transcoder, the xAI service, the services that the
//! gateway answers itself) and none of them wants structs. Numbers of wire types and rules are those of
//! <https://protobuf.dev/programming-guides/encoding>.

use std::fmt;

use bytes::{BufMut, BytesMut};

#[cfg(test)]
mod tests;

/// Messages may be nested this deep, as in every protobuf runtime.
pub(crate) const MAX_DEPTH: usize = 100;

/// Bytes that are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They end inside a field.
    Truncated,
    /// A number of more than 64 bits.
    Varint,
    /// A field number that does not exist, or an unknown wire type.
    Tag,
    /// Groups that do not end, end twice, or nest more than [`MAX_DEPTH`] deep.
    Group,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends inside a field",
            Self::Varint => "a number has more than 64 bits",
            Self::Tag => "a field number or wire type is not one",
            Self::Group => "groups are not closed or nested too deep",
        })
    }
}

/// What stands on the wire for one field. What it means is the schema's to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// `double` and the fixed 64-bit integers.
    Fixed64(u64),
    /// Strings, bytes, messages, packed lists.
    Bytes(&'a [u8]),
    /// `float` and the fixed 32-bit integers.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// What is length-delimited; nothing for the other wire types, which a parser treats as an unknown field.
    #[inline]
    pub(crate) const fn bytes(self) -> Option<&'a [u8]> {
        if let Value::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// A string, when it is UTF-8.
    #[inline]
    pub(crate) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A varint.
    #[cfg(test)]
    pub(crate) const fn varint(self) -> Option<u64> {
        if let Value::Varint(value) = self { Some(value) } else { None }
    }

    /// A `float`.
    #[cfg(test)]
    pub(crate) const fn float(self) -> Option<f32> {
        if let Value::Fixed32(bits) = self { Some(f32::from_bits(bits)) } else { None }
    }
}

/// Fields of a message, in the order in which they stand. Groups, which `proto3` does not have, are stepped over.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the fields of `message`.
    #[inline]
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and value; nothing at the end.
    ///
    /// # Errors
    /// The bytes are not a message. What has been read before is still right.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        while !self.rest.is_empty() {
            let (number, kind) = self.tag()?;
            match self.value(kind)? {
                Some(value) => return Ok(Some((number, value))),
                None if kind == 3 => self.skip_group(number)?,
                None => return Err(Malformed::Group),
            }
        }
        Ok(None)
    }

    /// One varint, as in packed lists.
    ///
    /// # Errors
    /// The bytes end, or go on after 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
            self.rest = rest;
            if shift == 63 && byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Tag)?;
        if tag < 8 { Err(Malformed::Tag) } else { Ok((tag >> 3, (tag & 7) as u8)) }
    }

    /// A value of that wire type; nothing for the ends of groups.
    #[inline]
    fn value(&mut self, kind: u8) -> Result<Option<Value<'a>>, Malformed> {
        Ok(Some(match kind {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            3 | 4 => return Ok(None),
            _ => return Err(Malformed::Tag),
        }))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Steps over a group whose start has been read. Iterative: nesting costs no stack.
    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = Vec::from([number]);
        while let Some(&innermost) = open.last() {
            let (number, kind) = self.tag()?;
            match kind {
                3 if open.len() < MAX_DEPTH => open.push(number),
                4 if number == innermost => drop(open.pop()),
                3 | 4 => return Err(Malformed::Group),
                _ => drop(self.value(kind)?),
            }
        }
        Ok(())
    }
}

/// A string or bytes field of a message: what it says last, or nothing.
///
/// # Errors
/// The bytes are not a message.
pub(crate) fn last_bytes(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let (mut reader, mut found) = (Reader::new(message), &[][..]);
    while let Some((at, value)) = reader.next()? {
        if let (true, Value::Bytes(bytes)) = (at == number, value) {
            found = bytes;
        }
    }
    Ok(found)
}

// ---- writing ----------------------------------------------------------------------------------

/// A varint.
#[inline]
pub(crate) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[inline]
fn put_tag(out: &mut BytesMut, number: u32, kind: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(kind));
}

/// An integer that is not negative, or an enum.
#[inline]
pub(crate) fn put_uint(out: &mut BytesMut, number: u32, value: u64) {
    put_tag(out, number, 0);
    put_varint(out, value);
}

/// An `int32` or `int64`: two's complement, ten bytes when negative.
#[inline]
pub(crate) fn put_int(out: &mut BytesMut, number: u32, value: i64) {
    put_uint(out, number, value.cast_unsigned());
}

/// A `bool`.
#[inline]
pub(crate) fn put_bool(out: &mut BytesMut, number: u32, value: bool) {
    put_uint(out, number, u64::from(value));
}

/// A `double`.
#[inline]
pub(crate) fn put_double(out: &mut BytesMut, number: u32, value: f64) {
    put_tag(out, number, 1);
    out.put_u64_le(value.to_bits());
}

/// A `float`.
#[inline]
pub(crate) fn put_float(out: &mut BytesMut, number: u32, value: f32) {
    put_fixed32(out, number, value.to_bits());
}

/// A `fixed32`, or the bits of a `float`.
#[inline]
pub(crate) fn put_fixed32(out: &mut BytesMut, number: u32, value: u32) {
    put_tag(out, number, 5);
    out.put_u32_le(value);
}

/// A string, bytes, or a message that is there already.
#[inline]
pub(crate) fn put_bytes(out: &mut BytesMut, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A string.
#[inline]
pub(crate) fn put_text(out: &mut BytesMut, number: u32, text: &str) {
    put_bytes(out, number, text.as_bytes());
}

/// A message, of what `write` writes.
#[inline]
pub(crate) fn put_message(out: &mut BytesMut, number: u32, write: impl FnOnce(&mut BytesMut)) {
    let mark = begin(out, number);
    write(out);
    end(out, mark);
}

/// Where a length-delimited field began, until [`end`] knows its length.
#[derive(Clone, Copy, Debug)]
#[must_use = "a field that was begun must be ended"]
pub(crate) struct Mark(usize);

/// Begins a message, a packed list or a string whose length is not known yet; what is written until [`end`] is in it.
#[inline]
pub(crate) fn begin(out: &mut BytesMut, number: u32) -> Mark {
    put_tag(out, number, 2);
    let mark = Mark(out.len());
    out.put_u8(0);
    mark
}

/// Writes the length of what was written since [`begin`].
#[inline]
pub(crate) fn end(out: &mut BytesMut, mark: Mark) {
    let length = out.len().saturating_sub(mark.0 + 1);
    if length < 0x80 {
        if let Some(byte) = out.get_mut(mark.0) {
            *byte = length as u8;
        }
    } else {
        end_long(out, mark, length);
    }
}

/// Moves what was written to make room for a length of several bytes.
#[cold]
fn end_long(out: &mut BytesMut, mark: Mark, length: usize) {
    let size = (usize::BITS - length.leading_zeros()).div_ceil(7) as usize;
    let (from, to) = (mark.0 + 1, mark.0 + size);
    out.put_bytes(0, size - 1);
    out.copy_within(from..from + length, to);
    let mut value = length;
    for byte in out.iter_mut().skip(mark.0).take(size) {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    if let Some(last) = out.get_mut(to - 1) {
        *last &= 0x7f;
    }
}

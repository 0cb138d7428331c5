//! What has no field, as `google.protobuf.Struct`.
//!
//! Its numbers are doubles. An integer beyond 2^53 becomes the double next to it, as in any JSON reader that knows no
//! other numbers: an answer that was paid for is not refused for that. A number beyond the doubles stays as its text.

use bytes::BytesMut;

use super::error::{Done, deeper};
use super::fit::text;
use super::number;
use super::reading::{Raw, Reading};
use crate::grpc::schema::{EXTRA, Message};
use crate::grpc::wire::{begin, end, put_bool, put_double, put_uint};

/// The member `key` of a message's object, with the value that comes next; dropped where the message has no `extra`.
pub(super) fn member(
    reading: &mut Reading<'_>,
    schema: &Message,
    key: Raw<'_>,
    depth: usize,
    out: &mut BytesMut,
) -> Done {
    if !schema.extra {
        return reading.skip();
    }
    let mark = begin(out, EXTRA);
    entry(reading, key, deeper(depth)?, out)?;
    end(out, mark);
    Ok(())
}

/// The object that comes next, as a `Struct` in that field.
pub(super) fn object(reading: &mut Reading<'_>, field: u32, depth: usize, out: &mut BytesMut) -> Done {
    let depth = deeper(depth)?;
    let mark = begin(out, field);
    let mut more = reading.open(b'{', b'}');
    while more {
        let key = reading.key()?;
        entry(reading, key, depth, out)?;
        more = reading.another(b'}')?;
    }
    end(out, mark);
    Ok(())
}

/// One entry of a `Struct`, which is a message of its own.
fn entry(reading: &mut Reading<'_>, key: Raw<'_>, depth: usize, out: &mut BytesMut) -> Done {
    let mark = begin(out, 1);
    text(1, key, out);
    value(reading, 2, deeper(depth)?, out)?;
    end(out, mark);
    Ok(())
}

/// The value that comes next, as a `Value` in that field.
fn value(reading: &mut Reading<'_>, field: u32, depth: usize, out: &mut BytesMut) -> Done {
    let depth = deeper(depth)?;
    let mark = begin(out, field);
    match reading.peek() {
        Some(b'"') => text(3, reading.string()?, out),
        Some(b'{') => object(reading, 5, depth, out)?,
        Some(b'[') => {
            let depth = deeper(depth)?;
            let list = begin(out, 6);
            let mut more = reading.open(b'[', b']');
            while more {
                value(reading, 1, depth, out)?;
                more = reading.another(b']')?;
            }
            end(out, list);
        }
        _ => {
            if let Some(value) = reading.bool()? {
                put_bool(out, 4, value);
            } else if let Some(digits) = reading.number()? {
                match number::nearest(digits) {
                    Some(value) => put_double(out, 2, value),
                    None => text(3, digits.into(), out),
                }
            } else if reading.null()? {
                put_uint(out, 1, 0);
            } else {
                reading.skip()?;
            }
        }
    }
    end(out, mark);
    Ok(())
}

//! Single values as JSON: strings, numbers, words.

use std::fmt::Write;

use bytes::BufMut;

use super::close;
use super::error::{Done, Wrong};
use super::out::Out;
use crate::grpc::schema::Kind;
use crate::grpc::wire::{Reader, Value};
use crate::scan::{Cursor, plain_prefix};

/// Doubles below this hold every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One value, whose wire type fits its kind.
pub(super) fn write(kind: Kind, value: Value<'_>, out: &mut Out<'_>) -> Done {
    match (kind, value) {
        (Kind::Text, Value::Bytes(bytes)) => text(bytes, out),
        (Kind::Json, Value::Bytes(bytes)) => json(bytes, out),
        (Kind::Id, Value::Bytes(bytes)) => {
            out.extend_from_slice(b"{\"id\":");
            text(bytes, out)?;
            out.put_u8(b'}');
            Ok(())
        }
        (Kind::Bytes, Value::Bytes(bytes)) => {
            out.put_u8(b'[');
            for &byte in bytes {
                integer(u64::from(byte), out);
                out.put_u8(b',');
                out.check()?;
            }
            close(out, b']');
            Ok(())
        }
        (Kind::Bool, Value::Varint(value)) => {
            out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
            Ok(())
        }
        // Wider values are cut, as every parser does.
        (Kind::Int32, Value::Varint(value)) => signed(i64::from(value as i32), out),
        (Kind::Int64, Value::Varint(value)) => signed(value.cast_signed(), out),
        (Kind::Uint32, Value::Varint(value)) => {
            integer(u64::from(value as u32), out);
            Ok(())
        }
        (Kind::Double, Value::Fixed64(bits)) => double(f64::from_bits(bits), out),
        (Kind::Float, Value::Fixed32(bits)) => float(f32::from_bits(bits), out),
        _ => {
            out.extend_from_slice(b"null");
            Ok(())
        }
    }
}

/// The numbers of a packed list, each with a comma after it.
pub(super) fn packed(kind: Kind, list: &[u8], out: &mut Out<'_>) -> Done {
    let mut reader = Reader::new(list);
    match kind {
        Kind::Float | Kind::Double => {
            let width = if matches!(kind, Kind::Float) { 4 } else { 8 };
            let numbers = list.chunks_exact(width);
            if !numbers.remainder().is_empty() {
                return Err(Wrong::new("is not a list of packed numbers: it ends inside one"));
            }
            for number in numbers {
                match (number.first_chunk(), number.first_chunk()) {
                    (_, Some(bytes)) => double(f64::from_le_bytes(*bytes), out)?,
                    (Some(bytes), None) => float(f32::from_le_bytes(*bytes), out)?,
                    (None, None) => (),
                }
                out.put_u8(b',');
                out.check()?;
            }
        }
        _ => {
            while !reader.rest().is_empty() {
                write(kind, Value::Varint(reader.varint()?), out)?;
                out.put_u8(b',');
                out.check()?;
            }
        }
    }
    Ok(())
}

/// A string.
#[inline]
pub(super) fn text(bytes: &[u8], out: &mut Out<'_>) -> Done {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Wrong::new("is not UTF-8; a `string` field must be"));
    }
    string(bytes, out);
    Ok(())
}

/// A string that is known to be UTF-8.
pub(super) fn string(mut rest: &[u8], out: &mut Out<'_>) {
    out.put_u8(b'"');
    loop {
        let (plain, special) = rest.split_at_checked(plain_prefix(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        rest = after;
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                // Six bytes out of one; the caller's own check says so then.
                if out.check().is_err() {
                    break;
                }
                // Writing to memory does not fail.
                let _ = write!(out, "\\u{byte:04x}");
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.put_u8(b'"');
}

/// JSON text, as it is.
fn json(bytes: &[u8], out: &mut Out<'_>) -> Done {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Wrong::new("is not UTF-8; a `string` field must be"));
    }
    let mut cursor = Cursor::new(bytes, 0);
    cursor.white();
    let read = cursor.value(0).and_then(|value| {
        cursor.white();
        if cursor.peek().is_some() { cursor.error("something after the end of the value") } else { Ok(value) }
    });
    match read {
        Ok(value) => {
            out.extend_from_slice(value.of(bytes));
            Ok(())
        }
        Err(error) => Err(Wrong::new(format!("must be the text of one JSON value: {}", error.detail()))),
    }
}

/// A number in the shortest form that reads back as the same double, whole ones without a fraction.
pub(super) fn double(value: f64, out: &mut Out<'_>) -> Done {
    if !value.is_finite() {
        return Err(Wrong::new("must be a finite number; JSON has no other"));
    }
    if value.fract() == 0.0 && value.abs() < EXACT && !(value == 0.0 && value.is_sign_negative()) {
        return signed(value as i64, out);
    }
    // Writing to memory does not fail.
    let _ = write!(out, "{value:?}");
    Ok(())
}

/// The same in the shortest form that reads back as the same float.
fn float(value: f32, out: &mut Out<'_>) -> Done {
    if value.is_finite() && value.fract() != 0.0 {
        let _ = write!(out, "{value:?}");
        return Ok(());
    }
    double(f64::from(value), out)
}

fn signed(value: i64, out: &mut Out<'_>) -> Done {
    if value < 0 {
        out.put_u8(b'-');
    }
    integer(value.unsigned_abs(), out);
    Ok(())
}

fn integer(mut value: u64, out: &mut Out<'_>) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

//! Writes fields as proto3 has them: a field at its default is left out.

use bytes::{BufMut, BytesMut};

use crate::grpc::frame::Messages;
use crate::grpc::wire;

pub(super) fn text(out: &mut BytesMut, field: u32, text: &str) {
    if !text.is_empty() {
        wire::put_text(out, field, text);
    }
}

pub(super) fn bytes(out: &mut BytesMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        wire::put_bytes(out, field, bytes);
    }
}

pub(super) fn number(out: &mut BytesMut, field: u32, number: u64) {
    if number != 0 {
        wire::put_uint(out, field, number);
    }
}

pub(super) fn float(out: &mut BytesMut, field: u32, number: f32) {
    if number.to_bits() != 0 {
        wire::put_float(out, field, number);
    }
}

/// A repeated field of floats.
pub(super) fn floats(out: &mut BytesMut, field: u32, numbers: &[f32]) {
    if !numbers.is_empty() {
        message(out, field, |out| {
            out.reserve(numbers.len() * 4 + 4);
            numbers.iter().for_each(|number| out.put_f32_le(*number));
        });
    }
}

/// A repeated field of enums that holds this one, which is below 128.
pub(super) fn packed(out: &mut BytesMut, field: u32, value: u8) {
    wire::put_bytes(out, field, &[value]);
}

/// A message, also an empty one.
pub(super) fn message(out: &mut BytesMut, field: u32, write: impl FnOnce(&mut BytesMut)) {
    let mark = wire::begin(out, field);
    write(out);
    wire::end(out, mark);
}

/// A `google.protobuf.Timestamp`; 0 is not known and left out.
pub(super) fn seconds(out: &mut BytesMut, field: u32, seconds: i64) {
    if seconds != 0 {
        message(out, field, |out| wire::put_int(out, 1, seconds));
    }
}

/// A message of a stream.
pub(super) fn framed(messages: &mut Messages, write: impl FnOnce(&mut BytesMut)) {
    let mark = messages.begin();
    write(messages.out());
    messages.end(mark);
}

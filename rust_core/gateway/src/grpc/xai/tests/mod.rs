//! The mapping as `proto/xai/README.md` has it, on bytes as the published client writes and reads them.

mod answers;
mod local;
mod others;
mod recordings;
mod requests;
mod streams;

use bytes::BytesMut;

use crate::grpc::wire::{self, Reader, Value};

/// A message made of fields.
pub(super) fn message(fields: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    fields(&mut out);
    out.to_vec()
}

pub(super) fn put(out: &mut BytesMut, field: u32, fields: impl FnOnce(&mut BytesMut)) {
    wire::put_bytes(out, field, &message(fields));
}

/// All values at a path of field numbers.
pub(super) fn values<'a>(message: &'a [u8], path: &[u32]) -> Vec<Value<'a>> {
    let (first, rest) = path.split_first().unwrap();
    let mut reader = Reader::new(message);
    let mut found = Vec::new();
    while let Some((number, value)) = reader.next().unwrap() {
        match (number == *first, rest.is_empty()) {
            (true, true) => found.push(value),
            (true, false) => found.extend(values(value.bytes().unwrap(), rest)),
            (false, _) => {}
        }
    }
    found
}

pub(super) fn texts<'a>(message: &'a [u8], path: &[u32]) -> Vec<&'a str> {
    values(message, path).into_iter().map(|value| value.text().unwrap()).collect()
}

pub(super) fn numbers(message: &[u8], path: &[u32]) -> Vec<u64> {
    values(message, path).into_iter().map(|value| value.varint().unwrap()).collect()
}

/// The messages of a stream, without the prefixes of their frames.
pub(super) fn unframed(framed: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = framed;
    let mut found = Vec::new();
    while let Some((prefix, tail)) = rest.split_first_chunk::<5>() {
        assert_eq!(prefix[0], 0);
        let (message, tail) = tail.split_at(u32::from_be_bytes(*prefix.last_chunk().unwrap()) as usize);
        found.push(message.to_vec());
        rest = tail;
    }
    found
}

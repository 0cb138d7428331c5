//! Maps as JSON objects, their entries sorted by key.

use std::borrow::Cow;

use bytes::BufMut;

use super::error::{Done, Wrong};
use super::out::Out;
use super::survey::Occurrences;
use super::{close, scalar, value};
use crate::grpc::schema::{Field, Kind};
use crate::grpc::wire::{Reader, Value};

/// A member of an object has so many bytes of JSON: `"":0,`.
const SHORTEST: usize = 5;

/// Key and value of one entry.
pub(super) struct Entry<'a> {
    /// UTF-8.
    pub(super) key: &'a [u8],
    /// Unset: what is zero for its type.
    pub(super) value: Option<Value<'a>>,
    /// Of a message, when it came in pieces.
    pieces: Vec<u8>,
}

impl<'a> Entry<'a> {
    /// The value of a message type.
    pub(super) fn message(&self) -> &[u8] {
        if self.pieces.is_empty() { self.value.and_then(Value::bytes).unwrap_or_default() } else { &self.pieces }
    }

    fn of(message: &'a [u8], merge: bool) -> Result<Self, Wrong> {
        let mut entry = Self { key: &[], value: None, pieces: Vec::new() };
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Bytes(key)) => entry.key = key,
                (2, found) => {
                    if let (true, Some(Value::Bytes(before)), Value::Bytes(more)) = (merge, entry.value, found) {
                        if entry.pieces.is_empty() {
                            entry.pieces.extend_from_slice(before);
                        }
                        entry.pieces.extend_from_slice(more);
                    }
                    entry.value = Some(found);
                }
                _ => (),
            }
        }
        if std::str::from_utf8(entry.key).is_err() {
            return Err(Wrong::new("has a key that is not UTF-8; a `string` must be"));
        }
        Ok(entry)
    }
}

/// Entries in the order of their keys; of two with the same key the last. `merge`: their values are messages. An object
/// of so many members, equal ones counted, must have room in `limit`.
pub(super) fn sorted<'a>(
    messages: impl Iterator<Item = Result<&'a [u8], Wrong>>,
    merge: bool,
    limit: usize,
) -> Result<Vec<Entry<'a>>, Wrong> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut is_sorted = true;
    for message in messages {
        let entry = Entry::of(message?, merge)?;
        match entries.last_mut() {
            Some(last) if entry.key == last.key => {
                *last = entry;
                continue;
            }
            Some(last) => is_sorted &= last.key < entry.key,
            None => (),
        }
        if entries.len() >= limit / SHORTEST {
            return Err(Wrong::too_large(limit));
        }
        entries.push(entry);
    }
    if !is_sorted {
        entries.sort_by(|one, other| one.key.cmp(other.key));
        entries.reverse();
        // Sorting keeps the order of equals, so that now the last of them comes first.
        entries.dedup_by(|next, first| next.key == first.key);
        entries.reverse();
    }
    Ok(entries)
}

/// A field that is a map, as an object.
pub(super) fn object(
    field: &Field,
    of: &'static Kind,
    reader: &mut Occurrences<'_>,
    depth: usize,
    out: &mut Out<'_>,
) -> Done {
    let merge = matches!(of, Kind::Message(_));
    reader.start(field);
    let messages = std::iter::from_fn(|| reader.next(field).map(|value| value?.bytes()).transpose());
    let entries = sorted(messages, merge, out.limit())?;
    out.put_u8(b'{');
    for entry in &entries {
        scalar::string(entry.key, out);
        out.put_u8(b':');
        let written = match (of, entry.value) {
            (Kind::Message(schema), _) => value(entry.message(), schema, depth + 1, out).map(drop),
            (kind, Some(value)) if fits(kind, value) => scalar::write(*kind, value, out),
            (Kind::Text, _) => scalar::text(&[], out),
            (Kind::Bool, _) => scalar::write(Kind::Bool, Value::Varint(0), out),
            _ => scalar::double(0.0, out),
        };
        written.map_err(|wrong| wrong.inside(Cow::Owned(String::from_utf8_lossy(entry.key).into_owned())))?;
        out.put_u8(b',');
        out.check()?;
    }
    close(out, b'}');
    Ok(())
}

const fn fits(kind: &Kind, value: Value<'_>) -> bool {
    matches!(
        (kind, value),
        (Kind::Text, Value::Bytes(_)) | (Kind::Bool, Value::Varint(_)) | (Kind::Double, Value::Fixed64(_))
    )
}

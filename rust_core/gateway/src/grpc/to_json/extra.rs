//! `google.protobuf.Struct` as JSON: the members that have no field.

use std::borrow::Cow;

use bytes::BufMut;

use super::error::{Done, Wrong};
use super::map::{Entry, sorted};
use super::out::Out;
use super::survey::Survey;
use super::{close, deeper, scalar};
use crate::grpc::schema::Message;
use crate::grpc::wire::{Reader, Value};

/// The members in a message's `extra`, sorted by name.
pub(super) struct Extra<'a> {
    members: Vec<Entry<'a>>,
    /// Fields whose members are among them, as bits by their places in the schema.
    pub(super) named: u64,
}

impl<'a> Extra<'a> {
    /// Reads them, and checks that none of them is in its field too. `stream`: see [`super::members`].
    pub(super) fn of(
        survey: &'a Survey<'_>,
        schema: &Message,
        stream: Option<bool>,
        limit: usize,
    ) -> Result<Self, Wrong> {
        let Some(bytes) = &survey.extra else { return Ok(Self { members: Vec::new(), named: 0 }) };
        let mut extra = Self { members: entries(bytes, limit).map_err(|wrong| wrong.inside("extra"))?, named: 0 };
        for member in &extra.members {
            let Some(place) = schema.by_name(member.key) else { continue };
            for (at, field) in schema.fields.iter().enumerate().skip(place) {
                if field.key.as_bytes().get(1..field.key.len() - 2) != Some(member.key) {
                    break;
                }
                if survey.present >> at & 1 != 0 {
                    return Err(twice(field.name()));
                }
                extra.named |= 1 << at;
            }
        }
        if let Some(streams) = stream {
            extra.take_stream(streams)?;
        }
        Ok(extra)
    }

    /// `stream` is the method's to say: another word on it would change what kind of answer comes.
    fn take_stream(&mut self, streams: bool) -> Done {
        let Ok(at) = self.members.binary_search_by(|member| member.key.cmp(b"stream")) else { return Ok(()) };
        let said = self.members.get(at).map(|member| Single::of(member.message())).transpose()?;
        match said {
            None | Some(Single::Null) => (),
            Some(Single::Bool(said)) if said == streams => (),
            _ => {
                return Err(Wrong::new(
                    "says something else than the method does; leave it out and call the method you mean",
                )
                .inside("stream"));
            }
        }
        if streams {
            self.members.remove(at);
        }
        Ok(())
    }

    /// Whether there is a member of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.members.is_empty() && self.members.iter().any(|member| member.key == name.as_bytes())
    }

    /// Refuses a member that is written already.
    pub(super) fn must_not_have(&self, name: &'static str) -> Done {
        if self.has(name) { Err(twice(name)) } else { Ok(()) }
    }

    /// Writes `type`, which comes first in an object.
    pub(super) fn write_type(&self, depth: usize, out: &mut Out<'_>) -> Done {
        write(self.members.iter().filter(|member| member.key == b"type"), depth, out)
    }

    /// Writes the others.
    pub(super) fn write(&self, depth: usize, out: &mut Out<'_>) -> Done {
        write(self.members.iter().filter(|member| member.key != b"type"), depth, out)
    }
}

#[cold]
pub(super) fn twice(name: &'static str) -> Wrong {
    Wrong::new("is both in its field and in `extra`; send it in one of them").inside(name)
}

/// A `Struct` as an object.
pub(super) fn object(message: &[u8], depth: usize, out: &mut Out<'_>) -> Done {
    let members = entries(message, out.limit())?;
    let depth = deeper(depth)?;
    out.put_u8(b'{');
    write(members.iter().filter(|member| member.key == b"type"), depth, out)?;
    write(members.iter().filter(|member| member.key != b"type"), depth, out)?;
    close(out, b'}');
    Ok(())
}

fn entries(message: &[u8], limit: usize) -> Result<Vec<Entry<'_>>, Wrong> {
    sorted(occurrences(message), true, limit)
}

/// The values of the field 1 of a `Struct` or a `ListValue`.
fn occurrences(message: &[u8]) -> impl Iterator<Item = Result<&[u8], Wrong>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || {
        loop {
            match reader.next() {
                Ok(Some((1, Value::Bytes(bytes)))) => return Some(Ok(bytes)),
                Ok(Some(_)) => (),
                Ok(None) => return None,
                Err(malformed) => return Some(Err(malformed.into())),
            }
        }
    })
}

fn write<'a>(members: impl Iterator<Item = &'a Entry<'a>>, depth: usize, out: &mut Out<'_>) -> Done {
    for member in members {
        scalar::string(member.key, out);
        out.put_u8(b':');
        // The entry is a message of its own on the way to its value.
        value(member.message(), depth + 1, out)
            .map_err(|wrong| wrong.inside(Cow::Owned(String::from_utf8_lossy(member.key).into_owned())))?;
        out.put_u8(b',');
        out.check()?;
    }
    Ok(())
}

/// What a `google.protobuf.Value` holds.
enum Single<'a> {
    Null,
    Number(f64),
    Text(&'a [u8]),
    Bool(bool),
    Struct(Cow<'a, [u8]>),
    List(Cow<'a, [u8]>),
}

impl<'a> Single<'a> {
    fn of(message: &'a [u8]) -> Result<Self, Wrong> {
        let mut single = Self::Null;
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next()? {
            single = match (field, single) {
                ((1, Value::Varint(_)), _) => Self::Null,
                ((2, Value::Fixed64(bits)), _) => Self::Number(f64::from_bits(bits)),
                ((3, Value::Bytes(text)), _) => Self::Text(text),
                ((4, Value::Varint(value)), _) => Self::Bool(value != 0),
                // What comes in pieces is their concatenation.
                ((5, Value::Bytes(more)), Self::Struct(mut pieces)) => {
                    pieces.to_mut().extend_from_slice(more);
                    Self::Struct(pieces)
                }
                ((6, Value::Bytes(more)), Self::List(mut pieces)) => {
                    pieces.to_mut().extend_from_slice(more);
                    Self::List(pieces)
                }
                ((5, Value::Bytes(message)), _) => Self::Struct(Cow::Borrowed(message)),
                ((6, Value::Bytes(message)), _) => Self::List(Cow::Borrowed(message)),
                (_, same) => same,
            };
        }
        Ok(single)
    }
}

/// A `google.protobuf.Value`.
fn value(message: &[u8], depth: usize, out: &mut Out<'_>) -> Done {
    let depth = deeper(depth)?;
    match Single::of(message)? {
        Single::Null => out.extend_from_slice(b"null"),
        Single::Number(number) => scalar::double(number, out)?,
        Single::Text(text) => scalar::text(text, out)?,
        Single::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Single::Struct(message) => object(&message, depth, out)?,
        Single::List(message) => {
            let depth = deeper(depth)?;
            out.put_u8(b'[');
            for (index, element) in occurrences(&message).enumerate() {
                value(element?, depth, out).map_err(|wrong| wrong.at(index))?;
                out.put_u8(b',');
                out.check()?;
            }
            close(out, b']');
        }
    }
    Ok(())
}

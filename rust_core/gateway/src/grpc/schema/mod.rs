//! What the transcoder knows of Penstock's messages: which member of the JSON each field is, and in which form.
//!
//! The tables are made from the protocol files and the rules of their README by `proto/generate.py`. What is particular to
//! one message is in its table; the code knows only the few [`Shape`]s and [`Kind`]s.

#[rustfmt::skip]
mod tables;

#[cfg(test)]
mod tests;

/// The protocol files that are served here, compiled, with what they import: a `google.protobuf.FileDescriptorSet`.
pub(crate) static DESCRIPTORS: &[u8] = include_bytes!("descriptors.binpb");

/// The request of `Chat.Create` and `Chat.Stream`.
pub(crate) static CHAT_CREATE_REQUEST: &Message = &tables::CHAT_CREATE_REQUEST;
/// The answer of `Chat.Create`.
pub(crate) static CHAT_CREATE_RESPONSE: &Message = &tables::CHAT_CREATE_RESPONSE;
/// A chunk of `Chat.Stream`.
pub(crate) static CHAT_STREAM_RESPONSE: &Message = &tables::CHAT_STREAM_RESPONSE;
/// The request of `Completions.Create` and `Completions.Stream`.
pub(crate) static COMPLETIONS_CREATE_REQUEST: &Message = &tables::COMPLETIONS_CREATE_REQUEST;
/// The answer of `Completions.Create`.
pub(crate) static COMPLETIONS_CREATE_RESPONSE: &Message = &tables::COMPLETIONS_CREATE_RESPONSE;
/// A chunk of `Completions.Stream`.
pub(crate) static COMPLETIONS_STREAM_RESPONSE: &Message = &tables::COMPLETIONS_STREAM_RESPONSE;
/// The request of `Embeddings.Create`.
pub(crate) static EMBEDDINGS_CREATE_REQUEST: &Message = &tables::EMBEDDINGS_CREATE_REQUEST;
/// The answer of `Embeddings.Create`.
pub(crate) static EMBEDDINGS_CREATE_RESPONSE: &Message = &tables::EMBEDDINGS_CREATE_RESPONSE;
/// The conversation in the request of `Tokens.Count`.
pub(crate) static TOKENS_CONVERSATION: &Message = &tables::TOKENS_CONVERSATION;

/// The field `extra` of every message that has one.
pub(crate) const EXTRA: u32 = 100;

/// One message type.
#[derive(Debug)]
pub(crate) struct Message {
    /// How its JSON looks.
    pub(crate) shape: Shape,
    /// The value of the member `object`, which is implied; empty: it has none.
    pub(crate) object: &'static str,
    /// Whether it has the field `extra`.
    pub(crate) extra: bool,
    /// Its fields but `extra`, at most 64, in the order in which they are written to JSON.
    pub(crate) fields: &'static [Field],
    /// Fields that are members of its oneof, as bits by their places in `fields`.
    pub(crate) oneof: u64,
    /// Fields that are written to JSON even when they are not set.
    pub(crate) written: u64,
    /// For each field number the place in `fields` plus one.
    numbers: &'static [u8],
    /// For each hash of a member's name the place of the first field of that name, plus one.
    names: &'static [u8],
    /// Makes the hashes.
    multiplier: u32,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its number.
    pub(crate) number: u32,
    /// The member's name, in quotes and with the colon. Empty: the message's JSON is this field's value.
    pub(crate) key: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// What applies of [`OPTIONAL`] and its like.
    flags: u8,
}

/// Unset and set to zero are two things.
const OPTIONAL: u8 = 1;
/// Any number of values.
const REPEATED: u8 = 2;
/// Unset, it is written as `null`, and `null` is read as unset.
const NULLABLE: u8 = 4;

/// How a message's JSON looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object.
    Object,
    /// An object whose `type` names the member of the oneof that is set.
    Tagged,
    /// The same, and the members of the payload stand beside `type`.
    Flat,
    /// An object with a `type` of its own; unset, it is that of the payload where the message is a request's.
    Call,
    /// The value of the field that is set.
    Bare,
    /// The value of the first field when that is set, else as [`Shape::Tagged`].
    BareOrTagged,
    /// `CompletionLogprobs`: four arrays side by side.
    Columns,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// A string that is JSON text: goes into the JSON as it is.
    Json,
    /// A string that is `{"id": ...}` in JSON.
    Id,
    /// Bytes that are an array of integers in JSON.
    Bytes,
    /// `true` or `false`.
    Bool,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uint32`.
    Uint32,
    /// `double`.
    Double,
    /// `float`; a list of them may be base64 text in JSON.
    Float,
    /// `NullValue`.
    Null,
    /// A message.
    Message(&'static Message),
    /// `google.protobuf.Struct`.
    Struct,
    /// A map from strings.
    Map(&'static Kind),
}

impl Message {
    /// The place in `fields` of the field of that number.
    #[inline]
    pub(crate) fn by_number(&self, number: u32) -> Option<usize> {
        match self.numbers.get(number as usize) {
            None | Some(0) => None,
            Some(&place) => Some(usize::from(place) - 1),
        }
    }

    /// The place in `fields` of the first field of that member; others of the same member come right after it.
    #[inline]
    pub(crate) fn by_name(&self, name: &[u8]) -> Option<usize> {
        let (&first, &last) = (name.first()?, name.last()?);
        let middle = *name.get(name.len() / 2)?;
        let letters = u32::from_le_bytes([first, middle, last, name.len() as u8]);
        let hash = letters.wrapping_mul(self.multiplier).wrapping_shr(32 - self.names.len().trailing_zeros().min(32));
        let place = usize::from(*self.names.get(hash as usize)?).checked_sub(1)?;
        let found = self.fields.get(place)?.key.as_bytes();
        is_same(found.get(1..found.len().saturating_sub(2))?, name).then_some(place)
    }
}

/// Whether two names are the same, which most often they are. Names are short, and calls for comparing them are not.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.first_chunk::<8>(), other.first_chunk::<8>(), one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(a), Some(b), Some(c), Some(d)) if one.len() <= 16 => a == b && c == d,
        (Some(_), ..) => one == other,
        _ => match (one.first_chunk::<4>(), other.first_chunk::<4>(), one.last_chunk::<4>(), other.last_chunk::<4>()) {
            (Some(a), Some(b), Some(c), Some(d)) => a == b && c == d,
            _ => one.iter().eq(other),
        },
    }
}

impl Field {
    /// The member's name.
    pub(crate) fn name(&self) -> &'static str {
        self.key.get(1..self.key.len().saturating_sub(2)).unwrap_or_default()
    }

    /// Whether it may hold many values.
    #[inline]
    pub(crate) const fn is_repeated(&self) -> bool {
        self.flags & REPEATED != 0
    }

    /// Whether zero is a value of its own.
    #[inline]
    pub(crate) const fn is_optional(&self) -> bool {
        self.flags & OPTIONAL != 0
    }

    /// Whether unset is `null`.
    #[inline]
    pub(crate) const fn is_nullable(&self) -> bool {
        self.flags & NULLABLE != 0
    }
}

/// One row of the tables.
const fn field(number: u32, key: &'static str, kind: Kind, flags: u8) -> Field {
    Field { number, key, kind, flags }
}

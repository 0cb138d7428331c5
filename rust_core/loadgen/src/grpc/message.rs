//! The text of one message of `penstock.v1.Chat/Stream`: all that the load generator knows of the protocol's messages.
//!
//! The message is walked by field numbers, not decoded: `ChatStreamResponse.choices` (4), in it `ChunkChoice.delta` (2), in
//! it `Delta.content` (2); `ChatStreamResponse.usage` (5) says that the usage was stated. The numbers are those of
//! `proto/penstock/v1/chat_answer.proto`, which never change within `v1`; everything else is skipped. The wire is that of
//! Protocol Buffers: a field is a varint of number and kind, then a varint, 4 or 8 bytes, or a length and so many bytes.

use super::status::Violation;

const CHOICES: u64 = 4;
const USAGE: u64 = 5;
const DELTA: u64 = 2;
const CONTENT: u64 = 2;

/// What matters of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// The first non-empty text that it adds.
    pub(super) text: Option<&'a [u8]>,
    /// It states the usage.
    pub(super) usage: bool,
}

/// Looks into a message.
pub(super) fn chunk(message: &[u8]) -> Result<Chunk<'_>, Violation> {
    let mut found = Chunk::default();
    for field in Fields(message) {
        match field.ok_or(Violation::Malformed)? {
            (CHOICES, choice) if found.text.is_none() => found.text = text_of(choice)?,
            (USAGE, _) => found.usage = true,
            _ => {}
        }
    }
    Ok(found)
}

fn text_of(choice: &[u8]) -> Result<Option<&[u8]>, Violation> {
    let mut found = None;
    for field in Fields(choice) {
        let (DELTA, delta) = field.ok_or(Violation::Malformed)? else { continue };
        for field in Fields(delta) {
            if let (CONTENT, text) = field.ok_or(Violation::Malformed)? {
                found = Some(text).filter(|text| !text.is_empty());
            }
        }
    }
    Ok(found)
}

/// The fields of a message that have a length, with their numbers; `None` for what is no message, and then no more.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        let tag = self.varint()?;
        let length = match tag & 7 {
            0 => {
                self.varint()?;
                return Some(None);
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((tag & 7 == 2).then_some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.field() {
                Some(None) => {}
                Some(Some(found)) => return Some(Some(found)),
                None => {
                    self.0 = &[];
                    return Some(None);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with a length.
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
    }

    fn choice(text: &str) -> Vec<u8> {
        // index = 3; delta {role, content}; finish_reason
        let delta = [field(1, b"assistant"), field(2, text.as_bytes())].concat();
        field(4, &[&[0x08, 3][..], &field(2, &delta), &field(4, b"stop")].concat())
    }

    #[test]
    fn the_text_is_found_among_other_fields() {
        // id; created, a long varint; usage {}; an unknown 8-byte and a 4-byte field
        let created = [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let head = [field(1, b"chatcmpl"), created.to_vec()].concat();
        let tail = [&[0x79][..], &[1; 8], &[0x7d], &[1; 4], &field(5, b"")].concat();
        let message = [head.clone(), choice(" river"), choice("second"), tail].concat();
        assert_eq!(chunk(&message), Ok(Chunk { text: Some(b" river"), usage: true }));
        let empty = [head.clone(), choice("")].concat();
        assert_eq!(chunk(&empty), Ok(Chunk { text: None, usage: false }));
        assert_eq!(chunk(&[head.clone(), choice(""), choice("x")].concat()).unwrap().text, Some(&b"x"[..]));
        assert_eq!(chunk(b""), Ok(Chunk::default()));
        let first = head.len()..head.len() + choice(" river").len();
        for end in first.start + 1..first.end {
            assert_eq!(chunk(&message[..end]), Err(Violation::Malformed), "{end}");
        }
        assert_eq!(chunk(&message[..first.end]), Ok(Chunk { text: Some(b" river"), usage: false }));
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for bytes in [&[0x22, 5, 1][..], &[0x23], &[0x80; 11], &[0x08], &[0x79, 1], &field(4, &[0x12, 9])] {
            assert_eq!(chunk(bytes), Err(Violation::Malformed), "{bytes:?}");
        }
    }
}

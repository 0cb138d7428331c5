//! A header section kept as the bytes it arrived in, with the places of its fields.
//!
//! No field is copied or lower-cased: a relay forwards most of them as they are, and looking one
//! up in a dozen is a short linear scan.

use bytes::{BufMut, Bytes, BytesMut};

/// Place of one field inside the raw bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// See [`tag`].
    pub(crate) tag: u32,
    pub(crate) name: (u32, u32),
    pub(crate) value: (u32, u32),
}

/// Header fields in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    pub(crate) raw: Bytes,
    pub(crate) fields: Vec<Field>,
}

impl Headers {
    /// Fields in order: name as sent, value without surrounding white space.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|f| (self.slice(f.name), self.slice(f.value)))
    }

    /// The first field with this name, whatever its case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let tag = tag(name.as_bytes());
        self.fields.iter().find(|f| self.is(f, tag, name)).map(|f| self.slice(f.value))
    }

    /// The first field with this name, when it is UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// All fields with this name.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let tag = tag(name.as_bytes());
        self.fields.iter().filter(move |f| self.is(f, tag, name)).map(|f| self.slice(f.value))
    }

    /// Whether any field with this name lists `token` (comma-separated, case-insensitive).
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .any(|v| v.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes())))
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn is(&self, field: &Field, tag: u32, name: &str) -> bool {
        field.tag == tag && {
            let sent = self.slice(field.name);
            // Most send names in lower case.
            sent == name.as_bytes() || sent.eq_ignore_ascii_case(name.as_bytes())
        }
    }

    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        self.raw.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// Tells most names apart at a glance: length, first, middle and last letter, whatever their case.
pub(crate) fn tag(name: &[u8]) -> u32 {
    let letter = |at: usize| name.get(at).copied().unwrap_or_default() | 0x20;
    let last = name.len().saturating_sub(1);
    u32::from_le_bytes([name.len() as u8, letter(0), letter(last / 2), letter(last)])
}

/// Builds a [`Headers`] from fields that did not arrive over HTTP/1.
#[derive(Debug, Default)]
pub struct HeadersBuilder {
    raw: BytesMut,
    fields: Vec<Field>,
}

impl HeadersBuilder {
    /// An empty section with room for so many fields and bytes of names and values.
    #[must_use]
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { raw: BytesMut::with_capacity(bytes), fields: Vec::with_capacity(fields) }
    }

    /// Adds a field; one whose name or value could not be sent over HTTP/1 is refused.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), crate::FramingError> {
        if !is_token(name) {
            return Err(crate::FramingError::HeaderName);
        }
        if !is_field_value(value) {
            return Err(crate::FramingError::HeaderValue);
        }
        self.put(name, value)
    }

    /// Adds a field whose name and value were found fit for HTTP/1 by whoever read them.
    ///
    /// # Errors
    /// The section has grown beyond all bounds.
    pub fn put(&mut self, name: &[u8], value: &[u8]) -> Result<(), crate::FramingError> {
        let at = |n: usize| u32::try_from(n).map_err(|_| crate::FramingError::HeadTooLarge);
        let start = at(self.raw.len())?;
        self.raw.put_slice(name);
        let mid = at(self.raw.len())?;
        self.raw.put_slice(value);
        let end = at(self.raw.len())?;
        self.fields.push(Field { tag: tag(name), name: (start, mid), value: (mid, end) });
        Ok(())
    }

    /// The finished section.
    #[must_use]
    pub fn build(self) -> Headers {
        Headers { raw: self.raw.freeze(), fields: self.fields }
    }
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        #[allow(clippy::indexing_slicing)] // evaluated at compile time
        {
            table[i] = matches!(i as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&'
                | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        }
        i += 1;
    }
    table
};

/// Whether a `token` may hold the byte.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Whether the bytes are a `token` of RFC 9110, section 5.6.2.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b))
}

/// How many bytes at the start a `token` may hold.
pub(crate) fn token_prefix(bytes: &[u8]) -> usize {
    let done = word_prefix(bytes, |word| !letters_and_dashes(word) & HIGH);
    let rest = bytes.get(done..).unwrap_or_default();
    done + rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(rest.len())
}

/// Whether the bytes may be a field's value: visible characters, space, tab and obs-text (RFC 9110, section 5.5).
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    field_value_prefix(bytes) == bytes.len()
}

/// How many bytes at the start may be a field's value.
pub(crate) fn field_value_prefix(bytes: &[u8]) -> usize {
    let is_fine = |byte: &u8| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f);
    let done = word_prefix(bytes, controls);
    let rest = bytes.get(done..).unwrap_or_default();
    done + rest.iter().position(|byte| !is_fine(byte)).unwrap_or(rest.len())
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// How many bytes at the start are fine by `faults`, which looks at eight at a time: in what it gives, the lowest bit that
/// is set is the high one of the first byte that may not be fine. Bytes that fill no word are not looked at.
fn word_prefix(bytes: &[u8], faults: impl Fn(u64) -> u64) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let mut done = 0;
    for word in words {
        // 64 when there is none.
        let first = faults(u64::from_le_bytes(*word)).trailing_zeros() / 8;
        done += first as usize;
        if first < 8 {
            break;
        }
    }
    done
}

/// The high bits of bytes that are letters or dashes, which most names are made of. (Seven bits and a constant never carry
/// into the next byte.)
const fn letters_and_dashes(word: u64) -> u64 {
    let ascii = word & !HIGH;
    let small = ascii | (0x20 * ONES);
    let from_a = small + (0x80 - b'a' as u64) * ONES;
    let past_z = small + (0x7f - b'z' as u64) * ONES;
    let not_dash = (ascii ^ (b'-' as u64 * ONES)) + 0x7f * ONES;
    ((from_a & !past_z) | !not_dash) & !word & HIGH
}

/// The high bits of bytes below 0x20 and of 0x7f; above the lowest one also those of others. (The well-known test for a zero
/// byte, `(x - 0x01..) & !x & 0x80..`, and its kin for "less than".)
const fn controls(word: u64) -> u64 {
    let below = word.wrapping_sub(0x20 * ONES) & !word;
    let deleted = word ^ (0x7f * ONES);
    (below | (deleted.wrapping_sub(ONES) & !deleted)) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_alike_wherever_it_stands() {
        for byte in 0..=255_u8 {
            let fine = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
            for length in 1..20 {
                for place in 0..length {
                    let mut value = vec![if place % 2 == 0 { b'a' } else { b'\t' }; length];
                    value[place] = byte;
                    assert_eq!(is_field_value(&value), fine, "{byte:#x} at {place} of {length}");
                }
            }
        }
        assert!(is_field_value(b""));
    }

    #[test]
    fn a_token_ends_at_the_first_byte_that_it_may_not_hold() {
        for byte in 0..=255_u8 {
            for length in 1..20 {
                for place in 0..length {
                    let mut name = b"Content-Type-Or-Any-Other"[..length].to_vec();
                    name[place] = byte;
                    let end = if is_token_byte(byte) { length } else { place };
                    assert_eq!(token_prefix(&name), end, "{byte:#x} at {place} of {length}");
                }
            }
        }
        assert_eq!(token_prefix(b""), 0);
    }
}

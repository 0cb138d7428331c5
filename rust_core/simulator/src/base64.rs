//! Base64 (RFC 4648, section 4), as embeddings and recorded bodies need it.

use bytes::{BufMut, BytesMut};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn letter(six: u32) -> u8 {
    ALPHABET.get((six & 63) as usize).copied().unwrap_or(b'=')
}

/// Appends the encoding, padded.
pub(crate) fn encode(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let n = (at(0) << 16) | (at(1) << 8) | at(2);
        let mut four = [letter(n >> 18), letter(n >> 12), letter(n >> 6), letter(n)];
        for pad in four.iter_mut().skip(group.len() + 1) {
            *pad = b'=';
        }
        out.put_slice(&four);
    }
}

/// The bytes, or `None` when the text is not base64.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.len() - text.iter().rev().take_while(|b| **b == b'=').count();
    let (data, padding) = text.split_at_checked(end)?;
    if padding.len() > 2 || text.len() & 3 != 0 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in data.chunks(4) {
        let mut n = 0u32;
        for i in 0..4 {
            let six = match group.get(i) {
                Some(b) => ALPHABET.iter().position(|a| a == b)? as u32,
                None => 0,
            };
            n = (n << 6) | six;
        }
        let [_, bytes @ ..] = n.to_be_bytes();
        out.extend(bytes.iter().take(group.len().saturating_sub(1)));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            let mut out = BytesMut::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(&out[..], coded.as_bytes());
            assert_eq!(decode(coded.as_bytes()).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode(b"Zm9"), None);
        assert_eq!(decode(b"Z$9v"), None);
    }
}

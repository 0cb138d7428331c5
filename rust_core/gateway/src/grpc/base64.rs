//! Base64 (RFC 4648, section 4), for binary metadata and for gRPC-Web in text.

use bytes::BytesMut;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes the text of `bytes`, filled up with `=` if `padded`.
pub(crate) fn encode(bytes: &[u8], padded: bool, out: &mut BytesMut) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= chunk.len() {
                let letter = ALPHABET.get((group >> (18 - 6 * place) & 63) as usize).copied().unwrap_or_default();
                out.extend_from_slice(&[letter]);
            } else if padded {
                out.extend_from_slice(b"=");
            }
        }
    }
}

/// Reads text that comes in pieces, also pieces that were padded each by themselves.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    group: u32,
    letters: u32,
    padding: u32,
}

impl Decoder {
    /// Adds the bytes of the next piece; `false` when it is not base64.
    pub(crate) fn push(&mut self, text: &[u8], out: &mut BytesMut) -> bool {
        out.reserve(text.len() / 4 * 3 + 3);
        for letter in text {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.letters >= 2 => {
                    self.padding += 1;
                    if self.letters + self.padding == 4 && !self.flush(out) {
                        return false;
                    }
                    continue;
                }
                _ => return false,
            };
            if self.padding > 0 {
                return false;
            }
            self.group = self.group << 6 | u32::from(value);
            self.letters += 1;
            if self.letters == 4 {
                self.flush(out);
            }
        }
        true
    }

    /// The end of the text: what is left of a group that was not filled up. `false` when that cannot be.
    pub(crate) fn finish(&mut self, out: &mut BytesMut) -> bool {
        self.padding == 0 && (self.letters == 0 || self.flush(out))
    }

    fn flush(&mut self, out: &mut BytesMut) -> bool {
        let bytes = (self.group << (24 - 6 * self.letters)).to_be_bytes();
        let (from, to) = (1, self.letters as usize);
        let whole = self.letters >= 2;
        out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        *self = Self::default();
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&str]) -> Option<Vec<u8>> {
        let (mut decoder, mut out) = (Decoder::default(), BytesMut::new());
        let fine = pieces.iter().all(|p| decoder.push(p.as_bytes(), &mut out)) && decoder.finish(&mut out);
        fine.then(|| out.to_vec())
    }

    /// The test vectors of RFC 4648, section 10.
    const VECTORS: [(&str, &str); 7] = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];

    #[test]
    fn the_vectors_of_the_standard() {
        for (plain, text) in VECTORS {
            let mut out = BytesMut::new();
            encode(plain.as_bytes(), true, &mut out);
            assert_eq!(&out[..], text.as_bytes());
            out.clear();
            encode(plain.as_bytes(), false, &mut out);
            assert_eq!(&out[..], text.trim_end_matches('=').as_bytes());
            assert_eq!(decode(&[text]).unwrap(), plain.as_bytes());
            assert_eq!(decode(&[text.trim_end_matches('=')]).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn pieces_may_be_cut_anywhere_and_padded_each() {
        for cut in 0..=8 {
            let (head, tail) = "Zm9vYg==".split_at(cut);
            assert_eq!(decode(&[head, tail]).unwrap(), b"foob");
        }
        assert_eq!(decode(&["Zm8=Zm9v", "Zg=="]).unwrap(), b"fofoof");
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in ["Z", "Zm9vY", "Zm9v=", "Z===", "Zm=v", "Zm 9", "Zm9-", "Zg=", "=", "Zg==="] {
            assert_eq!(decode(&[text]), None, "{text}");
        }
    }
}

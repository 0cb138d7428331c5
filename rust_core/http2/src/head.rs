//! The head of a request: its pseudo-fields and fields, one after the other in one buffer.

use crate::field::Kind;
use crate::hpack::{Corrupt, Decoder};

/// What a field counts beside its name and value.
const OVERHEAD: usize = 32;

/// A place in the buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    from: u32,
    to: u32,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: Place,
    value: Place,
}

/// The head of a request, which is well-formed: names are in lower case and tokens, values without control characters or
/// white space around them, no field is there that is about the connection.
#[derive(Debug, Default)]
pub struct Head {
    raw: Vec<u8>,
    method: Place,
    path: Place,
    scheme: Place,
    authority: Option<Place>,
    fields: Vec<Field>,
    length: Option<u64>,
}

impl Head {
    /// `:method`
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.at(self.method)
    }

    /// `:path`, with the query; empty for CONNECT.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.at(self.path)
    }

    /// `:scheme`; empty for CONNECT.
    #[must_use]
    pub fn scheme(&self) -> &[u8] {
        self.at(self.scheme)
    }

    /// `:authority`, unless it is missing or empty.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        self.authority.map(|place| self.at(place)).filter(|authority| !authority.is_empty())
    }

    /// The other fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.at(field.name), self.at(field.value)))
    }

    /// The first field with this name, which is in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Bytes of names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// How long the body says it is.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    fn at(&self, place: Place) -> &[u8] {
        self.raw.get(place.from as usize..place.to as usize).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) -> Place {
        let from = self.raw.len() as u32;
        self.raw.extend_from_slice(bytes);
        Place { from, to: self.raw.len() as u32 }
    }
}

/// What a header block turned out to be.
#[derive(Debug)]
pub(crate) enum Heard {
    Head(Head),
    /// It is decoded, but no request can be like this.
    Malformed,
    /// It is longer than allowed.
    TooLarge,
}

/// What is gathered of a head.
#[derive(Default)]
struct Gathered {
    head: Head,
    method: Option<Place>,
    path: Option<Place>,
    scheme: Option<Place>,
    size: usize,
    malformed: bool,
}

/// Reads the head of a request that may have so many bytes. All of it goes through the table, but no more is kept.
pub(crate) fn request(decoder: &mut Decoder, block: &[u8], most: usize) -> Result<Heard, Corrupt> {
    let mut gathered = Gathered::default();
    // What comes from the table is longer than the block.
    gathered.head.raw.reserve((block.len() * 2).clamp(512, 4096).min(most));
    gathered.head.fields.reserve(16);
    decoder.decode(block, |kind, name, value| {
        gathered.size = gathered.size.saturating_add(name.len() + value.len() + OVERHEAD);
        if gathered.size <= most && !gathered.malformed {
            gathered.take(kind, name, value);
        }
    })?;
    Ok(match gathered.size > most {
        true => Heard::TooLarge,
        false => gathered.head(),
    })
}

impl Gathered {
    fn take(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        let head = &mut self.head;
        let pseudo = match kind {
            Kind::Method => &mut self.method,
            Kind::Path => &mut self.path,
            Kind::Scheme => &mut self.scheme,
            Kind::Authority => &mut head.authority,
            Kind::Malformed => {
                self.malformed = true;
                return;
            }
            Kind::Length => {
                let length = value.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
                self.malformed |= head.length.replace(length).is_some();
                return self.field(name, value);
            }
            // White space around a value is none of it. It should not be there (RFC 9113, section 8.2.1), but gRPC clients
            // send what an application gave them.
            Kind::Plain | Kind::Te => return self.field(name, value.trim_ascii()),
        };
        // Each once, and before all others.
        if pseudo.is_some() || !head.fields.is_empty() {
            self.malformed = true;
            return;
        }
        let from = head.raw.len() as u32;
        *pseudo = Some(Place { from, to: from + value.len() as u32 });
        head.raw.extend_from_slice(value);
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        let field = Field { name: self.head.keep(name), value: self.head.keep(value) };
        self.head.fields.push(field);
    }

    fn head(self) -> Heard {
        let Self { mut head, method, path, scheme, malformed, .. } = self;
        let Some(method) = method.filter(|_| !malformed) else { return Heard::Malformed };
        head.method = method;
        let fits = if head.method() == b"CONNECT" {
            path.is_none() && scheme.is_none() && head.authority().is_some()
        } else {
            path.is_some() && scheme.is_some()
        };
        if !fits {
            return Heard::Malformed;
        }
        (head.path, head.scheme) = (path.unwrap_or_default(), scheme.unwrap_or_default());
        Heard::Head(head)
    }
}

/// Reads trailers, of which nothing is kept; whether they may be what they are.
pub(crate) fn trailers(decoder: &mut Decoder, block: &[u8], most: usize) -> Result<bool, Corrupt> {
    let (mut size, mut fits) = (0_usize, true);
    decoder.decode(block, |kind, name, value| {
        size = size.saturating_add(name.len() + value.len() + OVERHEAD);
        fits &= matches!(kind, Kind::Plain | Kind::Te | Kind::Length);
    })?;
    Ok(fits && size <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in fields.iter().flat_map(|(name, value)| [None, Some(name), Some(value)]) {
            match text {
                None => out.push(0),
                Some(text) => {
                    assert!(text.len() < 127);
                    out.push(text.len() as u8);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
        out
    }

    fn heard(fields: &[(&str, &str)]) -> Heard {
        request(&mut Decoder::new(), &block(fields), 1000).unwrap()
    }

    const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":path", "/a?b"), (":authority", "h:1")];

    #[test]
    fn a_head_has_what_was_said() {
        let fields = [("te", "Trailers"), ("content-length", "12"), ("x-a", ""), ("x-a", "b c"), ("cookie", "d")];
        let Heard::Head(head) = heard(&[&GET[..], &fields].concat()) else { panic!("malformed") };
        assert_eq!((head.method(), head.path(), head.scheme()), (&b"GET"[..], &b"/a?b"[..], &b"https"[..]));
        assert_eq!((head.authority(), head.length(), head.len()), (Some(&b"h:1"[..]), Some(12), 5));
        let all: Vec<_> = head.fields().collect();
        let expected: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        assert_eq!(all, expected);
        assert_eq!((head.get("x-a"), head.get("x-b")), (Some(&b""[..]), None));
        let Heard::Head(head) = heard(&[&GET[..], &[("x-a", " \ta b ")]].concat()) else { panic!("malformed") };
        assert_eq!(head.get("x-a"), Some(&b"a b"[..]));
    }

    #[test]
    fn malformed_heads() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("no method", &GET[1..]),
            ("no scheme", &[GET[0], GET[2]]),
            ("no path", &GET[..2]),
            ("an empty path", &[GET[0], GET[1], (":path", "")]),
            ("a path with a blank", &[GET[0], GET[1], (":path", "/a b")]),
            ("a method that is none", &[(":method", "G T"), GET[1], GET[2]]),
            ("two paths", &[GET[0], GET[1], GET[2], GET[2]]),
            ("two authorities", &[GET[0], GET[1], GET[2], GET[3], GET[3]]),
            ("a pseudo-field after a field", &[GET[0], GET[1], ("a", "b"), GET[2]]),
            ("a status", &[GET[0], GET[1], GET[2], (":status", "200")]),
            ("one that nobody knows", &[GET[0], GET[1], GET[2], (":protocol", "websocket")]),
            ("CONNECT with a path", &[(":method", "CONNECT"), GET[1], GET[2], GET[3]]),
            ("CONNECT to nowhere", &[(":method", "CONNECT")]),
            ("an authority with a blank", &[GET[0], GET[1], GET[2], (":authority", "a b")]),
            ("an authority with a path", &[GET[0], GET[1], GET[2], (":authority", "a/b")]),
        ];
        for (what, fields) in cases {
            assert!(matches!(heard(fields), Heard::Malformed), "{what}");
        }
        for (name, value) in [
            ("X-Upper", "a"),
            ("x a", "a"),
            ("", "a"),
            ("x:a", "a"),
            ("connection", "close"),
            ("keep-alive", "5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
            ("x-a", "a\r\nb"),
            ("x-a", "a\0"),
            ("content-length", ""),
            ("content-length", "-1"),
            ("content-length", "1, 1"),
            ("content-length", "9999999999999999999"),
        ] {
            let fields = [&GET[..], &[(name, value)]].concat();
            assert!(matches!(heard(&fields), Heard::Malformed), "{name}: {value:?}");
        }
        let two = [&GET[..], &[("content-length", "1"), ("content-length", "1")]].concat();
        assert!(matches!(heard(&two), Heard::Malformed));
        assert!(matches!(heard(&[(":method", "CONNECT"), (":authority", "a:1")]), Heard::Head(_)));
    }

    #[test]
    fn the_size_of_a_head_is_counted_as_the_rfc_does() {
        let fields = [&GET[..], &[("x-a", "0123456789")]].concat();
        let size: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        let at = |most| request(&mut Decoder::new(), &block(&fields), most).unwrap();
        assert!(matches!(at(size), Heard::Head(_)));
        assert!(matches!(at(size - 1), Heard::TooLarge));
    }

    #[test]
    fn a_block_that_repeats_a_large_entry_is_not_unpacked() {
        let mut bomb = block(&GET);
        bomb.extend_from_slice(b"\x40\x01a\x7f\x81\x1e");
        bomb.extend_from_slice(&[b'b'; 4000]);
        bomb.extend_from_slice(&[0xbe; 100_000]);
        assert!(matches!(request(&mut Decoder::new(), &bomb, 64 * 1024), Ok(Heard::TooLarge)));
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        let of = |fields: &[(&str, &str)]| trailers(&mut Decoder::new(), &block(fields), 100);
        assert_eq!(of(&[("grpc-status", "0")]), Ok(true));
        assert_eq!(of(&[]), Ok(true));
        assert_eq!(of(&[(":path", "/")]), Ok(false));
        assert_eq!(of(&[("connection", "close")]), Ok(false));
        assert_eq!(
            of(&[("x-long", "0123456789012345678901234567890123456789012345678901234567890123456789")]),
            Ok(false)
        );
    }
}

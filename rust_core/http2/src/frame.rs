//! Frames as bytes (RFC 9113, section 4.1 and 6).

use bytes::BufMut;

use crate::error::{Fault, Reason, Taken};

/// Length, kind, flags and stream.
pub(crate) const HEAD: usize = 9;
/// The largest payload that everybody takes. More is neither allowed nor sent: streams share the connection.
pub(crate) const MAX_PAYLOAD: usize = 16_384;
/// The largest window, and the highest stream.
pub(crate) const MOST: u32 = 0x7fff_ffff;

/// What a frame is.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags; the first has two meanings.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    /// Reads one off the front of the bytes, if it is all there.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s, t, u, v] = *bytes.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes([s, t, u, v]) & MOST })
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What of a payload is neither padding nor, in HEADERS, a priority.
    pub(crate) fn content(self, payload: &[u8]) -> Taken<&[u8]> {
        let mut content = payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (length, rest) = content.split_first().ok_or(Fault::SIZE)?;
            (content, padding) = (rest, usize::from(*length));
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            // Nobody orders by it any more (RFC 9113, section 5.3).
            content = content.get(5..).ok_or(Fault::SIZE)?;
        }
        let end = content.len().checked_sub(padding).ok_or(Fault::PROTOCOL)?;
        Ok(content.get(..end).unwrap_or_default())
    }
}

/// Writes the head of a frame.
#[inline]
pub(crate) fn put_head(out: &mut impl BufMut, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    out.put_slice(&[a, b, c, kind, flags, s, t, u, v]);
}

/// Writes a frame of one number.
pub(crate) fn put_number(out: &mut impl BufMut, kind: u8, stream: u32, number: u32) {
    put_head(out, 4, kind, 0, stream);
    out.put_u32(number);
}

/// Writes a PING.
pub(crate) fn put_ping(out: &mut impl BufMut, flags: u8, payload: [u8; 8]) {
    put_head(out, 8, kind::PING, flags, 0);
    out.put_slice(&payload);
}

/// Writes a GOAWAY: the last stream that is or may be served, and why.
pub(crate) fn put_goaway(out: &mut impl BufMut, last: u32, reason: Reason) {
    put_head(out, 8, kind::GOAWAY, 0, 0);
    out.put_u32(last);
    out.put_u32(reason.0);
}

/// The number that a payload is.
pub(crate) fn number(payload: &[u8]) -> Taken<u32> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| Fault::SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        let mut out = Vec::new();
        put_head(&mut out, 0x0001_0203, kind::HEADERS, flag::END_HEADERS, MOST);
        let head = Head::read(&out).unwrap();
        assert_eq!(head, Head { length: 0x0001_0203, kind: 1, flags: 4, stream: MOST });
        assert_eq!(Head::read(&out[..8]), None);
        // The reserved bit is ignored.
        out[5] |= 0x80;
        assert_eq!(Head::read(&out), Some(head));
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let of = |kind, flags, payload: &[u8]| {
            Head { length: payload.len(), kind, flags, stream: 1 }.content(payload).map(<[u8]>::to_vec)
        };
        assert_eq!(of(kind::DATA, 0, b"abc"), Ok(b"abc".to_vec()));
        assert_eq!(of(kind::DATA, flag::PADDED, b"\x02abc\0\0"), Ok(b"abc".to_vec()));
        assert_eq!(of(kind::DATA, flag::PADDED, b"\x03abc"), Ok(vec![]));
        assert_eq!(of(kind::DATA, flag::PADDED, b"\x04abc"), Err(Fault::PROTOCOL));
        assert_eq!(of(kind::DATA, flag::PADDED, b""), Err(Fault::SIZE));
        assert_eq!(of(kind::DATA, flag::PRIORITY, b"abc"), Ok(b"abc".to_vec()));
        assert_eq!(of(kind::HEADERS, flag::PRIORITY, b"\0\0\0\0\x10abc"), Ok(b"abc".to_vec()));
        assert_eq!(of(kind::HEADERS, flag::PRIORITY, b"\0\0\0\0"), Err(Fault::SIZE));
        let both = flag::PRIORITY | flag::PADDED;
        assert_eq!(of(kind::HEADERS, both, b"\x01\0\0\0\0\x10abc\0"), Ok(b"abc".to_vec()));
        assert_eq!(of(kind::HEADERS, both, b"\x05\0\0\0\0\x10abc\0"), Err(Fault::PROTOCOL));
    }
}

//! Where one server-sent event ends and the next begins: the part of the format a relay needs.
//!
//! Apart from the parsing of events because bytes that only pass through are cut into frames and
//! never looked into. A frame ends with a blank line, which belongs to it; all frames and the rest
//! in the buffer put together are the stream, byte for byte.

use bytes::{Bytes, BytesMut};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Cuts a growing buffer into frames; remembers how far it has looked, so that no byte is looked at twice.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Start of the line being read, in the buffer.
    line: usize,
    /// Everything in the buffer before this has been searched.
    searched: usize,
    /// The last line ended with a carriage return; a line feed right after belongs to it.
    after_cr: bool,
    /// Nothing has been read yet: a byte order mark is not part of the first line.
    at_start: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { line: 0, searched: 0, after_cr: false, at_start: true }
    }
}

impl Frames {
    /// Starts at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Splits the next whole frame off the front of `buffer`, without copying. Between calls the buffer may only be appended to.
    ///
    /// A frame may hold no event: comments, or a blank line alone.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        self.end(buffer).map(|end| buffer.split_to(end).freeze())
    }

    /// Length of the whole frame that `buffer` begins with. Once there is one the next call must begin behind it;
    /// until then the buffer may only be appended to.
    pub fn end(&mut self, buffer: &[u8]) -> Option<usize> {
        if self.at_start {
            if buffer.len() < BOM.len() && BOM.starts_with(buffer) {
                return None;
            }
            self.at_start = false;
            if buffer.starts_with(BOM) {
                (self.line, self.searched) = (BOM.len(), BOM.len());
            }
        }
        loop {
            if self.after_cr {
                let next = *buffer.get(self.line)?;
                self.after_cr = false;
                if next == b'\n' {
                    self.line += 1;
                    self.searched = self.line;
                }
            }
            let rest = buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.searched = buffer.len();
                return None;
            };
            let at = self.searched + found;
            let blank = at == self.line;
            let mut next = at + 1;
            if buffer.get(at) == Some(&b'\r') {
                match buffer.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            (self.line, self.searched) = (next, next);
            if blank {
                (self.line, self.searched) = (0, 0);
                return Some(next);
            }
        }
    }

    /// Takes an unfinished frame that grew too large to hold, all but its last byte: where it ends is still found.
    pub fn take_part(&mut self, buffer: &mut BytesMut) -> Bytes {
        let cut = buffer.len().saturating_sub(1);
        self.line = self.line.saturating_sub(cut);
        self.searched = self.searched.saturating_sub(cut);
        buffer.split_to(cut).freeze()
    }
}

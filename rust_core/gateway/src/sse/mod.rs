//! Server-sent events, read as they arrive: bytes in, whole events out, whatever the pieces.
//!
//! The rules are those of the WHATWG HTML standard, section 9.2.6. No I/O here: the caller feeds
//! what it has read. A relay that changes nothing uses [`Frames`] alone; who needs to know what an
//! event says uses [`Scanner`], or [`parse`] on the frames that matter.

mod event;
mod frames;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::{Bytes, BytesMut};

pub use event::{Event, parse};
pub use frames::Frames;

/// An event outgrew the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The cap, in bytes of one frame.
    pub limit: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stream holds an event of more than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLarge {}

/// Turns a stream of bytes into events.
#[derive(Clone, Debug)]
pub struct Scanner {
    buffer: BytesMut,
    frames: Frames,
    limit: usize,
    at_start: bool,
    failed: bool,
}

impl Scanner {
    /// `limit` is the largest frame it accepts, in bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), frames: Frames::new(), limit, at_start: true, failed: false }
    }

    /// Takes the next bytes of the stream. Call [`Scanner::next_event`] until it has no more before feeding again,
    /// so that the buffer holds no more than one event and what came with it.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event.
    ///
    /// # Errors
    /// [`TooLarge`], from then on, when a frame, whole or not yet, is larger than the limit.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        while !self.failed {
            let frame = self.frames.next(&mut self.buffer);
            let size = frame.as_ref().map_or(self.buffer.len(), Bytes::len);
            self.failed = size > self.limit;
            match frame {
                Some(frame) if !self.failed => {
                    let event = self.parse(&frame);
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Some(_) => {}
                None if !self.failed => return Ok(None),
                None => {}
            }
        }
        Err(TooLarge { limit: self.limit })
    }

    /// The stream has ended: the event that lacks its blank line, if one was begun. A browser would drop it; a
    /// provider that closed right after its last line meant it.
    pub fn finish(mut self) -> Option<Event> {
        let rest = self.buffer.split().freeze();
        if self.failed { None } else { self.parse(&rest) }
    }

    fn parse(&mut self, frame: &Bytes) -> Option<Event> {
        let skip = if self.at_start && frame.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        self.at_start = false;
        event::parse_from(frame, skip)
    }
}

//! Message bodies: how they are delimited, and the decoder that finds their end.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::FramingError;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Everything until the peer closes (responses only).
    UntilClose,
}

/// One step of decoding.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// More bytes must be read first.
    NeedMore,
    /// The body is complete; what is left in the buffer belongs to the next message.
    End,
}

/// What stands next in the buffer.
enum Step {
    Data,
    NeedMore,
    End,
}

/// Longest chunk-size line, extensions included.
const MAX_CHUNK_LINE: usize = 1024;
/// Most bytes of trailers; they are read and discarded.
const MAX_TRAILERS: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sized(u64),
    ToEof,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(usize),
    Done,
}

/// Takes a body off the front of a buffer.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

impl BodyDecoder {
    /// A decoder for one body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Sized(n),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::ToEof,
        };
        Self { state }
    }

    /// Whether the body was read to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next piece. Call again until it says `NeedMore` or `End`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, FramingError> {
        match self.framing(buf)? {
            Step::NeedMore => return Ok(Decoded::NeedMore),
            Step::End => return Ok(Decoded::End),
            Step::Data => {}
        }
        Ok(match self.state {
            State::Sized(left) => self.take(buf, left, State::Sized, State::Done),
            State::ChunkData(left) => self.take(buf, left, State::ChunkData, State::ChunkEnd),
            _ if buf.is_empty() => Decoded::NeedMore,
            _ => Decoded::Data(buf.split().freeze()),
        })
    }

    /// Takes what delimits the body off the buffer, up to the next of its data.
    fn framing(&mut self, buf: &mut BytesMut) -> Result<Step, FramingError> {
        loop {
            match self.state {
                State::Done => return Ok(Step::End),
                State::ToEof | State::Sized(_) | State::ChunkData(_) => return Ok(Step::Data),
                State::ChunkEnd => match (buf.first(), buf.get(1)) {
                    (Some(b'\r'), Some(b'\n')) => {
                        buf.advance(2);
                        self.state = State::ChunkSize;
                    }
                    (None, _) | (Some(b'\r'), None) => return Ok(Step::NeedMore),
                    _ => return Err(FramingError::Chunk),
                },
                State::ChunkSize => {
                    let Some(line) = chunk_line(buf)? else { return Ok(Step::NeedMore) };
                    let size = chunk_size(buf.get(..line).unwrap_or_default())?;
                    buf.advance(line + 2);
                    self.state = if size == 0 { State::Trailers(0) } else { State::ChunkData(size) };
                }
                State::Trailers(seen) => {
                    let Some(lf) = memchr(b'\n', buf) else {
                        // The start of the empty line fits in any case, or the outcome would depend on the reads.
                        let may_end = matches!(&buf[..], b"" | b"\r");
                        return if seen + buf.len() > MAX_TRAILERS && !may_end {
                            Err(FramingError::TrailersTooLarge)
                        } else {
                            Ok(Step::NeedMore)
                        };
                    };
                    if buf.starts_with(b"\r\n") {
                        self.state = State::Done;
                    } else if seen + lf > MAX_TRAILERS {
                        return Err(FramingError::TrailersTooLarge);
                    } else if memchr(b'\r', buf).is_none_or(|cr| cr + 1 != lf) {
                        return Err(FramingError::BareLineEnd);
                    } else {
                        crate::head::check_field(buf.get(..lf - 1).unwrap_or_default())?;
                        self.state = State::Trailers(seen + lf + 1);
                    }
                    buf.advance(lf + 1);
                }
            }
        }
    }

    /// [`BodyDecoder::decode`] for callers that collect: moves what can be had of the body from `buf` to the end of `into`.
    /// `true` when the body is complete.
    pub fn decode_into(&mut self, buf: &mut BytesMut, into: &mut BytesMut) -> Result<bool, FramingError> {
        loop {
            match self.state {
                State::Sized(left) => self.copy(buf, into, left, State::Sized, State::Done),
                State::ChunkData(left) => self.copy(buf, into, left, State::ChunkData, State::ChunkEnd),
                State::ToEof => {
                    into.extend_from_slice(buf);
                    buf.clear();
                    return Ok(false);
                }
                _ => match self.framing(buf)? {
                    Step::Data => {}
                    Step::NeedMore => return Ok(false),
                    Step::End => return Ok(true),
                },
            }
            if buf.is_empty() && self.state != State::Done {
                return Ok(false);
            }
        }
    }

    fn copy(&mut self, buf: &mut BytesMut, into: &mut BytesMut, left: u64, more: fn(u64) -> State, done: State) {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        into.extend_from_slice(buf.get(..n).unwrap_or_default());
        buf.advance(n);
        let left = left - n as u64;
        self.state = if left == 0 { done } else { more(left) };
    }

    /// Bytes of the body not decoded yet; `None` when only its end will tell.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Sized(left) => Some(left),
            _ => None,
        }
    }

    /// The peer closed: fine for a body delimited by that, an error inside any other.
    pub fn eof(&mut self) -> Result<(), FramingError> {
        match self.state {
            State::ToEof | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(FramingError::UnexpectedEof),
        }
    }

    fn take(&mut self, buf: &mut BytesMut, left: u64, more: fn(u64) -> State, done: State) -> Decoded {
        if buf.is_empty() {
            return Decoded::NeedMore;
        }
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let left = left - n as u64;
        self.state = if left == 0 { done } else { more(left) };
        Decoded::Data(buf.split_to(n).freeze())
    }
}

/// Length of the chunk-size line without its CRLF, once it is complete.
fn chunk_line(buf: &[u8]) -> Result<Option<usize>, FramingError> {
    let window = buf.get(..buf.len().min(MAX_CHUNK_LINE)).unwrap_or_default();
    match memchr(b'\n', window) {
        Some(lf) if lf > 0 && window.get(lf - 1) == Some(&b'\r') => Ok(Some(lf - 1)),
        Some(_) => Err(FramingError::Chunk),
        None if buf.len() >= MAX_CHUNK_LINE => Err(FramingError::Chunk),
        None => Ok(None),
    }
}

/// `1*HEXDIG [ chunk-ext ]`; extensions must be free of control characters and are ignored.
fn chunk_size(line: &[u8]) -> Result<u64, FramingError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return Err(FramingError::Chunk);
    }
    let ext = line.get(digits..).unwrap_or_default();
    let ext_ok = ext.trim_ascii_start().first().is_none_or(|b| *b == b';')
        && (ext.is_empty() || !ext.trim_ascii_start().is_empty())
        && crate::headers::is_field_value(ext);
    if !ext_ok {
        return Err(FramingError::Chunk);
    }
    Ok(line.iter().take(digits).fold(0u64, |n, d| n * 16 + (*d as char).to_digit(16).map_or(0, u64::from)))
}

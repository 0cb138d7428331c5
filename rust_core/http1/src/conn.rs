//! A byte stream with a read buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::head::{Limits, RequestHead, ResponseHead, parse_request, parse_response};
use crate::{BodyDecoder, Decoded, FramingError};

/// Most bytes of one read.
const READ_CHUNK: usize = 32 * 1024;
/// Room that makes it worth reading into the connection's own buffer.
const WORTH_FILLING: usize = 8 * 1024;

thread_local! {
    /// Where reads land first: a connection that waits holds no buffer, and one that reads little keeps only that.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_CHUNK].into_boxed_slice());
}

/// A stream and the bytes read from it that nobody has taken yet.
#[derive(Debug)]
pub struct Conn<S> {
    /// The stream; writes go straight to it.
    pub stream: S,
    /// Bytes read and not consumed.
    pub buf: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// A connection with an empty buffer.
    pub fn new(stream: S) -> Self {
        Self { stream, buf: BytesMut::new() }
    }

    /// Reads once; 0 means the peer closed.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// [`Conn::fill`] for callers that poll.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, buf } = self;
        if buf.capacity() - buf.len() >= WORTH_FILLING {
            return std::pin::pin!(tokio::io::AsyncReadExt::read_buf(stream, buf)).poll(cx);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(cx, &mut read))?;
            buf.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// The next request head; `None` when the peer closed between two messages.
    pub async fn read_request(&mut self, limits: &Limits) -> io::Result<Result<Option<RequestHead>, FramingError>> {
        loop {
            match parse_request(&mut self.buf, limits) {
                Ok(Some(head)) => return Ok(Ok(Some(head))),
                Ok(None) => {}
                Err(e) => return Ok(Err(e)),
            }
            if self.fill().await? == 0 {
                return Ok(if self.buf.is_empty() { Ok(None) } else { Err(FramingError::UnexpectedEof) });
            }
        }
    }

    /// The next response head; `None` when the peer closed before sending one.
    pub async fn read_response(
        &mut self,
        limits: &Limits,
        head_request: bool,
    ) -> io::Result<Result<Option<ResponseHead>, FramingError>> {
        loop {
            match parse_response(&mut self.buf, limits, head_request) {
                Ok(Some(head)) => return Ok(Ok(Some(head))),
                Ok(None) => {}
                Err(e) => return Ok(Err(e)),
            }
            if self.fill().await? == 0 {
                return Ok(if self.buf.is_empty() { Ok(None) } else { Err(FramingError::UnexpectedEof) });
            }
        }
    }

    /// The next piece of a body; `None` at its end.
    pub async fn read_body(
        &mut self,
        decoder: &mut BodyDecoder,
    ) -> io::Result<Result<Option<bytes::Bytes>, FramingError>> {
        loop {
            match decoder.decode(&mut self.buf) {
                Ok(Decoded::Data(data)) => return Ok(Ok(Some(data))),
                Ok(Decoded::End) => return Ok(Ok(None)),
                Ok(Decoded::NeedMore) => {}
                Err(e) => return Ok(Err(e)),
            }
            if self.fill().await? == 0 {
                return Ok(decoder.eof().map(|()| None));
            }
        }
    }

    /// Writes the bytes from `sent` on, down to the socket, unless the peer says something first: `false` then, with
    /// what it said in the buffer and `sent` at where to go on.
    ///
    /// # Errors
    /// The connection broke; what the peer had said before may be in the buffer.
    pub async fn write_hearing(&mut self, bytes: &[u8], sent: &mut usize) -> io::Result<bool> {
        poll_fn(|cx| {
            loop {
                let left = bytes.get(*sent..).unwrap_or_default();
                let wrote = if left.is_empty() {
                    Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| None)
                } else {
                    Pin::new(&mut self.stream).poll_write(cx, left).map_ok(Some)
                };
                match wrote {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Ok(Some(0))) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(Some(n))) => *sent += n,
                    Poll::Ready(Err(e)) => {
                        // Its last words may have arrived before it closed.
                        let _ = self.poll_fill(cx);
                        return Poll::Ready(Err(e));
                    }
                    Poll::Pending => {
                        return match ready!(self.poll_fill(cx)) {
                            Ok(n) if n > 0 => Poll::Ready(Ok(false)),
                            Ok(_) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                            Err(e) => Poll::Ready(Err(e)),
                        };
                    }
                }
            }
        })
        .await
    }

    /// Writes all bytes, down to the socket: a TLS stream may hold the last of them back otherwise.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

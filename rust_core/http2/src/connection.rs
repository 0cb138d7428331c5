//! A connection and its socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use penstock_http1::Conn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::core::{Core, Leaving};
use crate::error::Reason;
use crate::handle::{PingPong, Request};
use crate::settings::Config;

/// What a client starts a connection with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long calls are still taken that a client had queued when it acknowledged the end: it sends them at once.
const QUEUED: Duration = Duration::from_millis(100);
/// How long a client may take to read the last frame.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long, and how much, is read of a client that does not close when nothing more comes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
/// Frames that are taken before the streams that they concern have their turn.
const TURN: u32 = 256;
/// A read buffer that is larger is not kept while nothing is in it.
const KEPT: usize = 16 * 1024;

/// The server's side of a connection.
pub struct Connection<S> {
    conn: Conn<S>,
    core: Rc<RefCell<Core>>,
    /// The end of a wait on the way out, and what it is for.
    sleep: Option<(Leaving, Pin<Box<Sleep>>)>,
    /// The end of a wait for the rest of a header block, and since when it is waited for.
    block: Option<(Instant, Pin<Box<Sleep>>)>,
    /// What was written may not have left.
    unflushed: bool,
    /// Nothing more is sent; until when the client may close, and how much it may send before.
    goodbye: Option<(Option<Pin<Box<Sleep>>>, usize)>,
    /// Nothing more can be read or written.
    closed: bool,
}

impl<S> std::fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Says what it allows, and waits for the client's preface.
    ///
    /// # Errors
    /// The stream broke, or what the client sent is no preface.
    pub async fn handshake(conn: Conn<S>, config: Config) -> io::Result<Self> {
        let core = Rc::new(RefCell::new(Core::new(config)));
        let mut connection =
            Self { conn, core, sleep: None, block: None, unflushed: false, goodbye: None, closed: false };
        loop {
            let conn = &mut connection.conn;
            let seen = conn.buf.len().min(PREFACE.len());
            if conn.buf.get(..seen) != PREFACE.get(..seen) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if seen == PREFACE.len() {
                conn.buf.advance(seen);
                return Ok(connection);
            }
            // A client may wait for what we allow.
            poll_fn(|cx| connection.poll_flush(cx)).await?;
            if connection.conn.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next stream; `None` when the connection is over. Nothing is read or sent unless this is waited for.
    pub async fn accept(&mut self) -> Option<Request> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`Connection::accept`] for those who poll.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Request>> {
        {
            let mut core = self.core.borrow_mut();
            core.called = false;
            core.driver.wait(cx);
        }
        match self.poll_turn(cx) {
            Poll::Ready(Ok(request)) => Poll::Ready(request),
            Poll::Ready(Err(_)) => {
                self.closed = true;
                self.core.borrow_mut().fall_silent();
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Request>>> {
        if self.closed {
            return Poll::Ready(Ok(None));
        }
        if self.goodbye.is_some() {
            std::task::ready!(self.poll_close(cx))?;
            return Poll::Ready(Ok(None));
        }
        let mut frames = 0;
        loop {
            if let Some(request) = self.take_frames(&mut frames) {
                return Poll::Ready(Ok(Some(request)));
            }
            let (has_block, leaving, had_room) = {
                let core = self.core.borrow();
                (core.block.is_some(), core.leaving, core.has_room())
            };
            if has_block && self.poll_block(cx).is_ready() {
                self.core.borrow_mut().end(Reason::ENHANCE_YOUR_CALM);
            }
            if leaving != Leaving::No && self.poll_leaving(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let flushed = self.poll_flush(cx)?;
            let (is_over, has_room) = {
                let mut core = self.core.borrow_mut();
                core.next_round();
                (core.is_over(), core.has_room())
            };
            if is_over {
                std::task::ready!(flushed);
                std::task::ready!(self.poll_close(cx))?;
                return Poll::Ready(Ok(None));
            }
            if frames >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !has_room {
                return Poll::Pending;
            }
            if !had_room {
                // Frames may be there that had to wait.
                continue;
            }
            match self.conn.poll_fill(cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(_) => {
                    let mut core = self.core.borrow_mut();
                    core.filled = core.filled.max(self.conn.buf.len());
                }
                Poll::Pending => {
                    self.shrink();
                    return Poll::Pending;
                }
            }
        }
    }

    /// A buffer that held much must not stay for the beginning of a frame whose rest may be long in coming.
    fn shrink(&mut self) {
        let mut core = self.core.borrow_mut();
        let buf = &mut self.conn.buf;
        if core.filled > KEPT && buf.len() < core.filled / 8 {
            *buf = BytesMut::from(&buf[..]);
            core.filled = buf.len();
        }
    }

    /// Takes frames that are there, until one opens a stream.
    fn take_frames(&mut self, frames: &mut u32) -> Option<Request> {
        let mut core = self.core.borrow_mut();
        let buf = &mut self.conn.buf;
        while core.leaving != Leaving::Ended && *frames < TURN && core.has_room() {
            let Some(opened) = core.take(buf) else { break };
            *frames += 1;
            if let Some(opened) = opened {
                drop(core);
                return Some(Request::new(&self.core, opened.at, opened.head));
            }
        }
        if buf.is_empty() && buf.capacity() > KEPT {
            *buf = BytesMut::new();
            core.filled = 0;
        }
        None
    }

    /// Ready when a header block took longer than it may.
    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = self.core.borrow();
        let Some(since) = core.block.as_ref().map(|block| block.since) else { return Poll::Pending };
        if self.block.as_ref().is_none_or(|(of, _)| *of != since) {
            self.block = Some((since, Box::pin(sleep_until(since + core.config.header_timeout))));
        }
        self.block.as_mut().map_or(Poll::Pending, |(_, sleep)| sleep.as_mut().poll(cx))
    }

    /// Sees to what is due on the way out; ready when the client had its time.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let leaving = self.core.borrow().leaving;
        let limit = match leaving {
            Leaving::Acknowledged => QUEUED,
            Leaving::Ended => LAST_WORDS,
            _ => return Poll::Pending,
        };
        if self.sleep.as_ref().is_none_or(|(what, _)| *what != leaving) {
            self.sleep = Some((leaving, Box::pin(tokio::time::sleep(limit))));
        }
        if self.sleep.as_mut().is_none_or(|(_, sleep)| sleep.as_mut().poll(cx).is_pending()) {
            return Poll::Pending;
        }
        self.sleep = None;
        self.core.borrow_mut().name_last();
        if leaving == Leaving::Ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sends what there is, down to the socket: a TLS stream may hold the last of it back otherwise.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut core = self.core.borrow_mut();
        while core.out.len() > 0 {
            self.unflushed = true;
            let sent = std::task::ready!(Pin::new(&mut self.conn.stream).poll_write(cx, core.out.pending()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            core.out.advance(sent);
        }
        drop(core);
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.conn.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes, and reads until the client closes: a socket that is closed with something unread, or
    /// that something is sent to afterwards, loses what the client has not read. Who was told to go for what it did has had
    /// its time.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.goodbye.is_none() {
            std::task::ready!(Pin::new(&mut self.conn.stream).poll_shutdown(cx))?;
            let lingers = self.core.borrow().leaving != Leaving::Ended;
            self.goodbye = Some((lingers.then(|| Box::pin(tokio::time::sleep(LINGER))), LINGER_BYTES));
            self.core.borrow_mut().fall_silent();
        }
        let Some((until, left)) = &mut self.goodbye else { return Poll::Ready(Ok(())) };
        for _ in 0..TURN {
            self.conn.buf.clear();
            match self.conn.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 && n < *left => *left -= n,
                Poll::Pending if until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_pending()) => {
                    return Poll::Pending;
                }
                _ => {
                    self.closed = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Bytes that were written and that the socket has not taken; what a TLS stream holds back counts as one.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.core.borrow().out.len() + usize::from(self.unflushed)
    }

    /// Tells the client to open no more streams here. Those that it opened before it knew are served, and when the last of
    /// them is over the connection is.
    pub fn graceful_shutdown(&mut self) {
        self.core.borrow_mut().say_goodbye();
    }

    /// Ends the connection with all streams on it; [`Connection::closed`] sends the last frame.
    pub fn abrupt_shutdown(&mut self, reason: Reason) {
        self.core.borrow_mut().end(reason);
    }

    /// Returns when the connection is over; streams that the client opens meanwhile are reset.
    pub async fn closed(&mut self) {
        while self.accept().await.is_some() {}
    }

    /// Its pings.
    #[must_use]
    pub fn ping_pong(&self) -> PingPong {
        PingPong(Rc::clone(&self.core))
    }
}

impl<S> Drop for Connection<S> {
    /// Whoever still answers a stream hears that nobody listens.
    fn drop(&mut self) {
        self.core.borrow_mut().fall_silent();
    }
}

//! What a client sends, on its way to the HTTP/2 library.
//!
//! Normally it only passes by. While the connection is on its way out two things are seen to that the library leaves open.
//! The last GOAWAY names the last stream that is served, and goes out as soon as the client has acknowledged that it knows
//! of the end; a client acknowledges at once and then sends the calls that it had queued. So the acknowledgement is held
//! back for a moment, and those calls are served like any other. And of streams that come later still the library ignores
//! all frames but WINDOW_UPDATE, for which it breaks the connection off with all the calls on it; those are left out.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::PREFACE;
use crate::upstream::Io;

/// How long the acknowledgement is held back: what a client had queued is sent within microseconds of it.
const HELD: Duration = Duration::from_millis(100);
/// The acknowledgement of the ping that the library sends with its first GOAWAY, as a frame.
const ACKNOWLEDGED: [u8; 17] = *b"\0\0\x08\x06\x01\0\0\0\0\x0b\x7b\xa2\xf0\x8b\x9b\xfe\x54";
/// Length, type, flags and stream (RFC 9113, section 4.1).
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const AT_ONCE: usize = 16 * 1024;

/// Says that the connection is on its way out.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving(Rc<Cell<bool>>);

impl Leaving {
    /// From now on.
    pub(super) fn begin(&self) {
        self.0.set(true);
    }
}

/// Where the bytes stand among the frames.
struct Course {
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the current frame that are still to come.
    left: usize,
    /// The highest stream that was opened.
    highest: u32,
}

impl Course {
    /// Follows bytes that pass by.
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = if self.left > 0 { self.left.min(bytes.len()) } else { self.fill(bytes) };
            if self.left > 0 {
                self.left -= taken;
            } else if self.have == HEAD {
                self.begin();
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Adds to the head of a frame; how many bytes it took.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = (HEAD - self.have).min(bytes.len());
        let to = self.head.iter_mut().skip(self.have);
        to.zip(bytes).for_each(|(to, from)| *to = *from);
        self.have += taken;
        taken
    }

    /// The head is whole.
    fn begin(&mut self) {
        let [a, b, c, kind, _, s, t, u, v] = self.head;
        self.have = 0;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == HEADERS {
            self.highest = self.highest.max(u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff);
        }
    }

    /// Between two frames.
    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

/// A stream whose first bytes were read already.
pub(super) struct Inlet {
    first: BytesMut,
    io: Io,
    course: Course,
    leaving: Leaving,
    sieve: Sieve,
}

/// What is read while the connection is on its way out.
#[derive(Default)]
struct Sieve {
    inbox: BytesMut,
    outbox: BytesMut,
    held: Option<Pin<Box<Sleep>>>,
    /// The highest stream that is served, once the last GOAWAY is out.
    last: Option<u32>,
}

impl Inlet {
    /// `first` is what was read to tell the protocol.
    pub(super) fn new(first: BytesMut, io: Io, leaving: Leaving) -> Self {
        let course = Course { head: [0; HEAD], have: 0, left: PREFACE.len(), highest: 0 };
        Self { first, io, course, leaving, sieve: Sieve::default() }
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let n = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(n));
        }
        self.course.follow(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }

    fn poll_sifted(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let is_due = self.sieve.held.as_mut().is_some_and(|held| held.as_mut().poll(cx).is_ready());
            self.sieve.sift(&mut self.course, is_due);
            let out = &mut self.sieve.outbox;
            if !out.is_empty() {
                let n = out.len().min(buf.remaining());
                buf.put_slice(&out.split_to(n));
                return Poll::Ready(Ok(()));
            }
            let mut room = [0; AT_ONCE];
            let mut read = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.sieve.inbox.extend_from_slice(read.filled());
        }
    }
}

impl Sieve {
    /// Moves what may pass, and between two frames the acknowledgement if it is due.
    fn sift(&mut self, course: &mut Course, is_due: bool) {
        loop {
            if is_due && self.last.is_none() && course.is_between() {
                self.held = None;
                self.last = Some(course.highest);
                self.outbox.extend_from_slice(&ACKNOWLEDGED);
            }
            if self.inbox.is_empty() {
                return;
            }
            let pass = if course.left > 0 {
                course.left.min(self.inbox.len())
            } else if course.have > 0 {
                // The beginning of this head has passed already.
                (HEAD - course.have).min(self.inbox.len())
            } else {
                let Some(head) = self.inbox.first_chunk::<HEAD>() else { return };
                let [_, _, _, kind, _, s, t, u, v] = *head;
                let stream = u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff;
                if kind == WINDOW_UPDATE && self.last.is_some_and(|last| stream > last) {
                    if self.inbox.len() < HEAD + 4 {
                        return;
                    }
                    self.inbox.advance(HEAD + 4);
                    continue;
                }
                if ACKNOWLEDGED.starts_with(head) && self.last.is_none() && self.held.is_none() {
                    if self.inbox.len() < ACKNOWLEDGED.len() {
                        return;
                    }
                    if self.inbox.starts_with(&ACKNOWLEDGED) {
                        self.inbox.advance(ACKNOWLEDGED.len());
                        self.held = Some(Box::pin(tokio::time::sleep(HELD)));
                        continue;
                    }
                }
                HEAD
            };
            let passing = self.inbox.split_to(pass);
            course.follow(&passing);
            self.outbox.extend_from_slice(&passing);
        }
    }
}

impl AsyncRead for Inlet {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.leaving.0.get() && this.first.is_empty() { this.poll_sifted(cx, buf) } else { this.poll_plain(cx, buf) }
    }
}

impl AsyncWrite for Inlet {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
    }

    fn course() -> Course {
        Course { head: [0; HEAD], have: 0, left: 0, highest: 0 }
    }

    /// What passes of these bytes in pieces of this size, when the connection is on its way out after `before` of them and
    /// the acknowledgement is due after `held`.
    fn sifted(bytes: &[u8], size: usize, before: usize, held: usize) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let (mut sieve, mut course) = (Sieve::default(), course());
        let (plain, rest) = bytes.split_at(before);
        course.follow(plain);
        let mut passed = plain.to_vec();
        let mut at = before;
        for piece in rest.chunks(size) {
            sieve.inbox.extend_from_slice(piece);
            at += piece.len();
            sieve.sift(&mut course, at >= held);
            passed.extend_from_slice(&sieve.outbox.split());
        }
        passed
    }

    #[test]
    fn calls_that_were_queued_are_served_and_later_ones_harm_nobody() {
        let early = [frame(HEADERS, 4, 1, b"one"), frame(0, 1, 1, &[7; 300])].concat();
        let queued =
            [frame(HEADERS, 4, 3, b"two"), frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 9]), frame(0, 1, 3, b"last")].concat();
        let ping = frame(6, 0, 0, b"12345678");
        let (late, update) = (frame(HEADERS, 5, 5, b"too late"), frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 9]));
        let known = frame(WINDOW_UPDATE, 0, 3, &[0, 0, 1, 0]);
        let sent = [&early[..], &ACKNOWLEDGED, &queued, &ping, &late, &update, &known].concat();
        let expected = [&early[..], &queued, &ACKNOWLEDGED, &ping, &late, &known].concat();
        let held = early.len() + ACKNOWLEDGED.len() + queued.len();
        for size in [1, 2, 3] {
            for before in 0..early.len() {
                assert_eq!(sifted(&sent, size, before, held), expected, "pieces of {size} after {before}");
            }
        }
    }
}

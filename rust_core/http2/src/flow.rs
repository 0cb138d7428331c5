//! Whose turn it is to send when not all can: the connection's window and its buffer are for all streams alike.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};

use crate::core::Core;
use crate::error::Closed;
use crate::frame::{self, MAX_PAYLOAD, flag, kind};

/// Less is nobody's share.
const LEAST: usize = 4096;
/// A piece of data that makes up for the frame that asked for it, in bytes.
const WORTH: usize = 64;

/// Streams that wait for room, and how it is shared.
///
/// When bytes have left or the window was opened a round begins. Of those that wait as many are woken as there is room for,
/// and in this round none of them sends more than its part; who comes meanwhile stands behind those that wait. A turn that
/// is not used, because the stream's own window is shut or because nobody sends any more, is passed on: the task that drives
/// the connection comes after those that were woken, and begins another round with what is left.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: VecDeque<usize>,
    round: u64,
    share: usize,
    /// None of those that the round has woken has said what it wants.
    begun: bool,
}

impl Turns {
    /// A stream is over and wants nothing more.
    pub(crate) fn leave(&mut self, at: usize) {
        self.waiting.retain(|waiting| *waiting != at);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), round: 1, share: usize::MAX, begun: false }
    }
}

impl Core {
    /// Bytes that may be added for all streams together.
    fn room(&self) -> usize {
        let window = usize::try_from(self.window).unwrap_or(0);
        self.config.send_buffer.saturating_sub(self.out.len()).min(window)
    }

    /// A round begins, unless there is too little to share. Then there is something in the buffer, and when that has left
    /// or the window is opened it will be tried again.
    pub(crate) fn next_round(&mut self) {
        if self.turns.waiting.is_empty() && self.turns.share == usize::MAX {
            return;
        }
        let room = self.room();
        let is_little = room < self.config.send_buffer / 4 && i64::try_from(room).is_ok_and(|room| room < self.window);
        if room == 0 || is_little {
            return;
        }
        if std::mem::take(&mut self.turns.begun) {
            // They may not have been polled yet; next time they have been.
            return self.call();
        }
        let turns = &mut self.turns;
        turns.round += 1;
        let woken = (room / LEAST).max(1).min(turns.waiting.len());
        turns.share = room.checked_div(woken).unwrap_or(usize::MAX);
        turns.begun = woken > 0;
        for at in turns.waiting.drain(..woken) {
            if let Some(stream) = self.streams.get(at) {
                stream.queued = false;
                stream.turn = true;
                stream.writer.wake();
            }
        }
        if !self.turns.waiting.is_empty() {
            self.call();
        }
    }

    /// Sends as much of the data as may be, which is some of it when this is ready; `end`: with the last of it the stream.
    pub(crate) fn poll_send(
        &mut self,
        at: usize,
        data: &mut Bytes,
        end: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let room = self.room();
        let Some(stream) = self.streams.get(at) else { return Poll::Ready(Err(Closed)) };
        if stream.reset.is_some() || stream.said || !stream.begun {
            return Poll::Ready(Err(Closed));
        }
        let turns = &mut self.turns;
        let was_called = std::mem::take(&mut stream.turn);
        if was_called {
            stream.sent = (turns.round, 0);
            turns.begun = false;
        }
        let (round, sent) = stream.sent;
        let taken = if round == turns.round { sent } else { 0 };
        let has_turn = turns.waiting.is_empty() || round == turns.round;
        let common = if has_turn { room.min(turns.share.saturating_sub(taken)) } else { 0 };
        let allowed = common.min(usize::try_from(stream.window).unwrap_or(0)).min(data.len());
        if allowed == 0 && !data.is_empty() {
            stream.writer.wait(cx);
            if common == 0 && !std::mem::replace(&mut stream.queued, true) {
                // Who was called and found that others had taken the room is the first next time.
                if was_called {
                    turns.waiting.push_front(at)
                } else {
                    turns.waiting.push_back(at)
                }
                if room > 0 {
                    self.call();
                }
            }
            return Poll::Pending;
        }
        stream.sent = (self.turns.round, taken + allowed);
        stream.window -= allowed as i64;
        self.window -= allowed as i64;
        let id = stream.id;
        let ends = end && allowed == data.len();
        stream.said |= ends;
        let mut left = allowed;
        loop {
            let piece = left.min(MAX_PAYLOAD);
            left -= piece;
            let flags = if ends && left == 0 { flag::END_STREAM } else { 0 };
            frame::put_head(&mut self.out.bytes, piece, kind::DATA, flags, id);
            self.out.bytes.put_slice(data.get(..piece).unwrap_or_default());
            data.advance(piece);
            // Windows that are opened a byte at a time make work and nothing else.
            if ends || piece >= WORTH {
                self.abuse.useful();
            }
            if left == 0 {
                break;
            }
        }
        self.call();
        if ends {
            self.close_if_over(at);
        }
        Poll::Ready(Ok(()))
    }
}

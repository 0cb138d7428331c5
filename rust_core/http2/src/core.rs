//! The state of a connection, without its socket: what is taken from it is frames, what it makes is bytes.
//!
//! One task drives it and the tasks of its streams call into it. They all live on one thread, so it is in a `RefCell` and
//! nothing of it is locked or sent through channels; what they have to say to each other is a waker.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::abuse::Abuse;
use crate::error::{Fault, Reason, Taken};
use crate::flow::Turns;
use crate::frame::{self, MOST, kind};
use crate::hpack::{Decoder, Encoder};
use crate::out::Out;
use crate::ping::Pings;
use crate::settings::{Config, DEFAULT_WINDOW};
use crate::stream::{Streams, Waiting};

/// Streams that we reset lately: of these, frames may still be on their way.
const RESET: usize = 256;
/// What answers to control frames may add to the buffer before no more frames are read.
const CONTROL: usize = 64 * 1024;

/// How far the connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// The client was told, and has not acknowledged it.
    Told,
    /// It did, and may still send what it had queued before it knew.
    Acknowledged,
    /// Streams after this one are not served.
    Last(u32),
    /// The last frame is in the buffer: nothing is read any more.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) streams: Streams,
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    pub(crate) out: Out,
    pub(crate) abuse: Abuse,
    pub(crate) pings: Pings,
    pub(crate) turns: Turns,
    /// The client's first frame was there.
    pub(crate) greeted: bool,
    /// The most that the buffer held which frames are taken from, as far as it may still be the same.
    pub(crate) filled: usize,
    /// A header block whose end is still to come.
    pub(crate) block: Option<Block>,
    /// The highest stream that the client opened.
    pub(crate) highest: u32,
    /// What the client may still send on all streams, and what of it was read and not given back yet.
    pub(crate) credit: u32,
    pub(crate) read: u32,
    /// What it takes on all streams.
    pub(crate) window: i64,
    /// For each new stream.
    pub(crate) first_window: i64,
    pub(crate) leaving: Leaving,
    /// The client opens no more streams.
    pub(crate) no_more: bool,
    recently_reset: VecDeque<u32>,
    /// The task that drives the connection, and whether it knows that there is something to do.
    pub(crate) driver: Waiting,
    pub(crate) called: bool,
}

/// A header block in parts.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) stream: u32,
    pub(crate) ends: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: u32,
    pub(crate) since: Instant,
}

impl Core {
    /// A connection that has said what it allows.
    pub(crate) fn new(config: Config) -> Self {
        let mut greeting = Vec::new();
        config.put(&mut greeting);
        let out = Out::beginning_with(greeting);
        Self {
            streams: Streams::default(),
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            out,
            abuse: Abuse::default(),
            pings: Pings::default(),
            turns: Turns::default(),
            greeted: false,
            filled: 0,
            block: None,
            highest: 0,
            credit: config.connection_window.clamp(DEFAULT_WINDOW, MOST),
            read: 0,
            window: i64::from(DEFAULT_WINDOW),
            first_window: i64::from(DEFAULT_WINDOW),
            leaving: Leaving::No,
            no_more: false,
            recently_reset: VecDeque::new(),
            driver: Waiting::default(),
            called: false,
            config,
        }
    }

    /// Tells the task that drives the connection that there is something to do.
    pub(crate) fn call(&mut self) {
        if !std::mem::replace(&mut self.called, true) {
            self.driver.wake();
        }
    }

    /// Whether more frames may be read: a client that asks and does not listen is not heard.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < self.config.send_buffer + CONTROL
    }

    /// Whether frames of the stream are let pass without effect.
    pub(crate) fn is_ignored(&self, id: u32) -> bool {
        matches!(self.leaving, Leaving::Last(last) if id > last) || self.recently_reset.contains(&id)
    }

    /// Whether the stream was never opened.
    pub(crate) fn is_idle(&self, id: u32) -> bool {
        id > self.highest || id.is_multiple_of(2)
    }

    /// The client is told that the stream is over.
    pub(crate) fn put_reset(&mut self, id: u32, reason: Reason) {
        let stream = self.streams.find(id).and_then(|at| self.streams.get(at));
        // What was said of it comes before; of others nothing was.
        let is_urgent = stream.is_some_and(|stream| !stream.begun);
        let out = if is_urgent { &mut self.out.urgent } else { &mut self.out.bytes };
        frame::put_number(out, kind::RST_STREAM, id, reason.0);
        self.remember(id);
        self.call();
    }

    /// The client is told that the stream was not taken in, and may send it again.
    pub(crate) fn put_refusal(&mut self, id: u32) {
        frame::put_number(&mut self.out.urgent, kind::RST_STREAM, id, Reason::REFUSED_STREAM.0);
        self.remember(id);
        self.call();
    }

    /// Frames of this stream may still come.
    pub(crate) fn remember(&mut self, id: u32) {
        // As many as may have been open, and be uploading, beside those of a while ago.
        if self.recently_reset.len() >= RESET + 2 * self.config.max_streams as usize {
            self.recently_reset.pop_front();
        }
        self.recently_reset.push_back(id);
    }

    /// Breaks a stream off that the client has broken, and tells it why.
    pub(crate) fn refuse(&mut self, id: u32, reason: Reason) -> Taken {
        self.put_reset(id, reason);
        if let Some(at) = self.streams.find(id) {
            self.break_off(at, reason);
        }
        self.abuse.fault()
    }

    /// Nothing of the stream is sent or read any more.
    pub(crate) fn break_off(&mut self, at: usize, reason: Reason) {
        let Some(stream) = self.streams.get(at) else { return };
        stream.reset = Some(reason);
        let unread: usize = stream.body.drain(..).map(|piece| piece.len()).sum();
        stream.reader.wake();
        stream.writer.wake();
        let (id, held, queued) = (stream.id, stream.held, stream.queued);
        if queued {
            self.turns.leave(at);
        }
        self.streams.close(id);
        if held == 0 {
            self.streams.remove(at);
        }
        self.give_back(unread);
        self.call_if_over();
    }

    /// After the end of one direction: a stream of which both are over is over.
    pub(crate) fn close_if_over(&mut self, at: usize) {
        let Some(stream) = self.streams.get(at) else { return };
        if !stream.is_open() {
            let id = stream.id;
            self.streams.close(id);
            self.abuse.answered();
            self.call_if_over();
        }
    }

    fn call_if_over(&mut self) {
        if self.is_over() {
            self.call();
        }
    }

    /// A half of the stream was let go of.
    pub(crate) fn let_go(&mut self, at: usize) {
        let Some(stream) = self.streams.get(at) else { return };
        stream.held -= 1;
        if stream.held > 0 {
            return;
        }
        let (id, is_open, said) = (stream.id, stream.is_open(), stream.said);
        let unread: usize = stream.body.drain(..).map(|piece| piece.len()).sum();
        if is_open {
            // One that was answered while the request goes on is complete; another must not look so.
            let reason = if said { Reason::NO_ERROR } else { Reason::CANCEL };
            self.put_reset(id, reason);
            self.streams.close(id);
            self.call_if_over();
        }
        self.streams.remove(at);
        self.give_back(unread);
    }

    /// Bytes of bodies were read, or will not be.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.read += bytes as u32;
        let is_due = self.read > 0 && self.read >= self.config.connection_window / 2;
        if is_due && self.leaving != Leaving::Ended {
            let more = std::mem::take(&mut self.read);
            self.credit += more;
            frame::put_number(&mut self.out.urgent, kind::WINDOW_UPDATE, 0, more);
            self.call();
        }
    }

    /// Whether there is nothing more to do once the buffer is sent.
    pub(crate) fn is_over(&self) -> bool {
        match self.leaving {
            Leaving::Ended => true,
            Leaving::Last(_) => self.streams.open() == 0,
            _ => self.no_more && self.streams.open() == 0,
        }
    }

    /// Ends the connection; the client is told why.
    pub(crate) fn end(&mut self, reason: Reason) {
        if self.leaving != Leaving::Ended {
            let last = if let Leaving::Last(last) = self.leaving { last } else { self.highest };
            frame::put_goaway(&mut self.out.bytes, last, reason);
            self.fall_silent();
        }
    }

    /// The connection is gone, or about to be.
    pub(crate) fn fall_silent(&mut self) {
        self.leaving = Leaving::Ended;
        self.block = None;
        for at in self.streams.places() {
            self.break_off(at, Reason::CANCEL);
        }
        self.call();
    }

    /// What comes of a frame that was not taken.
    pub(crate) fn settle(&mut self, taken: Taken) {
        let taken = match taken {
            Err(Fault::Stream(id, reason)) => self.refuse(id, reason),
            taken => taken,
        };
        if let Err(Fault::Connection(reason)) = taken {
            self.end(reason);
        }
    }
}

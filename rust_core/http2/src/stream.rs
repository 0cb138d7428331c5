//! One stream, and the table of all that are open or still held by somebody.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};

use crate::error::{Fault, Reason, Taken};
use crate::frame::MOST;

/// Pieces of a body below this are put together, so that crumbs do not cost more memory than the window that they fill.
const CRUMB: usize = 2048;

/// Places that are kept while there are no streams.
const KEPT: usize = 16;

/// Somebody who waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<Waker>);

impl Waiting {
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        if !self.0.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.0 = Some(cx.waker().clone());
        }
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// One stream. Idle ones have none of these; closed ones are kept while they are held.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// Halves that are held.
    pub(crate) held: u8,

    /// The client has sent all.
    pub(crate) heard: bool,
    /// Nobody reads what comes.
    pub(crate) deaf: bool,
    /// What of its body is still to come, if it said how much there is.
    pub(crate) left: Option<u64>,
    pub(crate) body: VecDeque<BytesMut>,
    /// What the client may still send.
    pub(crate) credit: u32,
    /// What was read and not given back yet.
    pub(crate) read: u32,
    pub(crate) reader: Waiting,

    pub(crate) begun: bool,
    /// We have sent all.
    pub(crate) said: bool,
    /// What the client takes; below zero when it changed its mind.
    pub(crate) window: i64,
    /// Waits in the connection's queue.
    pub(crate) queued: bool,
    /// It was called from there, and has not said what it wants.
    pub(crate) turn: bool,
    /// In which round it sent, and how much.
    pub(crate) sent: (u64, usize),
    pub(crate) writer: Waiting,

    /// It was broken off.
    pub(crate) reset: Option<Reason>,
}

impl Stream {
    /// Whether frames of it may still go either way.
    pub(crate) fn is_open(&self) -> bool {
        self.reset.is_none() && !(self.heard && self.said)
    }

    /// Takes a piece of the body.
    pub(crate) fn push(&mut self, piece: BytesMut) {
        if piece.len() < CRUMB
            && let Some(last) = self.body.back_mut().filter(|last| last.len() < CRUMB)
        {
            last.extend_from_slice(&piece);
        } else {
            self.body.push_back(piece);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        self.body.pop_front().map(BytesMut::freeze)
    }

    /// Counts a piece of the body against what was promised.
    pub(crate) fn count(&mut self, bytes: usize, ends: bool) -> Taken {
        if let Some(left) = &mut self.left {
            let rest = left.checked_sub(bytes as u64).filter(|rest| !ends || *rest == 0);
            *left = rest.ok_or(Fault::Stream(self.id, Reason::PROTOCOL_ERROR))?;
        }
        Ok(())
    }

    /// The client takes more, or less. Wakes whoever waits for that; who waits for the connection is called in its turn.
    pub(crate) fn widen(&mut self, by: i64) -> Option<()> {
        let was_shut = self.window <= 0;
        self.window += by;
        if was_shut && self.window > 0 && !self.queued {
            self.writer.wake();
        }
        (self.window <= i64::from(MOST)).then_some(())
    }
}

/// The streams of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<usize>,
    /// Those that are open, by id: a client counts upwards, so new ones come last.
    open: Vec<(u32, usize)>,
}

impl Streams {
    /// Takes a stream in, whose id is the highest so far; gives its place.
    pub(crate) fn insert(&mut self, stream: Stream) -> usize {
        let id = stream.id;
        let stream = Some(stream);
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = stream;
                }
                at
            }
            None => {
                self.slots.push(stream);
                self.slots.len() - 1
            }
        };
        self.open.push((id, at));
        at
    }

    /// Where an open stream is.
    pub(crate) fn find(&self, id: u32) -> Option<usize> {
        let place = self.open.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.open.get(place).map(|(_, at)| *at)
    }

    pub(crate) fn get(&mut self, at: usize) -> Option<&mut Stream> {
        self.slots.get_mut(at)?.as_mut()
    }

    /// It is not open any more; it goes when nobody holds it.
    pub(crate) fn close(&mut self, id: u32) {
        if let Ok(place) = self.open.binary_search_by_key(&id, |(id, _)| *id) {
            self.open.remove(place);
        }
    }

    /// Forgets one that is closed and that nobody holds.
    pub(crate) fn remove(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at)
            && slot.take().is_some()
        {
            self.free.push(at);
            // A connection that had many at once and then none needs no room for them.
            if self.slots.len() > KEPT && self.free.len() == self.slots.len() {
                *self = Self::default();
            }
        }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// How many are open or held.
    pub(crate) fn held(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }

    /// Places of all that are open.
    pub(crate) fn places(&self) -> Vec<usize> {
        self.open.iter().map(|(_, at)| *at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_put_together() {
        let mut stream = Stream::default();
        (0..10_000).for_each(|_| stream.push(BytesMut::from(&b"x"[..])));
        stream.push(BytesMut::zeroed(5000));
        stream.push(BytesMut::from(&b"y"[..]));
        assert!(stream.body.len() < 8, "{}", stream.body.len());
        let whole: Vec<u8> = std::iter::from_fn(|| stream.pop()).flatten().collect();
        assert_eq!(whole.len(), 15_001);
        assert_eq!((whole[9999], whole[10_000], whole[15_000]), (b'x', 0, b'y'));
    }

    #[test]
    fn a_body_has_the_length_that_was_promised() {
        let counted = |pieces: &[usize], ends: bool| {
            let mut stream = Stream { left: Some(10), ..Stream::default() };
            let (last, before) = pieces.split_last().unwrap();
            before.iter().try_for_each(|n| stream.count(*n, false)).and_then(|()| stream.count(*last, ends)).is_ok()
        };
        assert!(counted(&[4, 6], true) && counted(&[10, 0], true) && counted(&[4], false));
        assert!(!counted(&[4, 5], true) && !counted(&[4, 7], false) && !counted(&[11], true) && !counted(&[0], true));
        assert!(Stream::default().count(100, true).is_ok());
    }

    #[test]
    fn places_are_used_again_once_nobody_holds_them() {
        let mut streams = Streams::default();
        let of = |id| Stream { id, ..Stream::default() };
        let (one, three) = (streams.insert(of(1)), streams.insert(of(3)));
        assert_eq!((streams.find(1), streams.find(3), streams.find(2)), (Some(one), Some(three), None));
        streams.close(1);
        assert_eq!((streams.find(1), streams.open(), streams.held()), (None, 1, 2));
        assert_ne!(streams.insert(of(5)), one);
        streams.remove(one);
        streams.remove(one);
        assert_eq!(streams.insert(of(7)), one);
        assert_eq!((streams.open(), streams.held()), (3, 3));
        assert_eq!(streams.get(one).map(|s| s.id), Some(7));
    }

    #[test]
    fn a_burst_leaves_no_places_behind() {
        let mut streams = Streams::default();
        for many in [500_u32, 3] {
            let places: Vec<usize> =
                (0..many).map(|n| streams.insert(Stream { id: 2 * n + 1, ..Stream::default() })).collect();
            for (n, at) in places.into_iter().enumerate() {
                streams.close(2 * n as u32 + 1);
                streams.remove(at);
            }
            assert_eq!((streams.open(), streams.held()), (0, 0));
            assert!(streams.slots.capacity() <= KEPT && streams.open.capacity() <= KEPT, "{many}");
        }
        assert!(streams.slots.capacity() > 0, "a few places are kept");
    }
}

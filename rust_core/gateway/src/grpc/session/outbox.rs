//! Frames of a session on their way to its client, whichever call they are of. Bounded: who has much to say waits.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use crate::grpc::frame::Messages;

/// Bytes that wait for the client before calls wait for it too.
const ROOM: usize = 256 * 1024;

/// The frames that wait.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: RefCell<Messages>,
    writer: RefCell<Option<Waker>>,
    waiting: RefCell<Vec<Waker>>,
    /// How often those who waited were woken.
    turn: Cell<u64>,
}

/// Where somebody waits for room, so that he is found at once when he asks again.
#[derive(Debug, Default)]
pub(crate) struct Place {
    turn: u64,
    index: usize,
}

impl Outbox {
    /// `messages`: where frames are put together.
    pub(crate) fn new(messages: Messages) -> Self {
        Self {
            messages: RefCell::new(messages),
            writer: RefCell::default(),
            waiting: RefCell::default(),
            turn: Cell::new(1),
        }
    }

    /// Adds a frame.
    pub(crate) fn put(&self, write: impl FnOnce(&mut BytesMut)) {
        let mut messages = self.messages.borrow_mut();
        let mark = messages.begin();
        write(messages.out());
        messages.end(mark);
        drop(messages);
        let writer = self.writer.take();
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Whether there is room for another chunk.
    pub(crate) fn has_room(&self) -> bool {
        self.messages.borrow().len() < ROOM
    }

    /// Ready while there is room for another chunk.
    pub(crate) fn poll_room(&self, place: &mut Place, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        let turn = self.turn.get();
        match waiting.get_mut(place.index).filter(|_| place.turn == turn) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *place = Place { turn, index: waiting.len() };
                waiting.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Everything that waits; without anything the writer is woken when there is.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Option<Bytes> {
        let mut messages = self.messages.borrow_mut();
        if messages.is_empty() {
            self.writer.replace(Some(cx.waker().clone()));
            return None;
        }
        let bytes = messages.take();
        drop(messages);
        self.turn.set(self.turn.get() + 1);
        self.waiting.take().into_iter().for_each(Waker::wake);
        Some(bytes)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_asks_often_is_woken_once_and_nobody_is_forgotten() {
        let outbox = Outbox::new(Messages::new(false));
        let reader = Waker::noop();
        let (first, second): (Arc<Woken>, Arc<Woken>) = Default::default();
        let (mut here, mut there) = (Place::default(), Place::default());
        for round in 1..=3 {
            outbox.put(|out| out.extend_from_slice(&vec![0; ROOM]));
            for _ in 0..5 {
                let waker = Waker::from(Arc::clone(&first));
                assert!(outbox.poll_room(&mut here, &Context::from_waker(&waker)).is_pending());
                let waker = Waker::from(Arc::clone(&second));
                assert!(outbox.poll_room(&mut there, &Context::from_waker(&waker)).is_pending());
            }
            assert_eq!(outbox.waiting.borrow().len(), 2);
            assert!(outbox.take(&Context::from_waker(reader)).is_some());
            assert_eq!([&first, &second].map(|woken| woken.0.load(Ordering::Relaxed)), [round; 2]);
            assert!(outbox.poll_room(&mut here, &Context::from_waker(reader)).is_ready());
        }
    }
}

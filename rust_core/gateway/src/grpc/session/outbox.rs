//! Frames of a session on their way to its client, whichever call they are of. Bounded: who has much to say waits.

use std::cell::RefCell;
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
}

impl Outbox {
    /// `messages`: where frames are put together.
    pub(crate) fn new(messages: Messages) -> Self {
        Self { messages: RefCell::new(messages), writer: RefCell::default(), waiting: RefCell::default() }
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
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
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
        self.waiting.take().into_iter().for_each(Waker::wake);
        Some(bytes)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.borrow().is_empty()
    }
}

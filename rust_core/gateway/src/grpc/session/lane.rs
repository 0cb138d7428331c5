//! One call of a session: its frames among those of the others.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::outbox::{Outbox, Place};
use crate::errors::{Failure, Kind};
use crate::grpc::frame::{self, Messages};
use crate::grpc::status::Status;
use crate::grpc::stream::CALL_ID;
use crate::grpc::wire;
use crate::listener::transport::{Gone, HeaderLines};
use crate::timers::{Deadline, Timers};

/// Why a call is over before its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client cancelled it.
    Cancelled,
    /// Its time is over.
    Expired,
    /// Nobody hears it any more.
    SessionLost,
}

/// What the session can do to a call.
#[derive(Debug)]
pub(crate) struct Reins {
    credit: Cell<Option<u64>>,
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

impl Reins {
    /// `credit`: chunks that it may send; `None`: as many as it likes.
    pub(crate) fn new(credit: Option<u64>) -> Self {
        Self { credit: Cell::new(credit), end: Cell::new(None), waker: RefCell::new(None) }
    }

    /// Lets it send more.
    pub(crate) fn grant(&self, more: u64) {
        // What is unbounded stays so.
        self.credit.set(self.credit.get().map(|credit| credit.saturating_add(more)));
        self.wake();
    }

    /// Ends it.
    pub(crate) fn end(&self, why: End) {
        if self.end.get().is_none() {
            self.end.set(Some(why));
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// One call's way out.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    outbox: Rc<Outbox>,
    /// Where it waits for room there.
    place: Place,
    reins: Rc<Reins>,
    id: u64,
    request: Result<Bytes, Box<Failure>>,
    call_id: Option<Arc<str>>,
    timers: &'a Timers,
    deadline: Option<Deadline<'a>>,
    patience: Duration,
    opened: bool,
    done: bool,
    sent: u64,
}

impl<'a> Lane<'a> {
    /// `timeout`: the time that the client gives; `patience`: the longest wait for credit.
    pub(crate) fn new(
        outbox: Rc<Outbox>,
        reins: Rc<Reins>,
        id: u64,
        request: Result<Bytes, Box<Failure>>,
        timers: &'a Timers,
        timeout: Option<Duration>,
        patience: Duration,
    ) -> Self {
        let deadline = timeout.map(|t| timers.after(t));
        Self {
            outbox,
            place: Place::default(),
            reins,
            id,
            request,
            call_id: None,
            timers,
            deadline,
            patience,
            opened: false,
            done: false,
            sent: 0,
        }
    }

    /// The request message.
    ///
    /// # Errors
    /// It could not be read.
    pub(crate) fn request(&mut self) -> Result<Bytes, Box<Failure>> {
        std::mem::replace(&mut self.request, Ok(Bytes::new()))
    }

    /// The call has this id, which the client hears however it ends.
    pub(crate) fn name(&mut self, id: &Arc<str>) {
        self.call_id = Some(Arc::clone(id));
    }

    /// Whether the client's time for the call was over first.
    pub(crate) fn expired(&self) -> bool {
        self.reins.end.get() == Some(End::Expired)
    }

    /// Says that a provider answers, with the lines for which `keep` holds.
    pub(crate) fn open(&mut self, lines: &HeaderLines, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), Gone> {
        if self.done {
            return Err(Gone);
        }
        self.opened = true;
        let id = self.id;
        self.outbox.put(|out| {
            wire::put_message(out, 1, |out| {
                wire::put_uint(out, 1, id);
                let kept = lines.iter().filter(|(name, value)| keep(name, value));
                kept.for_each(|(name, value)| put_entry(out, 2, name, value));
            });
        });
        Ok(())
    }

    /// Sends chunks, each as credit and room allow.
    pub(crate) async fn send(&mut self, messages: &mut Messages) -> Result<(), Gone> {
        if messages.is_empty() {
            return Ok(());
        }
        let chunks = messages.take();
        let mut rest = &chunks[..];
        while let Some((chunk, after)) = frame::split(rest) {
            self.turn().await?;
            let id = self.id;
            self.outbox.put(|out| {
                wire::put_message(out, 2, |out| {
                    wire::put_uint(out, 1, id);
                    wire::put_bytes(out, 2, chunk);
                });
            });
            self.sent += chunk.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// Waits until it may send one chunk.
    async fn turn(&mut self) -> Result<(), Gone> {
        let (timers, patience) = (self.timers, self.patience);
        let Ok(turn) = timers.within(patience, poll_fn(|cx| self.poll_turn(cx))).await else {
            let what = format!("The client took no chunk of the call for {} s.", patience.as_secs());
            self.part(&Status::of(&Failure::new(Kind::ClientGone, what)));
            return Err(Gone);
        };
        turn
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.poll_over(cx).is_ready() || self.done {
            return Poll::Ready(Err(Gone));
        }
        // The wake-up for what is waited for was left by `poll_over`.
        if self.reins.credit.get() == Some(0) || self.outbox.poll_room(&mut self.place, cx).is_pending() {
            return Poll::Pending;
        }
        self.reins.credit.set(self.reins.credit.get().map(|credit| credit.saturating_sub(1)));
        Poll::Ready(Ok(()))
    }

    /// Ready once the call is over from the client's side; it is told so.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline.as_mut().is_some_and(|d| d.poll(cx).is_ready()) {
            self.reins.end(End::Expired);
        }
        if self.reins.end.get().is_some() {
            self.conclude();
            return Poll::Ready(());
        }
        self.reins.wait(cx);
        Poll::Pending
    }

    /// Returns when the client has given the call up, or has no more time for it.
    pub(crate) async fn closed(&mut self) {
        poll_fn(|cx| self.poll_over(cx)).await;
    }

    /// Ends the call.
    pub(crate) fn close(&mut self, status: &Status, trailing: &HeaderLines) -> Result<(), Gone> {
        if std::mem::replace(&mut self.done, true) {
            return Err(Gone);
        }
        self.outbox.put(|out| put_end(out, self.id, status, trailing));
        Ok(())
    }

    /// Breaks the answer off.
    pub(crate) fn abort(&mut self) {
        let failure = Failure::new(Kind::UpstreamProtocol, "The answer broke off.");
        self.part(&Status::of(&failure));
    }

    /// Ends the call with no more than its id to it.
    fn part(&mut self, status: &Status) {
        let mut lines = HeaderLines::default();
        if let Some(id) = &self.call_id {
            lines.add(CALL_ID, id.as_bytes());
        }
        let _ = self.close(status, &lines);
    }

    /// Tells the client how the call ended, unless it knows.
    pub(crate) fn conclude(&mut self) {
        match self.reins.end.get() {
            _ if self.done => {}
            Some(End::SessionLost) => self.done = true,
            Some(End::Expired) => self.part(&Status::expired()),
            Some(End::Cancelled) => {
                let failure = Failure::new(Kind::ClientGone, "The call was cancelled.");
                self.part(&Status::of(&failure));
            }
            None => self.abort(),
        }
    }

    /// Whether the client knows that a provider answers.
    pub(crate) fn opened(&self) -> bool {
        self.opened
    }

    /// Bytes of chunks handed over.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

/// The last frame of a call.
pub(crate) fn put_end(out: &mut BytesMut, id: u64, status: &Status, trailing: &HeaderLines) {
    if status.details.is_empty() {
        return wire::put_message(out, 3, |out| {
            wire::put_uint(out, 1, id);
            put_metadata(out, 2, trailing);
        });
    }
    wire::put_message(out, 4, |out| {
        wire::put_uint(out, 1, id);
        // `SessionStatus` has the fields of `google.rpc.Status`.
        wire::put_bytes(out, 2, &status.details);
        put_metadata(out, 3, trailing);
        if let Some(ms) = status.pushback {
            put_entry(out, 3, b"grpc-retry-pushback-ms", ms.to_string().as_bytes());
        }
    });
}

/// The fields as entries of a map.
fn put_metadata(out: &mut BytesMut, field: u32, lines: &HeaderLines) {
    lines.iter().for_each(|(name, value)| put_entry(out, field, name, value));
}

fn put_entry(out: &mut BytesMut, field: u32, name: &[u8], value: &[u8]) {
    wire::put_message(out, field, |out| {
        wire::put_bytes(out, 1, name);
        wire::put_bytes(out, 2, value);
    });
}

//! The tasks that answer the streams of one connection.
//!
//! A task stays for the next stream when its own is over. To make one for each would cost a small call as much as to read
//! what it asks for: room for the whole of a call is taken and given back, and the runtime takes a task in and lets it go.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use penstock_http2::Request;
use tokio::task::JoinSet;

use super::call;
use crate::engine::{Core, LocalStage};
use crate::listener::Peer;

/// Tasks that wait for another stream; those beyond end with their stream, because each keeps the room of a whole call.
const SPARE: usize = 32;
/// And those that are left once the connection is quiet.
const QUIET: usize = 2;

/// What all streams of a connection have in common.
pub(super) struct Common {
    pub(super) core: Rc<Core>,
    pub(super) stage: Rc<LocalStage>,
    pub(super) peer: Peer,
}

/// The tasks of one connection.
pub(super) struct Crew {
    tasks: JoinSet<()>,
    board: Rc<Board>,
    answered: u64,
}

/// Where tasks and connection tell each other.
#[derive(Default)]
struct Board {
    /// Those that wait.
    spare: RefCell<Vec<Rc<Seat>>>,
    /// Streams that are being answered.
    busy: Cell<usize>,
    /// Streams that ended and were not looked at: well, and given up by the client.
    ended: Cell<(u32, u32)>,
    connection: Cell<Option<Waker>>,
    over: Cell<bool>,
}

/// Where a task waits.
#[derive(Default)]
struct Seat {
    next: Cell<Option<Request>>,
    waker: Cell<Option<Waker>>,
    /// There will be nothing for it.
    leave: Cell<bool>,
}

impl Seat {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// How a stream ended, told whatever ended it.
struct Report<'a> {
    board: &'a Board,
    finished: bool,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        let board = self.board;
        board.busy.set(board.busy.get() - 1);
        let (finished, given_up) = board.ended.get();
        board.ended.set(if self.finished { (finished + 1, given_up) } else { (finished, given_up + 1) });
        if let Some(waker) = board.connection.take() {
            waker.wake();
        }
    }
}

impl Crew {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), board: Rc::default(), answered: 0 }
    }

    /// Whether streams are being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.board.busy.get() > 0
    }

    /// Answers a stream.
    pub(super) fn answer(&mut self, common: &Rc<Common>, asked: Request) {
        self.answered += 1;
        self.board.busy.set(self.board.busy.get() + 1);
        if let Some(seat) = self.board.spare.borrow_mut().pop() {
            seat.next.set(Some(asked));
            return seat.wake();
        }
        // Of those that ended nothing is to be heard any more.
        while self.tasks.try_join_next().is_some() {}
        // Boxed, because tasks are moved a dozen times before they are where they stay.
        self.tasks.spawn_local(Box::pin(work(Rc::clone(common), Rc::clone(&self.board), asked)));
    }

    /// Streams that were handed to it so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether more tasks wait than a quiet connection should keep.
    pub(super) fn has_spare(&self) -> bool {
        self.board.spare.borrow().len() > QUIET
    }

    /// Lets go of tasks that a quiet connection does not need.
    pub(super) fn trim(&mut self) {
        self.board.trim();
        while self.tasks.try_join_next().is_some() {}
    }

    /// Returns when streams have ended: how many well, and how many that the client gave up.
    pub(super) async fn ended(&self) -> (u32, u32) {
        poll_fn(|cx| {
            let ended = self.board.ended.take();
            if ended != (0, 0) {
                return Poll::Ready(ended);
            }
            self.board.connection.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Waits for the streams that are left. Those whose client has gone notice it by themselves.
    pub(super) async fn end(mut self) {
        self.board.over.set(true);
        self.board.spare.take().iter().for_each(|seat| seat.wake());
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn work(common: Rc<Common>, board: Rc<Board>, mut asked: Request) {
    loop {
        let mut report = Report { board: &board, finished: false };
        report.finished = call(&common, asked).await;
        drop(report);
        match board.next().await {
            Some(next) => asked = next,
            None => return,
        }
    }
}

impl Board {
    /// Lets go of those who wait longest for nothing: the last to come is the next to be asked.
    fn trim(&self) {
        let mut spare = self.spare.borrow_mut();
        let many = spare.len().saturating_sub(QUIET);
        let leaving: Vec<_> = spare.drain(..many).collect();
        drop(spare);
        for seat in leaving {
            seat.leave.set(true);
            seat.wake();
        }
    }

    /// The next stream; `None`: there is nothing more to do.
    async fn next(&self) -> Option<Request> {
        if self.over.get() || self.spare.borrow().len() >= SPARE {
            return None;
        }
        let seat = Rc::<Seat>::default();
        self.spare.borrow_mut().push(Rc::clone(&seat));
        poll_fn(|cx| self.poll_seat(&seat, cx)).await
    }

    fn poll_seat(&self, seat: &Seat, cx: &Context<'_>) -> Poll<Option<Request>> {
        match seat.next.take() {
            Some(asked) => Poll::Ready(Some(asked)),
            None if self.over.get() || seat.leave.get() => Poll::Ready(None),
            None => {
                seat.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use super::*;

    #[test]
    fn a_quiet_connection_keeps_few_tasks() {
        let board = Board::default();
        let mut waiting: Vec<Pin<Box<dyn Future<Output = Option<Request>> + '_>>> =
            (0..SPARE).map(|_| Box::pin(board.next()) as _).collect();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.iter_mut().all(|task| task.as_mut().poll(&mut cx).is_pending()));
        // Beyond these nobody waits.
        assert!(matches!(pin!(board.next()).poll(&mut cx), Poll::Ready(None)));
        board.trim();
        board.trim();
        let left = waiting.iter_mut().filter_map(|task| task.as_mut().poll(&mut cx).is_pending().then_some(())).count();
        assert_eq!((left, board.spare.borrow().len()), (QUIET, QUIET));
    }
}

//! A server whose tasks are polled by hand, in any order, over a wire that carries what it is let carry.
//!
//! Apart from the server that runs on a runtime because here it can be said when nothing more will happen, and how often
//! whom somebody woke.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::Frame;
use penstock_http1::Conn;
use penstock_http2::{Config, Connection, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both directions between client and server.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    has_ended: bool,
    reader: Option<Waker>,
    from_server: Vec<u8>,
    room: usize,
    writer: Option<Waker>,
}

#[derive(Clone, Default)]
struct End(Rc<RefCell<Wire>>);

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if wire.to_server.is_empty() && !wire.has_ended {
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = buf.remaining().min(wire.to_server.len());
        buf.put_slice(&wire.to_server.drain(..n).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        if wire.room == 0 {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = wire.room.min(bytes.len());
        wire.room -= n;
        wire.from_server.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Those who were woken, in order.
type Queue = Arc<Mutex<VecDeque<usize>>>;

struct Call {
    queue: Queue,
    at: usize,
    is_queued: AtomicBool,
    wakes: AtomicUsize,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.queue.lock().unwrap().push_back(self.at);
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    call: Arc<Call>,
    /// `None` when it is over.
    work: Option<Work>,
}

/// A connection and all tasks of its server. The first drives the connection, the others answer a stream each, in the
/// order in which these were opened.
pub struct Stage {
    wire: End,
    queue: Queue,
    tasks: Vec<Task>,
    opened: Rc<RefCell<Vec<Request>>>,
    answer: fn(Request) -> Work,
    goodbye: Rc<Cell<bool>>,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// A server that a client has not said anything to.
    pub fn new(config: Config, answer: fn(Request) -> Work) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (wire, opened) = (End::default(), Rc::<RefCell<Vec<Request>>>::default());
        let (queue, goodbye) = (Queue::default(), Rc::<Cell<bool>>::default());
        let mut stage = Self {
            wire: wire.clone(),
            queue,
            tasks: Vec::new(),
            opened: Rc::clone(&opened),
            answer,
            goodbye: Rc::clone(&goodbye),
            runtime,
        };
        stage.spawn(Box::pin(async move {
            let Ok(mut connection) = Connection::handshake(Conn::new(wire), config).await else { return };
            while let Some(request) = poll_fn(|cx| {
                if goodbye.get() {
                    connection.graceful_shutdown();
                }
                connection.poll_accept(cx)
            })
            .await
            {
                opened.borrow_mut().push(request);
            }
        }));
        stage
    }

    fn spawn(&mut self, work: Work) {
        let (queue, at) = (Arc::clone(&self.queue), self.tasks.len());
        let call = Arc::new(Call { queue, at, is_queued: AtomicBool::new(false), wakes: AtomicUsize::new(0) });
        Arc::clone(&call).wake();
        call.wakes.store(0, Ordering::Relaxed);
        self.tasks.push(Task { call, work: Some(work) });
    }

    /// The client says something.
    pub fn say(&self, bytes: &[u8]) {
        let mut wire = self.wire.0.borrow_mut();
        wire.to_server.extend(bytes);
        wire.reader.take().into_iter().for_each(Waker::wake);
    }

    /// And will say nothing more.
    pub fn end(&self) {
        self.wire.0.borrow_mut().has_ended = true;
        self.say(b"");
    }

    /// The server tells the client to open no more streams, when it next looks after the connection.
    pub fn say_goodbye(&self) {
        self.goodbye.set(true);
    }

    /// The wire takes so many bytes more.
    pub fn widen(&self, by: usize) {
        let mut wire = self.wire.0.borrow_mut();
        wire.room = wire.room.saturating_add(by);
        wire.writer.take().into_iter().for_each(Waker::wake);
    }

    /// How many more it takes.
    pub fn room(&self) -> usize {
        self.wire.0.borrow().room
    }

    /// The frames that are whole which the server has said since this was last asked.
    pub fn frames(&self) -> Vec<Frame> {
        let said = &mut self.wire.0.borrow_mut().from_server;
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Some(head) = said.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = said.get(at + 9..at + 9 + length) else { break };
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
            frames.push(Frame { kind: head[3], flags: head[4], stream, payload: payload.to_vec() });
            at += 9 + length;
        }
        said.drain(..at);
        frames
    }

    /// Polls who was woken until nobody is; `pick` says which of so many is the next. How often somebody was polled.
    pub fn rest(&mut self, mut pick: impl FnMut(usize) -> usize, most: usize) -> usize {
        let mut polls = 0;
        loop {
            let mut queue = self.queue.lock().unwrap();
            if queue.is_empty() {
                return polls;
            }
            let next = pick(queue.len());
            let at = queue.remove(next).unwrap();
            drop(queue);
            polls += 1;
            assert!(polls <= most, "it does not come to rest");
            self.poll(at);
        }
    }

    fn poll(&mut self, at: usize) {
        let _entered = self.runtime.enter();
        let task = &mut self.tasks[at];
        task.call.is_queued.store(false, Ordering::Relaxed);
        let Some(work) = &mut task.work else { return };
        let waker = Waker::from(Arc::clone(&task.call));
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            task.work = None;
        }
        let opened = self.opened.take();
        for request in opened {
            let work = (self.answer)(request);
            self.spawn(work);
        }
    }

    /// How many streams were opened.
    pub fn opened(&self) -> usize {
        self.tasks.len() - 1
    }

    /// Whether the connection is over, and how many of the tasks of its streams are not.
    pub fn over(&self) -> (bool, usize) {
        let is_over = |task: &Task| task.work.is_none();
        (is_over(&self.tasks[0]), self.tasks.iter().skip(1).filter(|task| !is_over(task)).count())
    }

    /// Ends the task of a stream, as a gateway does that has waited long enough.
    pub fn give_up(&mut self, stream: usize) {
        let _entered = self.runtime.enter();
        self.tasks[stream + 1].work = None;
    }

    /// The task of a stream has other things to do, for ever, and lets go of nothing.
    pub fn distract(&mut self, stream: usize) {
        if let Some(work) = self.tasks[stream + 1].work.take() {
            self.tasks[stream + 1].work = Some(Box::pin(async move {
                let _held = work;
                std::future::pending().await
            }));
        }
    }

    /// How often tasks of streams were woken.
    pub fn wakes(&self) -> usize {
        self.tasks.iter().skip(1).map(|task| task.call.wakes.load(Ordering::Relaxed)).sum()
    }
}

/// A generator of numbers that are the same at each run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound.max(1)
    }
}

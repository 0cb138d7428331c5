//! `Chat.Session`: many calls on one stream, each by itself what a call of its own would be.
//!
//! The task of the stream reads what the client says and writes what the calls say. Each call is a task, goes through the
//! phases like any other, and speaks through its [`Lane`]. The rules are in `proto/README.md`, "Streams".

mod frames;
mod lane;
mod outbox;

use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use penstock_http1::RequestHead;
use tokio::task::JoinSet;

use super::exchange::Sink;
use super::method::Call;
use super::status::Status;
use super::stream::Stream;
use super::{Encoding, GrpcExchange, Origin, frame, status, wire};
use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind};
use crate::listener::exchange::{Exchange, HeaderLines, Transport};
use crate::listener::h2::header_map;
use crate::phases;
use crate::timers::Deadline;
use frames::{Asked, Start};
use lane::{End, Reins};
use outbox::Outbox;

pub(crate) use lane::Lane;

/// How long the client may take to end a session that is drained and has no calls left.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a client may say before the other tasks of the thread have their turn: frames, and pieces of frames.
const TURN: u32 = 64;

/// How a session ends.
enum Over {
    /// All is said.
    Well,
    /// The client broke the rules, or has no more time.
    Failed(Status),
    /// Nobody hears it any more.
    Lost,
}

/// Serves one session.
pub(super) async fn serve(origin: Origin<'_>, head: &RequestHead, mut stream: Stream<'_>) {
    let route = Some("/v1/chat/completions");
    if let Err(failure) = phases::caller(origin.core, &head.headers, origin.peer, route).await {
        let _ = stream.close(&Status::of(&failure), HeaderLines::default()).await;
        return;
    }
    if stream.open(HeaderLines::default()).is_err() {
        return;
    }
    let (encoding, deadline) = (stream.encoding(), stream.take_deadline());
    let outbox = Rc::new(Outbox::new(stream.messages()));
    let Transport::H2(exchange) = stream.into_transport() else { return };
    let Some((incoming, outgoing)) = exchange.into_halves() else { return };
    let mut session = Session {
        origin,
        head,
        encoding,
        outbox,
        incoming: Some(incoming),
        reader: frame::Reader::default(),
        writer: Writer { outgoing, pending: Bytes::new(), stalled: None },
        deadline,
        last: 0,
        calls: HashMap::new(),
        running: JoinSet::new(),
        drained: false,
        heard: 0,
    };
    let over = session.run().await;
    session.end(over).await;
}

struct Session<'a> {
    origin: Origin<'a>,
    head: &'a RequestHead,
    encoding: Encoding,
    outbox: Rc<Outbox>,
    /// `None`: the client has said all.
    incoming: Option<RecvStream>,
    reader: frame::Reader,
    writer: Writer<'a>,
    deadline: Option<Deadline<'a>>,
    last: u64,
    calls: HashMap<u64, Rc<Reins>>,
    running: JoinSet<u64>,
    drained: bool,
    heard: u32,
}

/// What may happen next.
enum Event {
    Piece(Option<Result<Bytes, h2::Error>>),
    Ended(Option<u64>),
    Draining,
    Expired,
    Lost,
    Goodbye,
}

impl Session<'_> {
    async fn run(&mut self) -> Over {
        let core = self.origin.core;
        let (mut stage, mut connection) = (core.stage.watch(), self.origin.stage.watch());
        let mut goodbye = core.timers.after(GOODBYE);
        loop {
            let idle = self.calls.is_empty();
            if idle && self.incoming.is_none() && self.flushed() {
                return Over::Well;
            }
            let Self { incoming, writer, deadline, running, outbox, drained, .. } = self;
            let event = poll_fn(|cx| {
                if writer.poll(core, outbox, cx).is_ready() {
                    return Poll::Ready(Event::Lost);
                }
                // Who does not hear the answers is not heard any further, or they would pile up.
                if let Some(incoming) = incoming
                    && outbox.has_room()
                    && let Poll::Ready(piece) = incoming.poll_data(cx)
                {
                    return Poll::Ready(Event::Piece(piece));
                }
                if !running.is_empty()
                    && let Poll::Ready(Some(ended)) = running.poll_join_next(cx)
                {
                    return Poll::Ready(Event::Ended(ended.ok()));
                }
                if deadline.as_mut().is_some_and(|d| d.poll(cx).is_ready()) {
                    return Poll::Ready(Event::Expired);
                }
                if !*drained {
                    let draining = stage.poll(Stage::Draining, cx).is_ready();
                    if draining || connection.poll(Stage::Draining, cx).is_ready() {
                        return Poll::Ready(Event::Draining);
                    }
                } else if idle {
                    // The last words of the calls are out: the client has a moment to say that it is done.
                    let ending = core.stage.get() == Stage::Ending || stage.poll(Stage::Ending, cx).is_ready();
                    if ending || (outbox.is_empty() && writer.pending.is_empty() && goodbye.poll(cx).is_ready()) {
                        return Poll::Ready(Event::Goodbye);
                    }
                }
                // All that was said before is on its way: nothing is left to wait for.
                if idle && incoming.is_none() && outbox.is_empty() && writer.pending.is_empty() {
                    return Poll::Ready(Event::Goodbye);
                }
                Poll::Pending
            })
            .await;
            let step = match event {
                Event::Piece(Some(Ok(piece))) => self.said(piece).await,
                Event::Piece(Some(Err(_))) | Event::Lost => Err(Over::Lost),
                Event::Piece(None) => self.silent(),
                Event::Ended(id) => {
                    self.forget(id);
                    goodbye.move_to(tokio::time::Instant::now() + GOODBYE);
                    Ok(())
                }
                Event::Expired => Err(Over::Failed(Status::expired())),
                Event::Draining => {
                    self.drained = true;
                    self.say_draining();
                    goodbye.move_to(tokio::time::Instant::now() + GOODBYE);
                    Ok(())
                }
                Event::Goodbye => Err(Over::Well),
            };
            if let Err(over) = step {
                return over;
            }
        }
    }

    fn flushed(&self) -> bool {
        self.outbox.is_empty() && self.writer.pending.is_empty()
    }

    /// A call's task has ended.
    fn forget(&mut self, id: Option<u64>) {
        match id {
            Some(id) => drop(self.calls.remove(&id)),
            // It broke down without telling its id; whoever is not running is forgotten.
            None => self.calls.retain(|_, reins| Rc::strong_count(reins) > 1),
        }
    }

    /// The client has said all.
    fn silent(&mut self) -> Result<(), Over> {
        self.incoming = None;
        if self.reader.is_empty() {
            return Ok(());
        }
        Err(broken("The session ended in the middle of a message."))
    }

    /// Takes what the client says.
    async fn said(&mut self, piece: Bytes) -> Result<(), Over> {
        if let Some(incoming) = &mut self.incoming {
            let _ = incoming.flow_control().release_capacity(piece.len());
        }
        self.reader.push(piece);
        self.pause().await;
        let limit = self.origin.core.shared.options.max_body_bytes;
        let failed = |failure: Failure| Over::Failed(Status::of(&failure));
        while let Some(frame) = self.reader.next(limit).map_err(failed)? {
            let message = frame::message(frame, self.encoding, limit).await.map_err(|(failure, code)| {
                Over::Failed(code.map_or_else(|| Status::of(&failure), |code| Status::with(code, &failure)))
            })?;
            match frames::read(&message).map_err(failed)? {
                Asked::Start(start) => self.start(start)?,
                Asked::Cancel(id) => {
                    if let Some(reins) = self.calls.get(&id) {
                        reins.end(End::Cancelled);
                    }
                }
                Asked::Credit(id, more) => {
                    if let Some(reins) = self.calls.get(&id) {
                        reins.grant(more);
                    }
                }
                Asked::Nothing => {}
            }
            self.pause().await;
        }
        Ok(())
    }

    /// Lets others have their turn now and then: what the client says may be there as fast as it is taken.
    async fn pause(&mut self) {
        self.heard = (self.heard + 1) % TURN;
        if self.heard == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Begins a call.
    fn start(&mut self, start: Start) -> Result<(), Over> {
        if start.id == 0 || start.id <= self.last {
            return Err(broken("`start.id` must not be zero, and larger than the ids of all calls begun before."));
        }
        self.last = start.id;
        let core = self.origin.core;
        let most = core.shared.options.max_streams as usize;
        let refused = if self.drained {
            let what = "The session is about to close; send the call again on another.";
            Some(Failure::new(Kind::ShuttingDown, what).retry_after(0))
        } else if self.calls.len() >= most {
            let what = format!("The session has {most} calls in flight, as many as it may.");
            Some(Failure::new(Kind::RateParallel, what).retry_after(1000))
        } else {
            None
        };
        if let Some(failure) = refused {
            let (status, none) = (Status::of(&failure), HeaderLines::default());
            self.outbox.put(|out| lane::put_end(out, start.id, &status, &none));
            return Ok(());
        }
        let reins = Rc::new(Reins::new(start.credit));
        self.calls.insert(start.id, Rc::clone(&reins));
        let (core, outbox, head) = (Rc::clone(core), Rc::clone(&self.outbox), self.head.clone());
        let peer = self.origin.peer;
        self.running.spawn_local(Box::pin(async move {
            let patience = Duration::from_millis(core.shared.options.write_timeout_ms);
            let lane = Lane::new(outbox, reins, start.id, start.request, &core.timers, start.timeout, patience);
            let call = Call::ChatStream;
            let mut exchange = Exchange::Grpc(Box::new(GrpcExchange::new(Sink::Lane(lane), call)));
            phases::serve(&core, call.surface(), call.route(), head, &mut exchange, peer).await;
            if let Exchange::Grpc(x) = &mut exchange {
                x.conclude().await;
            }
            start.id
        }));
        Ok(())
    }

    /// Tells the client that no more calls may begin.
    fn say_draining(&self) {
        let core: &Core = self.origin.core;
        let grace = match core.stage.get() {
            Stage::Running => core.shared.options.grpc.max_connection_age_grace_ms,
            _ => Some(core.shared.grace_ms.load(Ordering::Relaxed)),
        };
        self.outbox.put(|out| {
            wire::put_message(out, 5, |out| {
                if let Some(ms) = grace {
                    wire::put_message(out, 1, |out| status::duration(out, ms));
                }
            });
        });
    }

    /// Ends the session, and all calls that are left.
    async fn end(mut self, over: Over) {
        // What nobody reads any more would take room from the connection's other streams.
        self.incoming = None;
        self.reader = frame::Reader::default();
        self.calls.values().for_each(|reins| reins.end(End::SessionLost));
        let status = match over {
            Over::Well => self.flush().await.then_some(Status::OK),
            Over::Failed(status) => {
                // It is told after a torn message too, but who still listens gets whole ones.
                self.flush().await;
                Some(status)
            }
            Over::Lost => None,
        };
        match status {
            Some(status) => {
                let mut lines = HeaderLines::default();
                status.put(&mut lines);
                let _ = self.writer.outgoing.send_trailers(header_map(&lines));
            }
            None => self.writer.outgoing.send_reset(h2::Reason::CANCEL),
        }
        drop(self.writer);
        while self.running.join_next().await.is_some() {}
    }

    /// Sends what was said so far, unless the client takes it too slowly or there is no time left; whether all of it went.
    async fn flush(&mut self) -> bool {
        let (core, Self { writer, outbox, .. }) = (self.origin.core, self);
        let mut stage = core.stage.watch();
        let written = poll_fn(|cx| {
            let is_lost = writer.poll(core, outbox, cx).is_ready();
            if !is_lost && writer.pending.is_empty() && outbox.is_empty() {
                return Poll::Ready(true);
            }
            if is_lost { Poll::Ready(false) } else { stage.poll(Stage::Ending, cx).map(|()| false) }
        });
        let patience = Duration::from_millis(core.shared.options.write_timeout_ms);
        core.timers.within(patience, written).await.unwrap_or(false)
    }
}

fn broken(what: &'static str) -> Over {
    Over::Failed(Status::of(&Failure::new(Kind::BadRequest, what).param("frame")))
}

/// Writes what is in the outbox as the client takes it.
struct Writer<'a> {
    outgoing: SendStream<Bytes>,
    pending: Bytes,
    /// When a client that takes nothing is given up.
    stalled: Option<Deadline<'a>>,
}

impl<'a> Writer<'a> {
    /// Ready when the client has gone.
    fn poll(&mut self, core: &'a Core, outbox: &Outbox, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.pending.is_empty() {
                match outbox.take(cx) {
                    Some(bytes) => self.pending = bytes,
                    None => {
                        self.stalled = None;
                        return self.outgoing.poll_reset(cx).map(|_| ());
                    }
                }
            }
            self.outgoing.reserve_capacity(self.pending.len());
            match self.outgoing.poll_capacity(cx) {
                Poll::Ready(Some(Ok(granted))) => {
                    let piece = self.pending.split_to(granted.min(self.pending.len()));
                    if self.outgoing.send_data(piece, false).is_err() {
                        return Poll::Ready(());
                    }
                    self.stalled = None;
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    let patience = Duration::from_millis(core.shared.options.write_timeout_ms);
                    let stalled = self.stalled.get_or_insert_with(|| core.timers.after(patience));
                    return stalled.poll(cx);
                }
            }
        }
    }
}

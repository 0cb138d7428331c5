//! `Chat.Session`: many calls on one stream, each by itself what a call of its own would be.
//!
//! The task of the stream reads what the client says and writes what the calls say. Each call is a task, goes through the
//! phases like any other, and speaks through its [`Lane`]. The rules are in `proto/README.md`, "Streams".

mod calls;
mod event;
mod frames;
mod lane;
mod outbox;
mod oversized;
mod requests;
mod writer;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use penstock_http1::RequestHead;
use tokio::time::Instant;

use super::status::Status;
use super::stream::Stream;
use super::{Origin, status, wire};
use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind};
use crate::listener::exchange::{HeaderLines, Transport};
use crate::listener::h2::Incoming;
use crate::phases;
use crate::timers::Deadline;
use calls::Calls;
use event::{Event, Watched};
use frames::{Asked, Start};
use lane::End;
use outbox::Outbox;
use requests::Requests;
use writer::Writer;

pub(crate) use lane::Lane;

/// How long the client may take to end a session that is drained and has no calls left.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the client may take to hear how its calls ended when the gateway ends. The thread waits for connections a
/// second longer, so that this one ends as others do.
const LAST_WORDS: Duration = Duration::from_secs(2);
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
    if stream.begin().is_err() {
        return;
    }
    let (inflating, deadline) = (stream.inflating(), stream.take_deadline());
    let outbox = Rc::new(Outbox::new(stream.messages()));
    let Transport::H2(exchange) = stream.into_transport() else { return };
    let Some((incoming, outgoing)) = exchange.into_halves() else { return };
    let options = &origin.core.shared.options;
    let pause = Duration::from_millis(options.body_timeout_ms);
    let mut session = Session {
        origin,
        incoming: Some(incoming),
        requests: Requests::new(inflating, options.max_body_bytes, pause),
        writer: Writer::new(origin.core, outgoing, Rc::clone(&outbox)),
        calls: Calls::new(origin, head, outbox),
        deadline,
        drained: false,
        heard: 0,
    };
    let over = session.run().await;
    session.end(over).await;
}

struct Session<'a> {
    origin: Origin<'a>,
    /// `None`: the client has said all.
    incoming: Option<Incoming>,
    requests: Requests<'a>,
    writer: Writer<'a>,
    calls: Calls<'a>,
    deadline: Option<Deadline<'a>>,
    drained: bool,
    heard: u32,
}

impl Session<'_> {
    async fn run(&mut self) -> Over {
        let mut watched = Watched::new(self.origin);
        loop {
            let step = match self.next(&mut watched).await {
                Event::Piece(Some(piece)) => self.said(piece).await.map(|has_begun| watched.message(has_begun)),
                Event::Torn => Err(Over::Failed(requests::too_slow())),
                Event::Piece(None) => self.silent(),
                Event::Lost => Err(Over::Lost),
                Event::Ended => {
                    watched.goodbye.move_to(Instant::now() + GOODBYE);
                    Ok(())
                }
                Event::Expired => Err(Over::Failed(Status::expired())),
                Event::Draining => {
                    self.drained = true;
                    self.say_draining();
                    watched.goodbye.move_to(Instant::now() + GOODBYE);
                    Ok(())
                }
                Event::Over => Err(Over::Well),
            };
            if let Err(over) = step {
                return over;
            }
        }
    }

    /// The client has said all.
    fn silent(&mut self) -> Result<(), Over> {
        self.incoming = None;
        if self.requests.is_empty() {
            return Ok(());
        }
        Err(broken("The session ended in the middle of a message."))
    }

    /// Takes what the client says; whether a message has begun and is not over.
    async fn said(&mut self, piece: Bytes) -> Result<bool, Over> {
        self.requests.push(piece);
        self.pause().await;
        while let Some(asked) = self.requests.next().await.map_err(Over::Failed)? {
            match asked {
                Asked::Start(start) => self.start(start)?,
                Asked::Cancel(id) => self.calls.reins(id, |reins| reins.end(End::Cancelled)),
                Asked::Credit(id, more) => self.calls.reins(id, |reins| reins.grant(more)),
                Asked::Nothing => {}
            }
            self.pause().await;
        }
        self.requests.has_begun().map_err(Over::Failed)
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
        if !self.calls.is_next(start.id) {
            return Err(broken("`start.id` must not be zero, and larger than the ids of all calls begun before."));
        }
        if self.drained {
            let what = "The session is about to close; send the call again on another.";
            self.calls.refuse(start.id, &Failure::new(Kind::ShuttingDown, what).retry_after(0));
        } else {
            self.calls.start(start);
        }
        Ok(())
    }

    /// Tells the client that no more calls may begin.
    fn say_draining(&self) {
        let core: &Core = self.origin.core;
        let grace = match core.stage.get() {
            Stage::Running => core.shared.options.grpc.max_connection_age_grace_ms,
            _ => Some(core.shared.grace_ms.load(Ordering::Relaxed)),
        };
        self.writer.outbox.put(|out| {
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
        self.requests.clear();
        self.calls.end_all();
        let status = match over {
            Over::Well => self.flush().await.then_some(Status::OK),
            Over::Failed(status) => {
                // It is told after a torn message too, but who still listens gets whole ones.
                self.flush().await;
                Some(status)
            }
            Over::Lost => None,
        };
        self.writer.close(status);
        self.calls.ended().await;
    }

    /// Sends what was said so far, unless the client takes it too slowly or there is no time left; whether all of it went.
    async fn flush(&mut self) -> bool {
        let (core, writer) = (self.origin.core, &mut self.writer);
        let mut stage = core.stage.watch();
        let mut last_words = None;
        let written = poll_fn(|cx| {
            if writer.poll_gone(cx).is_ready() {
                return Poll::Ready(false);
            }
            if writer.is_flushed() {
                return Poll::Ready(true);
            }
            ready!(stage.poll(Stage::Ending, cx));
            last_words.get_or_insert_with(|| core.timers.after(LAST_WORDS)).poll(cx).map(|()| false)
        });
        let patience = Duration::from_millis(core.shared.options.write_timeout_ms);
        core.timers.within(patience, written).await.unwrap_or(false)
    }
}

fn broken(what: &'static str) -> Over {
    Over::Failed(Status::of(&Failure::new(Kind::BadRequest, what).param("frame")))
}

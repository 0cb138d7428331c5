//! What a session waits for.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;

use super::{GOODBYE, Session};
use crate::engine::{Core, Stage};
use crate::grpc::Origin;
use crate::stage::Watch;
use crate::timers::Deadline;

/// What may happen next.
pub(super) enum Event {
    /// The client says something; `None`: it has said all.
    Piece(Option<Bytes>),
    /// A call has ended.
    Ended,
    /// No more calls may begin.
    Draining,
    /// The client's time for the session is over.
    Expired,
    /// Nobody hears it any more.
    Lost,
    /// All is said.
    Over,
}

/// What happens around a session.
pub(super) struct Watched<'a> {
    core: &'a Core,
    stage: Watch<'a>,
    connection: Watch<'a>,
    /// When the client must have ended a session that is drained and has no calls left.
    pub(super) goodbye: Deadline<'a>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(origin: Origin<'a>) -> Self {
        let core = origin.core;
        let goodbye = core.timers.after(GOODBYE);
        Self { core, stage: core.stage.watch(), connection: origin.stage.watch(), goodbye }
    }
}

impl Session<'_> {
    /// Writes what the calls say until something happens.
    pub(super) async fn next(&mut self, watched: &mut Watched<'_>) -> Event {
        let Self { incoming, writer, calls, deadline, drained, .. } = self;
        let Watched { core, stage, connection, goodbye } = watched;
        poll_fn(|cx| {
            let idle = calls.is_empty();
            if writer.poll_gone(cx).is_ready() {
                return Poll::Ready(Event::Lost);
            }
            // Who does not hear the answers is not heard any further, or they would pile up.
            if let Some(incoming) = incoming
                && writer.outbox.has_room()
                && let Poll::Ready(piece) = incoming.poll_piece(cx)
            {
                return Poll::Ready(piece.map_or(Event::Lost, Event::Piece));
            }
            if calls.poll_ended(cx).is_ready() {
                return Poll::Ready(Event::Ended);
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
                if ending || (writer.is_flushed() && goodbye.poll(cx).is_ready()) {
                    return Poll::Ready(Event::Over);
                }
            }
            // All that was said before is on its way: nothing is left to wait for.
            if idle && incoming.is_none() && writer.is_flushed() { Poll::Ready(Event::Over) } else { Poll::Pending }
        })
        .await
    }
}

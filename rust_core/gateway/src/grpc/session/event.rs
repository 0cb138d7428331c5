//! What a session waits for.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

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
    /// The client does not go on with a message.
    Torn,
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
    /// When the client must have gone on with the message that has begun, if one has.
    torn: Option<Deadline<'a>>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(origin: Origin<'a>) -> Self {
        let core = origin.core;
        let goodbye = core.timers.after(GOODBYE);
        Self { core, stage: core.stage.watch(), connection: origin.stage.watch(), goodbye, torn: None }
    }

    /// A piece came; `has_begun`: of a message that is not over.
    pub(super) fn message(&mut self, has_begun: bool) {
        let pause = Duration::from_millis(self.core.shared.options.body_timeout_ms);
        match &mut self.torn {
            Some(torn) if has_begun => torn.move_to(Instant::now() + pause),
            torn => *torn = has_begun.then(|| self.core.timers.after(pause)),
        }
    }
}

impl Session<'_> {
    /// Writes what the calls say until something happens.
    pub(super) async fn next(&mut self, watched: &mut Watched<'_>) -> Event {
        let Self { incoming, writer, calls, deadline, drained, .. } = self;
        let mut is_deaf = false;
        poll_fn(|cx| {
            let idle = calls.is_empty();
            if writer.poll_gone(cx).is_ready() {
                return Poll::Ready(Event::Lost);
            }
            // Who does not hear the answers is not heard any further, or they would pile up.
            if let Some(incoming) = incoming {
                if !writer.outbox.has_room() {
                    is_deaf = true;
                } else if let Poll::Ready(piece) = incoming.poll_piece(cx) {
                    return Poll::Ready(piece.map_or(Event::Lost, Event::Piece));
                } else {
                    // The time of a message does not run while nobody listens.
                    if std::mem::take(&mut is_deaf) {
                        watched.message(watched.torn.is_some());
                    }
                    if watched.torn.as_mut().is_some_and(|torn| torn.poll(cx).is_ready()) {
                        return Poll::Ready(Event::Torn);
                    }
                }
            }
            if calls.poll_ended(cx).is_ready() {
                return Poll::Ready(Event::Ended);
            }
            if deadline.as_mut().is_some_and(|d| d.poll(cx).is_ready()) {
                return Poll::Ready(Event::Expired);
            }
            let Watched { core, stage, connection, goodbye, .. } = &mut *watched;
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

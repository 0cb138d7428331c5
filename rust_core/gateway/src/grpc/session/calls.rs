//! The calls of a session that are in flight.

use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_http1::RequestHead;
use tokio::task::JoinSet;

use super::frames::Start;
use super::lane::{self, End, Lane, Reins};
use super::outbox::Outbox;
use crate::errors::{Failure, Kind};
use crate::grpc::exchange::Sink;
use crate::grpc::method::Call;
use crate::grpc::status::Status;
use crate::grpc::{GrpcExchange, Origin};
use crate::listener::exchange::{Exchange, HeaderLines};
use crate::phases;

/// A task and a hold on each.
pub(super) struct Calls<'a> {
    origin: Origin<'a>,
    head: &'a RequestHead,
    outbox: Rc<Outbox>,
    last: u64,
    held: HashMap<u64, Rc<Reins>>,
    running: JoinSet<u64>,
}

impl<'a> Calls<'a> {
    /// None yet. `head`: what each has for the head of its request.
    pub(super) fn new(origin: Origin<'a>, head: &'a RequestHead, outbox: Rc<Outbox>) -> Self {
        Self { origin, head, outbox, last: 0, held: HashMap::new(), running: JoinSet::new() }
    }

    /// Whether none is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a call may have this id; now one has.
    pub(super) fn is_next(&mut self, id: u64) -> bool {
        let is_next = id > self.last;
        self.last = self.last.max(id);
        is_next
    }

    /// Begins a call, unless there are too many.
    pub(super) fn start(&mut self, start: Start) {
        let core = Rc::clone(self.origin.core);
        let most = core.shared.options.max_streams as usize;
        if self.held.len() >= most {
            let what = format!("The session has {most} calls in flight, as many as it may.");
            return self.refuse(start.id, &Failure::new(Kind::RateParallel, what).retry_after(1000));
        }
        let reins = Rc::new(Reins::new(start.credit));
        self.held.insert(start.id, Rc::clone(&reins));
        let (outbox, head, peer) = (Rc::clone(&self.outbox), self.head.clone(), self.origin.peer);
        self.running.spawn_local(Box::pin(async move {
            let patience = Duration::from_millis(core.shared.options.write_timeout_ms);
            let request = start.fault.map_or(Ok(start.request), Err);
            let lane = Lane::new(outbox, reins, start.id, request, &core.timers, start.timeout, patience);
            let call = Call::ChatStream;
            let mut exchange = Exchange::Grpc(Box::new(GrpcExchange::new(Sink::Lane(lane), call)));
            phases::serve(&core, call.surface(), call.route(), head, &mut exchange, peer).await;
            if let Exchange::Grpc(x) = &mut exchange {
                x.conclude().await;
            }
            start.id
        }));
    }

    /// Ends a call before it begins.
    pub(super) fn refuse(&self, id: u64, failure: &Failure) {
        self.outbox.put(|out| lane::put_end(out, id, &Status::of(failure), &HeaderLines::default()));
    }

    /// Does something to a call, if it is still in flight.
    pub(super) fn reins(&self, id: u64, pull: impl FnOnce(&Reins)) {
        if let Some(reins) = self.held.get(&id) {
            pull(reins);
        }
    }

    /// Ready when one has ended.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.running.is_empty() {
            return Poll::Pending;
        }
        let Poll::Ready(Some(ended)) = self.running.poll_join_next(cx) else { return Poll::Pending };
        match ended {
            Ok(id) => drop(self.held.remove(&id)),
            // It broke down without telling its id; whoever is not running is forgotten.
            Err(_) => self.held.retain(|_, reins| Rc::strong_count(reins) > 1),
        }
        Poll::Ready(())
    }

    /// Ends all of them, because nobody hears them any more.
    pub(super) fn end_all(&self) {
        self.held.values().for_each(|reins| reins.end(End::SessionLost));
    }

    /// Waits until all have settled.
    pub(super) async fn ended(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

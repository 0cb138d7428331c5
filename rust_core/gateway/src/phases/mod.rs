//! The life of a call: admit, plan, dispatch, relay, settle, in this order.
//!
//! ```text
//!  request -> admit -> plan -> dispatch -> relay -> settle
//!               |        |        |          |        ^
//!               +--------+--------+----------+--------+  every way out leads through settle
//! ```
//!
//! A [`Call`] travels through the phases; each adds to it and none reaches back. Settle is the
//! call's destructor, so that no return, error, disconnect or shutdown can leave it out.

mod admit;
mod call;
mod denial;
mod dispatch;
mod headers;
mod health;
mod journal;
mod named;
mod once;
mod panics;
mod plan;
mod relay;
mod settle;
mod share;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use penstock_http1::{Headers, RequestHead};

use self::once::Before;
pub(crate) use admit::{COUNTED_HERE, count, find_model, slot, unknown_model};
pub(crate) use call::Call;

use crate::auth::record::Key;
use crate::auth::routes::RouteKind;
use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind};
use crate::ledger::Outcome;
use crate::listener::Peer;
use crate::listener::exchange::{BodyError, Exchange, HeaderLines};
use crate::listener::forwarded::client_address;
use crate::surfaces::{Api, Surface};

/// Serves one call from its head to its settlement.
pub(crate) async fn serve(
    core: &Rc<Core>,
    surface: Surface,
    template: &'static str,
    head: RequestHead,
    exchange: &mut Exchange<'_>,
    peer: Peer,
) {
    let mut call = Call::new(core, surface, template, &head, peer);
    if let Some(method) = exchange.method() {
        (call.route, call.protocol) = (method, "grpc");
    }
    exchange.name(&call.id);
    let ran = {
        // Pinned here, because a future that is handed to another by value takes its room twice.
        let running = pin!(run(&mut call, head, exchange));
        let mut stage = core.stage.watch();
        tokio::select! {
            biased;
            ran = panics::caught(running) => Some(ran.is_ok()),
            () = stage.reached(Stage::Ending) => None,
        }
    };
    match ran {
        Some(true) => {}
        Some(false) => broken(&mut call, exchange).await,
        None => end(&mut call, exchange).await,
    }
    if call.outcome == Outcome::ClientDisconnect && exchange.expired() {
        call.deadline_passed();
    }
    call.response_bytes = exchange.sent();
    once::end(&mut call, exchange);
}

async fn run(call: &mut Call, head: RequestHead, exchange: &mut Exchange<'_>) {
    if let Err(failure) = phases(call, &head, exchange).await {
        let lines = headers::of_failure(call);
        call.fail(&failure);
        exchange.fail(call.surface.api(), &failure, lines).await;
    }
}

async fn phases(call: &mut Call, head: &RequestHead, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    admit::identify(call, head).await?;
    let body = admit::body(call, head, exchange).await?;
    let before = match once::begin(call, head, &body, exchange)? {
        // In a box: calls that do not ask are not to carry its room.
        Before::Ask(asked) => Box::pin(once::ask(call, asked, exchange)).await?,
        before => before,
    };
    if let Before::Answered(answer) = before {
        return once::replay(call, &answer, exchange).await;
    }
    let mut request = admit::admit(call, head, &body).await?;
    match dispatch::dispatch(call, head, &mut request, exchange).await? {
        Some(answer) => relay::relay(call, answer, exchange).await,
        // The client has gone, or has the provider's own error.
        None => Ok(()),
    }
}

/// A defect of ours ended the call.
async fn broken(call: &mut Call, exchange: &mut Exchange<'_>) {
    let failure = Failure::new(Kind::Internal, "The gateway failed on this call; report its call id.");
    call.fail(&failure);
    if exchange.started() && !call.events {
        return exchange.abort();
    }
    exchange.fail(call.surface.api(), &failure, headers::of_failure(call)).await;
}

/// The gateway stops and the grace period is over: an error event, or an error, ends the answer.
async fn end(call: &mut Call, exchange: &mut Exchange<'_>) {
    let failure =
        Failure::new(Kind::ShuttingDown, "the gateway is shutting down; send the request again").retry_after(1000);
    call.outcome = Outcome::Shutdown;
    call.error_code = Some(failure.code().to_owned());
    if exchange.started() && !call.events {
        return exchange.abort();
    }
    if !exchange.started() {
        call.status = failure.status();
    }
    let lines = headers::of_failure(call);
    exchange.fail(call.surface.api(), &failure, lines).await;
}

/// Why a body could not be read, as an answer.
pub(crate) fn body_failure(error: BodyError, limit: usize) -> Failure {
    match error {
        BodyError::TooLarge => {
            Failure::new(Kind::BodyTooLarge, format!("the request body is larger than {limit} bytes"))
        }
        BodyError::Timeout => Failure::new(Kind::RequestTimeout, "the request body took too long to arrive"),
        BodyError::Framing(e) => Failure::new(Kind::BadRequest, e.message()),
        BodyError::Gone => Failure::new(Kind::ClientGone, "the client left before the request body was complete"),
        BodyError::Refused(failure) => *failure,
    }
}

/// The key of a caller who wants to know something, rather than to call a model; `None` is the master key. `route`: what
/// the key must be allowed to use, by the name that REST has for it.
pub(crate) async fn caller(
    core: &Core,
    headers: &Headers,
    peer: Peer,
    route: Option<&'static str>,
) -> Result<Option<Arc<Key>>, Failure> {
    let client = client_address(peer.address, headers, &core.shared.trusted);
    let who = admit::who(core, headers, client, core.shared.clock.now()).await?;
    if let (Some(key), Some(route)) = (&who.key, route)
        && !key.allows_route(route, RouteKind::Info)
        && !key.allows_route(route, RouteKind::OpenAi)
    {
        return Err(Failure::new(Kind::RouteDenied, format!("The API key may not use {route}.")));
    }
    Ok(who.key)
}

/// `GET /v1/models` and `/v1/models/{id}`.
pub(crate) async fn models(
    core: &Rc<Core>,
    head: &RequestHead,
    id: Option<&str>,
    exchange: &mut Exchange<'_>,
    peer: Peer,
) {
    let mut lines = HeaderLines::default();
    let key = match caller(core, &head.headers, peer, Some("/v1/models")).await {
        Ok(key) => key,
        Err(failure) => return exchange.fail(Api::OpenAi, &failure, lines).await,
    };
    let snapshot = core.shared.snapshot.load();
    let body: Option<Bytes> = match id {
        None => Some(crate::surfaces::models::list(&snapshot, key.as_deref())),
        Some(id) => crate::surfaces::models::get(&snapshot, key.as_deref(), id),
    };
    match body {
        Some(body) => {
            lines.add("content-type", b"application/json");
            let _ = exchange.full(200, &lines, body).await;
        }
        None => exchange.fail(Api::OpenAi, &unknown_model(id.unwrap_or_default()), lines).await,
    }
}

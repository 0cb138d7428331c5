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
mod dispatch;
mod headers;
mod health;
mod panics;
mod plan;
mod relay;
mod settle;

use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use penstock_http1::RequestHead;

pub(crate) use call::Call;

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
    call.response_bytes = exchange.sent();
}

async fn run(call: &mut Call, head: RequestHead, exchange: &mut Exchange<'_>) {
    if let Err(failure) = phases(call, &head, exchange).await {
        let lines = headers::of_failure(call);
        call.fail(&failure);
        refuse(call.surface.api(), exchange, &failure, lines).await;
    }
}

async fn phases(call: &mut Call, head: &RequestHead, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    admit::identify(call, head).await?;
    let body = admit::body(call, head, exchange).await?;
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
    refuse(call.surface.api(), exchange, &failure, headers::of_failure(call)).await;
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
    refuse(call.surface.api(), exchange, &failure, lines).await;
}

/// Answers with an error; as an event when a stream was begun.
pub(crate) async fn refuse(api: Api, exchange: &mut Exchange<'_>, failure: &Failure, mut lines: HeaderLines) {
    if exchange.started() {
        exchange.queue(&crate::errors::stream_event(api, failure));
        let _ = exchange.finish().await;
        return;
    }
    lines.add("content-type", b"application/json");
    if let Some(ms) = failure.retry_after_ms {
        lines.add_number("retry-after", ms.div_ceil(1000).max(1));
        lines.add_number("retry-after-ms", ms);
    }
    if failure.status() == 401 {
        lines.add("www-authenticate", b"Bearer");
    }
    let _ = exchange.full(failure.status(), &lines, crate::errors::body(api, failure)).await;
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
    }
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
    let client = client_address(peer.address, &head.headers, &core.shared.trusted);
    let who = match admit::who(core, &head.headers, client, core.shared.clock.now()).await {
        Ok(who) => who,
        Err(failure) => return refuse(Api::OpenAi, exchange, &failure, lines).await,
    };
    if let Some(key) = &who.key
        && !key.allows_route("/v1/models", RouteKind::Info)
        && !key.allows_route("/v1/models", RouteKind::OpenAi)
    {
        let failure = Failure::new(Kind::RouteDenied, "The API key may not use /v1/models.");
        return refuse(Api::OpenAi, exchange, &failure, lines).await;
    }
    let snapshot = core.shared.snapshot.load();
    let body: Option<Bytes> = match id {
        None => Some(crate::surfaces::models::list(&snapshot, who.key.as_deref())),
        Some(id) => crate::surfaces::models::get(&snapshot, who.key.as_deref(), id),
    };
    match body {
        Some(body) => {
            lines.add("content-type", b"application/json");
            let _ = exchange.full(200, &lines, body).await;
        }
        None => refuse(Api::OpenAi, exchange, &admit::unknown_model(id.unwrap_or_default()), lines).await,
    }
}

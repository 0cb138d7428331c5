//! HTTP/2 on the public port: the connection loop, and what each of its streams asks for.

mod age;
mod crew;
mod exchange;
mod fields;
mod halves;
mod head;
mod inlet;
mod pulse;

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::HeaderValue;
use penstock_http1::{Conn, FramingError};
use tokio::time::Instant;

pub(crate) use exchange::H2Exchange;
use fields::Told;
pub(crate) use halves::{Incoming, Outgoing};

use super::exchange::{Exchange, HeaderLines, Transport};
use super::{Peer, dispatch};
use crate::engine::{Core, LocalStage, Stage};
use crate::grpc::{self, Flavour};
use crate::upstream::Io;
use age::Age;
use crew::{Asked, Common, Crew};
use inlet::{Inlet, Leaving};
use pulse::Pulse;

/// What a client starts an HTTP/2 connection with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection without a new stream for this long keeps few tasks.
const REST: Duration = Duration::from_secs(10);
/// How long a client may take to acknowledge a shutdown once its last call is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Streams that may be given up before anything is thought of it.
const MOST_GIVEN_UP: u32 = 200;

/// Serves one connection until either side ends it.
pub(super) async fn serve(core: &Rc<Core>, conn: Conn<Io>, peer: Peer) {
    let options = &core.shared.options;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(64 * 1024))
        .initial_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buffer_size(256 * 1024)
        // Rapid reset (CVE-2023-44487) and MadeYouReset: streams that are opened only to be reset end the connection.
        .max_concurrent_reset_streams(32)
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(Some(128))
        .reset_stream_duration(Duration::from_secs(5));
    let leaving = Leaving::default();
    let stream = Inlet::new(conn.buf, conn.stream, leaving.clone());
    let header_timeout = Duration::from_millis(options.header_timeout_ms);
    let Ok(Ok(connection)) = tokio::time::timeout(header_timeout, builder.handshake::<_, Bytes>(stream)).await else {
        return;
    };
    let mut crew = Crew::new();
    run(core, connection, &mut crew, &leaving, peer).await;
    crew.end().await;
}

/// Takes streams until the connection is over, which it is when this returns.
async fn run(
    core: &Rc<Core>,
    mut connection: Connection<Inlet, Bytes>,
    crew: &mut Crew,
    is_leaving: &Leaving,
    peer: Peer,
) {
    let mut stage = core.stage.watch();
    let idle = Duration::from_millis(core.shared.options.idle_timeout_ms);
    let mut quiet = core.timers.after(idle);
    // When its tasks were last counted, and how many streams there had been.
    let mut rest = core.timers.after(REST);
    let mut answered = 0;
    let mut abuse = Abuse::default();
    let mut age = Age::new(core);
    let mut pulse = connection.ping_pong().and_then(|pings| Pulse::new(core, pings));
    // How far this connection is on its way out: it may be told to go before the gateway is.
    let own = Rc::new(LocalStage::new(Stage::Running));
    let common = Rc::new(Common { core: Rc::clone(core), stage: Rc::clone(&own), peer, told: Rc::default() });
    let mut leaving = false;
    // A client that never acknowledges the shutdown is not waited for.
    let mut patience = core.timers.after(idle);
    loop {
        let is_busy = crew.is_busy();
        let leave = tokio::select! {
            biased;
            // Before the connection, which is then looked after once for what ended and what it left to send.
            ended = crew.ended() => {
                quiet.move_to(Instant::now() + idle);
                // Its last bytes may still be on their way.
                patience.move_to(Instant::now() + GOODBYE);
                if abuse.counts(ended) {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // The goodbye still has to be sent.
                    let _ = tokio::time::timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
                    return;
                }
                false
            }
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    quiet.move_to(Instant::now() + idle);
                    crew.answer(&common, Asked { request, respond });
                    false
                }
                _ => return,
            },
            () = stage.reached(Stage::Draining), if !leaving => true,
            () = quiet.wait(), if !is_busy && !leaving => true,
            () = rest.wait(), if crew.has_spare() => {
                if std::mem::replace(&mut answered, crew.answered()) == crew.answered() {
                    crew.trim();
                }
                rest.move_to(Instant::now() + REST);
                false
            }
            is_over = age.reached() => if is_over { return } else { true },
            () = pulse::lost(&mut pulse, is_busy) => return,
            () = patience.wait(), if !is_busy && leaving => {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                return;
            }
        };
        if leave && !leaving {
            leaving = true;
            own.set(Stage::Draining);
            is_leaving.begin();
            connection.graceful_shutdown();
            patience.move_to(Instant::now() + GOODBYE);
        }
    }
}

/// Streams that a client opened and gave up again. Cancelling is its right; doing little else is an attack, and h2's own
/// caps see only streams that were reset before they were accepted.
#[derive(Default)]
struct Abuse {
    given_up: u32,
    finished: u32,
}

impl Abuse {
    /// Counts streams that ended, well and given up; `true` when the connection must end too.
    fn counts(&mut self, (finished, given_up): (u32, u32)) -> bool {
        self.finished = self.finished.saturating_add(finished);
        self.given_up = self.given_up.saturating_add(given_up);
        self.given_up >= MOST_GIVEN_UP && self.given_up / 4 > self.finished
    }
}

/// Serves one stream; `false` when the client gave it up.
async fn call(common: &Common, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) -> bool {
    let Common { core, stage, peer, .. } = common;
    let (parts, body) = request.into_parts();
    let exchange = Box::new(H2Exchange::new(common, body, respond, parts.method == http::Method::HEAD));
    let content_type = parts.headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if let Some(flavour) = content_type.and_then(Flavour::of) {
        return grpc_stream(grpc::Origin { core, stage, peer: *peer }, flavour, &parts, exchange).await;
    }
    let empty = exchange.is_read();
    let mut exchange = Exchange::rest(Transport::H2(exchange));
    match head::head(&parts, empty) {
        Ok(head) => dispatch(core, head, &mut exchange, *peer).await,
        Err(e) => malformed(&mut exchange, e).await,
    }
    let Some(Transport::H2(mut x)) = exchange.into_transport() else { return true };
    let finished = x.is_done();
    x.close();
    finished
}

async fn malformed(exchange: &mut Exchange<'_>, e: FramingError) {
    let failure = crate::errors::Failure::new(crate::errors::Kind::BadRequest, e.message());
    let mut headers = HeaderLines::default();
    headers.add("content-type", b"application/json");
    let _ = exchange.full(e.status(), &headers, crate::errors::openai_body(&failure)).await;
}

/// Serves one stream that is gRPC. Many an application cancels most of what it asks for, and gRPC carries all of it over
/// one connection: only a call that was given up before it was answered is held against the client.
async fn grpc_stream(
    origin: grpc::Origin<'_>,
    flavour: Flavour,
    parts: &http::request::Parts,
    exchange: Box<H2Exchange>,
) -> bool {
    let headers = match head::headers(parts, |name| !grpc::is_own_field(name), Some(b"application/json")) {
        Ok(headers) => headers,
        Err(e) => {
            malformed(&mut Exchange::rest(Transport::H2(exchange)), e).await;
            return true;
        }
    };
    let path = Bytes::copy_from_slice(parts.uri.path().as_bytes());
    let field = |name: &'static str| parts.headers.get(name).map(HeaderValue::as_bytes);
    let (is_post, transport) = (parts.method == http::Method::POST, Transport::H2(exchange));
    let served = grpc::serve(origin, flavour, is_post, path, field, headers, transport).await;
    let Some(Transport::H2(mut x)) = served else { return true };
    let answered = x.is_answered();
    x.close();
    answered
}

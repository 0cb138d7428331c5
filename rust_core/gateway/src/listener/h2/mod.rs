//! HTTP/2 on the public port: the connection loop, and what each of its streams asks for.

mod age;
mod crew;
mod exchange;
mod halves;
mod head;
mod pulse;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use penstock_http1::{Conn, FramingError};
pub(super) use penstock_http2::PREFACE;
use penstock_http2::{Config, Connection, Head, Reason, Request};
use tokio::time::Instant;

pub(crate) use exchange::H2Exchange;
pub(crate) use halves::{Incoming, Outgoing};

use super::exchange::{Exchange, HeaderLines, Transport};
use super::{Peer, dispatch};
use crate::engine::{Core, LocalStage, Stage};
use crate::grpc::{self, Flavour, Opening};
use crate::upstream::Io;
use age::Age;
use crew::{Common, Crew};
use pulse::Pulse;

/// A connection without a new stream for this long keeps few tasks.
const REST: Duration = Duration::from_secs(10);
/// How long a client may take to acknowledge a shutdown once its last call is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Streams that may be given up before anything is thought of it.
const MOST_GIVEN_UP: u32 = 200;
/// A stream that is given up later than this was waited for: its deadline is over, or nobody wants the answer any more.
const SOON_NS: u64 = 100_000_000;

/// Serves one connection until either side ends it.
pub(super) async fn serve(core: &Rc<Core>, conn: Conn<Io>, peer: Peer) {
    let options = &core.shared.options;
    let header_timeout = Duration::from_millis(options.header_timeout_ms);
    let config = Config {
        max_streams: options.max_streams,
        max_header_list: u32::try_from(options.max_header_bytes).unwrap_or(64 * 1024),
        header_timeout,
        ..Config::default()
    };
    let Ok(Ok(connection)) = core.timers.within(header_timeout, Connection::handshake(conn, config)).await else {
        return;
    };
    let mut crew = Crew::new();
    run(core, connection, &mut crew, peer).await;
    crew.end().await;
}

/// Takes streams until the connection is over, which it is when this returns.
async fn run(core: &Rc<Core>, mut connection: Connection<Io>, crew: &mut Crew, peer: Peer) {
    let mut stage = core.stage.watch();
    let idle = Duration::from_millis(core.shared.options.idle_timeout_ms);
    let mut quiet = core.timers.after(idle);
    // When its tasks were last counted, and how many streams there had been.
    let mut rest = core.timers.after(REST);
    let mut answered = 0;
    let mut abuse = Abuse::default();
    let mut age = Age::new(core);
    let mut pulse = Pulse::new(core, connection.ping_pong());
    // How far this connection is on its way out: it may be told to go before the gateway is.
    let own = Rc::new(LocalStage::new(Stage::Running));
    let common = Rc::new(Common { core: Rc::clone(core), stage: Rc::clone(&own), peer });
    let mut leaving = false;
    // A client that never acknowledges the shutdown is not waited for; one that still reads what it was answered is.
    let mut patience = core.timers.after(idle);
    let mut reading = Reading::default();
    loop {
        let is_busy = crew.is_busy();
        let leave = tokio::select! {
            biased;
            // Before the connection, which is then looked after once for what ended and what it left to send.
            ended = crew.ended() => {
                quiet.move_to(Instant::now() + idle);
                // Its last bytes may still be on their way.
                patience.move_to(Instant::now() + GOODBYE);
                reading = Reading::default();
                if abuse.counts(ended) {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    return connection.closed().await;
                }
                false
            }
            accepted = connection.accept() => match accepted {
                Some(request) => {
                    quiet.move_to(Instant::now() + idle);
                    crew.answer(&common, request);
                    false
                }
                None => return,
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
                if !reading.goes_on(connection.unsent(), Duration::from_millis(core.shared.options.write_timeout_ms)) {
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    return connection.closed().await;
                }
                patience.move_to(Instant::now() + GOODBYE);
                false
            }
        };
        if leave && !leaving {
            leaving = true;
            own.set(Stage::Draining);
            connection.graceful_shutdown();
            patience.move_to(Instant::now() + GOODBYE);
        }
    }
}

/// A client that is to go and has not read all it was answered.
#[derive(Default)]
struct Reading {
    /// What it had not taken when it last took something, in bytes, and since when.
    last: Option<(usize, Instant)>,
}

impl Reading {
    /// Whether it is waited for further: there is something, and it took some of it within `patience`.
    fn goes_on(&mut self, unsent: usize, patience: Duration) -> bool {
        let now = Instant::now();
        let since = match self.last {
            Some((before, since)) if unsent >= before => since,
            _ => now,
        };
        self.last = Some((unsent, since));
        unsent > 0 && now.duration_since(since) < patience
    }
}

/// Streams that a client opened and gave up again. Cancelling is its right; doing little else is an attack
/// (rapid reset, CVE-2023-44487); what the client breaks (MadeYouReset) and what asks for no answer the library counts.
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

/// Serves one stream; `false` when the client gave it up as soon as it had opened it.
async fn call(common: &Common, request: Request) -> bool {
    let opened_ns = common.core.shared.now_ns();
    answer(common, request).await || common.core.shared.now_ns().saturating_sub(opened_ns) >= SOON_NS
}

/// Answers one stream; `false` when the client gave it up.
async fn answer(common: &Common, request: Request) -> bool {
    let Common { core, stage, peer } = common;
    let Request { head: asked, body, answer } = request;
    let exchange = Box::new(H2Exchange::new(common, body, answer, asked.method() == b"HEAD"));
    if let Some(flavour) = asked.get("content-type").and_then(Flavour::of) {
        return grpc_stream(grpc::Origin { core, stage, peer: *peer }, flavour, asked, exchange).await;
    }
    let empty = exchange.is_read();
    let mut exchange = Exchange::rest(Transport::H2(exchange));
    let head = head::head(&asked, empty);
    // What is needed of it was copied, and a call may last.
    drop(asked);
    match head {
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
async fn grpc_stream(origin: grpc::Origin<'_>, flavour: Flavour, asked: Head, exchange: Box<H2Exchange>) -> bool {
    let headers = match head::headers(&asked, |name| !grpc::is_own_field(name), Some(b"application/json")) {
        Ok(headers) => headers,
        Err(e) => {
            malformed(&mut Exchange::rest(Transport::H2(exchange)), e).await;
            return true;
        }
    };
    let path = asked.path().split(|b| *b == b'?').next().unwrap_or_default();
    let path = Bytes::copy_from_slice(path);
    let opening = Opening::new(flavour, asked.method() == b"POST", path, |name| asked.get(name));
    drop(asked);
    let served = grpc::serve(origin, &opening, headers, Transport::H2(exchange)).await;
    let Some(Transport::H2(mut x)) = served else { return true };
    let answered = x.is_answered();
    x.close();
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_is_waited_for() {
        let long = Duration::from_secs(60);
        assert!(!Reading::default().goes_on(0, long), "it has all");
        let mut reading = Reading::default();
        assert!(reading.goes_on(10, long) && reading.goes_on(10, long), "it has time");
        assert!(!reading.goes_on(10, Duration::ZERO), "it has had its time");
        let late = || Reading { last: Instant::now().checked_sub(long).map(|since| (10, since)) };
        assert!(late().goes_on(9, long) && !late().goes_on(10, long));
    }
}

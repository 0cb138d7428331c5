//! The public port: accepting, TLS, HTTP/1.1 and HTTP/2, and where each request goes.

pub mod bridge;
mod control;
pub mod exchange;
pub mod forwarded;
mod h1;
pub(crate) mod h2;
mod rest;
mod tls;
pub mod transport;

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use penstock_http1::{Conn, RequestHead};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind};
use crate::grpc;
use crate::phases;
use crate::stage::Watch;
use crate::surfaces::{Route, climbs, percent_decode, route};
use crate::upstream::Io;
use exchange::{Exchange, HeaderLines};

pub use tls::server_config;

/// Draining for so long, connections are read: what was on its way to us when it began is answered.
pub(crate) const LINGER: Duration = Duration::from_millis(50);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// A body that nobody asked for is read up to here, so that the answer to it arrives.
const SMALL_BODY: usize = 64 * 1024;

/// The other end of a client connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// It speaks TLS to us.
    pub tls: bool,
}

/// A listening socket that shares its port with those of the other threads.
///
/// # Errors
/// The address cannot be bound.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Ends when the engine drains and what was on its way then has arrived.
async fn closing(stage: &mut Watch<'_>) {
    stage.reached(Stage::Draining).await;
    tokio::time::sleep(LINGER).await;
}

/// Accepts connections until the engine drains; those that wait then are served too.
pub(crate) async fn accept(core: Rc<Core>, listener: TcpListener) {
    let mut stage = core.stage.watch();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stage.reached(Stage::Draining) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => take(&core, tcp, peer),
            // Out of file descriptors, or the client left already: go on, but do not spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    // At once, for clients that are told to go elsewhere must not come back here. Not before the runtime has looked at the
    // socket, and without taking turns with others: what is not accepted now is reset.
    tokio::task::yield_now().await;
    tokio::task::unconstrained(async {
        for _ in 0..BACKLOG {
            match poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await {
                Poll::Ready(Ok((tcp, peer))) => take(&core, tcp, peer),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => return,
            }
        }
    })
    .await;
}

/// Serves a connection, unless there are too many.
fn take(core: &Rc<Core>, tcp: TcpStream, peer: SocketAddr) {
    let open = core.shared.connections.fetch_add(1, Ordering::Relaxed);
    let guard = Open(Rc::clone(core));
    if open >= core.shared.options.max_connections {
        return;
    }
    tokio::task::spawn_local(async move {
        let core = Rc::clone(&guard.0);
        connection(&core, tcp, peer).await;
        drop(guard);
    });
}

struct Open(Rc<Core>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(core: &Rc<Core>, tcp: TcpStream, peer: SocketAddr) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let header_timeout = Duration::from_millis(core.shared.options.header_timeout_ms);
    let tls = core.shared.tls.load_full();
    let peer = Peer { address: peer.ip().to_canonical(), tls: tls.is_some() };
    let Some(config) = tls else {
        let mut conn = Conn::new(Io::Tcp(tcp));
        return match preface(core, &mut conn).await {
            Opening::Http2 => h2::serve(core, conn, peer).await,
            Opening::Http1 => h1::serve(core, conn, peer).await,
            Opening::Slow => h1::refuse_slow(conn).await,
            Opening::Nothing => {}
        };
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
    let Ok(Ok(stream)) = core.timers.within(header_timeout, acceptor.accept(tcp)).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let conn = Conn::new(Io::TlsServer(Box::new(stream)));
    if http2 { h2::serve(core, conn, peer).await } else { h1::serve(core, conn, peer).await }
}

/// How a plaintext connection begins.
enum Opening {
    Http1,
    Http2,
    /// Part of a preface or of a method, and then no more in time.
    Slow,
    Nothing,
}

/// Tells HTTP/2's preface from an HTTP/1 request. From the first byte on, the time for a request head runs.
async fn preface(core: &Rc<Core>, conn: &mut Conn<Io>) -> Opening {
    let options = &core.shared.options;
    let mut stage = core.stage.watch();
    let mut closing = pin!(closing(&mut stage));
    let mut deadline = tokio::time::Instant::now() + Duration::from_millis(options.idle_timeout_ms);
    loop {
        let seen = conn.buf.len().min(h2::PREFACE.len());
        if seen > 0 && conn.buf.get(..seen) != h2::PREFACE.get(..seen) {
            return Opening::Http1;
        }
        if seen == h2::PREFACE.len() {
            return Opening::Http2;
        }
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout_at(deadline, conn.fill()) => read,
            () = &mut closing => return Opening::Nothing,
        };
        match read {
            Ok(Ok(n)) if n > 0 => {}
            Err(_) if seen > 0 => return Opening::Slow,
            _ => return Opening::Nothing,
        }
        if seen == 0 {
            deadline = tokio::time::Instant::now() + Duration::from_millis(options.header_timeout_ms);
        }
    }
}

/// Sends a request where it belongs.
async fn dispatch(core: &Rc<Core>, head: RequestHead, exchange: &mut Exchange<'_>, peer: Peer) {
    let Ok(target) = std::str::from_utf8(&head.target) else { return };
    let path = target.split_once('?').map_or(target, |(p, _)| p);
    if climbs(path) {
        let failure = Failure::new(Kind::BadRequest, "The path must not have `.` or `..` segments, encoded or not.");
        return control_failure(exchange, &failure).await;
    }
    match route(&head.method, path) {
        Route::Call(surface, template) => phases::serve(core, surface, template, head, exchange, peer).await,
        Route::Models => phases::models(core, &head, None, exchange, peer).await,
        Route::Model(id) => {
            let id = percent_decode(id);
            phases::models(core, &head, Some(&id), exchange, peer).await;
        }
        Route::Live => answer(exchange, 200, b"{\"status\":\"alive\"}").await,
        Route::Ready => {
            let ready = core.takes_calls();
            let body: &'static [u8] = if ready { b"{\"status\":\"ready\"}" } else { b"{\"status\":\"not ready\"}" };
            answer(exchange, if ready { 200 } else { 503 }, body).await;
        }
        Route::Control if grpc::is_method(path) => not_grpc(core, &head, exchange).await,
        Route::Control => control::relay(core, head, exchange, peer).await,
    }
}

/// A request to a gRPC method that is none: a browser's question whether a page may call it, or a mistake.
async fn not_grpc(core: &Core, head: &RequestHead, exchange: &mut Exchange<'_>) {
    let (origin, asks) = (head.headers.get("origin"), head.headers.get("access-control-request-method"));
    if let (b"OPTIONS", Some(origin), Some(_)) = (&head.method[..], origin, asks) {
        let wanted = head.headers.get("access-control-request-headers").unwrap_or_default();
        if let Some(lines) = grpc::preflight(&core.shared.options, origin, wanted) {
            let _ = exchange.full(204, &lines, Bytes::new()).await;
            return;
        }
        let what = "Pages of this origin may not call here; `penstock.grpc.web_origins` names those that may.";
        return control_failure(exchange, &Failure::new(Kind::RouteDenied, what)).await;
    }
    // An answer that leaves a small body unread is followed by a reset over HTTP/2, which some clients see first.
    let _ = exchange.body(SMALL_BODY, Duration::from_secs(1)).await;
    let what = "This is a gRPC method: its content type is application/grpc, application/grpc-web or \
        application/grpc-web-text.";
    let mut failure = Failure::new(Kind::BadRequest, what);
    failure.status = Some(415);
    control_failure(exchange, &failure).await;
}

/// Answers with an error in OpenAI's shape.
async fn control_failure(exchange: &mut Exchange<'_>, failure: &Failure) {
    exchange.fail(crate::surfaces::Api::OpenAi, failure, HeaderLines::default()).await;
}

async fn answer(exchange: &mut Exchange<'_>, status: u16, body: &'static [u8]) {
    let mut headers = HeaderLines::default();
    headers.add("content-type", b"application/json");
    let _ = exchange.full(status, &headers, Bytes::from_static(body)).await;
}

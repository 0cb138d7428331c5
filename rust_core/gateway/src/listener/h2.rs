//! HTTP/2 on the public port: the connection loop and the exchange.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use penstock_http1::{Conn, Framing, FramingError, Headers, HeadersBuilder, RequestHead, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::{BodyError, Exchange, Gone, HeaderLines};
use super::{Peer, dispatch};
use crate::engine::{Core, Stage};
use crate::upstream::Io;

/// What a client starts an HTTP/2 connection with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take to acknowledge a shutdown once its last call is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Streams that may be given up before anything is thought of it.
const MOST_GIVEN_UP: u32 = 200;

/// A stream whose first bytes were read already.
struct Rewound {
    first: BytesMut,
    io: Io,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.first.len().min(buf.remaining());
        let bytes = self.first.split_to(n);
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

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
    let stream = Rewound { first: conn.buf, io: conn.stream };
    let header_timeout = Duration::from_millis(options.header_timeout_ms);
    let Ok(Ok(mut connection)) = tokio::time::timeout(header_timeout, builder.handshake::<_, Bytes>(stream)).await
    else {
        return;
    };
    let mut stage = core.stage.watch();
    let mut open = tokio::task::JoinSet::new();
    let idle = Duration::from_millis(options.idle_timeout_ms);
    let mut quiet = Box::pin(tokio::time::sleep(idle));
    let mut leaving = false;
    let mut abuse = Abuse::default();
    // A client that never acknowledges the shutdown is not waited for.
    let mut patience = Box::pin(tokio::time::sleep(idle));
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    quiet.as_mut().reset(tokio::time::Instant::now() + idle);
                    let core = Rc::clone(core);
                    open.spawn_local(async move { call(&core, request, respond, peer).await });
                }
                _ => break,
            },
            Some(ended) = open.join_next(), if !open.is_empty() => {
                quiet.as_mut().reset(tokio::time::Instant::now() + idle);
                if abuse.counts(ended.unwrap_or(false)) {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // The goodbye still has to be sent.
                    let _ = tokio::time::timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
                    break;
                }
            }
            () = stage.reached(Stage::Draining), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
                patience.as_mut().reset(tokio::time::Instant::now() + GOODBYE);
            }
            () = quiet.as_mut(), if open.is_empty() && !leaving => {
                leaving = true;
                connection.graceful_shutdown();
                patience.as_mut().reset(tokio::time::Instant::now() + GOODBYE);
            }
            () = patience.as_mut(), if open.is_empty() && leaving => {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                break;
            }
        }
    }
    // Calls whose client has gone notice it by themselves and settle; wait for them.
    while open.join_next().await.is_some() {}
}

/// Streams that a client opened and gave up again. Cancelling is its right; doing little else is an attack, and h2's own
/// caps see only streams that were reset before they were accepted.
#[derive(Default)]
struct Abuse {
    given_up: u32,
    finished: u32,
}

impl Abuse {
    /// Counts a stream that ended; `true` when the connection must end too.
    fn counts(&mut self, finished: bool) -> bool {
        *(if finished { &mut self.finished } else { &mut self.given_up }) += 1;
        self.given_up >= MOST_GIVEN_UP && self.given_up / 4 > self.finished
    }
}

/// Serves one stream; `false` when the client gave it up.
async fn call(core: &Rc<Core>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>, peer: Peer) -> bool {
    let (parts, body) = request.into_parts();
    let head_only = parts.method == http::Method::HEAD;
    let options = &core.shared.options;
    let mut exchange = Exchange::H2(Box::new(H2Exchange {
        core: Rc::clone(core),
        body,
        respond,
        stream: None,
        pending: BytesMut::new(),
        head_only,
        started: false,
        done: false,
        broken: false,
        body_timeout: Duration::from_millis(options.body_timeout_ms),
        write_timeout: Duration::from_millis(options.write_timeout_ms),
        sent: 0,
    }));
    let empty = match &exchange {
        Exchange::H2(x) => x.body.is_end_stream(),
        _ => false,
    };
    match head(&parts, empty) {
        Ok(head) => dispatch(core, head, &mut exchange, peer).await,
        Err(e) => {
            let failure = crate::errors::Failure::new(crate::errors::Kind::BadRequest, e.message());
            let mut headers = HeaderLines::default();
            headers.add("content-type", b"application/json");
            let _ = exchange.full(e.status(), &headers, crate::errors::openai_body(&failure)).await;
        }
    }
    let Exchange::H2(x) = &mut exchange else { return true };
    let finished = x.done;
    x.close();
    finished
}

/// The same form as an HTTP/1.1 head, with the same checks on authority and target.
fn head(parts: &http::request::Parts, empty: bool) -> Result<RequestHead, FramingError> {
    if parts.method == http::Method::CONNECT {
        return Err(FramingError::Target);
    }
    let mut headers = HeadersBuilder::default();
    let mut hosts = parts.headers.get_all("host").iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    match (host, authority) {
        (None, None) => return Err(FramingError::HostMissing),
        (Some(h), Some(a)) if !h.eq_ignore_ascii_case(a.as_bytes()) => return Err(FramingError::AuthorityMismatch),
        (_, Some(a)) if a.contains('@') => return Err(FramingError::HostInvalid),
        _ => {}
    }
    if hosts.next().is_some() {
        return Err(FramingError::HostRepeated);
    }
    headers.push(b"host", authority.map_or(host.unwrap_or_default(), str::as_bytes))?;
    for (name, value) in &parts.headers {
        if name != "host" {
            headers.push(name.as_str().as_bytes(), value.as_bytes())?;
        }
    }
    let headers: Headers = headers.build();
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if (!target.starts_with('/') && target != "*") || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(FramingError::Target);
    }
    Ok(RequestHead {
        method: Bytes::copy_from_slice(parts.method.as_str().as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        version: Version::Http2,
        framing: match headers.get_str("content-length").and_then(|l| l.parse().ok()) {
            _ if empty => Framing::None,
            Some(n) => Framing::Length(n),
            None => Framing::UntilClose,
        },
        headers,
        keep_alive: true,
        expect_continue: false,
        upgrade: false,
    })
}

/// One HTTP/2 request being answered.
pub struct H2Exchange {
    core: Rc<Core>,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    pending: BytesMut,
    head_only: bool,
    started: bool,
    done: bool,
    broken: bool,
    body_timeout: Duration,
    write_timeout: Duration,
    pub(super) sent: u64,
}

impl std::fmt::Debug for H2Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2Exchange").field("started", &self.started).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl H2Exchange {
    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.core.timers.within(self.body_timeout, self.body.data()).await {
            Err(_) => Err(BodyError::Timeout),
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(BodyError::Gone),
            Ok(Some(Ok(data))) => {
                let _ = self.body.flow_control().release_capacity(data.len());
                Ok(Some(data))
            }
        }
    }

    fn response(status: u16, headers: &HeaderLines) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in headers.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }

    pub(super) async fn full(&mut self, status: u16, headers: &HeaderLines, body: Bytes) -> Result<(), Gone> {
        let mut response = Self::response(status, headers);
        if status != 204 && status != 304 {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        self.started = true;
        self.sent = body.len() as u64;
        let end = self.head_only || body.is_empty();
        let stream = self.respond.send_response(response, end).map_err(|_| Gone)?;
        self.stream = Some(stream);
        self.done = end;
        if end { Ok(()) } else { self.write(body, true).await }
    }

    pub(super) fn start(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        self.started = true;
        let stream = self.respond.send_response(Self::response(status, headers), false).map_err(|_| Gone)?;
        self.stream = Some(stream);
        Ok(())
    }

    pub(super) fn queue(&mut self, data: &[u8]) {
        if !self.head_only && !self.broken {
            self.sent += data.len() as u64;
            self.pending.extend_from_slice(data);
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let data = self.pending.split().freeze();
        self.write(data, false).await
    }

    async fn write(&mut self, mut data: Bytes, end: bool) -> Result<(), Gone> {
        // Stays set when this write is given up midway: nothing more would land in its place.
        if std::mem::replace(&mut self.broken, true) {
            return Err(Gone);
        }
        let stream = self.stream.as_mut().ok_or(Gone)?;
        while data.has_remaining() {
            stream.reserve_capacity(data.len());
            let granted = self.core.timers.within(self.write_timeout, poll_fn(|cx| stream.poll_capacity(cx)));
            let granted = match granted.await {
                Ok(Some(Ok(n))) => n.min(data.len()),
                _ => return Err(Gone),
            };
            let piece = data.split_to(granted);
            let last = end && data.is_empty();
            stream.send_data(piece, last).map_err(|_| Gone)?;
            self.done = last;
        }
        self.broken = false;
        Ok(())
    }

    pub(super) async fn finish(&mut self) -> Result<(), Gone> {
        self.flush().await?;
        if self.broken {
            return Err(Gone);
        }
        if !self.done {
            let stream = self.stream.as_mut().ok_or(Gone)?;
            stream.send_data(Bytes::new(), true).map_err(|_| Gone)?;
            self.done = true;
        }
        Ok(())
    }

    pub(super) fn abort(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
        self.done = true;
    }

    pub(super) async fn closed(&mut self) {
        let reset = match &mut self.stream {
            Some(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        let _ = reset;
    }

    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// An answer that was never finished must not look complete.
    fn close(&mut self) {
        // One that is finished while the request goes on is reset by h2 itself, after its last frame.
        if !self.done {
            self.abort();
        }
    }
}

//! HTTP/1.x on the public port: the connection loop and the exchange.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{BodyDecoder, Conn, Decoded, Framing, FramingError, HeadersBuilder, Limits, RequestHead, Version};
use tokio::io::AsyncWrite;

use super::exchange::{BodyError, Exchange, Gone, HeaderLines};
use super::transport::{Pace, Transport};
use super::{Peer, dispatch};
use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind};
use crate::grpc::{self, Flavour};
use crate::stage::Watch;
use crate::upstream::Io;

/// Unread request bytes that are worth reading to keep the connection.
const DISCARD: usize = 64 * 1024;
/// Room made for a body at first, whatever its announced length.
const GATHERED_AT_ONCE: usize = 1 << 20;
/// Pipelined requests buffered while a call is in flight.
const PIPELINE: usize = 64 * 1024;

/// How the answer's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    NotStarted,
    Chunked,
    Plain,
    Done,
    Broken,
}

/// One HTTP/1.x request being answered.
#[derive(Debug)]
pub struct H1Exchange<'a> {
    core: &'a Core,
    pub(super) conn: &'a mut Conn<Io>,
    decoder: BodyDecoder,
    expect_continue: bool,
    version: Version,
    head_only: bool,
    keep_alive: bool,
    answer: Answer,
    out: BytesMut,
    body_timeout: Duration,
    write_timeout: Duration,
    pub(super) sent: u64,
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(core: &Rc<Core>, mut conn: Conn<Io>, peer: Peer) {
    let options = &core.shared.options;
    let limits = Limits { head_bytes: options.max_header_bytes, fields: 256 };
    let mut stage = core.stage.watch();
    loop {
        let head = match next_head(core, &mut conn, &limits, &mut stage).await {
            Head::Request(head) => *head,
            Head::Refuse(error) => return refuse(conn, error.status(), error.message()).await,
            Head::Slow => return refuse_slow(conn).await,
            Head::Close => return,
        };
        let draining = core.stage.get() != Stage::Running;
        let x = H1Exchange {
            core,
            decoder: BodyDecoder::new(head.framing),
            expect_continue: head.expect_continue && head.framing != Framing::None,
            version: head.version,
            head_only: &head.method[..] == b"HEAD",
            keep_alive: head.keep_alive && !draining,
            answer: Answer::NotStarted,
            out: core.buffers.take(),
            body_timeout: Duration::from_millis(options.body_timeout_ms),
            write_timeout: Duration::from_millis(options.write_timeout_ms),
            sent: 0,
            conn: &mut conn,
        };
        if !request(core, head, x, peer).await {
            return linger(conn).await;
        }
    }
}

/// Serves one request; whether the connection can serve another.
async fn request(core: &Rc<Core>, head: RequestHead, mut x: H1Exchange<'_>, peer: Peer) -> bool {
    // Other upgrades are declined by answering as if nobody had asked (RFC 9110, section 7.8).
    if super::control::is_websocket(&head) {
        x.keep_alive = false;
        super::control::upgrade(core, head, x, peer).await;
        return false;
    }
    let transport = Transport::H1(x);
    let transport = if let Some(flavour) = head.headers.get("content-type").and_then(Flavour::of) {
        grpc_web(core, flavour, &head, transport, peer).await
    } else {
        let mut exchange = Exchange::rest(transport);
        dispatch(core, head, &mut exchange, peer).await;
        exchange.into_transport()
    };
    let Some(Transport::H1(mut x)) = transport else { return false };
    core.buffers.give(std::mem::take(&mut x.out));
    core.busy.mark();
    x.reusable().await
}

/// Serves a call over gRPC-Web; gRPC proper needs HTTP/2, and is told so.
async fn grpc_web<'a>(
    core: &'a Rc<Core>,
    flavour: Flavour,
    head: &RequestHead,
    mut transport: Transport<'a>,
    peer: Peer,
) -> Option<Transport<'a>> {
    if flavour == Flavour::Native {
        let failure = Failure::new(Kind::BadRequest, "gRPC needs HTTP/2; over HTTP/1.1 there is application/grpc-web.");
        let mut lines = HeaderLines::default();
        lines.add("content-type", b"application/json");
        let _ = transport.full(415, &lines, crate::errors::openai_body(&failure)).await;
        return Some(transport);
    }
    let mut headers = HeadersBuilder::default();
    // They were vetted when they were read.
    let _ = headers.push(b"content-type", b"application/json");
    for (name, value) in head.headers.iter() {
        if !grpc::is_own_field(&name.to_ascii_lowercase()) {
            let _ = headers.push(name, value);
        }
    }
    let path = head.target.slice_ref(head.target.split(|b| *b == b'?').next().unwrap_or_default());
    let origin = grpc::Origin { core, stage: &core.stage, peer };
    let opening = grpc::Opening::new(flavour, &head.method[..] == b"POST", path, |name| head.headers.get(name));
    grpc::serve(origin, &opening, headers.build(), transport).await
}

enum Head {
    Request(Box<RequestHead>),
    Refuse(FramingError),
    Slow,
    Close,
}

async fn next_head(core: &Rc<Core>, conn: &mut Conn<Io>, limits: &Limits, stage: &mut Watch<'_>) -> Head {
    let options = &core.shared.options;
    let idle = Duration::from_millis(options.idle_timeout_ms);
    if conn.buf.is_empty() {
        // It may be the last to hold the memory of the request it was cut from.
        conn.buf = BytesMut::new();
        let read = tokio::select! {
            biased;
            read = core.timers.within(idle, conn.fill()) => read,
            () = super::closing(stage) => return Head::Close,
        };
        match read {
            Ok(Ok(n)) if n > 0 => {}
            _ => return Head::Close,
        }
    }
    match penstock_http1::parse_request(&mut conn.buf, limits) {
        Ok(Some(head)) => return Head::Request(Box::new(head)),
        Ok(None) => {}
        Err(e) => return Head::Refuse(e),
    }
    match core.timers.within(Duration::from_millis(options.header_timeout_ms), conn.read_request(limits)).await {
        Err(_) => Head::Slow,
        Ok(Err(_)) => Head::Close,
        Ok(Ok(Ok(Some(head)))) => Head::Request(Box::new(head)),
        Ok(Ok(Ok(None))) => Head::Close,
        Ok(Ok(Err(e))) => Head::Refuse(e),
    }
}

/// Answers a request whose head did not come in time.
pub(super) async fn refuse_slow(conn: Conn<Io>) {
    refuse(conn, 408, "the request head took too long").await;
}

/// Answers a request that cannot be trusted to end where it says, and closes.
async fn refuse(mut conn: Conn<Io>, status: u16, message: &'static str) {
    let failure = crate::errors::Failure::new(crate::errors::Kind::BadRequest, message);
    let body = crate::errors::openai_body(&failure);
    let mut out = BytesMut::with_capacity(256 + body.len());
    penstock_http1::put_status_line(&mut out, status);
    penstock_http1::put_header(&mut out, b"content-type", b"application/json");
    penstock_http1::put_header(&mut out, b"connection", b"close");
    out.extend_from_slice(b"content-length: ");
    penstock_http1::put_decimal(&mut out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(&body);
    let _ = tokio::time::timeout(Duration::from_secs(5), conn.write(&out)).await;
    linger(conn).await;
}

/// Closes without destroying the answer: closing with unread bytes would reset the connection.
async fn linger(mut conn: Conn<Io>) {
    use tokio::io::AsyncWriteExt;
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        let _ = conn.stream.shutdown().await;
        let mut left = 1 << 20;
        while left > 0 {
            conn.buf.clear();
            match conn.fill().await {
                Ok(n) if n > 0 => left -= n.min(left),
                _ => break,
            }
        }
    })
    .await;
}

impl H1Exchange<'_> {
    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.decoder.decode(&mut self.conn.buf) {
                Ok(Decoded::Data(data)) => return Ok(Some(data)),
                Ok(Decoded::End) => return Ok(None),
                Ok(Decoded::NeedMore) => {}
                Err(e) => {
                    self.keep_alive = false;
                    return Err(BodyError::Framing(e));
                }
            }
            self.more().await?;
        }
    }

    /// Reads a body of known length into one piece of memory, so that it need not be put together.
    pub(super) async fn gather(&mut self, limit: usize, pace: &mut Pace) -> Result<(), BodyError> {
        let Some(size) = self.decoder.remaining().and_then(|n| usize::try_from(n).ok()) else { return Ok(()) };
        if size > limit {
            return Err(BodyError::TooLarge);
        }
        while self.conn.buf.len() < size {
            let received = self.conn.buf.len();
            if let Err(slow) = pace.check(received) {
                self.keep_alive = false;
                return Err(slow);
            }
            // Not all at once on the strength of a promise.
            self.conn.buf.reserve((size - received).min(received.max(GATHERED_AT_ONCE)));
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), BodyError> {
        if std::mem::take(&mut self.expect_continue) {
            self.conn.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| BodyError::Gone)?;
        }
        let failed = match self.core.timers.within(self.body_timeout, self.conn.fill()).await {
            Ok(Ok(n)) if n > 0 => return Ok(()),
            Ok(_) => BodyError::Gone,
            Err(_) => BodyError::Timeout,
        };
        self.keep_alive = false;
        Err(failed)
    }

    fn put_head(&mut self, status: u16, headers: &HeaderLines) {
        penstock_http1::put_status_line(&mut self.out, status);
        self.out.extend_from_slice(&headers.0);
        // An answer that leaves the body unread: a small rest is read away later, any other ends the connection.
        let small = self.decoder.remaining().is_some_and(|n| n <= DISCARD as u64);
        if !self.decoder.is_done() && (self.expect_continue || !small || status == 413) {
            self.keep_alive = false;
        }
        if !self.keep_alive {
            self.out.extend_from_slice(b"connection: close\r\n");
        } else if self.version == Version::Http10 {
            self.out.extend_from_slice(b"connection: keep-alive\r\n");
        }
    }

    pub(super) async fn full(&mut self, status: u16, headers: &HeaderLines, body: &[u8]) -> Result<(), Gone> {
        if self.answer != Answer::NotStarted {
            return Err(Gone);
        }
        self.put_head(status, headers);
        if status != 204 && status != 304 {
            self.out.extend_from_slice(b"content-length: ");
            penstock_http1::put_decimal(&mut self.out, body.len() as u64);
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        self.answer = Answer::Done;
        self.sent = body.len() as u64;
        if self.head_only {
            return self.flush().await;
        }
        if body.len() <= 64 * 1024 {
            self.out.extend_from_slice(body);
            return self.flush().await;
        }
        self.flush().await?;
        self.write(body).await
    }

    pub(super) fn start(&mut self, status: u16, headers: &HeaderLines, length: Option<u64>) {
        if length.is_none() && self.version == Version::Http10 {
            self.keep_alive = false;
        }
        self.put_head(status, headers);
        let bodiless = self.head_only || status == 204 || status == 304;
        match length {
            Some(n) => {
                self.out.extend_from_slice(b"content-length: ");
                penstock_http1::put_decimal(&mut self.out, n);
                self.out.extend_from_slice(b"\r\n");
                self.answer = Answer::Plain;
            }
            None if bodiless || self.version == Version::Http10 => self.answer = Answer::Plain,
            None => {
                self.out.extend_from_slice(b"transfer-encoding: chunked\r\n");
                self.answer = Answer::Chunked;
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    pub(super) fn queue(&mut self, data: &[u8]) {
        // After a write that was given up midway nothing more would land in its place.
        if self.head_only || self.answer == Answer::Broken {
            return;
        }
        self.sent += data.len() as u64;
        match self.answer {
            Answer::Chunked => penstock_http1::put_chunk(&mut self.out, data),
            _ => self.out.extend_from_slice(data),
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.answer == Answer::Broken {
            return Err(Gone);
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let result = self.write(&out).await;
        self.out = out;
        self.out.clear();
        result
    }

    /// Writes all, giving up when the client takes nothing for the write timeout.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut left = bytes;
        let was = std::mem::replace(&mut self.answer, Answer::Broken);
        while !left.is_empty() {
            let stream = &mut self.conn.stream;
            let mut attempt = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, left));
            // A timer is only made when the socket is full.
            let now = poll_fn(|cx| Poll::Ready(Pin::new(&mut attempt).poll(cx))).await;
            let written = match now {
                Poll::Ready(r) => r,
                Poll::Pending => match self.core.timers.within(self.write_timeout, attempt).await {
                    Ok(r) => r,
                    Err(_) => return Err(Gone),
                },
            };
            match written {
                Ok(n) if n > 0 => left = left.get(n..).unwrap_or_default(),
                _ => return Err(Gone),
            }
        }
        if matches!(self.conn.stream, Io::TlsServer(_)) {
            use tokio::io::AsyncWriteExt;
            // Over TLS this is where the socket is waited for.
            let flushed = self.core.timers.within(self.write_timeout, self.conn.stream.flush()).await;
            flushed.map_err(|_| Gone)?.map_err(|_| Gone)?;
        }
        self.answer = was;
        Ok(())
    }

    pub(super) async fn finish(&mut self) -> Result<(), Gone> {
        if self.answer == Answer::Broken {
            return Err(Gone);
        }
        if self.answer == Answer::Chunked && !self.head_only {
            penstock_http1::put_last_chunk(&mut self.out);
        }
        self.flush().await?;
        self.answer = Answer::Done;
        Ok(())
    }

    pub(super) fn abort(&mut self) {
        self.answer = Answer::Broken;
    }

    pub(super) async fn closed(&mut self) {
        loop {
            if self.conn.buf.len() > PIPELINE {
                std::future::pending::<()>().await;
            }
            match self.conn.fill().await {
                Ok(n) if n > 0 => {}
                _ => {
                    self.keep_alive = false;
                    return;
                }
            }
        }
    }

    pub(super) fn started(&self) -> bool {
        self.answer != Answer::NotStarted
    }

    /// Whether the connection can serve another request; reads away a small rest of the body.
    async fn reusable(&mut self) -> bool {
        if !self.keep_alive || self.answer != Answer::Done {
            return false;
        }
        let mut left = DISCARD;
        while !self.decoder.is_done() {
            match self.next_piece().await {
                Ok(Some(p)) if p.len() < left => left -= p.len(),
                Ok(None) => break,
                _ => return false,
            }
        }
        true
    }
}

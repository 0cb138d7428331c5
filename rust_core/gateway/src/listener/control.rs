//! Everything that is not a hot route: relayed to the Litestar app on its private socket.
//!
//! Bodies stream both ways with backpressure; hop-by-hop fields stay on their hop; the app learns
//! the client's address, scheme and host from `X-Forwarded-*`, which no client can forge.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{BodyDecoder, Conn, Framing, Limits, RequestHead, ResponseHead};

use super::exchange::{BodyError, Exchange, HeaderLines, Transport};
use super::forwarded::{client_address, is_hop_by_hop, is_nominated};
use super::h1::H1Exchange;
use super::{Peer, control_failure};
use crate::engine::Core;
use crate::errors::{Failure, Kind};
use crate::upstream::Io;

/// Admin requests are answered by one local process; longer silence means that it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Relays one request and its answer.
pub(super) async fn relay(core: &Rc<Core>, head: RequestHead, exchange: &mut Exchange<'_>, peer: Peer) {
    if core.shared.options.control_socket.is_empty() {
        let failure = Failure::new(Kind::HookFailed, "the control plane is not attached to this listener");
        return control_failure(exchange, &failure).await;
    }
    if let Framing::Length(n) = head.framing
        && n > core.shared.options.max_body_bytes as u64
    {
        return control_failure(exchange, &too_large(core)).await;
    }
    let Ok(stream) = crate::upstream::control(&core.shared.options.control_socket).await else {
        let failure = Failure::new(Kind::HookFailed, "the control plane is not available; try again in a moment");
        return control_failure(exchange, &failure.retry_after(1000)).await;
    };
    let mut app = Conn::new(stream);
    if let Err(failure) = send(core, &head, exchange, peer, &mut app).await {
        return match failure {
            Some(failure) => control_failure(exchange, &failure).await,
            None => exchange.abort(),
        };
    }
    let head_only = &head.method[..] == b"HEAD";
    let answer = match answer_head(&mut app, head_only).await {
        Some(answer) => answer,
        None => {
            let failure = Failure::new(Kind::HookFailed, "the control plane did not answer");
            return control_failure(exchange, &failure).await;
        }
    };
    pass_back(&mut app, &answer, exchange).await;
}

fn too_large(core: &Core) -> Failure {
    let limit = core.shared.options.max_body_bytes;
    Failure::new(Kind::BodyTooLarge, format!("the request body is larger than {limit} bytes"))
}

fn put_head(core: &Core, head: &RequestHead, peer: Peer, out: &mut BytesMut, upgrade: bool) {
    penstock_http1::put_request_line(out, &head.method, &head.target);
    for (name, value) in head.headers.iter() {
        let lower = name.to_ascii_lowercase();
        let internal =
            lower.starts_with(b"x-forwarded-") || lower == b"forwarded" || lower.starts_with(b"x-penstock-internal");
        let framing = lower == b"content-length" || lower == b"expect";
        let websocket = upgrade && (lower == b"upgrade" || lower == b"connection");
        if !websocket
            && (internal
                || framing
                || is_hop_by_hop(&lower)
                || (is_nominated(&head.headers, &lower) && lower != b"host"))
        {
            continue;
        }
        penstock_http1::put_header(out, name, value);
    }
    let client = client_address(peer.address, &head.headers, &core.shared.trusted);
    let trusted = core.shared.trusted.contains(peer.address);
    let scheme = match head.headers.get("x-forwarded-proto").filter(|_| trusted) {
        Some(p) if p == b"https" => "https",
        Some(_) => "http",
        None if peer.tls => "https",
        None => "http",
    };
    penstock_http1::put_header(out, b"x-forwarded-for", client.to_string().as_bytes());
    penstock_http1::put_header(out, b"x-forwarded-proto", scheme.as_bytes());
    let host = head.headers.get("x-forwarded-host").filter(|_| trusted).or_else(|| head.headers.get("host"));
    if let Some(host) = host {
        penstock_http1::put_header(out, b"x-forwarded-host", host);
    }
}

/// Sends the request; `Err(None)` when the client left meanwhile.
async fn send(
    core: &Core,
    head: &RequestHead,
    exchange: &mut Exchange<'_>,
    peer: Peer,
    app: &mut Conn<Io>,
) -> Result<(), Option<Failure>> {
    let mut out = BytesMut::with_capacity(1024);
    put_head(core, head, peer, &mut out, false);
    match head.framing {
        Framing::None => out.extend_from_slice(b"\r\n"),
        Framing::Length(n) => {
            out.extend_from_slice(b"content-length: ");
            penstock_http1::put_decimal(&mut out, n);
            out.extend_from_slice(b"\r\n\r\n");
        }
        Framing::Chunked | Framing::UntilClose => out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
    }
    if app.write(&out).await.is_err() {
        return Ok(());
    }
    let chunked = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
    let mut total = 0;
    loop {
        let piece = match exchange.next_piece().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(BodyError::Gone) => return Err(None),
            Err(e) => return Err(Some(crate::phases::body_failure(e, core.shared.options.max_body_bytes))),
        };
        total += piece.len();
        if total > core.shared.options.max_body_bytes {
            return Err(Some(too_large(core)));
        }
        out.clear();
        if chunked {
            penstock_http1::put_chunk(&mut out, &piece)
        } else {
            out.extend_from_slice(&piece)
        }
        // An app that refuses early has its answer ready: read it instead.
        if app.write(&out).await.is_err() {
            return Ok(());
        }
    }
    if chunked {
        out.clear();
        penstock_http1::put_last_chunk(&mut out);
        let _ = app.write(&out).await;
    }
    Ok(())
}

async fn answer_head(app: &mut Conn<Io>, head_only: bool) -> Option<ResponseHead> {
    loop {
        let read = tokio::time::timeout(PATIENCE, app.read_response(&Limits::default(), head_only)).await;
        match read {
            Ok(Ok(Ok(Some(head)))) if head.status < 200 && head.status != 101 => {}
            Ok(Ok(Ok(head))) => return head,
            _ => return None,
        }
    }
}

fn answer_lines(answer: &ResponseHead) -> HeaderLines {
    let mut lines = HeaderLines::default();
    for (name, value) in answer.headers.iter() {
        let lower = name.to_ascii_lowercase();
        if lower == b"content-length" || is_hop_by_hop(&lower) || is_nominated(&answer.headers, &lower) {
            continue;
        }
        if let Ok(name) = std::str::from_utf8(&lower) {
            lines.add(name, value);
        }
    }
    lines
}

async fn pass_back(app: &mut Conn<Io>, answer: &ResponseHead, exchange: &mut Exchange<'_>) {
    let lines = answer_lines(answer);
    let length = match answer.framing {
        Framing::Length(n) => Some(n),
        Framing::None => Some(answer.headers.get_str("content-length").and_then(|l| l.parse().ok()).unwrap_or(0)),
        _ => None,
    };
    if exchange.start(answer.status, &lines, length.filter(|_| answer.status != 204 && answer.status != 304)).is_err() {
        return;
    }
    let mut decoder = BodyDecoder::new(answer.framing);
    loop {
        let piece = tokio::select! {
            biased;
            piece = app.read_body(&mut decoder) => piece,
            () = exchange.closed() => return,
        };
        match piece {
            Ok(Ok(Some(piece))) => {
                exchange.queue(&piece);
                if exchange.flush().await.is_err() {
                    return;
                }
            }
            Ok(Ok(None)) => break,
            _ => {
                let _ = exchange.flush().await;
                return exchange.abort();
            }
        }
    }
    let _ = exchange.finish().await;
}

/// Whether this asks for a WebSocket, the one protocol that connections are upgraded to.
pub(super) fn is_websocket(head: &RequestHead) -> bool {
    head.upgrade
        && head.headers.get("upgrade").is_some_and(|u| u.eq_ignore_ascii_case(b"websocket"))
        && &head.method[..] == b"GET"
        && head.framing == Framing::None
}

/// Relays a WebSocket: once the app agrees, bytes flow both ways until either side ends. The connection ends with it.
pub(super) async fn upgrade(core: &Rc<Core>, head: RequestHead, exchange: H1Exchange<'_>, peer: Peer) {
    let mut exchange = Exchange::rest(Transport::H1(exchange));
    let Ok(stream) = crate::upstream::control(&core.shared.options.control_socket).await else {
        let failure = Failure::new(Kind::HookFailed, "the control plane is not available; try again in a moment");
        return control_failure(&mut exchange, &failure).await;
    };
    let mut app = Conn::new(stream);
    let mut out = BytesMut::with_capacity(1024);
    put_head(core, &head, peer, &mut out, true);
    out.extend_from_slice(b"\r\n");
    if app.write(&out).await.is_err() {
        return control_failure(&mut exchange, &Failure::new(Kind::HookFailed, "the control plane did not answer"))
            .await;
    }
    let Some(answer) = answer_head(&mut app, false).await else {
        return control_failure(&mut exchange, &Failure::new(Kind::HookFailed, "the control plane did not answer"))
            .await;
    };
    if answer.status != 101 {
        return pass_back(&mut app, &answer, &mut exchange).await;
    }
    let Some(Transport::H1(client)) = exchange.into_transport() else { return };
    out.clear();
    penstock_http1::put_status_line(&mut out, 101);
    for (name, value) in answer.headers.iter() {
        penstock_http1::put_header(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    let early: Bytes = app.buf.split().freeze();
    out.extend_from_slice(&early);
    if client.conn.write(&out).await.is_err() {
        return;
    }
    let ahead = client.conn.buf.split();
    if !ahead.is_empty() && app.write(&ahead).await.is_err() {
        return;
    }
    let mut stage = core.stage.watch();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client.conn.stream, &mut app.stream) => {}
        () = stage.reached(crate::engine::Stage::Ending) => {}
    }
}

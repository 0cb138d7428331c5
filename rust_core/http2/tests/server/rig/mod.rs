//! A server that answers by path, and a client that speaks in frames.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod by_hand;
pub mod harness;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use penstock_http1::Conn;
use penstock_http2::{Config, Connection, PREFACE, Reason, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// `POST`, `http` and the path as a literal that is not kept.
pub fn block(path: &str) -> Vec<u8> {
    [&[0x83, 0x86, 0x04, path.len() as u8], path.as_bytes(), b"\x41\x01h"].concat()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn number(kind: u8, stream: u32, n: u32) -> Vec<u8> {
    frame(kind, 0, stream, &n.to_be_bytes())
}

pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

/// What a client says first.
pub fn hello() -> Vec<u8> {
    [PREFACE, &settings(&[])].concat()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// How many streams of the server ended, and how many of them because the client gave them up.
#[derive(Default)]
pub struct Seen {
    pub accepted: Cell<usize>,
    pub ended: Cell<usize>,
    pub given_up: Cell<usize>,
    pub goodbye: Cell<bool>,
}

/// A client's side.
pub struct Client {
    pub io: DuplexStream,
    inbox: Vec<u8>,
}

impl Client {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if self.inbox.len() >= 9 {
                let length = u32::from_be_bytes([0, self.inbox[0], self.inbox[1], self.inbox[2]]) as usize;
                if self.inbox.len() >= 9 + length {
                    let rest = self.inbox.split_off(9 + length);
                    let whole = std::mem::replace(&mut self.inbox, rest);
                    return Some(Frame {
                        kind: whole[3],
                        flags: whole[4],
                        stream: u32::from_be_bytes(whole[5..9].try_into().unwrap()),
                        payload: whole[9..].to_vec(),
                    });
                }
            }
            let read = self.io.read_buf(&mut self.inbox);
            let read = tokio::time::timeout(Duration::from_secs(5), read).await.expect("the server says nothing");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Frames up to the first for which it holds, which is the last of them.
    pub async fn until(&mut self, mut is_it: impl FnMut(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("the end after {frames:?}"));
            frames.push(frame);
            if is_it(frames.last().unwrap()) {
                return frames;
            }
        }
    }

    /// All that follows.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Frames until several pings were answered, without those: by then all that was asked before has had its turn.
    pub async fn settled(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..4 {
            self.send(frame(PING, 0, 0, b"settled?")).await;
            frames.extend(self.until(|f| f.kind == PING && f.payload == b"settled?").await);
            frames.pop();
        }
        frames
    }
}

async fn send(request: &mut Request, mut data: Bytes, end: bool) -> bool {
    while !data.is_empty() {
        if poll_fn(|cx| request.answer.poll_send(&mut data, end, cx)).await.is_err() {
            return false;
        }
    }
    true
}

/// Answers one stream; whether the client heard it out.
pub async fn answer(mut request: Request) -> bool {
    let path = String::from_utf8(request.head.path().to_vec()).unwrap();
    let (name, argument) = path.split_once('/').map_or(("", ""), |(_, p)| p.split_once('/').unwrap_or((p, "")));
    let size: usize = argument.parse().unwrap_or(0).min(10_000_000);
    let fields: [(&[u8], &[u8]); 2] = [(b"x-name", name.as_bytes()), (b"x-size", argument.as_bytes())];
    match name {
        // What was sent.
        "echo" => {
            let mut whole = Vec::new();
            loop {
                match poll_fn(|cx| request.body.poll_piece(cx)).await {
                    Ok(Some(piece)) => whole.extend_from_slice(&piece),
                    Ok(None) => break,
                    Err(_) => return false,
                }
            }
            let empty = whole.is_empty();
            request.answer.head(200, fields, empty).is_ok() && send(&mut request, whole.into(), true).await
        }
        // So many bytes, and trailers.
        "give" => {
            if request.answer.head(200, fields, false).is_err() {
                return false;
            }
            let whole: Bytes = (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
            send(&mut request, whole, false).await && request.answer.trailers([(&b"x-end"[..], &b"yes"[..])]).is_ok()
        }
        // One byte for each byte of the body, as it comes.
        "relay" => {
            if request.answer.head(200, fields, false).is_err() {
                return false;
            }
            loop {
                match poll_fn(|cx| request.body.poll_piece(cx)).await {
                    Ok(Some(piece)) if send(&mut request, piece.clone(), false).await => {}
                    Ok(None) => return request.answer.finish().is_ok(),
                    _ => return false,
                }
            }
        }
        // An answer that does not care for the rest of the request.
        "early" => request.answer.head(413, fields, true).is_ok(),
        // An answer that is broken off.
        "break" => {
            let begun = request.answer.head(200, fields, false).is_ok();
            request.answer.reset(Reason::INTERNAL_ERROR);
            begun
        }
        // No answer at all.
        "drop" => true,
        // Neither read nor answered until the client gives it up.
        _ => {
            poll_fn(|cx| request.answer.poll_reset(cx)).await;
            false
        }
    }
}

/// Serves one connection until it is over.
async fn serve(io: DuplexStream, config: Config, seen: Rc<Seen>) {
    let Ok(mut connection) = Connection::handshake(Conn::new(io), config).await else { return };
    let mut told = false;
    loop {
        if seen.goodbye.get() && !std::mem::replace(&mut told, true) {
            connection.graceful_shutdown();
        }
        let next = tokio::time::timeout(Duration::from_millis(5), connection.accept()).await;
        match next {
            Ok(Some(request)) => {
                seen.accepted.set(seen.accepted.get() + 1);
                let seen = Rc::clone(&seen);
                tokio::task::spawn_local(async move {
                    let well = answer(request).await;
                    seen.ended.set(seen.ended.get() + 1);
                    seen.given_up.set(seen.given_up.get() + usize::from(!well));
                });
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// Runs a client against a server; when it is done the server must be, too, with all its streams.
pub fn with<F: Future<Output = ()>>(config: Config, buffer: usize, client: impl FnOnce(Client, Rc<Seen>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (near, far) = tokio::io::duplex(buffer);
        let seen = Rc::<Seen>::default();
        let server = tokio::task::spawn_local(serve(far, config, Rc::clone(&seen)));
        client(Client { io: near, inbox: Vec::new() }, Rc::clone(&seen)).await;
        tokio::time::timeout(Duration::from_secs(5), server).await.expect("the server goes on").unwrap();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.accepted.get(), seen.ended.get(), "streams that nobody ended");
    });
}

/// With what servers have, and a client that has said hello and read the greeting.
pub fn greeted<F: Future<Output = ()>>(config: Config, client: impl FnOnce(Client, Rc<Seen>) -> F) {
    with(config, 1 << 20, |mut raw, seen| async move {
        raw.send(hello()).await;
        raw.until(|f| f.kind == SETTINGS && f.flags & ACK != 0).await;
        client(raw, seen).await;
    });
}

impl Client {
    pub fn of(io: DuplexStream) -> Self {
        Self { io, inbox: Vec::new() }
    }
}

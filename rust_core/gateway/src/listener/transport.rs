//! How the bytes of one request and its answer travel: HTTP/1.1, HTTP/2, or handed over by another listener.
//!
//! Apart from [`Exchange`](super::exchange::Exchange), because what is said in those bytes is another matter: a REST answer
//! is its own body, a gRPC answer is messages and trailers.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::bridge::BridgeExchange;
use super::h1::H1Exchange;
use super::h2::H2Exchange;
use crate::errors::Failure;

/// Longest pauses that a body may consist of.
const PAUSES: u32 = 10;
/// Bytes per second below which a client is not worth waiting for.
const SLOWEST: usize = 16 * 1024;

/// How slowly a body may arrive: it has [`PAUSES`] times the longest pause, and a second for each [`SLOWEST`] bytes.
#[derive(Debug)]
pub(crate) struct Pace {
    pause: Duration,
    begun: Option<Instant>,
}

impl Pace {
    /// `pause`: the longest between two pieces.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, begun: None }
    }

    /// To be asked each time before more is waited for, with what there is.
    pub(crate) fn check(&mut self, received: usize) -> Result<(), BodyError> {
        let begun = self.begun.get_or_insert_with(Instant::now);
        let allowed = self.pause * PAUSES + Duration::from_secs((received / SLOWEST) as u64);
        if begun.elapsed() > allowed { Err(BodyError::Timeout) } else { Ok(()) }
    }
}

/// Why a request body could not be had.
#[derive(Debug, Clone)]
pub enum BodyError {
    /// More bytes than allowed.
    TooLarge,
    /// A pause longer than allowed.
    Timeout,
    /// Malformed framing.
    Framing(penstock_http1::FramingError),
    /// The client left.
    Gone,
    /// It is not what its protocol promises.
    Refused(Box<Failure>),
}

/// The client cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Header fields of an answer, kept as `name: value` lines.
#[derive(Debug, Default)]
pub struct HeaderLines(pub BytesMut);

impl HeaderLines {
    /// Adds a field whose value is vetted or ours; control characters are refused silently by dropping the field.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: &[u8]) {
        if penstock_http1::is_field_value(value) {
            penstock_http1::put_header(&mut self.0, name.as_ref(), value);
        }
    }

    /// Adds a field that was vetted when it was read.
    pub fn pass_on(&mut self, name: &[u8], value: &[u8]) {
        penstock_http1::put_header(&mut self.0, name, value);
    }

    /// Adds a field with a number.
    pub fn add_number(&mut self, name: &str, value: u64) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        penstock_http1::put_decimal(&mut self.0, value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The fields.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            // No name has a colon and no value a line's end.
            let colon = memchr::memchr(b':', rest)?;
            let end = memchr::memchr(b'\r', rest.get(colon..)?)? + colon;
            let field = (rest.get(..colon)?, rest.get(colon + 2..end)?);
            rest = rest.get(end + 2..)?;
            Some(field)
        })
    }

    /// Copies the fields for which `keep` holds.
    pub(crate) fn kept(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Self {
        let mut out = BytesMut::with_capacity(self.0.len() + 64);
        let mut start = 0;
        for (name, value) in self.iter() {
            let end = start + name.len() + 2 + value.len() + 2;
            if keep(name, value) {
                out.extend_from_slice(self.0.get(start..end).unwrap_or_default());
            }
            start = end;
        }
        Self(out)
    }
}

/// The way to a client.
#[derive(Debug)]
pub enum Transport<'a> {
    /// HTTP/1.x
    H1(H1Exchange<'a>),
    /// HTTP/2
    H2(Box<H2Exchange>),
    /// Handed over through `Engine.submit`.
    Bridge(BridgeExchange),
}

impl Transport<'_> {
    /// The next piece of the request body; `None` at its end.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::H1(x) => x.next_piece().await,
            Self::H2(x) => x.next_piece().await,
            Self::Bridge(x) => Ok(x.next_piece()),
        }
    }

    /// The whole request body. One that comes in crumbs for ever is given up: see [`Pace`].
    pub async fn body(&mut self, limit: usize, pause: Duration) -> Result<Bytes, BodyError> {
        let mut pace = Pace::new(pause);
        if let Self::H1(x) = self {
            x.gather(limit, &mut pace).await?;
        }
        let Some(first) = self.next_piece().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(BodyError::TooLarge);
        }
        let Some(second) = self.next_piece().await? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity((first.len() + second.len()) * 2);
        whole.extend_from_slice(&first);
        let mut piece = Some(second);
        while let Some(p) = piece {
            pace.check(whole.len())?;
            if whole.len() + p.len() > limit {
                return Err(BodyError::TooLarge);
            }
            whole.extend_from_slice(&p);
            piece = self.next_piece().await?;
        }
        Ok(whole.freeze())
    }

    /// Sends a complete answer.
    pub async fn full(&mut self, status: u16, headers: &HeaderLines, body: Bytes) -> Result<(), Gone> {
        match self {
            Self::H1(x) => x.full(status, headers, &body).await,
            Self::H2(x) => x.full(status, headers, body).await,
            Self::Bridge(x) => x.full(status, headers, body).await,
        }
    }

    /// Begins an answer whose body follows; `length` when it is known.
    pub fn start(&mut self, status: u16, headers: &HeaderLines, length: Option<u64>) -> Result<(), Gone> {
        match self {
            Self::H1(x) => {
                x.start(status, headers, length);
                Ok(())
            }
            Self::H2(x) => x.start(status, headers),
            Self::Bridge(x) => {
                x.start(status, headers, length);
                Ok(())
            }
        }
    }

    /// Sends an answer that is nothing but its head.
    pub async fn head(&mut self, status: u16, headers: &HeaderLines) -> Result<(), Gone> {
        match self {
            Self::H2(x) => x.head(status, headers),
            _ => self.full(status, headers, Bytes::new()).await,
        }
    }

    /// Sends a piece of the body, waiting for the client to take it.
    pub async fn send(&mut self, data: Bytes) -> Result<(), Gone> {
        match self {
            Self::H2(x) => x.send(data).await,
            _ => {
                self.queue(&data);
                self.flush().await
            }
        }
    }

    /// Ends the answer with trailer fields, after whatever was sent. Only HTTP/2 has any; elsewhere the answer just ends.
    pub async fn trailers(&mut self, fields: &HeaderLines) -> Result<(), Gone> {
        match self {
            Self::H2(x) => x.trailers(fields),
            _ => self.finish().await,
        }
    }

    /// Adds a piece of the body; it leaves with the next [`Transport::flush`].
    pub fn queue(&mut self, data: &[u8]) {
        match self {
            Self::H1(x) => x.queue(data),
            Self::H2(x) => x.queue(data),
            Self::Bridge(x) => x.queue(data),
        }
    }

    /// Sends what is queued, waiting for the client to take it.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::H1(x) => x.flush().await,
            Self::H2(x) => x.flush().await,
            Self::Bridge(x) => x.flush().await,
        }
    }

    /// Ends the body.
    pub async fn finish(&mut self) -> Result<(), Gone> {
        match self {
            Self::H1(x) => x.finish().await,
            Self::H2(x) => x.finish().await,
            Self::Bridge(x) => x.finish().await,
        }
    }

    /// Breaks the answer off so that the client cannot take it for complete.
    pub fn abort(&mut self) {
        match self {
            Self::H1(x) => x.abort(),
            Self::H2(x) => x.abort(),
            Self::Bridge(x) => x.abort(),
        }
    }

    /// Returns when the client has gone. Cancel-safe; only to be polled after the body was read.
    pub async fn closed(&mut self) {
        match self {
            Self::H1(x) => x.closed().await,
            Self::H2(x) => x.closed().await,
            Self::Bridge(x) => x.closed().await,
        }
    }

    /// Whether the head of the answer was sent or queued.
    #[must_use]
    pub fn started(&self) -> bool {
        match self {
            Self::H1(x) => x.started(),
            Self::H2(x) => x.started(),
            Self::Bridge(x) => x.started(),
        }
    }

    /// Bytes of answer bodies handed over so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            Self::H1(x) => x.sent,
            Self::H2(x) => x.sent,
            Self::Bridge(x) => x.sent,
        }
    }
}

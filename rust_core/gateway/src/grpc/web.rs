//! gRPC-Web: gRPC for browsers, which neither see trailers nor, some of them, binary bodies.
//!
//! Source: gRPC's PROTOCOL-WEB.md. Messages are framed as ever; the trailers are a last frame in the body, and all of it
//! may be base64. Pages of other origins may call if the configuration names them.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Flavour, Opening, base64};
use crate::errors::{Failure, Kind, Outcome};
use crate::listener::exchange::HeaderLines;
use crate::snapshot::EngineOptions;

/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// What of a call is special to gRPC-Web.
#[derive(Debug)]
pub(crate) struct Web {
    is_text: bool,
    decoder: base64::Decoder,
    origin: Option<Bytes>,
}

impl Web {
    /// `None`: the call is native.
    pub(crate) fn new(opening: &Opening, options: &EngineOptions) -> Option<Self> {
        let is_text = match opening.flavour {
            Flavour::Web => false,
            Flavour::WebText => true,
            Flavour::Native | Flavour::Unknown => return None,
        };
        let origin = opening.origin.clone().filter(|o| allows(options, o));
        Some(Self { is_text, decoder: base64::Decoder::default(), origin })
    }

    /// A piece of the request body as it is meant; `None` at its end.
    pub(crate) fn decode(&mut self, piece: Option<Bytes>) -> Outcome<Option<Bytes>> {
        if !self.is_text {
            return Ok(piece);
        }
        let mut out = BytesMut::new();
        let fine = match &piece {
            Some(text) => self.decoder.push(text, &mut out),
            None => self.decoder.finish(&mut out),
        };
        if !fine {
            return Err(Failure::new(
                Kind::BadRequest,
                "The request body is not the base64 that its content type says.",
            ));
        }
        Ok((piece.is_some() || !out.is_empty()).then(|| out.freeze()))
    }

    /// A piece of the answer's body as it travels.
    pub(crate) fn encode(&self, data: Bytes) -> Bytes {
        if !self.is_text {
            return data;
        }
        let mut out = BytesMut::new();
        base64::encode(&data, true, &mut out);
        out.freeze()
    }

    /// The fields of the answer's head.
    pub(crate) fn head(&self, lines: &mut HeaderLines) {
        let name: &[u8] = if self.is_text { b"application/grpc-web-text+proto" } else { b"application/grpc-web+proto" };
        lines.add("content-type", name);
        if let Some(origin) = &self.origin {
            allow(lines, origin);
            // Every field by `*`: the credentials that would rule it out are cookies, which mean nothing here.
            lines.add("access-control-expose-headers", b"*");
        }
    }
}

/// Writes the trailers as the last frame of a body.
pub(crate) fn put_trailers(lines: &HeaderLines, out: &mut BytesMut) {
    out.put_u8(TRAILERS);
    out.put_u32(u32::try_from(lines.0.len()).unwrap_or(u32::MAX));
    out.put_slice(&lines.0);
}

/// Whether pages of this origin may call.
fn allows(options: &EngineOptions, origin: &[u8]) -> bool {
    options.grpc.web_origins.iter().any(|o| o == "*" || o.as_bytes().eq_ignore_ascii_case(origin))
}

fn allow(lines: &mut HeaderLines, origin: &[u8]) {
    lines.add("access-control-allow-origin", origin);
    lines.add("vary", b"origin");
}

/// What a browser is told that asks beforehand whether a page may call; `None` when it may not.
pub(crate) fn preflight(options: &EngineOptions, origin: &[u8], asked: &[u8]) -> Option<HeaderLines> {
    if !allows(options, origin) {
        return None;
    }
    let mut lines = HeaderLines::default();
    allow(&mut lines, origin);
    lines.add("access-control-allow-methods", b"POST");
    if asked.split(|b| *b == b',').all(|name| penstock_http1::is_token(name.trim_ascii())) {
        lines.add("access-control-allow-headers", asked);
    }
    lines.add("access-control-max-age", b"7200");
    Some(lines)
}

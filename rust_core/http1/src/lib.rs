//! Strict HTTP/1.x framing, shared by the gateway's two ends and the simulator.
//!
//! It is apart because message framing is where request smuggling lives: one small crate that
//! reads and writes heads and bodies, knows nothing of routes or providers, and refuses every
//! message whose boundaries two implementations could read differently (RFC 9112, sections 2-7
//! and 11).
//!
//! Parsing is sans-IO: functions take a [`bytes::BytesMut`] and say whether they need more.
//! [`Conn`] adds buffered reading and writing over any tokio stream.

mod body;
mod conn;
mod encode;
mod error;
mod head;
mod headers;

pub use body::{BodyDecoder, Decoded, Framing};
pub use conn::Conn;
pub use encode::{put_chunk, put_decimal, put_header, put_last_chunk, put_request_line, put_status_line, reason};
pub use error::FramingError;
pub use head::{Limits, RequestHead, ResponseHead, Version, host_is_valid, parse_request, parse_response};
pub use headers::{Headers, HeadersBuilder, is_field_value, is_token};

//! What a client says on a session.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::errors::{Failure, Kind, Outcome};
use crate::grpc::wire::{Malformed, Reader, Value};

/// A frame.
#[derive(Debug)]
pub(super) enum Asked {
    /// Begins a call.
    Start(Start),
    /// Ends a call.
    Cancel(u64),
    /// Lets a call send more.
    Credit(u64, u64),
    /// A frame of a later version.
    Nothing,
}

/// A call to begin.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) id: u64,
    pub(super) request: Bytes,
    /// Why the request cannot be had.
    pub(super) fault: Option<Box<Failure>>,
    pub(super) timeout: Option<Duration>,
    pub(super) credit: Option<u64>,
    /// Further pieces of the request.
    more: BytesMut,
}

impl Start {
    /// A call that fails as soon as it is begun.
    pub(super) fn failed(id: u64, why: Failure) -> Self {
        Self { id, fault: Some(Box::new(why)), ..Self::default() }
    }
}

/// Reads a `ChatSessionRequest`. A frame that is there twice is one, of which the parts are put together.
pub(super) fn read(message: &Bytes) -> Outcome<Asked> {
    let wrong = |e: Malformed| {
        Failure::new(Kind::BadRequest, format!("A message of the session is malformed: {e}.")).param("frame")
    };
    let mut asked = Asked::Nothing;
    let mut fields = Reader::new(message);
    while let Some((number, value)) = fields.next().map_err(wrong)? {
        let Value::Bytes(body) = value else { continue };
        asked = match (number, asked) {
            (1, Asked::Start(start)) => Asked::Start(begin(start, message, body).map_err(wrong)?),
            (1, _) => Asked::Start(begin(Start::default(), message, body).map_err(wrong)?),
            (2, _) => Asked::Cancel(numbers(body).map_err(wrong)?.0),
            (3, _) => {
                let (id, more) = numbers(body).map_err(wrong)?;
                Asked::Credit(id, more)
            }
            (_, asked) => asked,
        };
    }
    if let Asked::Start(start) = &mut asked
        && !start.more.is_empty()
    {
        start.request = Bytes::from([&start.request[..], &start.more[..]].concat());
    }
    Ok(asked)
}

fn begin(mut start: Start, message: &Bytes, body: &[u8]) -> Result<Start, Malformed> {
    let mut fields = Reader::new(body);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(id)) => start.id = id,
            (2, Value::Bytes(request)) if start.request.is_empty() => start.request = message.slice_ref(request),
            (2, Value::Bytes(more)) => start.more.extend_from_slice(more),
            (3, Value::Bytes(timeout)) => start.timeout = Some(duration(timeout)?),
            (4, Value::Varint(credit)) => start.credit = Some(credit & u64::from(u32::MAX)),
            _ => {}
        }
    }
    Ok(start)
}

/// A `google.protobuf.Duration`; one that is negative is over already.
fn duration(message: &[u8]) -> Result<Duration, Malformed> {
    let (seconds, nanos) = numbers(message)?;
    let seconds = u64::try_from(seconds.cast_signed()).unwrap_or(0);
    let nanos = u32::try_from(nanos.cast_signed()).unwrap_or(0).min(999_999_999);
    Ok(Duration::new(seconds, nanos))
}

/// The first two fields, numbers both.
fn numbers(message: &[u8]) -> Result<(u64, u64), Malformed> {
    let (mut one, mut two) = (0, 0);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(n)) => one = n,
            (2, Value::Varint(n)) => two = n,
            _ => {}
        }
    }
    Ok((one, two))
}

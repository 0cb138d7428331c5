//! Why a request does not count as answered. One list, because its names are the report's.

use std::io;

use h2::Reason;
use penstock_http1::FramingError;

use crate::deltas::Flaw;
use crate::grpc::{Status, Violation};

/// What happened instead of the expected answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection: refused, unreachable, not in time.
    Connect(io::Error),
    /// No TLS on it: another protocol, a certificate that is not trusted.
    Tls(io::Error),
    /// No answer had begun when the time was up.
    Timeout,
    /// The answer had begun when the time was up.
    TimeoutBody,
    /// The peer closed the connection instead of answering.
    Closed,
    /// The peer closed the connection inside the answer.
    ClosedBody,
    /// Any other failure of the connection.
    Io(io::Error),
    /// What came is not HTTP/1.1.
    Framing(FramingError),
    /// The head was HTTP/1.1, the body is not what it said.
    FramingBody(FramingError),
    /// Another status than expected, and the beginning of what came with it.
    Status(u16, Vec<u8>),
    /// An event stream that is not as expected.
    Stream(Flaw),
    /// What came is not HTTP/2, in an answer that had begun or not; what the protocol says.
    Http2(bool, String),
    /// The peer reset the stream.
    Reset(Reason),
    /// The peer closed the connection because of an error.
    GoAway(Reason),
    /// A call's status that is not `OK`.
    Grpc(Status),
    /// An answer that is not gRPC.
    Violation(Violation),
    /// A stream of messages that is not as expected.
    Messages(Flaw),
}

impl Failure {
    /// A connection that broke, before its answer (`begun` false) or inside it.
    pub(crate) fn of_io(e: io::Error, begun: bool) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match e.kind() {
            ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Self::closed(begun),
            _ => Self::Io(e),
        }
    }

    /// A message that broke off or is none.
    pub(crate) fn of_framing(e: FramingError) -> Self {
        if e == FramingError::UnexpectedEof { Self::ClosedBody } else { Self::Framing(e) }
    }

    /// A stream or a connection of HTTP/2 that broke.
    pub(crate) fn of_h2(e: h2::Error, begun: bool) -> Self {
        match e.reason() {
            Some(Reason::NO_ERROR) if e.is_remote() && e.is_go_away() => Self::closed(begun),
            Some(reason) if e.is_remote() && e.is_go_away() => Self::GoAway(reason),
            Some(reason) if e.is_remote() => Self::Reset(reason),
            _ if e.is_library() => Self::Http2(begun, e.to_string()),
            _ => {
                let told = e.to_string();
                Self::of_io(e.into_io().unwrap_or_else(|| io::Error::other(told)), begun)
            }
        }
    }

    pub(crate) fn closed(begun: bool) -> Self {
        if begun { Self::ClosedBody } else { Self::Closed }
    }

    /// The kind under which the report counts it.
    pub(crate) fn kind(&self) -> String {
        let name = match self {
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::TimeoutBody => "timeout_body",
            Self::Closed => "closed",
            Self::ClosedBody => "closed_body",
            Self::Io(_) => "io",
            Self::Framing(_) | Self::Http2(false, _) => "framing",
            Self::FramingBody(_) | Self::Http2(true, _) => "framing_body",
            Self::Status(status, _) => return format!("status_{status}"),
            Self::Stream(flaw) => return format!("sse_{}", flaw.name()),
            Self::Reset(reason) => return format!("reset_{}", name(*reason)),
            Self::GoAway(reason) => return format!("goaway_{}", name(*reason)),
            Self::Grpc(status) => return format!("grpc_{}", status.name()),
            Self::Violation(violation) => return format!("grpc_{}", violation.name()),
            Self::Messages(flaw) => return format!("grpc_{}", flaw.name()),
        };
        name.to_owned()
    }

    /// What the system or the server said.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Connect(e) | Self::Tls(e) | Self::Io(e) => e.to_string(),
            Self::Timeout => "no answer had begun when the time was up".to_owned(),
            Self::TimeoutBody => "the answer had begun and was not complete when the time was up".to_owned(),
            Self::Closed => "the server closed the connection instead of answering".to_owned(),
            Self::ClosedBody => "the server closed the connection inside the answer".to_owned(),
            Self::Framing(e) | Self::FramingBody(e) => e.to_string(),
            Self::Status(_, body) => String::from_utf8_lossy(body).into_owned(),
            Self::Stream(flaw) | Self::Messages(flaw) => flaw.detail().to_owned(),
            Self::Http2(_, told) => told.clone(),
            Self::Reset(reason) => format!("the server reset the stream: {reason}"),
            Self::GoAway(reason) => format!("the server closed the connection: {reason}"),
            Self::Grpc(status) => status.message().to_owned(),
            Self::Violation(violation) => violation.detail().to_owned(),
        }
    }
}

/// `INTERNAL_ERROR` in small letters; the number of a code without a name.
fn name(reason: Reason) -> String {
    let name = format!("{reason:?}").to_ascii_lowercase();
    if name.contains('(') { u32::from(reason).to_string() } else { name }
}

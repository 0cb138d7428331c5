//! Why a request does not count as answered. One list, because its names are the report's.

use std::io;

use penstock_http1::FramingError;

use crate::sse::Flaw;

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
    /// A stream that is not as expected.
    Stream(Flaw),
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
            Self::Framing(_) => "framing",
            Self::FramingBody(_) => "framing_body",
            Self::Status(status, _) => return format!("status_{status}"),
            Self::Stream(flaw) => flaw.name(),
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
            Self::Stream(flaw) => flaw.detail().to_owned(),
        }
    }
}

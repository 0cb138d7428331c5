//! Why a message was refused, and which status a server answers with.

use std::fmt;

/// A message whose framing is not acceptable. The connection must be closed after answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// A line ended in LF without CR, or CR stood alone.
    BareLineEnd,
    /// The request line or status line does not parse.
    StartLine,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// A header name is not a token, or white space stands before the colon.
    HeaderName,
    /// A header value has a control character.
    HeaderValue,
    /// A header continued on the next line (obs-fold).
    ObsFold,
    /// The head is larger than the limit, or has too many fields.
    HeadTooLarge,
    /// An HTTP/1.1 request without `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// `Host` is not `host[:port]`.
    HostInvalid,
    /// The absolute-form target names another authority than `Host`.
    AuthorityMismatch,
    /// A target form this server does not serve.
    Target,
    /// `Content-Length` is not one decimal number.
    ContentLength,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndEncoding,
    /// A `Transfer-Encoding` other than `chunked`, or in HTTP/1.0.
    TransferEncoding,
    /// The chunked body is malformed.
    Chunk,
    /// The trailer section is larger than the limit.
    TrailersTooLarge,
    /// The peer closed the connection inside a message.
    UnexpectedEof,
}

impl FramingError {
    /// The status a server answers with before it closes.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TrailersTooLarge => 431,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// One sentence for the client.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::BareLineEnd => "a line of the message does not end in CRLF",
            Self::StartLine => "the request line is malformed",
            Self::Version => "only HTTP/1.0, HTTP/1.1 and HTTP/2 are served",
            Self::HeaderName => "a header name is malformed",
            Self::HeaderValue => "a header value has a control character",
            Self::ObsFold => "a header is folded over several lines",
            Self::HeadTooLarge => "the request head is too large",
            Self::HostMissing => "the Host header is missing",
            Self::HostRepeated => "the Host header is repeated",
            Self::HostInvalid => "the Host header is malformed",
            Self::AuthorityMismatch => "the request target names another host than the Host header",
            Self::Target => "the request target is malformed",
            Self::ContentLength => "Content-Length is malformed or repeated",
            Self::LengthAndEncoding => "Content-Length and Transfer-Encoding exclude each other",
            Self::TransferEncoding => "the only transfer encoding served is chunked, in HTTP/1.1",
            Self::Chunk => "the chunked body is malformed",
            Self::TrailersTooLarge => "the trailers are too large",
            Self::UnexpectedEof => "the connection ended inside the message",
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for FramingError {}

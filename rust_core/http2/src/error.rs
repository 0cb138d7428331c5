//! What can be wrong, and whom it concerns: a stream or the whole connection.

use std::fmt;

/// An error code (RFC 9113, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// No error: the connection or the rest of a stream is not wanted any more.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer broke the protocol in a way that no other code names.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// We could not go on.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than the window allowed, or a window grew beyond its bound.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A frame for a stream that is half closed or closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a length that its kind cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was refused before anything of it was looked at.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not wanted any more.
    pub const CANCEL: Self = Self(0x8);
    /// A header block that cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The peer makes work of a kind that nobody who wants answers makes.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP/2 error code {:#x}", self.0)
    }
}

/// Nothing more can be sent on the stream, or comes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends.
    Connection(Reason),
    /// This stream ends.
    Stream(u32, Reason),
}

/// Outcome of taking a frame.
pub(crate) type Taken<T = ()> = Result<T, Fault>;

impl Fault {
    pub(crate) const PROTOCOL: Self = Self::Connection(Reason::PROTOCOL_ERROR);
    pub(crate) const SIZE: Self = Self::Connection(Reason::FRAME_SIZE_ERROR);
    pub(crate) const CALM: Self = Self::Connection(Reason::ENHANCE_YOUR_CALM);
}

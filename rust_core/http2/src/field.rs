//! What a request's header field is, and whether it may be there at all (RFC 9113, sections 8.2 and 8.3).
//!
//! Apart from the head, because a field that the client has put into its table is looked at once and not with each request.

use penstock_http1::{is_field_value, is_token};

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Method,
    Scheme,
    Authority,
    Path,
    /// `content-length`
    Length,
    /// `te`, which may only say `trailers`.
    Te,
    Plain,
    /// One that makes the request malformed.
    Malformed,
}

impl Kind {
    /// What the name says.
    pub(crate) fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b"content-length" => Self::Length,
            b"te" => Self::Te,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => Self::Malformed,
            _ if is_token(name) && !name.iter().any(u8::is_ascii_uppercase) => Self::Plain,
            _ => Self::Malformed,
        }
    }

    /// What a field with such a name is with this value.
    pub(crate) fn with(self, value: &[u8]) -> Self {
        let fits = match self {
            Self::Method => is_token(value),
            Self::Path => !value.is_empty() && value.iter().all(u8::is_ascii_graphic),
            Self::Scheme => !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)),
            Self::Authority => value.iter().all(|b| b.is_ascii_graphic() && !b"/?#\\\"<>^`{|}".contains(b)),
            Self::Length => !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit),
            Self::Te => value.eq_ignore_ascii_case(b"trailers"),
            Self::Plain => is_field_value(value),
            Self::Malformed => false,
        };
        if fits { self } else { Self::Malformed }
    }
}

//! How a call ended: its status, from the trailers, and what may be wrong with an answer besides.

use http::HeaderMap;

/// A status that is not `OK`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    code: u32,
    message: String,
}

/// Names of the codes, in their order; `OK` is not among the failures.
const NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];
const DEADLINE_EXCEEDED: u32 = 4;

impl Status {
    /// Reads it from trailers, or from the head of an answer that has nothing but a status. `None`: it is not there.
    pub(super) fn read(fields: &HeaderMap) -> Option<Result<(), Self>> {
        let code = fields.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        if code == 0 {
            return Some(Ok(()));
        }
        let message = fields.get("grpc-message").map(|value| decoded(value.as_bytes())).unwrap_or_default();
        Some(Err(Self { code, message }))
    }

    /// The deadline was over, as the server says.
    pub(super) fn is_late(&self) -> bool {
        self.code == DEADLINE_EXCEEDED
    }

    /// The code's name in small letters.
    pub(crate) fn name(&self) -> String {
        let known = usize::try_from(self.code).ok().and_then(|code| NAMES.get(code));
        known.map_or_else(|| self.code.to_string(), |name| (*name).to_owned())
    }

    /// What the server said.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// Undoes the percent-encoding of `grpc-message`; what is none stays as it is.
fn decoded(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.filter(|_| *byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a gRPC server never sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The answer is not `application/grpc`.
    ContentType,
    /// There is no status.
    NoStatus,
    /// A unary answer of no message, or of several.
    Count,
    /// The answer ends inside a message.
    Truncated,
    /// A message is compressed, which was not asked for.
    Compressed,
    /// A message is longer than is read.
    TooLong,
    /// A message is not in the wire format of Protocol Buffers.
    Malformed,
}

impl Violation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::NoStatus => "no_status",
            Self::Count => "message_count",
            Self::Truncated => "truncated",
            Self::Compressed => "compressed",
            Self::TooLong => "message_too_long",
            Self::Malformed => "malformed",
        }
    }

    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::ContentType => "the answer is not application/grpc",
            Self::NoStatus => "the answer ended without a status",
            Self::Count => "OK, but not with exactly one message",
            Self::Truncated => "the answer ended inside a message",
            Self::Compressed => "a message is compressed, which was not asked for",
            Self::TooLong => "a message is longer than 64 MB",
            Self::Malformed => "a message is not in the wire format of Protocol Buffers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: &'static str, message: &'static str) -> Option<Result<(), Status>> {
        let pairs = [("grpc-status", code), ("grpc-message", message)];
        let fields = pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Status::read(&fields.collect())
    }

    #[test]
    fn a_status_has_a_name_and_its_message_is_decoded() {
        assert_eq!(read("0", ""), Some(Ok(())));
        let status = read("14", "50%25 gone: %C3%A9, 100% %zz").unwrap().unwrap_err();
        assert_eq!((status.name().as_str(), status.message()), ("unavailable", "50% gone: \u{e9}, 100% %zz"));
        assert_eq!(read("17", "").unwrap().unwrap_err().name(), "17");
        assert_eq!(read("16", "").unwrap().unwrap_err().name(), "unauthenticated");
        assert!(read("4", "").unwrap().unwrap_err().is_late());
        assert_eq!(read("none", ""), None);
        assert_eq!(Status::read(&HeaderMap::new()), None);
    }
}

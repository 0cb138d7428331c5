//! What can be wrong with a JSON answer, and how deep one may be.

use std::fmt;

use crate::grpc::wire::MAX_DEPTH;
use crate::scan::ScanError;

/// Nothing, or what is wrong.
pub(super) type Done = Result<(), Malformed>;

/// Text that is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not UTF-8 from this byte on.
    Utf8 {
        /// The first byte that is not.
        offset: usize,
    },
    /// Not JSON.
    Json(ScanError),
    /// JSON, but not an object.
    NotObject,
    /// More messages inside each other than protobuf's parsers read.
    TooDeep,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf8 { offset } => write!(f, "not UTF-8 at byte {offset}"),
            Self::Json(error) => write!(f, "not JSON: {}", error.detail()),
            Self::NotObject => f.write_str("not a JSON object"),
            Self::TooDeep => write!(f, "nested deeper than the {MAX_DEPTH} messages that clients read"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<ScanError> for Malformed {
    #[cold]
    fn from(error: ScanError) -> Self {
        Self::Json(error)
    }
}

/// One message further in.
#[inline]
pub(super) fn deeper(depth: usize) -> Result<usize, Malformed> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(Malformed::TooDeep) }
}

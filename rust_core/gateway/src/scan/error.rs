//! What can be wrong with a body, in words that a client can act on.

use std::fmt;

/// Why a request body was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Not JSON; `offset` is in bytes from the start of the body.
    NotJson {
        /// Where the scan stopped.
        offset: usize,
        /// What was wrong there.
        what: &'static str,
    },
    /// JSON, but not an object.
    NotObject,
    /// Objects and arrays are nested more than [`super::MAX_DEPTH`] deep.
    TooDeep,
    /// A member that the gateway acts on appears twice, so that two readers could see two different requests.
    DuplicateKey {
        /// The member.
        name: &'static str,
    },
    /// Not UTF-8 from this byte on.
    InvalidUtf8 {
        /// The first byte that cannot be part of UTF-8 text.
        offset: usize,
    },
    /// A member that the gateway acts on has the wrong type.
    WrongType {
        /// The member.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl ScanError {
    /// The member at fault, for the `param` of an OpenAI error.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateKey { name } => Some(name),
            Self::WrongType { field, .. } => Some(field),
            _ => None,
        }
    }
}

impl ScanError {
    /// What is wrong with JSON text that is not a request body.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::NotJson { offset, what } => format!("{what} at byte {offset}"),
            Self::TooDeep => format!("objects and arrays nested more than {} deep", super::MAX_DEPTH),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { offset, what } => write!(f, "the request body is not valid JSON: {what} at byte {offset}"),
            Self::NotObject => f.write_str("the request body must be a JSON object"),
            Self::TooDeep => {
                write!(f, "the request body nests objects and arrays more than {} deep", super::MAX_DEPTH)
            }
            Self::DuplicateKey { name } => {
                write!(f, "'{name}' appears more than once in the request body; send it once")
            }
            Self::InvalidUtf8 { offset } => {
                write!(f, "the request body is not valid UTF-8 at byte {offset}; encode it as UTF-8")
            }
            Self::WrongType { field, expected } => write!(f, "'{field}' must be {expected}"),
        }
    }
}

impl std::error::Error for ScanError {}

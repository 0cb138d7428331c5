//! What is wrong with a request message, and where.
//!
//! The place is put together on the way out, so that a request that is in order pays nothing for it.

use std::borrow::Cow;
use std::fmt::Write;

use crate::errors::{Failure, Kind};
use crate::grpc::wire::Malformed;

/// Nothing, or what is wrong.
pub(super) type Done = Result<(), Wrong>;

/// A defect of a request message. Boxed: it is rare, and what is returned all the time should be small.
#[derive(Debug)]
pub(super) struct Wrong(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    what: Cow<'static, str>,
    /// From the inside out.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Member(Cow<'static, str>),
    Index(usize),
}

impl Wrong {
    /// `what` goes on a sentence that begins with the place.
    #[cold]
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind: Kind::BadRequest, what: what.into(), path: Vec::new() }))
    }

    /// There is too much of it all; no place is to blame.
    #[cold]
    pub(super) fn too_large(limit: usize) -> Self {
        let what = format!("is larger than {limit} bytes as JSON").into();
        Self(Box::new(Inner { kind: Kind::BodyTooLarge, what, path: Vec::new() }))
    }

    /// Says in which member it is.
    #[cold]
    pub(super) fn inside(mut self, member: impl Into<Cow<'static, str>>) -> Self {
        let member = member.into();
        if !member.is_empty() {
            self.0.path.push(Step::Member(member));
        }
        self
    }

    /// Says in which element it is.
    #[cold]
    pub(super) fn at(mut self, index: usize) -> Self {
        self.0.path.push(Step::Index(index));
        self
    }

    /// The failure of the call.
    #[cold]
    pub(super) fn failure(self) -> Failure {
        let mut place = String::new();
        for step in self.0.path.iter().rev() {
            // Writing to memory does not fail.
            let _ = match step {
                Step::Index(index) => write!(place, "[{index}]"),
                Step::Member(name) if place.is_empty() => write!(place, "{name}"),
                Step::Member(name) => write!(place, ".{name}"),
            };
        }
        if place.is_empty() || self.0.kind == Kind::BodyTooLarge {
            return Failure::new(self.0.kind, format!("The request message {}.", self.0.what));
        }
        Failure::new(Kind::BadRequest, format!("`{place}` {}.", self.0.what)).param(place)
    }
}

impl From<Malformed> for Wrong {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Self::new(format!("is not a protobuf message: {malformed}"))
    }
}

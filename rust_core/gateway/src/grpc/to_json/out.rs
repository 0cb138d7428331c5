//! Where the JSON goes, and how much of it there may be.

use std::ops::{Deref, DerefMut};

use bytes::BytesMut;

use super::error::{Done, Wrong};

/// A buffer for an object of bounded length. Writing takes no notice of the bound: whoever writes in a loop asks
/// [`Out::check`], so that what is beyond it is at most one scalar.
#[derive(Debug)]
pub(super) struct Out<'a> {
    text: &'a mut BytesMut,
    /// The length of `text` that is the most.
    end: usize,
    limit: usize,
}

impl<'a> Out<'a> {
    /// At most `limit` bytes after what is in `text` already.
    pub(super) fn new(text: &'a mut BytesMut, limit: usize) -> Self {
        let end = text.len().saturating_add(limit);
        Self { text, end, limit }
    }

    /// How much of it there may be.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is not too much of it yet.
    #[inline]
    pub(super) fn check(&self) -> Done {
        if self.text.len() > self.end { Err(Wrong::too_large(self.limit)) } else { Ok(()) }
    }
}

impl Deref for Out<'_> {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        self.text
    }
}

impl DerefMut for Out<'_> {
    fn deref_mut(&mut self) -> &mut BytesMut {
        self.text
    }
}

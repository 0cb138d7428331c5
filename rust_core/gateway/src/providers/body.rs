//! An upstream request's body in pieces, so that a large prompt is not copied to change the name of its model.

use bytes::Bytes;

/// Pieces that are sent one after the other.
#[derive(Debug, Default)]
pub struct Body {
    first: Bytes,
    more: Vec<Bytes>,
}

impl Body {
    /// From pieces, in order.
    #[must_use]
    pub fn of(mut pieces: Vec<Bytes>) -> Self {
        if pieces.is_empty() { Self::default() } else { Self { first: pieces.remove(0), more: pieces } }
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// Whether there is no body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.first).chain(&self.more).map(|piece| &piece[..])
    }

    /// In one piece, for whoever has to read it.
    #[must_use]
    pub fn whole(self) -> Bytes {
        if self.more.is_empty() { self.first } else { Bytes::from(self.pieces().collect::<Vec<_>>().concat()) }
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self { first: whole, more: Vec::new() }
    }
}

//! What a client says on a session, message by message, whatever their sizes.

use std::time::Duration;

use bytes::Bytes;

use super::frames::{self, Asked, Start};
use super::oversized::{self, Oversized};
use crate::errors::{Failure, Kind};
use crate::grpc::frame::{self, Inflating, PREFIX};
use crate::grpc::status::Status;
use crate::listener::transport::Pace;

/// A message that is larger than this, and than the bound, is not read to its end, in bytes.
const MOST: usize = 64 << 20;

/// The messages of a client.
pub(super) struct Requests<'a> {
    reader: frame::Reader,
    inflating: Inflating<'a>,
    limit: usize,
    /// One that is too large and not over.
    oversized: Option<Oversized>,
    /// How slowly the one may come that has begun.
    pace: Option<Pace>,
    /// Bytes of it so far.
    received: usize,
    pause: Duration,
}

impl<'a> Requests<'a> {
    /// `limit`: how large they may be, in bytes; `pause`: the longest within one of them.
    pub(super) fn new(inflating: Inflating<'a>, limit: usize, pause: Duration) -> Self {
        Self { reader: frame::Reader::default(), inflating, limit, oversized: None, pace: None, received: 0, pause }
    }

    /// The next piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.received += piece.len();
        self.reader.push(piece);
    }

    /// Whether a message has begun and is not over; to be asked after each piece.
    ///
    /// # Errors
    /// What the session ends with: it comes too slowly.
    pub(super) fn has_begun(&mut self) -> Result<bool, Status> {
        if self.is_empty() {
            return Ok(false);
        }
        let pace = self.pace.get_or_insert_with(|| Pace::new(self.pause));
        pace.check(self.received).map(|()| true).map_err(|_| too_slow())
    }

    /// Whether nothing of a message is there.
    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty() && self.oversized.is_none()
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) {
        (self.reader, self.oversized) = (frame::Reader::default(), None);
    }

    /// The next message, once it is whole.
    ///
    /// # Errors
    /// What the session ends with: it is none, or is too large and does not say which call it begins.
    pub(super) async fn next(&mut self) -> Result<Option<Asked>, Status> {
        let asked = self.whole().await?;
        if asked.is_some() {
            (self.pace, self.received) = (None, self.reader.len());
        }
        Ok(asked)
    }

    async fn whole(&mut self) -> Result<Option<Asked>, Status> {
        if let Some((flag, length)) = self.reader.announced().filter(|_| self.oversized.is_none())
            && length > self.limit
        {
            if length > self.limit.max(MOST) || !self.inflating.understands(flag) {
                return Err(self.too_large());
            }
            self.reader.take(PREFIX);
            self.oversized = Some(Oversized::new(length, flag != 0));
        }
        if let Some(mut oversized) = self.oversized.take() {
            oversized.push(&self.reader.take(oversized.left()));
            if oversized.left() == 0 {
                return self.refused(oversized.id()).map(Some);
            }
            self.oversized = Some(oversized);
            return Ok(None);
        }
        let Some(frame) = self.reader.next(self.limit).map_err(|failure| Status::of(&failure))? else {
            return Ok(None);
        };
        let packed = (frame.flag != 0).then(|| frame.data.clone());
        match self.inflating.message(frame, self.limit).await {
            Ok(message) => frames::read(&message).map(Some).map_err(|failure| Status::of(&failure)),
            Err((failure, None)) if failure.kind == Kind::BodyTooLarge => {
                self.refused(packed.as_deref().and_then(oversized::id_of_packed)).map(Some)
            }
            Err((failure, code)) => Err(code.map_or_else(|| Status::of(&failure), |code| Status::with(code, &failure))),
        }
    }

    /// A call that is too large to be made.
    fn refused(&self, id: Option<u64>) -> Result<Asked, Status> {
        let id = id.ok_or_else(|| self.too_large())?;
        Ok(Asked::Start(Start::failed(id, frame::too_large(self.limit))))
    }

    fn too_large(&self) -> Status {
        Status::of(&frame::too_large(self.limit))
    }
}

/// The client began a message and does not go on with it.
pub(super) fn too_slow() -> Status {
    Status::of(&Failure::new(Kind::RequestTimeout, "A message of the session took too long to arrive.").param("frame"))
}

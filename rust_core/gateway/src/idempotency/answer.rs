//! An answer as it was sent, and the copy that is made while it is sent.

use bytes::{Bytes, BytesMut};

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `name: value` lines, without those that belong to the connection.
    pub headers: Bytes,
    /// The whole body.
    pub body: Bytes,
    /// It was sent in pieces.
    pub streamed: bool,
}

impl Answer {
    /// What it weighs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.headers.len() + self.body.len()
    }
}

/// A copy of an answer that is being sent.
#[derive(Debug)]
pub struct Transcript {
    room: usize,
    status: u16,
    headers: Bytes,
    body: BytesMut,
    streamed: bool,
    overflowed: bool,
    ended: bool,
}

impl Transcript {
    /// An empty copy of an answer of at most `room` bytes.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room,
            status: 0,
            headers: Bytes::new(),
            body: BytesMut::new(),
            streamed: false,
            overflowed: false,
            ended: false,
        }
    }

    /// The answer begins; `headers`: `name: value` lines.
    pub fn begin(&mut self, status: u16, headers: &[u8], streamed: bool) {
        self.status = status;
        self.headers = Bytes::copy_from_slice(headers);
        self.streamed = streamed;
    }

    /// More of its body.
    pub fn add(&mut self, data: &[u8]) {
        if self.headers.len() + self.body.len() + data.len() > self.room {
            self.overflowed = true;
            self.body = BytesMut::new();
        }
        if !self.overflowed {
            self.body.extend_from_slice(data);
        }
    }

    /// Its body is complete.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// HTTP status of the answer; 0: it was not begun.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether it was sent in pieces.
    #[must_use]
    pub fn streamed(&self) -> bool {
        self.streamed
    }

    /// The answer, if it is complete; `Some(None)`: it is, and is too large.
    #[must_use]
    pub fn answer(self) -> Option<Option<Answer>> {
        let Self { status, headers, body, streamed, overflowed, ended, .. } = self;
        ended.then(|| {
            (!overflowed).then(|| {
                // Of the right size: what is kept is counted by its length.
                Answer { status, headers, body: Bytes::copy_from_slice(&body), streamed }
            })
        })
    }
}

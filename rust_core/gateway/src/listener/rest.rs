//! A REST answer on its way out: the transport's bytes, and the copy of them that some calls ask for.
//!
//! Apart from [`Transport`], which moves bytes and keeps none.

use std::time::Duration;

use bytes::Bytes;

use super::transport::{BodyError, Gone, HeaderLines, Transport};
use crate::idempotency::Transcript;

/// A request whose answer is the body.
#[derive(Debug)]
pub struct Rest<'a> {
    way: Transport<'a>,
    copy: Option<Box<Transcript>>,
}

impl<'a> From<Transport<'a>> for Rest<'a> {
    fn from(way: Transport<'a>) -> Self {
        Self { way, copy: None }
    }
}

impl<'a> Rest<'a> {
    pub(super) fn into_transport(self) -> Transport<'a> {
        self.way
    }

    /// From now on a copy is made of what is sent.
    pub(super) fn keep_copy(&mut self, room: usize) {
        self.copy = Some(Box::new(Transcript::new(room)));
    }

    pub(super) fn take_copy(&mut self) -> Option<Box<Transcript>> {
        self.copy.take()
    }

    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.way.next_piece().await
    }

    pub(super) async fn body(&mut self, limit: usize, pause: Duration) -> Result<Bytes, BodyError> {
        self.way.body(limit, pause).await
    }

    pub(super) async fn full(&mut self, status: u16, headers: &HeaderLines, body: Bytes) -> Result<(), Gone> {
        if let Some(copy) = &mut self.copy {
            copy.begin(status, &headers.0, false);
            copy.add(&body);
            copy.end();
        }
        self.way.full(status, headers, body).await
    }

    pub(super) fn start(&mut self, status: u16, headers: &HeaderLines, length: Option<u64>) -> Result<(), Gone> {
        if let Some(copy) = &mut self.copy {
            copy.begin(status, &headers.0, true);
        }
        self.way.start(status, headers, length)
    }

    pub(super) fn queue(&mut self, data: &[u8]) {
        if let Some(copy) = &mut self.copy {
            copy.add(data);
        }
        self.way.queue(data);
    }

    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        self.way.flush().await
    }

    pub(super) async fn finish(&mut self) -> Result<(), Gone> {
        if let Some(copy) = &mut self.copy {
            copy.end();
        }
        self.way.finish().await
    }

    pub(super) fn abort(&mut self) {
        self.copy = None;
        self.way.abort();
    }

    pub(super) async fn closed(&mut self) {
        self.way.closed().await;
    }

    pub(super) fn started(&self) -> bool {
        self.way.started()
    }

    pub(super) fn sent(&self) -> u64 {
        self.way.sent()
    }
}

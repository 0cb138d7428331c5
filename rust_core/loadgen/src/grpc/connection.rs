//! One HTTP/2 connection for many calls: opened by whoever needs it first, again when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::sync::Mutex;

use crate::failure::Failure;
use crate::transport::Connector;

/// Of a stream: more than any message that is expected, so that a window is not what is measured.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Of all streams of a connection.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// The connection that some callers have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    current: Mutex<Option<Lease>>,
    opened: AtomicU64,
    reported: AtomicU64,
}

/// A caller's hold on a connection.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) send: SendRequest<Bytes>,
    line: Arc<Line>,
}

/// What is known of a connection.
#[derive(Debug)]
struct Line {
    opened: Instant,
    /// Nanoseconds from then to when anything last came.
    heard: AtomicU64,
}

impl Lease {
    /// Something has come.
    pub(super) fn heard(&self) {
        let nanos = u64::try_from(self.line.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.line.heard.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Whether anything has come since then. Of a peer that is gone nothing ever does, and nobody says so.
    pub(super) fn has_heard_since(&self, time: Instant) -> bool {
        let nanos = time.saturating_duration_since(self.line.opened).as_nanos();
        u128::from(self.line.heard.load(Ordering::Relaxed)) >= nanos
    }
}

impl Shared {
    /// The connection; opens it unless it is open.
    pub(super) async fn lease(&self, connector: &Connector) -> Result<Lease, Failure> {
        let mut current = self.current.lock().await;
        if let Some(lease) = &*current {
            return Ok(lease.clone());
        }
        let transport = connector.connect().await?;
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(transport);
        let (send, connection) = handshake.await.map_err(|e| Failure::of_h2(e, false))?;
        // Ends with the connection, or with its last caller; failures are those of the calls.
        drop(tokio::spawn(async move { drop(connection.await) }));
        self.opened.fetch_add(1, Ordering::Relaxed);
        let lease = Lease { send, line: Arc::new(Line { opened: Instant::now(), heard: AtomicU64::new(0) }) };
        Ok(current.insert(lease).clone())
    }

    /// This connection takes no more calls: the next caller opens another one, unless one has already.
    pub(super) async fn leave(&self, lease: &Lease) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(&now.line, &lease.line)) {
            *current = None;
        }
    }

    /// Connections opened since the last question, but for the first.
    pub(super) fn take_reconnects(&self) -> u64 {
        let again = self.opened.load(Ordering::Relaxed).saturating_sub(1);
        again.saturating_sub(self.reported.swap(again, Ordering::Relaxed))
    }
}

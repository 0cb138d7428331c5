//! Calls that arrived at another listener and were handed over by `Engine.submit`.
//!
//! The answer goes up as events on the hook queue; the other side grants credit for each piece it
//! has passed on, so that a slow reader holds the upstream back here too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::{Framing, Headers, RequestHead, Version};
use tokio::sync::{Notify, mpsc};

use super::exchange::{Exchange, Gone, HeaderLines, Transport};
use super::{Peer, dispatch};
use crate::engine::Core;
use crate::hooks::{Event, Events};

/// Pieces that may be under way before the other side grants more.
const CREDIT: usize = 16;

/// A call handed over.
#[derive(Debug)]
pub struct Submitted {
    /// Id of its events.
    pub id: u64,
    /// Request line and headers.
    pub method: Bytes,
    /// Path and query.
    pub target: Bytes,
    /// Headers.
    pub headers: Headers,
    /// Whole body.
    pub body: Bytes,
    /// The peer.
    pub client: IpAddr,
    /// Shared with the granting side.
    pub handle: Arc<Handle>,
}

/// What the other side can do to a call.
#[derive(Debug)]
pub struct Handle {
    credit: tokio::sync::Semaphore,
    left: AtomicBool,
    gone: Notify,
}

impl Default for Handle {
    fn default() -> Self {
        Self { credit: tokio::sync::Semaphore::new(CREDIT), left: AtomicBool::new(false), gone: Notify::new() }
    }
}

/// Open calls by id, and the way to the threads that run them.
#[derive(Debug, Default)]
pub struct Bridge {
    open: Mutex<HashMap<u64, Arc<Handle>>>,
    threads: Mutex<Vec<mpsc::UnboundedSender<Submitted>>>,
}

impl Bridge {
    /// A thread announces itself.
    pub(crate) fn register(&self, sender: mpsc::UnboundedSender<Submitted>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }

    /// Hands a call to a thread; `false` when none runs.
    pub fn submit(&self, call: Submitted) -> bool {
        let id = call.id;
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(id).unwrap_or(0) % threads.len().max(1);
        let Some(thread) = threads.get(index) else { return false };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&call.handle));
        thread.send(call).is_ok()
    }

    /// Allows more pieces.
    pub fn credit(&self, id: u64, count: usize) {
        if let Some(handle) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            handle.credit.add_permits(count);
        }
    }

    /// The client has gone.
    pub fn cancel(&self, id: u64) {
        let handle = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(handle) = handle {
            handle.credit.close();
            handle.left.store(true, Ordering::Release);
            handle.gone.notify_one();
        }
    }

    fn close(&self, id: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Runs one call on this thread.
pub(crate) async fn serve(core: &Rc<Core>, call: Submitted) {
    let head_only = &call.method[..] == b"HEAD";
    let head = RequestHead {
        method: call.method,
        target: call.target,
        version: Version::Http11,
        framing: if call.body.is_empty() { Framing::None } else { Framing::Length(call.body.len() as u64) },
        headers: call.headers,
        keep_alive: true,
        expect_continue: false,
        upgrade: false,
    };
    let peer = Peer { address: call.client, tls: false };
    let mut exchange = Exchange::rest(Transport::Bridge(BridgeExchange {
        core: Rc::clone(core),
        id: call.id,
        events: Arc::clone(&core.shared.events),
        body: (!call.body.is_empty()).then_some(call.body),
        pending: BytesMut::new(),
        handle: call.handle,
        write_timeout: Duration::from_millis(core.shared.options.write_timeout_ms),
        head_only,
        started: false,
        finished: false,
        sent: 0,
    }));
    let _closing = Closing { core: Rc::clone(core), id: call.id };
    dispatch(core, head, &mut exchange, peer).await;
}

/// Forgets the call however it ends.
struct Closing {
    core: Rc<Core>,
    id: u64,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.core.shared.bridge.close(self.id);
    }
}

/// One handed-over request being answered.
#[derive(Debug)]
pub struct BridgeExchange {
    core: Rc<Core>,
    id: u64,
    events: Arc<Events>,
    body: Option<Bytes>,
    pending: BytesMut,
    handle: Arc<Handle>,
    write_timeout: Duration,
    head_only: bool,
    started: bool,
    finished: bool,
    pub(super) sent: u64,
}

impl Drop for BridgeExchange {
    fn drop(&mut self) {
        if !self.finished {
            self.emit("call.abort", Bytes::new());
        }
    }
}

impl BridgeExchange {
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        self.body.take()
    }

    fn emit(&self, kind: &'static str, payload: Bytes) {
        self.events.push(Event { id: self.id, kind, payload });
    }

    pub(super) async fn full(&mut self, status: u16, headers: &HeaderLines, body: Bytes) -> Result<(), Gone> {
        self.start(status, headers, Some(body.len() as u64));
        self.sent += body.len() as u64;
        if !body.is_empty() && !self.head_only {
            self.send(body).await?;
        }
        self.finish().await
    }

    pub(super) fn start(&mut self, status: u16, headers: &HeaderLines, length: Option<u64>) {
        self.started = true;
        let mut pairs: Vec<(String, String)> = headers.iter().map(|(n, v)| (latin1(n), latin1(v))).collect();
        if let Some(length) = length.filter(|_| status != 204 && status != 304) {
            pairs.push(("content-length".to_owned(), length.to_string()));
        }
        let payload = serde_json::json!({"status": status, "headers": pairs}).to_string();
        self.emit("call.head", Bytes::from(payload));
    }

    pub(super) fn queue(&mut self, data: &[u8]) {
        self.sent += data.len() as u64;
        if !self.head_only {
            self.pending.extend_from_slice(data);
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let data = self.pending.split().freeze();
        self.send(data).await
    }

    async fn send(&mut self, data: Bytes) -> Result<(), Gone> {
        let permit = self.core.timers.within(self.write_timeout, self.handle.credit.acquire()).await;
        let permit = permit.map_err(|_| Gone)?.map_err(|_| Gone)?;
        permit.forget();
        self.emit("call.data", data);
        Ok(())
    }

    pub(super) async fn finish(&mut self) -> Result<(), Gone> {
        self.flush().await?;
        self.finished = true;
        self.emit("call.end", Bytes::new());
        Ok(())
    }

    pub(super) fn abort(&mut self) {
        self.pending.clear();
    }

    pub(super) async fn closed(&mut self) {
        if !self.handle.left.load(Ordering::Acquire) {
            self.handle.gone.notified().await;
        }
    }

    pub(super) fn started(&self) -> bool {
        self.started
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

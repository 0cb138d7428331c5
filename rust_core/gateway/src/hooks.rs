//! What goes up to Python: a queue of events and one file descriptor that says there are some.
//!
//! However many events wait, the loop is woken once and drains them in one take of the GIL. Key
//! look-ups for the same key share one event, and one that was invalidated while it was under way
//! is asked again, so that a revoked key cannot come back through a stale answer.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::auth::digest::Digest;
use crate::auth::record::{Key, KeyRecord};
use crate::auth::table::KeyTable;

/// Key look-ups under way at once.
const MOST_LOOKUPS: usize = 512;

/// Something for Python.
#[derive(Debug)]
pub struct Event {
    /// Hook or call id.
    pub id: u64,
    /// `hook.key`, `call.head`, ...
    pub kind: &'static str,
    /// JSON or body bytes.
    pub payload: Bytes,
}

/// The queue and its wake-up.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<Vec<Event>>,
    signalled: AtomicBool,
    next: AtomicU64,
    bell: UnixStream,
    ear: UnixStream,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// An empty queue.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn new() -> std::io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self { queue: Mutex::default(), signalled: AtomicBool::new(false), next: AtomicU64::new(1), bell, ear })
    }

    /// Readable when there are events.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// A fresh id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues an event and wakes Python unless it is awake already.
    pub fn push(&self, event: Event) {
        lock(&self.queue).push(event);
        if !self.signalled.swap(true, Ordering::AcqRel) {
            // A full pipe means that the bell has rung.
            let _ = (&self.bell).write(&[1]);
        }
    }

    /// Everything queued.
    #[must_use]
    pub fn drain(&self) -> Vec<Event> {
        let mut sink = [0u8; 64];
        while matches!((&self.ear).read(&mut sink), Ok(n) if n == sink.len()) {}
        self.signalled.store(false, Ordering::Release);
        std::mem::take(&mut *lock(&self.queue))
    }
}

struct Pending {
    digest: Digest,
    stale: bool,
    waiters: Vec<oneshot::Sender<Option<Arc<Key>>>>,
}

/// Key look-ups under way.
pub struct KeyHooks {
    events: Arc<Events>,
    pending: Mutex<(HashMap<u64, Pending>, HashMap<Digest, u64>)>,
}

impl std::fmt::Debug for KeyHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHooks")
    }
}

impl KeyHooks {
    /// Look-ups that go through this queue.
    #[must_use]
    pub fn new(events: Arc<Events>) -> Self {
        Self { events, pending: Mutex::default() }
    }

    /// Asks the control plane for a key; the receiver gets `None` when there is no such key. Nothing when so many
    /// look-ups are under way that another would only delay them.
    #[must_use]
    pub fn ask(&self, digest: Digest) -> Option<oneshot::Receiver<Option<Arc<Key>>>> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = lock(&self.pending);
        let (by_id, by_digest) = &mut *pending;
        if let Some(id) = by_digest.get(&digest).copied() {
            if let Some(p) = by_id.get_mut(&id) {
                p.waiters.retain(|w| !w.is_closed());
                if !p.waiters.is_empty() {
                    p.waiters.push(sender);
                    return Some(receiver);
                }
            }
            // Everybody gave up on an answer that never came: ask again.
            by_id.remove(&id);
        }
        if by_id.len() >= MOST_LOOKUPS {
            // Look-ups that nobody waits for any more were lost on the way.
            by_id.retain(|_, p| p.waiters.iter().any(|w| !w.is_closed()));
            let open: std::collections::HashSet<u64> = by_id.keys().copied().collect();
            by_digest.retain(|_, id| open.contains(id));
            if by_id.len() >= MOST_LOOKUPS {
                return None;
            }
        }
        let id = self.events.id();
        by_id.insert(id, Pending { digest, stale: false, waiters: vec![sender] });
        by_digest.insert(digest, id);
        drop(pending);
        self.emit(id, &digest);
        Some(receiver)
    }

    fn emit(&self, id: u64, digest: &Digest) {
        let payload = Bytes::from(format!("{{\"token\":\"{digest}\"}}"));
        self.events.push(Event { id, kind: "hook.key", payload });
    }

    /// What is being asked about these keys is out of date.
    pub fn invalidate(&self, digest: &Digest) {
        let mut pending = lock(&self.pending);
        let (by_id, by_digest) = &mut *pending;
        if let Some(p) = by_digest.get(digest).and_then(|id| by_id.get_mut(id)) {
            p.stale = true;
        }
    }

    /// The control plane's answer; unknown ids are ignored.
    ///
    /// # Errors
    /// The answer is not a key record.
    pub fn resolve(&self, id: u64, answer: &[u8], table: &KeyTable, now_ns: u64) -> Result<(), String> {
        let mut pending = lock(&self.pending);
        let (by_id, by_digest) = &mut *pending;
        let Some(mut p) = by_id.remove(&id) else { return Ok(()) };
        if answer.is_empty() {
            // The control plane cannot say: the callers are told so at once.
            by_digest.remove(&p.digest);
            return Ok(());
        }
        let record: Option<KeyRecord> = serde_json::from_slice(answer).map_err(|e| {
            by_digest.remove(&p.digest);
            format!("key record: {e}")
        })?;
        p.waiters.retain(|w| !w.is_closed());
        if p.stale && !p.waiters.is_empty() {
            let again = self.events.id();
            let digest = p.digest;
            p.stale = false;
            by_digest.insert(digest, again);
            by_id.insert(again, p);
            drop(pending);
            self.emit(again, &digest);
            return Ok(());
        }
        by_digest.remove(&p.digest);
        let key = if p.stale {
            None
        } else if let Some(record) = record {
            Some(table.insert(record).map_err(|e| e.to_string())?)
        } else {
            table.insert_unknown(p.digest, now_ns);
            None
        };
        drop(pending);
        for waiter in p.waiters {
            let _ = waiter.send(key.clone());
        }
        Ok(())
    }
}

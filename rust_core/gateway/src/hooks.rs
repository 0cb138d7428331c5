//! What goes up to Python: a queue of events and one file descriptor that says there are some.
//!
//! However many events wait, the loop is woken once and drains them in one take of the GIL. Look-ups
//! of the same key or scope share one event, and one that was invalidated while it was under way
//! is asked again, so that a revoked key cannot come back through a stale answer.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::auth::digest::Digest;
use crate::auth::record::Key;
use crate::auth::scope::Scope;

/// Look-ups of one kind that may be under way at once.
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

struct Pending<N, F> {
    name: N,
    stale: bool,
    waiters: Vec<oneshot::Sender<Option<F>>>,
}

/// By id of the event and by name.
type UnderWay<N, F> = (HashMap<u64, Pending<N, F>>, HashMap<N, u64>);

/// Look-ups under way, of one kind: what has the name `N` is found as `F`.
pub struct Lookups<N, F> {
    events: Arc<Events>,
    kind: &'static str,
    payload: fn(&N) -> Bytes,
    pending: Mutex<UnderWay<N, F>>,
}

/// Look-ups of keys.
pub type KeyHooks = Lookups<Digest, Arc<Key>>;
/// Look-ups of customers and tags.
pub type ScopeHooks = Lookups<Arc<str>, Arc<Scope>>;

impl<N, F> std::fmt::Debug for Lookups<N, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

impl KeyHooks {
    /// No look-up under way.
    #[must_use]
    pub fn of_keys(events: Arc<Events>) -> Self {
        Self::new(events, "hook.key", |digest| Bytes::from(format!("{{\"token\":\"{digest}\"}}")))
    }
}

impl ScopeHooks {
    /// No look-up under way.
    #[must_use]
    pub fn of_scopes(events: Arc<Events>) -> Self {
        Self::new(events, "hook.scope", |name| Bytes::from(serde_json::json!({ "scope": &**name }).to_string()))
    }
}

impl<N: Clone + Eq + Hash, F: Clone> Lookups<N, F> {
    fn new(events: Arc<Events>, kind: &'static str, payload: fn(&N) -> Bytes) -> Self {
        Self { events, kind, payload, pending: Mutex::default() }
    }

    /// Asks the control plane; the answer comes to all who asked meanwhile. `None`: too much is being asked.
    pub fn ask(&self, name: N) -> Option<oneshot::Receiver<Option<F>>> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = lock(&self.pending);
        let (by_id, by_name) = &mut *pending;
        if let Some(id) = by_name.get(&name).copied() {
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
            by_name.retain(|_, id| by_id.contains_key(id));
            if by_id.len() >= MOST_LOOKUPS {
                return None;
            }
        }
        let id = self.events.id();
        by_id.insert(id, Pending { name: name.clone(), stale: false, waiters: vec![sender] });
        let payload = (self.payload)(&name);
        by_name.insert(name, id);
        drop(pending);
        self.events.push(Event { id, kind: self.kind, payload });
        Some(receiver)
    }

    /// What is being asked under this name is out of date.
    pub fn invalidate<Q: Eq + Hash + ?Sized>(&self, name: &Q)
    where
        N: Borrow<Q>,
    {
        let mut pending = lock(&self.pending);
        let (by_id, by_name) = &mut *pending;
        if let Some(p) = by_name.get(name).and_then(|id| by_id.get_mut(id)) {
            p.stale = true;
        }
    }

    /// The control plane's answer, which `take` reads and puts where it belongs. False: the id is none of these.
    ///
    /// # Errors
    /// What `take` says.
    pub fn resolve(
        &self,
        id: u64,
        answer: &[u8],
        take: impl FnOnce(&N, &[u8]) -> Result<Option<F>, String>,
    ) -> Result<bool, String> {
        let mut pending = lock(&self.pending);
        let (by_id, by_name) = &mut *pending;
        let Some(mut p) = by_id.remove(&id) else { return Ok(false) };
        if answer.is_empty() {
            // The control plane cannot say: the callers are told so at once.
            by_name.remove(&p.name);
            return Ok(true);
        }
        p.waiters.retain(|w| !w.is_closed());
        if p.stale && !p.waiters.is_empty() {
            let again = self.events.id();
            let payload = (self.payload)(&p.name);
            p.stale = false;
            by_name.insert(p.name.clone(), again);
            by_id.insert(again, p);
            drop(pending);
            self.events.push(Event { id: again, kind: self.kind, payload });
            return Ok(true);
        }
        by_name.remove(&p.name);
        let found = if p.stale { None } else { take(&p.name, answer)? };
        drop(pending);
        for waiter in p.waiters {
            let _ = waiter.send(found.clone());
        }
        Ok(true)
    }
}

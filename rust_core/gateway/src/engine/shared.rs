//! What calls stand on: what all threads of the data plane share, and what each of them owns.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::BytesMut;
use tokio::sync::{Semaphore, watch};

use crate::auth::cidr::CidrSet;
use crate::auth::digest::Pepper;
use crate::auth::table::KeyTable;
use crate::busy::Busy;
use crate::hex;
use crate::hooks::{Events, KeyHooks, ScopeHooks};
use crate::idempotency::{Answers, Elsewhere};
use crate::ledger::Ledger;
use crate::limits::lease::Quota;
use crate::limits::{Clock, Slots};
use crate::listener::bridge::Bridge;
use crate::snapshot::{EngineOptions, Snapshot};
use crate::stage::{LocalStage, Stage};
use crate::telemetry::Metrics;
use crate::timers::Timers;
use crate::upstream::{Connector, Pool};

/// What all threads share.
pub struct Shared {
    /// Fixed for the life of the process.
    pub options: EngineOptions,
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// TLS of the public port.
    pub tls: ArcSwapOption<rustls::ServerConfig>,
    /// Digests keys.
    pub pepper: Pepper,
    /// Known and unknown keys.
    pub keys: KeyTable,
    /// Key look-ups under way.
    pub key_hooks: KeyHooks,
    /// Look-ups of customers and tags under way.
    pub scope_hooks: ScopeHooks,
    /// Limits that are shared with other gateways.
    pub quota: Quota,
    /// What goes up to Python.
    pub events: Arc<Events>,
    /// Usage records.
    pub ledger: Ledger,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// Calls handed over by another listener.
    pub bridge: Bridge,
    /// Proxies whose word is taken.
    pub trusted: CidrSet,
    /// Answers kept under idempotency keys.
    pub answers: Arc<Answers>,
    /// Those of all gateways.
    pub elsewhere: Arc<Elsewhere>,
    /// Both clocks.
    pub clock: Clock,
    /// Calls in flight over all keys.
    pub slots: Arc<Slots>,
    /// Room beside the threads for long texts that are counted for their own sake: one for each thread, so that the
    /// counting that calls wait for never waits behind them.
    pub counting: Arc<Semaphore>,
    /// Open client connections.
    pub connections: AtomicUsize,
    /// What readiness answers.
    pub ready: watch::Sender<bool>,
    /// How far on the way out.
    pub stage: watch::Sender<Stage>,
    /// How long calls in flight may go on from [`Stage::Draining`], in milliseconds.
    pub grace_ms: AtomicU64,
    pub(super) connector: Connector,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("stage", &self.stage()).finish_non_exhaustive()
    }
}

impl Shared {
    /// How far on the way out.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// What readiness answers, whatever the stage.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Says what readiness answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }

    /// Nanoseconds of the monotonic clock.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock.mono_ns(Instant::now())
    }
}

/// What one thread owns.
pub struct Core {
    /// Shared by all threads.
    pub shared: Arc<Shared>,
    /// Upstream connections of this thread.
    pub pool: Rc<Pool>,
    /// Output buffers to use again.
    pub buffers: Buffers,
    /// Timers to use again.
    pub timers: Timers,
    /// Room for a large request message that is inflated: one at a time.
    pub inflating: Semaphore,
    /// Keeps the thread awake between a request and its answer.
    pub busy: Busy,
    /// How far on the way out, for the tasks of this thread.
    pub stage: LocalStage,
    /// Number of this thread.
    pub thread: usize,
    pub(super) random: RefCell<u64>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Core {
    /// Whether new calls are welcome: the gateway is ready, and not on its way out.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.shared.is_ready() && self.stage.get() == Stage::Running
    }

    /// A random number, good enough for ids, jitter and picking deployments; never for secrets.
    pub fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut state = self.random.borrow_mut();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A call id: a UUID of version 7 (RFC 9562), so that ids sort by time.
    pub fn call_id(&self, unix_ms: u64) -> Arc<str> {
        let (a, b) = (u128::from(self.random()), u128::from(self.random()));
        // Unix milliseconds (48 bits), version (4), random (12), variant (2), random (62).
        let id = u128::from(unix_ms & 0xffff_ffff_ffff) << 80 | 7 << 76 | (a & 0xfff) << 64 | 2 << 62 | b >> 2;
        let mut text = *b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        let places = text.iter_mut().filter(|place| **place != b'-');
        let digits: [u8; 32] = hex::digits(&id.to_be_bytes());
        places.zip(digits).for_each(|(place, digit)| *place = digit);
        std::str::from_utf8(&text).unwrap_or_default().into()
    }
}

/// Buffers that idle connections do not keep.
#[derive(Debug, Default)]
pub struct Buffers(RefCell<Vec<BytesMut>>);

impl Buffers {
    /// An empty buffer.
    pub fn take(&self) -> BytesMut {
        self.0.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(4096))
    }

    /// Gives a buffer back; large or surplus ones are freed.
    pub fn give(&self, mut buffer: BytesMut) {
        let mut spare = self.0.borrow_mut();
        if buffer.capacity() <= 64 * 1024 && buffer.capacity() > 0 && spare.len() < 64 {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

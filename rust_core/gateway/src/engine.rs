//! The data plane as a whole: what all threads share, what each thread owns, how it starts and ends.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::BytesMut;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::LocalSet;

use crate::auth::cidr::CidrSet;
use crate::auth::digest::{Digest, Pepper};
use crate::auth::record::KeyRecord;
use crate::auth::scope::ScopeRecord;
use crate::auth::table::KeyTable;
use crate::busy::{self, Busy};
use crate::hooks::{Events, KeyHooks, ScopeHooks};
use crate::idempotency::{Answers, Bounds};
use crate::ledger::{Ledger, Recovery};
use crate::limits::lease::Quota;
use crate::limits::{Clock, Slots};
use crate::listener::bridge::{Bridge, Submitted};
use crate::snapshot::{EngineOptions, Snapshot};
pub use crate::stage::{LocalStage, Stage};
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
    connector: Connector,
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
    random: RefCell<u64>,
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
        for (place, shift) in places.zip((0..128).step_by(4).rev()) {
            let digit = (id >> shift & 15) as usize;
            *place = b"0123456789abcdef".get(digit).copied().unwrap_or_default();
        }
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

/// The running data plane.
#[derive(Debug)]
pub struct Engine {
    /// Shared by all threads.
    pub shared: Arc<Shared>,
    /// Records of former processes that were killed.
    pub recovery: Mutex<Recovery>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Everything but the threads.
    ///
    /// # Errors
    /// A sentence naming the option that is wrong.
    pub fn new(options: EngineOptions) -> Result<Self, String> {
        let pepper = Pepper::from_hex(&options.pepper.0).map_err(|e| format!("pepper: {e}"))?;
        let trusted = CidrSet::parse(&options.trusted_proxies).map_err(|e| format!("trusted_proxies: {e}"))?;
        let tls = crate::upstream::client_config(options.ca_file.as_deref())?;
        let events = Arc::new(Events::new().map_err(|e| format!("events: {e}"))?);
        let threads = options.threads.max(1);
        let clock = Clock::new();
        let empty = br#"{"version":0,"deployments":[],"groups":[],"settings":{"retries":0,"retry_backoff_ms":0,
            "allowed_fails":0,"cooldown_ms":0,"max_fallbacks":0,"budget_exceeded_status":422,"default_output_tokens":0,
            "max_parallel_requests":null,"passthrough_group":null,"always_include_stream_usage":false}}"#;
        let (ledger, recovery) = ledger(&options, threads, &clock)?;
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::compile(empty, None)?),
            tls: ArcSwapOption::empty(),
            pepper,
            keys: KeyTable::new(options.key_table_capacity, options.negative_ttl_ms * 1_000_000),
            key_hooks: KeyHooks::of_keys(Arc::clone(&events)),
            scope_hooks: ScopeHooks::of_scopes(Arc::clone(&events)),
            quota: Quota::new(Arc::clone(&events)),
            events,
            ledger,
            metrics: Metrics::new(threads),
            bridge: Bridge::default(),
            trusted,
            answers: Arc::new(Answers::new(Bounds {
                keep_ns: options.idempotency.keep_ms.saturating_mul(1_000_000),
                answer: options.idempotency.answer_bytes,
                memory: options.idempotency.memory_bytes,
            })),
            clock,
            slots: Arc::default(),
            counting: Arc::new(Semaphore::new(threads)),
            connections: AtomicUsize::new(0),
            ready: watch::Sender::new(false),
            stage: watch::Sender::new(Stage::Running),
            grace_ms: AtomicU64::new(0),
            connector: Connector::new(tls),
            options,
        };
        Ok(Self { shared: Arc::new(shared), recovery: Mutex::new(recovery), threads: Mutex::default() })
    }

    /// Makes a compiled configuration current.
    ///
    /// # Errors
    /// A sentence naming the field that does not parse; the former configuration stays.
    pub fn apply(&self, snapshot: &[u8]) -> Result<(), String> {
        let next = Snapshot::compile(snapshot, Some(&self.shared.snapshot.load()))?;
        self.shared.snapshot.store(Arc::new(next));
        Ok(())
    }

    /// The control plane's answer to a hook; unknown ids are ignored.
    ///
    /// # Errors
    /// The answer is not the record that was asked for.
    pub fn resolve(&self, id: u64, answer: &[u8]) -> Result<(), String> {
        let shared = &self.shared;
        let now_ns = shared.now_ns();
        let is_key = shared.key_hooks.resolve(id, answer, |digest, answer| {
            let record: Option<KeyRecord> = serde_json::from_slice(answer).map_err(|e| format!("key record: {e}"))?;
            let Some(record) = record else {
                shared.keys.insert_unknown(*digest, now_ns);
                return Ok(None);
            };
            shared.keys.insert(record).map(Some).map_err(|e| e.to_string())
        })?;
        if is_key || shared.quota.resolve(id, answer, now_ns)? {
            return Ok(());
        }
        let scopes = &shared.keys.scopes;
        shared.scope_hooks.resolve(id, answer, |name, answer| {
            let record: Option<ScopeRecord> =
                serde_json::from_slice(answer).map_err(|e| format!("scope record: {e}"))?;
            let Some(record) = record else {
                scopes.put_unknown(Arc::clone(name), now_ns);
                return Ok(None);
            };
            if *record.name != **name {
                return Err(format!("scope record: {:?} was asked for, not {:?}", &**name, record.name));
            }
            Ok(Some(scopes.put(record)))
        })?;
        Ok(())
    }

    /// Puts scopes in force, for the keys that hold them already and those to come.
    pub fn put_scopes(&self, records: Vec<ScopeRecord>) {
        for record in records {
            self.shared.scope_hooks.invalidate(record.name.as_str());
            self.shared.keys.scopes.put(record);
        }
    }

    /// What is known of these scopes is out of date: who looks one up asks the control plane again.
    pub fn drop_scopes(&self, names: &[String]) {
        for name in names {
            self.shared.scope_hooks.invalidate(name.as_str());
            self.shared.keys.scopes.forget(name);
        }
    }

    /// Reads the TLS files of the public port again.
    ///
    /// # Errors
    /// Which file is wrong; the former certificate stays.
    pub fn reload_tls(&self) -> Result<(), String> {
        if let Some(files) = &self.shared.options.tls {
            self.shared.tls.store(Some(crate::listener::server_config(files)?));
        }
        Ok(())
    }

    /// Opens the port and starts the threads; returns the port.
    ///
    /// # Errors
    /// The address cannot be bound, or no thread can be started.
    pub fn start(&self) -> std::io::Result<u16> {
        let options = &self.shared.options;
        let mut address: Option<SocketAddr> = match options.port {
            None => None,
            Some(port) => {
                let host = options.host.trim_start_matches('[').trim_end_matches(']');
                let ip = if host == "localhost" { "127.0.0.1" } else { host };
                let ip: std::net::IpAddr = ip.parse().map_err(|_| {
                    std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("host {host:?} is not an IP address"))
                })?;
                Some(SocketAddr::new(ip, port))
            }
        };
        if let Some(address) = address.filter(|a| a.port() != 0) {
            // SO_REUSEPORT would let a second gateway share the port unnoticed.
            drop(std::net::TcpListener::bind(address)?);
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..options.threads.max(1) {
            let (bound, opened) = std::sync::mpsc::channel();
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name(format!("penstock-{number}"))
                .spawn(move || run_thread(shared, number, address, &bound))?;
            threads.push(thread);
            let port = opened.recv().map_err(|_| std::io::Error::other("a data-plane thread did not start"))??;
            if let Some(a) = &mut address {
                a.set_port(port);
            }
        }
        Ok(address.map_or(0, |a| a.port()))
    }

    /// Stops accepting and lets calls finish for `grace`; what is left then is ended and settled. `true` when all
    /// finished by themselves. A second call with a shorter grace overtakes the first.
    #[must_use]
    pub fn drain(&self, grace: Duration) -> bool {
        self.shared.set_ready(false);
        self.shared.grace_ms.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.shared.stage.send_if_modified(|s| {
            let running = *s == Stage::Running;
            if running {
                *s = Stage::Draining;
            }
            running
        });
        let finished = self.idle_within(grace);
        if !finished {
            self.shared.stage.send_replace(Stage::Ending);
            let _ = self.idle_within(Duration::from_secs(3));
        }
        finished
    }

    fn idle_within(&self, grace: Duration) -> bool {
        let until = Instant::now() + grace;
        while self.shared.slots.in_flight() > 0 {
            if Instant::now() >= until {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    /// Ends what is left and joins the threads.
    pub fn stop(&self) {
        self.shared.stage.send_replace(Stage::Ending);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        self.shared.ledger.close();
    }
}

/// The ledger, with its journal if it is to have one, and what was found beside it.
fn ledger(options: &EngineOptions, threads: usize, clock: &Clock) -> Result<(Ledger, Recovery), String> {
    let incarnation = &options.incarnation;
    // Ordinals of an incarnation begin at 1. Without a name they are microseconds: no process writes a million records a
    // second for long.
    let seq_base = if incarnation.is_empty() { clock.now().unix_ms * 1000 } else { 0 };
    let ledger = Ledger::new(threads, options.usage_queue_capacity, seq_base);
    let Some(root) = &options.journal_dir else { return Ok((ledger, Recovery::default())) };
    if !crate::ledger::is_incarnation(incarnation) {
        return Err(format!("incarnation: {incarnation:?} is not 16 hexadecimal characters, which a journal needs"));
    }
    let failed = |e: std::io::Error| format!("journal_dir: {root}: {e}");
    let opened = penstock_journal::open(Path::new(root), incarnation, threads, penstock_journal::SEGMENT);
    let opened = opened.map_err(failed)?;
    let recovery = Recovery::of(opened.ended).map_err(failed)?;
    Ok((ledger.journaled(opened.journal, opened.writers), recovery))
}

fn run_thread(
    shared: Arc<Shared>,
    number: usize,
    address: Option<SocketAddr>,
    bound: &std::sync::mpsc::Sender<std::io::Result<u16>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = bound.send(Err(e));
            return;
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let pool = Rc::new(Pool::new(shared.connector.clone()));
        let seed = seed(number);
        let core = Rc::new(Core {
            pool,
            buffers: Buffers::default(),
            timers: Timers::default(),
            inflating: Semaphore::new(1),
            busy: Busy::new(Duration::from_micros(shared.options.busy_poll_us)),
            stage: LocalStage::new(shared.stage()),
            thread: number,
            random: RefCell::new(seed),
            shared,
        });
        let listener = match address.map(crate::listener::bind).transpose() {
            Ok(listener) => listener,
            Err(e) => {
                let _ = bound.send(Err(e));
                return;
            }
        };
        let port = listener.as_ref().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port());
        let (sender, receiver) = mpsc::unbounded_channel();
        core.shared.bridge.register(sender);
        let _ = bound.send(Ok(port));
        serve(core, listener, receiver).await;
    });
}

async fn serve(
    core: Rc<Core>,
    listener: Option<tokio::net::TcpListener>,
    mut submitted: mpsc::UnboundedReceiver<Submitted>,
) {
    let mut stage = core.shared.stage.subscribe();
    // A stage that was reached before this thread subscribed counts as a change.
    stage.mark_changed();
    if let Some(listener) = listener {
        tokio::task::spawn_local(crate::listener::accept(Rc::clone(&core), listener));
    }
    tokio::task::spawn_local(busy::poll(Rc::clone(&core)));
    let mut sweep = tokio::time::interval(Duration::from_secs(10));
    let mut rest = tokio::time::interval(Duration::from_secs(60));
    if core.thread == 0 && core.shared.options.shared_limits {
        tokio::task::spawn_local(return_unused(Rc::clone(&core)));
    }
    loop {
        tokio::select! {
            biased;
            Some(call) = submitted.recv() => {
                let core = Rc::clone(&core);
                tokio::task::spawn_local(async move { crate::listener::bridge::serve(&core, call).await });
            }
            _ = sweep.tick() => core.pool.sweep(),
            _ = rest.tick(), if core.thread == 0 => {
                let shared = Arc::clone(&core.shared);
                drop(tokio::task::spawn_blocking(move || shared.keys.rest(shared.now_ns())));
            }
            heard = stage.changed() => {
                let now = if heard.is_ok() { *stage.borrow_and_update() } else { Stage::Ending };
                core.stage.set(now);
                if now == Stage::Ending {
                    break;
                }
            }
        }
    }
    // Calls notice the stage, end their answers and settle; connections close when they are done.
    let until = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < until
        && (core.shared.slots.in_flight() > 0 || core.shared.connections.load(Ordering::Relaxed) > 0)
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Gives back, while the process runs, what was drawn of shared limits and not used.
async fn return_unused(core: Rc<Core>) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        core.shared.quota.sweep(core.shared.now_ns());
    }
}

fn seed(thread: usize) -> u64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0u8; 8];
    match ring::rand::SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => std::process::id() as u64 ^ (thread as u64) << 32,
    }
}

/// A key's digest, for callers outside the hot path.
#[must_use]
pub fn digest_of(shared: &Shared, key: &str) -> Digest {
    shared.pepper.digest(key.as_bytes())
}

//! The data plane as a whole: how it starts, what it is told from outside, how it ends.

mod shared;
mod thread;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Semaphore, watch};

pub use self::shared::{Buffers, Core, Shared};
use crate::auth::cidr::CidrSet;
use crate::auth::digest::{Digest, Pepper};
use crate::auth::record::KeyRecord;
use crate::auth::scope::ScopeRecord;
use crate::auth::table::KeyTable;
use crate::hooks::{Events, KeyHooks, ScopeHooks};
use crate::idempotency::{Answers, Bounds, Elsewhere, Terms};
use crate::ledger::{Ledger, Recovery};
use crate::limits::Clock;
use crate::limits::lease::{Quota, Told};
use crate::listener::LINGER;
use crate::listener::bridge::Bridge;
use crate::snapshot::{EngineOptions, Snapshot};
pub use crate::stage::{LocalStage, Stage};
use crate::telemetry::Metrics;
use crate::upstream::Connector;

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
        let once = &options.idempotency;
        let terms = Terms { keep_ms: once.keep_ms, claim_ms: once.claim_ms };
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::compile(empty, None)?),
            tls: ArcSwapOption::empty(),
            pepper,
            keys: KeyTable::new(options.key_table_capacity, options.negative_ttl_ms * 1_000_000),
            key_hooks: KeyHooks::of_keys(Arc::clone(&events)),
            scope_hooks: ScopeHooks::of_scopes(Arc::clone(&events)),
            quota: Quota::new(Arc::clone(&events)),
            answers: Arc::new(Answers::new(Bounds {
                keep_ns: once.keep_ms.saturating_mul(1_000_000),
                answer: once.answer_bytes,
                memory: once.memory_bytes,
            })),
            elsewhere: Arc::new(Elsewhere::new(Arc::clone(&events), options.incarnation.clone(), terms)),
            events,
            ledger,
            metrics: Metrics::new(threads),
            bridge: Bridge::default(),
            trusted,
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
        if is_key || shared.quota.resolve(id, answer, now_ns)? || shared.elsewhere.resolve(id, answer)? {
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

    /// Everybody is about to be told what payers spent (JSON list of [`Told`]); answers how much less is held of each.
    ///
    /// # Errors
    /// It is no such list; nothing changes then.
    pub fn lower_holds(&self, spends: &[u8]) -> Result<Vec<u64>, String> {
        let spends: Vec<Told> = serde_json::from_slice(spends).map_err(|e| format!("spends: {e}"))?;
        Ok(self.shared.quota.told(&spends))
    }

    /// For budget windows it is no later now than `latest`, in Unix milliseconds.
    pub fn bound_windows(&self, latest: u64) {
        self.shared.clock.bound_windows(latest);
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
            let started = std::thread::Builder::new()
                .name(format!("penstock-{number}"))
                .spawn(move || thread::run(shared, number, address, &bound))?;
            threads.push(started);
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
        let until = Instant::now() + grace;
        self.linger_until(until);
        let finished = self.idle_until(until);
        if !finished {
            self.shared.stage.send_replace(Stage::Ending);
            let _ = self.idle_until(Instant::now() + Duration::from_secs(3));
        }
        finished
    }

    /// Waits for connections that are accepted, or read once more before they close: calls may come of that.
    fn linger_until(&self, until: Instant) {
        let begun = Instant::now();
        let (least, most) = (until.min(begun + LINGER), until.min(begun + 4 * LINGER));
        let is_open = || self.shared.connections.load(Ordering::Relaxed) > 0;
        while Instant::now() < least || (Instant::now() < most && is_open()) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn idle_until(&self, until: Instant) -> bool {
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

/// A key's digest, for callers outside the hot path.
#[must_use]
pub fn digest_of(shared: &Shared, key: &str) -> Digest {
    shared.pepper.digest(key.as_bytes())
}

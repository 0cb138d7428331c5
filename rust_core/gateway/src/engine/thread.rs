//! One thread of the data plane: its runtime, its port, and what it does from time to time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::shared::{Buffers, Core, Shared};
use crate::busy::{self, Busy};
use crate::listener::bridge::Submitted;
use crate::stage::{LocalStage, Stage};
use crate::timers::Timers;
use crate::upstream::Pool;

/// Runs until the data plane ends. What came of opening the port, and which one it is, goes to `bound`.
pub(super) fn run(
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
        // A task like others, because what is awaited here is polled whenever any task is.
        let _ = tokio::task::spawn_local(serve(core, listener, receiver)).await;
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
            _ = sweep.tick() => {
                core.pool.sweep();
                core.shared.ledger.rest(core.thread);
            }
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

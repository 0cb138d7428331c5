//! Threads and listeners: each thread has its own runtime, its own `SO_REUSEPORT` listener and
//! its own connections; only the [`Shared`] state is common.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::Options;
use crate::connection;
use crate::files::Files;
use crate::ledger::Ledger;
use crate::replay::Recordings;

const BACKLOG: u32 = 4096;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) ledger: Ledger,
    pub(crate) recordings: Mutex<Recordings>,
    pub(crate) files: Mutex<Files>,
    /// Requests seen per `key` of `fail_first`.
    pub(crate) attempts: Mutex<HashMap<String, u64>>,
}

/// A lock whose holder panicked still guards usable data: every critical section is a single update.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads of a simulator.
#[derive(Debug)]
pub(crate) struct Running {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    port: u16,
}

impl Running {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn stop(self) {
        let _ = self.stop.send(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

pub(crate) fn start(options: Options) -> io::Result<Running> {
    check(&options)?;
    let mut address = resolve(&options.host, options.port)?;
    let threads = options.threads;
    if threads > 1 && address.port() != 0 {
        // SO_REUSEPORT would join a simulator that already has the port instead of failing.
        drop(std::net::TcpListener::bind(address)?);
    }
    let shared = Arc::new(Shared {
        options,
        ledger: Ledger::default(),
        recordings: Mutex::default(),
        files: Mutex::default(),
        attempts: Mutex::default(),
    });
    let (stop, _) = watch::channel(false);
    let mut running = Running { threads: Vec::with_capacity(threads), stop, port: 0 };
    for n in 0..threads {
        let (bound, port) = mpsc::channel();
        let (shared, stop) = (Arc::clone(&shared), running.stop.subscribe());
        let thread = std::thread::Builder::new()
            .name(format!("simulator-{n}"))
            .spawn(move || run(address, threads > 1, &shared, stop, &bound))?;
        running.threads.push(thread);
        match port.recv().unwrap_or_else(|_| Err(io::Error::other("the simulator thread ended before it listened"))) {
            Ok(port) => address.set_port(port),
            Err(e) => {
                running.stop();
                return Err(e);
            }
        }
    }
    running.port = address.port();
    Ok(running)
}

fn check(options: &Options) -> io::Result<()> {
    let bad = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if !(1..=256).contains(&options.threads) {
        return bad("threads: must be between 1 and 256");
    }
    if !(0.0..=86_400_000.0).contains(&options.ttft_ms) {
        return bad("ttft_ms: must be between 0 and 86400000");
    }
    if !(0.0..=10_000_000.0).contains(&options.tokens_per_second) {
        return bad("tokens_per_second: must be between 0 and 10000000");
    }
    if options.tokens > crate::control::MAX_TOKENS {
        return bad("tokens: must be at most 1000000");
    }
    Ok(())
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("host: {host} has no address")))
}

fn run(
    address: SocketAddr,
    share_port: bool,
    shared: &Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    bound: &mpsc::Sender<io::Result<u16>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = bound.send(Err(e));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = match listen(address, share_port) {
            Ok(listener) => listener,
            Err(e) => {
                let _ = bound.send(Err(e));
                return;
            }
        };
        let _ = bound.send(listener.local_addr().map(|a| a.port()));
        tokio::select! {
            () = accept(listener, shared) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    });
}

fn listen(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    if share_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if stream.set_nodelay(true).is_ok() {
                    tokio::task::spawn_local(connection::serve(stream, Arc::clone(shared)));
                }
            }
            // Out of file descriptors, most likely: wait for some to close.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

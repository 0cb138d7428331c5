//! Idle connections of one thread, newest first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use penstock_http1::Conn;

use super::{Connector, Io, Origin};
use crate::trusted_hash::ByTrusted;

/// Providers and load balancers commonly close after 60 s or more.
const IDLE: Duration = Duration::from_secs(45);
/// Little's law at 20,000 requests/s and 50 ms: enough for one thread to keep all it used.
const MAX_IDLE_PER_ORIGIN: usize = 1024;

struct Idle {
    conn: Conn<Io>,
    since: Instant,
}

/// The pool of one thread.
pub struct Pool {
    connector: Connector,
    idle: RefCell<HashMap<Arc<Origin>, Vec<Idle>, ByTrusted>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("origins", &self.idle.borrow().len()).finish()
    }
}

/// A connection in use by one call.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub conn: Conn<Io>,
    /// Its last request was not sent whole: it cannot serve another.
    pub spoiled: bool,
    /// It served another call before: a failure before the first byte may only mean that the upstream had closed it.
    pub reused: bool,
    origin: Arc<Origin>,
    pool: Rc<Pool>,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self { connector, idle: RefCell::default() }
    }

    /// An idle connection that is still open, or a fresh one.
    pub async fn lease(self: &Rc<Self>, origin: &Arc<Origin>, timeout: Duration, fresh: bool) -> io::Result<Lease> {
        if !fresh {
            while let Some(conn) = self.take(origin) {
                if let Some(conn) = still_open(conn).await {
                    return Ok(Lease {
                        conn,
                        reused: true,
                        spoiled: false,
                        origin: Arc::clone(origin),
                        pool: Rc::clone(self),
                    });
                }
            }
        }
        // Rare, and large because of TLS: not part of every call's own state.
        let io = Box::pin(self.connector.connect(origin, timeout)).await?;
        Ok(Lease {
            conn: Conn::new(io),
            reused: false,
            spoiled: false,
            origin: Arc::clone(origin),
            pool: Rc::clone(self),
        })
    }

    fn take(&self, origin: &Arc<Origin>) -> Option<Conn<Io>> {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(origin)?;
        let newest = stack.pop()?;
        if newest.since.elapsed() > IDLE {
            // Older ones are below it.
            stack.clear();
            return None;
        }
        Some(newest.conn)
    }

    fn put(&self, origin: Arc<Origin>, mut conn: Conn<Io>) {
        // Empty, but it may be the last to hold the memory of the answer it was cut from.
        conn.buf = BytesMut::new();
        let mut idle = self.idle.borrow_mut();
        let stack = idle.entry(origin).or_default();
        if stack.len() < MAX_IDLE_PER_ORIGIN {
            stack.push(Idle { conn, since: Instant::now() });
        }
    }

    /// Drops connections that idled too long; called now and then by the thread.
    pub fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, stack| {
            stack.retain(|i| i.since.elapsed() <= IDLE);
            !stack.is_empty()
        });
    }
}

impl Lease {
    /// The answer was read to its end and the upstream keeps the connection: let others use it.
    pub fn give_back(self) {
        if self.conn.buf.is_empty() && !self.spoiled {
            self.pool.put(self.origin, self.conn);
        }
    }
}

/// An idle connection must have nothing to read: bytes or an end mean that it is no use.
async fn still_open(mut conn: Conn<Io>) -> Option<Conn<Io>> {
    let quiet = std::future::poll_fn(|cx| Poll::Ready(conn.poll_fill(cx).is_pending())).await;
    if quiet && conn.buf.is_empty() { Some(conn) } else { None }
}

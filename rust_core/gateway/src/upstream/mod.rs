//! Connections to providers and to the control plane: origins, TLS, per-thread pools.
//!
//! It is apart from the providers because it knows nothing of what they speak. A pool belongs to
//! one thread and is never locked; a checked-out connection belongs to one call, whose own polls
//! drive it, so that a frame travels from the upstream's socket to the client's without waking
//! another task.

mod connect;
mod io;
mod origin;
mod pool;
mod tls;

pub use connect::Connector;
pub(crate) use connect::control;
pub use io::Io;
pub use origin::Origin;
pub use pool::{Lease, Pool};
pub use tls::client_config;

//! The data plane of Penstock: everything that happens between a client's request and a
//! provider's answer, in pure Rust.
//!
//! * [`listener`] takes connections and hands requests to
//! * `phases`, in which a call lives, speaking to clients through
//! * [`surfaces`] and to upstreams through [`providers`] over [`upstream`] connections;
//! * `grpc` is the same calls in other words: it stands between the listener and the phases;
//! * [`auth`], [`limits`], [`routing`], [`tokens`], [`pricing`], [`ledger`], [`telemetry`] and
//!   [`snapshot`] are what phases use; none of them knows a phase;
//! * [`engine`] holds it together, [`hooks`] is the way up to Python.

pub mod auth;
pub(crate) mod busy;
pub mod canonical;
pub mod engine;
pub mod errors;
pub(crate) mod grpc;
pub(crate) mod hex;
pub mod hooks;
pub mod idempotency;
pub mod ledger;
pub mod limits;
pub mod listener;
pub(crate) mod phases;
pub mod pricing;
pub mod providers;
pub mod routing;
pub mod scan;
pub mod snapshot;
pub mod sse;
pub(crate) mod stage;
pub mod surfaces;
pub mod telemetry;
pub(crate) mod timers;
pub mod tokens;
pub(crate) mod trusted_hash;
pub mod upstream;
pub mod usage;

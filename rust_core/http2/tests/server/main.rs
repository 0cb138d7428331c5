//! The server from outside: one program, because each of its own would be linked with everything again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod anything;
mod endings;
mod flow;
mod interop;
mod malformed;
mod pressure;
mod rig;
mod turns;

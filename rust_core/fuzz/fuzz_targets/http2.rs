//! The HTTP/2 server, whatever a client says: it answers in HTTP/2 and within what it was allowed, nobody waits for ever,
//! and when the client is gone nothing of it is left.
#![no_main]

// What is looked at, and how an input is read: the crate's own tests do the same with inputs of a generator.
#[path = "../../http2/tests/server/rig/mod.rs"]
mod rig;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    rig::harness::hear(input);
});

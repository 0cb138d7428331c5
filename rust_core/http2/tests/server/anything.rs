//! Whatever a client says: the server answers in HTTP/2, within what it was allowed, and comes to an end. The same as the
//! fuzz target `http2`, over the inputs of a generator.

use crate::rig::harness::{generate, hear};

#[test]
fn whatever_is_said() {
    let (mut failed, mut opened, mut heard) = (Vec::new(), 0, 0);
    for seed in 1..12_000_u64 {
        match std::panic::catch_unwind(|| hear(&generate(seed))) {
            Ok((streams, frames)) => (opened, heard) = (opened + streams, heard + frames),
            Err(_) => failed.push(seed),
        }
        assert!(failed.len() < 10, "inputs of these seeds: {failed:?}");
    }
    assert!(failed.is_empty(), "inputs of these seeds: {failed:?}");
    // Most of them get somewhere.
    assert!(opened > 10_000 && heard > 60_000, "{opened} streams, {heard} frames");
}

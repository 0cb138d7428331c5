//! What the hot path does, as a program whose instructions are counted by valgrind's callgrind.
//!
//! Apart from the benchmarks because it measures no time: on one machine with one compiler the number of instructions
//! is the same from run to run, so that a loss of a tenth shows where time would drown it in noise. `tests/guards`
//! runs it, and compares with the counts stored there.
//!
//! * `penstock-guards operations` runs single operations;
//! * `penstock-guards engine` runs the data plane, for calls whose other two ends are in the process that started it.
//!
//! What is between two calls of [`lap`] is one measurement: callgrind is told to write its counts down and to start
//! again whenever that function is entered (`--dump-before`).

mod engine;
mod operations;
mod texts;

use std::error::Error;
use std::hint::black_box;

/// Ends one section of the counts and begins the next. Never inlined: callgrind knows it by its name.
#[inline(never)]
fn lap() {
    black_box(());
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("operations") => operations::run(),
        Some("engine") => engine::run(),
        _ => Err("usage: penstock-guards operations|engine".into()),
    }
}

//! `loadgen < options.json > report.json`: the load generator as a program of its own.

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Vec::new();
    std::io::stdin().read_to_end(&mut options)?;
    let report = penstock_loadgen::run_json(&options, &Arc::default())?;
    let mut out = std::io::stdout().lock();
    out.write_all(&report)?;
    out.write_all(b"\n")?;
    Ok(())
}

//! The data plane, told on standard input what to serve and when a section ends.
//!
//! The other two ends of its calls, client and upstream, are in the process that started it, so that this one's
//! instructions are the gateway's. The first line is a [`Setup`]; the answer to it is the port. Then:
//!
//! * `lap`: when no call is in flight, end a section; answered with `ok`;
//! * `records`: hand all usage records over as the writer takes them; answered with their number.
//!
//! The end of the input stops it.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use penstock_gateway::auth::KeyRecord;
use penstock_gateway::engine::Engine;
use penstock_gateway::snapshot::EngineOptions;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::lap;

/// What Python would hand to the extension.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    options: EngineOptions,
    snapshot: Box<RawValue>,
    keys: Vec<KeyRecord>,
}

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let mut told = std::io::stdout().lock();
    let mut lines = std::io::stdin().lock().lines();
    let setup: Setup = serde_json::from_str(&lines.next().ok_or("no setup on standard input")??)?;
    let engine = Engine::new(setup.options)?;
    engine.apply(setup.snapshot.get().as_bytes())?;
    for record in setup.keys {
        engine.shared.keys.insert(record).map_err(|e| e.to_string())?;
    }
    let port = engine.start()?;
    engine.shared.set_ready(true);
    writeln!(told, "{port}")?;
    for line in lines {
        match line?.as_str() {
            "lap" => {
                settled(&engine)?;
                lap();
                writeln!(told, "ok")?;
            }
            "records" => {
                settled(&engine)?;
                writeln!(told, "{}", hand_over(&engine))?;
            }
            other => return Err(format!("unknown command {other:?}").into()),
        }
    }
    engine.stop();
    Ok(())
}

/// Waits for the settlement of a call whose answer its client has already read.
fn settled(engine: &Engine) -> Result<(), &'static str> {
    let until = Instant::now() + Duration::from_secs(10);
    while engine.shared.slots.in_flight() > 0 {
        if Instant::now() > until {
            return Err("a call is still in flight");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

fn hand_over(engine: &Engine) -> usize {
    let waiting = engine.shared.ledger.waiting();
    std::hint::black_box(engine.shared.ledger.take(waiting, 0));
    engine.shared.ledger.ack(u64::MAX);
    waiting
}

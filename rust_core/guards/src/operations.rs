//! Single operations, each prepared and warmed up before it is counted.

use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use penstock_gateway::auth::{Digest, Key, KeyRecord, KeyTable, Pepper, ScopeRecord};
use penstock_gateway::limits::{self, Now};
use penstock_gateway::sse::Frames;
use penstock_gateway::tokens::Encoding;
use penstock_gateway::{scan, tokens};

use crate::{lap, texts};

/// What no limit of the measured key ever refuses.
const PLENTY: u64 = 1_000_000_000;

type Operation = Box<dyn FnMut(u64)>;

/// Runs every operation; tells on standard output, in the order of the sections, which it was and how often it ran.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let mut told = std::io::stdout().lock();
    let operations: [(&str, u64, Operation); 8] = [
        ("body_scan_2kb", 200, body_scan(2_000)?),
        ("body_scan_100kb", 20, body_scan(100_000)?),
        ("key_digest", 200, key_digest()?),
        ("admission", 500, admission(&[])?),
        ("admission_4_scopes", 500, admission(&["member:t/u", "team:t", "user:u", "org:o"])?),
        ("sse_scan_frame", 1_000, sse_scan()),
        ("token_count_2kb", 50, token_count()),
        ("prompt_count_2kb", 50, prompt_count()?),
    ];
    for (name, times, mut operation) in operations {
        // First uses load tables and grow buffers.
        (0..3).for_each(&mut operation);
        lap();
        (3..times + 3).for_each(&mut operation);
        lap();
        writeln!(told, "{name} {times}")?;
    }
    Ok(())
}

fn body_scan(bytes: usize) -> Result<Operation, Box<dyn Error>> {
    let body = texts::chat(bytes)?;
    scan::object(&body).map_err(|e| format!("the body: {e}"))?;
    Ok(Box::new(move |_| {
        let _ = black_box(scan::object(black_box(&body)));
    }))
}

fn key_digest() -> Result<Operation, Box<dyn Error>> {
    let pepper = Pepper::new(&[7; 32]).map_err(|e| format!("the pepper: {e}"))?;
    let key = format!("sk-{}", "Kq3vX9".repeat(11));
    Ok(Box::new(move |_| {
        black_box(pepper.digest(black_box(key.as_bytes())));
    }))
}

/// Everything that is taken of a key with all kinds of limits, and of the scopes above it, and its settlement.
fn admission(scopes: &[&str]) -> Result<Operation, Box<dyn Error>> {
    let table = KeyTable::new(10, 1);
    for name in scopes {
        table.scopes.put(ScopeRecord {
            name: (*name).to_owned(),
            rpm: Some(PLENTY),
            tpm: Some(PLENTY),
            max_budget: Some(u64::MAX / 4),
            ..ScopeRecord::default()
        });
    }
    let record = KeyRecord {
        rpm: Some(PLENTY),
        tpm: Some(PLENTY),
        max_parallel_requests: Some(100),
        max_budget: Some(u64::MAX / 4),
        scopes: scopes.iter().map(|name| (*name).to_owned()).collect(),
        ..KeyRecord::unlimited(Digest::from_bytes([9; 32]))
    };
    let key: Arc<Key> = table.insert(record).map_err(|e| format!("the key: {e}"))?;
    let demand = limits::Demand { tokens: 812, nanos: 345_000 };
    limits::admit(&key, demand, Now::default()).map_err(|_| "the limits refuse")?;
    Ok(Box::new(move |number| {
        // A thousand calls a second.
        let at = |ms: u64| {
            let unix_ms = 1_760_000_000_000 + ms;
            Now { mono_ns: 3_600_000_000_000 + ms * 1_000_000, unix_ms, window_ms: unix_ms }
        };
        if let Ok(held) = black_box(limits::admit(black_box(&key), demand, at(number))) {
            held.settle(limits::Actual { tokens: 431, nanos: 187_000, seq: number }, at(number + 1));
        }
    }))
}

/// Frames that arrive one by one and are cut off the buffer, as the relay does it.
fn sse_scan() -> Operation {
    let frame = texts::frame(17);
    let (mut frames, mut buffer) = (Frames::new(), BytesMut::with_capacity(16 * 1024));
    Box::new(move |_| {
        buffer.extend_from_slice(black_box(frame.as_bytes()));
        let mut start = 0;
        while let Some(end) = buffer.get(start..).and_then(|rest| frames.end(rest)) {
            black_box(buffer.get(start..start + end));
            start += end;
        }
        buffer.advance(start);
    })
}

fn token_count() -> Operation {
    let text = texts::prose(2_000);
    Box::new(move |_| {
        black_box(tokens::count(Encoding::O200kBase, black_box(&text)));
    })
}

/// What admission counts: the texts inside a scanned body.
fn prompt_count() -> Result<Operation, Box<dyn Error>> {
    let body = texts::chat(2_000)?.leak();
    let scanned = scan::object(body).map_err(|e| format!("the body: {e}"))?;
    Ok(Box::new(move |_| {
        black_box(tokens::count_prompt(black_box(&scanned), Encoding::O200kBase));
    }))
}

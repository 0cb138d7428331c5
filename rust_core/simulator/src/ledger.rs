//! What the simulator received and what it wrote, as its own account of the traffic.
//!
//! A token counts as sent once the last byte of its event (or of the whole unary body) was
//! accepted by the socket. An entry closes just after its last byte was written, so a reader on
//! another thread waits for `totals.open` (or the entry's `outcome`) to settle.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use penstock_http1::RequestHead;
use serde::Serialize;

use crate::base64;
use crate::server::lock;

/// Entries kept.
const ENTRIES: usize = 16_384;
/// Requests kept whole.
const CAPTURES: usize = 64;
/// Bytes of a body kept once another request came; the last one's is kept whole.
const CAPTURE_BYTES: usize = 64 * 1024;

/// How an answer ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not yet.
    #[default]
    Open,
    /// Written to its end (whatever its status).
    Completed,
    /// The client went away before.
    Cut,
    /// A fault that was asked for ended it.
    Faulted,
}

/// One request and its answer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entry {
    /// Number of the request, from 1; never reused, not even after a reset.
    pub seq: u64,
    /// When it was read to its end, in Unix milliseconds.
    pub at_ms: u64,
    /// Of the request line.
    pub method: String,
    /// Of the request line, with the query.
    pub target: String,
    /// As asked for, control included.
    pub model: String,
    /// `x-penstock-call-id` of the request.
    pub call_id: Option<String>,
    /// FNV-1a (64 bits, hexadecimal) of the credential header's value, never the value.
    pub credential: Option<String>,
    /// Bytes of the request body.
    pub body_bytes: u64,
    /// A streamed answer.
    pub stream: bool,
    /// Status of the answer.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// As the usage states it.
    pub prompt_tokens: u64,
    /// As the usage states it.
    pub cached_tokens: u64,
    /// As the usage states it (or would, were it sent): what a whole answer has.
    pub completion_tokens: u64,
    /// Part of `completion_tokens` that is never sent.
    pub reasoning_tokens: u64,
    /// Tokens written to the socket.
    pub tokens_sent: u64,
    /// Stream events written to the socket.
    pub events_sent: u64,
    /// From the request's end to the first byte written, in microseconds.
    pub ttft_us: Option<u64>,
    /// From the request's end to the answer's, in microseconds.
    pub duration_us: Option<u64>,
}

/// Sums since the start or the last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Requests received.
    pub requests: u64,
    /// Answers not ended yet.
    pub open: u64,
    /// Answers by outcome.
    pub completed: u64,
    /// Answers by outcome.
    pub cut: u64,
    /// Answers by outcome.
    pub faulted: u64,
    /// Answers with a status of 400 or more.
    pub errors: u64,
    /// Of answers that ended.
    pub prompt_tokens: u64,
    /// Of answers that ended.
    pub completion_tokens: u64,
    /// Of answers that ended.
    pub tokens_sent: u64,
    /// Of answers that ended.
    pub events_sent: u64,
}

#[derive(Debug, Default)]
struct Capture {
    seq: u64,
    method: String,
    target: String,
    /// Names and values in turn, each with a NUL behind it, which neither can have.
    fields: Vec<u8>,
    body: Bytes,
    body_bytes: usize,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    totals: Totals,
    entries: VecDeque<Entry>,
    captures: VecDeque<Capture>,
}

/// The ledger of one simulator.
#[derive(Debug, Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

impl Ledger {
    /// Opens an entry; returns its number.
    pub(crate) fn begin(&self, head: &RequestHead, body: &Bytes) -> u64 {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let credential = ["authorization", "x-api-key", "api-key"].iter().find_map(|n| head.headers.get(n));
        let mut entry = Entry {
            at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            method: text(&head.method),
            target: text(&head.target),
            call_id: head.headers.get("x-penstock-call-id").map(text),
            credential: credential.map(|c| format!("{:016x}", fnv(c))),
            body_bytes: body.len() as u64,
            ..Entry::default()
        };
        let mut fields = Vec::with_capacity(512);
        for (name, value) in head.headers.iter() {
            for part in [name, value] {
                fields.extend_from_slice(part);
                fields.push(0);
            }
        }
        // A small body is copied: a reference would keep its connection's whole read buffer alive.
        let kept = if body.len() <= CAPTURE_BYTES { Bytes::copy_from_slice(body) } else { body.clone() };
        let (method, target) = (entry.method.clone(), entry.target.clone());
        let mut capture = Capture { seq: 0, method, target, fields, body: kept, body_bytes: body.len() };
        let mut book = lock(&self.book);
        book.next += 1;
        let seq = book.next;
        (entry.seq, capture.seq) = (seq, seq);
        book.totals.requests += 1;
        book.totals.open += 1;
        if book.entries.len() >= ENTRIES {
            book.entries.pop_front();
        }
        book.entries.push_back(entry);
        if book.captures.len() >= CAPTURES {
            book.captures.pop_front();
        }
        if let Some(last) = book.captures.back_mut().filter(|c| c.body.len() > CAPTURE_BYTES) {
            last.body = Bytes::copy_from_slice(last.body.get(..CAPTURE_BYTES).unwrap_or_default());
        }
        book.captures.push_back(capture);
        seq
    }

    /// Closes an entry; one from before a reset is ignored.
    pub(crate) fn finish(&self, seq: u64, fill: impl FnOnce(&mut Entry)) {
        let mut book = lock(&self.book);
        let Book { entries, totals, .. } = &mut *book;
        let Some(first) = entries.front().map(|e| e.seq) else { return };
        // Overwritten while it was open (more than the ring holds since): only the totals remain.
        let mut lost = Entry::default();
        let entry = match seq.checked_sub(first) {
            Some(at) => match entries.get_mut(at as usize) {
                Some(entry) => entry,
                None => return,
            },
            None if totals.requests as usize > ENTRIES => &mut lost,
            None => return,
        };
        fill(entry);
        totals.open = totals.open.saturating_sub(1);
        match entry.outcome {
            Outcome::Open => {}
            Outcome::Completed => totals.completed += 1,
            Outcome::Cut => totals.cut += 1,
            Outcome::Faulted => totals.faulted += 1,
        }
        totals.errors += u64::from(entry.status >= 400);
        totals.prompt_tokens += entry.prompt_tokens;
        totals.completion_tokens += entry.completion_tokens;
        totals.tokens_sent += entry.tokens_sent;
        totals.events_sent += entry.events_sent;
    }

    /// `{"totals": {...}, "entries": [...], "next": seq}`: entries after `since`, oldest first;
    /// without `since` the most recent ones.
    pub(crate) fn page(&self, since: Option<u64>, limit: usize) -> String {
        #[derive(Serialize)]
        struct Page<'a> {
            totals: &'a Totals,
            entries: Vec<&'a Entry>,
            next: u64,
        }
        let book = lock(&self.book);
        let entries: Vec<&Entry> = match since {
            Some(since) => book.entries.iter().filter(|e| e.seq > since).take(limit).collect(),
            None => book.entries.iter().skip(book.entries.len().saturating_sub(limit)).collect(),
        };
        let next = entries.last().map_or(since.unwrap_or(0), |e| e.seq);
        serde_json::to_string(&Page { totals: &book.totals, entries, next }).unwrap_or_default()
    }

    /// One captured request as JSON; the last one without a number.
    pub(crate) fn capture(&self, seq: Option<u64>) -> Option<String> {
        let book = lock(&self.book);
        let found = match seq {
            None => book.captures.back(),
            Some(seq) => book.captures.iter().find(|c| c.seq == seq),
        }?;
        let mut body = BytesMut::new();
        base64::encode(&found.body, &mut body);
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let mut parts = found.fields.split(|b| *b == 0);
        let mut headers = Vec::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            headers.push((text(name), text(value)));
        }
        let value = serde_json::json!({
            "seq": found.seq, "method": found.method, "target": found.target, "headers": headers,
            "body_base64": String::from_utf8_lossy(&body), "body_bytes": found.body_bytes,
        });
        Some(value.to_string())
    }

    /// Forgets everything but the next number.
    pub(crate) fn reset(&self) {
        let mut book = lock(&self.book);
        *book = Book { next: book.next, ..Book::default() };
    }
}

/// FNV-1a, 64 bits: tells credentials apart in a test without keeping them.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

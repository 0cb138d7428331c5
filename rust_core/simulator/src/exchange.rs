//! Writing one answer: pace, faults, and the count of what the socket took.

mod writing;

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use penstock_http1::{Conn, put_chunk, put_last_chunk, put_status_line};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::control::Control;
use crate::faults::Break;
use crate::ledger::Outcome;
use crate::plan::Plan;
use crate::reply::{Body, HeadFacts, Unary, put_head};

/// Output is written when it reaches this size.
const WRITE_AT: usize = 32 * 1024;

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    KeepAlive,
    Close,
    Reset,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) after: After,
    pub(crate) outcome: Outcome,
}

const CUT: End = End { after: After::Close, outcome: Outcome::Cut };

/// Buffers a connection keeps from one answer to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    out: BytesMut,
    event: BytesMut,
    /// Where events end in `out`, and the tokens they bring.
    marks: Vec<(usize, u64, u64)>,
}

/// One answer under way.
pub(crate) struct Exchange<'c> {
    conn: &'c mut Conn<TcpStream>,
    scratch: &'c mut Scratch,
    control: &'c Control,
    started: Instant,
    pub(crate) tokens_sent: u64,
    pub(crate) events_sent: u64,
    pub(crate) first_byte: Option<Duration>,
}

impl<'c> Exchange<'c> {
    pub(crate) fn new(
        conn: &'c mut Conn<TcpStream>,
        scratch: &'c mut Scratch,
        control: &'c Control,
        started: Instant,
    ) -> Self {
        scratch.out.clear();
        scratch.marks.clear();
        Self { conn, scratch, control, started, tokens_sent: 0, events_sent: 0, first_byte: None }
    }

    pub(crate) async fn unary(&mut self, unary: &Unary, facts: &HeadFacts, head_only: bool) -> End {
        self.unary_or_gone(unary, facts, head_only).await.unwrap_or(CUT)
    }

    pub(crate) async fn stream(&mut self, plan: Plan, facts: &HeadFacts, chunked: bool) -> End {
        self.stream_or_gone(plan, facts, chunked).await.unwrap_or(CUT)
    }

    async fn unary_or_gone(&mut self, unary: &Unary, facts: &HeadFacts, head_only: bool) -> io::Result<End> {
        let faults = &self.control.faults;
        let body = if faults.bad_json { half(&unary.body) } else { &unary.body[..] };
        let head = |out: &mut BytesMut, facts: &HeadFacts| {
            let first = (unary.status, unary.content_type.as_ref());
            put_head(out, first, (&unary.fields, unary.only), Body::Length(body.len()), facts);
        };
        if let Some((0, how)) = faults.break_off() {
            self.wait(self.started + self.control.ttft).await?;
            return self.break_off(how).await;
        }
        self.early().await?;
        let mut due = self.started + self.control.ttft;
        if self.control.tps > 0.0 {
            due += Duration::from_secs_f64(unary.tokens as f64 / self.control.tps);
        }
        if let Some(delay) = self.control.delay {
            self.wait(self.started + delay).await?;
            head(&mut self.scratch.out, facts);
            self.flush_head().await?;
            self.wait(due).await?;
        } else {
            self.wait(due).await?;
            head(&mut self.scratch.out, facts);
            if self.control.slow_headers.is_some() {
                self.flush_head().await?;
            }
        }
        let breaks = faults.break_off().map(|(_, how)| how).or(faults.truncate.then_some(Break::Close));
        if let Some(how) = breaks {
            self.scratch.out.put_slice(half(body));
            self.flush().await?;
            return self.break_off(how).await;
        }
        if !head_only {
            if body.len() > WRITE_AT {
                // Not copied: only the head is in the buffer, and Nagle is off, so two writes are fine.
                self.flush().await?;
                let started = self.started;
                let mut rest = body;
                while !rest.is_empty() {
                    let n = self.write_some(rest).await?;
                    rest = rest.get(n..).unwrap_or_default();
                }
                self.first_byte.get_or_insert_with(|| started.elapsed());
                self.tokens_sent += unary.tokens;
            } else {
                self.scratch.out.put_slice(body);
                self.scratch.marks.push((self.scratch.out.len(), 0, unary.tokens));
            }
        }
        self.flush().await?;
        let after = if facts.keep_alive { After::KeepAlive } else { After::Close };
        let outcome = if faults.bad_json { Outcome::Faulted } else { Outcome::Completed };
        Ok(End { after, outcome })
    }

    async fn stream_or_gone(&mut self, mut plan: Plan, facts: &HeadFacts, chunked: bool) -> io::Result<End> {
        let control = self.control;
        let faults = &control.faults;
        let first_due = self.started + control.ttft;
        let break_off = faults.break_off();
        self.early().await?;
        if control.delay.is_none() {
            self.wait(first_due).await?;
        }
        if let Some(delay) = control.delay {
            self.wait(self.started + delay).await?;
        }
        let body = if chunked { Body::Chunked } else { Body::UntilClose };
        let fields = plan.only_fields.take();
        let fields = (fields.as_deref().unwrap_or_default(), fields.is_some());
        put_head(&mut self.scratch.out, (plan.status, &plan.content_type), fields, body, facts);
        if control.delay.is_some() || control.slow_headers.is_some() {
            self.flush_head().await?;
            self.wait(first_due).await?;
        }
        let (flush_each, mut events, mut tokens) = (plan.flush || control.flush, 0u64, 0u64);
        let mut outcome = Outcome::Completed;
        loop {
            if break_off.is_some_and(|(k, _)| k == events) {
                let how = break_off.map_or(Break::Close, |(_, how)| how);
                if how == Break::Close && self.next_event(&mut plan) {
                    let whole = std::mem::take(&mut self.scratch.event);
                    self.put_chunk_start(whole.len(), chunked);
                    self.scratch.out.put_slice(half(&whole));
                }
                self.flush().await?;
                return self.break_off(how).await;
            }
            if faults.bad_chunk == Some(events) {
                self.scratch.out.put_slice(b"ZZ;not-hex\r\n");
                self.flush().await?;
                return Ok(End { after: After::Close, outcome: Outcome::Faulted });
            }
            if faults.error_event == Some(events) {
                let error = plan.error.clone();
                self.put_event(&error, 0, chunked);
                outcome = Outcome::Faulted;
                break;
            }
            if faults.malformed == Some(events) {
                self.put_event(b"data: {\"id\":\"broken\",\"choices\":[{\"delta\":\n\n", 0, chunked);
                outcome = Outcome::Faulted;
            }
            let Some(is_token) = plan.peek() else { break };
            if is_token && control.tps > 0.0 {
                let due = first_due + Duration::from_secs_f64(tokens as f64 / control.tps);
                if due > Instant::now() {
                    self.flush().await?;
                    self.wait(due).await?;
                }
            }
            if !self.next_event(&mut plan) {
                break;
            }
            let event = std::mem::take(&mut self.scratch.event);
            self.put_event(&event, u64::from(is_token), chunked);
            self.scratch.event = event;
            events += 1;
            tokens += u64::from(is_token);
            if flush_each || self.scratch.out.len() >= WRITE_AT {
                self.flush().await?;
                if writing::has_left(self.conn).await {
                    return Ok(CUT);
                }
                // A long unpaced stream must not starve the thread's other connections.
                tokio::task::coop::consume_budget().await;
            }
        }
        if chunked {
            put_last_chunk(&mut self.scratch.out);
        }
        self.flush().await?;
        let after = if facts.keep_alive && chunked { After::KeepAlive } else { After::Close };
        Ok(End { after, outcome })
    }

    fn next_event(&mut self, plan: &mut Plan) -> bool {
        self.scratch.event.clear();
        plan.next(&mut self.scratch.event)
    }

    fn put_event(&mut self, event: &[u8], tokens: u64, chunked: bool) {
        if chunked {
            put_chunk(&mut self.scratch.out, event);
        } else {
            self.scratch.out.put_slice(event);
        }
        self.scratch.marks.push((self.scratch.out.len(), 1, tokens));
    }

    fn put_chunk_start(&mut self, size: usize, chunked: bool) {
        if chunked {
            crate::json::put!(self.scratch.out, "{size:x}\r\n");
        }
    }

    async fn early(&mut self) -> io::Result<()> {
        if let Some(status) = self.control.early {
            put_status_line(&mut self.scratch.out, status);
            self.scratch.out.put_slice(b"x-sim-early: 1\r\n\r\n");
            let first = self.first_byte;
            self.flush().await?;
            self.first_byte = first;
        }
        Ok(())
    }

    async fn break_off(&mut self, how: Break) -> io::Result<End> {
        let after = match how {
            Break::Reset => After::Reset,
            Break::Close => After::Close,
            Break::Hang => {
                writing::gone(self.conn).await;
                After::Close
            }
        };
        Ok(End { after, outcome: Outcome::Faulted })
    }
}

fn half(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len() / 2).unwrap_or_default()
}

//! Recorded provider traffic, put in by a test and answered byte for byte.
//!
//! `PUT /_sim/replay/{name}` takes a [`Recording`]; a request whose model is `replay/{name}`, whose
//! path has `replay/{name}` in place of a model, or with the header `x-sim-replay: {name}`, is
//! answered with it on any path. The total is bounded; the oldest recordings go first.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::base64;
use crate::plan::Plan;
use crate::reply::{Answer, Unary};

const MAX_RECORDINGS: usize = 4096;
const MAX_BYTES: usize = 256 << 20;

/// An answer to give again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Status code, 200 to 599.
    #[serde(default = "ok")]
    pub status: u16,
    /// `Content-Type` of the answer.
    pub content_type: String,
    /// Further fields; those that frame the message are left out.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// The body.
    pub body_base64: String,
    /// Sizes of the chunks, each written on its own; what they leave over is the last chunk.
    /// Without it an event stream is one chunk, and any other body has a `Content-Length`.
    #[serde(default)]
    pub split: Option<Vec<usize>>,
}

fn ok() -> u16 {
    200
}

/// A checked recording.
#[derive(Debug)]
pub(crate) struct Replay {
    status: u16,
    content_type: String,
    fields: String,
    body: Bytes,
    split: Option<Vec<usize>>,
}

impl TryFrom<Recording> for Replay {
    type Error = String;

    fn try_from(from: Recording) -> Result<Self, String> {
        if !(200..=599).contains(&from.status) {
            return Err("status: must be between 200 and 599".into());
        }
        let clean = |text: &str| text.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f));
        if !clean(&from.content_type) {
            return Err("content_type: has a control character".into());
        }
        let framing = ["content-length", "transfer-encoding", "connection", "keep-alive", "content-type"];
        let mut fields = String::new();
        for (name, value) in &from.headers {
            if framing.iter().any(|f| f.eq_ignore_ascii_case(name)) {
                continue;
            }
            if !penstock_http1::is_token(name.as_bytes()) || !clean(value) {
                return Err(format!("headers: {name:?} cannot be sent"));
            }
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = base64::decode(from.body_base64.as_bytes()).ok_or("body_base64: is not base64")?;
        Ok(Self { status: from.status, content_type: from.content_type, fields, body: body.into(), split: from.split })
    }
}

impl Replay {
    pub(crate) fn answer(&self) -> Answer {
        let is_stream = ["text/event-stream", "application/vnd.amazon.eventstream", "application/x-ndjson"]
            .iter()
            .any(|t| self.content_type.starts_with(t));
        if self.split.is_none() && !is_stream {
            let unary = Unary::new(self.status, self.content_type.clone(), self.body.clone());
            return Answer::Unary(unary.with_only(self.fields.clone()));
        }
        let mut plan = Plan::new(Bytes::new());
        plan.status = self.status;
        plan.content_type = self.content_type.clone().into();
        plan.only_fields = Some(self.fields.clone());
        plan.flush = true;
        let mut rest = self.body.clone();
        for size in self.split.iter().flatten().filter(|s| **s > 0) {
            if rest.is_empty() {
                break;
            }
            plan.event(rest.split_to((*size).min(rest.len())));
        }
        if !rest.is_empty() {
            plan.event(rest);
        }
        Answer::Stream(plan)
    }
}

/// Recordings by name, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    all: VecDeque<(String, Arc<Replay>)>,
    bytes: usize,
}

impl Recordings {
    pub(crate) fn put(&mut self, name: String, replay: Replay) -> Result<(), String> {
        if replay.body.len() > MAX_BYTES {
            return Err(format!("body_base64: more than {MAX_BYTES} bytes"));
        }
        self.remove(&name);
        self.bytes += replay.body.len();
        self.all.push_back((name, Arc::new(replay)));
        while self.all.len() > MAX_RECORDINGS || self.bytes > MAX_BYTES {
            let Some((_, gone)) = self.all.pop_front() else { break };
            self.bytes -= gone.body.len();
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.all.iter().position(|(n, _)| n == name) else { return false };
        if let Some((_, gone)) = self.all.remove(at) {
            self.bytes -= gone.body.len();
        }
        true
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Replay>> {
        self.all.iter().find(|(n, _)| n == name).map(|(_, r)| Arc::clone(r))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The name in a path that has `replay/{name}` where a model would be.
pub(crate) fn name_in_path(path: &str) -> Option<&str> {
    let marks = ["/replay/", "/replay%2F", "/replay%2f"];
    let rest = marks.iter().find_map(|m| path.split_once(m).map(|(_, rest)| rest))?;
    rest.split(['/', ':', '?']).next().filter(|n| !n.is_empty())
}

//! Writes the chunks of one answer as server-sent events.
//!
//! All chunks of an answer begin with the same bytes; they are made once, so that a delta costs its own length.

use serde::Serialize;

use super::raw::to_bytes;
use super::response::{Delta, UsageObject};

/// The chunk writer of one answer.
#[derive(Clone, Debug)]
pub struct ChunkFrames {
    head: Vec<u8>,
}

impl ChunkFrames {
    /// `created` is in Unix seconds.
    pub fn new(id: &str, model: &str, created: u64) -> Self {
        #[derive(Serialize)]
        struct Head<'a> {
            id: &'a str,
            object: &'static str,
            created: u64,
            model: &'a str,
        }
        let mut head = b"data: ".to_vec();
        head.extend_from_slice(&to_bytes(&Head { id, object: "chat.completion.chunk", created, model }));
        head.pop();
        Self { head }
    }

    /// A chunk that adds `delta` to the only answer.
    pub fn delta(&self, delta: &Delta, finish_reason: Option<&str>, out: &mut Vec<u8>) {
        let start = self.open(out);
        out.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":");
        out.extend_from_slice(&to_bytes(delta));
        out.extend_from_slice(b",\"finish_reason\":");
        out.extend_from_slice(&to_bytes(&finish_reason));
        out.extend_from_slice(b"}]");
        Self::close(start, out);
    }

    /// The chunk without choices that ends a stream whose client asked for usage.
    pub fn usage(&self, usage: &UsageObject, out: &mut Vec<u8>) {
        let start = self.open(out);
        out.extend_from_slice(b",\"choices\":[],\"usage\":");
        out.extend_from_slice(&to_bytes(usage));
        Self::close(start, out);
    }

    /// The end of the stream.
    pub fn done(out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn open(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.head);
        start
    }

    fn close(start: usize, out: &mut Vec<u8>) {
        out.push(b'}');
        // Raw values may be pretty-printed; a line break outside a string is only white space, but would end the event.
        for byte in out.iter_mut().skip(start) {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        out.extend_from_slice(b"\n\n");
    }
}

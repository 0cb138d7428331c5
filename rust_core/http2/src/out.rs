//! What was written and not sent.
//!
//! Frames go out in the order in which they were written, except for those that are no use when they are late: answers to
//! pings and windows do not wait behind what a slow reader has not taken. They go before the first frame of which nothing
//! has left, and that is seen to when something can be sent: most of the time nothing else is there.

use crate::frame::{HEAD, Head, flag, kind};

/// Buffers that are no larger are kept while there is nothing to send.
const KEPT: usize = 16 * 1024;

/// What was written and not sent.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Whole frames, of which the first may have left in part.
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    /// What need not wait for that. No frame of a stream that was answered belongs here, unless it can stand anywhere.
    pub(crate) urgent: Vec<u8>,
    /// Where a frame begins, and what was urgent ends.
    edge: usize,
}

impl Out {
    /// With something that is sent before all else.
    pub(crate) fn beginning_with(bytes: Vec<u8>) -> Self {
        Self { edge: bytes.len(), bytes, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent + self.urgent.len()
    }

    /// What is to be sent next.
    pub(crate) fn pending(&mut self) -> &[u8] {
        if !self.urgent.is_empty() {
            self.find_edge();
            let length = self.urgent.len();
            self.bytes.splice(self.edge..self.edge, self.urgent.drain(..));
            self.edge += length;
            if self.urgent.capacity() > KEPT {
                self.urgent = Vec::new();
            }
        }
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So much was sent.
    pub(crate) fn advance(&mut self, by: usize) {
        self.sent += by;
        if self.sent < self.bytes.len() {
            // What a slow reader has taken makes room at the front.
            if self.sent > KEPT && self.sent > self.bytes.len() - self.sent {
                self.find_edge();
                self.bytes.drain(..self.sent);
                self.edge -= self.sent;
                self.sent = 0;
            }
            return;
        }
        (self.sent, self.edge) = (0, 0);
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }

    /// Moves the edge to the first frame of which nothing has left, and that is not in the middle of a header block.
    fn find_edge(&mut self) {
        let mut in_block = false;
        while self.edge < self.sent || in_block {
            let Some(head) = self.bytes.get(self.edge..).and_then(Head::read) else {
                self.edge = self.bytes.len();
                return;
            };
            self.edge += HEAD + head.length;
            in_block = matches!(head.kind, kind::HEADERS | kind::CONTINUATION) && !head.has(flag::END_HEADERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    fn put(out: &mut Vec<u8>, kind: u8, flags: u8, length: usize) {
        frame::put_head(out, length, kind, flags, 1);
        out.resize(out.len() + length, 0);
    }

    /// Kinds of the frames that leave when so many bytes are sent at a time, with something urgent before each.
    fn sent(out: &mut Out, at_a_time: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while out.len() > 0 {
            if all.len() < 400 {
                frame::put_ping(&mut out.urgent, 0, [0; 8]);
            }
            let piece = out.pending().iter().copied().take(at_a_time).collect::<Vec<_>>();
            out.advance(piece.len());
            all.extend(piece);
        }
        let (mut kinds, mut rest) = (Vec::new(), &all[..]);
        while let Some(head) = Head::read(rest) {
            kinds.push(head.kind);
            rest = &rest[HEAD + head.length..];
        }
        assert!(rest.is_empty());
        kinds
    }

    #[test]
    fn what_is_urgent_goes_before_what_has_not_begun_to_leave() {
        let mut out = Out::default();
        (0..3).for_each(|_| put(&mut out.bytes, kind::DATA, 0, 100));
        assert_eq!(out.pending().len(), 327);
        out.advance(50);
        frame::put_number(&mut out.urgent, kind::WINDOW_UPDATE, 0, 1);
        out.pending();
        frame::put_ping(&mut out.urgent, 0, [0; 8]);
        assert_eq!(out.len(), 327 - 50 + 13 + 17);
        out.pending();
        let kinds: Vec<u8> = [109, 122, 139, 248].iter().map(|at| out.bytes[at + 3]).collect();
        assert_eq!(kinds, [kind::WINDOW_UPDATE, kind::PING, kind::DATA, kind::DATA]);
    }

    #[test]
    fn frames_and_header_blocks_stay_whole() {
        for at_a_time in [1, 7, 9, 64, 1000, 100_000] {
            let mut greeting = Vec::new();
            put(&mut greeting, kind::SETTINGS, 0, 18);
            let mut out = Out::beginning_with(greeting);
            put(&mut out.bytes, kind::HEADERS, 0, 40);
            put(&mut out.bytes, kind::CONTINUATION, 0, 40);
            put(&mut out.bytes, kind::CONTINUATION, flag::END_HEADERS, 40);
            (0..30).for_each(|_| put(&mut out.bytes, kind::DATA, 0, 1000));
            let kinds = sent(&mut out, at_a_time);
            assert_eq!(kinds[0], kind::SETTINGS);
            let at = kinds.iter().position(|k| *k == kind::HEADERS).unwrap();
            assert_eq!(&kinds[at..at + 3], [kind::HEADERS, kind::CONTINUATION, kind::CONTINUATION]);
            assert_eq!(kinds.iter().filter(|k| **k == kind::DATA).count(), 30);
            assert!(kinds.iter().position(|k| *k == kind::PING).unwrap() <= 4);
        }
    }
}

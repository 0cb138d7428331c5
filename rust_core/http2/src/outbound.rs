//! What we say: heads of answers, trailers, resets.

use crate::core::Core;
use crate::error::{Closed, Reason};
use crate::frame::{self, HEAD, MAX_PAYLOAD, flag, kind};

impl Core {
    /// Begins an answer; `end`: it is nothing but its head.
    pub(crate) fn send_head<'a>(
        &mut self,
        at: usize,
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        end: bool,
    ) -> Result<(), Closed> {
        let stream = self.streams.get(at).filter(|s| s.reset.is_none() && !s.said && !s.begun).ok_or(Closed)?;
        stream.begun = true;
        stream.said = end;
        let id = stream.id;
        self.put_block(id, Some(status), fields, end);
        if end {
            self.close_if_over(at);
        }
        Ok(())
    }

    /// Ends an answer with trailers.
    pub(crate) fn send_trailers<'a>(
        &mut self,
        at: usize,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), Closed> {
        let stream = self.streams.get(at).filter(|s| s.reset.is_none() && !s.said && s.begun).ok_or(Closed)?;
        stream.said = true;
        let id = stream.id;
        self.put_block(id, None, fields, true);
        self.close_if_over(at);
        Ok(())
    }

    /// Answers a stream that was never taken in.
    pub(crate) fn put_status(&mut self, id: u32, status: u16) {
        self.put_block(id, Some(status), [], true);
    }

    /// Breaks an answer off.
    pub(crate) fn send_reset(&mut self, at: usize, reason: Reason) {
        if let Some(stream) = self.streams.get(at).filter(|stream| stream.is_open()) {
            let id = stream.id;
            self.put_reset(id, reason);
            self.break_off(at, reason);
        }
    }

    /// Writes a header block, in as many frames as it takes.
    fn put_block<'a>(
        &mut self,
        id: u32,
        status: Option<u16>,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        end: bool,
    ) {
        let Self { out, encoder, .. } = self;
        let out = &mut out.bytes;
        let start = out.len();
        // Its length is known afterwards.
        frame::put_head(out, 0, kind::HEADERS, 0, id);
        encoder.begin(out);
        if let Some(status) = status {
            encoder.status(out, status);
        }
        fields.into_iter().for_each(|(name, value)| encoder.field(out, name, value));
        let length = out.len() - start - HEAD;
        let ends = if end { flag::END_STREAM } else { 0 };
        let is_whole = length <= MAX_PAYLOAD;
        let first = ends | if is_whole { flag::END_HEADERS } else { 0 };
        if let Some(mut head) = out.get_mut(start..start + HEAD) {
            frame::put_head(&mut head, length.min(MAX_PAYLOAD), kind::HEADERS, first, id);
        }
        if !is_whole {
            let rest = out.split_off(start + HEAD + MAX_PAYLOAD);
            let last = rest.len().div_ceil(MAX_PAYLOAD) - 1;
            for (at, part) in rest.chunks(MAX_PAYLOAD).enumerate() {
                let flags = if at == last { flag::END_HEADERS } else { 0 };
                frame::put_head(out, part.len(), kind::CONTINUATION, flags, id);
                out.extend_from_slice(part);
            }
        }
        self.abuse.useful();
        self.call();
    }
}

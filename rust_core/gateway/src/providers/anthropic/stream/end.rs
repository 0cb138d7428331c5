//! The end of a stream: what was held back, the finish chunk, usage, `[DONE]`.

use serde_json::value::RawValue;

use super::super::{blocks, usage};
use super::StreamTranslator;
use super::event::Event;
use crate::canonical::{ChunkFrames, Delta, Object, raw};

impl StreamTranslator {
    /// The upstream closed the stream. When only `message_stop` was missing, write what it would have and return true;
    /// false: the answer was cut.
    pub fn close(&mut self, out: &mut Vec<u8>) -> bool {
        if self.finish_sent && !self.finished {
            self.message_stop(out);
        }
        self.finished
    }

    pub(super) fn message_delta(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if let Some(usage) = event.usage {
            self.statement(usage, true);
        }
        if self.finish_sent {
            return;
        }
        let members: Object = event.delta.and_then(raw::parse).unwrap_or_default();
        self.stop_reason = members.text("stop_reason").or(self.stop_reason.take());
        for (name, value) in members.iter() {
            self.stop_members.set(name, value);
        }
        if let Some(management) = event.context_management {
            self.stop_members.set("context_management", management);
        }
        if self.stop_reason.is_some() {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finish_sent = true;
        for (_, block) in std::mem::take(&mut self.open) {
            self.close_block(block, out);
        }
        let thinking = std::mem::take(&mut self.thinking);
        if !thinking.is_empty() {
            self.send(&Delta { thinking_blocks: Some(thinking), ..Delta::default() }, out);
        }
        let annotations = std::mem::take(&mut self.annotations);
        if !annotations.is_empty() {
            self.send(&Delta { annotations: Some(annotations), ..Delta::default() }, out);
        }
        let stop_reason = self.stop_reason.take();
        let refused = stop_reason.as_deref() == Some("refusal");
        if let Some(refusal) = refused.then(|| blocks::refusal_text(&self.stop_members)).flatten() {
            self.send(&Delta { refusal: Some(refusal), ..Delta::default() }, out);
        }
        let mut fields = Object::new();
        if !self.citations.is_empty() {
            fields.push("citations", &std::mem::take(&mut self.citations));
        }
        if !self.others.is_empty() {
            fields.push("content_blocks", &std::mem::take(&mut self.others));
        }
        blocks::stop_fields(stop_reason.as_deref(), &self.stop_members, &mut fields);
        let delta = Delta { provider_specific_fields: (!fields.is_empty()).then_some(fields), ..Delta::default() };
        self.begin(out).delta(&delta, Some(blocks::finish_reason(stop_reason.as_deref())), out);
    }

    pub(super) fn message_stop(&mut self, out: &mut Vec<u8>) {
        if !self.finish_sent {
            self.finish(out);
        }
        if self.include_usage {
            let statements: Vec<&RawValue> = self.statements.iter().map(|one| &**one).collect();
            let object = usage::object(self.tally.usage().unwrap_or_default(), &statements);
            self.begin(out).usage(&object, out);
        }
        ChunkFrames::done(out);
        self.finished = true;
    }
}

//! Settlement: exact usage and cost, the reservation reconciled, one usage record, metrics.
//!
//! It is the call's destructor: it runs once, synchronously, whichever way the call ends.

use std::sync::Arc;
use std::time::Instant;

use super::Call;
use crate::ledger::{Outcome, UsageRecord, UsageSource};
use crate::limits::Actual;
use crate::pricing::{self, Price};
use crate::scan;
use crate::surfaces::Surface;
use crate::telemetry::{Labels, Sample};
use crate::tokens;
use crate::usage::Usage;

/// Largest body whose prompt is counted when the call is settled, in bytes.
pub(super) const MOST_COUNTED: usize = 256 * 1024;

impl Call {
    /// Tokens used so far, and who says so.
    pub(super) fn measured(&self) -> (Usage, UsageSource) {
        self.measured_within(MOST_COUNTED)
    }

    /// The same; the prompt of a body above `most` bytes is estimated if it is not counted yet.
    pub(super) fn measured_within(&self, most: usize) -> (Usage, UsageSource) {
        if let Some(usage) = self.usage {
            return (usage, UsageSource::Upstream);
        }
        if self.surface == Surface::CountTokens {
            return (Usage::default(), UsageSource::None);
        }
        // An answer that the client never saw any of, but an error instead, is not charged to it.
        if !self.answered || (self.outcome == Outcome::Error && self.status >= 400) {
            return (Usage::default(), UsageSource::None);
        }
        let completion_only = self.surface == Surface::Passthrough;
        let encoding = self.deployment.as_ref().map_or(tokens::Encoding::O200kBase, |d| d.tokenizer);
        let prompt = self.prompt_tokens.or_else(|| self.journaled.counted()).unwrap_or_else(|| match self.body.len() {
            // Counting a larger one here would hold up the thread: about four bytes make a token.
            size if size > most => size as u64 / 4,
            _ => scan::object(&self.body).map_or(0, |json| tokens::count_prompt(&json, encoding) as u64),
        });
        let completion = self.meter.count(encoding);
        // Most opaque routes use no tokens; only text that was generated says that a prompt was read.
        if completion == 0 && (prompt == 0 || completion_only) {
            return (Usage::default(), UsageSource::None);
        }
        (Usage { prompt, completion, ..Usage::default() }, UsageSource::Counted)
    }

    /// What the call costs in nano-dollars, and the price list: tokens, and whatever a request costs by itself.
    pub(super) fn charge(&self, usage: &Usage, source: UsageSource) -> (u64, Option<Arc<Price>>) {
        let whole = self.outcome != Outcome::Error || self.status < 400;
        if source == UsageSource::None && !(self.answered && whole && self.billed) {
            return (0, None);
        }
        self.cost(usage)
    }

    /// Cost of this usage in nano-dollars, and the price list it was computed from.
    pub(super) fn cost(&self, usage: &Usage) -> (u64, Option<Arc<Price>>) {
        let price = self.deployment.as_ref().and_then(|d| d.price(&self.upstream_model));
        (price.as_ref().map_or(0, |p| pricing::cost(p, usage)), price)
    }

    /// Whether somebody pays for it or a row is kept of it: it must not be forgotten then.
    pub(super) fn is_accounted(&self) -> bool {
        self.key.is_some() || self.reservation.is_some() || self.snapshot.settings.spend_logs
    }

    fn settle(&mut self) {
        let core = std::rc::Rc::clone(&self.core);
        let shared = &core.shared;
        if self.token.is_empty() {
            return;
        }
        // What panicked once must not be looked at again while unwinding.
        let (usage, usage_source) =
            if std::thread::panicking() { (Usage::default(), UsageSource::None) } else { self.measured() };
        let (cost, price) = self.charge(&usage, usage_source);
        let ended = Instant::now();
        let now = shared.clock.at(ended);
        if let Some(permit) = self.permit.take() {
            permit.settle(usage.total(), now.mono_ns);
        }
        let duration = ended.saturating_duration_since(self.started);
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let nobody = || Arc::<str>::from("");
        let group = self.group.as_ref().map_or_else(nobody, |g| Arc::clone(&g.name));
        let (deployment, provider) = (self.deployment.as_ref())
            .map_or_else(|| (nobody(), nobody()), |d| (Arc::clone(&d.id), Arc::clone(&d.provider)));
        let sample = Sample {
            duration_us,
            ttft_us: self.ttft_us,
            overhead_us: self.overhead_us,
            usage,
            cost,
            retries: self.attempts.saturating_sub(1),
        };
        let labels = Labels {
            model: Arc::clone(&group),
            deployment: Arc::clone(&deployment),
            provider: Arc::clone(&provider),
            surface: self.surface.name(),
            protocol: self.protocol,
            status: self.status,
            outcome: self.outcome.name(),
        };
        shared.metrics.call(core.thread, labels, &sample);
        if !self.is_accounted() && self.outcome == Outcome::Ok {
            // Nobody to charge, and no row to keep.
            return;
        }
        let reservation = self.reservation.take();
        shared.ledger.push(core.thread, self.journaled.take(), |seq| {
            // Before the record can be seen: a figure from the ledger that has it must find it settled.
            if let Some(reservation) = reservation {
                reservation.settle(Actual { tokens: usage.total(), nanos: cost, seq }, now);
            }
            UsageRecord {
                call_id: &self.id,
                seq,
                started_at: self.started_ms,
                surface: self.surface.name(),
                route: self.route,
                key: self.key.as_ref().map(|key| &key.record),
                token: &self.token,
                request_tags: &self.tags,
                end_user: self.end_user.as_deref().unwrap_or_default(),
                model: super::admit::bounded(&self.model),
                model_group: &group,
                deployment_id: &deployment,
                provider: &provider,
                upstream_model: &self.upstream_model,
                stream: self.stream,
                status: self.status,
                outcome: self.outcome,
                error_code: self.error_code.as_deref().unwrap_or_default(),
                usage,
                usage_source,
                cost,
                price_version: price.as_ref().map_or("", |price| &price.version),
                snapshot_version: self.snapshot.version,
                ttft_us: self.ttft_us,
                duration_us,
                overhead_us: self.overhead_us,
                attempts: self.attempts,
                request_bytes: self.body.len() as u64,
                response_bytes: self.response_bytes,
            }
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.settle();
    }
}

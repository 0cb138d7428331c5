//! What the journal hears of a call on its way: that it goes to an upstream, and how far it has got.
//!
//! Apart from settlement because it must be cheap and may be left out: a call is settled once, exactly and always, while
//! these notes are only read when the process was killed before that.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Call;
use crate::errors::{Failure, Kind, Outcome};
use crate::ledger::{Opening, Progress, Ticket, UsageSource};
use crate::surfaces::Surface;
use crate::tokens::Encoding;
use crate::usage::Usage;

/// Prompts of larger bodies, in bytes, are counted for a checkpoint beside the thread and not on it.
const COUNTED_HERE: usize = 16 * 1024;

/// The call's place in the journal.
#[derive(Debug, Default)]
pub(crate) struct Journaled {
    ticket: Option<Ticket>,
    /// What the provider said of usage when that was last noted.
    told: Option<Usage>,
    /// The prompt, while it is counted beside the thread.
    counting: Option<Arc<OnceLock<u64>>>,
}

impl Journaled {
    /// Hands the place over to whoever closes it.
    pub(super) fn take(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }

    /// Tokens of the prompt, if they were counted beside the thread.
    pub(super) fn counted(&self) -> Option<u64> {
        self.counting.as_ref().and_then(|count| count.get().copied())
    }
}

impl Call {
    /// Notes that the call goes to an upstream, before it does.
    ///
    /// # Errors
    /// The journal cannot be written: a call that nobody would know of must not be made.
    pub(super) fn open(&mut self) -> Outcome<()> {
        let core = std::rc::Rc::clone(&self.core);
        let ledger = &core.shared.ledger;
        if !ledger.is_journaled() || !self.is_accounted() {
            // Nobody to charge, and no row to keep.
            return Ok(());
        }
        let prices_prompt = self.billed && self.surface != Surface::Passthrough;
        let prompt = self.prompt_tokens.filter(|_| prices_prompt).unwrap_or(0);
        let (cost, price) = self.cost(&Usage { prompt, ..Usage::default() });
        let ticket = self.journaled.ticket.take();
        let none = || ("", "");
        let opening = Opening {
            call_id: &self.id,
            started_at: self.started_ms,
            surface: self.surface.name(),
            route: self.route,
            key: self.key.as_ref().map(|key| &key.record),
            token: &self.token,
            end_user: self.end_user.as_deref().unwrap_or_default(),
            request_tags: &self.tags,
            model: super::admit::bounded(&self.model),
            model_group: self.group.as_ref().map_or("", |group| &group.name),
            deployment_id: self.deployment.as_ref().map_or_else(none, |d| (&d.id, &d.provider)).0,
            provider: self.deployment.as_ref().map_or_else(none, |d| (&d.id, &d.provider)).1,
            upstream_model: &self.upstream_model,
            stream: self.stream,
            prompt,
            cost: if prompt == 0 { 0 } else { cost },
            price_version: price.as_ref().map_or("", |price| &price.version),
            snapshot_version: self.snapshot.version,
            overhead_us: self.overhead_us,
            attempts: self.attempts,
            request_bytes: self.body.len() as u64,
        };
        let ticket = match ticket {
            Some(ticket) => {
                ledger.reopen(core.thread, &ticket, &opening);
                Ok(Some(ticket))
            }
            None => ledger.open(core.thread, &opening),
        };
        self.journaled.ticket = ticket.map_err(|_| unwritable())?;
        Ok(())
    }

    /// How often a stream's progress is noted; `None`: the call is in no journal.
    pub(super) fn checkpoints(&self) -> Option<Duration> {
        let every = Duration::from_millis(self.core.shared.options.checkpoint_ms.max(1));
        self.journaled.ticket.is_some().then_some(every)
    }

    /// Notes how far the call has got.
    pub(super) fn checkpoint(&mut self) {
        if self.journaled.ticket.is_none() {
            return;
        }
        if self.usage.is_none() {
            let encoding = self.deployment.as_ref().map_or(Encoding::O200kBase, |d| d.tokenizer);
            self.meter.advance(encoding);
            self.count_prompt(encoding);
        }
        let (usage, source) = self.measured_within(COUNTED_HERE);
        self.note(usage, source, self.charge(&usage, source).0);
    }

    /// Notes the provider's own figures once they are there: a client that got the whole answer must find them accounted
    /// for, whatever happens next.
    pub(super) fn checkpoint_told(&mut self) {
        if self.usage.is_some() && self.usage != self.journaled.told {
            self.checkpoint();
        }
    }

    /// Whether nothing of the provider's own figures was noted yet.
    pub(super) fn has_told_nothing(&self) -> bool {
        self.journaled.told.is_none()
    }

    /// Notes figures that are known.
    pub(super) fn note(&mut self, usage: Usage, usage_source: UsageSource, cost: u64) {
        let Some(ticket) = &self.journaled.ticket else { return };
        let progress = Progress {
            usage,
            usage_source,
            cost,
            status: if self.status == 499 { 503 } else { self.status },
            ttft_us: self.ttft_us,
            duration_us: self.elapsed_us(),
            response_bytes: self.response_bytes,
        };
        self.core.shared.ledger.progress(self.core.thread, ticket, &progress);
        self.journaled.told = self.usage;
    }

    /// Sees to it that the prompt is counted once and not at each checkpoint.
    fn count_prompt(&mut self, encoding: Encoding) {
        if self.prompt_tokens.is_some() || !self.answered || self.surface == Surface::CountTokens {
            return;
        }
        if self.body.len() <= COUNTED_HERE {
            self.prompt_tokens = Some(super::count(&self.body, encoding));
            return;
        }
        if self.journaled.counting.is_none() && self.body.len() <= super::settle::MOST_COUNTED {
            let count = Arc::new(OnceLock::new());
            self.journaled.counting = Some(Arc::clone(&count));
            let body = self.body.clone();
            drop(tokio::task::spawn_blocking(move || count.set(super::count(&body, encoding))));
        }
    }
}

/// The refusal of a call that could not be accounted for.
pub(super) fn unwritable() -> Failure {
    Failure::new(Kind::Overloaded, "Usage records cannot be stored at the moment; try again shortly.").retry_after(2000)
}

//! What one call holds at one level: of its key, or of one scope.
//!
//! Apart so that the levels cannot differ: the same limits in the same order, and the same ways of giving back.

use std::sync::Arc;

use super::slots::SlotGuard;
use super::{Actual, Counters, Demand, LimitKind, Limits, Now, Rates, window};

/// A refused call is told to come back after so long when nothing better is known: a slot may free at any moment.
pub(super) const PARALLEL_RETRY_MS: u64 = 1_000;

/// Held until settled. Dropped, it gives back tokens, money and the slot; the request stays counted.
#[derive(Debug)]
pub(super) struct Hold {
    counters: Arc<Counters>,
    _slot: SlotGuard,
    /// When its request was taken; `None`: requests are not limited.
    request_at: Option<u64>,
    /// When its tokens were taken; `None`: tokens are not limited.
    tokens_at: Option<u64>,
    tokens: u64,
    /// Nano-dollars held in the budget: nothing where there is none.
    reserved: u64,
    /// Since when the budget's window holds in which they are, Unix milliseconds; 0: there is none.
    since: u64,
    open: bool,
}

/// A limit that refused; nothing is held then.
pub(super) struct Refusal {
    pub(super) kind: LimitKind,
    pub(super) limit: u64,
    pub(super) current: u64,
    pub(super) asked: u64,
    pub(super) retry_after_ms: Option<u64>,
}

impl Hold {
    /// Takes what a call may need, and notes where the rates stand then.
    #[inline]
    pub(super) fn take(
        limits: &Limits,
        counters: &Arc<Counters>,
        demand: Demand,
        now: Now,
        rates: &mut Rates,
    ) -> Result<Self, Refusal> {
        let slot = counters.slots.enter(limits.max_parallel).map_err(|full| Refusal {
            kind: LimitKind::Parallel,
            limit: limits.max_parallel.unwrap_or(0),
            current: full.in_flight,
            asked: 1,
            retry_after_ms: Some(PARALLEL_RETRY_MS),
        })?;
        let (mut request_at, mut tokens_at) = (None, None);
        let mut stand = Rates::default();
        if let Some(rate) = limits.requests {
            let taken = counters.requests.admit(rate, 1, now.mono_ns);
            let taken = taken.map_err(|denied| over_rate(LimitKind::Requests, denied, 1))?;
            (request_at, stand.requests) = (Some(taken.at_ns), Some(taken.state));
        }
        if let Some(rate) = limits.tokens {
            match counters.tokens.admit(rate, demand.tokens, now.mono_ns) {
                Ok(taken) => (tokens_at, stand.tokens) = (Some(taken.at_ns), Some(taken.state)),
                Err(denied) => {
                    give_back_request(counters, request_at);
                    let kind = LimitKind::Tokens { too_large: denied.too_large };
                    return Err(over_rate(kind, denied, demand.tokens));
                }
            }
        }
        let (mut reserved, mut since) = (0, 0);
        if let Some(max) = limits.max_budget {
            since = counters.budget.reserve(max, demand.nanos, now.window_ms).map_err(|over| {
                give_back_request(counters, request_at);
                if let Some(at) = tokens_at {
                    counters.tokens.refund(demand.tokens, at);
                }
                Refusal {
                    kind: LimitKind::Budget,
                    limit: max,
                    current: over.spent.saturating_add(over.reserved),
                    asked: demand.nanos,
                    retry_after_ms: over.reset_at.map(|at| at.saturating_sub(now.window_ms)),
                }
            })?;
            reserved = demand.nanos;
        }
        rates.meet(stand);
        let (counters, tokens) = (counters.clone(), demand.tokens);
        Ok(Self { counters, _slot: slot, request_at, tokens_at, tokens, reserved, since, open: true })
    }

    /// Since when the window of its money holds.
    pub(super) const fn since(&self) -> u64 {
        self.since
    }

    /// The call was refused at another level: it never was.
    pub(super) fn undo(self) {
        give_back_request(&self.counters, self.request_at);
    }

    /// The call is over: what it used takes the place of what it held.
    pub(super) fn settle(mut self, actual: Actual, now: Now) {
        self.open = false;
        if let Some(at) = self.tokens_at {
            if actual.tokens > self.tokens {
                self.counters.tokens.debit(actual.tokens - self.tokens, now.mono_ns);
            } else {
                self.counters.tokens.refund(self.tokens - actual.tokens, at);
            }
        }
        self.counters.budget.settle(self.reserved, actual.nanos, actual.seq, now.window_ms);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if let Some(at) = self.tokens_at {
            self.counters.tokens.refund(self.tokens, at);
        }
        if self.reserved > 0 {
            self.counters.budget.release(self.reserved);
        }
    }
}

fn give_back_request(counters: &Counters, taken_at: Option<u64>) {
    if let Some(at) = taken_at {
        counters.requests.refund(1, at);
    }
}

#[cold]
fn over_rate(kind: LimitKind, denied: window::Denied, asked: u64) -> Refusal {
    let window::Denied { retry_after_ns, state, too_large } = denied;
    Refusal {
        kind,
        limit: state.limit,
        current: state.limit.saturating_sub(state.remaining),
        asked,
        retry_after_ms: (!too_large).then(|| retry_after_ns.div_ceil(1_000_000)),
    }
}

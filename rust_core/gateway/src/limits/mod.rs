//! What a virtual key may use: calls at once, requests and tokens per minute, money.
//!
//! Apart from authentication, which says who calls: here is how much. [`admit`] takes everything a call may need in
//! one go or nothing at all; the [`Reservation`] gives back what the call did not use, when it is settled or dropped.
//! A limit that a key does not have is not looked at.

pub mod budget;
pub mod clock;
pub mod deployment;
pub mod slots;
pub mod window;

use std::sync::Arc;

use crate::auth::record::Key;

pub use self::budget::{Budget, Seed};
pub use self::clock::{Clock, Now};
pub use self::slots::{SlotGuard, Slots, SlotsFull};
pub use self::window::{Rate, State, Window};

/// A refused call is told to come back after so long when nothing better is known: a slot may free at any moment.
const PARALLEL_RETRY_MS: u64 = 1_000;

/// Counters of one key. They outlive its record: an updated record keeps them.
#[derive(Debug, Default)]
pub struct KeyState {
    requests: Window,
    tokens: Window,
    slots: Arc<Slots>,
    budget: Budget,
}

impl KeyState {
    /// Fresh counters; spending starts from the ledger's figure.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { budget: Budget::new(seed), ..Self::default() }
    }

    /// Take over a later figure of the ledger; see [`Budget::seed`].
    pub fn seed(&self, seed: Seed) -> bool {
        self.budget.seed(seed)
    }

    /// `(spent, reserved, in_flight)`: nano-dollars, nano-dollars, calls.
    #[must_use]
    pub fn usage(&self) -> (u64, u64, u64) {
        let (spent, reserved) = self.budget.figures();
        (spent, reserved, self.slots.in_flight())
    }
}

/// The most that a call may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Prompt tokens plus the bound of the output.
    pub tokens: u64,
    /// Nano-dollars; see `pricing::worst_case`.
    pub nanos: u64,
}

/// What a call did use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Actual {
    /// Input and output tokens.
    pub tokens: u64,
    /// Nano-dollars.
    pub nanos: u64,
    /// Ordinal of the call's usage record, which must reach the ledger after the reservation was settled.
    pub seq: u64,
}

/// Where the rates of a key stand; a rate it does not have is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests per minute.
    pub requests: Option<State>,
    /// Tokens per minute.
    pub tokens: Option<State>,
}

/// Which limit refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Calls in flight.
    Parallel,
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens {
        /// The call alone needs more than a minute's worth: no waiting helps.
        too_large: bool,
    },
    /// Nano-dollars per budget window.
    Budget,
}

/// A refusal. Nothing is held for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitDenied {
    /// Which limit.
    pub kind: LimitKind,
    /// The limit, in its own unit: calls, requests, tokens, nano-dollars.
    pub limit: u64,
    /// How much of it is in use; for a budget, spent and reserved together.
    pub current: u64,
    /// How much of it this call asked for.
    pub asked: u64,
    /// Milliseconds after which it is worth asking again; `None`: waiting does not help, or nobody knows.
    pub retry_after_ms: Option<u64>,
    /// All rates, for headers.
    pub rates: Rates,
}

/// What one call holds of its key's limits.
///
/// Dropped without [`Reservation::settle`], it gives back tokens, money and the slot; the request stays counted.
#[derive(Debug)]
pub struct Reservation {
    state: Arc<KeyState>,
    _slot: SlotGuard,
    /// When its tokens were taken; `None`: there is no limit on them.
    tokens_at: Option<u64>,
    demand: Demand,
    /// What of `demand.nanos` is held in the budget: nothing for a key without one.
    reserved: u64,
    rates: Rates,
    open: bool,
}

/// Take what a call may need: a slot, a request, tokens, money, in this order.
///
/// # Errors
/// [`LimitDenied`] for the first limit in that order that refuses; what earlier ones gave is back by then.
pub fn admit(key: &Arc<Key>, demand: Demand, now: Now) -> Result<Reservation, LimitDenied> {
    let state = &key.state;
    let slot = state.slots.enter(key.max_parallel).map_err(|full| LimitDenied {
        kind: LimitKind::Parallel,
        limit: key.max_parallel.unwrap_or(0),
        current: full.in_flight,
        asked: 1,
        retry_after_ms: Some(PARALLEL_RETRY_MS),
        rates: standing(key, now),
    })?;
    let mut rates = Rates::default();
    let (mut request_at, mut tokens_at) = (None, None);
    if let Some(rate) = key.requests {
        match state.requests.admit(rate, 1, now.mono_ns) {
            Ok(taken) => (request_at, rates.requests) = (Some(taken.at_ns), Some(taken.state)),
            Err(denied) => return Err(rate_denied(LimitKind::Requests, denied, 1, standing(key, now))),
        }
    }
    if let Some(rate) = key.tokens {
        match state.tokens.admit(rate, demand.tokens, now.mono_ns) {
            Ok(taken) => (tokens_at, rates.tokens) = (Some(taken.at_ns), Some(taken.state)),
            Err(denied) => {
                give_back_request(state, request_at);
                let kind = LimitKind::Tokens { too_large: denied.too_large };
                return Err(rate_denied(kind, denied, demand.tokens, standing(key, now)));
            }
        }
    }
    let mut reserved = 0;
    if let Some(max) = key.record.max_budget {
        if let Err(over) = state.budget.reserve(max, demand.nanos, now.unix_ms) {
            give_back_request(state, request_at);
            if let Some(at) = tokens_at {
                state.tokens.refund(demand.tokens, at);
            }
            return Err(LimitDenied {
                kind: LimitKind::Budget,
                limit: max,
                current: over.spent.saturating_add(over.reserved),
                asked: demand.nanos,
                retry_after_ms: over.reset_at.map(|at| at.saturating_sub(now.unix_ms)),
                rates: standing(key, now),
            });
        }
        reserved = demand.nanos;
    }
    Ok(Reservation { state: state.clone(), _slot: slot, tokens_at, demand, reserved, rates, open: true })
}

/// Where a key's rates stand, taking nothing.
#[must_use]
pub fn standing(key: &Key, now: Now) -> Rates {
    Rates {
        requests: key.requests.map(|rate| key.state.requests.state(rate, now.mono_ns)),
        tokens: key.tokens.map(|rate| key.state.tokens.state(rate, now.mono_ns)),
    }
}

fn give_back_request(state: &KeyState, taken_at: Option<u64>) {
    if let Some(at) = taken_at {
        state.requests.refund(1, at);
    }
}

fn rate_denied(kind: LimitKind, denied: window::Denied, asked: u64, rates: Rates) -> LimitDenied {
    LimitDenied {
        kind,
        limit: denied.state.limit,
        current: denied.state.limit.saturating_sub(denied.state.remaining),
        asked,
        retry_after_ms: (!denied.too_large).then(|| denied.retry_after_ns.div_ceil(1_000_000)),
        rates,
    }
}

impl Reservation {
    /// Where the key's rates stood when the call was admitted.
    #[must_use]
    pub const fn rates(&self) -> Rates {
        self.rates
    }

    /// What the call holds.
    #[must_use]
    pub const fn demand(&self) -> Demand {
        self.demand
    }

    /// The call is over: replace what it held by what it used, more or less.
    pub fn settle(mut self, actual: Actual, now: Now) {
        self.open = false;
        if let Some(at) = self.tokens_at {
            let held = self.demand.tokens;
            if actual.tokens > held {
                self.state.tokens.debit(actual.tokens - held, now.mono_ns);
            } else {
                self.state.tokens.refund(held - actual.tokens, at);
            }
        }
        self.state.budget.settle(self.reserved, actual.nanos, actual.seq, now.unix_ms);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if let Some(at) = self.tokens_at {
            self.state.tokens.refund(self.demand.tokens, at);
        }
        if self.reserved > 0 {
            self.state.budget.release(self.reserved);
        }
    }
}

#[cfg(test)]
mod tests;

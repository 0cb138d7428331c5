//! What a caller may use: calls at once, requests and tokens per minute, money.
//!
//! Apart from authentication, which says who calls: here is how much. A call stands under its key and under every scope
//! above it (team, user, customer, ...), and all of these are one thing here: [`Limits`] that are compared with
//! [`Counters`]. [`admit`] takes everything a call may need at every level in one go, or nothing at all; the
//! [`Reservation`] gives back what the call did not use, when it is settled or dropped. A limit that is not set is not
//! looked at.

pub mod budget;
pub mod clock;
pub mod deployment;
mod hold;
pub mod lease;
pub mod slots;
mod when_gone;
pub mod window;

use std::sync::{Arc, OnceLock};

use crate::auth::record::Key;
use crate::auth::scope::{Rules, Scope};

pub use self::budget::{Budget, Seed};
pub use self::clock::{Clock, Now};
use self::hold::{Hold, Refusal};
use self::lease::quota::Want;
use self::lease::{Kind, Leases, Quota, Refused, Share, Terms};
pub use self::slots::{SlotGuard, Slots, SlotsFull};
pub use self::when_gone::WhenGone;
pub use self::window::{Rate, State, Window};

/// What a key or a scope may use; `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute.
    pub requests: Option<Rate>,
    /// Tokens per minute.
    pub tokens: Option<Rate>,
    /// Calls in flight.
    pub max_parallel: Option<u64>,
    /// Nano-dollars per budget window.
    pub max_budget: Option<u64>,
}

impl Limits {
    /// From a record's figures.
    #[must_use]
    pub fn new(rpm: Option<u64>, tpm: Option<u64>, max_parallel: Option<u64>, max_budget: Option<u64>) -> Self {
        let rate = |per_minute| Rate { per_minute };
        Self { requests: rpm.map(rate), tokens: tpm.map(rate), max_parallel, max_budget }
    }

    /// Whether a call's tokens must be known before it is admitted.
    #[must_use]
    pub const fn ask_for_tokens(&self) -> bool {
        self.tokens.is_some() || self.max_budget.is_some()
    }
}

/// What a key or a scope has used. It outlives the record that limits it: an updated record keeps the counters.
#[derive(Debug, Default)]
pub struct Counters {
    requests: Window,
    tokens: Window,
    slots: Arc<Slots>,
    budget: Budget,
    /// What this process has of the same limits where they are shared.
    leases: OnceLock<Arc<Leases>>,
}

impl Counters {
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

    /// Gives back the memory of rates that nobody has used for a minute.
    pub fn rest(&self, now_ns: u64) {
        self.requests.rest(now_ns);
        self.tokens.rest(now_ns);
    }

    fn leases(&self, quota: &Quota, name: impl FnOnce() -> Arc<str>) -> &Arc<Leases> {
        self.leases.get_or_init(|| quota.leases(name()))
    }

    fn standing(&self, limits: &Limits, now: Now) -> Rates {
        Rates {
            requests: limits.requests.map(|rate| self.requests.state(rate, now.mono_ns)),
            tokens: limits.tokens.map(|rate| self.tokens.state(rate, now.mono_ns)),
        }
    }
}

/// Everybody whose limits a call must keep to, from near to far: its key, the scopes above the key, and the scopes that
/// the request names itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Payers<'a> {
    /// `None`: the master key, which has no limits.
    pub key: Option<&'a Key>,
    /// The customer and the tags of the request.
    pub named: &'a [Arc<Scope>],
    /// The model as requested and its group's name, for limits on one model.
    pub models: [&'a str; 2],
}

impl<'a> From<&'a Key> for Payers<'a> {
    fn from(key: &'a Key) -> Self {
        Self { key: Some(key), ..Self::default() }
    }
}

impl<'a> From<&'a Arc<Key>> for Payers<'a> {
    fn from(key: &'a Arc<Key>) -> Self {
        Self::from(&**key)
    }
}

impl<'a> Payers<'a> {
    /// Whether the call's tokens must be known before it is admitted.
    #[must_use]
    pub fn ask_for_tokens(&self) -> bool {
        self.key.is_some_and(|key| key.limits.ask_for_tokens())
            || self.scopes().any(|scope| scope.rules().limits.ask_for_tokens())
    }

    /// Scopes whose rules may hold for the call, each once: what the request names again is one of the key's.
    fn scopes(&self) -> impl Iterator<Item = &'a Arc<Scope>> {
        let of_key = self.key.map_or(&[][..], |key| &*key.scopes);
        let others = self.named.iter().filter(move |scope| !of_key.iter().any(|known| Arc::ptr_eq(known, scope)));
        of_key.iter().chain(others)
    }

    fn is_alone(&self) -> bool {
        self.named.is_empty() && self.key.is_none_or(|key| key.scopes.is_empty())
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

/// Where rates stand; one that does not exist is absent. Of several levels the one with the least left counts: that is
/// the one that a client will meet first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests per minute.
    pub requests: Option<State>,
    /// Tokens per minute.
    pub tokens: Option<State>,
}

impl Rates {
    fn meet(&mut self, other: Self) {
        let least = |one: Option<State>, other: Option<State>| match (one, other) {
            (Some(one), Some(other)) if other.remaining < one.remaining => Some(other),
            (one, other) => one.or(other),
        };
        self.requests = least(self.requests, other.requests);
        self.tokens = least(self.tokens, other.tokens);
    }
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
#[derive(Debug, Clone)]
pub struct LimitDenied {
    /// Whose limit; `None`: the key's own.
    pub scope: Option<Arc<Rules>>,
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

impl LimitDenied {
    #[cold]
    fn new(refusal: Refusal, scope: Option<Arc<Rules>>, rates: Rates) -> Self {
        let Refusal { kind, limit, current, asked, retry_after_ms } = refusal;
        Self { scope, kind, limit, current, asked, retry_after_ms, rates }
    }
}

/// What one call holds, at all levels.
///
/// Dropped without [`Reservation::settle`], it gives back tokens, money and slots; the request stays counted.
#[derive(Debug)]
pub struct Reservation {
    own: Option<Hold>,
    /// Of the scopes; a key that stands under none allocates nothing.
    above: Vec<Hold>,
    /// Of limits that are shared.
    shares: Vec<Share>,
    demand: Demand,
    rates: Rates,
    since: u64,
}

/// Take what a call may need: a slot, a request, tokens, money, in this order, of the key and then of each scope.
///
/// # Errors
/// [`LimitDenied`] for the first limit in that order that refuses; what earlier ones gave is back by then.
pub fn admit<'a>(payers: impl Into<Payers<'a>>, demand: Demand, now: Now) -> Result<Reservation, LimitDenied> {
    let payers = payers.into();
    let mut rates = Rates::default();
    let own = match payers.key {
        Some(key) => match Hold::take(&key.limits, &key.state, demand, now, &mut rates) {
            Ok(hold) => Some(hold),
            Err(refusal) => return Err(LimitDenied::new(refusal, None, standing(payers, now))),
        },
        None => None,
    };
    if payers.is_alone() {
        let since = own.as_ref().map_or(0, Hold::since);
        return Ok(Reservation { own, above: Vec::new(), shares: Vec::new(), demand, rates, since });
    }
    let mut above = Vec::with_capacity(payers.key.map_or(0, |key| key.scopes.len()) + payers.named.len());
    for scope in payers.scopes() {
        let rules = scope.rules();
        if !rules.hold_for(&payers.models) {
            continue;
        }
        match Hold::take(&rules.limits, &scope.counters, demand, now, &mut rates) {
            Ok(hold) => above.push(hold),
            Err(refusal) => {
                own.into_iter().chain(above).for_each(Hold::undo);
                return Err(LimitDenied::new(refusal, Some(Arc::clone(&rules)), standing(payers, now)));
            }
        }
    }
    let since = own.iter().chain(&above).map(Hold::since).max().unwrap_or(0);
    Ok(Reservation { own, above, shares: Vec::new(), demand, rates, since })
}

/// What a call needs of limits that are shared, and whose each is (`None`: the key's own).
#[must_use]
pub fn wants<'a>(
    payers: impl Into<Payers<'a>>,
    demand: Demand,
    quota: &Quota,
    now: Now,
) -> (Vec<Want>, Vec<Option<Arc<Rules>>>) {
    let payers = payers.into();
    let (mut wants, mut whose) = (Vec::new(), Vec::new());
    let mut when_gone = payers.key.and_then(|key| key.record.when_gone);
    let mut named = None;
    let mut add =
        |limits: &Limits, terms: &dyn Fn() -> Terms, leases: &dyn Fn() -> Arc<Leases>, rules: Option<&Arc<Rules>>| {
            let all = [
                (Kind::Parallel, limits.max_parallel, 1),
                (Kind::Requests, limits.requests.map(|rate| rate.per_minute), 1),
                (Kind::Tokens, limits.tokens.map(|rate| rate.per_minute), demand.tokens),
                (Kind::Budget, limits.max_budget, demand.nanos),
            ];
            for (kind, limit, units) in all {
                let Some(limit) = limit else { continue };
                let (leases, mut its) = (leases(), None);
                if kind == Kind::Budget {
                    quota.open_account(&leases);
                    its = Some(terms());
                }
                wants.push(Want { leases, kind, limit, units, terms: its, when_gone: None });
                whose.push(rules.cloned());
            }
        };
    if let Some(key) = payers.key {
        let leases = || Arc::clone(key.state.leases(quota, || format!("own:{}", key.digest).into()));
        add(&key.limits, &|| key.record.seed().terms(key.record.spend_at, now.window_ms), &leases, None);
    }
    for scope in payers.scopes() {
        let rules = scope.rules();
        if rules.hold_for(&payers.models) {
            let leases = || Arc::clone(scope.counters.leases(quota, || Arc::clone(scope.name())));
            let terms = || rules.record.seed().terms(rules.record.spend_at, now.window_ms);
            add(&rules.limits, &terms, &leases, Some(&rules));
            let choice = if rules.is_named_by_calls { &mut named } else { &mut when_gone };
            *choice = (*choice).max(rules.record.when_gone);
        }
    }
    // Where nobody else chose, the operator did, which may be anything but stricter than that.
    if when_gone.is_some() || named == Some(WhenGone::FailClosed) {
        when_gone = when_gone.max(named);
    }
    // All of them or none: what the strictest of the payers chose holds for the limits of each.
    wants.iter_mut().for_each(|want| want.when_gone = when_gone);
    (wants, whose)
}

/// Where the rates that a call meets stand, taking nothing.
#[must_use]
pub fn standing<'a>(payers: impl Into<Payers<'a>>, now: Now) -> Rates {
    let payers = payers.into();
    let mut rates = payers.key.map_or_else(Rates::default, |key| key.state.standing(&key.limits, now));
    for scope in payers.scopes() {
        let rules = scope.rules();
        if rules.hold_for(&payers.models) {
            rates.meet(scope.counters.standing(&rules.limits, now));
        }
    }
    rates
}

impl Reservation {
    /// Where the rates stood when the call was admitted.
    #[must_use]
    pub const fn rates(&self) -> Rates {
        self.rates
    }

    /// Since when, at the earliest, the call counts: the latest beginning of a budget window that its money is from, Unix
    /// milliseconds. It may have begun in the window before, but that did not let it in.
    #[must_use]
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// What the call holds.
    #[must_use]
    pub const fn demand(&self) -> Demand {
        self.demand
    }

    /// It holds its part of what is shared, too. A request counts from now on, whatever becomes of the call.
    pub fn share(&mut self, mut shares: Vec<Share>, wants: &[Want], now: Now) {
        for (share, want) in shares.iter().zip(wants) {
            self.since = self.since.max(share.since());
            let Some(remaining) = share.left(now.mono_ns) else { continue };
            let state = match want.kind {
                Kind::Requests => &mut self.rates.requests,
                Kind::Tokens => &mut self.rates.tokens,
                Kind::Parallel | Kind::Budget => continue,
            };
            if let Some(state) = state.as_mut().filter(|state| remaining < state.remaining) {
                *state = State { limit: want.limit, remaining, reset_ns: state.reset_ns };
            }
        }
        shares.retain_mut(|share| {
            let counted = share.kind() == Kind::Requests;
            if counted {
                share.use_up();
            }
            !counted
        });
        self.shares = shares;
    }

    /// A limit that is shared refused the call: it never was. `want` is what it wanted of that limit.
    #[must_use]
    pub fn refuse(self, want: &Want, scope: Option<Arc<Rules>>, refused: Refused) -> LimitDenied {
        let (limit, mut rates) = (want.limit, self.rates);
        let met = match want.kind {
            Kind::Requests => &mut rates.requests,
            Kind::Tokens => &mut rates.tokens,
            Kind::Parallel | Kind::Budget => &mut None,
        };
        if let Some(state) = met {
            *state = State { limit, remaining: refused.remaining.min(state.remaining), reset_ns: state.reset_ns };
        }
        let kind = match want.kind {
            Kind::Parallel => LimitKind::Parallel,
            Kind::Requests => LimitKind::Requests,
            Kind::Tokens => LimitKind::Tokens { too_large: false },
            Kind::Budget => LimitKind::Budget,
        };
        self.undo();
        let current = limit.saturating_sub(refused.remaining);
        // More of a budget is there in the next window, if there is one.
        let retry_after_ms = match want.terms {
            Some(terms) => terms.resets_in,
            None => refused.retry_after_ms.or(Some(hold::PARALLEL_RETRY_MS)),
        };
        LimitDenied { scope, kind, limit, current, asked: want.units, retry_after_ms, rates }
    }

    /// The call never was.
    pub fn undo(self) {
        self.own.into_iter().chain(self.above).for_each(Hold::undo);
    }

    /// The call is over: replace what it held by what it used, more or less, at every level.
    pub fn settle(self, actual: Actual, now: Now) {
        for share in self.shares {
            match share.kind() {
                Kind::Budget => share.spend(actual.nanos, actual.seq),
                Kind::Tokens => share.settle(actual.tokens),
                Kind::Requests | Kind::Parallel => share.settle(0),
            }
        }
        if let Some(own) = self.own {
            own.settle(actual, now);
        }
        for hold in self.above {
            hold.settle(actual, now);
        }
    }
}

#[cfg(test)]
mod tests;

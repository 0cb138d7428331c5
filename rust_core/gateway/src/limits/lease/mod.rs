//! What this process has of limits that several gateways share: units that were granted, and what calls took of them.
//!
//! Apart from the windows and slots, which count what this process does and go on doing so: where limits are shared a
//! call needs a unit of both. A grant of a rate is a *lease*, to be used within its time to live or given back; slots are
//! held until they are given back, and money until the ledger has what was spent of it. Taking what is there is local;
//! [`quota`] asks for the rest and returns what is over.

mod money;
mod pace;
pub mod quota;
mod rate;
mod slots;

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use self::money::{Found, Money};
use self::rate::RateLeases;
use self::slots::HeldSlots;
use super::WhenGone;

pub use self::quota::{Answer, Quota, Told};

/// A limit that is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Calls in flight.
    Parallel,
    /// Nano-dollars per budget window.
    Budget,
}

impl Kind {
    /// As the control plane calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "rpm",
            Self::Tokens => "tpm",
            Self::Parallel => "parallel",
            Self::Budget => "budget",
        }
    }
}

/// What a limit on money says beside its amount: the ledger's figure that the record had which says the limit. Nano-dollars,
/// Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Terms {
    /// Spent in the window that ends at `until`.
    pub spent: u64,
    /// Of that figure: a later one is larger.
    pub version: u64,
    /// End of the window; 0: there is none.
    pub until: u64,
    /// The end of the last window that is over; 0: none is.
    pub ended: u64,
    /// The beginning of the window that holds for who asks; 0: there is none.
    #[serde(skip)]
    pub since: u64,
    /// Milliseconds until the window ends, if that is known.
    #[serde(skip)]
    pub resets_in: Option<u64>,
}

/// How far the clocks of machines are apart at most.
const AHEAD_MS: u64 = 60_000;

impl Terms {
    /// Since when the window holds that was granted from: the one that is said here, or the next one where it ends later,
    /// at `until`. A window that has long to go did not end by itself: whoever pays was given another length.
    fn since(&self, until: u64) -> u64 {
        let is_over = self.ended > 0 || self.resets_in.is_some_and(|left| left <= AHEAD_MS);
        if self.until > 0 && until > self.until && is_over { self.since.max(self.until) } else { self.since }
    }
}

/// Units of one grant.
#[derive(Debug, Clone)]
struct Part {
    /// The grant's name, for giving back.
    lease: u64,
    /// Whom the grant was asked for; it must be given back for the same.
    tag: Option<Arc<str>>,
    /// When they are no longer ours, on the monotonic clock. Slots do not expire.
    expires_ns: u64,
    /// Nobody else was asked: they are for the call that asked and no other, whose payers may have chosen otherwise.
    alone: bool,
    units: u64,
}

/// What to do beside a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    /// Units that were not there.
    lack: u64,
    /// Units to ask for ahead of time; nobody waits for them.
    refill: Option<u64>,
}

/// A refusal that is still believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Milliseconds after which it is worth trying again.
    pub retry_after_ms: Option<u64>,
    /// What was left for everybody.
    pub remaining: u64,
    /// Decided without Redis, by this choice: it is nothing to those who have another one.
    pub alone: Option<Option<WhenGone>>,
}

impl Refused {
    /// Whether it holds for those who made this choice.
    fn holds_for(&self, choice: Option<WhenGone>) -> bool {
        self.alone.is_none_or(|alone| alone == choice)
    }
}

/// Refusals remembered: asking for as much again is in vain for a while.
#[derive(Debug, Default)]
struct Refusals(Option<Refusal>);

#[derive(Debug, Clone, Copy)]
struct Refusal {
    need: u64,
    until_ns: u64,
    retry_ns: Option<u64>,
    refused: Refused,
}

impl Refusals {
    /// `need` units were refused; it is believed for `believed_ns`.
    fn note(&mut self, need: u64, refused: Refused, now_ns: u64, believed_ns: u64) {
        let retry_ns = refused.retry_after_ms.map(|ms| now_ns.saturating_add(ms.saturating_mul(1_000_000)));
        let until_ns = retry_ns.unwrap_or(u64::MAX).min(now_ns.saturating_add(believed_ns));
        let known = self.0.filter(|known| known.until_ns > now_ns && known.refused.alone == refused.alone);
        // It says more, and is believed for its own time.
        if known.is_some_and(|known| known.need < need) {
            return;
        }
        self.0 = Some(Refusal { need, until_ns, retry_ns, refused });
    }

    fn of(&self, need: u64, now_ns: u64) -> Option<Refused> {
        let Refusal { retry_ns, refused, .. } = self.0.filter(|known| need >= known.need && known.until_ns > now_ns)?;
        let retry_after_ms = retry_ns.map(|at| at.saturating_sub(now_ns).div_ceil(1_000_000));
        Some(Refused { retry_after_ms, ..refused })
    }

    fn forget(&mut self) {
        self.0 = None;
    }
}

/// Everything of one key or scope.
pub struct Leases {
    scope: Arc<str>,
    requests: RateLeases,
    tokens: RateLeases,
    parallel: HeldSlots,
    money: OnceLock<Arc<Money>>,
    listed: AtomicBool,
    list: Arc<List>,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Leases").field(&self.scope).finish()
    }
}

/// Those that have something, so that what is not used finds its way back without anybody touching it.
#[derive(Debug, Default)]
struct List(Mutex<Vec<Arc<Leases>>>);

impl List {
    fn add(&self, leases: &Arc<Leases>) {
        if !leases.listed.swap(true, Ordering::AcqRel) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(leases));
        }
    }

    fn take(&self) -> Vec<Arc<Leases>> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Units on their way back.
#[derive(Debug)]
struct Return {
    kind: Kind,
    part: Part,
}

impl Leases {
    fn new(scope: Arc<str>, list: Arc<List>) -> Self {
        let (requests, tokens) = (RateLeases::default(), RateLeases::default());
        let (parallel, money) = (HeldSlots::default(), OnceLock::new());
        Self { scope, requests, tokens, parallel, money, listed: AtomicBool::new(false), list }
    }

    fn rate(&self, kind: Kind) -> Option<&RateLeases> {
        match kind {
            Kind::Requests => Some(&self.requests),
            Kind::Tokens => Some(&self.tokens),
            Kind::Parallel | Kind::Budget => None,
        }
    }

    fn of(&self, kind: Kind) -> Of<'_> {
        match kind {
            Kind::Requests => Of::Rate(&self.requests),
            Kind::Tokens => Of::Rate(&self.tokens),
            Kind::Parallel => Of::Slots(&self.parallel),
            Kind::Budget => Of::Money(self.money.get_or_init(Arc::default)),
        }
    }

    /// Takes what is there of `units`.
    fn take(&self, kind: Kind, units: u64, now_ns: u64, share: &mut Share) -> Taken {
        match self.of(kind) {
            Of::Rate(rate) => rate.take(units, now_ns, &mut share.parts),
            Of::Slots(slots) => slots.take(units, now_ns, &mut share.parts),
            Of::Money(money) => {
                let (held, taken) = money.take(units, now_ns);
                share.money += held;
                share.since = share.since.max(money.since());
                taken
            }
        }
    }

    fn owes(&self, kind: Kind) -> bool {
        self.rate(kind).is_some_and(RateLeases::owes)
    }

    fn refused(&self, kind: Kind, need: u64, now_ns: u64) -> Option<Refused> {
        match self.of(kind) {
            Of::Rate(rate) => rate.refused(need, now_ns),
            Of::Slots(slots) => slots.refused(need, now_ns),
            Of::Money(money) => money.refused(need, now_ns),
        }
    }

    /// `(need, want)` of a question about `lack` units.
    fn question(&self, kind: Kind, lack: u64, limit: u64, now_ns: u64) -> (u64, u64) {
        match self.of(kind) {
            Of::Rate(rate) => rate.question(lack, limit, now_ns),
            Of::Slots(slots) => slots.question(lack, now_ns),
            Of::Money(money) => money.question(lack, now_ns),
        }
    }

    /// A question found no answer.
    fn unanswered(&self, kind: Kind) {
        match self.of(kind) {
            Of::Rate(rate) => rate.unanswered(),
            Of::Slots(slots) => slots.unanswered(),
            Of::Money(money) => money.unanswered(),
        }
    }

    fn was_refused(&self, kind: Kind, need: u64, refused: Refused, now_ns: u64) {
        match self.of(kind) {
            Of::Rate(rate) => rate.was_refused(need, refused, now_ns),
            Of::Slots(slots) => slots.was_refused(need, refused, now_ns),
            Of::Money(money) => money.was_refused(need, refused, now_ns),
        }
    }

    /// What is granted is from a budget window that holds since then.
    fn is_of_window(&self, kind: Kind, since: u64) {
        if let Of::Money(money) = self.of(kind) {
            money.is_of_window(since);
        }
    }

    /// A part came, where `need` to `want` units were `asked` for; `mine` of them go to who asked, and so many are `left`
    /// for everybody.
    fn granted(self: &Arc<Self>, kind: Kind, asked: (u64, u64), mine: u64, left: u64, mut part: Part) -> Share {
        let mut share = Share::none(Arc::clone(self), kind);
        let granted = part.units;
        part.units = mine.min(granted);
        match self.of(kind) {
            Of::Rate(rate) => rate.granted(asked, granted, left, Part { units: granted - part.units, ..part.clone() }),
            Of::Slots(slots) => slots.granted(asked, granted, part.units, &part),
            Of::Money(money) => {
                money.granted(asked, granted, part.units, left, part.expires_ns);
                share.money = mem::take(&mut part.units);
                share.since = money.since();
            }
        }
        if part.units > 0 {
            share.parts.push(part);
        }
        self.list.add(self);
        share
    }

    fn give_back(self: &Arc<Self>, kind: Kind, parts: Vec<Part>) {
        for part in parts {
            match self.of(kind) {
                Of::Rate(rate) => rate.give_back(part),
                Of::Slots(slots) => slots.release(part.units),
                Of::Money(money) => money.release(part.units),
            }
        }
        self.list.add(self);
    }

    /// What of one limit is of no use any more, at `now_ns`.
    fn over(&self, kind: Kind, now_ns: u64) -> Vec<Part> {
        match self.of(kind) {
            Of::Rate(rate) => rate.over(now_ns),
            Of::Slots(slots) => slots.over().into_iter().collect(),
            Of::Money(_) => Vec::new(),
        }
    }

    /// What is over, at `now_ns`. False: there is nothing left to look after.
    fn sweep(&self, now_ns: u64, returns: &mut Vec<Return>) -> bool {
        for (kind, rate) in [(Kind::Requests, &self.requests), (Kind::Tokens, &self.tokens)] {
            returns.extend(rate.over(now_ns).into_iter().map(|part| Return { kind, part }));
        }
        returns.extend(self.parallel.sweep(now_ns).map(|part| Return { kind: Kind::Parallel, part }));
        self.is_busy()
    }

    /// What is to be said of the money, at `now_ns`.
    fn sweep_money(&self, now_ns: u64) -> Found {
        self.money.get().map(|money| money.sweep(now_ns)).unwrap_or_default()
    }

    fn is_busy(&self) -> bool {
        let has_money = self.money.get().is_some_and(|money| !money.is_empty());
        has_money || !(self.requests.is_empty() && self.tokens.is_empty() && self.parallel.is_empty())
    }
}

/// What there is of one limit.
enum Of<'a> {
    Rate(&'a RateLeases),
    Slots(&'a HeldSlots),
    Money(&'a Money),
}

/// Units of one limit that a call took. Dropped, what is left of them goes back.
#[derive(Debug)]
pub struct Share {
    leases: Arc<Leases>,
    kind: Kind,
    parts: Vec<Part>,
    /// Nano-dollars, of a budget.
    money: u64,
    /// The latest beginning of a window that any of them may be from.
    since: u64,
}

impl Share {
    const fn none(leases: Arc<Leases>, kind: Kind) -> Self {
        Self { leases, kind, parts: Vec::new(), money: 0, since: 0 }
    }

    /// Which limit.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How many.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.parts.iter().map(|part| part.units).sum::<u64>() + self.money
    }

    /// Since when the budget window holds that they are from, at the latest, Unix milliseconds; 0: they are of none.
    #[must_use]
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// Units of a rate that may still be had beside these, as far as is known.
    #[must_use]
    pub fn left(&self, now_ns: u64) -> Option<u64> {
        self.leases.rate(self.kind)?.left(now_ns)
    }

    /// Whether any of it may no longer be used then.
    fn expires_before(&self, then_ns: u64) -> bool {
        self.parts.iter().any(|part| part.expires_ns < then_ns)
    }

    /// Gives back what may no longer be used.
    fn expire(&mut self, now_ns: u64) {
        if self.parts.iter().any(|part| part.expires_ns <= now_ns) {
            let (late, good) = mem::take(&mut self.parts).into_iter().partition(|part| part.expires_ns <= now_ns);
            self.parts = good;
            self.leases.give_back(self.kind, late);
        }
    }

    fn absorb(&mut self, mut other: Self) {
        self.parts.append(&mut other.parts);
        self.money += mem::take(&mut other.money);
        self.since = self.since.max(other.since);
    }

    /// They are used: nothing goes back.
    pub fn use_up(&mut self) {
        self.parts.clear();
    }

    /// `used` units were used in the end: the rest goes back, and what was used beyond is made up for.
    pub fn settle(mut self, mut used: u64) {
        for part in &mut self.parts {
            let of_this = used.min(part.units);
            part.units -= of_this;
            used -= of_this;
        }
        self.parts.retain(|part| part.units > 0);
        if used > 0
            && let Some(rate) = self.leases.rate(self.kind)
        {
            rate.debit(used);
        }
    }
}

impl Share {
    /// The call spent so many nano-dollars, which its usage record with this ordinal says: they stay held until that is told.
    pub fn spend(mut self, nanos: u64, seq: u64) {
        let reserved = mem::take(&mut self.money);
        if let Of::Money(money) = self.leases.of(self.kind)
            && money.settle(reserved, nanos, seq)
        {
            self.leases.list.add(&self.leases);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            self.leases.give_back(self.kind, mem::take(&mut self.parts));
        }
        if self.money > 0
            && let Of::Money(money) = self.leases.of(self.kind)
        {
            money.release(mem::take(&mut self.money));
            self.leases.list.add(&self.leases);
        }
    }
}

#[cfg(test)]
mod tests;

//! What this process has of limits that several gateways share: units that were granted, and what calls took of them.
//!
//! Apart from the windows and slots, which count what this process does and go on doing so: where limits are shared a
//! call needs a unit of both. A grant of a rate is a *lease*, to be used within its time to live or given back; slots are
//! held until they are given back. Taking what is there is local; [`quota`] asks for the rest and returns what is over.

mod pace;
pub mod quota;
mod rate;
mod slots;

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::rate::RateLeases;
use self::slots::HeldSlots;

pub use self::quota::{Answer, Quota};

/// A limit that is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Calls in flight.
    Parallel,
}

impl Kind {
    /// As the control plane calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "rpm",
            Self::Tokens => "tpm",
            Self::Parallel => "parallel",
        }
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
}

/// Refusals remembered: asking for as much again is in vain for a while.
#[derive(Debug, Default)]
struct Refusals(Option<(u64, u64, Option<u64>, u64)>);

impl Refusals {
    /// `need` units were refused; it is believed for `believed_ns`.
    fn note(&mut self, need: u64, retry_after_ms: Option<u64>, remaining: u64, now_ns: u64, believed_ns: u64) {
        let retry_ns = retry_after_ms.map(|ms| now_ns.saturating_add(ms.saturating_mul(1_000_000)));
        let until = retry_ns.unwrap_or(u64::MAX).min(now_ns.saturating_add(believed_ns));
        let need = self.0.filter(|(_, until, ..)| *until > now_ns).map_or(need, |(known, ..)| known.min(need));
        self.0 = Some((need, until, retry_ns, remaining));
    }

    fn of(&self, need: u64, now_ns: u64) -> Option<Refused> {
        let (_, _, retry_ns, remaining) = self.0.filter(|(known, until, ..)| need >= *known && *until > now_ns)?;
        let retry_after_ms = retry_ns.map(|at| at.saturating_sub(now_ns).div_ceil(1_000_000));
        Some(Refused { retry_after_ms, remaining })
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
        Self { scope, requests, tokens, parallel: HeldSlots::default(), listed: AtomicBool::new(false), list }
    }

    fn rate(&self, kind: Kind) -> Option<&RateLeases> {
        match kind {
            Kind::Requests => Some(&self.requests),
            Kind::Tokens => Some(&self.tokens),
            Kind::Parallel => None,
        }
    }

    /// Takes what is there of `units`.
    fn take(&self, kind: Kind, units: u64, now_ns: u64, into: &mut Vec<Part>) -> Taken {
        match self.rate(kind) {
            Some(rate) => rate.take(units, now_ns, into),
            None => self.parallel.take(units, now_ns, into),
        }
    }

    fn owes(&self, kind: Kind) -> bool {
        self.rate(kind).is_some_and(RateLeases::owes)
    }

    fn refused(&self, kind: Kind, need: u64, now_ns: u64) -> Option<Refused> {
        match self.rate(kind) {
            Some(rate) => rate.refused(need, now_ns),
            None => self.parallel.refused(need, now_ns),
        }
    }

    /// `(need, want)` of a question about `lack` units.
    fn question(&self, kind: Kind, lack: u64, limit: u64, now_ns: u64) -> (u64, u64) {
        match self.rate(kind) {
            Some(rate) => rate.question(lack, limit, now_ns),
            None => self.parallel.question(lack, now_ns),
        }
    }

    /// A question found no answer.
    fn unanswered(&self, kind: Kind) {
        match self.rate(kind) {
            Some(rate) => rate.unanswered(),
            None => self.parallel.unanswered(),
        }
    }

    fn was_refused(&self, kind: Kind, need: u64, refused: Refused, now_ns: u64) {
        match self.rate(kind) {
            Some(rate) => rate.was_refused(need, refused, now_ns),
            None => self.parallel.was_refused(need, refused, now_ns),
        }
    }

    /// A part came, where `need` to `want` units were `asked` for; `mine` of them go to who asked, and so many are `left`
    /// for everybody.
    fn granted(self: &Arc<Self>, kind: Kind, asked: (u64, u64), mine: u64, left: u64, mut part: Part) -> Share {
        let mut share = Share { leases: Arc::clone(self), kind, parts: Vec::with_capacity(1) };
        let granted = part.units;
        part.units = mine.min(granted);
        let rest = Part { units: granted - part.units, ..part.clone() };
        match self.rate(kind) {
            Some(rate) => rate.granted(asked, granted, left, rest),
            None => self.parallel.granted(asked, granted, part.units, &part),
        }
        if part.units > 0 {
            share.parts.push(part);
        }
        self.list.add(self);
        share
    }

    fn give_back(self: &Arc<Self>, kind: Kind, parts: Vec<Part>) {
        for part in parts {
            match self.rate(kind) {
                Some(rate) => rate.give_back(part),
                None => self.parallel.release(part.units),
            }
        }
        self.list.add(self);
    }

    /// What is over, at `now_ns`. False: there is nothing left to look after.
    fn sweep(&self, now_ns: u64, returns: &mut Vec<Return>) -> bool {
        for (kind, rate) in [(Kind::Requests, &self.requests), (Kind::Tokens, &self.tokens)] {
            rate.sweep(now_ns, |part| returns.push(Return { kind, part }));
        }
        returns.extend(self.parallel.sweep(now_ns).map(|part| Return { kind: Kind::Parallel, part }));
        self.is_busy()
    }

    fn is_busy(&self) -> bool {
        !(self.requests.is_empty() && self.tokens.is_empty() && self.parallel.is_empty())
    }
}

/// Units of one limit that a call took. Dropped, what is left of them goes back.
#[derive(Debug)]
pub struct Share {
    leases: Arc<Leases>,
    kind: Kind,
    parts: Vec<Part>,
}

impl Share {
    /// Which limit.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How many.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.parts.iter().map(|part| part.units).sum()
    }

    /// Units of a rate that may still be had beside these, as far as is known.
    #[must_use]
    pub fn left(&self, now_ns: u64) -> Option<u64> {
        self.leases.rate(self.kind)?.left(now_ns)
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

impl Drop for Share {
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            self.leases.give_back(self.kind, mem::take(&mut self.parts));
        }
    }
}

#[cfg(test)]
mod tests;

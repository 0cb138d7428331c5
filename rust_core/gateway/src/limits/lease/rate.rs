//! Leases of one rate.
//!
//! Apart because of its one promise: no unit is taken after its lease has expired, and each goes back exactly once if it
//! is not taken. Times are nanoseconds of the monotonic clock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pace::Pace;
use super::{Part, Refusals, Refused, Taken};

/// A refusal is believed for so long at most: others may give back what they did not use.
const BELIEVED_NS: u64 = 1_000_000_000;
/// An answer that took longer than this was lost.
const LOST_NS: u64 = 5_000_000_000;
/// For a lease of fewer calls it does not pay to ask ahead of time.
const SMALLEST: u64 = 4;
const MINUTE_NS: u64 = 60_000_000_000;

#[derive(Debug, Default)]
pub(super) struct RateLeases(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// To be used, in the order in which they came.
    parts: Vec<Part>,
    /// No longer to be used.
    over: Vec<Part>,
    /// Units wanted.
    pace: Pace,
    /// And how often.
    calls: Pace,
    /// What was left for everybody when that was said last, and when.
    left: Option<(u64, u64)>,
    /// When a lease (more than a call's need) was asked for, while there is no answer.
    asked_ns: Option<u64>,
    /// Of the last answer: no more is given than is needed, so that asking ahead is no use.
    exact: bool,
    refusals: Refusals,
    /// Used beyond what was granted; the next grants make up for it.
    debt: u64,
    debt_ns: u64,
    now_ns: u64,
}

impl RateLeases {
    pub(super) fn take(&self, units: u64, now_ns: u64, into: &mut Vec<Part>) -> Taken {
        let mut inner = self.lock();
        inner.pass(now_ns);
        inner.pace.add(units, now_ns);
        inner.calls.add(1, now_ns);
        let mut lack = units;
        for part in &mut inner.parts {
            let taken = lack.min(part.units);
            if taken > 0 {
                part.units -= taken;
                lack -= taken;
                into.push(Part { units: taken, ..part.clone() });
            }
        }
        inner.parts.retain(|part| part.units > 0);
        let lease = inner.pace.lease();
        let left: u64 = inner.parts.iter().map(|part| part.units).sum();
        let low = lack == 0 && inner.is_busy() && left < lease / 2;
        let refill = low && !inner.exact && !inner.is_asked(now_ns) && inner.refusals.of(1, now_ns).is_none();
        if refill {
            inner.asked_ns = Some(now_ns);
        }
        Taken { lack, refill: refill.then_some(lease) }
    }

    /// More was used than was granted.
    pub(super) fn owes(&self) -> bool {
        self.lock().debt > 0
    }

    pub(super) fn refused(&self, need: u64, now_ns: u64) -> Option<Refused> {
        let inner = self.lock();
        inner.refusals.of(need.saturating_add(inner.debt), now_ns)
    }

    /// What to ask for when a call lacks units: one of several calls asks for the lease, the others for their need.
    pub(super) fn question(&self, lack: u64, limit: u64, now_ns: u64) -> (u64, u64) {
        let mut inner = self.lock();
        inner.pass(now_ns);
        // By each of several calls, though one would do: one that is refused with it must not leave the others without.
        let need = lack.saturating_add(inner.debt).min(limit).max(1);
        if inner.is_asked(now_ns) {
            return (need, need);
        }
        if !inner.is_busy() {
            return (need, need);
        }
        inner.asked_ns = Some(now_ns);
        (need, need.saturating_add(inner.pace.lease()))
    }

    pub(super) fn unanswered(&self) {
        self.lock().asked_ns = None;
    }

    pub(super) fn was_refused(&self, need: u64, refused: Refused, now_ns: u64) {
        let mut inner = self.lock();
        inner.asked_ns = None;
        inner.left = Some((refused.remaining, now_ns));
        inner.refusals.note(need, refused, now_ns, BELIEVED_NS);
    }

    /// `rest` is what nobody waits for.
    pub(super) fn granted(&self, (need, want): (u64, u64), granted: u64, left: u64, mut rest: Part) {
        let mut inner = self.lock();
        inner.left = Some((left, inner.now_ns));
        if want > need {
            inner.asked_ns = None;
            inner.exact = granted <= need;
        }
        inner.refusals.forget();
        let paid = rest.units.min(inner.debt);
        inner.debt -= paid;
        rest.units -= paid;
        inner.keep(rest);
    }

    /// Units that a call did not use.
    pub(super) fn give_back(&self, part: Part) {
        self.lock().keep(part);
    }

    pub(super) fn debit(&self, units: u64) {
        let mut inner = self.lock();
        let mut over = units;
        for part in &mut inner.parts {
            let paid = over.min(part.units);
            part.units -= paid;
            over -= paid;
        }
        inner.parts.retain(|part| part.units > 0);
        if over > 0 {
            inner.debt = inner.debt.saturating_add(over);
            inner.debt_ns = inner.now_ns;
        }
    }

    /// Units that may still be had: those that are here, and what was left for everybody when that was said last.
    pub(super) fn left(&self, now_ns: u64) -> Option<u64> {
        let inner = self.lock();
        let (left, _) = inner.left.filter(|(_, at)| at.saturating_add(MINUTE_NS) > now_ns)?;
        let here = inner.parts.iter().filter(|part| part.expires_ns > now_ns).map(|part| part.units);
        Some(here.fold(left, u64::saturating_add))
    }

    /// Hands out what must go back.
    pub(super) fn over(&self, now_ns: u64) -> Vec<Part> {
        let mut inner = self.lock();
        inner.pass(now_ns);
        std::mem::take(&mut inner.over)
    }

    pub(super) fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.parts.is_empty() && inner.over.is_empty()
    }

    /// Nothing here can panic while the lock is held, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_busy(&self) -> bool {
        self.calls.lease() >= SMALLEST
    }

    fn is_asked(&self, now_ns: u64) -> bool {
        self.asked_ns.is_some_and(|at| at.saturating_add(LOST_NS) > now_ns)
    }

    /// For the next call, unless it was granted to one only.
    fn keep(&mut self, part: Part) {
        if part.alone && part.units > 0 {
            self.refusals.forget();
        }
        put(if part.alone { &mut self.over } else { &mut self.parts }, part);
    }

    fn pass(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        let now_ns = self.now_ns;
        if self.debt > 0 && self.debt_ns.saturating_add(MINUTE_NS) <= now_ns {
            self.debt = 0;
        }
        if self.parts.iter().all(|part| part.expires_ns > now_ns) {
            return;
        }
        for part in self.parts.extract_if(.., |part| part.expires_ns <= now_ns) {
            put(&mut self.over, part);
        }
    }
}

/// Adds units to those of the same grant.
fn put(parts: &mut Vec<Part>, part: Part) {
    if part.units == 0 {
        return;
    }
    let same =
        |known: &&mut Part| known.lease == part.lease && known.expires_ns == part.expires_ns && known.tag == part.tag;
    match parts.iter_mut().find(same) {
        Some(known) => known.units += part.units,
        None => parts.push(part),
    }
}

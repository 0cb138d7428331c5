//! Slots that are held of a limit on calls in flight.
//!
//! Apart from the leases of rates because a slot does not expire while its call runs. What was idle for a while goes back,
//! so that a gateway keeps about as many as it uses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Part, Refusals, Refused, Taken};

/// A slot may free at any moment.
const BELIEVED_NS: u64 = 100_000_000;
const LOST_NS: u64 = 5_000_000_000;
/// Slots that nobody used for so long go back: soon where there are few and others wait for each of them.
const IDLE_FEW_NS: u64 = 100_000_000;
const IDLE_NS: u64 = 1_000_000_000;
const FEW: u64 = 16;

#[derive(Debug, Default)]
pub(super) struct HeldSlots(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    held: u64,
    used: u64,
    /// Of those in use, granted alone.
    alone: u64,
    /// Granted alone and in use no longer: they go back.
    over: u64,
    /// Fewest that were idle since the mark.
    idle: u64,
    mark_ns: u64,
    tag: Option<Arc<str>>,
    asked_ns: Option<u64>,
    exact: bool,
    refusals: Refusals,
}

impl HeldSlots {
    pub(super) fn take(&self, units: u64, now_ns: u64, into: &mut Vec<Part>) -> Taken {
        let mut inner = self.lock();
        let taken = units.min(inner.held - inner.used);
        inner.used += taken;
        inner.mark();
        if taken > 0 {
            let tag = inner.tag.clone();
            into.push(Part { lease: 0, tag, expires_ns: u64::MAX, alone: false, units: taken });
        }
        let ahead = inner.used / 8;
        let low = taken == units && ahead >= 2 && inner.held - inner.used < ahead / 2;
        let refill = low && !inner.exact && !inner.is_asked(now_ns) && inner.refusals.of(1, now_ns).is_none();
        if refill {
            inner.asked_ns = Some(now_ns);
        }
        Taken { lack: units - taken, refill: refill.then_some(ahead) }
    }

    pub(super) fn refused(&self, need: u64, now_ns: u64) -> Option<Refused> {
        self.lock().refusals.of(need, now_ns)
    }

    pub(super) fn question(&self, lack: u64, now_ns: u64) -> (u64, u64) {
        let mut inner = self.lock();
        if inner.is_asked(now_ns) {
            return (lack, lack);
        }
        inner.asked_ns = Some(now_ns);
        (lack, lack.saturating_add(inner.used / 8))
    }

    pub(super) fn unanswered(&self) {
        self.lock().asked_ns = None;
    }

    pub(super) fn was_refused(&self, need: u64, refused: Refused, now_ns: u64) {
        let mut inner = self.lock();
        inner.asked_ns = None;
        inner.refusals.note(need, refused, now_ns, BELIEVED_NS);
    }

    pub(super) fn granted(&self, (need, want): (u64, u64), granted: u64, mine: u64, part: &Part) {
        let mut inner = self.lock();
        if want > need {
            inner.asked_ns = None;
            inner.exact = granted <= need;
        }
        inner.refusals.forget();
        inner.tag.clone_from(&part.tag);
        inner.held += if part.alone { mine } else { granted };
        inner.used += mine;
        if part.alone {
            inner.alone += mine;
            inner.over += granted - mine;
        }
        inner.mark();
    }

    pub(super) fn release(&self, units: u64) {
        let mut inner = self.lock();
        inner.used = inner.used.saturating_sub(units);
        // Slots are alike, so that it need not be the same that goes.
        let over = units.min(inner.alone);
        inner.alone -= over;
        inner.held -= over;
        inner.over += over;
        if over > 0 {
            inner.refusals.forget();
        }
    }

    /// Hands out what was granted to one call alone and is in use no longer.
    pub(super) fn over(&self) -> Option<Part> {
        let mut inner = self.lock();
        let over = std::mem::take(&mut inner.over);
        inner.back(over)
    }

    /// What was idle all the time goes back.
    pub(super) fn sweep(&self, now_ns: u64) -> Option<Part> {
        let mut inner = self.lock();
        let patience = if inner.held <= FEW { IDLE_FEW_NS } else { IDLE_NS };
        let mut back = std::mem::take(&mut inner.over);
        if now_ns >= inner.mark_ns.saturating_add(patience) {
            let idle = inner.idle;
            inner.held -= idle;
            inner.idle = inner.held - inner.used;
            inner.mark_ns = now_ns;
            back += idle;
        }
        inner.back(back)
    }

    pub(super) fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.held == 0 && inner.over == 0
    }

    /// Nothing here can panic while the lock is held, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_asked(&self, now_ns: u64) -> bool {
        self.asked_ns.is_some_and(|at| at.saturating_add(LOST_NS) > now_ns)
    }

    fn back(&self, units: u64) -> Option<Part> {
        (units > 0).then(|| Part { lease: 0, tag: self.tag.clone(), expires_ns: 0, alone: false, units })
    }

    fn mark(&mut self) {
        self.idle = self.idle.min(self.held - self.used);
    }
}

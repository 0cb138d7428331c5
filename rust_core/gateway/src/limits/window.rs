//! Rates per minute as a sliding window: a limit of N admits N at once, and never more than N in any 60 s.
//!
//! Apart because it is pure arithmetic on a short list. A leaky bucket (GCRA) with a burst of N would admit almost 2 N
//! in its first minute; a counter per clock minute would admit 2 N around the turn of one. Here every unit is counted
//! until 60 s after it was taken. To remember each would take N entries, so units that were taken close together share
//! a segment, and all of them are counted until the newest has had its minute. A segment is shorter than `SPAN`, which
//! bounds both what that delays (at saturation at least 63/64 of N per minute) and the list: 64 segments at most.
//!
//! The list grows with the traffic, from nothing, and is given back when a minute passes without any and somebody
//! looks: the next call, or whoever goes round for that. One mutex, held for a few instructions: a limit is one number
//! that all threads share, whatever guards it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MINUTE_NS: u64 = 60_000_000_000;
/// Length that no segment reaches. Starts are so far apart at least; of those within a minute and one length there are 64.
const SPAN_NS: u64 = MINUTE_NS.div_ceil(63);
/// A list with room for more segments is given back when it is empty.
const SMALL: usize = 8;

/// A limit: so many units in any minute, all of which may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units per minute. 0 admits nothing.
    pub per_minute: u64,
}

/// Where a rate stands: what `x-ratelimit-*` headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Units per minute.
    pub limit: u64,
    /// Units that would be admitted now.
    pub remaining: u64,
    /// Nanoseconds until `remaining` is `limit` again, if nothing more comes.
    pub reset_ns: u64,
}

/// An admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When the units count as taken: hand it to [`Window::refund`].
    pub at_ns: u64,
    /// Where the rate stands now.
    pub state: State,
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Nanoseconds after which the same cost would be admitted, if nothing else comes. 0 when `too_large`.
    pub retry_after_ns: u64,
    /// Where the rate stands.
    pub state: State,
    /// The cost is above the limit: no waiting helps.
    pub too_large: bool,
}

/// One rate limiter; the limit itself comes with each call, so it can change while calls are in flight.
#[derive(Debug, Default)]
pub struct Window(Mutex<Inner>);

#[derive(Debug, Clone, Copy)]
struct Segment {
    /// When its first unit was taken.
    first: u64,
    /// And its newest.
    last: u64,
    /// 0: all were given back.
    units: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first; the newest is never empty.
    segments: VecDeque<Segment>,
    /// Units in all segments.
    used: u64,
    /// The latest time that anybody brought. Threads read the clock before they get the lock; time does not go back.
    now: u64,
}

impl Window {
    /// Take `cost` units at `now_ns`, all or nothing.
    ///
    /// # Errors
    /// [`Denied`] when they do not fit; nothing is taken then.
    pub fn admit(&self, rate: Rate, cost: u64, now_ns: u64) -> Result<Taken, Denied> {
        let mut inner = self.lock();
        inner.pass(now_ns);
        let limit = rate.per_minute;
        match inner.used.checked_add(cost) {
            Some(used) if used <= limit && limit > 0 => {
                inner.take(cost);
                Ok(Taken { at_ns: inner.now, state: inner.state(limit) })
            }
            _ => Err(inner.refusal(limit, cost, now_ns)),
        }
    }

    /// Give back units that were taken at `taken_ns` and not used. Those that have had their minute are gone already.
    pub fn refund(&self, units: u64, taken_ns: u64) {
        if units == 0 {
            return;
        }
        let mut inner = self.lock();
        let Some(segment) = inner.segments.iter_mut().rev().find(|segment| segment.first <= taken_ns) else { return };
        if segment.last < taken_ns {
            return;
        }
        let back = units.min(segment.units);
        segment.units -= back;
        inner.used = inner.used.saturating_sub(back);
        while inner.segments.back().is_some_and(|newest| newest.units == 0) {
            inner.segments.pop_back();
        }
    }

    /// Take units that were used beyond what admission took, whether they fit or not: later calls wait for them.
    pub fn debit(&self, units: u64, now_ns: u64) {
        if units > 0 {
            let mut inner = self.lock();
            inner.pass(now_ns);
            inner.take(units);
        }
    }

    /// Where the rate stands, taking nothing.
    #[must_use]
    pub fn state(&self, rate: Rate, now_ns: u64) -> State {
        let mut inner = self.lock();
        inner.pass(now_ns);
        inner.state(rate.per_minute)
    }

    /// Gives back the room of what has had its minute.
    pub fn rest(&self, now_ns: u64) {
        let mut inner = self.lock();
        inner.pass(now_ns);
        if inner.segments.is_empty() {
            inner.segments = VecDeque::new();
        }
    }

    /// Nothing here can panic while the lock is held, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Time goes on, and what has had its minute is over.
    fn pass(&mut self, now_ns: u64) {
        if now_ns > self.now {
            self.now = now_ns;
        }
        while let Some(oldest) = self.segments.front() {
            if oldest.last.saturating_add(MINUTE_NS) > self.now {
                return;
            }
            self.used = self.used.saturating_sub(oldest.units);
            self.segments.pop_front();
            if self.segments.is_empty() && self.segments.capacity() > SMALL {
                self.segments = VecDeque::new();
            }
        }
    }

    fn take(&mut self, units: u64) {
        if units == 0 {
            return;
        }
        let now = self.now;
        self.used = self.used.saturating_add(units);
        match self.segments.back_mut() {
            Some(newest) if now - newest.first < SPAN_NS => {
                newest.last = now;
                newest.units = newest.units.saturating_add(units);
            }
            _ => self.segments.push_back(Segment { first: now, last: now, units }),
        }
    }

    fn state(&self, limit: u64) -> State {
        let end = self.segments.back().map_or(0, |newest| newest.last.saturating_add(MINUTE_NS));
        State { limit, remaining: limit.saturating_sub(self.used), reset_ns: end.saturating_sub(self.now) }
    }

    #[cold]
    fn refusal(&self, limit: u64, cost: u64, now_ns: u64) -> Denied {
        let state = self.state(limit);
        if cost > limit {
            return Denied { retry_after_ns: 0, state, too_large: true };
        }
        let mut over = self.used.saturating_add(cost).saturating_sub(limit);
        let due = self.segments.iter().find(|segment| {
            over = over.saturating_sub(segment.units);
            over == 0
        });
        // A limit of 0 refuses even what costs nothing.
        let at = due.filter(|_| limit > 0).map_or(self.now, |segment| segment.last).saturating_add(MINUTE_NS);
        Denied { retry_after_ns: at - now_ns.min(at), state, too_large: false }
    }
}

#[cfg(test)]
mod tests;

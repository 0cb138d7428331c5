//! Money that is held of a shared budget.
//!
//! Apart from slots because a call that is over keeps what it spent: that part of the hold may only go when everybody else
//! has it from the ledger. What is held is at least what calls in flight have reserved and what was settled and is not told;
//! the rest is free, for the next calls or to go back. What was told never becomes free: Redis counts it as spent from then
//! on, so that using it again would spend it twice.
//!
//! What is held is money of every window, but what was granted from a new window must be charged to it, although the call
//! that uses it may be of a gateway for whose clock it has not begun: so the account knows of the latest that it was given from.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pace::Pace;
use super::{Refusals, Refused, Taken};

/// Money may come free at any moment.
const BELIEVED_NS: u64 = 100_000_000;
const LOST_NS: u64 = 5_000_000_000;
/// After an answer that gave no more than was needed nothing is asked for ahead of time for so long.
const EXACT_NS: u64 = 1_000_000_000;
/// Nor with less than so many times as much left for everybody: what is held ahead here is what another gateway's call may
/// lack, and near the end of a budget pieces that are too small for a call would be left over at every gateway.
const PLENTY: u64 = 16;
/// With fewer calls in 200 ms it does not pay to ask ahead of time.
const SMALLEST: u64 = 4;
/// What nobody used for so long goes back: soon where little is left for everybody.
const IDLE_SCARCE_NS: u64 = 100_000_000;
const IDLE_NS: u64 = 1_000_000_000;
/// Little: less than so many times what is held.
const SCARCE: u64 = 4;
/// So many settlements are remembered one by one; where there are more, neighbours are added up.
const REMEMBER: usize = 1_024;

/// The account of one payer, in nano-dollars.
#[derive(Debug, Default)]
pub(super) struct Money(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    held: u64,
    /// Of it, for calls in flight.
    reserved: u64,
    /// Of it, settled: what others do not have from the ledger yet.
    untold: u64,
    /// The ordinals and amounts of that, about in order.
    settled: VecDeque<(u64, u64)>,
    /// Ordinals that are the same when they are shifted by so many bits are added up.
    blurred: u32,
    /// Of what is held, what was spent beyond any grant, while the control plane has not heard of it.
    over: u64,
    /// The latest beginning of a budget window that anything was granted from, Unix milliseconds.
    since: u64,
    /// Until when what is free may be used without asking, on the monotonic clock.
    good_until_ns: u64,
    /// Least that was free since the mark.
    idle: u64,
    mark_ns: u64,
    /// What was left for everybody when that was said last.
    left: u64,
    pace: Pace,
    calls: Pace,
    asked_ns: Option<u64>,
    exact_until_ns: u64,
    refusals: Refusals,
    now_ns: u64,
}

/// What a look at an account found to be told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Held without a grant, because it was spent.
    pub(super) over: u64,
    /// Goes back.
    pub(super) back: u64,
}

impl Money {
    /// Takes what is there of `units`, for a call.
    pub(super) fn take(&self, units: u64, now_ns: u64) -> (u64, Taken) {
        let mut inner = self.lock();
        inner.now_ns = inner.now_ns.max(now_ns);
        inner.pace.add(units, now_ns);
        inner.calls.add(1, now_ns);
        // Redis may have forgotten a hold that is older; the grant that is asked for then renews it.
        let usable = if now_ns < inner.good_until_ns { inner.free() } else { 0 };
        let taken = units.min(usable);
        inner.reserved = inner.reserved.saturating_add(taken);
        inner.mark();
        let refill = if taken == units { inner.ahead(now_ns) } else { None };
        (taken, Taken { lack: units - taken, refill })
    }

    /// What is granted from now on is from a budget window that holds since then.
    pub(super) fn is_of_window(&self, since: u64) {
        let mut inner = self.lock();
        inner.since = inner.since.max(since);
    }

    /// Since when the latest window holds that anything was granted from.
    pub(super) fn since(&self) -> u64 {
        self.lock().since
    }

    /// What a call that lacks so much asks for, at least and at most. Who calls steadily asks for the next calls too, or each of
    /// them would wait; nobody else does, since what lies idle here may be what another gateway's call lacks.
    pub(super) fn question(&self, lack: u64, now_ns: u64) -> (u64, u64) {
        let ahead = self.lock().ahead(now_ns);
        (lack, lack.saturating_add(ahead.unwrap_or(0)))
    }

    pub(super) fn refused(&self, need: u64, now_ns: u64) -> Option<Refused> {
        self.lock().refusals.of(need, now_ns)
    }

    pub(super) fn unanswered(&self) {
        self.lock().asked_ns = None;
    }

    pub(super) fn was_refused(&self, need: u64, refused: Refused, now_ns: u64) {
        let mut inner = self.lock();
        inner.asked_ns = None;
        inner.left = refused.remaining;
        inner.refusals.note(need, refused, now_ns, BELIEVED_NS);
    }

    /// So much was granted, where `need` to `want` was asked for; `mine` of it is for a call.
    pub(super) fn granted(&self, (need, want): (u64, u64), granted: u64, mine: u64, left: u64, good_until_ns: u64) {
        let mut inner = self.lock();
        if want > need {
            inner.asked_ns = None;
            if granted <= need {
                inner.exact_until_ns = inner.now_ns.saturating_add(EXACT_NS);
            }
        }
        inner.refusals.forget();
        inner.left = left;
        inner.good_until_ns = inner.good_until_ns.max(good_until_ns);
        inner.held = inner.held.saturating_add(granted);
        inner.reserved = inner.reserved.saturating_add(mine);
        inner.mark();
    }

    /// A call that cost nothing is over.
    pub(super) fn release(&self, reserved: u64) {
        let mut inner = self.lock();
        inner.reserved = inner.reserved.saturating_sub(reserved);
    }

    /// A call is over: what it spent is held until it is told, the rest of what was reserved is free. True: it spent more
    /// than is held, which is held all the same.
    pub(super) fn settle(&self, reserved: u64, spent: u64, seq: u64) -> bool {
        let mut inner = self.lock();
        inner.reserved = inner.reserved.saturating_sub(reserved);
        if spent == 0 {
            return false;
        }
        inner.untold = inner.untold.saturating_add(spent);
        inner.settled.push_back((seq, spent));
        inner.add_up();
        let needed = inner.reserved.saturating_add(inner.untold);
        let over = needed.saturating_sub(inner.held);
        inner.held = inner.held.saturating_add(over);
        inner.over = inner.over.saturating_add(over);
        inner.mark();
        over > 0
    }

    /// Everybody is about to have every settlement up to this ordinal from the ledger: how much less is held.
    pub(super) fn told(&self, seq: u64) -> u64 {
        let mut inner = self.lock();
        let mut told = 0_u64;
        inner.settled.retain(|(settled, nanos)| {
            let is_told = *settled <= seq;
            told = told.saturating_add(if is_told { *nanos } else { 0 });
            !is_told
        });
        if inner.settled.is_empty() {
            inner.blurred = 0;
            if inner.settled.capacity() > 64 {
                inner.settled = VecDeque::new();
            }
        }
        inner.untold = inner.untold.saturating_sub(told);
        inner.held = inner.held.saturating_sub(told);
        // What the control plane never heard of it need not let go of.
        let unheard = told.min(inner.over);
        inner.over -= unheard;
        told - unheard
    }

    /// What is to be said: what was spent without a grant, and what was idle all the time.
    pub(super) fn sweep(&self, now_ns: u64) -> Found {
        let mut inner = self.lock();
        inner.now_ns = inner.now_ns.max(now_ns);
        let over = std::mem::take(&mut inner.over);
        let is_scarce = inner.left < inner.held.saturating_mul(SCARCE);
        let patience = if is_scarce { IDLE_SCARCE_NS } else { IDLE_NS };
        if now_ns < inner.mark_ns.saturating_add(patience) {
            return Found { over, back: 0 };
        }
        let back = inner.idle.min(inner.free());
        inner.held -= back;
        inner.idle = inner.free();
        inner.mark_ns = now_ns;
        Found { over, back }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().held == 0
    }

    /// `(held, reserved, untold)`.
    #[cfg(test)]
    pub(super) fn figures(&self) -> (u64, u64, u64) {
        let inner = self.lock();
        (inner.held, inner.reserved, inner.untold)
    }

    /// Nothing here can panic while the lock is held, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn free(&self) -> u64 {
        self.held.saturating_sub(self.reserved).saturating_sub(self.untold)
    }

    /// What is to be asked for ahead of time, now. It counts as asked for.
    fn ahead(&mut self, now_ns: u64) -> Option<u64> {
        let ahead = self.pace.steady();
        let low = self.calls.steady() >= SMALLEST && self.free() < ahead / 2;
        let asks = low && self.left / PLENTY >= ahead && now_ns >= self.exact_until_ns && !self.is_asked(now_ns);
        let asks = asks && self.refusals.of(1, now_ns).is_none();
        if asks {
            self.asked_ns = Some(now_ns);
        }
        asks.then_some(ahead)
    }

    fn is_asked(&self, now_ns: u64) -> bool {
        self.asked_ns.is_some_and(|at| at.saturating_add(LOST_NS) > now_ns)
    }

    fn mark(&mut self) {
        self.idle = self.idle.min(self.free());
    }

    /// Where there are too many settlements, adds neighbours up, under the last ordinal of them: they are told a little later.
    fn add_up(&mut self) {
        if self.settled.len() <= REMEMBER {
            return;
        }
        loop {
            let blurred = self.blurred;
            let mut fewer: VecDeque<(u64, u64)> = VecDeque::with_capacity(REMEMBER);
            for (seq, nanos) in self.settled.drain(..) {
                match fewer.back_mut().filter(|(last, _)| *last >> blurred == seq >> blurred) {
                    Some((last, sum)) => (*last, *sum) = (seq.max(*last), sum.saturating_add(nanos)),
                    None => fewer.push_back((seq, nanos)),
                }
            }
            self.settled = fewer;
            if self.settled.len() <= REMEMBER / 2 || self.blurred == u64::BITS - 1 {
                return;
            }
            self.blurred += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const MS: u64 = 1_000_000;
    const GOOD: u64 = 60_000 * MS;

    fn with(granted: u64) -> Money {
        let money = Money::default();
        money.granted((granted, granted), granted, 0, u64::MAX, GOOD);
        money
    }

    #[test]
    fn what_was_spent_is_held_until_it_is_told_and_is_not_used_again() {
        let money = with(100);
        assert_eq!(money.take(60, MS).0, 60);
        assert!(!money.settle(60, 25, 7));
        assert_eq!(money.figures(), (100, 0, 25));
        // The difference is free, what was spent is not.
        assert_eq!(money.take(100, 2 * MS), (75, Taken { lack: 25, refill: None }));
        assert_eq!(money.told(6), 0);
        assert_eq!(money.told(7), 25);
        assert_eq!(money.told(7), 0);
        assert_eq!(money.figures(), (75, 75, 0));
        assert_eq!(money.take(1, 3 * MS).0, 0);
    }

    #[test]
    fn what_was_spent_beyond_the_reservation_is_held_and_said_once() {
        let money = with(10);
        assert_eq!(money.take(10, MS).0, 10);
        assert!(money.settle(10, 17, 1));
        assert_eq!(money.figures(), (17, 0, 17));
        assert_eq!(money.sweep(2 * MS), Found { over: 7, back: 0 });
        assert_eq!(money.sweep(3 * MS).over, 0);
        assert_eq!(money.told(1), 17);
        // Told before it was said: the control plane has only heard of ten.
        let money = with(10);
        money.take(10, MS);
        money.settle(10, 17, 1);
        assert_eq!((money.told(1), money.sweep(2 * MS).over, money.figures()), (10, 0, (0, 0, 0)));
    }

    #[test]
    fn a_hold_that_may_be_forgotten_is_not_used() {
        let money = with(100);
        assert_eq!(money.take(10, GOOD - 1).0, 10);
        assert_eq!(money.take(10, GOOD).0, 0);
        money.granted((10, 10), 10, 10, 0, 2 * GOOD);
        assert_eq!(money.take(10, GOOD).0, 10);
    }

    #[test]
    fn what_is_idle_goes_back_and_sooner_where_little_is_left() {
        let money = with(100);
        money.take(40, MS);
        money.sweep(0);
        assert_eq!((0..=20).map(|tick| money.sweep(tick * 100 * MS).back).sum::<u64>(), 60);
        assert_eq!(money.figures(), (40, 40, 0));
        let money = Money::default();
        money.granted((100, 100), 100, 0, 10, GOOD);
        let back: Vec<u64> = (1..=3).map(|tick| money.sweep(tick * 100 * MS).back).collect();
        assert_eq!(back, [0, 100, 0]);
    }

    #[test]
    fn a_burst_asks_for_nothing_ahead_and_a_steady_pace_does() {
        let money = with(u64::MAX / 2);
        assert!((0..200).all(|_| money.take(10, 50 * MS).1.refill.is_none()));
        let money = with(100_000);
        let refills = (0..2_000).filter(|ms| {
            let (_, taken) = money.take(100, ms * MS);
            if let Some(want) = taken.refill {
                money.granted((1, want), want, 0, u64::MAX, GOOD);
            }
            assert_eq!(taken.lack, 0, "{ms}");
            taken.refill.is_some()
        });
        assert!((5..40).contains(&refills.count()));
    }

    #[test]
    fn calls_one_after_the_other_wait_at_first_and_then_no_more() {
        let money = Money::default();
        let (mut waited, mut late) = (0, 0);
        for ms in 0..4_000 {
            let (taken, Taken { lack, refill }) = money.take(100, ms * MS);
            if lack > 0 {
                waited += 1;
                late += u32::from(ms > 2_000);
                let (need, want) = money.question(lack, ms * MS);
                money.granted((need, want), want, lack, u64::MAX, GOOD);
            } else if let Some(want) = refill {
                money.granted((1, want), want, 0, u64::MAX, GOOD);
            }
            assert_eq!(taken + lack, 100);
            money.settle(100, 40, ms + 1);
            if ms % 500 == 0 {
                money.told(ms);
            }
        }
        assert!(waited < 200 && late == 0, "{waited} waited, {late} of them late");
    }

    #[test]
    fn near_the_end_of_a_budget_nothing_is_asked_for_ahead() {
        let money = Money::default();
        let (mut left, mut ahead) = (300_000_u64, Vec::new());
        for ms in 0..4_000 {
            let (taken, Taken { lack, refill }) = money.take(100, ms * MS);
            let (need, want) = if lack > 0 { money.question(lack, ms * MS) } else { (1, refill.unwrap_or(1)) };
            if want > need {
                ahead.push((left, want - need));
            }
            if lack > 0 || refill.is_some() {
                let granted = want.min(left);
                left -= granted;
                money.granted((need, want), granted, lack.min(granted), left, GOOD);
            }
            money.settle(taken + lack, 100, ms + 1);
            money.told(ms + 1);
            if left == 0 {
                break;
            }
        }
        assert!(ahead.len() > 3 && ahead.iter().all(|(left, more)| left / PLENTY >= *more), "{ahead:?}");
        // The last piece is used up before the rest is drawn, call by call.
        assert!(ahead.last().is_some_and(|(left, _)| *left > 100_000), "{ahead:?}");
        assert_eq!(left, 0);
    }

    #[test]
    fn memory_is_bounded_and_loses_nothing() {
        let money = Money::default();
        for seq in 1..=50_000 {
            money.settle(0, 2, seq);
        }
        assert!(money.lock().settled.len() <= REMEMBER);
        assert_eq!(money.sweep(MS).over, 100_000);
        let early = money.told(25_000);
        assert!((49_500..=50_000).contains(&early), "{early}");
        assert_eq!((early + money.told(50_000), money.figures()), (100_000, (0, 0, 0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261123), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_held_covers_what_is_reserved_and_not_told(
            steps in prop::collection::vec((0u8..7, 0u64..500, 0usize..8), 1..300),
        ) {
            let money = Money::default();
            // What the control plane believes, and what really is.
            let (mut believed, mut seq, mut told) = (0_u64, 0, 0);
            let mut calls: Vec<u64> = Vec::new();
            let mut settled: Vec<u64> = Vec::new();
            for (at, (action, amount, which)) in steps.into_iter().enumerate() {
                let now_ns = at as u64 * 30 * MS;
                match action {
                    0 | 1 => {
                        let (taken, Taken { lack, .. }) = money.take(amount, now_ns);
                        if lack > 0 && which > 0 {
                            // Granted with some more, or refused.
                            believed += lack + which as u64;
                            money.granted((lack, lack), lack + which as u64, lack, 5, now_ns + GOOD);
                            calls.push(amount);
                        } else if lack > 0 {
                            money.release(taken);
                        } else {
                            calls.push(amount);
                        }
                    }
                    2 | 3 if !calls.is_empty() => {
                        let reserved = calls.remove(which % calls.len());
                        seq += 1;
                        money.settle(reserved, amount, seq);
                        settled.push(amount);
                    }
                    4 if !calls.is_empty() => money.release(calls.remove(which % calls.len())),
                    5 => {
                        // Late, early, repeated.
                        let upto = (told + which as u64).min(seq).saturating_sub(which as u64 / 4);
                        believed -= money.told(upto);
                        told = told.max(upto);
                    }
                    _ => {
                        let Found { over, back } = money.sweep(now_ns);
                        believed = believed + over - back;
                    }
                }
                let (held, reserved, untold) = money.figures();
                prop_assert_eq!(reserved, calls.iter().sum::<u64>());
                prop_assert_eq!(untold, settled.iter().skip(told as usize).sum::<u64>());
                prop_assert!(held >= reserved + untold);
                prop_assert_eq!(believed + money.lock().over, held);
            }
            calls.drain(..).for_each(|reserved| money.release(reserved));
            believed -= money.told(seq);
            for tick in 0..60 {
                let Found { over, back } = money.sweep((10_000 + tick * 100) * MS);
                believed = believed + over - back;
            }
            prop_assert_eq!((believed, money.figures()), (0, (0, 0, 0)));
        }
    }
}

//! A key's money: what it spent in the current window, and what calls in flight have reserved of the rest.
//!
//! Apart from the rates because money does not refill with time but is settled call by call, and because the ledger in
//! the database has the last word on it. The numbers that must change together (spent, reserved, the window) sit behind
//! one mutex held for a few instructions, so that "does it fit" and "take it" are one step.
//!
//! Meeting the ledger's figure. A settlement is added here at once and carries the ordinal of its usage record; the
//! ledger has it some time later. When the control plane sends a figure that contains records up to ordinal `v`, the
//! truth is that figure plus the settlements here with an ordinal above `v`. The latest settlements are therefore
//! remembered for a while; a figure older than what was forgotten is not used, because memory then knows better.
//! Ordinals must rise over restarts of the process for this to hold.
//!
//! Meeting the ledger's windows. The ledger has a call in the window that it began in, and a call may begin before the end
//! of a window and be let in after it. So whoever reserves is told since when the window holds that it was reserved in: the
//! call counts from then on, or the money would be missing in the window that let it in.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lease::Terms;

/// Settlements are remembered for so long: much longer than the ledger takes to have them.
const REMEMBER_MS: u64 = 60_000;
/// And so many of them at most.
const REMEMBER: usize = 1_024;

/// The ledger's figure of a key, as a key record brings it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seed {
    /// Nano-dollars spent in the window.
    pub spent: u64,
    /// Ordinal of the last usage record contained in `spent`.
    pub version: u64,
    /// Beginning of the window, Unix milliseconds; 0: there is none.
    pub since: u64,
    /// End of the window, Unix milliseconds; `None`: there is no window, spending is never reset.
    pub reset_at: Option<u64>,
    /// Length of a window in milliseconds; `None`: the window's end is the last one.
    pub duration_ms: Option<u64>,
}

impl Seed {
    /// What is said with the limit where it is shared; `version` is the ledger's own, of the figure.
    #[must_use]
    pub fn terms(&self, version: u64, now_ms: u64) -> Terms {
        let until = self.reset_at.unwrap_or(0);
        let over = self.reset_at.filter(|end| *end <= now_ms);
        let (ended, next) = over.map_or((0, self.reset_at), |end| following(end, self.duration_ms, now_ms));
        let resets_in = next.map(|end| end.saturating_sub(now_ms));
        Terms { spent: self.spent, version, until, ended, since: self.since.max(ended), resets_in }
    }
}

/// After the window that ended at `end`: the end of the last one that is over, and of the one that is not.
fn following(end: u64, duration_ms: Option<u64>, now_ms: u64) -> (u64, Option<u64>) {
    match duration_ms.filter(|duration| *duration > 0) {
        Some(duration) => {
            let last = end.saturating_add(now_ms.saturating_sub(end) / duration * duration);
            (last, Some(last.saturating_add(duration)))
        }
        None => (end, None),
    }
}

/// A reservation that did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// Nano-dollars spent in the window.
    pub spent: u64,
    /// Nano-dollars that calls in flight have reserved.
    pub reserved: u64,
    /// End of the window, Unix milliseconds.
    pub reset_at: Option<u64>,
}

#[derive(Debug)]
struct Settled {
    seq: u64,
    nanos: u64,
    at_ms: u64,
}

#[derive(Debug, Default)]
struct Inner {
    spent: u64,
    reserved: u64,
    since: u64,
    reset_at: Option<u64>,
    duration_ms: Option<u64>,
    /// The latest window end that has passed here.
    rolled: Option<u64>,
    recent: VecDeque<Settled>,
    /// Highest ordinal of a settlement that `recent` no longer has.
    forgotten: u64,
}

/// Spending and reservations of one key, in nano-dollars.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Inner>);

impl Budget {
    /// A budget that starts from the ledger's figure.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let Seed { spent, since, reset_at, duration_ms, .. } = seed;
        Self(Mutex::new(Inner { spent, since, reset_at, duration_ms, ..Inner::default() }))
    }

    /// Reserve `amount` for a call, if `spent + reserved + amount <= max` and `spent < max`. Returns since when the window
    /// holds that it was reserved in, Unix milliseconds; 0: there is none.
    ///
    /// # Errors
    /// [`OverBudget`] when it does not fit; nothing is reserved then.
    pub fn reserve(&self, max: u64, amount: u64, now_ms: u64) -> Result<u64, OverBudget> {
        let mut inner = self.lock();
        inner.roll(now_ms);
        let committed = inner.spent.saturating_add(inner.reserved).saturating_add(amount);
        if inner.spent >= max || committed > max {
            let Inner { spent, reserved, reset_at, .. } = *inner;
            return Err(OverBudget { spent, reserved, reset_at });
        }
        inner.reserved = inner.reserved.saturating_add(amount);
        Ok(inner.since)
    }

    /// The call is over: its reservation becomes what it really cost, in the window of `now_ms`.
    ///
    /// `seq` is the ordinal of its usage record, which must be handed to the ledger after this.
    pub fn settle(&self, reserved: u64, actual: u64, seq: u64, now_ms: u64) {
        let mut inner = self.lock();
        inner.roll(now_ms);
        inner.reserved = inner.reserved.saturating_sub(reserved);
        inner.spent = inner.spent.saturating_add(actual);
        inner.recent.push_back(Settled { seq, nanos: actual, at_ms: now_ms });
        inner.forget(now_ms);
    }

    /// The call cost nothing: its reservation ends.
    pub fn release(&self, reserved: u64) {
        let mut inner = self.lock();
        inner.reserved = inner.reserved.saturating_sub(reserved);
    }

    /// Take over a later figure of the ledger, and the window if it changed.
    ///
    /// False when the figure is from a window that has ended here, or older than the settlements that are remembered:
    /// what is in memory stays then.
    pub fn seed(&self, seed: Seed) -> bool {
        let mut inner = self.lock();
        if seed.reset_at.is_some() && seed.reset_at <= inner.rolled {
            return false;
        }
        inner.since = seed.since;
        inner.reset_at = seed.reset_at;
        inner.duration_ms = seed.duration_ms;
        if seed.version < inner.forgotten {
            return false;
        }
        let Inner { spent, recent, forgotten, .. } = &mut *inner;
        *spent = seed.spent;
        recent.retain(|settled| {
            let newer = settled.seq > seed.version;
            if newer {
                *spent = spent.saturating_add(settled.nanos);
            } else {
                // A still older figure may arrive late; it must not bring back what it does not have.
                *forgotten = settled.seq.max(*forgotten);
            }
            newer
        });
        true
    }

    /// `(spent, reserved)` in nano-dollars.
    #[must_use]
    pub fn figures(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.spent, inner.reserved)
    }

    /// Nothing here can panic while the lock is held, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Start a new window when the current one is over. Reservations stay: their calls settle in the new one.
    fn roll(&mut self, now_ms: u64) {
        let Some(end) = self.reset_at.filter(|end| *end <= now_ms) else { return };
        let (last, next) = following(end, self.duration_ms, now_ms);
        self.rolled = Some(last);
        self.since = last;
        self.reset_at = next;
        self.spent = 0;
        self.forgotten = self.recent.drain(..).map(|settled| settled.seq).fold(self.forgotten, u64::max);
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some(oldest) = self.recent.front() {
            if self.recent.len() <= REMEMBER && oldest.at_ms.saturating_add(REMEMBER_MS) > now_ms {
                break;
            }
            self.forgotten = self.forgotten.max(oldest.seq);
            self.recent.pop_front();
        }
        if self.recent.capacity() > 64 && self.recent.len() < self.recent.capacity() / 4 {
            self.recent.shrink_to(self.recent.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn windowed(spent: u64, version: u64, reset_at: u64) -> Seed {
        Seed { spent, version, since: reset_at.saturating_sub(DAY), reset_at: Some(reset_at), duration_ms: Some(DAY) }
    }

    #[test]
    fn two_hundred_threads_share_a_budget_exactly() {
        // Twelve calls of 4 fit into 50; 2 stay over.
        let budget = Arc::new(Budget::default());
        let admitted = Arc::new(AtomicU64::new(0));
        let barrier = Arc::new(Barrier::new(200));
        let threads: Vec<_> = (0..200)
            .map(|seq| {
                let (budget, admitted, barrier) = (budget.clone(), admitted.clone(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    if budget.reserve(50, 4, 1).is_ok() {
                        admitted.fetch_add(1, Ordering::SeqCst);
                        barrier.wait();
                        budget.settle(4, 4, seq, 1);
                    } else {
                        barrier.wait();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(admitted.load(Ordering::SeqCst), 12);
        assert_eq!(budget.figures(), (48, 0));
        assert!(budget.reserve(50, 2, 1).is_ok());
        assert!(budget.reserve(50, 1, 1).is_err());
    }

    #[test]
    fn threads_that_spend_less_than_reserved_never_pass_the_maximum() {
        let (max, budget) = (100_000, Arc::new(Budget::default()));
        let admitted = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let (budget, admitted) = (budget.clone(), admitted.clone());
                thread::spawn(move || {
                    for call in 0..2_000_u64 {
                        if budget.reserve(max, 40, 1).is_ok() {
                            if call % 5 == 0 {
                                budget.release(40);
                            } else {
                                admitted.fetch_add(10, Ordering::SeqCst);
                                budget.settle(40, 10, thread * 2_000 + call, 1);
                            }
                        }
                        let (spent, reserved) = budget.figures();
                        assert!(spent + reserved <= max);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(budget.figures(), (admitted.load(Ordering::SeqCst), 0));
    }

    #[test]
    fn a_spent_budget_refuses_even_a_call_that_costs_nothing() {
        let budget = Budget::new(Seed { spent: 10, ..Seed::default() });
        let over = OverBudget { spent: 10, reserved: 0, reset_at: None };
        assert_eq!(budget.reserve(10, 0, 1), Err(over));
        assert_eq!(budget.reserve(0, 0, 1), Err(over));
        assert!(budget.reserve(11, 0, 1).is_ok());
    }

    #[test]
    fn a_new_window_starts_empty_but_for_the_calls_in_flight() {
        let budget = Budget::new(windowed(90, 0, 1_000));
        budget.reserve(100, 10, 999).unwrap();
        assert_eq!(budget.reserve(100, 1, 999).unwrap_err().reset_at, Some(1_000));
        assert!(budget.reserve(100, 90, 1_000).is_ok());
        assert_eq!(budget.figures(), (0, 100));
        budget.settle(10, 7, 1, 1_001);
        budget.release(90);
        assert_eq!(budget.figures(), (7, 0));
        // Skipped windows are one reset, and the boundaries stay where they were.
        assert!(budget.reserve(100, 0, 1_000 + 10 * DAY + 5).is_ok());
        assert_eq!(budget.figures(), (0, 0));
        assert_eq!(budget.reserve(0, 0, 1_000 + 10 * DAY + 6).unwrap_err().reset_at, Some(1_000 + 11 * DAY));
    }

    #[test]
    fn the_terms_of_a_shared_budget_name_the_window_that_is_over() {
        let terms = |seed: Seed, now_ms| {
            let Terms { spent, version, until, ended, since, resets_in } = seed.terms(7, now_ms);
            assert_eq!((spent, version, since), (90, 7, seed.since.max(ended)));
            (until, ended, resets_in)
        };
        assert_eq!(terms(windowed(90, 1, 1_000), 999), (1_000, 0, Some(1)));
        assert_eq!(terms(windowed(90, 1, 1_000), 1_000), (1_000, 1_000, Some(DAY)));
        assert_eq!(terms(windowed(90, 1, 1_000), 2_000 + 3 * DAY), (1_000, 1_000 + 3 * DAY, Some(DAY - 1_000)));
        let calendar = Seed { duration_ms: None, ..windowed(90, 1, 1_000) };
        assert_eq!(terms(calendar, 5_000), (1_000, 1_000, None));
        assert_eq!(terms(Seed { spent: 90, ..Seed::default() }, 5_000), (0, 0, None));
    }

    #[test]
    fn who_reserves_is_told_since_when_the_window_holds() {
        let budget = Budget::new(windowed(90, 0, DAY + 1_000));
        assert_eq!(budget.reserve(100, 1, DAY + 999), Ok(1_000));
        assert_eq!(budget.reserve(100, 1, DAY + 1_000), Ok(DAY + 1_000));
        // A call that looked at the clock before the window was over.
        assert_eq!(budget.reserve(100, 1, DAY + 999), Ok(DAY + 1_000));
        assert_eq!(budget.reserve(100, 1, 3 * DAY + 1_500), Ok(3 * DAY + 1_000));
        // The ledger began the next one already, by its own clock.
        assert!(budget.seed(windowed(0, 1, 5 * DAY + 1_000)));
        assert_eq!(budget.reserve(100, 1, 4 * DAY + 999), Ok(4 * DAY + 1_000));
        assert_eq!(Budget::default().reserve(1, 1, DAY), Ok(0));
    }

    #[test]
    fn a_window_without_a_length_ends_once() {
        let seed = Seed { spent: 5, version: 0, since: 1, reset_at: Some(10), duration_ms: None };
        let budget = Budget::new(seed);
        budget.settle(0, 3, 1, 10);
        assert_eq!(budget.figures().0, 3);
        budget.settle(0, 3, 2, u64::MAX);
        assert_eq!(budget.figures().0, 6);
    }

    #[test]
    fn racing_threads_reset_a_window_once() {
        for _ in 0..50 {
            let budget = Arc::new(Budget::new(windowed(1_000, 0, 500)));
            let barrier = Arc::new(Barrier::new(16));
            let threads: Vec<_> = (0..16)
                .map(|seq| {
                    let (budget, barrier) = (budget.clone(), barrier.clone());
                    thread::spawn(move || {
                        barrier.wait();
                        budget.reserve(1_000, 5, 500 + seq).unwrap();
                        budget.settle(5, 5, seq, 500 + seq);
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(budget.figures(), (80, 0));
        }
    }

    #[test]
    fn a_later_figure_keeps_what_the_ledger_does_not_have_yet() {
        let budget = Budget::new(Seed { spent: 100, version: 4, ..Seed::default() });
        for seq in 5..=8 {
            budget.settle(0, 10, seq, 1);
        }
        assert_eq!(budget.figures().0, 140);
        // An administrator set the spending to 0 when the ledger had records up to 6.
        assert!(budget.seed(Seed { spent: 0, version: 6, ..Seed::default() }));
        assert_eq!(budget.figures().0, 20);
        assert!(budget.seed(Seed { spent: 20, version: 8, ..Seed::default() }));
        assert_eq!(budget.figures().0, 20);
    }

    #[test]
    fn a_figure_older_than_memory_is_not_used() {
        let budget = Budget::default();
        budget.settle(0, 1, 10, 1);
        budget.settle(0, 1, 11, 1 + REMEMBER_MS);
        assert!(!budget.seed(Seed { spent: 0, version: 9, ..Seed::default() }));
        assert_eq!(budget.figures().0, 2);
        assert!(budget.seed(Seed { spent: 1, version: 10, ..Seed::default() }));
        assert_eq!(budget.figures().0, 2);
    }

    #[test]
    fn a_figure_of_a_window_that_ended_here_is_not_used() {
        let budget = Budget::new(windowed(90, 5, 1_000));
        budget.reserve(100, 10, 1_500).unwrap();
        budget.settle(10, 10, 6, 1_500);
        assert!(!budget.seed(windowed(90, 5, 1_000)));
        assert_eq!(budget.figures().0, 10);
        assert!(budget.seed(windowed(10, 6, 1_000 + DAY)));
        assert_eq!(budget.figures().0, 10);
    }

    #[test]
    fn memory_of_settlements_is_bounded() {
        let budget = Budget::default();
        for seq in 0..50_000 {
            budget.settle(0, 1, seq, 1);
        }
        assert!(budget.lock().recent.len() <= REMEMBER);
        budget.settle(0, 1, 50_000, 1 + 2 * REMEMBER_MS);
        assert!(budget.lock().recent.capacity() <= 1_024);
        assert_eq!(budget.figures().0, 50_001);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261120), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn memory_equals_the_ledger_plus_what_is_under_way(
            calls in prop::collection::vec((0u64..1_000, prop::bool::ANY, 0usize..4), 1..300),
        ) {
            // The ledger lags by a few records and reports now and then, sometimes an older figure after a newer one.
            let budget = Budget::default();
            let (mut spent, mut newest, mut records) = (0, 0, Vec::new());
            for (index, (nanos, report, lag)) in calls.into_iter().enumerate() {
                let seq = index as u64 + 1;
                budget.settle(0, nanos, seq, 1);
                spent += nanos;
                records.push(nanos);
                if report {
                    let known = records.len().saturating_sub(lag);
                    let figure = records[..known].iter().sum();
                    let used = budget.seed(Seed { spent: figure, version: known as u64, ..Seed::default() });
                    prop_assert!(used || known < newest);
                    newest = newest.max(known);
                }
                prop_assert_eq!(budget.figures(), (spent, 0));
            }
        }
    }
}

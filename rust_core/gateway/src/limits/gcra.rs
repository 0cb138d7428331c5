//! Rates per minute by the generic cell rate algorithm (ITU-T I.371, virtual scheduling form).
//!
//! Apart because it is pure arithmetic on one atomic word: the theoretical arrival time (TAT), in nanoseconds of a
//! monotonic clock. The burst is one minute's worth, so a call of `cost` units at time `t` is admitted when the TAT,
//! moved on by what `cost` takes, stays within a minute of `t`.
//!
//! A minute divided by a limit is seldom a whole number of nanoseconds, and rounding each step would drift. Steps are
//! therefore differences on a fixed grid, `G(n) = ceil(n * minute / limit)`: they telescope, and `G(n + limit) = G(n)
//! + minute` exactly, so `limit` units always take one minute and the long-run rate is exact. A TAT between two grid
//! points may slip to the next one once (one nanosecond); `SLACK_NS` keeps that from costing the last unit of a burst.
//! What is admitted in a time `t` is thus at most `limit * (minute + t + 2 ns) / minute`.
//!
//! The word holds time and not units, so a limit can change while calls are in flight and what was used keeps its
//! share of the minute.

use std::sync::atomic::{AtomicU64, Ordering};

const MINUTE_NS: u64 = 60_000_000_000;
const SLACK_NS: u64 = 1;

/// A limit: so many units per minute, all of which may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units per minute, and the burst. 0 admits nothing.
    pub per_minute: u64,
}

impl Rate {
    /// `a * per_minute / minute`, rounded down, for `a` below a minute.
    fn units_in(self, ns: u64) -> u64 {
        match ns.checked_mul(self.per_minute) {
            Some(product) => product / MINUTE_NS,
            None => saturate(u128::from(ns) * u128::from(self.per_minute) / u128::from(MINUTE_NS)),
        }
    }

    /// Grid point `units`: the nanoseconds that so many units take from the grid's origin, rounded up.
    fn grid(self, units: u64) -> u64 {
        match units.checked_mul(MINUTE_NS) {
            Some(product) => product.div_ceil(self.per_minute),
            None => saturate((u128::from(units) * u128::from(MINUTE_NS)).div_ceil(u128::from(self.per_minute))),
        }
    }

    /// How far `units` move a TAT forward. `per_minute` is not 0.
    fn forward(self, tat: u64, units: u64) -> u64 {
        let (minutes, part) = (units / self.per_minute, units % self.per_minute);
        let at = self.units_in(tat % MINUTE_NS);
        let step = self.grid(at.saturating_add(part)).saturating_sub(self.grid(at));
        minutes.saturating_mul(MINUTE_NS).saturating_add(step)
    }

    /// How far `units` move a TAT back. `per_minute` is not 0.
    fn back(self, tat: u64, units: u64) -> u64 {
        let (minutes, part) = (units / self.per_minute, units % self.per_minute);
        let at = self.units_in(tat % MINUTE_NS).saturating_add(self.per_minute);
        let step = self.grid(at).saturating_sub(self.grid(at.saturating_sub(part)));
        minutes.saturating_mul(MINUTE_NS).saturating_add(step)
    }
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
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

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Nanoseconds after which the same cost would be admitted, if nothing else comes. 0 when `too_large`.
    pub retry_after_ns: u64,
    /// Where the rate stands.
    pub state: State,
    /// The cost is above the burst: no waiting helps.
    pub too_large: bool,
}

/// One rate limiter; the limit itself comes with each call. Lock-free.
#[derive(Debug, Default)]
pub struct Gcra {
    tat: AtomicU64,
}

impl Gcra {
    /// A limiter that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { tat: AtomicU64::new(0) }
    }

    /// Take `cost` units at `now_ns`, all or nothing.
    ///
    /// # Errors
    /// [`Denied`] when they do not fit; nothing is taken then.
    pub fn admit(&self, rate: Rate, cost: u64, now_ns: u64) -> Result<State, Denied> {
        let mut tat = self.tat.load(Ordering::Acquire);
        loop {
            let base = tat.max(now_ns);
            if cost > rate.per_minute || rate.per_minute == 0 {
                let retry_after_ns = if cost > rate.per_minute { 0 } else { MINUTE_NS };
                let too_large = cost > rate.per_minute;
                return Err(Denied { retry_after_ns, state: state(rate, base, now_ns), too_large });
            }
            let next = base.saturating_add(rate.forward(base, cost));
            let latest = now_ns.saturating_add(MINUTE_NS + SLACK_NS);
            if next > latest {
                let retry_after_ns = next - latest;
                return Err(Denied { retry_after_ns, state: state(rate, base, now_ns), too_large: false });
            }
            match self.tat.compare_exchange_weak(tat, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(state(rate, next, now_ns)),
                Err(seen) => tat = seen,
            }
        }
    }

    /// Give back units that an admission took and that were not used.
    pub fn refund(&self, rate: Rate, units: u64) {
        if rate.per_minute == 0 || units == 0 {
            return;
        }
        let give = |tat: u64| Some(tat.saturating_sub(rate.back(tat, units)));
        let _ = self.tat.fetch_update(Ordering::AcqRel, Ordering::Acquire, give);
    }

    /// Take units that were used beyond what admission took, whether they fit or not: later calls wait for them.
    pub fn debit(&self, rate: Rate, units: u64, now_ns: u64) {
        if rate.per_minute == 0 || units == 0 {
            return;
        }
        let take = |tat: u64| {
            let base = tat.max(now_ns);
            Some(base.saturating_add(rate.forward(base, units)))
        };
        let _ = self.tat.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
    }

    /// Where the rate stands, taking nothing.
    #[must_use]
    pub fn state(&self, rate: Rate, now_ns: u64) -> State {
        state(rate, self.tat.load(Ordering::Acquire).max(now_ns), now_ns)
    }
}

/// `tat` is not before `now_ns`.
fn state(rate: Rate, tat: u64, now_ns: u64) -> State {
    let limit = rate.per_minute;
    let reset_ns = tat - now_ns;
    let room = (MINUTE_NS + SLACK_NS).saturating_sub(reset_ns);
    let phase = tat % MINUTE_NS;
    let at = rate.units_in(phase);
    let remaining = if limit == 0 || room == 0 {
        0
    } else {
        rate.units_in(rate.grid(at).saturating_add(room)).saturating_sub(at).min(limit)
    };
    State { limit, remaining, reset_ns }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn rate(per_minute: u64) -> Rate {
        Rate { per_minute }
    }

    /// The most units that may have been taken `elapsed_ns` after the first.
    fn envelope(limit: u64, elapsed_ns: u64) -> u64 {
        saturate(u128::from(limit) * u128::from(MINUTE_NS + elapsed_ns + 2) / u128::from(MINUTE_NS))
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_keeps_its_word() {
        for limit in [1, 7, 60, 999, 99_991] {
            let gcra = Gcra::new();
            let now = 123_456_789_012_345;
            assert_eq!(gcra.admit(rate(limit), limit, now).unwrap().remaining, 0);
            let denied = gcra.admit(rate(limit), 1, now).unwrap_err();
            assert!(!denied.too_large);
            let due = now + denied.retry_after_ns;
            assert!(gcra.admit(rate(limit), 1, due - 1).is_err(), "limit {limit}");
            assert!(gcra.admit(rate(limit), 1, due).is_ok(), "limit {limit}");
        }
    }

    #[test]
    fn a_cost_above_the_burst_is_told_apart() {
        let gcra = Gcra::new();
        let denied = gcra.admit(rate(100), 101, 5).unwrap_err();
        assert!(denied.too_large);
        assert_eq!(denied.state, State { limit: 100, remaining: 100, reset_ns: 0 });
        assert!(gcra.admit(rate(100), 100, 5).is_ok());
    }

    #[test]
    fn a_limit_of_zero_admits_nothing() {
        let gcra = Gcra::new();
        assert!(gcra.admit(rate(0), 0, 9).is_err());
        assert!(gcra.admit(rate(0), 1, 9).unwrap_err().too_large);
        gcra.debit(rate(0), 5, 9);
        gcra.refund(rate(0), 5);
        assert_eq!(gcra.state(rate(0), 9), State { limit: 0, remaining: 0, reset_ns: 0 });
    }

    #[test]
    fn a_debit_goes_beyond_the_burst_and_is_waited_for() {
        let gcra = Gcra::new();
        gcra.admit(rate(60), 60, 0).unwrap();
        gcra.debit(rate(60), 30, 0);
        assert_eq!(gcra.state(rate(60), 0).remaining, 0);
        let denied = gcra.admit(rate(60), 1, 0).unwrap_err();
        assert_eq!(denied.retry_after_ns, 31_000_000_000 - SLACK_NS);
    }

    #[test]
    fn the_refill_is_exact_over_a_week_at_saturation() {
        for limit in [7, 59, 997, 7_001] {
            let gcra = Gcra::new();
            let start = 5_000_000_321;
            let mut taken = 0;
            let mut now = start;
            let minutes = 7 * 24 * 60;
            let end = start + minutes * MINUTE_NS;
            while now <= end {
                // As much as fits, at moments that have nothing to do with the grid.
                let fits = gcra.state(rate(limit), now).remaining;
                if fits > 0 {
                    gcra.admit(rate(limit), fits, now).unwrap();
                    taken += fits;
                }
                now += 29_999_999_977;
            }
            let elapsed = now - 29_999_999_977 - start;
            let most = envelope(limit, elapsed);
            assert!(taken <= most && taken + 1 >= most, "limit {limit}: {taken} of {most}");
        }
    }

    #[test]
    fn unit_steps_do_not_drift() {
        // 599,994.0005999... ns apart: rounding each step down would have gained units after three million of them.
        let (gcra, limit) = (Gcra::new(), 100_001);
        let mut taken: u64 = 0;
        let mut now = 77;
        for _ in 0..3_000_000 {
            match gcra.admit(rate(limit), 1, now) {
                Ok(_) => taken += 1,
                Err(denied) => {
                    now += denied.retry_after_ns;
                    gcra.admit(rate(limit), 1, now).unwrap();
                    taken += 1;
                }
            }
        }
        let most = envelope(limit, now - 77);
        assert!(taken <= most && taken + 1 >= most, "{taken} of {most}");
    }

    #[test]
    fn threads_share_a_burst_exactly() {
        for limit in [1, 1_000, 33_333] {
            let gcra = Arc::new(Gcra::new());
            let admitted = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..16)
                .map(|_| {
                    let (gcra, admitted) = (gcra.clone(), admitted.clone());
                    thread::spawn(move || {
                        for _ in 0..limit {
                            if gcra.admit(rate(limit), 1, 42).is_ok() {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(admitted.load(Ordering::Relaxed) as u64, limit);
        }
    }

    #[test]
    fn threads_share_the_refill_exactly() {
        // Every look at the clock moves it on by a third of what a unit takes, so the demand is thrice the rate.
        let (limit, step) = (7_001, 2_856_734);
        let (gcra, clock, admitted) = (Gcra::new(), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..30_000 {
                        let now = clock.fetch_add(step, Ordering::SeqCst);
                        if gcra.admit(rate(limit), 1, now).is_ok() {
                            admitted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let now = clock.load(Ordering::SeqCst);
        let (most, admitted) = (envelope(limit, now), admitted.load(Ordering::SeqCst));
        assert!(admitted <= most, "{admitted} of {most}");
        // The first to come need not be the one that looked at the clock first: eight looks are less than three units.
        assert!(admitted + gcra.state(rate(limit), now).remaining + 4 >= most, "none was lost");
    }

    #[test]
    fn threads_that_refund_leave_nothing_behind() {
        let (gcra, limit) = (Arc::new(Gcra::new()), 99_991);
        let now = 10 * MINUTE_NS + 7;
        let threads: Vec<_> = (1..=8)
            .map(|cost| {
                let gcra = gcra.clone();
                thread::spawn(move || {
                    for _ in 0..20_000 {
                        if gcra.admit(rate(limit), cost * 13, now).is_ok() {
                            gcra.refund(rate(limit), cost * 13);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let left = gcra.state(rate(limit), now);
        assert!(left.reset_ns <= 1, "{left:?}");
        assert_eq!(left.remaining, limit);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261121), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn exactly_the_limit_fits_at_once(limit in 1u64..100_000, extra in 1u64..50, now in 0u64..10_000_000_000_000_000) {
            let gcra = Gcra::new();
            let admitted = (0..limit + extra).filter(|_| gcra.admit(rate(limit), 1, now).is_ok()).count();
            prop_assert_eq!(admitted as u64, limit);
        }

        #[test]
        fn large_limits_are_exact_in_bulk(
            limit in 1_000_000u64..=20_000_000_000, share in 1u64..1_000, now in 0u64..10_000_000_000_000_000,
        ) {
            let gcra = Gcra::new();
            let cost = limit.div_ceil(share);
            let mut taken = 0;
            while gcra.admit(rate(limit), cost, now).is_ok() {
                taken += cost;
            }
            let rest = gcra.state(rate(limit), now).remaining;
            prop_assert!(rest < cost);
            prop_assert_eq!(taken + rest, limit);
        }

        #[test]
        fn what_remains_is_what_is_admitted(
            limit in 1u64..2_000_000, used in 0u64..2_000_000, now in 0u64..10_000_000_000_000_000, later in 0u64..70_000_000_000,
        ) {
            let gcra = Gcra::new();
            let _ = gcra.admit(rate(limit), used.min(limit), now);
            let now = now + later;
            let state = gcra.state(rate(limit), now);
            prop_assert!(gcra.admit(rate(limit), state.remaining + 1, now).is_err());
            prop_assert!(gcra.admit(rate(limit), state.remaining, now).is_ok());
        }

        #[test]
        fn no_interleaving_exceeds_the_envelope(
            limit in 1u64..5_000,
            start in 0u64..1_000_000_000_000,
            steps in prop::collection::vec((0u64..5_000, 0u64..20_000_000_000, 0u8..4, 0usize..64), 1..200),
        ) {
            let gcra = Gcra::new();
            let mut now = start;
            let mut held: Vec<u64> = Vec::new();
            let mut net: u64 = 0;
            for (cost, wait, action, pick) in steps {
                now += wait;
                if action == 0 && !held.is_empty() {
                    let units = held.swap_remove(pick % held.len());
                    gcra.refund(rate(limit), units);
                    net -= units;
                } else if gcra.admit(rate(limit), cost, now).is_ok() {
                    held.push(cost);
                    net += cost;
                }
                prop_assert!(net <= envelope(limit, now - start), "{} of {}", net, envelope(limit, now - start));
            }
        }

        #[test]
        fn a_refund_undoes_an_admission(
            limit in 1u64..1_000_000_000, share in 1u64..100, before in 0u64..100, now in 0u64..10_000_000_000_000_000,
        ) {
            let gcra = Gcra::new();
            let _ = gcra.admit(rate(limit), limit * before / 100, now);
            let was = gcra.state(rate(limit), now);
            let cost = (limit / 100 * share).min(was.remaining);
            gcra.admit(rate(limit), cost, now).unwrap();
            gcra.refund(rate(limit), cost);
            let is = gcra.state(rate(limit), now);
            prop_assert!(is.reset_ns.abs_diff(was.reset_ns) <= 1);
            prop_assert_eq!(is.remaining, was.remaining);
        }
    }
}

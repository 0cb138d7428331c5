use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(per_minute: u64) -> Rate {
    Rate { per_minute }
}

fn fits(window: &Window, limit: u64, cost: u64, now: u64) -> bool {
    window.admit(rate(limit), cost, now).is_ok()
}

/// The most units that any 60 s of the log have.
fn most_in_a_minute(log: &[(u64, u64)]) -> u64 {
    let within = |start: u64| log.iter().filter(move |(at, _)| (start..start + MINUTE_NS).contains(at));
    log.iter().map(|(start, _)| within(*start).map(|(_, units)| units).sum()).max().unwrap_or(0)
}

#[test]
fn a_fresh_window_has_no_memory_and_a_quiet_one_gives_it_back() {
    let window = Window::default();
    assert_eq!(window.state(rate(5), 7), State { limit: 5, remaining: 5, reset_ns: 0 });
    assert_eq!(window.lock().segments.capacity(), 0);
    assert!(fits(&window, 5, 0, 7));
    assert_eq!(window.lock().segments.capacity(), 0);
    for second in 0..600 {
        assert!(fits(&window, 1_000, 1, second * SECOND));
    }
    assert!(window.lock().segments.len() > 50);
    assert_eq!(window.state(rate(5), 1_000 * SECOND).remaining, 5);
    assert_eq!(window.lock().segments.capacity(), 0);
    // A key with a call now and then keeps the little it needs.
    assert!(fits(&window, 5, 1, 2_000 * SECOND));
    let room = window.lock().segments.capacity();
    assert!(fits(&window, 5, 1, 3_000 * SECOND));
    assert_eq!(window.lock().segments.len(), 1);
    assert_eq!(window.lock().segments.capacity(), room);
}

#[test]
fn one_that_nobody_uses_gives_its_memory_back() {
    let window = Window::default();
    for second in 0..60 {
        assert!(fits(&window, 1_000, 1, second * SECOND));
    }
    window.rest(100 * SECOND);
    assert_eq!(window.state(rate(1_000), 100 * SECOND).remaining, 1_000 - 19);
    window.rest(119 * SECOND);
    assert_eq!(window.lock().segments.capacity(), 0);
    assert!(fits(&window, 1_000, 1_000, 120 * SECOND));
}

#[test]
fn sixty_four_segments_are_enough_for_any_traffic() {
    for step in [1, 1_000_003, 299_999_999, SPAN_NS - 1, SPAN_NS, SPAN_NS + 1, SECOND] {
        let window = Window::default();
        for tick in 0..(130 * SECOND / step).min(400_000) {
            window.debit(1, tick * step);
            assert!(window.lock().segments.len() <= 64, "{step}");
        }
        assert!(window.lock().segments.capacity() <= 64, "{step}");
    }
}

#[test]
fn a_cost_above_the_limit_is_told_apart() {
    let window = Window::default();
    let denied = window.admit(rate(100), 101, 5).unwrap_err();
    assert_eq!(
        denied,
        Denied { retry_after_ns: 0, state: State { limit: 100, remaining: 100, reset_ns: 0 }, too_large: true }
    );
    assert!(fits(&window, 100, 100, 5));
    assert!(window.admit(rate(u64::MAX), u64::MAX, 5).is_err_and(|denied| !denied.too_large));
}

#[test]
fn a_limit_of_zero_admits_nothing() {
    let window = Window::default();
    let denied = window.admit(rate(0), 0, 9).unwrap_err();
    assert_eq!((denied.retry_after_ns, denied.too_large), (MINUTE_NS, false));
    assert!(window.admit(rate(0), 1, 9).unwrap_err().too_large);
    assert_eq!(window.state(rate(0), 9), State { limit: 0, remaining: 0, reset_ns: 0 });
}

#[test]
fn a_debit_goes_beyond_the_limit_and_is_waited_for() {
    let window = Window::default();
    window.admit(rate(60), 60, 0).unwrap();
    window.debit(30, 10 * SECOND);
    assert_eq!(window.state(rate(60), 11 * SECOND).remaining, 0);
    assert_eq!(window.admit(rate(60), 1, 11 * SECOND).unwrap_err().retry_after_ns, 49 * SECOND);
    assert_eq!(window.state(rate(60), 60 * SECOND), State { limit: 60, remaining: 30, reset_ns: 10 * SECOND });
}

#[test]
fn a_refund_counts_where_the_units_were_taken() {
    let window = Window::default();
    let first = window.admit(rate(10), 6, 0).unwrap();
    let second = window.admit(rate(10), 4, 30 * SECOND).unwrap();
    assert!(!fits(&window, 10, 1, 30 * SECOND));
    window.refund(5, first.at_ns);
    assert!(fits(&window, 10, 5, 31 * SECOND));
    // The first has had its minute: what it took is free, and not freed twice.
    assert_eq!(window.state(rate(10), 60 * SECOND).remaining, 1);
    window.refund(1, first.at_ns);
    assert_eq!(window.state(rate(10), 60 * SECOND).remaining, 1);
    window.refund(9, second.at_ns);
    assert_eq!(window.state(rate(10), 60 * SECOND).remaining, 5);
    // More than was taken there is never given.
    window.refund(1, 45 * SECOND);
    assert_eq!(window.state(rate(10), 60 * SECOND).remaining, 5);
}

#[test]
fn time_does_not_go_back() {
    let window = Window::default();
    window.admit(rate(10), 10, SECOND).unwrap();
    assert!(fits(&window, 10, 10, 61 * SECOND));
    // This thread read the clock before the other and comes after it.
    assert!(!fits(&window, 10, 1, 60 * SECOND));
    let denied = window.admit(rate(10), 1, 61 * SECOND - 5).unwrap_err();
    assert_eq!(denied.retry_after_ns, 60 * SECOND + 5);
    assert!(!fits(&window, 10, 1, 121 * SECOND - 1));
    assert!(fits(&window, 10, 1, 121 * SECOND));
}

#[test]
fn the_first_minute_has_no_more_than_the_limit() {
    let window = Window::default();
    let admitted = (0..600_000).filter(|tick| fits(&window, 1_000, 1, tick * 100_000)).count();
    assert_eq!(admitted, 1_000);
}

#[test]
fn saturation_gets_at_least_97_of_a_hundred_in_the_long_run() {
    for (limit, step) in [(7, 29_999_977), (60, 999_999_937), (997, 10_000_019), (7_001, 1_000_003), (100_000, 977_777)]
    {
        let window = Window::default();
        let (mut taken, mut now, minutes) = (0, 5_000_000_321, 30);
        let end = now + minutes * MINUTE_NS;
        while now < end {
            // Never more at a time than a thirtieth of the limit: it arrives spread out.
            let cost = window.state(rate(limit), now).remaining.min(limit.div_ceil(30));
            if cost > 0 {
                window.admit(rate(limit), cost, now).unwrap();
                taken += cost;
            }
            now += step;
        }
        assert!(taken <= limit * (minutes + 1), "limit {limit}: {taken}");
        assert!(taken * 100 >= limit * minutes * 97, "limit {limit}: {taken} in {minutes} minutes");
    }
}

#[test]
fn threads_share_a_minute_exactly() {
    for limit in [1, 1_000, 33_333] {
        let window = Arc::new(Window::default());
        let admitted = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (window, admitted) = (window.clone(), admitted.clone());
                thread::spawn(move || {
                    for _ in 0..limit {
                        if fits(&window, limit, 1, 42) {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(admitted.load(Ordering::Relaxed), limit);
    }
}

#[test]
fn threads_never_exceed_the_limit_in_any_minute() {
    let (limit, step) = (2_003, 4_857_143);
    let (window, clock) = (Window::default(), AtomicU64::new(0));
    let log = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for call in 0..6_000_u64 {
                    let now = clock.fetch_add(step, Ordering::SeqCst);
                    let Ok(taken) = window.admit(rate(limit), 1, now) else { continue };
                    if call % 7 == 0 {
                        window.refund(1, taken.at_ns);
                    } else {
                        log.lock().unwrap().push((taken.at_ns, 1));
                    }
                }
            });
        }
    });
    let mut log = log.into_inner().unwrap();
    log.sort_unstable();
    assert!(log.len() as u64 > 3 * limit);
    assert!(most_in_a_minute(&log) <= limit);
}

#[test]
fn threads_that_refund_leave_nothing_behind() {
    let (window, limit) = (Arc::new(Window::default()), 99_991);
    let now = 10 * MINUTE_NS + 7;
    let threads: Vec<_> = (1..=8)
        .map(|cost| {
            let window = window.clone();
            thread::spawn(move || {
                for _ in 0..20_000 {
                    if let Ok(taken) = window.admit(rate(limit), cost * 13, now) {
                        window.refund(cost * 13, taken.at_ns);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(window.state(rate(limit), now), State { limit, remaining: limit, reset_ns: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261121), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_limit_fits_at_once(limit in 1u64..20_000, extra in 1u64..50, now in 0u64..10_000_000_000_000_000) {
        let window = Window::default();
        let admitted = (0..limit + extra).filter(|_| fits(&window, limit, 1, now)).count();
        prop_assert_eq!(admitted as u64, limit);
    }

    #[test]
    fn what_remains_is_what_is_admitted(
        limit in 1u64..2_000_000, used in 0u64..2_000_000, now in 0u64..10_000_000_000_000_000, later in 0u64..70_000_000_000,
    ) {
        let window = Window::default();
        let _ = window.admit(rate(limit), used.min(limit), now);
        let now = now + later;
        let state = window.state(rate(limit), now);
        prop_assert!(!fits(&window, limit, state.remaining + 1, now));
        prop_assert!(fits(&window, limit, state.remaining, now));
    }

    /// Any mixture of calls on any clock, against a log that remembers every unit by itself.
    #[test]
    fn no_interleaving_admits_more_than_the_limit_in_any_minute(
        limit in 1u64..3_000,
        start in 0u64..1_000_000_000_000,
        steps in prop::collection::vec((0u64..2_000, -2_000_000_000i64..20_000_000_000, 0u8..8, 0usize..64), 1..200),
    ) {
        let window = Window::default();
        let (mut clock, mut latest) = (start, 0);
        let mut log: Vec<(u64, u64)> = Vec::new();
        let mut used: Vec<(u64, u64)> = Vec::new();
        let newest = |log: &[(u64, u64)], now: u64| -> u64 {
            log.iter().filter(|(at, _)| at + MINUTE_NS > now).map(|(_, units)| units).sum()
        };
        for (cost, wait, action, pick) in steps {
            clock = clock.saturating_add_signed(wait);
            match action {
                0 if !log.is_empty() => {
                    let (at, units) = log.swap_remove(pick % log.len());
                    window.refund(units, at);
                }
                1 => {
                    latest = latest.max(clock);
                    window.debit(1 + cost / 8, clock);
                    used.push((latest, 1 + cost / 8));
                }
                _ => {
                    latest = latest.max(clock);
                    let all: Vec<_> = log.iter().chain(&used).copied().collect();
                    let before = window.state(rate(limit), clock).remaining;
                    match window.admit(rate(limit), cost, clock) {
                        Ok(taken) => {
                            prop_assert_eq!(taken.at_ns, latest);
                            prop_assert!(newest(&all, latest) + cost <= limit, "{} and {cost} of {limit}", newest(&all, latest));
                            log.push((latest, cost));
                        }
                        Err(denied) => {
                            prop_assert!(cost > before);
                            prop_assert_eq!(denied.too_large, cost > limit);
                            // A segment's length at most is what a unit is counted for longer than its minute.
                            let shortly = all.iter().filter(|(at, _)| at + MINUTE_NS + SPAN_NS > latest).map(|(_, units)| units).sum::<u64>();
                            prop_assert!(shortly + cost > limit, "refused although there was room");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_refusal_keeps_its_word(
        limit in 1u64..1_000,
        steps in prop::collection::vec((1u64..400, 0u64..9_000_000_000, 0u8..5), 1..80),
        cost in 1u64..1_000,
    ) {
        let window = Window::default();
        let mut now = 77;
        for (cost, wait, action) in steps {
            now += wait;
            if action == 0 { window.debit(cost, now) } else { let _ = window.admit(rate(limit), cost, now); }
        }
        let Err(denied) = window.admit(rate(limit), cost, now) else { return Ok(()) };
        if denied.too_large {
            prop_assert!(cost > limit);
            return Ok(());
        }
        prop_assert!(denied.retry_after_ns > 0 && denied.retry_after_ns <= denied.state.reset_ns);
        let due = now + denied.retry_after_ns;
        prop_assert!(!fits(&window, limit, cost, due - 1));
        prop_assert!(fits(&window, limit, cost, due));
    }

    #[test]
    fn a_refund_undoes_an_admission(
        limit in 1u64..1_000_000_000, share in 1u64..100, before in 0u64..100, now in 0u64..10_000_000_000_000_000,
    ) {
        let window = Window::default();
        let _ = window.admit(rate(limit), limit * before / 100, now);
        let later = now + SECOND;
        let was = window.state(rate(limit), later);
        let cost = (limit / 100 * share).min(was.remaining);
        let taken = window.admit(rate(limit), cost, later).unwrap();
        window.refund(cost, taken.at_ns);
        prop_assert_eq!(window.state(rate(limit), later), was);
    }
}

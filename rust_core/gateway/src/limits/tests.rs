use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::auth::{Digest, KeyRecord};

const NOW: Now = Now { mono_ns: 1_234_567_890, unix_ms: 1_700_000_000_000 };

fn record() -> KeyRecord {
    KeyRecord::unlimited(Digest::from_bytes([3; 32]))
}

fn key(record: KeyRecord) -> Arc<Key> {
    Arc::new(Key::compile(record, None).unwrap())
}

fn demand(tokens: u64, nanos: u64) -> Demand {
    Demand { tokens, nanos }
}

fn actual(tokens: u64, nanos: u64) -> Actual {
    Actual { tokens, nanos, seq: 1 }
}

fn remaining(key: &Key) -> (Option<u64>, Option<u64>) {
    let rates = standing(key, NOW);
    (rates.requests.map(|state| state.remaining), rates.tokens.map(|state| state.remaining))
}

#[test]
fn limits_refuse_in_order_and_leave_nothing_behind() {
    let limited = KeyRecord {
        rpm: Some(3),
        tpm: Some(100),
        max_parallel_requests: Some(1),
        max_budget: Some(1_000),
        spend: 100,
        budget_reset_at: Some(NOW.unix_ms + 5_000),
        ..record()
    };
    let key = key(limited);
    let fresh = (Some(3), Some(100));

    let denied = admit(&key, demand(10, 901), NOW).unwrap_err();
    assert_eq!(denied.kind, LimitKind::Budget);
    assert_eq!((denied.limit, denied.current, denied.asked), (1_000, 100, 901));
    assert_eq!(denied.retry_after_ms, Some(5_000));
    assert_eq!(remaining(&key), fresh);

    let denied = admit(&key, demand(101, 901), NOW).unwrap_err();
    assert_eq!(denied.kind, LimitKind::Tokens { too_large: true });
    assert_eq!((denied.limit, denied.asked, denied.retry_after_ms), (100, 101, None));
    assert_eq!(remaining(&key), fresh);
    assert_eq!(key.state.usage(), (100, 0, 0));

    let held = admit(&key, demand(90, 500), NOW).unwrap();
    assert_eq!(held.rates().requests.unwrap().remaining, 2);
    assert_eq!(held.rates().tokens.unwrap().remaining, 10);
    assert_eq!(key.state.usage(), (100, 500, 1));

    let denied = admit(&key, demand(101, 901), NOW).unwrap_err();
    assert_eq!((denied.kind, denied.limit, denied.current), (LimitKind::Parallel, 1, 1));
    assert_eq!(denied.rates, standing(&key, NOW));

    held.settle(actual(90, 200), NOW);
    assert_eq!(key.state.usage(), (300, 0, 0));
    let denied = admit(&key, demand(11, 0), NOW).unwrap_err();
    assert_eq!((denied.kind, denied.current), (LimitKind::Tokens { too_large: false }, 90));
    assert_eq!(denied.retry_after_ms, Some(60_000), "all were taken at once");
    assert_eq!(remaining(&key), (Some(2), Some(10)));

    for _ in 0..2 {
        drop(admit(&key, demand(0, 0), NOW).unwrap());
    }
    let denied = admit(&key, demand(0, 0), NOW).unwrap_err();
    assert_eq!((denied.kind, denied.limit, denied.current), (LimitKind::Requests, 3, 3));
    assert_eq!(denied.retry_after_ms, Some(60_000));
}

#[test]
fn settling_gives_back_or_takes_more() {
    let key = key(KeyRecord { tpm: Some(1_000), max_budget: Some(1_000), ..record() });
    admit(&key, demand(600, 600), NOW).unwrap().settle(actual(100, 50), NOW);
    assert_eq!(remaining(&key), (None, Some(900)));
    admit(&key, demand(100, 100), NOW).unwrap().settle(actual(1_100, 2_000), NOW);
    assert_eq!(remaining(&key), (None, Some(0)));
    assert_eq!(key.state.usage(), (2_050, 0, 0));
    let later = |ns: u64| Now { mono_ns: NOW.mono_ns + ns, ..NOW };
    assert_eq!(standing(&key, later(59_999_999_999)).tokens.unwrap().remaining, 0, "200 more than there were");
    assert_eq!(standing(&key, later(60_000_000_000)).tokens.unwrap().remaining, 1_000);
}

#[test]
fn a_reservation_that_is_dropped_gives_back_all_but_the_request() {
    let key = key(KeyRecord { rpm: Some(10), tpm: Some(1_000), max_budget: Some(1_000), ..record() });
    drop(admit(&key, demand(600, 600), NOW).unwrap());
    assert_eq!(remaining(&key), (Some(9), Some(1_000)));
    assert_eq!(key.state.usage(), (0, 0, 0));
}

#[test]
fn a_key_without_limits_has_no_rates_but_its_spending_counts() {
    let key = key(record());
    let held = admit(&key, demand(u64::MAX, u64::MAX), NOW).unwrap();
    assert_eq!(held.rates(), Rates::default());
    assert_eq!(key.state.usage(), (0, 0, 1));
    held.settle(actual(5, 70), NOW);
    assert_eq!(key.state.usage(), (70, 0, 0));
}

#[test]
fn limits_that_change_under_a_call_do_not_unsettle_it() {
    let old = key(KeyRecord { tpm: Some(1_000), ..record() });
    let held = admit(&old, demand(500, 500), NOW).unwrap();
    let limited = KeyRecord { tpm: Some(100), max_budget: Some(1_000), ..record() };
    let new = Arc::new(Key::compile(limited, Some(old.state.clone())).unwrap());
    assert_eq!(standing(&new, NOW).tokens.unwrap().remaining, 0, "500 of 100 are in use");
    held.settle(actual(0, 300), NOW);
    assert_eq!(standing(&new, NOW).tokens.unwrap().remaining, 100);
    assert_eq!(new.state.usage(), (300, 0, 0));
}

#[test]
fn two_hundred_threads_get_exactly_what_there_is() {
    // Money for 40, tokens for 60, requests for 80: forty calls get in, and nothing of the rest is lost.
    let limited = KeyRecord { rpm: Some(1_000), tpm: Some(600), max_budget: Some(400), ..record() };
    let key = key(limited);
    let admitted = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(200));
    let threads: Vec<_> = (0..200)
        .map(|_| {
            let (key, admitted, barrier) = (key.clone(), admitted.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                let held = admit(&key, demand(1, 10), NOW);
                barrier.wait();
                if let Ok(held) = held {
                    admitted.fetch_add(1, Ordering::SeqCst);
                    held.settle(actual(1, 10), NOW);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(admitted.load(Ordering::SeqCst), 40);
    assert_eq!(key.state.usage(), (400, 0, 0));
    assert_eq!(remaining(&key), (Some(960), Some(560)));
}

#[test]
fn a_storm_of_calls_leaves_the_books_balanced() {
    let limited =
        KeyRecord { tpm: Some(1_000_000), max_parallel_requests: Some(6), max_budget: Some(500_000), ..record() };
    let key = key(limited);
    let (tokens, nanos, seq) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(1)));
    let threads: Vec<_> = (0..12_u64)
        .map(|thread| {
            let (key, tokens, nanos, seq) = (key.clone(), tokens.clone(), nanos.clone(), seq.clone());
            thread::spawn(move || {
                for call in 0..1_000_u64 {
                    let Ok(held) = admit(&key, demand(50, 40), NOW) else { continue };
                    if (call + thread) % 4 == 0 {
                        drop(held);
                    } else {
                        // Within what was held: beyond it, the maximum could be passed.
                        let used = (call * 7 + thread) % 41;
                        tokens.fetch_add(used, Ordering::SeqCst);
                        nanos.fetch_add(used, Ordering::SeqCst);
                        let seq = seq.fetch_add(1, Ordering::SeqCst);
                        held.settle(Actual { tokens: used, nanos: used, seq }, NOW);
                    }
                    let (spent, reserved, in_flight) = key.state.usage();
                    assert!(spent + reserved <= 500_000 && in_flight <= 6);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(key.state.usage(), (nanos.load(Ordering::SeqCst), 0, 0));
    assert_eq!(remaining(&key).1, Some(1_000_000 - tokens.load(Ordering::SeqCst)));
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261122), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_after_any_sequence(
        limits in (1u64..500, 1u64..5_000, 1u64..5_000, 1u64..8),
        calls in prop::collection::vec((0u64..900, 0u64..900, 0u64..900, 0u64..900, 0u8..3), 1..120),
    ) {
        let (rpm, tpm, max, parallel) = limits;
        let key = key(KeyRecord {
            rpm: Some(rpm), tpm: Some(tpm), max_budget: Some(max), max_parallel_requests: Some(parallel), ..record()
        });
        let mut held: Vec<(Reservation, Demand)> = Vec::new();
        let (mut requests, mut tokens, mut spent, mut reserved) = (0, 0, 0, 0);
        for (tokens_asked, nanos_asked, tokens_used, nanos_used, action) in calls {
            if action == 0 {
                let Some((reservation, asked)) = held.pop() else { continue };
                tokens -= asked.tokens;
                reserved -= asked.nanos;
                if tokens_used % 2 == 0 {
                    drop(reservation);
                } else {
                    let used = actual(tokens_used.min(asked.tokens), nanos_used.min(asked.nanos));
                    tokens += used.tokens;
                    spent += used.nanos;
                    reservation.settle(used, NOW);
                }
            } else {
                let asked = demand(tokens_asked, nanos_asked);
                // What the model says, in the order of the limits.
                let expected = if held.len() as u64 == parallel {
                    Some(LimitKind::Parallel)
                } else if requests == rpm {
                    Some(LimitKind::Requests)
                } else if tokens + asked.tokens > tpm {
                    Some(LimitKind::Tokens { too_large: asked.tokens > tpm })
                } else if spent >= max || spent + reserved + asked.nanos > max {
                    Some(LimitKind::Budget)
                } else {
                    None
                };
                match admit(&key, asked, NOW) {
                    Ok(reservation) => {
                        prop_assert_eq!(expected, None);
                        requests += 1;
                        tokens += asked.tokens;
                        reserved += asked.nanos;
                        held.push((reservation, asked));
                    }
                    Err(denied) => prop_assert_eq!(Some(denied.kind), expected),
                }
            }
            prop_assert_eq!(key.state.usage(), (spent, reserved, held.len() as u64));
            prop_assert_eq!(remaining(&key), (Some(rpm - requests), Some(tpm - tokens)));
        }
    }
}

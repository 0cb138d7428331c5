use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::auth::{Digest, KeyRecord, KeyTable, ScopeRecord};
use crate::hooks::Events;

const NOW: Now = Now { mono_ns: 1_234_567_890, unix_ms: 1_700_000_000_000, window_ms: 1_700_000_000_000 };

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

/// A key under a member, a team and an organisation, and their table.
fn hierarchy(own: KeyRecord, member: ScopeRecord, team: ScopeRecord, org: ScopeRecord) -> (KeyTable, Arc<Key>) {
    let table = KeyTable::new(10, 1);
    let names = ["member:t/u", "team:t", "org:o"];
    for (name, record) in names.iter().zip([member, team, org]) {
        table.scopes.put(ScopeRecord { name: (*name).to_owned(), ..record });
    }
    let scopes = names.map(str::to_owned).to_vec();
    let key = table.insert(KeyRecord { scopes, ..own }).unwrap();
    (table, key)
}

fn usage(table: &KeyTable) -> Vec<(u64, u64, u64)> {
    ["member:t/u", "team:t", "org:o"].iter().filter_map(|name| table.scopes.usage(name)).collect()
}

fn refused(key: &Arc<Key>, demand: Demand) -> (String, LimitKind) {
    let denied = admit(key, demand, NOW).unwrap_err();
    (denied.scope.map_or_else(|| "key".to_owned(), |rules| rules.record.name.clone()), denied.kind)
}

#[test]
fn levels_refuse_from_near_to_far_and_a_refusal_leaves_nothing_behind_at_any() {
    let (table, key) = hierarchy(
        KeyRecord {
            rpm: Some(5),
            tpm: Some(1_000),
            max_budget: Some(1_000),
            max_parallel_requests: Some(9),
            ..record()
        },
        ScopeRecord { rpm: Some(4), tpm: Some(900), max_budget: Some(900), ..ScopeRecord::default() },
        ScopeRecord { rpm: Some(3), tpm: Some(800), max_budget: Some(800), ..ScopeRecord::default() },
        ScopeRecord {
            rpm: Some(2),
            tpm: Some(700),
            max_budget: Some(700),
            max_parallel_requests: Some(1),
            ..ScopeRecord::default()
        },
    );
    let fresh = standing(&key, NOW);
    assert_eq!(
        (fresh.requests.unwrap().remaining, fresh.tokens.unwrap().remaining),
        (2, 700),
        "the least of all levels"
    );
    let all = |demand| refused(&key, demand);
    assert_eq!(all(demand(1_001, 1_001)), ("key".into(), LimitKind::Tokens { too_large: true }));
    assert_eq!(all(demand(950, 0)), ("member:t/u".into(), LimitKind::Tokens { too_large: true }));
    assert_eq!(all(demand(0, 850)), ("team:t".into(), LimitKind::Budget));
    assert_eq!(all(demand(0, 750)), ("org:o".into(), LimitKind::Budget));
    assert_eq!(standing(&key, NOW), fresh);
    assert_eq!(usage(&table), [(0, 0, 0); 3]);
    assert_eq!(key.state.usage(), (0, 0, 0));

    let held = admit(&key, demand(600, 600), NOW).unwrap();
    assert_eq!(held.rates().tokens.unwrap().remaining, 100);
    assert_eq!(usage(&table), [(0, 600, 1); 3]);
    assert_eq!(all(demand(0, 0)), ("org:o".into(), LimitKind::Parallel));
    assert_eq!(usage(&table), [(0, 600, 1); 3]);
    held.settle(actual(100, 50), NOW);
    assert_eq!(usage(&table), [(50, 0, 0); 3]);
    assert_eq!(key.state.usage(), (50, 0, 0));
    assert_eq!(standing(&key, NOW).tokens.unwrap().remaining, 600);
    drop(admit(&key, demand(600, 600), NOW).unwrap());
    assert_eq!(usage(&table), [(50, 0, 0); 3]);
    assert_eq!(all(demand(0, 0)), ("org:o".into(), LimitKind::Requests));
}

#[test]
fn keys_of_a_team_share_it_and_its_new_rules_hold_at_once() {
    let team = ScopeRecord { rpm: Some(2), ..ScopeRecord::default() };
    let (table, first) = hierarchy(record(), ScopeRecord::default(), team, ScopeRecord::default());
    let second = KeyRecord { scopes: vec!["team:t".to_owned()], ..KeyRecord::unlimited(Digest::from_bytes([4; 32])) };
    let second = table.insert(second).unwrap();
    admit(&first, demand(0, 0), NOW).unwrap().settle(actual(0, 30), NOW);
    let held = admit(&second, demand(0, 0), NOW).unwrap();
    assert_eq!(refused(&first, demand(0, 0)), ("team:t".into(), LimitKind::Requests));
    table.scopes.put(ScopeRecord {
        name: "team:t".into(),
        rpm: Some(9),
        max_budget: Some(100),
        spend: 30,
        spend_version: 1,
        ..ScopeRecord::default()
    });
    assert_eq!(refused(&first, demand(0, 71)), ("team:t".into(), LimitKind::Budget));
    // It was admitted before there was a budget: it holds none of it, and is charged all the same.
    held.settle(Actual { tokens: 0, nanos: 60, seq: 2 }, NOW);
    assert_eq!(table.scopes.usage("team:t"), Some((90, 0, 0)));
}

#[test]
fn a_scope_of_one_model_counts_its_calls_alone() {
    let sub = ScopeRecord { only_model: Some("gpt-4o".into()), rpm: Some(1), ..ScopeRecord::default() };
    let (table, key) = hierarchy(record(), sub, ScopeRecord::default(), ScopeRecord::default());
    let for_model = |models| admit(Payers { key: Some(&key), named: &[], models }, demand(0, 0), NOW);
    for_model(["mini", "mini"]).unwrap().settle(actual(0, 5), NOW);
    for_model(["fast", "gpt-4o"]).unwrap().settle(actual(0, 7), NOW);
    assert_eq!(for_model(["gpt-4o", "other"]).unwrap_err().scope.unwrap().record.name, "member:t/u");
    for_model(["mini", "mini"]).unwrap().settle(actual(0, 5), NOW);
    assert_eq!(usage(&table), [(7, 0, 0), (17, 0, 0), (17, 0, 0)]);
}

#[test]
fn what_a_request_names_counts_once_and_without_a_key_too() {
    let (table, key) = hierarchy(record(), ScopeRecord::default(), ScopeRecord::default(), ScopeRecord::default());
    let customer = table.scopes.put(ScopeRecord { name: "customer:c".into(), rpm: Some(2), ..ScopeRecord::default() });
    let named = [customer.clone(), table.scopes.place("team:t")];
    let payers = Payers { key: Some(&key), named: &named, models: ["m", "m"] };
    admit(payers, demand(0, 0), NOW).unwrap().settle(actual(0, 3), NOW);
    assert_eq!(table.scopes.usage("team:t"), Some((3, 0, 0)));
    let alone = Payers { key: None, ..payers };
    let held = admit(alone, demand(0, 0), NOW).unwrap();
    assert_eq!(held.rates().requests.unwrap().remaining, 0);
    held.settle(actual(0, 4), NOW);
    assert_eq!(admit(alone, demand(0, 0), NOW).unwrap_err().scope.unwrap().record.name, "customer:c");
    assert_eq!(customer.counters.usage(), (7, 0, 0));
}

#[test]
fn threads_under_one_team_never_spend_more_than_it_has() {
    let team = ScopeRecord {
        max_budget: Some(50_000),
        tpm: Some(1_000_000),
        max_parallel_requests: Some(7),
        ..ScopeRecord::default()
    };
    let (table, _) = hierarchy(record(), ScopeRecord::default(), team, ScopeRecord::default());
    let (table, spent) = (Arc::new(table), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..8_u8)
        .map(|number| {
            let (table, spent) = (table.clone(), spent.clone());
            thread::spawn(move || {
                let scopes = vec!["team:t".to_owned(), "org:o".to_owned()];
                let own = KeyRecord { scopes, ..KeyRecord::unlimited(Digest::from_bytes([number + 10; 32])) };
                let key = table.insert(own).unwrap();
                for call in 0..2_000_u64 {
                    let Ok(held) = admit(&key, demand(50, 40), NOW) else { continue };
                    let (spent_now, reserved, in_flight) = table.scopes.usage("team:t").unwrap();
                    assert!(spent_now + reserved <= 50_000 && in_flight <= 7);
                    if call % 5 == 0 {
                        drop(held);
                    } else {
                        spent.fetch_add(call % 41, Ordering::SeqCst);
                        held.settle(Actual { tokens: call % 50, nanos: call % 41, seq: call }, NOW);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let spent = spent.load(Ordering::SeqCst);
    assert_eq!(usage(&table), [(0, 0, 0), (spent, 0, 0), (spent, 0, 0)]);
}

#[test]
fn a_call_counts_since_the_latest_window_that_let_it_in() {
    let windowed = |ago: u64, left: u64| ScopeRecord {
        max_budget: Some(100),
        budget_window_start: Some(NOW.unix_ms - ago),
        budget_reset_at: Some(NOW.unix_ms + left),
        ..ScopeRecord::default()
    };
    let own = KeyRecord {
        max_budget: Some(100),
        budget_window_start: Some(NOW.unix_ms - 9_000),
        budget_reset_at: Some(NOW.unix_ms + 1_000),
        budget_duration_ms: Some(10_000),
        ..record()
    };
    let (_table, key) = hierarchy(own, ScopeRecord::default(), windowed(7_000, 3_000), windowed(8_000, 2_000));
    let since = |after: u64| {
        let now = Now { window_ms: NOW.window_ms + after, ..NOW };
        admit(&key, demand(0, 1), now).unwrap().since()
    };
    assert_eq!([since(0), since(999)], [NOW.unix_ms - 7_000; 2]);
    assert_eq!([since(1_000), since(2_500), since(3_000)], [1_000, 2_000, 3_000].map(|after| NOW.unix_ms + after));
    assert_eq!(admit(&self::key(record()), demand(0, 1), NOW).unwrap().since(), 0, "without a budget there is none");
}

#[test]
fn what_is_shared_is_wanted_at_every_level_and_a_refusal_leaves_nothing_behind() {
    let team =
        ScopeRecord { max_parallel_requests: Some(3), rpm: Some(9), max_budget: Some(100), ..ScopeRecord::default() };
    let own = KeyRecord { rpm: Some(5), tpm: Some(50), ..record() };
    let (_table, key) = hierarchy(own, ScopeRecord::default(), team, ScopeRecord::default());
    let quota = Quota::new(Arc::new(Events::new().unwrap()));
    let (wanted, whose) = wants(&key, demand(7, 20), &quota, NOW);
    let found: Vec<_> = wanted.iter().map(|want| (want.kind.name(), want.limit, want.units)).collect();
    assert_eq!(found, [("rpm", 5, 1), ("tpm", 50, 7), ("parallel", 3, 1), ("rpm", 9, 1), ("budget", 100, 20)]);
    let names: Vec<_> = whose.iter().map(|rules| rules.as_ref().map_or("", |rules| &rules.record.name)).collect();
    assert_eq!(names, ["", "", "team:t", "team:t", "team:t"]);

    assert!(wanted.iter().all(|want| want.when_gone.is_none()));
    let fresh = standing(&key, NOW);
    let held = admit(&key, demand(7, 20), NOW).unwrap();
    let refused = Refused { retry_after_ms: Some(700), remaining: 2, alone: None };
    let denied = held.refuse(&wanted[3], whose[3].clone(), refused);
    assert_eq!((denied.kind, denied.limit, denied.current), (LimitKind::Requests, 9, 7));
    assert_eq!((denied.retry_after_ms, &*denied.scope.unwrap().record.name), (Some(700), "team:t"));
    assert_eq!(denied.rates.requests.map(|state| (state.limit, state.remaining)), Some((9, 2)));
    assert_eq!(standing(&key, NOW), fresh);
    assert_eq!(key.state.usage(), (0, 0, 0));
}

#[test]
fn the_strictest_of_all_that_a_call_stands_under_chooses_for_every_limit() {
    let quota = Quota::new(Arc::new(Events::new().unwrap()));
    let chosen = |own: Option<WhenGone>, team: Option<WhenGone>, far: Option<WhenGone>| {
        let scope = |when_gone| ScopeRecord { when_gone, ..ScopeRecord::default() };
        let own = KeyRecord { rpm: Some(5), tpm: Some(50), when_gone: own, ..record() };
        // Only the key has limits: who has none has a say all the same.
        let (_table, key) = hierarchy(own, ScopeRecord::default(), scope(team), scope(far));
        let (wanted, _) = wants(&key, demand(7, 20), &quota, NOW);
        wanted.iter().map(|want| want.when_gone).collect::<Vec<_>>()
    };
    let (open, share, closed) = (Some(WhenGone::FailOpen), Some(WhenGone::LocalShare), Some(WhenGone::FailClosed));
    assert_eq!(chosen(None, None, None), [None, None]);
    assert_eq!(chosen(None, open, None), [open, open]);
    assert_eq!(chosen(open, share, None), [share, share]);
    assert_eq!(chosen(open, share, closed), [closed, closed]);
    assert_eq!(chosen(closed, open, open), [closed, closed]);
}

#[test]
fn a_name_that_a_call_gives_loosens_nothing() {
    let quota = Quota::new(Arc::new(Events::new().unwrap()));
    let chosen = |own: Option<WhenGone>, name: &str, theirs: Option<WhenGone>| {
        let none = ScopeRecord::default;
        let own = KeyRecord { rpm: Some(5), when_gone: own, ..record() };
        let (table, key) = hierarchy(own, none(), none(), none());
        let record = ScopeRecord { name: name.into(), rpm: Some(9), when_gone: theirs, ..none() };
        let payers = Payers { key: Some(&key), named: &[table.scopes.put(record)], models: ["m", "m"] };
        let (wanted, _) = wants(payers, demand(7, 20), &quota, NOW);
        assert_eq!(wanted.len(), 2);
        assert_eq!(wanted[0].when_gone, wanted[1].when_gone);
        wanted[0].when_gone
    };
    let (open, share, closed) = (Some(WhenGone::FailOpen), Some(WhenGone::LocalShare), Some(WhenGone::FailClosed));
    for name in ["customer:c", "tag:t", "model:customer:c/m", "model:tag:t/m"] {
        assert_eq!(chosen(None, name, open), None, "{name}");
        assert_eq!(chosen(None, name, share), None, "{name}");
        assert_eq!(chosen(None, name, closed), closed, "{name}");
        assert_eq!(chosen(open, name, share), share, "{name}");
        assert_eq!(chosen(closed, name, open), closed, "{name}");
    }
    assert_eq!(chosen(None, "user:u", open), open);
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

    #[test]
    fn the_books_of_all_levels_balance_after_any_sequence(
        limits in prop::collection::vec((1u64..40, 1u64..3_000, 1u64..3_000, 1u64..6), 4),
        calls in prop::collection::vec((0u64..900, 0u64..900, 0u64..900, 0u8..3), 1..80),
    ) {
        let scope = |(rpm, tpm, budget, parallel): (u64, u64, u64, u64)| ScopeRecord {
            rpm: Some(rpm), tpm: Some(tpm), max_budget: Some(budget), max_parallel_requests: Some(parallel), ..ScopeRecord::default()
        };
        let (rpm, tpm, budget, parallel) = limits[0];
        let own = KeyRecord { rpm: Some(rpm), tpm: Some(tpm), max_budget: Some(budget), max_parallel_requests: Some(parallel), ..record() };
        let (table, key) = hierarchy(own, scope(limits[1]), scope(limits[2]), scope(limits[3]));
        let mut held: Vec<(Reservation, Demand)> = Vec::new();
        let (mut requests, mut tokens, mut spent, mut reserved) = (0, 0, 0, 0);
        for (tokens_asked, nanos_asked, used, action) in calls {
            if action == 0 {
                let Some((reservation, asked)) = held.pop() else { continue };
                let used = actual(used.min(asked.tokens), used.min(asked.nanos));
                tokens -= asked.tokens - used.tokens;
                reserved -= asked.nanos;
                spent += used.nanos;
                reservation.settle(used, NOW);
            } else {
                let asked = demand(tokens_asked, nanos_asked);
                let fits = limits.iter().all(|(rpm, tpm, budget, parallel)| {
                    (held.len() as u64) < *parallel && requests < *rpm && tokens + asked.tokens <= *tpm
                        && spent < *budget && spent + reserved + asked.nanos <= *budget
                });
                let admitted = admit(&key, asked, NOW);
                prop_assert_eq!(admitted.is_ok(), fits);
                if let Ok(reservation) = admitted {
                    requests += 1;
                    tokens += asked.tokens;
                    reserved += asked.nanos;
                    held.push((reservation, asked));
                }
            }
            let expected = (spent, reserved, held.len() as u64);
            prop_assert_eq!(key.state.usage(), expected);
            prop_assert_eq!(usage(&table), [expected; 3]);
            let least = |pick: fn(&(u64, u64, u64, u64)) -> u64| limits.iter().map(pick).min().unwrap();
            let stands = standing(&key, NOW);
            prop_assert_eq!(stands.requests.unwrap().remaining, least(|limits| limits.0).saturating_sub(requests));
            prop_assert_eq!(stands.tokens.unwrap().remaining, least(|limits| limits.1).saturating_sub(tokens));
        }
    }
}

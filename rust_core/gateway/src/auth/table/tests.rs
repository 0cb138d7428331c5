use std::thread;

use super::*;
use crate::limits::{self, Actual, Demand, LimitKind, Now};

const TTL: u64 = 1_000;

/// A digest as uniform as a MAC: the table relies on that.
fn digest(n: u64) -> Digest {
    let mut bytes = [0; 32];
    let mut state = n;
    for byte in &mut bytes {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        *byte = ((mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 56) as u8;
    }
    Digest::from_bytes(bytes)
}

fn record(n: u64) -> KeyRecord {
    KeyRecord::unlimited(digest(n))
}

fn held(table: &KeyTable, n: u64) -> bool {
    table.usage(&digest(n)).is_some()
}

#[test]
fn a_digest_is_missed_then_known_or_unknown_for_a_while() {
    let table = KeyTable::new(10, TTL);
    assert!(matches!(table.lookup(&digest(1), 0), Lookup::Miss));
    table.insert_unknown(digest(1), 0);
    assert!(matches!(table.lookup(&digest(1), TTL - 1), Lookup::Unknown));
    assert!(matches!(table.lookup(&digest(1), TTL), Lookup::Miss));
    table.insert_unknown(digest(1), TTL);
    table.insert(record(1)).unwrap();
    assert!(matches!(table.lookup(&digest(1), TTL), Lookup::Hit(key) if key.digest == digest(1)));
    table.remove(&digest(1));
    assert!(matches!(table.lookup(&digest(1), TTL), Lookup::Miss));
    table.insert_unknown(digest(1), TTL);
    table.remove(&digest(1));
    assert!(matches!(table.lookup(&digest(1), TTL), Lookup::Miss));
    assert!(table.is_empty());
}

#[test]
fn a_new_version_keeps_the_counters() {
    let table = KeyTable::new(10, TTL);
    let now = Now { mono_ns: 5, unix_ms: 5, window_ms: 5 };
    let first = table.insert(KeyRecord { rpm: Some(2), max_budget: Some(100), ..record(1) }).unwrap();
    let call = limits::admit(&first, Demand { tokens: 0, nanos: 60 }, now).unwrap();
    let second = table.insert(KeyRecord { rpm: Some(1), max_budget: Some(100), ..record(1) }).unwrap();
    assert!(Arc::ptr_eq(&first.state, &second.state));
    assert_eq!(table.len(), 1);
    // One was used, and the new limit is one.
    let denied = limits::admit(&second, Demand::default(), now).unwrap_err();
    assert_eq!((denied.kind, denied.limit), (LimitKind::Requests, 1));
    call.settle(Actual { nanos: 50, seq: 1, ..Actual::default() }, now);
    assert_eq!(table.usage(&digest(1)), Some((50, 0, 0)));
    let third = table.insert(KeyRecord { max_budget: Some(100), ..record(1) }).unwrap();
    let denied = limits::admit(&third, Demand { tokens: 0, nanos: 51 }, now).unwrap_err();
    assert_eq!((denied.kind, denied.current), (LimitKind::Budget, 50));
}

#[test]
fn a_dropped_key_that_comes_back_finds_its_counters() {
    let table = KeyTable::new(10, TTL);
    let now = Now { mono_ns: 5, unix_ms: 5, window_ms: 5 };
    let limited = KeyRecord { rpm: Some(1), ..record(1) };
    let key = table.insert(limited.clone()).unwrap();
    let call = limits::admit(&key, Demand::default(), now).unwrap();
    table.remove(&digest(1));
    let key = table.insert(limited).unwrap();
    assert_eq!(key.state.usage().2, 1);
    assert!(limits::admit(&key, Demand::default(), now).is_err());
    drop(call);
    assert_eq!(key.state.usage().2, 0);
}

#[test]
fn a_record_that_does_not_compile_leaves_the_former_in_force() {
    let table = KeyTable::new(10, TTL);
    table.insert(KeyRecord { blocked: true, ..record(1) }).unwrap();
    assert!(table.insert(KeyRecord { cidrs: vec!["nowhere".into()], ..record(1) }).is_err());
    assert!(matches!(table.lookup(&digest(1), 0), Lookup::Hit(key) if key.record.blocked));
}

#[test]
fn eviction_gives_used_keys_a_second_chance() {
    let table = KeyTable::new(4, TTL);
    for n in 0..4 {
        table.insert(record(n)).unwrap();
    }
    // The first sweep takes every chance away and evicts the first key.
    table.insert(record(4)).unwrap();
    assert_eq!((table.len(), held(&table, 0)), (4, false));
    // 1 is used again and is passed over for 2, which is not.
    assert!(matches!(table.lookup(&digest(1), 0), Lookup::Hit(_)));
    table.insert(record(5)).unwrap();
    assert!(held(&table, 1) && !held(&table, 2));
}

#[test]
fn keys_in_use_are_not_evicted_even_if_the_table_must_grow() {
    let table = KeyTable::new(4, TTL);
    let now = Now { mono_ns: 5, unix_ms: 5, window_ms: 5 };
    let calls: Vec<_> =
        (0..6).map(|n| limits::admit(&table.insert(record(n)).unwrap(), Demand::default(), now).unwrap()).collect();
    assert_eq!(table.len(), 6);
    let arrived = table.insert(record(6)).unwrap();
    table.insert(record(7)).unwrap();
    assert!((0..7).all(|n| held(&table, n)), "held by calls, and 6 by one that was not admitted yet");
    drop(calls);
    drop(arrived);
    table.insert(record(8)).unwrap();
    assert_eq!(table.len(), 8, "an idle key made room");
}

#[test]
fn an_evicted_key_that_comes_back_finds_its_counters() {
    let table = KeyTable::new(1, TTL);
    let now = Now { mono_ns: 5, unix_ms: 5, window_ms: 5 };
    let limited = KeyRecord { rpm: Some(1), ..record(1) };
    drop(limits::admit(&table.insert(limited.clone()).unwrap(), Demand::default(), now).unwrap());
    table.insert(record(2)).unwrap();
    assert!(!held(&table, 1));
    assert!(limits::admit(&table.insert(limited).unwrap(), Demand::default(), now).is_err());
}

#[test]
fn capacity_and_memory_of_unknown_keys_are_bounded() {
    let table = KeyTable::new(5_000, u64::MAX);
    for n in 0..40_000 {
        table.insert(record(n)).unwrap();
        table.insert_unknown(digest(n + 1_000_000), 0);
    }
    assert!(table.len() <= 5_000 && table.len() > 4_500, "{}", table.len());
    let unknown = (0..40_000).filter(|n| matches!(table.lookup(&digest(n + 1_000_000), 1), Lookup::Unknown)).count();
    assert!(unknown <= NEGATIVES && unknown > NEGATIVES * 9 / 10, "{unknown}");
    assert!(matches!(table.lookup(&digest(1_039_999), 1), Lookup::Unknown), "the latest is remembered");
    let parked: usize = table.shards.iter().map(|shard| shard.read().unwrap().parked.len()).sum();
    assert!(parked <= PARKED);
}

#[test]
fn a_ring_survives_removals_and_returns() {
    let mut ring: Ring<Digest, _, ByDigest> = Ring::new(8);
    for round in 0..1_000_u64 {
        let n = round * 7 % 13;
        if round % 3 == 0 {
            ring.remove(&digest(n));
        } else {
            ring.insert(digest(n), round);
            assert_eq!(ring.get(&digest(n)), Some(&round));
        }
        assert!(ring.len() <= 8);
    }
}

#[test]
fn threads_agree_on_one_set_of_counters_per_key() {
    let table = Arc::new(KeyTable::new(1_000, TTL));
    let now = Now { mono_ns: 5, unix_ms: 5, window_ms: 5 };
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let table = table.clone();
            thread::spawn(move || {
                let mut admitted = 0_u64;
                for round in 0..2_000_u64 {
                    let n = round % 10;
                    let key = match table.lookup(&digest(n), 0) {
                        Lookup::Hit(key) => key,
                        _ => table.insert(KeyRecord { rpm: Some(50), ..record(n) }).unwrap(),
                    };
                    if limits::admit(&key, Demand::default(), now).is_ok() {
                        admitted += 1;
                    }
                    if round % 100 == 0 {
                        table.remove(&digest(n));
                    }
                    if round % 7 == 0 {
                        table.insert(KeyRecord { rpm: Some(50), ..record(n) }).unwrap();
                    }
                }
                admitted
            })
        })
        .collect();
    let admitted: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(admitted, 500, "10 keys of 50 each, however often they were dropped and put back");
}

#[test]
fn a_key_stands_under_its_scopes_whichever_came_first() {
    let table = KeyTable::new(10, TTL);
    let now = Now { mono_ns: 5, unix_ms: 5, window_ms: 5 };
    let scope = |name: &str, rpm| super::super::ScopeRecord { name: name.into(), rpm: Some(rpm), ..Default::default() };
    table.scopes.put(scope("user:u", 1));
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let key = table.insert(KeyRecord { scopes: named(&["team:t", "user:u", "team:t"]), ..record(1) }).unwrap();
    assert_eq!(key.scopes.len(), 2);
    limits::admit(&key, Demand::default(), now).unwrap();
    let denied = limits::admit(&key, Demand::default(), now).unwrap_err();
    assert_eq!(denied.scope.unwrap().record.name, "user:u");
    table.scopes.put(scope("team:t", 0));
    let denied = limits::admit(&key, Demand::default(), now).unwrap_err();
    assert_eq!(denied.scope.unwrap().record.name, "team:t", "near to far, and known a moment later");
    // Another key of the team finds the same counters.
    table.scopes.put(scope("team:t", 1));
    let other = table.insert(KeyRecord { scopes: named(&["team:t"]), ..record(2) }).unwrap();
    limits::admit(&other, Demand::default(), now).unwrap();
    assert_eq!(limits::admit(&key, Demand::default(), now).unwrap_err().scope.unwrap().record.name, "team:t");
}

#[test]
fn a_record_of_an_earlier_revision_changes_nothing() {
    let table = KeyTable::new(10, TTL);
    let at = |rpm, revision| KeyRecord { rpm: Some(rpm), revision, ..record(1) };
    table.insert(at(1, 5)).unwrap();
    assert_eq!(table.insert(at(2, 4)).unwrap().record.rpm, Some(1));
    assert_eq!(table.insert(at(3, 5)).unwrap().record.rpm, Some(3));
    assert_eq!(table.insert(at(4, 0)).unwrap().record.rpm, Some(4));
}

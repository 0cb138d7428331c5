//! A fake control plane that answers late, twice as late, with refusals or not at all, and keeps books: no scope uses more
//! than it was granted within the time to live of the grants, and every unit is used, returned, held or still there.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::Deserialize;
use tokio::sync::oneshot::error::TryRecvError;

use super::quota::{Taking, Want};
use super::*;
use crate::hooks::Events;
use crate::limits::WhenGone;

const MS: u64 = 1_000_000;
const TTL_MS: u64 = 500;

#[derive(Debug, Deserialize)]
struct Ask {
    scope: String,
    kind: String,
    limit: u64,
    want: u64,
    need: u64,
    tag: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Asks {
    asks: Vec<Ask>,
}

#[derive(Debug, Deserialize)]
struct Returned {
    scope: String,
    kind: String,
    units: u64,
    lease: u64,
    tag: Option<String>,
}

/// One lease as the control plane knows it.
#[derive(Debug, Default, Clone, Copy)]
struct Lease {
    granted: u64,
    back: u64,
    expires_ns: u64,
}

struct Desk {
    events: Arc<Events>,
    quota: Quota,
    asked: Vec<(u64, u64, Asks)>,
    leases: BTreeMap<u64, Lease>,
    slots: u64,
    next: u64,
}

impl Desk {
    fn new() -> Self {
        let events = Arc::new(Events::new().unwrap());
        let quota = Quota::new(Arc::clone(&events));
        Self { events, quota, asked: Vec::new(), leases: BTreeMap::new(), slots: 0, next: 1 }
    }

    /// Reads what came up.
    fn listen(&mut self, now_ns: u64) {
        for event in self.events.drain() {
            if event.kind == "hook.quota" {
                self.asked.push((event.id, now_ns, serde_json::from_slice(&event.payload).unwrap()));
                continue;
            }
            assert_eq!(event.kind, "quota.return");
            let back: Returned = serde_json::from_slice(&event.payload).unwrap();
            assert_eq!((back.scope.as_str(), back.tag.as_deref()), ("team:t", Some("o")));
            assert!(back.units > 0);
            if back.kind == "parallel" {
                self.slots = self.slots.checked_sub(back.units).unwrap();
                continue;
            }
            let lease = self.leases.get_mut(&back.lease).unwrap();
            lease.back += back.units;
            assert!(lease.back <= lease.granted, "returned more than there was");
        }
    }

    /// Answers the oldest question: 0 refuses, 1 gives the need, 2 what is wanted, 3 nothing is known.
    fn answer(&mut self, how: u8, retry_ms: u64, now_ns: u64) {
        if self.asked.is_empty() {
            return;
        }
        let (id, asked_ns, Asks { asks }) = self.asked.remove(0);
        let grants: Vec<_> = asks
            .iter()
            .map(|ask| {
                assert!(ask.scope == "team:t" && ask.tag.as_deref() == Some("o") && ask.limit > 0);
                assert!(ask.need > 0 && ask.want >= ask.need);
                let granted = [0, ask.need, ask.want].get(usize::from(how)).copied().unwrap_or(0);
                if granted == 0 {
                    return serde_json::json!({"granted": 0, "retry_after_ms": retry_ms, "refused": true});
                }
                if ask.kind == "parallel" {
                    self.slots += granted;
                    return serde_json::json!({"granted": granted, "lease": 0});
                }
                self.next += 1;
                let expires_ns = asked_ns + TTL_MS * MS;
                self.leases.insert(self.next, Lease { granted, back: 0, expires_ns });
                serde_json::json!({"granted": granted, "ttl_ms": TTL_MS, "lease": self.next})
            })
            .collect();
        let answer =
            if how == 3 { Vec::new() } else { serde_json::to_vec(&serde_json::json!({ "grants": grants })).unwrap() };
        assert_eq!(self.quota.resolve(id, &answer, now_ns), Ok(true));
        assert_eq!(self.quota.resolve(id, &answer, now_ns), Ok(false), "an answer counts once");
    }
}

fn tag() -> Option<Arc<str>> {
    Some("o".into())
}

fn want(leases: &Arc<Leases>, kind: Kind, limit: u64, units: u64) -> Want {
    Want { leases: Arc::clone(leases), kind, limit, units, terms: None, when_gone: None }
}

fn lacking(taking: Taking) -> (Vec<Share>, tokio::sync::oneshot::Receiver<Answer>) {
    match taking {
        Taking::Asked(shares, answer) => (shares, answer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_lacking_is_asked_for_at_once_and_what_is_over_goes_back() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 100, 1), want(&leases, Kind::Tokens, 1_000, 50)];
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants, Vec::new(), tag, 0));
    desk.listen(0);
    assert_eq!(desk.asked.len(), 1, "one question for all levels");
    assert_eq!(
        desk.asked[0].2.asks.iter().map(|ask| (ask.kind.as_str(), ask.need)).collect::<Vec<_>>(),
        [("rpm", 1), ("tpm", 50)]
    );
    desk.answer(2, 0, MS);
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    let Taking::Done(mut shares) = desk.quota.take(&wants, shares, tag, 2 * MS) else { panic!() };
    assert_eq!(shares.iter().map(Share::units).collect::<Vec<_>>(), [1, 50]);
    shares[0].use_up();
    shares.remove(1).settle(20);
    drop(shares);
    // The lease of requests was for more than one; of the tokens 30 were not used.
    desk.quota.sweep(3 * MS);
    desk.listen(3 * MS);
    assert!(desk.leases.values().all(|lease| lease.back == 0), "to be used for half a second");
    desk.quota.sweep(TTL_MS * MS);
    desk.listen(TTL_MS * MS);
    let used: Vec<u64> = desk.leases.values().map(|lease| lease.granted - lease.back).collect();
    assert_eq!(used, [1, 20]);
    assert!(desk.quota.list.take().is_empty(), "nothing is left to look after");
}

#[test]
fn a_refusal_is_believed_until_it_is_over_and_only_for_as_much() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let tokens = |units| [want(&leases, Kind::Tokens, 1_000, units)];
    let (_shares, mut answer) = lacking(desk.quota.take(&tokens(500), Vec::new(), tag, 0));
    desk.listen(0);
    desk.answer(0, 300, MS);
    assert!(matches!(answer.try_recv(), Ok(Answer::Refused { at: 0, refused }) if refused.retry_after_ms == Some(300)));
    let again = desk.quota.take(&tokens(600), Vec::new(), tag, 101 * MS);
    assert!(matches!(again, Taking::Refused { at: 0, refused } if refused.retry_after_ms == Some(200)), "{again:?}");
    assert!(matches!(desk.quota.take(&tokens(499), Vec::new(), tag, 101 * MS), Taking::Asked(..)));
    assert!(matches!(desk.quota.take(&tokens(600), Vec::new(), tag, 301 * MS), Taking::Asked(..)));
}

#[test]
fn a_refusal_of_more_does_not_prolong_one_of_less() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let tokens = |units| [want(&leases, Kind::Tokens, 1_000, units)];
    let _small = lacking(desk.quota.take(&tokens(10), Vec::new(), tag, 0));
    let _large = lacking(desk.quota.take(&tokens(900), Vec::new(), tag, 0));
    desk.listen(0);
    desk.answer(0, 300, MS);
    desk.answer(0, 9_000, MS);
    assert!(matches!(desk.quota.take(&tokens(10), Vec::new(), tag, 300 * MS), Taking::Refused { .. }));
    assert!(matches!(desk.quota.take(&tokens(10), Vec::new(), tag, 302 * MS), Taking::Asked(..)));
}

#[test]
fn a_grant_that_comes_after_its_call_has_gone_is_given_back() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Parallel, 5, 1), want(&leases, Kind::Requests, 100, 1)];
    drop(lacking(desk.quota.take(&wants, Vec::new(), tag, 0)));
    desk.listen(0);
    desk.answer(1, 0, 10 * MS);
    assert_eq!(desk.slots, 1);
    (0..20).for_each(|tick| desk.quota.sweep((20 + 100 * tick) * MS));
    desk.listen(0);
    assert_eq!(desk.slots, 0);
    assert!(desk.leases.values().all(|lease| lease.back == lease.granted));
}

#[test]
fn a_grant_that_was_too_long_on_its_way_is_not_used() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 100, 1)];
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants, Vec::new(), tag, 0));
    desk.listen(0);
    desk.answer(1, 0, 1_500 * MS);
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    let (_shares, _answer) = lacking(desk.quota.take(&wants, shares, tag, 1_500 * MS));
    desk.quota.sweep(1_501 * MS);
    desk.listen(1_501 * MS);
    assert_eq!(desk.leases.values().map(|lease| lease.back).sum::<u64>(), 1);
}

#[test]
fn limits_whose_answers_come_late_are_asked_for_together() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 100, 1), want(&leases, Kind::Tokens, 1_000, 50)];
    let asked = |desk: &Desk| desk.asked[0].2.asks.iter().map(|ask| (ask.kind.clone(), ask.need)).collect::<Vec<_>>();
    let both = [("rpm".to_owned(), 1), ("tpm".to_owned(), 50)];
    // One request is there, and expires while the tokens come.
    drop(lacking(desk.quota.take(&wants[..1], Vec::new(), tag, 0)));
    desk.listen(0);
    desk.answer(1, 0, MS);
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants, Vec::new(), tag, 200 * MS));
    desk.listen(200 * MS);
    assert_eq!(asked(&desk), both[1..]);
    desk.answer(1, 0, 600 * MS);
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    // Asked for alone, it would come when the tokens have expired.
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants, shares, tag, 600 * MS));
    desk.listen(600 * MS);
    assert!(desk.leases.values().all(|lease| lease.back == lease.granted), "before more is asked for");
    let mut again = asked(&desk);
    again.sort();
    assert_eq!(again, both, "{again:?}");
    desk.answer(2, 0, 1_000 * MS);
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    let Taking::Done(shares) = desk.quota.take(&wants, shares, tag, 1_000 * MS) else { panic!() };
    // Given back, both are good for a tenth of a second, and answers are known to take four.
    drop(shares);
    let more = [want(&leases, Kind::Requests, 100, 1), want(&leases, Kind::Tokens, 1_000, 60)];
    let (_shares, _answer) = lacking(desk.quota.take(&more, Vec::new(), tag, 1_050 * MS));
    desk.listen(1_050 * MS);
    assert_eq!(asked(&desk).iter().map(|(_, need)| need).sum::<u64>(), 61);
}

#[test]
fn a_steady_rate_waits_for_nobody_and_asks_seldom() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 100_000, 1)];
    let (mut waited, mut asked) = (0, 0);
    // A thousand calls a second for five of them; answers take 2 ms.
    for ms in 0..5_000 {
        let now_ns = ms * MS;
        match desk.quota.take(&wants, Vec::new(), tag, now_ns) {
            Taking::Done(mut shares) => shares[0].use_up(),
            Taking::Asked(shares, _) => {
                waited += 1;
                drop(shares);
            }
            other => panic!("{other:?}"),
        }
        desk.listen(now_ns);
        if let Some((_, at, _)) = desk.asked.first()
            && at + 2 * MS <= now_ns
        {
            asked += 1;
            desk.answer(2, 0, now_ns);
        }
        if ms % 100 == 0 {
            desk.quota.sweep(now_ns);
        }
    }
    assert!(waited < 30, "{waited} waited");
    assert!(asked < 100, "{asked} questions for 5,000 calls");
}

#[test]
fn what_is_used_beyond_the_grant_is_made_up_for() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let tokens = [want(&leases, Kind::Tokens, 1_000, 100)];
    let (mut shares, mut answer) = lacking(desk.quota.take(&tokens, Vec::new(), tag, 0));
    desk.listen(0);
    desk.answer(1, 0, 0);
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    shares.remove(0).settle(130);
    let _lacking = lacking(desk.quota.take(&tokens, Vec::new(), tag, MS));
    desk.listen(MS);
    assert_eq!(desk.asked[0].2.asks[0].need, 130);
    // Each of those that ask: were the one refused that carries it, the others would go on without.
    let _also = lacking(desk.quota.take(&tokens, Vec::new(), tag, MS));
    desk.listen(MS);
    assert_eq!(desk.asked.pop().unwrap().2.asks[0].need, 130);
    // Nor does one go on that needs none itself.
    let none = [want(&leases, Kind::Tokens, 1_000, 0)];
    let (shares, mut answer) = lacking(desk.quota.take(&none, Vec::new(), tag, MS));
    desk.listen(MS);
    assert_eq!(desk.asked[1].2.asks[0].need, 30);
    desk.asked.remove(0);
    desk.answer(1, 0, MS);
    assert!(matches!(answer.try_recv(), Ok(Answer::Granted(_))));
    assert!(matches!(desk.quota.take(&none, shares, tag, MS), Taking::Done(_)));
}

#[test]
fn slots_that_are_idle_go_back_and_used_ones_stay() {
    let mut desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Parallel, 5, 1)];
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants, Vec::new(), tag, 0));
    desk.listen(0);
    desk.answer(1, 0, 0);
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    (0..30).for_each(|tick| desk.quota.sweep(100 * tick * MS));
    desk.listen(0);
    assert_eq!(desk.slots, 1);
    drop(shares);
    // The next call finds it, and a while later it is everybody's.
    let Taking::Done(shares) = desk.quota.take(&wants, Vec::new(), tag, 3_000 * MS) else { panic!() };
    drop(shares);
    (31..34).for_each(|tick| desk.quota.sweep(100 * tick * MS));
    desk.listen(0);
    assert_eq!(desk.slots, 0);
    assert!(matches!(desk.quota.take(&wants, Vec::new(), tag, 3_400 * MS), Taking::Asked(..)));
}

#[test]
fn an_answer_that_is_none_frees_the_call_at_once() {
    let desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 5, 1)];
    for (answer, is_error) in [(&b""[..], false), (b"{", true), (b"{\"grants\":[]}", true)] {
        let (_shares, mut receiver) = lacking(desk.quota.take(&wants, Vec::new(), tag, 0));
        let id = desk.events.drain().pop().unwrap().id;
        assert_eq!(desk.quota.resolve(id, answer, 0).is_err(), is_error);
        assert!(matches!(receiver.try_recv(), Ok(Answer::Failed)));
    }
}

#[test]
fn what_is_left_for_everybody_is_told() {
    let desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 100, 1)];
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants, Vec::new(), tag, MS));
    assert_eq!(shares[0].left(MS), None);
    let id = desk.events.drain().pop().unwrap().id;
    let grants = br#"{"grants":[{"granted":3,"ttl_ms":500,"remaining":40,"lease":1}]}"#;
    assert_eq!(desk.quota.resolve(id, grants, MS), Ok(true));
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    assert_eq!((shares[0].units(), shares[0].left(MS)), (1, Some(42)));
    assert_eq!(shares[0].left(60_001 * MS), None, "nobody knows any more");
}

/// What calls use, by lease.
#[derive(Default)]
struct Books {
    used: BTreeMap<u64, u64>,
    running: Vec<Vec<Share>>,
}

impl Books {
    fn admit(&mut self, desk: &Desk, wants: [Want; 3], had: Vec<Share>, now_ns: u64, waiting: &mut Vec<Waiting>) {
        match desk.quota.take(&wants, had, tag, now_ns) {
            Taking::Done(mut shares) => {
                assert!(shares.iter().zip(&wants).all(|(share, want)| share.units() >= want.units));
                for part in shares[1..].iter().flat_map(|share| &share.parts) {
                    assert!(desk.leases[&part.lease].expires_ns > now_ns, "used what was not ours any more");
                }
                shares[1].parts.iter().for_each(|part| self.uses(part.lease, part.units));
                shares[1].use_up();
                self.running.push(shares);
            }
            Taking::Asked(shares, answer) => waiting.push(Waiting { wants, shares, answer }),
            Taking::Refused { .. } | Taking::Overloaded => {}
        }
    }

    fn uses(&mut self, lease: u64, units: u64) {
        *self.used.entry(lease).or_default() += units;
    }

    /// A call ends that used up to `most` of its tokens.
    fn settle(&mut self, which: usize, most: u64) {
        let mut shares = self.running.remove(which % self.running.len());
        let tokens = shares.remove(2);
        let mut used = most.min(tokens.units());
        tokens.parts.iter().for_each(|part| {
            let of_this = used.min(part.units);
            self.uses(part.lease, of_this);
            used -= of_this;
        });
        let most = most.min(tokens.units());
        tokens.settle(most);
    }
}

struct Waiting {
    wants: [Want; 3],
    shares: Vec<Share>,
    answer: tokio::sync::oneshot::Receiver<Answer>,
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261121), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_more_is_used_than_was_granted_and_nothing_is_lost(
        steps in prop::collection::vec((0u8..10, 1u64..120, 0u8..4, 1u64..300), 1..200),
    ) {
        let mut desk = Desk::new();
        let leases = desk.quota.leases("team:t".into());
        let mut now_ns = MS;
        let mut books = Books::default();
        let mut waiting: Vec<Waiting> = Vec::new();
        let end = (0..80).map(|_| (9, 120, 0, 0));
        for (index, (action, ms, how, amount)) in steps.iter().copied().chain(end).enumerate() {
            let ending = index >= steps.len();
            now_ns += if action == 9 { ms * MS } else { ms * MS / 20 };
            desk.listen(now_ns);
            match action {
                // A call comes.
                0..=3 if !ending => {
                    let wants = [
                        want(&leases, Kind::Parallel, 50, 1),
                        want(&leases, Kind::Requests, 1_000, 1),
                        want(&leases, Kind::Tokens, 100_000, amount),
                    ];
                    books.admit(&desk, wants, Vec::new(), now_ns, &mut waiting);
                }
                4 | 5 => desk.answer(how, amount * 10, now_ns),
                // A call ends, having used more or less than it took.
                6 if !books.running.is_empty() => books.settle(usize::from(how), amount),
                // A client goes away.
                7 if !waiting.is_empty() => drop(waiting.remove(usize::from(how) % waiting.len())),
                8 => drop(books.running.pop()),
                _ => desk.quota.sweep(now_ns),
            }
            let mut at = 0;
            while at < waiting.len() {
                match waiting[at].answer.try_recv() {
                    Err(TryRecvError::Empty) => at += 1,
                    Ok(Answer::Granted(granted)) => {
                        let Waiting { wants, mut shares, .. } = waiting.remove(at);
                        Quota::join(&mut shares, granted);
                        books.admit(&desk, wants, shares, now_ns, &mut waiting);
                    }
                    Ok(_) | Err(TryRecvError::Closed) => drop(waiting.remove(at)),
                }
            }
            if ending {
                waiting.clear();
                books.running.clear();
                desk.listen(now_ns);
                while !desk.asked.is_empty() {
                    desk.answer(2, 0, now_ns);
                    desk.listen(now_ns);
                }
            }
        }
        desk.listen(now_ns);
        // Of every lease each unit was used or is back; at rest nothing is held.
        for (name, lease) in &desk.leases {
            prop_assert_eq!(lease.granted - lease.back, books.used.get(name).copied().unwrap_or(0));
        }
        prop_assert_eq!(desk.slots, 0);
        prop_assert!(desk.quota.list.take().is_empty());
    }
}

#[test]
fn money_is_asked_for_with_its_terms_and_goes_back_when_it_was_told() {
    let desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    desk.quota.open_account(&leases);
    let terms = Terms { spent: 5, version: 6, until: 7, ended: 0, since: 3, resets_in: Some(1) };
    let wants = |units| [Want { terms: Some(terms), ..want(&leases, Kind::Budget, 1_000, units) }];
    let (mut shares, mut answer) = lacking(desk.quota.take(&wants(100), Vec::new(), tag, MS));
    let event = desk.events.drain().pop().unwrap();
    let asked: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
    let expected = serde_json::json!({"asks": [{
        "scope": "team:t", "kind": "budget", "limit": 1_000, "want": 100, "need": 100, "tag": "o",
        "spent": 5, "version": 6, "until": 7, "ended": 0,
    }]});
    assert_eq!(asked, expected);
    let grants = br#"{"grants":[{"granted":120,"ttl_ms":60000,"remaining":9}]}"#;
    assert_eq!(desk.quota.resolve(event.id, grants, 2 * MS), Ok(true));
    let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
    Quota::join(&mut shares, granted);
    let Taking::Done(mut shares) = desk.quota.take(&wants(100), shares, tag, 3 * MS) else { panic!() };
    assert_eq!(shares[0].units(), 100);
    shares.remove(0).spend(130, 8);
    let said = |desk: &Desk| -> Vec<(&'static str, u64)> {
        let of = |event: crate::hooks::Event| {
            (event.kind, serde_json::from_slice::<Returned>(&event.payload).unwrap().units)
        };
        desk.events.drain().into_iter().map(of).collect()
    };
    desk.quota.sweep(4 * MS);
    assert_eq!(said(&desk), [("quota.overdrawn", 10)]);
    let told = |scope: &str, seq| desk.quota.told(&[Told { scope: scope.into(), seq }]);
    assert_eq!((told("team:other", 8), told("team:t", 7), told("team:t", 8)), (vec![0], vec![0], vec![130]));
    // Whoever forgot the payer and meets it again has the same account.
    let again = desk.quota.leases("team:t".into());
    desk.quota.open_account(&again);
    assert!(Arc::ptr_eq(again.money.get().unwrap(), leases.money.get().unwrap()));
    desk.quota.sweep(200 * MS);
    assert!(said(&desk).is_empty() && desk.quota.list.take().is_empty());
}

#[test]
fn money_is_of_the_window_that_it_was_granted_from_whatever_the_time_is_here() {
    let desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    desk.quota.open_account(&leases);
    let terms = Terms { spent: 5, version: 6, until: 7, ended: 0, since: 3, resets_in: Some(1) };
    let wants = |units| [Want { terms: Some(terms), ..want(&leases, Kind::Budget, 1_000, units) }];
    let draw = |units, grants: &[u8]| {
        let (mut shares, mut answer) = lacking(desk.quota.take(&wants(units), Vec::new(), tag, MS));
        assert_eq!(desk.quota.resolve(desk.events.drain().pop().unwrap().id, grants, 2 * MS), Ok(true));
        let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
        Quota::join(&mut shares, granted);
        shares.remove(0)
    };
    assert_eq!(draw(100, br#"{"grants":[{"granted":100,"ttl_ms":60000,"until":7}]}"#).since(), 3);
    // Others have begun the next one, and this gateway has not heard of it.
    assert_eq!(draw(200, br#"{"grants":[{"granted":250,"ttl_ms":60000,"until":12}]}"#).since(), 7);
    let Taking::Done(shares) = desk.quota.take(&wants(50), Vec::new(), tag, 3 * MS) else { panic!("it is there") };
    assert_eq!(shares[0].since(), 7, "what is left of it is of the same window");
}

#[test]
fn what_was_granted_without_redis_is_for_the_call_that_asked_and_no_other() {
    for (kind, name) in [(Kind::Requests, "rpm"), (Kind::Tokens, "tpm"), (Kind::Parallel, "parallel")] {
        let desk = Desk::new();
        let leases = desk.quota.leases("team:t".into());
        let wants = |when_gone| [Want { when_gone, ..want(&leases, kind, 1_000, 3) }];
        let (open, closed) = (wants(Some(WhenGone::FailOpen)), wants(Some(WhenGone::FailClosed)));
        let (mut shares, mut answer) = lacking(desk.quota.take(&open, Vec::new(), tag, 0));
        let id = desk.events.drain().pop().unwrap().id;
        // More than it needs, as the answer to a question ahead of time is.
        let grants = br#"{"grants":[{"granted":4,"ttl_ms":1000,"alone":true}]}"#;
        assert_eq!(desk.quota.resolve(id, grants, 0), Ok(true));
        let mut back = 0;
        let mut asks_after_giving_back = |units: u64, now_ns| {
            drop(lacking(desk.quota.take(&closed, Vec::new(), tag, now_ns)));
            let mut events = desk.events.drain();
            assert_eq!(events.pop().unwrap().kind, "hook.quota", "what is free again is said before more is asked for");
            for event in events {
                let part: Returned = serde_json::from_slice(&event.payload).unwrap();
                assert!(event.kind == "quota.return" && part.kind == name && part.tag.as_deref() == Some("o"));
                back += part.units;
            }
            assert_eq!(back, units);
        };
        asks_after_giving_back(1, MS);
        let Ok(Answer::Granted(granted)) = answer.try_recv() else { panic!() };
        Quota::join(&mut shares, granted);
        assert_eq!(shares[0].units(), 3);
        drop(shares);
        // What the call did not use, or has no longer, is nobody else's either.
        asks_after_giving_back(4, 2 * MS);
        desk.quota.sweep(3 * MS);
        assert!(desk.events.drain().is_empty(), "nothing goes back twice");
        assert!(desk.quota.list.take().is_empty());
    }
}

#[test]
fn a_refusal_without_redis_is_believed_by_those_who_chose_the_same() {
    for kind in [Kind::Requests, Kind::Parallel] {
        let desk = Desk::new();
        let leases = desk.quota.leases("team:t".into());
        let take = |when_gone| {
            let wants = [Want { when_gone, ..want(&leases, kind, 1_000, 1) }];
            desk.quota.take(&wants, Vec::new(), tag, MS)
        };
        let refuse = |when_gone, alone: bool| {
            drop(lacking(take(when_gone)));
            let grants =
                format!(r#"{{"grants":[{{"granted":0,"refused":true,"retry_after_ms":1000,"alone":{alone}}}]}}"#);
            assert_eq!(desk.quota.resolve(desk.events.drain().pop().unwrap().id, grants.as_bytes(), MS), Ok(true));
        };
        refuse(Some(WhenGone::FailClosed), true);
        assert!(matches!(take(Some(WhenGone::FailClosed)), Taking::Refused { at: 0, .. }));
        drop(lacking(take(None)));
        drop(desk.events.drain());
        refuse(Some(WhenGone::FailOpen), false);
        // What Redis said is so for everybody.
        for choice in [None, Some(WhenGone::FailClosed), Some(WhenGone::FailOpen)] {
            assert!(matches!(take(choice), Taking::Refused { at: 0, .. }));
        }
    }
}

#[test]
fn a_budget_that_nobody_knows_is_no_refusal() {
    let desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Requests, 5, 1), want(&leases, Kind::Budget, 5, 1)];
    let (_shares, mut receiver) = lacking(desk.quota.take(&wants, Vec::new(), tag, 0));
    let id = desk.events.drain().pop().unwrap().id;
    let grants = br#"{"grants":[{"granted":0},{"granted":0,"refused":true,"unknown":true,"retry_after_ms":1000}]}"#;
    assert_eq!(desk.quota.resolve(id, grants, 0), Ok(true));
    assert!(matches!(receiver.try_recv(), Ok(Answer::Failed)));
    drop(lacking(desk.quota.take(&wants, Vec::new(), tag, MS)));
}

#[test]
fn money_that_is_idle_goes_back_and_a_call_that_never_was_frees_its_own() {
    let desk = Desk::new();
    let leases = desk.quota.leases("team:t".into());
    let wants = [want(&leases, Kind::Budget, 1_000, 100)];
    drop(lacking(desk.quota.take(&wants, Vec::new(), tag, 0)));
    let id = desk.events.drain().pop().unwrap().id;
    let grants = br#"{"grants":[{"granted":100,"ttl_ms":60000,"remaining":0}]}"#;
    assert_eq!(desk.quota.resolve(id, grants, 0), Ok(true));
    let Taking::Done(shares) = desk.quota.take(&wants, Vec::new(), tag, MS) else { panic!("it waits for somebody") };
    drop(shares);
    (1..=3).for_each(|tick| desk.quota.sweep(tick * 100 * MS));
    let back: Vec<_> = desk.events.drain().iter().map(|event| (event.kind, event.payload.clone())).collect();
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!(serde_json::from_slice::<Returned>(&back[0].1).unwrap().units, 100);
}

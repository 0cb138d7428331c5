//! Questions to the control plane about shared limits, its answers, and what goes back to it.
//!
//! Apart from the leases because these are the shapes of the boundary (`penstock.quota.models`) and who waits for what. A
//! call asks for everything that it lacks in one event, which is answered as a whole: all of it, or nothing. Leases that
//! are asked for ahead of time have nobody waiting. An answer whose call has gone goes back by the drop of its shares.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::money::Money;
use super::{Found, Kind, Leases, List, Part, Refused, Return, Share, Terms};
use crate::hooks::{Event, Events};
use crate::limits::WhenGone;

/// Questions that may be under way at once.
const MOST_ASKED: usize = 16_384;
/// One that is older was lost: whoever asked has been refused long ago, and an answer would come late.
const LOST_NS: u64 = 60_000_000_000;
/// No answer of Redis is waited for longer.
const LONGEST_ANSWER_NS: u64 = 500_000_000;

/// What a call needs of one shared limit.
#[derive(Debug)]
pub struct Want {
    /// Of whom.
    pub leases: Arc<Leases>,
    /// Which limit.
    pub kind: Kind,
    /// The limit.
    pub limit: u64,
    /// Units needed.
    pub units: u64,
    /// Of a budget.
    pub terms: Option<Terms>,
    /// What the strictest of those who pay for the call chose, if any of them did.
    pub when_gone: Option<WhenGone>,
}

/// How a question ended; `at` is the place among the wants.
#[derive(Debug)]
pub enum Answer {
    /// Shares of what was lacking, by the place of the want.
    Granted(Vec<(usize, Share)>),
    /// One limit refused; nothing was taken.
    Refused {
        /// Which.
        at: usize,
        /// Why.
        refused: Refused,
    },
    /// The control plane cannot say.
    Failed,
}

/// What taking led to.
#[derive(Debug)]
pub enum Taking {
    /// Everything is there, one share for each want.
    Done(Vec<Share>),
    /// Something is being asked for; what is there waits with it.
    Asked(Vec<Share>, oneshot::Receiver<Answer>),
    /// One limit refused a moment ago.
    Refused {
        /// Which.
        at: usize,
        /// Why.
        refused: Refused,
    },
    /// Too much is being asked.
    Overloaded,
}

#[derive(Serialize)]
struct Ask<'a> {
    scope: &'a str,
    kind: &'static str,
    limit: u64,
    want: u64,
    need: u64,
    tag: Option<&'a str>,
    #[serde(flatten)]
    terms: Option<Terms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when_gone: Option<WhenGone>,
}

#[derive(Serialize)]
struct Asks<'a> {
    asks: Vec<Ask<'a>>,
}

#[derive(Deserialize)]
struct Grant {
    granted: u64,
    #[serde(default)]
    ttl_ms: u64,
    #[serde(default)]
    remaining: u64,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    refused: bool,
    /// Nobody can say whether there is enough.
    #[serde(default)]
    unknown: bool,
    #[serde(default)]
    lease: u64,
    /// Of a budget: the end of the window that it is from.
    #[serde(default)]
    until: u64,
    /// Without Redis: for the call that asked and no other.
    #[serde(default)]
    alone: bool,
}

#[derive(Deserialize)]
struct Grants {
    grants: Vec<Grant>,
}

#[derive(Serialize)]
struct Returned<'a> {
    scope: &'a str,
    kind: &'static str,
    units: u64,
    lease: u64,
    tag: Option<&'a str>,
}

#[derive(Debug)]
struct Question {
    at: usize,
    leases: Arc<Leases>,
    kind: Kind,
    limit: u64,
    terms: Option<Terms>,
    when_gone: Option<WhenGone>,
    /// What the call lacks; 0 when none waits.
    lack: u64,
    need: u64,
    want: u64,
}

#[derive(Debug)]
struct Pending {
    sent_ns: u64,
    tag: Option<Arc<str>>,
    questions: Vec<Question>,
    waiter: Option<oneshot::Sender<Answer>>,
}

/// All shared limits of this process.
#[derive(Debug)]
pub struct Quota {
    events: Arc<Events>,
    pub(super) list: Arc<List>,
    pending: Mutex<HashMap<u64, Pending>>,
    accounts: Mutex<Accounts>,
    /// How long answers took lately.
    answered_in_ns: AtomicU64,
}

/// Money by whom it is held for: one account each, whoever else of it was forgotten and came back.
#[derive(Debug, Default)]
struct Accounts {
    by_scope: HashMap<Arc<str>, Arc<Money>>,
    /// When there are so many, those that nobody has are let go of.
    prune_at: usize,
}

/// Everybody is about to be told of what a payer spent, by the records up to an ordinal.
#[derive(Debug, Deserialize)]
pub struct Told {
    /// Which payer.
    pub scope: String,
    /// The ordinal.
    pub seq: u64,
}

impl Quota {
    /// Nothing granted, nothing asked.
    #[must_use]
    pub fn new(events: Arc<Events>) -> Self {
        let (pending, accounts) = (Mutex::default(), Mutex::default());
        Self { events, list: Arc::default(), pending, accounts, answered_in_ns: AtomicU64::new(0) }
    }

    /// An account for a key or a scope.
    #[must_use]
    pub fn leases(&self, scope: Arc<str>) -> Arc<Leases> {
        Arc::new(Leases::new(scope, Arc::clone(&self.list)))
    }

    /// See to it that the payer has an account for money.
    pub fn open_account(&self, leases: &Leases) {
        leases.money.get_or_init(|| {
            let mut accounts = self.accounts();
            if accounts.by_scope.len() >= accounts.prune_at {
                accounts.by_scope.retain(|_, money| Arc::strong_count(money) > 1 || !money.is_empty());
                accounts.prune_at = 2 * accounts.by_scope.len() + 64;
            }
            Arc::clone(accounts.by_scope.entry(Arc::clone(&leases.scope)).or_default())
        });
    }

    /// How much less is held by each of these, in nano-dollars. It must be said to be free when it has been told.
    #[must_use]
    pub fn told(&self, spends: &[Told]) -> Vec<u64> {
        let accounts = self.accounts();
        let of = |told: &Told| accounts.by_scope.get(&*told.scope).map_or(0, |money| money.told(told.seq));
        spends.iter().map(of).collect()
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take what the wants need, beside the shares that an earlier try had (one for each want, or none at all). `tag` is
    /// asked for when something has to be.
    pub fn take(&self, wants: &[Want], had: Vec<Share>, tag: impl Fn() -> Option<Arc<str>>, now_ns: u64) -> Taking {
        let is_again = !had.is_empty();
        let mut shares = had;
        if shares.is_empty() {
            shares.extend(wants.iter().map(|want| Share::none(Arc::clone(&want.leases), want.kind)));
        }
        let mut lacking = Vec::new();
        for (at, (want, share)) in wants.iter().zip(&mut shares).enumerate() {
            share.expire(now_ns);
            let needed = want.units.saturating_sub(share.units());
            // Who needs nothing waits all the same for what was used too much.
            let owes = want.units == 0 && !is_again && want.leases.owes(want.kind);
            if needed == 0 && !owes {
                continue;
            }
            let taken = want.leases.take(want.kind, needed, now_ns, share);
            if taken.lack > 0 || owes {
                lacking.push((at, taken.lack));
            } else if let Some(lease) = taken.refill {
                self.refill(want, lease, tag(), now_ns);
            }
        }
        if lacking.is_empty() {
            return Taking::Done(shares);
        }
        let refused = |(at, lack): &(usize, u64)| {
            let want = wants.get(*at)?;
            let refused = want.leases.refused(want.kind, *lack, now_ns)?;
            refused.holds_for(want.when_gone).then_some((*at, refused))
        };
        if let Some((at, refused)) = lacking.iter().find_map(refused) {
            return Taking::Refused { at, refused };
        }
        // What others were let have without Redis and are done with is counted off before more is asked for.
        for want in lacking.iter().filter_map(|(at, _)| wants.get(*at)) {
            for part in want.leases.over(want.kind, now_ns) {
                self.say("quota.return", &want.leases, want.kind, &part);
            }
        }
        // What would expire before the answer comes is asked for with the rest. In turn, one would expire while the other comes.
        let answered_in = self.answered_in_ns.load(Ordering::Relaxed);
        let until_ns = if is_again { u64::MAX } else { now_ns.saturating_add(2 * answered_in) };
        for (at, share) in shares.iter_mut().enumerate().filter(|(_, share)| share.expires_before(until_ns)) {
            let units = share.units();
            for part in mem::take(&mut share.parts) {
                self.say("quota.return", &share.leases, share.kind, &part);
            }
            match lacking.iter_mut().find(|(lacks, _)| *lacks == at) {
                Some((_, lack)) => *lack += units,
                None => lacking.push((at, units)),
            }
        }
        let question = |(at, lack): (usize, u64)| {
            let want = wants.get(at)?;
            let (need, most) = want.leases.question(want.kind, lack, want.limit, now_ns);
            let Want { kind, limit, terms, when_gone, .. } = *want;
            let leases = Arc::clone(&want.leases);
            Some(Question { at, leases, kind, limit, terms, when_gone, lack, need, want: most })
        };
        let questions: Vec<Question> = lacking.into_iter().filter_map(question).collect();
        let (sender, receiver) = oneshot::channel();
        if self.ask(Pending { sent_ns: now_ns, tag: tag(), questions, waiter: Some(sender) }) {
            Taking::Asked(shares, receiver)
        } else {
            Taking::Overloaded
        }
    }

    /// Puts what was granted to what was there.
    pub fn join(shares: &mut [Share], granted: Vec<(usize, Share)>) {
        for (at, share) in granted {
            if let Some(mine) = shares.get_mut(at) {
                mine.absorb(share);
            }
        }
    }

    fn refill(&self, want: &Want, lease: u64, tag: Option<Arc<str>>, now_ns: u64) {
        let Want { kind, limit, terms, when_gone, .. } = *want;
        let leases = Arc::clone(&want.leases);
        let question = Question { at: 0, leases, kind, limit, terms, when_gone, lack: 0, need: 1, want: lease };
        self.ask(Pending { sent_ns: now_ns, tag, questions: vec![question], waiter: None });
    }

    fn ask(&self, asked: Pending) -> bool {
        let asks = asked.questions.iter().map(|question| Ask {
            scope: &question.leases.scope,
            kind: question.kind.name(),
            limit: question.limit,
            want: question.want,
            need: question.need,
            tag: asked.tag.as_deref(),
            terms: question.terms,
            when_gone: question.when_gone,
        });
        let Ok(payload) = serde_json::to_vec(&Asks { asks: asks.collect() }) else { return false };
        let id = self.events.id();
        let mut pending = self.lock();
        if pending.len() >= MOST_ASKED {
            // Not those that nobody waits for: what the answer grants must be given back.
            let now_ns = asked.sent_ns;
            for (_, lost) in pending.extract_if(|_, known| now_ns.saturating_sub(known.sent_ns) >= LOST_NS) {
                lost.questions.iter().for_each(|question| question.leases.unanswered(question.kind));
            }
            if pending.len() >= MOST_ASKED {
                drop(pending);
                asked.questions.iter().for_each(|question| question.leases.unanswered(question.kind));
                return false;
            }
        }
        pending.insert(id, asked);
        drop(pending);
        self.events.push(Event { id, kind: "hook.quota", payload: Bytes::from(payload) });
        true
    }

    /// The control plane's answer; empty: it cannot say. False: the id is none of these.
    ///
    /// # Errors
    /// The answer is not one to the question.
    pub fn resolve(&self, id: u64, answer: &[u8], now_ns: u64) -> Result<bool, String> {
        let Some(asked) = self.lock().remove(&id) else { return Ok(false) };
        let Pending { sent_ns, tag, questions, waiter } = asked;
        // Some answers need no Redis: what the late ones took is forgotten slowly.
        let before = self.answered_in_ns.load(Ordering::Relaxed);
        let answered_in = now_ns.saturating_sub(sent_ns).min(LONGEST_ANSWER_NS).max(before - before / 8);
        self.answered_in_ns.store(answered_in, Ordering::Relaxed);
        let grants = match answer {
            [] => Ok(None),
            _ => match serde_json::from_slice::<Grants>(answer) {
                Ok(Grants { grants }) if grants.len() == questions.len() => Ok(Some(grants)),
                Ok(Grants { grants }) => Err(format!("grants: {} for {} asks", grants.len(), questions.len())),
                Err(e) => Err(format!("grants: {e}")),
            },
        };
        let Ok(Some(grants)) = grants else {
            questions.iter().for_each(|question| question.leases.unanswered(question.kind));
            if let Some(waiter) = waiter {
                let _ = waiter.send(Answer::Failed);
            }
            return grants.map(|_| true);
        };
        let (mut shares, mut refusal) = (Vec::with_capacity(questions.len()), None);
        let unknown = grants.iter().any(|grant| grant.unknown);
        for (question, grant) in questions.into_iter().zip(grants) {
            let Question { at, leases, kind, lack, need, want, terms, when_gone, .. } = question;
            if grant.granted > 0 {
                if let Some(terms) = terms {
                    leases.is_of_window(kind, terms.since(grant.until));
                }
                // From before the question was sent: the units count from when Redis took them, which is later.
                let expires_ns = match kind {
                    Kind::Parallel => u64::MAX,
                    _ => sent_ns.saturating_add(grant.ttl_ms.saturating_mul(1_000_000)),
                };
                let Grant { lease, granted: units, alone, .. } = grant;
                let part = Part { lease, tag: tag.clone(), expires_ns, alone, units };
                shares.push((at, leases.granted(kind, (need, want), lack, grant.remaining, part)));
                continue;
            }
            leases.unanswered(kind);
            let Grant { retry_after_ms, remaining, .. } = grant;
            let refused = Refused { retry_after_ms, remaining, alone: grant.alone.then_some(when_gone) };
            // That nobody knows is not to be believed for any time, and is no limit that was reached.
            if grant.refused && !grant.unknown {
                leases.was_refused(kind, need, refused, now_ns);
            }
            if grant.refused || refusal.is_none() {
                refusal = Some((at, refused));
            }
        }
        if let Some(waiter) = waiter {
            // What comes back because nobody waits is dropped, and so given back.
            let _ = waiter.send(match refusal {
                Some(_) if unknown => Answer::Failed,
                Some((at, refused)) => Answer::Refused { at, refused },
                None => Answer::Granted(shares),
            });
        }
        Ok(true)
    }

    /// Gives back what is over. Call it some times a second.
    pub fn sweep(&self, now_ns: u64) {
        for leases in self.list.take() {
            let mut returns = Vec::new();
            leases.listed.store(false, std::sync::atomic::Ordering::Release);
            let busy = leases.sweep(now_ns, &mut returns);
            for Return { kind, part } in returns {
                self.say("quota.return", &leases, kind, &part);
            }
            let Found { over, back } = leases.sweep_money(now_ns);
            for (event, units) in [("quota.overdrawn", over), ("quota.return", back)] {
                if units > 0 {
                    self.say(
                        event,
                        &leases,
                        Kind::Budget,
                        &Part { lease: 0, tag: None, expires_ns: 0, alone: false, units },
                    );
                }
            }
            if busy {
                self.list.add(&leases);
            }
        }
    }

    fn say(&self, event: &'static str, leases: &Leases, kind: Kind, part: &Part) {
        let (scope, tag) = (&*leases.scope, part.tag.as_deref());
        let returned = Returned { scope, kind: kind.name(), units: part.units, lease: part.lease, tag };
        if let Ok(payload) = serde_json::to_vec(&returned) {
            self.events.push(Event { id: 0, kind: event, payload: Bytes::from(payload) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

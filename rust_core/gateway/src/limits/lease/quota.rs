//! Questions to the control plane about shared limits, its answers, and what goes back to it.
//!
//! Apart from the leases because these are the shapes of the boundary (`penstock.quota.models`) and who waits for what. A
//! call asks for everything that it lacks in one event, which is answered as a whole: all of it, or nothing. Leases that
//! are asked for ahead of time have nobody waiting. An answer whose call has gone goes back by the drop of its shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Kind, Leases, List, Part, Refused, Return, Share};
use crate::hooks::{Event, Events};

/// Questions that may be under way at once.
const MOST_ASKED: usize = 16_384;

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
    #[serde(default)]
    lease: u64,
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
}

impl Quota {
    /// Nothing granted, nothing asked.
    #[must_use]
    pub fn new(events: Arc<Events>) -> Self {
        Self { events, list: Arc::default(), pending: Mutex::default() }
    }

    /// An account for a key or a scope.
    #[must_use]
    pub fn leases(&self, scope: Arc<str>) -> Arc<Leases> {
        Arc::new(Leases::new(scope, Arc::clone(&self.list)))
    }

    /// Take what the wants need, beside the shares that an earlier try had (one for each want, or none at all). `tag` is
    /// asked for when something has to be.
    pub fn take(&self, wants: &[Want], had: Vec<Share>, tag: impl Fn() -> Option<Arc<str>>, now_ns: u64) -> Taking {
        let mut shares = had;
        if shares.is_empty() {
            let empty = |want: &Want| Share { leases: Arc::clone(&want.leases), kind: want.kind, parts: Vec::new() };
            shares.extend(wants.iter().map(empty));
        }
        let mut lacking = Vec::new();
        for (at, (want, share)) in wants.iter().zip(&mut shares).enumerate() {
            share.expire(now_ns);
            let needed = want.units.saturating_sub(share.units());
            // Who needs nothing waits all the same for what was used too much.
            let owes = want.units == 0 && want.leases.owes(want.kind);
            if needed == 0 && !owes {
                continue;
            }
            let taken = want.leases.take(want.kind, needed, now_ns, &mut share.parts);
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
            Some((*at, want.leases.refused(want.kind, *lack, now_ns)?))
        };
        if let Some((at, refused)) = lacking.iter().find_map(refused) {
            return Taking::Refused { at, refused };
        }
        let question = |(at, lack): (usize, u64)| {
            let want = wants.get(at)?;
            let (need, most) = want.leases.question(want.kind, lack, want.limit, now_ns);
            let (leases, kind, limit) = (Arc::clone(&want.leases), want.kind, want.limit);
            Some(Question { at, leases, kind, limit, lack, need, want: most })
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
        let (leases, kind, limit) = (Arc::clone(&want.leases), want.kind, want.limit);
        let question = Question { at: 0, leases, kind, limit, lack: 0, need: 1, want: lease };
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
        });
        let Ok(payload) = serde_json::to_vec(&Asks { asks: asks.collect() }) else { return false };
        let id = self.events.id();
        let mut pending = self.lock();
        if pending.len() >= MOST_ASKED {
            // Those that nobody waits for any more were lost on the way.
            pending.retain(|_, asked| asked.waiter.as_ref().is_some_and(|waiter| !waiter.is_closed()));
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
        for (question, grant) in questions.into_iter().zip(grants) {
            let Question { at, leases, kind, lack, need, want, .. } = question;
            if grant.granted > 0 {
                // From before the question was sent: the units count from when Redis took them, which is later.
                let expires_ns = match kind {
                    Kind::Parallel => u64::MAX,
                    _ => sent_ns.saturating_add(grant.ttl_ms.saturating_mul(1_000_000)),
                };
                let part = Part { lease: grant.lease, tag: tag.clone(), expires_ns, units: grant.granted };
                shares.push((at, leases.granted(kind, (need, want), lack, grant.remaining, part)));
                continue;
            }
            leases.unanswered(kind);
            let refused = Refused { retry_after_ms: grant.retry_after_ms, remaining: grant.remaining };
            if grant.refused {
                leases.was_refused(kind, need, refused, now_ns);
            }
            if grant.refused || refusal.is_none() {
                refusal = Some((at, refused));
            }
        }
        if let Some(waiter) = waiter {
            // What comes back because nobody waits is dropped, and so given back.
            let _ = waiter.send(match refusal {
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
                self.give_back(&leases, kind, &part);
            }
            if busy {
                self.list.add(&leases);
            }
        }
    }

    fn give_back(&self, leases: &Leases, kind: Kind, part: &Part) {
        let (scope, tag) = (&*leases.scope, part.tag.as_deref());
        let returned = Returned { scope, kind: kind.name(), units: part.units, lease: part.lease, tag };
        if let Ok(payload) = serde_json::to_vec(&returned) {
            self.events.push(Event { id: 0, kind: "quota.return", payload: Bytes::from(payload) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

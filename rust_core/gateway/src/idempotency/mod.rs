//! Answers kept under the `Idempotency-Key` of the request, so that sending it again does not run it again.
//!
//! Apart from the phases because it is a table with rules of its own: a key means one request of one caller on one
//! route, one of several that come together runs, and what is kept is bounded in bytes and in time. It sees digests and
//! finished answers, never who calls. Where several gateways share their answers, this is where each looks first.

mod answer;
mod elsewhere;
mod sealed;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{Context, SHA256};

pub use answer::{Answer, Transcript};
pub use elsewhere::{Claim, Claimed, Elsewhere, Place, Terms};
pub use sealed::Names;

/// Longest `Idempotency-Key`, in bytes.
pub const LONGEST_KEY: usize = 255;

/// SHA-256 of several texts, each with its length before it so that none can pass for a part of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Print([u8; 32]);

impl Print {
    /// The digest of these texts in this order.
    #[must_use]
    pub fn of(texts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for text in texts {
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// The bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a request with an idempotency key is to do.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: run it, and say how it ended.
    First(Ticket),
    /// The first one is still running.
    Running,
    /// The key was used for another request.
    OtherRequest,
    /// The answer is there.
    Answered(Arc<Answer>),
    /// There was an answer, larger than what is kept.
    TooLarge,
}

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Nanoseconds for which an answer is kept.
    pub keep_ns: u64,
    /// Bytes of one answer; a larger one is not kept.
    pub answer: usize,
    /// Bytes of all answers together; the oldest make room.
    pub memory: usize,
}

/// The requests that run under a key, and the answers of those that ran.
#[derive(Debug)]
pub struct Answers {
    inner: Mutex<Inner>,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Print, Entry>,
    /// Answered entries, oldest first: key, stamp, and when they end.
    kept: VecDeque<(Print, u64, u64)>,
    bytes: usize,
    stamps: u64,
}

#[derive(Debug)]
struct Entry {
    request: Print,
    stamp: u64,
    state: State,
    /// Where others find the answer.
    place: Option<Place>,
}

#[derive(Debug)]
enum State {
    Running,
    Answered(Arc<Answer>),
    TooLarge,
}

/// What an entry weighs beside its answer.
const ENTRY: usize = 256;

impl State {
    fn bytes(&self) -> usize {
        match self {
            Self::Answered(answer) => ENTRY + answer.bytes(),
            _ => ENTRY,
        }
    }
}

impl Answers {
    /// Nothing kept yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { inner: Mutex::default(), bounds }
    }

    /// The bounds.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A request comes: `key` is the digest of caller, route and idempotency key, `request` that of what is asked.
    #[must_use]
    pub fn begin(self: &Arc<Self>, key: Print, request: Print, now_ns: u64) -> Begun {
        let mut inner = self.lock();
        if let Some(known) = inner.look(&key, &request, now_ns) {
            return known;
        }
        inner.stamps += 1;
        let stamp = inner.stamps;
        inner.entries.insert(key, Entry { request, stamp, state: State::Running, place: None });
        Begun::First(Ticket { answers: Arc::clone(self), key, stamp, open: true, claim: None })
    }

    /// What [`Answers::begin`] would say, unless the request is the first: then nothing is noted down.
    #[must_use]
    pub fn look(&self, key: Print, request: Print, now_ns: u64) -> Option<Begun> {
        self.lock().look(&key, &request, now_ns)
    }

    /// Bytes of everything that is kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn finish(&self, key: Print, stamp: u64, state: State, place: Option<Place>, now_ns: u64) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&key).filter(|entry| entry.stamp == stamp) else { return };
        let bytes = state.bytes();
        entry.state = state;
        entry.place = place;
        inner.bytes += bytes;
        inner.kept.push_back((key, stamp, now_ns.saturating_add(self.bounds.keep_ns)));
        let mut places = Vec::new();
        while inner.bytes > self.bounds.memory && inner.drop_oldest(|place| places.push(place)) {}
        drop(inner);
        // Others keep for this process as much as it keeps itself.
        places.iter().for_each(Place::forget);
    }

    fn forget(&self, key: Print, stamp: u64) {
        let mut inner = self.lock();
        if inner.entries.get(&key).is_some_and(|entry| entry.stamp == stamp) {
            inner.entries.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn look(&mut self, key: &Print, request: &Print, now_ns: u64) -> Option<Begun> {
        self.expire(now_ns);
        let entry = self.entries.get(key)?;
        Some(match &entry.state {
            _ if entry.request != *request => Begun::OtherRequest,
            State::Running => Begun::Running,
            State::Answered(answer) => Begun::Answered(Arc::clone(answer)),
            State::TooLarge => Begun::TooLarge,
        })
    }

    fn expire(&mut self, now_ns: u64) {
        // Elsewhere it ends by itself.
        while self.kept.front().is_some_and(|(_, _, end)| *end <= now_ns) && self.drop_oldest(drop) {}
    }

    fn drop_oldest(&mut self, left: impl FnOnce(Place)) -> bool {
        let Some((key, stamp, _)) = self.kept.pop_front() else { return false };
        if self.entries.get(&key).is_some_and(|entry| entry.stamp == stamp)
            && let Some(entry) = self.entries.remove(&key)
        {
            self.bytes = self.bytes.saturating_sub(entry.state.bytes());
            entry.place.map(left);
        }
        true
    }
}

/// The right to run a request. Dropped without an answer it leaves no trace: the next one with this key runs.
#[derive(Debug)]
pub struct Ticket {
    answers: Arc<Answers>,
    key: Print,
    stamp: u64,
    open: bool,
    claim: Option<Box<Claim>>,
}

impl Ticket {
    /// It is for all gateways.
    #[must_use]
    pub fn claimed(mut self, claim: Box<Claim>) -> Self {
        self.claim = Some(claim);
        self
    }

    /// Whoever sends the request again gets this answer; `None`: it was too large to be kept.
    pub fn answered(mut self, answer: Option<Answer>, now_ns: u64) {
        self.open = false;
        let place = self.claim.take().map(|claim| {
            let place = claim.place();
            claim.answered(answer.as_ref());
            place
        });
        let state = answer.map_or(State::TooLarge, |answer| State::Answered(Arc::new(answer)));
        self.answers.finish(self.key, self.stamp, state, place, now_ns);
    }

    /// The most bytes that an answer may have.
    #[must_use]
    pub fn room(&self) -> usize {
        self.answers.bounds.answer
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.answers.forget(self.key, self.stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answers(memory: usize) -> Arc<Answers> {
        Arc::new(Answers::new(Bounds { keep_ns: 100, answer: 1_000, memory }))
    }

    fn print(text: &str) -> Print {
        Print::of(&[text.as_bytes()])
    }

    fn first(answers: &Arc<Answers>, key: &str, now: u64) -> Ticket {
        match answers.begin(print(key), print("request"), now) {
            Begun::First(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn answer(text: &str) -> Answer {
        let mut copy = Transcript::new(1_000);
        copy.begin(200, b"", false);
        copy.add(text.as_bytes());
        copy.end();
        copy.answer().unwrap().unwrap()
    }

    #[test]
    fn one_runs_and_the_others_get_its_answer() {
        let answers = answers(1 << 20);
        let ticket = first(&answers, "k", 0);
        assert!(matches!(answers.begin(print("k"), print("request"), 1), Begun::Running));
        assert!(matches!(answers.begin(print("k"), print("else"), 1), Begun::OtherRequest));
        assert!(matches!(answers.begin(print("l"), print("else"), 1), Begun::First(_)));
        ticket.answered(Some(answer("hello")), 2);
        let Begun::Answered(kept) = answers.begin(print("k"), print("request"), 3) else { panic!("not kept") };
        assert_eq!(kept.body, Bytes::from_static(b"hello"));
        assert!(matches!(answers.begin(print("k"), print("else"), 3), Begun::OtherRequest));
        assert!(matches!(answers.begin(print("k"), print("request"), 101), Begun::Answered(_)));
        assert!(matches!(answers.begin(print("k"), print("request"), 102), Begun::First(_)));
        assert_eq!(answers.bytes(), 0);
    }

    #[test]
    fn one_that_ends_without_an_answer_leaves_no_trace() {
        let answers = answers(1 << 20);
        drop(first(&answers, "k", 0));
        let ticket = first(&answers, "k", 0);
        ticket.answered(None, 0);
        assert!(matches!(answers.begin(print("k"), print("request"), 3), Begun::TooLarge));
    }

    #[test]
    fn the_oldest_answers_make_room_and_running_ones_stay() {
        let answers = answers(4 * (ENTRY + 100));
        let running = first(&answers, "running", 0);
        for n in 0..50 {
            first(&answers, &n.to_string(), 0).answered(Some(answer(&"x".repeat(100))), 0);
            assert!(answers.bytes() <= 4 * (ENTRY + 100));
        }
        assert!(matches!(answers.begin(print("running"), print("request"), 1), Begun::Running));
        assert!(matches!(answers.begin(print("49"), print("request"), 1), Begun::Answered(_)));
        assert!(matches!(answers.begin(print("0"), print("request"), 1), Begun::First(_)));
        drop(running);
    }

    #[test]
    fn of_many_threads_one_runs() {
        let answers = answers(1 << 20);
        // Kept until all have begun: whoever comes after a dropped ticket would be a first one, too.
        let begun: Vec<Begun> = std::thread::scope(|scope| {
            let begin = || answers.begin(print("k"), print("request"), 0);
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let firsts = begun.iter().filter(|begun| matches!(begun, Begun::First(_))).count();
        assert_eq!(firsts, 1);
    }

    #[test]
    fn digests_tell_texts_apart_that_only_join_to_the_same() {
        assert_ne!(Print::of(&[b"ab", b"c"]), Print::of(&[b"a", b"bc"]));
        assert_ne!(Print::of(&[b"ab"]), Print::of(&[b"ab", b""]));
    }
}

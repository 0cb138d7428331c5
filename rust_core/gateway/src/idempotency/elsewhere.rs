//! Answers that several gateways share: who runs a request is asked of the control plane, and told how it ended.
//!
//! Apart from the table of this process because it waits, and because these are the shapes of the boundary
//! (`penstock.idempotency.models`). The right to run a request, once given, goes back by the drop of its [`Claim`] whatever
//! becomes of the call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{Answer, Names};
use crate::auth::digest::Digest;
use crate::hooks::{Event, Events};

/// Questions that may be under way at once.
const MOST_ASKED: usize = 16_384;
/// Bytes of answers that may be on their way to the control plane at once, unless one alone is larger.
const MOST_WRITING: usize = 16 << 20;

/// What others say about a request.
#[derive(Debug)]
pub enum Claimed {
    /// It is to be run here.
    Run(Box<Claim>),
    /// It is running somewhere.
    Running,
    /// The key was used for another request.
    OtherRequest,
    /// The sealed answer.
    Answered(Vec<u8>),
    /// There was an answer, larger than what is kept.
    TooLarge,
    /// Nobody can say, and it is not to be run without that.
    Unknown,
}

/// Times that hold for all gateways.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Milliseconds for which an answer is kept.
    pub keep_ms: u64,
    /// Milliseconds after which a claim that nobody renews is over.
    pub claim_ms: u64,
}

/// The answers of all gateways, as far as this one has to do with them.
#[derive(Debug)]
pub struct Elsewhere {
    events: Arc<Events>,
    /// Begins the names of claims: no other process has it.
    incarnation: String,
    terms: Terms,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: HashMap<u64, Asked>,
    /// Answers on their way, and their bytes.
    writing: HashMap<u64, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Asked {
    names: Names,
    place: Place,
    waiter: oneshot::Sender<Claimed>,
}

/// Where an answer of this process is kept.
#[derive(Debug, Clone)]
pub struct Place {
    elsewhere: Arc<Elsewhere>,
    id: Digest,
    owner: Arc<str>,
}

/// The right to run a request. Dropped without an answer it goes back, and the next one with this key runs.
#[derive(Debug)]
pub struct Claim {
    names: Names,
    place: Place,
    is_open: bool,
}

#[derive(Serialize)]
struct Ask<'a> {
    id: Digest,
    request: Digest,
    owner: &'a str,
    ttl_ms: u64,
}

#[derive(Serialize)]
struct Store<'a> {
    id: Digest,
    request: Digest,
    owner: &'a str,
    keep_ms: u64,
    is_kept: bool,
}

#[derive(Serialize)]
struct Release<'a> {
    id: Digest,
    owner: &'a str,
}

impl Elsewhere {
    /// Nothing asked.
    #[must_use]
    pub fn new(events: Arc<Events>, incarnation: String, terms: Terms) -> Self {
        Self { events, incarnation, terms, inner: Mutex::default() }
    }

    /// Asks whether a request is to be run here. `None`: too much is being asked.
    pub fn claim(self: &Arc<Self>, names: Names) -> Option<oneshot::Receiver<Claimed>> {
        let event = self.events.id();
        let owner: Arc<str> = format!("{}-{event}", self.incarnation).into();
        let ask = Ask { id: names.id(), request: names.request(), owner: &owner, ttl_ms: self.terms.claim_ms };
        let payload = Bytes::from(serde_json::to_vec(&ask).ok()?);
        let (waiter, answer) = oneshot::channel();
        let mut inner = self.lock();
        if inner.asked.len() >= MOST_ASKED {
            // Those that nobody waits for any more were lost on the way.
            inner.asked.retain(|_, asked| !asked.waiter.is_closed());
            if inner.asked.len() >= MOST_ASKED {
                return None;
            }
        }
        let place = Place { elsewhere: Arc::clone(self), id: names.id(), owner };
        inner.asked.insert(event, Asked { names, place, waiter });
        drop(inner);
        self.events.push(Event { id: event, kind: "hook.claim", payload });
        Some(answer)
    }

    /// The control plane's answer, to a question or to an answer that it was given. False: the id is none of these.
    ///
    /// # Errors
    /// The answer is not one to the question.
    pub fn resolve(&self, event: u64, answer: &[u8]) -> Result<bool, String> {
        let mut inner = self.lock();
        if let Some(bytes) = inner.writing.remove(&event) {
            inner.bytes = inner.bytes.saturating_sub(bytes);
            return Ok(true);
        }
        let Some(Asked { names, place, waiter }) = inner.asked.remove(&event) else { return Ok(false) };
        drop(inner);
        let mut parts = answer.splitn(2, |byte| *byte == b'\n');
        let (word, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (claimed, understood) = match word {
            b"run" => (Claimed::Run(Box::new(Claim { names, place, is_open: true })), true),
            b"running" => (Claimed::Running, true),
            b"other_request" => (Claimed::OtherRequest, true),
            b"answered" => (Claimed::Answered(rest.to_vec()), true),
            b"not_kept" => (Claimed::TooLarge, true),
            b"" => (Claimed::Unknown, true),
            _ => (Claimed::Unknown, false),
        };
        // A claim that comes back because nobody waits is dropped, and so given back.
        let _ = waiter.send(claimed);
        if understood { Ok(true) } else { Err("claim: no such answer".into()) }
    }

    fn push(&self, kind: &'static str, payload: Result<Vec<u8>, serde_json::Error>) {
        if let Ok(payload) = payload {
            self.events.push(Event { id: 0, kind, payload: Bytes::from(payload) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What is kept or claimed there is forgotten, unless it is another's by now.
    pub fn forget(&self) {
        let release = Release { id: self.id, owner: &self.owner };
        self.elsewhere.push("claim.release", serde_json::to_vec(&release));
    }
}

impl Claim {
    /// Where its answer will be kept.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whoever sends the request again, anywhere, gets this answer; `None`: it was too large to be kept. When too much
    /// waits to be written, the answer is for this process alone, and the claim goes back.
    pub fn answered(mut self, answer: Option<&Answer>) {
        let elsewhere = &self.place.elsewhere;
        let (is_kept, sealed) = match answer {
            None => (false, Vec::new()),
            Some(answer) => match self.names.seal(answer) {
                Some(sealed) => (true, sealed),
                None => return,
            },
        };
        let (id, request, owner) = (self.names.id(), self.names.request(), &*self.place.owner);
        let Ok(mut payload) =
            serde_json::to_vec(&Store { id, request, owner, keep_ms: elsewhere.terms.keep_ms, is_kept })
        else {
            return;
        };
        payload.push(b'\n');
        payload.extend_from_slice(&sealed);
        let event = elsewhere.events.id();
        let mut inner = elsewhere.lock();
        if inner.bytes > 0 && inner.bytes + payload.len() > MOST_WRITING {
            return;
        }
        inner.bytes += payload.len();
        inner.writing.insert(event, payload.len());
        drop(inner);
        elsewhere.events.push(Event { id: event, kind: "hook.answered", payload: Bytes::from(payload) });
        self.is_open = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_open {
            self.place.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::digest::Pepper;
    use crate::idempotency::Print;

    struct Gateway {
        events: Arc<Events>,
        elsewhere: Arc<Elsewhere>,
        names: Names,
    }

    fn gateway() -> Gateway {
        let events = Arc::new(Events::new().unwrap());
        let terms = Terms { keep_ms: 100, claim_ms: 30 };
        let elsewhere = Arc::new(Elsewhere::new(Arc::clone(&events), "0011223344556677".into(), terms));
        let names = Names::of(&Pepper::new(&[7; 32]).unwrap(), &Print::of(&[b"caller"]), &Print::of(&[b"request"]));
        Gateway { events, elsewhere, names }
    }

    impl Gateway {
        fn ask(&self) -> (u64, oneshot::Receiver<Claimed>) {
            let receiver = self.elsewhere.claim(self.names.clone()).unwrap();
            let [event] = &self.events.drain()[..] else { panic!("one question") };
            assert_eq!(event.kind, "hook.claim");
            (event.id, receiver)
        }

        fn claimed(&self, answer: &'static [u8]) -> Claimed {
            let (event, mut receiver) = self.ask();
            self.elsewhere.resolve(event, answer).unwrap();
            receiver.try_recv().unwrap()
        }

        fn kinds(&self) -> Vec<&'static str> {
            self.events.drain().iter().map(|event| event.kind).collect()
        }
    }

    fn answer(length: usize) -> Answer {
        Answer { status: 200, headers: Bytes::new(), body: Bytes::from(vec![b'x'; length]), streamed: false }
    }

    #[test]
    fn answers_are_understood() {
        let gateway = gateway();
        assert!(matches!(gateway.claimed(b"running"), Claimed::Running));
        assert!(matches!(gateway.claimed(b"other_request"), Claimed::OtherRequest));
        assert!(matches!(gateway.claimed(b"not_kept"), Claimed::TooLarge));
        assert!(matches!(gateway.claimed(b""), Claimed::Unknown));
        let Claimed::Answered(sealed) = gateway.claimed(b"answered\na\nb") else { panic!("an answer") };
        assert_eq!(&sealed[..], b"a\nb");
        assert!(gateway.kinds().is_empty());
        let (event, mut receiver) = gateway.ask();
        assert!(gateway.elsewhere.resolve(event, b"?").is_err());
        assert!(matches!(receiver.try_recv(), Ok(Claimed::Unknown)));
        assert_eq!(gateway.elsewhere.resolve(999, b""), Ok(false));
    }

    #[test]
    fn a_claim_without_an_answer_goes_back() {
        let gateway = gateway();
        drop(gateway.claimed(b"run"));
        assert_eq!(gateway.kinds(), ["claim.release"]);
        let (event, receiver) = gateway.ask();
        drop(receiver);
        gateway.elsewhere.resolve(event, b"run").unwrap();
        assert_eq!(gateway.kinds(), ["claim.release"]);
    }

    #[test]
    fn an_answer_is_told_sealed_and_others_open_it() {
        let gateway = gateway();
        let Claimed::Run(claim) = gateway.claimed(b"run") else { panic!("not claimed") };
        claim.answered(Some(&answer(100)));
        let [event] = &gateway.events.drain()[..] else { panic!("one event") };
        assert_eq!(event.kind, "hook.answered");
        let at = event.payload.iter().position(|byte| *byte == b'\n').unwrap();
        let opened = gateway.names.open(&event.payload[at + 1..]).unwrap();
        assert_eq!(opened.body, answer(100).body);
        assert!(!event.payload.windows(10).any(|window| window == b"xxxxxxxxxx"));
        let Claimed::Run(claim) = gateway.claimed(b"run") else { panic!("not claimed") };
        claim.answered(None);
        assert!(gateway.events.drain()[0].payload.ends_with(b"\"is_kept\":false}\n"));
    }

    #[test]
    fn what_waits_to_be_written_is_bounded() {
        let gateway = gateway();
        let mut written = Vec::new();
        for _ in 0..20 {
            let Claimed::Run(claim) = gateway.claimed(b"run") else { panic!("not claimed") };
            claim.answered(Some(&answer(MOST_WRITING / 4 - 1000)));
            let events = gateway.events.drain();
            written.extend(events.iter().filter(|event| event.kind == "hook.answered").map(|event| event.id));
            assert_eq!(events.len(), 1, "told or given back");
        }
        assert_eq!(written.len(), 4);
        assert_eq!(gateway.elsewhere.resolve(written[0], b""), Ok(true));
        let Claimed::Run(claim) = gateway.claimed(b"run") else { panic!("not claimed") };
        claim.answered(Some(&answer(100)));
        assert_eq!(gateway.kinds(), ["hook.answered"]);
    }
}

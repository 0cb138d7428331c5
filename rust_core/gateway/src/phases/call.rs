//! The one value that travels through the phases.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock_http1::RequestHead;

use super::journal::Journaled;
use super::relay::Meter;
use crate::auth::record::Key;
use crate::auth::scope::Scope;
use crate::engine::Core;
use crate::errors::{Failure, Kind};
use crate::idempotency::Ticket;
use crate::ledger::Outcome;
use crate::limits::deployment::Permit;
use crate::limits::{Now, Rates, Reservation, SlotGuard};
use crate::listener::Peer;
use crate::snapshot::{Deployment, Group, Snapshot};
use crate::surfaces::Surface;
use crate::usage::Usage;

/// One call, from its head to its settlement.
#[derive(Debug)]
pub(crate) struct Call {
    /// The thread it runs on.
    pub(crate) core: Rc<Core>,
    /// Its id, also in the answer's headers.
    pub(crate) id: Arc<str>,
    /// When its head was complete.
    pub(crate) started: Instant,
    /// When its request was complete, for whatever is decided before it is sent.
    pub(crate) now: Now,
    /// When it began, in Unix milliseconds; where a budget window began before it was let in, when that did.
    pub(crate) started_ms: u64,
    /// What kind of call.
    pub(crate) surface: Surface,
    /// Template of the REST route.
    pub(crate) template: &'static str,
    /// What records call the route: the template, or the method that stands for it.
    pub(crate) route: &'static str,
    /// How the client speaks, for metrics.
    pub(crate) protocol: &'static str,
    /// Who called, after trusted proxies.
    pub(crate) client: IpAddr,
    /// The configuration it runs under, whatever changes meanwhile.
    pub(crate) snapshot: Arc<Snapshot>,

    /// The virtual key; `None` before identification and for the master key.
    pub(crate) key: Option<Arc<Key>>,
    /// Digest of whichever key it was; empty: nobody was identified and nothing is recorded.
    pub(crate) token: String,
    /// The scopes that the request names itself: its customer, its tags.
    pub(crate) named: Vec<Arc<Scope>>,
    /// The request's own tags.
    pub(crate) tags: Vec<String>,
    /// What it holds of the limits of its key and of the scopes.
    pub(crate) reservation: Option<Reservation>,
    /// Where its rates stand.
    pub(crate) rates: Rates,
    /// Its place among all calls in flight.
    pub(crate) slot: Option<SlotGuard>,
    /// It runs under an idempotency key.
    pub(crate) once: Option<Ticket>,

    /// Model as the client sent it.
    pub(crate) model: String,
    /// Group it means.
    pub(crate) group: Option<Arc<Group>>,
    /// The request's `user`.
    pub(crate) end_user: Option<String>,
    /// The client wants a stream.
    pub(crate) stream: bool,
    /// The client asked for a usage chunk.
    pub(crate) wants_usage: bool,
    /// The request body.
    pub(crate) body: Bytes,
    /// Prompt tokens, once counted.
    pub(crate) prompt_tokens: Option<u64>,
    /// Prompt and output bound.
    pub(crate) reserved_tokens: u64,

    /// Who answered, or was asked last.
    pub(crate) deployment: Option<Arc<Deployment>>,
    /// The name the model has there.
    pub(crate) upstream_model: String,
    /// What it holds of the deployment's limits.
    pub(crate) permit: Option<Permit>,
    /// When the last attempt began, on the monotonic clock.
    pub(crate) attempt_ns: u64,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// Time spent waiting for the client's body and for upstreams.
    pub(crate) waited: Duration,
    /// Microseconds in the gateway before the last attempt's request was sent.
    pub(crate) overhead_us: u64,

    /// HTTP status for the record.
    pub(crate) status: u16,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Code of the error it ended with.
    pub(crate) error_code: Option<String>,
    /// A provider began a good answer: it is paid for what it generated, whoever got it.
    pub(crate) answered: bool,
    /// It is of the kind that providers charge for: it sends something.
    pub(crate) billed: bool,
    /// The answer is an event stream that was begun: an error can be told as an event.
    pub(crate) events: bool,
    /// What the provider reported.
    pub(crate) usage: Option<Usage>,
    /// Generated text, in case it reports nothing.
    pub(crate) meter: Meter,
    /// Microseconds to the first byte of the answer.
    pub(crate) ttft_us: Option<u64>,
    /// Bytes of the answer's body.
    pub(crate) response_bytes: u64,
    /// Its place in the journal.
    pub(super) journaled: Journaled,
}

impl Call {
    /// A call that begins now.
    pub(crate) fn new(
        core: &Rc<Core>,
        surface: Surface,
        template: &'static str,
        head: &RequestHead,
        peer: Peer,
    ) -> Self {
        let started = Instant::now();
        let now = core.shared.clock.at(started);
        Self {
            id: core.call_id(now.unix_ms),
            started,
            now,
            started_ms: now.unix_ms,
            surface,
            template,
            route: template,
            protocol: "rest",
            client: crate::listener::forwarded::client_address(peer.address, &head.headers, &core.shared.trusted),
            snapshot: core.shared.snapshot.load_full(),
            key: None,
            token: String::new(),
            named: Vec::new(),
            tags: Vec::new(),
            reservation: None,
            rates: Rates::default(),
            slot: None,
            once: None,
            model: String::new(),
            group: None,
            end_user: None,
            stream: false,
            wants_usage: false,
            body: Bytes::new(),
            prompt_tokens: None,
            reserved_tokens: 0,
            deployment: None,
            upstream_model: String::new(),
            permit: None,
            attempt_ns: 0,
            attempts: 0,
            waited: Duration::ZERO,
            overhead_us: 0,
            status: 499,
            outcome: Outcome::ClientDisconnect,
            error_code: None,
            answered: false,
            billed: &head.method[..] == b"POST" && surface != Surface::CountTokens,
            events: false,
            usage: None,
            meter: Meter::default(),
            ttft_us: None,
            response_bytes: 0,
            journaled: Journaled::default(),
            core: Rc::clone(core),
        }
    }

    /// Microseconds since the call began.
    #[must_use]
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes the error the call ends with.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        if failure.kind == Kind::ClientGone {
            self.client_gone();
            return;
        }
        self.outcome = Outcome::Error;
        self.status = failure.status();
        self.error_code = Some(failure.code().to_owned());
    }

    /// Notes that the client left; a status that it saw stands.
    pub(crate) fn client_gone(&mut self) {
        self.outcome = Outcome::ClientDisconnect;
        if self.ttft_us.is_none() {
            self.status = 499;
        }
    }

    /// Notes that the client's time was over, which it was told. What was generated for it by then is paid for.
    pub(crate) fn deadline_passed(&mut self) {
        let failure = Failure::new(Kind::DeadlineExceeded, "");
        self.outcome = Outcome::DeadlineExceeded;
        self.status = failure.status();
        self.error_code = Some(failure.code().to_owned());
    }

    /// Notes the first byte of the answer.
    pub(crate) fn first_byte(&mut self) {
        if self.ttft_us.is_none() {
            self.ttft_us = Some(self.elapsed_us());
        }
    }
}

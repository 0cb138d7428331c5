//! One request with what its answer needs to know, from the wire's parser to the ledger.

use std::sync::Arc;

use bytes::Bytes;
use penstock_http1::RequestHead;
use serde::Deserialize;

use crate::control::Control;
use crate::json;
use crate::replay::{self, Replay};
use crate::reply::{Answer, Refusal, Wire};
use crate::route::{self, Endpoint, Found, Route};
use crate::server::{Shared, lock};
use crate::{anthropic, files, openai};

/// Keys of `fail_first` remembered.
const MAX_KEYS: usize = 65_536;

/// What the ledger is told.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) usage: Usage,
}

/// Token counts as the answer states them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    /// Part of `prompt`.
    pub(crate) cached: u64,
    /// Of all choices, hidden reasoning included.
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
}

/// An answer that does not depend on the request's content.
#[derive(Debug)]
pub(crate) enum Early {
    Refuse(Refusal),
    Replay(Arc<Replay>),
}

impl From<Refusal> for Early {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// A request being answered.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) head: &'a RequestHead,
    pub(crate) body: &'a Bytes,
    pub(crate) seq: u64,
    pub(crate) created: u64,
    pub(crate) wire: Wire,
    pub(crate) deployment: Option<String>,
    pub(crate) control: Control,
    pub(crate) facts: Facts,
}

impl<'a> Call<'a> {
    pub(crate) fn new(shared: &'a Shared, head: &'a RequestHead, body: &'a Bytes, seq: u64) -> Self {
        Self {
            shared,
            head,
            body,
            seq,
            created: json::now(),
            wire: Wire::OpenAi,
            deployment: None,
            control: Control::default(),
            facts: Facts::default(),
        }
    }

    /// Decides the answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let target = String::from_utf8_lossy(&self.head.target).into_owned();
        let found = route::find(&self.head.method, &target);
        match &found {
            Found::Route(Route { wire, deployment, .. }) => {
                self.wire = *wire;
                self.deployment.clone_from(deployment);
            }
            Found::WrongMethod(wire) | Found::Nothing(wire) => self.wire = *wire,
        }
        let refusal = match self.decide(found, &target) {
            Ok(answer) => return answer,
            Err(Early::Replay(replay)) => return replay.answer(),
            Err(Early::Refuse(refusal)) => refusal,
        };
        self.facts.stream = false;
        Answer::Unary(refusal.answer(self.wire, self.seq))
    }

    fn decide(&mut self, found: Found, target: &str) -> Result<Answer, Early> {
        self.control = Control::from_headers(&self.shared.options, &self.head.headers).map_err(Refusal::invalid)?;
        if let Some(name) = self.control.replay.take().or_else(|| replay::name_in_path(target).map(ToOwned::to_owned)) {
            return Err(self.replay(&name));
        }
        let route = match found {
            Found::Route(route) => route,
            Found::WrongMethod(_) => return Err(Refusal::new(405, "Not allowed to use this method here.").into()),
            Found::Nothing(_) => {
                self.peek_model()?;
                return Err(Refusal::new(404, format!("Invalid URL ({target})")).into());
            }
        };
        match route.endpoint {
            Endpoint::Chat => openai::chat::answer(self),
            Endpoint::Completions => openai::completions::answer(self),
            Endpoint::Embeddings => openai::embeddings::answer(self),
            Endpoint::Responses => openai::responses::answer(self),
            Endpoint::Moderations => openai::moderations(self),
            Endpoint::Speech => openai::media::speech(self),
            Endpoint::Transcriptions => openai::media::transcription(self),
            Endpoint::Images => openai::media::image(self),
            Endpoint::Rerank => openai::rerank(self),
            Endpoint::Models => openai::models(self),
            Endpoint::Model(id) => openai::model(self, &id),
            Endpoint::Files(file) => files::answer(self, file),
            Endpoint::Messages => anthropic::answer(self),
            Endpoint::CountTokens => anthropic::count_tokens(self),
        }
    }

    /// On a path the simulator does not know, the model still chooses a recording or a status.
    fn peek_model(&mut self) -> Result<(), Early> {
        #[derive(Deserialize)]
        struct Peek {
            model: String,
        }
        match serde_json::from_slice::<Peek>(self.body) {
            Ok(peek) => self.model(&peek.model),
            Err(_) => self.gate(),
        }
    }

    /// The request body as JSON.
    pub(crate) fn parse<T: Deserialize<'a>>(&self) -> Result<T, Refusal> {
        let body: &'a [u8] = self.body;
        serde_json::from_slice(body)
            .map_err(|e| Refusal::invalid(format!("We could not parse the JSON body of your request: {e}")))
    }

    /// Takes the control in the model's name, and the early answers it asks for.
    pub(crate) fn model(&mut self, model: &str) -> Result<(), Early> {
        let deployment = self.deployment.take();
        if let Some(deployment) = &deployment {
            self.control.add_model(deployment).map_err(Refusal::invalid)?;
        }
        self.control.add_model(model).map_err(Refusal::invalid)?;
        let model = if model.is_empty() { deployment.as_deref().unwrap_or_default() } else { model };
        if model.is_empty() {
            return Err(Refusal::missing("model").into());
        }
        self.facts.model = model.to_owned();
        if let Some(name) = self.control.replay.take() {
            return Err(self.replay(&name));
        }
        self.gate()
    }

    /// The error status that was asked for, if any.
    pub(crate) fn gate(&self) -> Result<(), Early> {
        if let Some((count, status)) = self.control.fail_first {
            let mut attempts = lock(&self.shared.attempts);
            if attempts.len() >= MAX_KEYS && !attempts.contains_key(&self.control.key) {
                attempts.clear();
            }
            let seen = attempts.entry(self.control.key.clone()).or_insert(0);
            *seen += 1;
            if *seen <= count {
                return Err(Refusal::scripted(status, self.control.retry_after).into());
            }
        }
        match self.control.status {
            Some(status) => Err(Refusal::scripted(status, self.control.retry_after).into()),
            None => Ok(()),
        }
    }

    fn replay(&self, name: &str) -> Early {
        match lock(&self.shared.recordings).get(name) {
            Some(replay) => Early::Replay(replay),
            None => Refusal::new(404, format!("no recording is named {name:?}")).into(),
        }
    }

    /// Counts for the usage; `prompt`: of the request, `sent`: tokens the whole answer carries.
    pub(crate) fn count(&mut self, prompt: u64, sent: u64) -> Usage {
        let prompt = self.control.prompt.unwrap_or(prompt);
        let reasoning = self.control.reasoning;
        let usage = Usage { prompt, cached: self.control.cached.min(prompt), output: sent + reasoning, reasoning };
        self.facts.usage = usage;
        usage
    }
}

//! Admission: who calls, what is asked, and whether it is within limits and budget.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock_http1::{Framing, Headers, RequestHead};

use super::denial::denial;
use super::plan::Plan;
use super::{Call, body_failure, named, share};
use crate::auth::key::{KeyShape, parse};
use crate::auth::record::{Key, KeyDenied, Refuser};
use crate::auth::table::Lookup;
use crate::engine::Core;
use crate::errors::{Failure, Kind, Outcome};
use crate::limits::{self, Demand, Now, Payers, SlotGuard};
use crate::listener::exchange::Exchange;
use crate::scan;
use crate::snapshot::{Match, Snapshot};
use crate::surfaces::{Surface, query_value, runs_its_model, text_field};
use crate::tokens::{self, Encoding};

/// An identified caller.
pub(super) struct Who {
    /// `None`: the master key.
    pub(super) key: Option<Arc<Key>>,
    /// Digest, hexadecimal.
    pub(super) token: String,
}

/// Headers that may carry the key, in the order in which they are believed (the control plane's order too).
const CREDENTIALS: [&str; 5] = ["x-litellm-api-key", "authorization", "x-api-key", "api-key", "x-goog-api-key"];

fn credential(headers: &Headers) -> Option<&str> {
    CREDENTIALS.iter().find_map(|name| {
        let value = headers.get_str(name)?.trim();
        let value = match name {
            &"authorization" => match value.split_once(' ') {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
                _ => return None,
            },
            _ => value,
        };
        (!value.is_empty()).then_some(value)
    })
}

/// Finds out whose key was sent.
pub(super) async fn who(core: &Core, headers: &Headers, client: IpAddr, now: Now) -> Outcome<Who> {
    let shared = &core.shared;
    let refused = |kind: Kind, message: &'static str| {
        let failure = Failure::new(kind, message);
        shared.metrics.refused(core.thread, code_of(kind));
        failure
    };
    let Some(secret) = credential(headers) else {
        return Err(refused(
            Kind::KeyMissing,
            "No API key was sent. Send it as `Authorization: Bearer sk-...`, `x-api-key` or `api-key`.",
        ));
    };
    // The digest is taken whatever the key looks like: known and unknown keys cost the same.
    let digest = shared.pepper.digest(secret.as_bytes());
    if shared.snapshot.load().master == Some(digest) {
        return Ok(Who { key: None, token: digest.to_string() });
    }
    let found = match shared.keys.lookup(&digest, now.mono_ns) {
        Lookup::Hit(key) => Some(key),
        Lookup::Unknown | Lookup::Miss if parse(secret).is_err_and(|shape| shape != KeyShape::Custom) => {
            return Err(refused(
                Kind::KeyMalformed,
                "The API key is malformed: keys start with `sk-` and are passed on exactly as they were shown.",
            ));
        }
        Lookup::Unknown => None,
        Lookup::Miss => {
            let Some(answer) = shared.key_hooks.ask(digest) else {
                return Err(refused(
                    Kind::HookFailed,
                    "Too many unknown keys are being checked; try again in a moment.",
                )
                .retry_after(1000));
            };
            let deadline = Duration::from_millis(shared.options.hook_timeout_ms);
            match core.timers.within(deadline, answer).await {
                Ok(Ok(found)) => found,
                _ => {
                    return Err(refused(
                        Kind::HookFailed,
                        "The key could not be checked in time; try again in a moment.",
                    )
                    .retry_after(1000));
                }
            }
        }
    };
    let Some(key) = found else {
        return Err(refused(
            Kind::KeyUnknown,
            "The API key is not known here. Ask whoever gave it to you for a valid one.",
        ));
    };
    key.check(now.unix_ms, client).map_err(|denied| match denied {
        KeyDenied::Blocked => refused(Kind::KeyBlocked, "The API key is blocked. Ask an administrator to unblock it."),
        KeyDenied::Expired => refused(Kind::KeyExpired, "The API key has expired. Ask an administrator for a new one."),
        KeyDenied::AddressNotAllowed => {
            refused(Kind::AddressDenied, "The API key may not be used from this network address.")
        }
    })?;
    if let Some(rules) = key.blocked_scope() {
        shared.metrics.refused(core.thread, code_of(Kind::KeyBlocked));
        return Err(named::blocked(&rules));
    }
    Ok(Who { token: digest.to_string(), key: Some(key) })
}

fn code_of(kind: Kind) -> &'static str {
    match kind {
        Kind::KeyMissing => "missing_api_key",
        Kind::KeyMalformed => "malformed_api_key",
        Kind::KeyUnknown => "invalid_api_key",
        Kind::KeyBlocked => "blocked_api_key",
        Kind::KeyExpired => "expired_api_key",
        Kind::AddressDenied => "address_not_allowed",
        _ => "control_plane_unavailable",
    }
}

/// Who calls, and whether this route is theirs.
pub(super) async fn identify(call: &mut Call, head: &RequestHead) -> Outcome<()> {
    let core = std::rc::Rc::clone(&call.core);
    let who = who(&core, &head.headers, call.client, call.now).await?;
    call.token = who.token;
    call.key = who.key;
    if let Some(key) = &call.key
        && !key.allows_route(path(head), call.surface.kind())
    {
        return Err(Failure::new(Kind::RouteDenied, format!("The API key may not use {}.", call.template)));
    }
    if core.shared.ledger.refuses(core.thread) {
        // No record either: it would have to wait in the same queue.
        call.token.clear();
        core.shared.metrics.refused(core.thread, "overloaded");
        return Err(super::journal::unwritable());
    }
    call.slot = Some(slot(&core, &call.snapshot)?);
    Ok(())
}

/// One of the slots that the calls of all keys share.
pub(crate) fn slot(core: &Core, snapshot: &Snapshot) -> Outcome<SlotGuard> {
    core.shared.slots.enter(snapshot.settings.max_parallel_requests).map_err(|_| {
        Failure::new(Kind::RateParallel, "The gateway has as many calls in flight as it may; try again shortly.")
            .retry_after(1000)
    })
}

/// The path of the request, without its query.
fn path(head: &RequestHead) -> &str {
    let target = std::str::from_utf8(&head.target).unwrap_or_default();
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// Reads the body, now that the caller is known.
pub(super) async fn body(call: &mut Call, head: &RequestHead, exchange: &mut Exchange<'_>) -> Outcome<Bytes> {
    let limit = call.core.shared.options.max_body_bytes;
    if let Framing::Length(n) = head.framing
        && n > limit as u64
    {
        return Err(body_failure(crate::listener::exchange::BodyError::TooLarge, limit));
    }
    let pause = Duration::from_millis(call.core.shared.options.body_timeout_ms);
    let begun = Instant::now();
    let body = exchange.body(limit, pause).await.map_err(|e| body_failure(e, limit))?;
    if head.framing != Framing::None {
        let arrived = Instant::now();
        call.waited = arrived.saturating_duration_since(begun);
        call.now = call.core.shared.clock.at(arrived);
    }
    call.body = body.clone();
    Ok(body)
}

/// Where the model name stands in the request.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A JSON string at this span.
    Json,
    /// A multipart field.
    Part(std::ops::Range<usize>),
    /// Nowhere; it came by query or header, or not at all.
    Outside,
}

/// An admitted request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The scanned body, when it is a JSON object.
    pub(super) json: Option<scan::Body<'a>>,
    pub(super) place: Place,
    pub(super) plan: Plan,
}

/// Reads what is asked and checks it against permissions, limits and budget.
pub(super) async fn admit<'a>(call: &mut Call, head: &RequestHead, body: &'a Bytes) -> Outcome<Request<'a>> {
    let (json, place) = read(call, head, body)?;
    if call.model.len() > NAME {
        let message =
            format!("The model's name is longer than {NAME} bytes. `GET /v1/models` lists those your key may use.");
        return Err(Failure::new(Kind::ModelUnknown, message).param("model"));
    }
    named::find(call, json.as_ref(), head).await?;
    let found = resolve(call)?;
    let opaque = call.surface == Surface::Passthrough;
    if opaque && (matches!(place, Place::Outside) || !runs_its_model(&head.method, path(head))) {
        whole_account(call)?;
    }
    let plan = Plan::of(call, found);
    limits(call, json.as_ref(), &plan).await?;
    Ok(Request { json, place, plan })
}

/// Marks with which JSON in other encodings than plain UTF-8 begins, beside a zero among its first bytes.
const DISGUISES: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// What a body is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Json,
    Form,
    UrlEncoded,
    Opaque,
}

fn content(content_type: &str, body: &[u8]) -> Content {
    // What a provider may read as JSON is read as JSON here, whatever it is called: two readers, one model.
    let said = content_type.to_ascii_lowercase();
    let text = said.is_empty() || said.contains("json") || said.starts_with("text/") || said.starts_with("multipart/");
    let media = ["image/", "audio/", "video/"].iter().any(|m| said.starts_with(m));
    let begins = body.trim_ascii_start().starts_with(b"{")
        || DISGUISES.iter().any(|d| body.starts_with(d))
        || (!media && body.iter().take(4).any(|b| *b == 0));
    if said.starts_with("multipart/form-data") && body.trim_ascii_start().starts_with(b"--") {
        Content::Form
    } else if !body.is_empty() && (text || begins) {
        Content::Json
    } else if !body.is_empty() && said.starts_with("application/x-www-form-urlencoded") {
        Content::UrlEncoded
    } else {
        Content::Opaque
    }
}

fn read<'a>(call: &mut Call, head: &RequestHead, body: &'a Bytes) -> Outcome<(Option<scan::Body<'a>>, Place)> {
    let content_type = || head.headers.get_str("content-type").unwrap_or_default();
    let content = if call.surface.needs_model() { Content::Json } else { content(content_type(), body) };
    if content == Content::Json {
        let json = scan::object(body).map_err(|e| {
            let failure = Failure::new(Kind::BadRequest, format!("Invalid JSON payload: {e}"));
            failure.param(e.param().unwrap_or("request_body"))
        })?;
        call.stream = json.stream;
        call.wants_usage = json.include_usage == Some(true);
        call.end_user = json.user_str().map(|user| bounded(&storable(user)).to_owned());
        if let Some(model) = json.model_str() {
            call.model = model.into_owned();
            return Ok((Some(json), Place::Json));
        }
        if call.surface.needs_model() {
            let failure = Failure::new(Kind::BadRequest, "Missing required parameter: 'model'.");
            return Err(failure.param("model"));
        }
        named_outside(call, head);
        return Ok((Some(json), Place::Outside));
    }
    if content == Content::Form {
        let named = text_field(content_type(), body, "model")
            .map_err(|why| Failure::new(Kind::BadRequest, format!("The multipart body {why}.")).param("model"))?;
        if let Some((model, place)) = named {
            call.model = model.to_owned();
            return Ok((None, Place::Part(place)));
        }
    } else if content == Content::UrlEncoded {
        let message = "A urlencoded body is not served here: send JSON or multipart/form-data.";
        return Err(Failure::new(Kind::BadRequest, message).param("content-type"));
    }
    named_outside(call, head);
    Ok((None, Place::Outside))
}

/// The model of a request whose body names none: by header, by query, or the configured group.
fn named_outside(call: &mut Call, head: &RequestHead) {
    let by_header = ["x-penstock-model", "x-litellm-model"].iter().find_map(|n| head.headers.get_str(n));
    let by_query = || query_value(std::str::from_utf8(&head.target).unwrap_or_default(), "model");
    let model = by_header.map(str::to_owned).or_else(by_query);
    call.model = model.or_else(|| call.snapshot.settings.passthrough_group.clone()).unwrap_or_default();
}

/// Longest name of a client's own making that is kept in a record or shown in an error, in bytes.
const NAME: usize = 256;

/// A client's name as every store keeps it. None has U+0000 in a text, and what is asked for must be what is found.
pub(super) fn storable(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.contains('\0') { name.replace('\0', "\u{fffd}").into() } else { name }
}

/// As much of a client's name as is kept.
pub(super) fn bounded(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME)).unwrap_or_default()
}

/// A request whose model is not what runs (files, batches, ...) reaches whatever the provider account holds, so a key that
/// may use only some models must have been given the route.
fn whole_account(call: &Call) -> Outcome<()> {
    let restricted = |k: &Arc<Key>| !k.may_use_all() && k.record.allowed_routes.is_empty();
    if !call.key.as_ref().is_some_and(restricted) {
        return Ok(());
    }
    let message = "The API key may use only some models, and this route is not confined to one. \
        An administrator can add the route to the key's `allowed_routes`.";
    Err(Failure::new(Kind::RouteDenied, message).param("model"))
}

pub(crate) fn unknown_model(model: &str) -> Failure {
    let shown = bounded(model);
    let message = format!("The model `{shown}` does not exist here. `GET /v1/models` lists those your key may use.");
    Failure::new(Kind::ModelUnknown, message).param("model")
}

fn resolve(call: &mut Call) -> Outcome<Match> {
    if call.model.is_empty() {
        let message = "The request names no model, and no default is configured for this route: \
            send `model` in the body, the `x-penstock-model` header, or set `penstock.routing.passthrough_group`.";
        return Err(Failure::new(Kind::BadRequest, message).param("model"));
    }
    let found = find_model(&call.snapshot, call.key.as_deref(), &call.model)?;
    // From here on what was meant: limits, models and prices of a name hold for whoever calls it by another one.
    if let Some(meant) = call.key.as_ref().and_then(|key| key.model_alias(&call.model)) {
        call.model = meant.to_owned();
    }
    let names = [&*found.group.name, &call.model];
    for scope in &call.named {
        let rules = scope.rules();
        if !rules.allow(&names, &found.group.access_groups) {
            return Err(model_denied(&Refuser::Scope(Arc::clone(&rules)), &call.model));
        }
    }
    call.group = Some(Arc::clone(&found.group));
    Ok(found)
}

/// What a name means to a key, if it may be used.
pub(crate) fn find_model(snapshot: &Snapshot, key: Option<&Key>, model: &str) -> Outcome<Match> {
    let name = key.and_then(|k| k.model_alias(model)).unwrap_or(model);
    let found = snapshot.find(name);
    if let Some(key) = key {
        let (group, access) = found.as_ref().map_or((name, &[][..]), |m| (&*m.group.name, &m.group.access_groups));
        if let Some(refuser) = key.refuses(&[group, name], access) {
            return Err(model_denied(&refuser, model));
        }
    }
    found.ok_or_else(|| unknown_model(model))
}

fn model_denied(refuser: &Refuser, model: &str) -> Failure {
    let model = bounded(model);
    let message = match refuser {
        Refuser::Key => format!("The API key may not use the model `{model}`. `GET /v1/models` lists those it may."),
        Refuser::Scope(rules) => format!(
            "{} may not use the model `{model}`. `GET /v1/models` lists those that the API key may.",
            rules.level()
        ),
    };
    Failure::new(Kind::ModelDenied, message).param("model")
}

/// Bodies beyond this are counted off the thread: hostile text takes a second for each dozen megabytes.
pub(crate) const COUNTED_HERE: usize = 128 * 1024;

/// Takes what the call may need of the limits that it stands under.
async fn limits(call: &mut Call, json: Option<&scan::Body<'_>>, plan: &Plan) -> Outcome<()> {
    let counts_deployment = plan.groups().any(|m| m.group.limits_tokens);
    let mut demand = Demand::default();
    if counts_deployment || payers(call).ask_for_tokens() {
        let encoding = plan.deployments().next().map_or(Encoding::O200kBase, |d| d.tokenizer);
        let prompt = match json {
            Some(json) => prompt_tokens(json, &call.body, encoding).await,
            None => 0,
        };
        call.prompt_tokens = Some(prompt);
        let output = output_bound(call, json, plan);
        demand.tokens = prompt.saturating_add(output);
        // The dearest deployment that a fallback may lead to must be covered too.
        demand.nanos = plan.groups().map(|m| m.worst_case(prompt, output)).max().unwrap_or(0);
    }
    call.reserved_tokens = demand.tokens;
    if call.key.is_none() && call.named.is_empty() {
        return Ok(());
    }
    let admitted = limits::admit(payers(call), demand, call.now);
    let admitted = match admitted {
        Ok(reservation) if call.core.shared.options.shared_limits => share::take(call, reservation, demand).await?,
        admitted => admitted,
    };
    match admitted {
        Ok(reservation) => {
            call.rates = reservation.rates();
            // The ledger charges it to the window that let it in, although it may have begun before that.
            call.started_ms = call.started_ms.max(reservation.since());
            call.reservation = Some(reservation);
            Ok(())
        }
        Err(denied) => {
            call.rates = denied.rates;
            Err(denial(call, &denied))
        }
    }
}

/// Whose limits hold.
pub(super) fn payers(call: &Call) -> Payers<'_> {
    let group = call.group.as_ref().map_or("", |group| &*group.name);
    Payers { key: call.key.as_deref(), named: &call.named, models: [&call.model, group] }
}

/// Prompt tokens, without holding up the thread's other calls for a large body.
async fn prompt_tokens(json: &scan::Body<'_>, body: &Bytes, encoding: Encoding) -> u64 {
    if body.len() <= COUNTED_HERE {
        return tokens::count_prompt(json, encoding) as u64;
    }
    let (found, body) = (json.found().clone(), body.clone());
    let count = move || tokens::count_prompt(&found.within(&body), encoding) as u64;
    tokio::task::spawn_blocking(count).await.unwrap_or(0)
}

/// Prompt tokens of a request body.
pub(crate) fn count(body: &[u8], encoding: Encoding) -> u64 {
    scan::object(body).map_or(0, |json| tokens::count_prompt(&json, encoding) as u64)
}

/// How many tokens the answer may have.
fn output_bound(call: &Call, json: Option<&scan::Body<'_>>, plan: &Plan) -> u64 {
    let generates = matches!(call.surface, Surface::Chat | Surface::Completions | Surface::Messages)
        || call.template == "/v1/responses";
    let Some(json) = json.filter(|_| generates) else { return 0 };
    let default = call.snapshot.settings.default_output_tokens;
    let per_answer = json.max_tokens.unwrap_or_else(|| {
        let bounds = plan.groups().filter_map(|m| m.group.max_output_tokens);
        bounds.max().map_or(default, |bound| bound.min(default))
    });
    per_answer.saturating_mul(json.n)
}

//! What the gateway answers by itself: models, token counts, itself, its health.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::Headers;

use super::method::{Local, services};
use super::stream::Stream;
use super::{Flavour, Origin, health, schema, status, to_json, wire, xai};
use crate::auth::record::Key;
use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind, Outcome};
use crate::listener::transport::HeaderLines;
use crate::phases;
use crate::snapshot::{Deployment, Group};
use crate::stage::Watch;
use crate::tokens;

/// What clients may ping without being told off: as often as gRPC's own servers allow with calls in flight.
const PING_INTERVAL_MS: u64 = 10_000;

/// Largest message of who shows no key: names of services.
pub(super) const KEYLESS: usize = 64 * 1024;

/// Streams of one connection that may go on without a key and without an end, at a time: enough to watch every service.
const KEYLESS_STREAMS: usize = 32;

/// How far the connection is on its way out, for a stream of the kind that is bounded by [`KEYLESS_STREAMS`].
pub(super) fn keyless_watch(origin: Origin<'_>) -> Outcome<Watch<'_>> {
    if std::ptr::eq(origin.stage, &raw const origin.core.stage) {
        // HTTP/1.1 carries one at a time.
        return Ok(origin.stage.watch());
    }
    origin.stage.watch_as_one_of(KEYLESS_STREAMS).ok_or_else(|| {
        let what = format!("The connection has {KEYLESS_STREAMS} streams of health and reflection, as many as it may.");
        Failure::new(Kind::RateParallel, what).retry_after(1000)
    })
}

/// Tells how a call ended, unless that is told.
pub(super) async fn end(done: Outcome<()>, stream: &mut Stream<'_>) {
    if let Err(failure) = done {
        let status = stream.status(&failure);
        let _ = stream.close(&status, HeaderLines::default()).await;
    }
    stream.conclude().await;
}

/// Answers one call.
pub(super) async fn run(
    origin: Origin<'_>,
    local: Local,
    flavour: Flavour,
    headers: &Headers,
    stream: &mut Stream<'_>,
) -> Outcome<()> {
    let core = origin.core;
    let key = if local.is_keyless() { None } else { phases::caller(core, headers, origin.peer, route(local)).await? };
    // What may take as long as a call counts as one.
    let is_work = matches!(local, Local::TokensCount | Local::Xai(xai::Local::TokenizeText));
    let _slot = is_work.then(|| phases::slot(core, &core.shared.snapshot.load())).transpose()?;
    let most = core.shared.options.max_body_bytes;
    let limit = if local.is_keyless() { KEYLESS.min(most) } else { most };
    let pause = Duration::from_millis(core.shared.options.body_timeout_ms);
    let message = stream.message(limit, pause).await.map_err(|e| phases::body_failure(e, limit))?;
    let answer = match local {
        Local::HealthWatch => return health::watch(origin, flavour, stream, &message).await,
        Local::HealthCheck => health::check(core, &message)?,
        Local::HealthList => health::list(core),
        Local::ModelsList => models(core, key.as_deref()),
        Local::ModelsGet => model(core, key.as_deref(), &message)?,
        Local::TokensCount => count(core, key.as_deref(), &message, stream).await?,
        Local::GatewayInfo => info(core),
        Local::Xai(method) => of_xai(core, key, method, message, stream).await?,
    };
    let mut messages = stream.messages();
    messages.put(&answer);
    let gone = |_| Failure::new(Kind::ClientGone, "the client left");
    stream.begin().map_err(gone)?;
    stream.send(&mut messages).await.map_err(gone)?;
    stream.close(&status::Status::OK, HeaderLines::default()).await.map_err(gone)
}

/// The REST route that a key must be allowed to use; `None`: every key may.
fn route(local: Local) -> Option<&'static str> {
    use xai::Local as X;
    match local {
        Local::TokensCount | Local::Xai(X::TokenizeText) => Some("/utils/token_counter"),
        Local::GatewayInfo | Local::Xai(X::ApiKeyInfo) => None,
        _ => Some("/v1/models"),
    }
}

/// `Models.List`.
fn models(core: &Core, key: Option<&Key>) -> Bytes {
    let mut out = BytesMut::new();
    for (id, group) in crate::surfaces::models::listed(&core.shared.snapshot.load(), key) {
        wire::put_message(&mut out, 1, |out| put_model(out, id, group));
    }
    out.freeze()
}

/// `Models.Get`.
fn model(core: &Core, key: Option<&Key>, message: &[u8]) -> Outcome<Bytes> {
    let id = named(message, 1, "id")?;
    let snapshot = core.shared.snapshot.load();
    let group = crate::surfaces::models::find(&snapshot, key, id).ok_or_else(|| phases::unknown_model(id))?;
    let mut out = BytesMut::new();
    wire::put_message(&mut out, 1, |out| put_model(out, id, &group));
    Ok(out.freeze())
}

fn put_model(out: &mut BytesMut, id: &str, group: &Group) {
    wire::put_bytes(out, 1, id.as_bytes());
    if group.created > 0 {
        wire::put_uint(out, 2, group.created);
    }
    wire::put_bytes(out, 3, group.owned_by.as_bytes());
    wire::put_bytes(out, 4, id.as_bytes());
}

/// A text field of a message.
fn named<'a>(message: &'a [u8], field: u32, name: &'static str) -> Outcome<&'a str> {
    let wrong = |what: String| Failure::new(Kind::BadRequest, what).param(name);
    let bytes =
        wire::last_bytes(message, field).map_err(|e| wrong(format!("The request message is malformed: {e}.")))?;
    std::str::from_utf8(bytes).map_err(|_| wrong(format!("`{name}` is not UTF-8.")))
}

/// `Tokens.Count`.
async fn count(core: &Core, key: Option<&Key>, message: &Bytes, stream: &mut Stream<'_>) -> Outcome<Bytes> {
    let wrong = |what: String, param: &'static str| Failure::new(Kind::BadRequest, what).param(param);
    let model = named(message, 1, "model")?;
    let mut text: Option<&[u8]> = None;
    let mut conversation: Option<BytesMut> = None;
    let mut reader = wire::Reader::new(message);
    let malformed = |e| wrong(format!("The request message is malformed: {e}."), "request_body");
    while let Some((field, value)) = reader.next().map_err(malformed)? {
        match (field, value) {
            (2, wire::Value::Bytes(bytes)) => (text, conversation) = (Some(bytes), None),
            (3, wire::Value::Bytes(bytes)) => {
                // A message that comes in several fields is one.
                text = None;
                conversation.get_or_insert_default().extend_from_slice(bytes);
            }
            _ => {}
        }
    }
    let found = phases::find_model(&core.shared.snapshot.load(), key, model)?;
    let first = found.group.deployments.first();
    let encoding = first.map_or_else(Default::default, |d| d.tokenizer);
    let tokens = match (text, conversation) {
        (Some(text), _) => {
            let text = message.slice_ref(text);
            let count = move || match std::str::from_utf8(&text) {
                Ok(text) => Ok(tokens::count(encoding, text) as u64),
                Err(_) => Err(wrong("`text` is not UTF-8.".to_owned(), "text")),
            };
            beside(core, message.len(), stream, count).await?
        }
        (None, Some(conversation)) => {
            let limit = core.shared.options.max_body_bytes;
            let count = move || {
                let mut body = BytesMut::with_capacity(conversation.len() * 2);
                to_json::object_within(&conversation, schema::TOKENS_CONVERSATION, None, limit, &mut body)?;
                Ok(phases::count(&body, encoding))
            };
            beside(core, message.len(), stream, count).await?
        }
        (None, None) => return Err(wrong("Give either `text` or `conversation`.".to_owned(), "input")),
    };
    let mut out = BytesMut::new();
    wire::put_uint(&mut out, 1, tokens);
    let name = first.map_or_else(|| model.to_owned(), |d| d.model.replace('*', &found.wildcard));
    wire::put_bytes(&mut out, 2, name.as_bytes());
    wire::put_uint(&mut out, 3, if first.is_some_and(|d| is_own(d, &name)) { EXACT } else { ESTIMATE });
    wire::put_bytes(&mut out, 4, encoding.name().as_bytes());
    Ok(out.freeze())
}

const EXACT: u64 = 1;
const ESTIMATE: u64 = 2;

/// Whether a deployment's model reads text with the vocabulary that it is counted with, and not merely with a similar one.
fn is_own(deployment: &Deployment, model: &str) -> bool {
    matches!(&*deployment.provider, "openai" | "azure") && tokens::for_model(model) == deployment.tokenizer
}

/// `Gateway.Info`.
fn info(core: &Core) -> Bytes {
    let options = &core.shared.options;
    let mut out = BytesMut::new();
    wire::put_bytes(&mut out, 1, env!("CARGO_PKG_VERSION").as_bytes());
    for service in services(options.grpc.reflection) {
        wire::put_bytes(&mut out, 2, service.as_bytes());
    }
    let state = match core.stage.get() {
        Stage::Running if core.takes_calls() => 1,
        Stage::Running => 2,
        _ => 3,
    };
    wire::put_uint(&mut out, 3, state);
    wire::put_uint(&mut out, 4, options.max_body_bytes as u64);
    wire::put_bytes(&mut out, 5, b"gzip");
    let times = [
        (6, options.grpc.max_connection_age_ms),
        (7, options.grpc.max_connection_age_grace_ms),
        (8, Some(PING_INTERVAL_MS)),
    ];
    for (field, ms) in times {
        if let Some(ms) = ms {
            wire::put_message(&mut out, field, |out| status::duration(out, ms));
        }
    }
    wire::put_uint(&mut out, 9, u64::from(options.max_streams));
    out.freeze()
}

/// A method of xAI's.
async fn of_xai(
    core: &Core,
    key: Option<Arc<Key>>,
    method: xai::Local,
    message: Bytes,
    stream: &mut Stream<'_>,
) -> Outcome<Bytes> {
    let snapshot = core.shared.snapshot.load_full();
    let (size, answer) = (message.len(), move || xai::local(method, &snapshot, key.as_deref(), &message));
    if method == xai::Local::TokenizeText { beside(core, size, stream, answer).await } else { answer() }
}

/// Does what takes long for a large message without holding up the thread's other calls, unless nobody waits for it any
/// more when its turn comes.
async fn beside<T: Send + 'static>(
    core: &Core,
    size: usize,
    stream: &mut Stream<'_>,
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    if size <= phases::COUNTED_HERE {
        return work();
    }
    let done = async {
        let room = Arc::clone(&core.shared.counting).acquire_owned().await;
        let work = move || {
            // Held by the work and not by who waits for it: work that was begun goes on without them.
            let _room = room;
            work()
        };
        tokio::task::spawn_blocking(work).await
    };
    tokio::select! {
        biased;
        done = done => done.unwrap_or_else(|_| Err(Failure::new(Kind::Internal, "The gateway failed on this text."))),
        () = stream.closed() => Err(Failure::new(Kind::ClientGone, "the client left")),
    }
}

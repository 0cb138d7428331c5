//! The standard health service (gRPC's health/v1): whether the gateway takes calls, once or as it changes.
//!
//! It takes calls while it is ready and not on its way out, and all its services with it. No key is asked for: what asks
//! are load balancers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::frame::Messages;
use super::status::Status;
use super::stream::Stream;
use super::{Flavour, Origin, local, method, wire};
use crate::engine::{Core, Stage};
use crate::errors::{Failure, Kind, Outcome};
use crate::listener::exchange::HeaderLines;

const SERVING: u64 = 1;
const NOT_SERVING: u64 = 2;
const SERVICE_UNKNOWN: u64 = 3;

/// What is known of a service; the empty name is the gateway as a whole.
fn status(core: &Core, service: &str) -> u64 {
    if !service.is_empty() && !method::services(core.shared.options.grpc.reflection).any(|s| s == service) {
        SERVICE_UNKNOWN
    } else if core.takes_calls() {
        SERVING
    } else {
        NOT_SERVING
    }
}

/// The field `service` of a request.
fn service(message: &[u8]) -> Outcome<String> {
    let wrong = |what: String| Failure::new(Kind::BadRequest, what).param("service");
    let name = wire::last_bytes(message, 1).map_err(|e| wrong(format!("The request message is malformed: {e}.")))?;
    let name = std::str::from_utf8(name).map_err(|_| wrong("`service` is not UTF-8.".to_owned()))?;
    Ok(name.to_owned())
}

/// `Check`.
pub(super) fn check(core: &Core, message: &[u8]) -> Outcome<Bytes> {
    let name = service(message)?;
    match status(core, &name) {
        SERVICE_UNKNOWN => {
            let shown = name.get(..name.floor_char_boundary(128)).unwrap_or_default();
            let mut failure = Failure::new(Kind::ModelUnknown, format!("There is no service `{shown}` here."));
            failure.code = Some("service_not_found".into());
            Err(failure.param("service"))
        }
        status => {
            let mut out = BytesMut::new();
            wire::put_uint(&mut out, 1, status);
            Ok(out.freeze())
        }
    }
}

/// `List`.
pub(super) fn list(core: &Core) -> Bytes {
    let mut out = BytesMut::new();
    let names = std::iter::once("").chain(method::services(core.shared.options.grpc.reflection));
    for name in names {
        wire::put_message(&mut out, 1, |out| {
            wire::put_bytes(out, 1, name.as_bytes());
            wire::put_message(out, 2, |out| wire::put_uint(out, 1, status(core, name)));
        });
    }
    out.freeze()
}

/// `Watch`: tells the status, and again whenever it changes, until the client has heard enough or the connection ends.
///
/// Over gRPC-Web it ends when a connection may be idle no longer and nothing has changed: there a peer that vanished is not
/// noticed otherwise.
pub(super) async fn watch(
    origin: Origin<'_>,
    flavour: Flavour,
    stream: &mut Stream<'_>,
    message: &[u8],
) -> Outcome<()> {
    let core = origin.core;
    let name = service(message)?;
    let mut ready = core.shared.ready.subscribe();
    let (mut stage, mut connection) = (core.stage.watch(), local::keyless_watch(origin)?);
    let idle = Duration::from_millis(core.shared.options.idle_timeout_ms);
    let mut quiet = core.timers.after(idle);
    let mut told = None;
    let gone = || Failure::new(Kind::ClientGone, "the client left");
    stream.begin().map_err(|_| gone())?;
    loop {
        let now = status(core, &name);
        if told.replace(now) != Some(now) {
            let mut messages = Messages::default();
            let mark = messages.begin();
            wire::put_uint(messages.out(), 1, now);
            messages.end(mark);
            stream.send(&mut messages).await.map_err(|_| gone())?;
            quiet.move_to(Instant::now() + idle);
        }
        let until = if core.stage.get() == Stage::Running { Stage::Draining } else { Stage::Ending };
        tokio::select! {
            biased;
            () = stream.closed() => return Err(gone()),
            () = stage.reached(until) => {}
            // A connection that is told to end would wait for this stream for ever.
            () = connection.reached(Stage::Draining), if until == Stage::Draining => break,
            () = quiet.wait(), if flavour != Flavour::Native => {
                return stream.close(&Status::OK, HeaderLines::default()).await.map_err(|_| gone());
            }
            changed = ready.changed() => if changed.is_err() { break },
        }
        if core.stage.get() == Stage::Ending {
            break;
        }
    }
    let failure = Failure::new(Kind::ShuttingDown, "The connection is about to close; ask again on another.");
    Err(failure.retry_after(100))
}

//! One round with an upstream: connect, send, and hear the head of its answer.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use penstock_http1::{Limits, ResponseHead};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::request;
use crate::engine::Core;
use crate::errors::{Failure, Kind};
use crate::providers::Prepared;
use crate::snapshot::Deployment;
use crate::upstream::Lease;

/// A connection that breaks so soon after a request was written was closed before the request arrived.
const IDLE_CLOSE: Duration = Duration::from_millis(10);

/// Connects, sends, and reads the head of the answer. A reused connection that turns out closed is replaced once.
pub(super) async fn ask(
    core: &Core,
    deployment: &Deployment,
    prepared: &Prepared,
    out: &BytesMut,
    left: Option<Duration>,
    gone: &Notify,
) -> Result<(Lease, ResponseHead), Failure> {
    let left = left.unwrap_or(Duration::MAX);
    let connect = Duration::from_millis(deployment.connect_timeout_ms).min(left);
    let first_byte = Duration::from_millis(deployment.first_byte_timeout_ms).min(left);
    let mut fresh = false;
    let mut told = false;
    loop {
        let mut lease = core.pool.lease(&deployment.origin, connect, fresh).await.map_err(|e| {
            let kind = if e.kind() == io::ErrorKind::TimedOut { Kind::UpstreamTimeout } else { Kind::UpstreamConnect };
            Failure::new(kind, format!("The provider could not be reached: {}.", describe(&e)))
        })?;
        let reused = lease.reused;
        let mut written: Option<Instant> = None;
        let answer = {
            let round = pin!(async {
                let body = (prepared.body.len() > request::INLINE).then(|| prepared.body.pieces());
                let limits = Limits::default();
                let mut parts =
                    std::iter::once(&out[..]).chain(body.into_iter().flatten()).filter(|part| !part.is_empty());
                let mut part = parts.next();
                let mut sent = 0;
                let mut broke: Option<io::Error> = None;
                loop {
                    // The request goes out as long as the upstream takes it, heard all the while: one that refuses early
                    // answers although it never reads the rest.
                    while let Some(bytes) = part {
                        match lease.conn.write_hearing(bytes, &mut sent).await {
                            Ok(true) => (part, sent) = (parts.next(), 0),
                            Ok(false) => break,
                            Err(e) => {
                                broke = Some(e);
                                break;
                            }
                        }
                    }
                    if part.is_none() {
                        written.get_or_insert_with(Instant::now);
                        core.busy.mark();
                    }
                    let heard = if part.is_some() && broke.is_none() {
                        match penstock_http1::parse_response(&mut lease.conn.buf, &limits, false) {
                            Ok(None) => continue,
                            parsed => Ok(parsed),
                        }
                    } else {
                        tokio::select! {
                            biased;
                            read = lease.conn.read_response(&limits, false) => read,
                            () = gone.notified(), if !told => {
                                told = true;
                                let _ = lease.conn.stream.shutdown().await;
                                continue;
                            }
                        }
                    };
                    match heard {
                        Ok(Ok(Some(head))) if head.status < 200 && head.status != 101 => {}
                        Ok(Ok(Some(head))) => {
                            lease.spoiled = part.is_some();
                            return Ok(Ok(Some(head)));
                        }
                        other => return broke.map_or(other, Err),
                    }
                }
            });
            core.timers.within(first_byte, round).await
        };
        let Ok(answer) = answer else {
            let ms = first_byte.as_millis();
            let message = format!("The provider did not begin to answer within {ms} ms.");
            return Err(Failure::new(Kind::UpstreamTimeout, message));
        };
        match answer {
            Ok(Ok(Some(head))) if head.status == 101 => {
                return Err(Failure::new(Kind::UpstreamProtocol, "The provider changed the protocol unasked."));
            }
            Ok(Ok(Some(head))) => return Ok((lease, head)),
            // It closed an idle connection just as it was taken into use. One that took its time had taken the request.
            Ok(Ok(None)) | Err(_) if reused && !told && written.is_none_or(|at| at.elapsed() < IDLE_CLOSE) => {
                fresh = true
            }
            Ok(Ok(None)) => {
                return Err(Failure::new(
                    Kind::UpstreamProtocol,
                    "The provider closed the connection without an answer.",
                ));
            }
            Ok(Err(e)) => {
                return Err(Failure::new(Kind::UpstreamProtocol, format!("The provider's answer is malformed: {e}.")));
            }
            Err(e) => {
                return Err(Failure::new(
                    Kind::UpstreamProtocol,
                    format!("The connection to the provider broke: {}.", describe(&e)),
                ));
            }
        }
    }
}

/// An I/O error without addresses, which are not the client's business.
fn describe(error: &io::Error) -> String {
    error.kind().to_string()
}

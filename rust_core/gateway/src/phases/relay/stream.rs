//! Event streams: frames go to the client as they arrive, with backpressure to the upstream.
//!
//! On the same wire a frame's bytes are not touched, but for the usage that the gateway asked for
//! on its own account. On another wire each event is translated. Either way the call's own polls
//! drive the upstream's socket, and frames that arrived together leave in one write.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::reading::{Ended, Stream};
use crate::errors::{Failure, Kind, Outcome};
use crate::ledger;
use crate::listener::exchange::{Exchange, HeaderLines};
use crate::phases::dispatch::{AFTERMATH, Answer};
use crate::phases::{Call, headers};
use crate::providers::Reading;

/// Bound on reading what an upstream had sent to a client that left, however much there is.
const LONGEST_AFTERMATH: Duration = Duration::from_secs(10);

/// And in bytes: more than sockets hold, so that an upstream which goes on regardless is cut off.
const MOST_AFTERMATH: usize = 8 << 20;

/// Relays an event stream to its end.
pub(super) async fn events(call: &mut Call, mut answer: Answer, exchange: &mut Exchange<'_>) -> Outcome<()> {
    let mut stream = Stream::new(call, &answer);
    call.status = answer.head.status;
    if answer.client_left {
        call.client_gone();
        aftermath(call, &mut stream, answer).await;
        return Ok(());
    }
    if !exchange.started() {
        let lines = match answer.reading {
            Reading::AnthropicToChat => {
                let mut lines = headers::of_translated(call, &answer.head);
                lines.add("content-type", b"text/event-stream; charset=utf-8");
                lines.add("cache-control", b"no-cache");
                lines
            }
            _ => headers::of_answer(call, &answer.head),
        };
        if exchange.start(answer.head.status, &lines, None).is_err() {
            call.client_gone();
            aftermath(call, &mut stream, answer).await;
            return Ok(());
        }
        call.events = true;
    }
    let ended = pump(call, &mut stream, &mut answer, exchange).await;
    stream.report(call);
    match ended {
        Ended::Complete => {
            call.attempt_succeeded();
            if answer.decoder.is_done() && answer.head.keep_alive {
                answer.lease.give_back();
            }
            tell_cost(call, exchange);
            // Before the client has all of the answer.
            if call.usage.is_none() {
                call.checkpoint();
            }
            call.outcome =
                if exchange.finish().await.is_ok() { ledger::Outcome::Ok } else { ledger::Outcome::ClientDisconnect };
        }
        Ended::ToldError(failure) => {
            call.attempt_failed(&failure);
            call.outcome = ledger::Outcome::UpstreamCut;
            call.error_code = Some("upstream_error".to_owned());
            tell_cost(call, exchange);
            let _ = exchange.finish().await;
        }
        Ended::ClientGone => {
            call.client_gone();
            aftermath(call, &mut stream, answer).await;
        }
        Ended::Broken(failure) => {
            call.attempt_failed(&failure);
            call.outcome = ledger::Outcome::UpstreamCut;
            call.error_code = Some(failure.code().to_owned());
            if stream.oversized {
                // The torn frame must not swallow the event.
                exchange.queue(b"\n\n");
            }
            tell_cost(call, exchange);
            exchange.fail(call.surface.api(), &failure, HeaderLines::default()).await;
        }
    }
    Ok(())
}

/// A client that can be told something after its answer hears what it cost.
fn tell_cost(call: &Call, exchange: &mut Exchange<'_>) {
    if let Some(lines) = exchange.trailing() {
        let (usage, source) = call.measured();
        headers::cost(lines, call.charge(&usage, source).0);
    }
}

async fn pump(call: &mut Call, stream: &mut Stream, answer: &mut Answer, exchange: &mut Exchange<'_>) -> Ended {
    let idle = Duration::from_millis(call.deployment.as_ref().map_or(120_000, |d| d.idle_timeout_ms));
    let ping = call.deployment.as_ref().and_then(|d| d.keepalive_ms).map(Duration::from_millis);
    let core = Rc::clone(&call.core);
    // Silence is only measured once this has fired.
    let mut timer = core.timers.after(ping.unwrap_or(idle).min(idle));
    let every = call.checkpoints();
    // When what came since the last checkpoint must be noted; `None`: nothing came.
    let mut due: Option<Instant> = None;
    loop {
        let taken = stream.take(call, answer, Some(exchange));
        if every.is_some() {
            stream.note_told(call);
        }
        if let Some(failure) = exchange.fault() {
            return Ended::Broken(failure);
        }
        match taken {
            // What is queued leaves together with the end of the answer.
            Ok(true) => return stream.verdict(),
            Ok(false) => {}
            Err(failure) => {
                let _ = exchange.flush().await;
                return Ended::Broken(failure);
            }
        }
        let flushed = {
            let mut flushing = pin!(exchange.flush());
            loop {
                tokio::select! {
                    biased;
                    flushed = &mut flushing => break flushed,
                    // A client that does not read holds up the stream, not its accounting.
                    () = timer.wait(), if due.is_some() => {
                        stream.checkpoint(call);
                        due = None;
                    }
                }
            }
        };
        if flushed.is_err() {
            return Ended::ClientGone;
        }
        core.busy.mark();
        // From here on silence is the provider's, not the client's.
        let heard = Instant::now();
        if due.is_some_and(|due| due <= heard) {
            // A stream that never pauses leaves the timer no turn.
            stream.checkpoint(call);
            due = None;
        }
        let read = loop {
            tokio::select! {
                biased;
                read = answer.lease.conn.fill() => break read,
                () = exchange.closed() => return Ended::ClientGone,
                () = timer.wait() => {
                    if due.take().is_some() {
                        stream.checkpoint(call);
                    }
                    let silent = heard.elapsed();
                    if silent >= idle {
                        return Ended::Broken(Failure::new(Kind::UpstreamTimeout, "The provider's stream stalled for longer than allowed."));
                    }
                    let mut next = heard + idle;
                    if let Some(ping) = ping.filter(|_| call.ttft_us.is_none()) {
                        exchange.queue(b": keep-alive\n\n");
                        if exchange.flush().await.is_err() {
                            return Ended::ClientGone;
                        }
                        next = next.min(Instant::now() + ping);
                    }
                    timer.move_to(next);
                }
            }
        };
        match read {
            Ok(n) if n > 0 => {
                if let (Some(every), None) = (every, due) {
                    let at = (heard + every).min(heard + idle);
                    due = Some(at);
                    timer.move_to(at);
                }
            }
            Ok(_) if answer.decoder.eof().is_ok() => {}
            _ => return Ended::Broken(Failure::new(Kind::UpstreamProtocol, "The provider's stream broke off.")),
        }
    }
}

/// The client has gone: the upstream is told by a half-close, and what it had sent by then is counted, as it will be billed.
async fn aftermath(call: &mut Call, stream: &mut Stream, mut answer: Answer) {
    use tokio::io::AsyncWriteExt;
    let _ = tokio::time::timeout(LONGEST_AFTERMATH, async {
        let _ = answer.lease.conn.stream.shutdown().await;
        let mut left = MOST_AFTERMATH;
        while left > 0 && matches!(stream.take(call, &mut answer, None), Ok(false)) {
            match tokio::time::timeout(AFTERMATH, answer.lease.conn.fill()).await {
                Ok(Ok(n)) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
    })
    .await;
    stream.report(call);
}

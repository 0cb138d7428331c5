//! Answers that are not event streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::Framing;
use tokio::io::AsyncWriteExt;

use super::WHOLE;
use crate::errors::{Failure, Kind, Outcome, told};
use crate::ledger;
use crate::listener::exchange::Exchange;
use crate::phases::Call;
use crate::phases::dispatch::{AFTERMATH, Answer};
use crate::phases::headers;
use crate::providers::{Reading, anthropic, openai};

/// Bytes at either end of an opaque answer in which usage is looked for.
const TAIL: usize = 16 * 1024;
/// A translated answer must be held whole; no provider's is near this.
const TRANSLATED: usize = 64 << 20;

/// What became of reading a piece.
enum Read {
    Piece(Option<Bytes>),
    Broken(Failure),
    ClientGone,
}

async fn read(call: &Call, answer: &mut Answer, exchange: &mut Exchange<'_>) -> Read {
    let (mut idle_ms, mut total) = (120_000, None);
    if let Some(d) = &call.deployment {
        idle_ms = d.idle_timeout_ms;
        total = d.total_timeout_ms.map(|t| Duration::from_millis(t).saturating_sub(call.started.elapsed()));
    }
    let wait = total.map_or(Duration::from_millis(idle_ms), |t| t.min(Duration::from_millis(idle_ms)));
    tokio::select! {
        biased;
        piece = call.core.timers.within(wait, answer.lease.conn.read_body(&mut answer.decoder)) => match piece {
            Ok(Ok(Ok(piece))) => Read::Piece(piece),
            Ok(_) if answer.client_left => Read::ClientGone,
            Ok(_) => Read::Broken(Failure::new(Kind::UpstreamProtocol, "The provider's answer broke off.")),
            Err(_) => Read::Broken(Failure::new(Kind::UpstreamTimeout, "The provider's answer stalled for longer than allowed.")),
        },
        () = exchange.closed() => Read::ClientGone,
    }
}

/// Reads the answer, then passes it on with its cost; one that outgrows [`WHOLE`] goes on as it comes.
pub(super) async fn whole(call: &mut Call, mut answer: Answer, exchange: &mut Exchange<'_>) -> Outcome<()> {
    let translated = answer.reading == Reading::AnthropicToChat || exchange.wants_whole();
    let limit = if translated || exchange.started() { TRANSLATED } else { WHOLE };
    let mut pieces: Vec<Bytes> = Vec::with_capacity(2);
    let mut size = 0;
    loop {
        match read(call, &mut answer, exchange).await {
            Read::Piece(Some(piece)) => {
                size += piece.len();
                pieces.push(piece);
                if size > limit {
                    if limit == TRANSLATED {
                        return Err(Failure::new(
                            Kind::UpstreamProtocol,
                            "The provider's answer is too large to translate.",
                        ));
                    }
                    return opaque(call, answer, exchange, pieces).await;
                }
            }
            Read::Piece(None) => break,
            Read::Broken(failure) => {
                call.attempt_failed(&failure);
                return Err(failure);
            }
            Read::ClientGone => {
                call.client_gone();
                aftermath(call, answer, pieces).await;
                return Ok(());
            }
        }
    }
    let body = join(pieces);
    call.attempt_succeeded();
    call.first_byte();
    call.status = answer.head.status;
    let (body, translated) = understand(call, &answer, body)?;
    if exchange.started() {
        give_back(answer);
        return Err(Failure::new(
            Kind::UpstreamProtocol,
            "The provider answered a streamed request without streaming.",
        ));
    }
    if let Err(failure) = exchange.accept(&body) {
        give_back(answer);
        return Err(failure);
    }
    let mut lines = headers::of_answer(call, &answer.head);
    if translated {
        lines = {
            let mut own = headers::of_translated(call, &answer.head);
            own.add("content-type", b"application/json");
            own
        };
    }
    let (usage, source) = call.measured();
    let cost = call.charge(&usage, source).0;
    headers::cost(&mut lines, cost);
    // Before the client has the answer.
    call.note(usage, source, cost);
    let status = answer.head.status;
    give_back(answer);
    if exchange.full(status, &lines, body).await.is_err() {
        // The provider did its work: the usage stands, whoever got it.
        call.client_gone();
    } else if call.error_code.is_some() {
        call.outcome = ledger::Outcome::Error;
    } else {
        call.outcome = ledger::Outcome::Ok;
    }
    Ok(())
}

fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|p| joined.extend_from_slice(p));
    joined.freeze()
}

/// The client has gone: the upstream is told by a half-close, and an answer that was on its way is still counted.
async fn aftermath(call: &mut Call, mut answer: Answer, mut pieces: Vec<Bytes>) {
    let mut size: usize = pieces.iter().map(Bytes::len).sum();
    let whole = tokio::time::timeout(AFTERMATH, async {
        let _ = answer.lease.conn.stream.shutdown().await;
        while let Ok(Ok(piece)) = answer.lease.conn.read_body(&mut answer.decoder).await {
            let Some(piece) = piece else { return true };
            size += piece.len();
            pieces.push(piece);
            if size > WHOLE {
                return false;
            }
        }
        false
    })
    .await;
    let body = join(pieces);
    if whole == Ok(true) {
        let _ = understand(call, &answer, body);
    } else {
        call.meter.frame(&body);
    }
}

/// Usage of a whole answer, and the answer in the client's dialect.
fn understand(call: &mut Call, answer: &Answer, body: Bytes) -> Outcome<(Bytes, bool)> {
    match answer.reading {
        Reading::OpenAi => {
            call.usage = openai::find_usage(&body);
            if call.usage.is_none() {
                call.meter.text(&openai::generated_text(&body));
            }
            if call.usage.is_none() && told::in_answer(&body).is_some() {
                // Some providers answer 200 and say in the body that they failed.
                call.answered = false;
                call.error_code = Some("upstream_error".to_owned());
            }
            Ok((body, false))
        }
        Reading::Anthropic => {
            let mut watch = anthropic::UsageWatch::default();
            watch.body(&body);
            call.usage = watch.usage();
            if call.usage.is_none() {
                call.meter.text(&anthropic::generated_text(&body));
            }
            Ok((body, false))
        }
        Reading::AnthropicToChat => {
            let context = anthropic::ResponseContext { model: &call.model, created: call.started_ms / 1000 };
            let (translated, _) = anthropic::response(&body, &context).map_err(|e| {
                Failure::new(Kind::UpstreamProtocol, format!("The provider's answer could not be read: {e}."))
            })?;
            let mut watch = anthropic::UsageWatch::default();
            watch.body(&body);
            call.usage = watch.usage();
            if call.usage.is_none() {
                call.meter.text(&anthropic::generated_text(&body));
            }
            Ok((Bytes::from(translated), true))
        }
    }
}

fn give_back(answer: Answer) {
    if answer.decoder.is_done() && answer.head.keep_alive {
        answer.lease.give_back();
    }
}

/// Passes the answer on as it comes; usage is looked for at its end.
pub(super) async fn opaque(
    call: &mut Call,
    mut answer: Answer,
    exchange: &mut Exchange<'_>,
    already: Vec<Bytes>,
) -> Outcome<()> {
    let lines = headers::of_answer(call, &answer.head);
    let length = match answer.head.framing {
        Framing::Length(n) => Some(n),
        Framing::None => Some(0),
        _ => None,
    };
    call.status = answer.head.status;
    call.first_byte();
    if exchange.start(answer.head.status, &lines, length).is_err() {
        call.client_gone();
        return Ok(());
    }
    let mut ends = Ends::default();
    for piece in already {
        ends.see(&piece);
        exchange.queue(&piece);
    }
    loop {
        if exchange.flush().await.is_err() {
            call.client_gone();
            return Ok(());
        }
        match read(call, &mut answer, exchange).await {
            Read::Piece(Some(piece)) => {
                ends.see(&piece);
                exchange.queue(&piece);
            }
            Read::Piece(None) => break,
            Read::ClientGone => {
                call.client_gone();
                return Ok(());
            }
            Read::Broken(failure) => {
                call.attempt_failed(&failure);
                call.outcome = ledger::Outcome::UpstreamCut;
                call.error_code = Some(failure.code().to_owned());
                exchange.abort();
                return Ok(());
            }
        }
    }
    call.attempt_succeeded();
    for text in [&ends.head[..], &ends.tail[..]] {
        match answer.reading {
            Reading::OpenAi => call.usage = openai::find_usage(text).or(call.usage),
            _ => {
                let mut watch = anthropic::UsageWatch::default();
                watch.fragment(text);
                call.usage = watch.usage().or(call.usage);
            }
        }
    }
    give_back(answer);
    call.checkpoint_told();
    if exchange.finish().await.is_ok() {
        call.outcome = ledger::Outcome::Ok;
    } else {
        call.client_gone();
    }
    Ok(())
}

/// The two ends of a long answer: usage stands first or last.
#[derive(Default)]
struct Ends {
    head: Vec<u8>,
    tail: BytesMut,
}

impl Ends {
    fn see(&mut self, piece: &[u8]) {
        let room = TAIL.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or_default());
        self.tail.extend_from_slice(piece);
        if self.tail.len() > 4 * TAIL {
            let _ = self.tail.split_to(self.tail.len() - TAIL);
        }
    }
}

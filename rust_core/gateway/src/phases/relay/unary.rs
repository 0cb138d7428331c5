//! Answers that are not event streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use penstock_http1::Framing;

use super::{WHOLE, client_gone};
use crate::errors::{Failure, Kind, Outcome};
use crate::ledger;
use crate::listener::exchange::Exchange;
use crate::phases::Call;
use crate::phases::dispatch::Answer;
use crate::phases::headers;
use crate::providers::{Reading, anthropic, openai};

/// Bytes at the end of an opaque answer in which usage is looked for.
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
        piece = tokio::time::timeout(wait, answer.lease.conn.read_body(&mut answer.decoder)) => match piece {
            Ok(Ok(Ok(piece))) => Read::Piece(piece),
            Ok(_) => Read::Broken(Failure::new(Kind::UpstreamProtocol, "The provider's answer broke off.")),
            Err(_) => Read::Broken(Failure::new(Kind::UpstreamTimeout, "The provider's answer stalled for longer than allowed.")),
        },
        () = exchange.closed() => Read::ClientGone,
    }
}

/// Reads the answer, then passes it on with its cost; one that outgrows [`WHOLE`] goes on as it comes.
pub(super) async fn whole(call: &mut Call, mut answer: Answer, exchange: &mut Exchange<'_>) -> Outcome<()> {
    let limit = if answer.reading == Reading::AnthropicToChat { TRANSLATED } else { WHOLE };
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
            Read::Broken(failure) => return Err(failure),
            Read::ClientGone => {
                client_gone(call);
                return Ok(());
            }
        }
    }
    let body = match pieces.len() {
        1 => pieces.pop().unwrap_or_default(),
        _ => {
            let mut joined = BytesMut::with_capacity(size);
            pieces.iter().for_each(|p| joined.extend_from_slice(p));
            joined.freeze()
        }
    };
    call.first_byte();
    call.status = answer.head.status;
    let (body, translated) = understand(call, &answer, body)?;
    let mut lines = headers::of_answer(call, &answer.head);
    if translated {
        lines = {
            let mut own = headers::of_translated(call, &answer.head);
            own.add("content-type", b"application/json");
            own
        };
    }
    if let Some(usage) = &call.usage {
        headers::cost(&mut lines, call.cost(usage).0);
    }
    let status = answer.head.status;
    give_back(answer);
    if exchange.full(status, &lines, body).await.is_ok() {
        call.outcome = ledger::Outcome::Ok;
    } else {
        // The provider did its work: the usage stands, whoever got it.
        client_gone(call);
    }
    Ok(())
}

/// Usage of a whole answer, and the answer in the client's dialect.
fn understand(call: &mut Call, answer: &Answer, body: Bytes) -> Outcome<(Bytes, bool)> {
    match answer.reading {
        Reading::OpenAi => {
            call.usage = openai::find_usage(&body);
            if call.usage.is_none() {
                call.meter.text(&openai::generated_text(&body));
            }
            Ok((body, false))
        }
        Reading::Anthropic => {
            let mut watch = anthropic::UsageWatch::default();
            watch.body(&body);
            call.usage = watch.usage();
            Ok((body, false))
        }
        Reading::AnthropicToChat => {
            let context = anthropic::ResponseContext { model: &call.model, created: call.started_ms / 1000 };
            let (translated, usage) = anthropic::response(&body, &context).map_err(|e| {
                Failure::new(Kind::UpstreamProtocol, format!("The provider's answer could not be read: {e}."))
            })?;
            call.usage = Some(usage);
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
        client_gone(call);
        return Ok(());
    }
    let mut tail = BytesMut::new();
    for piece in already {
        remember(&mut tail, &piece);
        exchange.queue(piece);
    }
    loop {
        if exchange.flush().await.is_err() {
            client_gone(call);
            return Ok(());
        }
        match read(call, &mut answer, exchange).await {
            Read::Piece(Some(piece)) => {
                remember(&mut tail, &piece);
                exchange.queue(piece);
            }
            Read::Piece(None) => break,
            Read::ClientGone => {
                client_gone(call);
                return Ok(());
            }
            Read::Broken(failure) => {
                call.outcome = ledger::Outcome::UpstreamCut;
                call.error_code = Some(failure.code().to_owned());
                exchange.abort();
                return Ok(());
            }
        }
    }
    call.usage = match answer.reading {
        Reading::OpenAi => openai::find_usage(&tail),
        _ => None,
    };
    give_back(answer);
    if exchange.finish().await.is_ok() {
        call.outcome = ledger::Outcome::Ok;
    } else {
        client_gone(call);
    }
    Ok(())
}

fn remember(tail: &mut BytesMut, piece: &[u8]) {
    tail.extend_from_slice(piece);
    if tail.len() > 4 * TAIL {
        let _ = tail.split_to(tail.len() - TAIL);
    }
}

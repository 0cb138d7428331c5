//! Relay: the answer passes from the upstream's socket to the client's, watched for usage.

mod meter;
mod openai_frame;
mod reading;
mod stream;
mod unary;

use penstock_http1::Framing;

pub(crate) use meter::Meter;

use super::Call;
use super::dispatch::Answer;
use crate::errors::Outcome;
use crate::listener::exchange::Exchange;
use crate::providers::Reading;

/// Answers up to this size are read whole, so that their cost can be told in a header.
const WHOLE: usize = 1 << 20;

/// Passes the answer on.
pub(super) async fn relay(call: &mut Call, answer: Box<Answer>, exchange: &mut Exchange<'_>) -> Outcome<()> {
    let content_type = answer.head.headers.get("content-type").unwrap_or_default();
    let event_stream = content_type.get(..17).is_some_and(|t| t.eq_ignore_ascii_case(b"text/event-stream"));
    if event_stream {
        return stream::events(call, *answer, exchange).await;
    }
    let json = memchr::memmem::find(content_type, b"json").is_some();
    let small = matches!(answer.head.framing, Framing::None)
        || matches!(answer.head.framing, Framing::Length(n) if n <= WHOLE as u64);
    if exchange.started() || answer.reading == Reading::AnthropicToChat || exchange.wants_whole() {
        // An event stream was begun for it, or it must be translated: it cannot pass as it is.
        return unary::whole(call, *answer, exchange).await;
    }
    if json || small {
        return unary::whole(call, *answer, exchange).await;
    }
    unary::opaque(call, *answer, exchange, Vec::new()).await
}

//! A message as Anthropic's events.

use bytes::Bytes;

use super::{Reply, SIGNATURE};
use crate::faults::Faults;
use crate::json::quoted;
use crate::output::Output;
use crate::plan::{Plan, Template};

/// `message_start`, blocks with a `ping` after the first start, `message_delta` with the final
/// usage, `message_stop`.
pub(super) fn plan(reply: &Reply, faults: &Faults) -> Plan {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let mut plan = Plan::new(Bytes::from(format!("event: error\ndata: {error}\n\n")));
    let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let start = |index: usize, block: &str| {
        event("content_block_start", &format!(",\"index\":{index},\"content_block\":{block}"))
    };
    let delta = |index: usize, kind: &str, field: &str, value: &str| {
        let delta = format!("{{\"type\":\"{kind}\",\"{field}\":\"{value}\"}}");
        event("content_block_delta", &format!(",\"index\":{index},\"delta\":{delta}"))
    };
    let stop = |index: usize| event("content_block_stop", &format!(",\"index\":{index}"));

    let usage = if reply.no_usage { String::new() } else { format!(",\"usage\":{}", reply.usage(1)) };
    let message = format!(
        ",\"message\":{{\"id\":\"{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[],\"stop_reason\":null,\"stop_sequence\":null{usage}}}",
        reply.id(),
        reply.model
    );
    plan.event(event("message_start", &message));
    let ping = event("ping", "");
    let mut index = 0;
    if let Some(words) = &reply.thinking {
        plan.event(start(index, r#"{"type":"thinking","thinking":"","signature":""}"#));
        plan.event(ping.clone());
        plan.words(words.clone(), Template::new(&delta(index, "thinking_delta", "thinking", "\u{1a}")));
        plan.event(delta(index, "signature_delta", "signature", SIGNATURE));
        plan.event(stop(index));
        index += 1;
    }
    let (block, kind, field) = match &reply.output {
        Output::Call { name, .. } => {
            let block = format!(
                r#"{{"type":"tool_use","id":"toolu_sim{:016}","name":{},"input":{{}}}}"#,
                reply.seq,
                quoted(name)
            );
            (block, "input_json_delta", "partial_json")
        }
        _ => (r#"{"type":"text","text":""}"#.to_owned(), "text_delta", "text"),
    };
    plan.event(start(index, &block));
    if index == 0 {
        plan.event(ping);
    }
    if kind == "input_json_delta" {
        plan.event(delta(index, kind, field, ""));
    }
    plan.tokens(&reply.output, 1, |_| Template::new(&delta(index, kind, field, "\u{1a}")));
    plan.event(stop(index));
    let (reason, sequence) = reply.stop();
    let usage =
        if reply.no_usage { String::new() } else { format!(",\"usage\":{{\"output_tokens\":{}}}", reply.usage.output) };
    let ending = format!(",\"delta\":{{\"stop_reason\":\"{reason}\",\"stop_sequence\":{sequence}}}{usage}");
    plan.event(event("message_delta", &ending));
    if !faults.no_done {
        plan.event(event("message_stop", ""));
    }
    plan
}

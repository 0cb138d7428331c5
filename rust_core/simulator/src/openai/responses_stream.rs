//! A response as its full sequence of lifecycle events, numbered without gaps.

use bytes::Bytes;

use super::responses::Response;
use crate::faults::Faults;
use crate::json::quoted;
use crate::output::Output;
use crate::plan::{Plan, Template};

pub(super) fn plan(response: &Response, faults: &Faults) -> Plan {
    let error = r#"{"type":"error","code":"server_error","message":"The server had an error while processing your request.","param":null,"sequence_number":0}"#;
    let mut plan = Plan::new(Bytes::from(format!("event: error\ndata: {error}\n\n")));
    let seq = response.seq;
    let event = |plan: &mut Plan, name: &str, rest: &str| {
        let number = plan.events;
        plan.event(format!("event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{number},{rest}}}\n\n"));
    };
    // The hole for the number is U+001B, the one for the token U+001A.
    let delta = |name: &str, item: &str| {
        let place = format!("\"item_id\":\"{item}\",\"output_index\":0");
        let logprobs = if item.starts_with("msg") { ",\"content_index\":0,\"logprobs\":[]" } else { "" };
        Template::new(&format!(
            "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":\u{1b},{place}{logprobs},\"delta\":\"\u{1a}\"}}\n\n"
        ))
    };
    for name in ["response.created", "response.in_progress"] {
        event(&mut plan, name, &format!("\"response\":{}", response.object(false)));
    }
    event(&mut plan, "response.output_item.added", &format!("\"output_index\":0,\"item\":{}", response.item(false)));
    match &response.output {
        Output::Call { name, .. } => {
            let item = format!("fc_sim{seq:016}");
            plan.tokens(&response.output, 1, |_| delta("response.function_call_arguments.delta", &item));
            let arguments = response.text();
            let rest = format!(
                "\"item_id\":\"{item}\",\"output_index\":0,\"name\":{},\"arguments\":\"{arguments}\"",
                quoted(name)
            );
            event(&mut plan, "response.function_call_arguments.done", &rest);
        }
        _ => {
            let item = format!("msg_sim{seq:016}");
            let place = format!("\"item_id\":\"{item}\",\"output_index\":0,\"content_index\":0");
            let part = |done| format!("{place},\"part\":{}", response.part(done));
            event(&mut plan, "response.content_part.added", &part(false));
            plan.tokens(&response.output, 1, |_| delta("response.output_text.delta", &item));
            let text = format!("{place},\"logprobs\":[],\"text\":\"{}\"", response.text());
            event(&mut plan, "response.output_text.done", &text);
            event(&mut plan, "response.content_part.done", &part(true));
        }
    }
    event(&mut plan, "response.output_item.done", &format!("\"output_index\":0,\"item\":{}", response.item(true)));
    if !faults.no_done {
        event(&mut plan, response.last_event(), &format!("\"response\":{}", response.object(true)));
    }
    plan
}

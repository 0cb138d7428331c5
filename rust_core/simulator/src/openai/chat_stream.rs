//! A chat completion as `chat.completion.chunk` events.

use super::chat::{Chat, FILTER};
use super::{error_event, usage_json};
use crate::faults::Faults;
use crate::json::quoted;
use crate::output::Output;
use crate::plan::{Plan, Template};

/// OpenAI's order: role, deltas, finish, usage (with no choices), `[DONE]`; on Azure the verdict on
/// the prompt comes first, in a chunk without choices.
pub(super) fn plan(chat: &Chat, include_usage: bool, faults: &Faults) -> Plan {
    let Chat { model, created, seq, .. } = chat;
    let mut plan = Plan::new(error_event());
    let include_usage = include_usage && !faults.no_usage;
    let usage_null = if include_usage { r#","usage":null"# } else { "" };
    let head = format!(
        r#"data: {{"id":"chatcmpl-sim{seq:016}","object":"chat.completion.chunk","created":{created},"model":{model},"service_tier":"default","system_fingerprint":"fp_sim0000001","choices":["#
    );
    let filter = if chat.azure { format!(r#","content_filter_results":{FILTER}"#) } else { String::new() };
    let chunk = |choice: u32, delta: &str, finish: &str| {
        format!(
            r#"{head}{{"index":{choice},"delta":{delta}{filter},"logprobs":null,"finish_reason":{finish}}}]{usage_null}}}{}"#,
            "\n\n"
        )
    };
    if chat.azure {
        plan.event(format!(
            r#"data: {{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{{"prompt_index":0,"content_filter_results":{FILTER}}}]}}{}"#,
            "\n\n"
        ));
    }
    for choice in 0..chat.choices {
        let role = match &chat.output {
            Output::Call { name, .. } => format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"index":0,"id":"call_sim{seq:016}_{choice}","type":"function","function":{{"name":{},"arguments":""}}}}],"refusal":null}}"#,
                quoted(name)
            ),
            _ => r#"{"role":"assistant","content":"","refusal":null}"#.to_owned(),
        };
        plan.event(chunk(choice, &role, "null"));
    }
    let delta = match &chat.output {
        Output::Call { .. } => "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\u{1a}\"}}]}",
        _ => "{\"content\":\"\u{1a}\"}",
    };
    plan.tokens(&chat.output, chat.choices, |choice| Template::new(&chunk(choice, delta, "null")));
    for choice in 0..chat.choices {
        plan.event(chunk(choice, "{}", &quoted(chat.finish)));
    }
    if include_usage {
        plan.event(format!("{head}],\"usage\":{}}}\n\n", usage_json(&chat.usage)));
    }
    if !faults.no_done {
        plan.event("data: [DONE]\n\n");
    }
    plan
}

//! `POST /completions`, the legacy endpoint: `prompt` may be a text, a list of texts, or tokens.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat::StreamOptions;
use super::{choices, error_event, sent, usage_json};
use crate::call::{Call, Early};
use crate::json::{put, quoted};
use crate::output::{Ask, Finish, Stops, tree};
use crate::plan::{Plan, Template};
use crate::reply::{Answer, Refusal, Unary};
use crate::text::Text;

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    n: Option<u32>,
    #[serde(borrow)]
    stop: Option<Stops<'a>>,
}

/// How many prompts there are: a list of numbers is one.
fn prompts(prompt: Option<&RawValue>) -> u32 {
    match tree(prompt) {
        serde_json::Value::Array(all) if all.iter().any(|p| !p.is_number()) => {
            u32::try_from(all.len()).unwrap_or(u32::MAX)
        }
        _ => 1,
    }
}

pub(crate) fn answer(call: &mut Call<'_>) -> Result<Answer, Early> {
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let prompt = request.prompt.ok_or_else(|| Refusal::missing("prompt"))?;
    let text: Text = serde_json::from_str(prompt.get()).map_err(|e| Refusal::invalid(format!("prompt: {e}")))?;
    // Choices come prompt by prompt: n for each.
    let all = choices(Some(prompts(request.prompt).saturating_mul(choices(request.n)?)))?;
    let ask = Ask { max: request.max_tokens, choices: all, ..Ask::default() }.with_stops(request.stop);
    ask.check(&call.control, request.stream == Some(true))?;
    let (output, finish) = ask.decide(&call.control);
    let tokens = sent(&output, all);
    let usage = call.count(text.words, tokens);
    let finish = if finish == Finish::Length { "length" } else { "stop" };
    let faults = &call.control.faults;
    let head = format!(
        r#"{{"id":"cmpl-sim{:016}","object":"text_completion","created":{},"model":{},"system_fingerprint":"fp_sim0000001","choices":["#,
        call.seq,
        call.created,
        quoted(&call.facts.model)
    );
    if request.stream == Some(true) {
        let include_usage = request.stream_options.and_then(|o| o.include_usage).unwrap_or(false) && !faults.no_usage;
        let usage_null = if include_usage { r#","usage":null"# } else { "" };
        let chunk = |choice: u32, text: &str, finish: &str| {
            format!(
                "data: {head}{{\"text\":\"{text}\",\"index\":{choice},\"logprobs\":null,\"finish_reason\":{finish}}}]{usage_null}}}\n\n"
            )
        };
        let mut plan = Plan::new(error_event());
        plan.tokens(&output, all, |choice| Template::new(&chunk(choice, "\u{1a}", "null")));
        for choice in 0..all {
            plan.event(chunk(choice, "", &quoted(finish)));
        }
        if include_usage {
            plan.event(format!("data: {head}],\"usage\":{}}}\n\n", usage_json(&usage)));
        }
        if !faults.no_done {
            plan.event("data: [DONE]\n\n");
        }
        call.facts.stream = true;
        return Ok(Answer::Stream(plan));
    }
    let mut out = BytesMut::with_capacity(1024);
    out.put_slice(head.as_bytes());
    for choice in 0..all {
        if choice > 0 {
            out.put_u8(b',');
        }
        out.put_slice(br#"{"text":""#);
        output.put(choice as usize, &mut out);
        put!(out, r#"","index":{choice},"logprobs":null,"finish_reason":"{finish}"}}"#);
    }
    out.put_u8(b']');
    if !faults.no_usage {
        put!(out, r#","usage":{}"#, usage_json(&usage));
    }
    out.put_u8(b'}');
    Ok(Answer::Unary(Unary::json(out.freeze()).tokens(tokens)))
}

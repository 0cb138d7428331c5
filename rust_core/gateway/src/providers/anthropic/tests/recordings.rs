//! Every recorded exchange, translated and watched, against figures read from the recording itself.

use serde_json::{Map, Value, json};

use super::support::{CONTEXT, collect, events, name, read, recordings, translate};
use crate::providers::anthropic::media::decode_base64;
use crate::providers::anthropic::{UsageWatch, error, response};
use crate::usage::Usage;

fn figure(usage: &Map<String, Value>, name: &str) -> u64 {
    usage.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn expected_usage(usage: &Map<String, Value>) -> Usage {
    let cached = figure(usage, "cache_read_input_tokens");
    let cache_write = figure(usage, "cache_creation_input_tokens");
    let reasoning = usage.get("output_tokens_details").and_then(|details| details["thinking_tokens"].as_u64());
    Usage {
        prompt: figure(usage, "input_tokens") + cached + cache_write,
        completion: figure(usage, "output_tokens"),
        cached,
        cache_write,
        reasoning: reasoning.unwrap_or(0),
    }
}

fn expected_finish(stop_reason: &Value) -> &'static str {
    match stop_reason.as_str().unwrap() {
        "end_turn" | "stop_sequence" | "pause_turn" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => panic!("{other}"),
    }
}

/// The message that a stream adds up to, computed the way Anthropic's own clients do. A restarted message replaces the
/// former one; `said` is all text of both.
#[derive(Default)]
struct Message {
    said: String,
    thought: String,
    blocks: Vec<Value>,
    inputs: Vec<String>,
    usage: Map<String, Value>,
    stop_reason: Value,
    starts: Vec<String>,
}

fn append(value: &mut Value, more: &Value) {
    *value = json!(format!("{}{}", value.as_str().unwrap_or(""), more.as_str().unwrap_or("")));
}

fn accumulate(events: &[(String, String)]) -> Message {
    let mut message = Message::default();
    for (_, data) in events {
        let event: Value = serde_json::from_str(data).unwrap();
        let at = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => {
                message.starts.push(event["message"]["id"].as_str().unwrap().to_owned());
                message.blocks.clear();
                message.inputs.clear();
                message.usage = event["message"]["usage"].as_object().unwrap().clone();
            }
            "content_block_start" => {
                assert_eq!(message.blocks.len(), at);
                message.said += event["content_block"]["text"].as_str().unwrap_or("");
                message.thought += event["content_block"]["thinking"].as_str().unwrap_or("");
                message.blocks.push(event["content_block"].clone());
                message.inputs.push(String::new());
            }
            "content_block_delta" => {
                let (delta, block) = (&event["delta"], &mut message.blocks[at]);
                match delta["type"].as_str().unwrap() {
                    "text_delta" => message.said += delta["text"].as_str().unwrap(),
                    "thinking_delta" => {
                        message.thought += delta["thinking"].as_str().unwrap();
                        append(&mut block["thinking"], &delta["thinking"]);
                    }
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "input_json_delta" => message.inputs[at] += delta["partial_json"].as_str().unwrap(),
                    "citations_delta" => {
                        if !block["citations"].is_array() {
                            block["citations"] = json!([]);
                        }
                        block["citations"].as_array_mut().unwrap().push(delta["citation"].clone());
                    }
                    "compaction_delta" => append(&mut block["content"], &delta["content"]),
                    other => panic!("{other}"),
                }
            }
            "message_delta" => {
                message.stop_reason = event["delta"]["stop_reason"].clone();
                for (name, value) in event["usage"].as_object().unwrap() {
                    message.usage.insert(name.clone(), value.clone());
                }
            }
            _ => {}
        }
    }
    for (block, input) in message.blocks.iter_mut().zip(&message.inputs) {
        if !input.is_empty() {
            block["input"] = serde_json::from_str(input).unwrap();
        }
    }
    message
}

fn of_kind<'a>(blocks: &'a [Value], kinds: &'a [&str]) -> impl Iterator<Item = &'a Value> {
    blocks.iter().filter(|block| kinds.contains(&block["type"].as_str().unwrap()))
}

fn others(blocks: &[Value]) -> Vec<Value> {
    let known = ["text", "thinking", "redacted_thinking", "tool_use"];
    blocks.iter().filter(|block| !known.contains(&block["type"].as_str().unwrap())).cloned().collect()
}

fn cited(blocks: &[Value]) -> Vec<Value> {
    of_kind(blocks, &["text"]).flat_map(|block| block["citations"].as_array().cloned().unwrap_or_default()).collect()
}

fn check_stream(label: &str, events: &[(String, String)]) {
    let expected = accumulate(events);
    let (translator, out, outcome) = translate(events, true);
    outcome.unwrap();
    let got = collect(&out);
    assert!(translator.finished() && got.done, "{label}");
    assert_eq!(got.roles, 1, "{label}");
    assert_eq!(got.text, expected.said, "{label}");
    assert_eq!(got.reasoning, expected.thought, "{label}");
    assert_eq!(got.finishes, [expected_finish(&expected.stop_reason)], "{label}");
    assert_eq!(translator.usage(), Some(expected_usage(&expected.usage)), "{label}");
    assert!(translator.usage_complete(), "{label}");

    let thinking: Vec<Value> = of_kind(&expected.blocks, &["thinking", "redacted_thinking"]).cloned().collect();
    assert_eq!(got.thinking, thinking, "{label}");
    let restarted = expected.starts.windows(2).any(|pair| pair[0] != pair[1]);
    let calls = if restarted { &got.calls[got.calls.len() - 1..] } else { &got.calls[..] };
    let expected_calls: Vec<&Value> = of_kind(&expected.blocks, &["tool_use"]).collect();
    assert_eq!(calls.len(), expected_calls.len(), "{label}");
    for (call, block) in calls.iter().zip(expected_calls) {
        assert_eq!(
            (call.0.as_str(), call.1.as_str()),
            (block["id"].as_str().unwrap(), block["name"].as_str().unwrap())
        );
        assert_eq!(serde_json::from_str::<Value>(&call.2).unwrap(), block["input"], "{label}");
    }
    let field = |name: &str| -> Vec<Value> {
        got.fields.iter().flat_map(|fields| fields[name].as_array().cloned().unwrap_or_default()).collect()
    };
    assert_eq!(field("content_blocks"), others(&expected.blocks), "{label}");
    assert_eq!(field("citations"), cited(&expected.blocks), "{label}");
    for annotation in &got.annotations {
        let cited = &annotation["url_citation"];
        let (start, end) = (cited["start_index"].as_u64().unwrap(), cited["end_index"].as_u64().unwrap());
        assert!(start < end && end <= got.text.chars().count() as u64, "{label}");
    }

    assert_eq!(got.usages.len(), 1, "{label}");
    let used = translator.usage().unwrap();
    assert_eq!(got.usages[0]["prompt_tokens"], used.prompt);
    assert_eq!(got.usages[0]["completion_tokens"], used.completion);
    assert_eq!(got.usages[0]["total_tokens"], used.prompt + used.completion);
    assert_eq!(got.usages[0]["prompt_tokens_details"]["cached_tokens"], used.cached);

    let (_, hidden, _) = translate(events, false);
    assert!(collect(&hidden).usages.is_empty() && collect(&hidden).done, "{label}");

    let mut watch = UsageWatch::new();
    for (name, data) in events {
        watch.event(Some(name.as_bytes()), data.as_bytes());
    }
    assert_eq!((watch.usage(), watch.complete(), watch.finished()), (Some(used), true, true), "{label}");
    assert_eq!(watch.stop_reason(), expected.stop_reason.as_str());
    let said = (expected.said.len() + expected.thought.len()) as u64;
    assert!(watch.generated_bytes() >= said && translator.text_so_far().len() as u64 >= said, "{label}");
}

fn check_body(label: &str, body: &[u8]) {
    let recorded: Value = serde_json::from_slice(body).unwrap();
    let blocks = recorded["content"].as_array().unwrap();
    let (completion, used) = response(body, &CONTEXT).unwrap();
    let completion: Value = serde_json::from_slice(&completion).unwrap();
    assert_eq!(used, expected_usage(recorded["usage"].as_object().unwrap()), "{label}");
    assert_eq!(completion["id"], recorded["id"]);
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["model"], CONTEXT.model);
    assert_eq!(completion["usage"]["prompt_tokens"], used.prompt);
    assert_eq!(completion["usage"]["completion_tokens"], used.completion);
    let choice = &completion["choices"][0];
    assert_eq!(choice["finish_reason"], expected_finish(&recorded["stop_reason"]), "{label}");
    let message = &choice["message"];
    let said: Vec<&str> = of_kind(blocks, &["text"]).map(|block| block["text"].as_str().unwrap()).collect();
    assert_eq!(message["content"].as_str().unwrap_or(""), said.concat(), "{label}");
    let thinking: Vec<Value> = of_kind(blocks, &["thinking", "redacted_thinking"]).cloned().collect();
    assert_eq!(message["thinking_blocks"].as_array().cloned().unwrap_or_default(), thinking, "{label}");
    let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
    let expected: Vec<&Value> = of_kind(blocks, &["tool_use"]).collect();
    assert_eq!(calls.len(), expected.len(), "{label}");
    for (call, block) in calls.iter().zip(expected) {
        assert_eq!((&call["id"], &call["function"]["name"]), (&block["id"], &block["name"]), "{label}");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), block["input"], "{label}");
        assert!(body.windows(arguments.len()).any(|part| part == arguments.as_bytes()), "{label}: not the exact text");
    }
    let fields = &message["provider_specific_fields"];
    assert_eq!(fields["content_blocks"].as_array().cloned().unwrap_or_default(), others(blocks), "{label}");
    assert_eq!(fields["citations"].as_array().cloned().unwrap_or_default(), cited(blocks), "{label}");

    let mut watch = UsageWatch::new();
    watch.body(body);
    assert_eq!((watch.usage(), watch.complete()), (Some(used), true), "{label}");
    assert!(watch.generated_bytes() >= said.concat().len() as u64);
}

#[test]
fn recorded_streams_lose_nothing() {
    let mut seen = 0;
    for path in recordings("anthropic-messages") {
        let file = path.join("response.sse");
        if file.exists() {
            check_stream(&name(&path), &events(std::str::from_utf8(&read(&file)).unwrap()));
            seen += 1;
        }
    }
    eprintln!("{seen} recorded streams");
}

#[test]
fn recorded_bodies_lose_nothing() {
    for provider in ["anthropic-messages", "bedrock-invoke"] {
        for path in recordings(provider) {
            let file = path.join("response.json");
            if !file.exists() {
                continue;
            }
            let label = name(&path);
            let meta: Value = serde_json::from_slice(&read(&path.join("response.meta.json"))).unwrap();
            let status = u16::try_from(meta["status"].as_u64().unwrap()).unwrap();
            let body = read(&file);
            let value: Value = serde_json::from_slice(&body).unwrap();
            if status >= 400 {
                let told = error(status, &body);
                let message = value["error"]["message"].as_str().or(value["message"].as_str()).unwrap();
                assert_eq!((told.status, told.message.as_str()), (status, message), "{label}");
                assert_ne!(told.kind, "server_error", "{label}");
            } else if value["type"] == "message" {
                check_body(&label, &body);
            } else {
                assert_eq!(response(&body, &CONTEXT).unwrap_err().kind, "malformed_response", "{label}");
            }
        }
    }
}

/// Bedrock frames the same events: 12 bytes of prelude, headers, a payload with base64 under `bytes`, 4 bytes of CRC.
fn bedrock_events(mut body: &[u8]) -> Vec<(String, String)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
    let mut events = Vec::new();
    while body.len() >= 16 {
        let (total, headers) = (number(&body[..4]), number(&body[4..8]));
        let payload: Value = serde_json::from_slice(&body[12 + headers..total - 4]).unwrap();
        if let Some(bytes) = payload["bytes"].as_str() {
            let data = String::from_utf8(decode_base64(bytes).unwrap()).unwrap();
            let kind = serde_json::from_str::<Value>(&data).unwrap()["type"].as_str().unwrap_or("").to_owned();
            events.push((kind, data));
        }
        body = &body[total..];
    }
    events
}

#[test]
fn recorded_bedrock_streams_lose_nothing() {
    for path in recordings("bedrock-invoke") {
        let file = path.join("response.eventstream");
        if !file.exists() {
            continue;
        }
        let events = bedrock_events(&read(&file));
        if events.first().is_some_and(|(kind, _)| kind == "message_start") {
            check_stream(&name(&path), &events);
        }
    }
}

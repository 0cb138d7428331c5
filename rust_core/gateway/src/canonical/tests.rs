//! The canonical form keeps what it reads.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ChatChunk, ChatRequest, ChatResponse, ChunkFrames, Delta, raw};

#[test]
fn a_request_keeps_unknown_fields_and_the_order_of_schemas() {
    let text = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi","x":{"b":1,"a":2}}],"y":[1]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}],"zeta":{"b":1.50,"a":null}}"#;
    let request = ChatRequest::from_json(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(request.to_json()).unwrap(), text);
}

#[test]
fn an_error_names_the_path_of_the_field() {
    let error = ChatRequest::from_json(br#"{"model":"m","messages":[{"role":7}]}"#).unwrap_err();
    assert!(error.message.starts_with("messages: role: invalid type"), "{error}");
    let prompt = ChatRequest::from_json(br#"{"model":"m","messages":"tell \", expected me"}"#).unwrap_err();
    assert!(!prompt.message.contains("tell") && !prompt.message.contains("me\""), "no prompt in errors: {prompt}");
    assert!(prompt.message.contains("invalid type: string, expected a sequence"), "{prompt}");
    assert!(ChatRequest::from_json(b"[]").unwrap_err().message.contains("expected an object"));
}

#[test]
fn null_means_absent_except_where_clients_rely_on_it() {
    let request = ChatRequest::from_json(br#"{"model":"m","messages":[],"stop":null,"tools":null}"#).unwrap();
    assert!(request.stop.is_none() && request.tools.is_none());
    let response = ChatResponse::from_json(
        br#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null},"finish_reason":"stop"}]}"#,
    )
    .unwrap();
    let value: Value = serde_json::from_slice(&response.to_json()).unwrap();
    assert_eq!(value["choices"][0]["message"]["content"], Value::Null);
    assert!(value["choices"][0]["message"].as_object().unwrap().contains_key("content"));
}

#[test]
fn frames_are_chunks_and_never_hold_a_line_break() {
    let frames = ChunkFrames::new("id", "mo\"del", 5);
    let block = serde_json::value::RawValue::from_string("{\n \"a\":\r\n \"x\\ny\"}".into()).unwrap();
    let mut out = Vec::new();
    frames.delta(&Delta { thinking_blocks: Some(vec![block]), ..Delta::default() }, Some("stop"), &mut out);
    let text = String::from_utf8(out).unwrap();
    let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    assert!(!data.contains(['\n', '\r']));
    let chunk = ChatChunk::from_json(data.as_bytes()).unwrap();
    assert_eq!((chunk.id.as_str(), chunk.model.as_str(), chunk.created), ("id", "mo\"del", 5));
    let blocks = chunk.choices[0].delta.thinking_blocks.as_ref().unwrap();
    assert_eq!(raw::parse::<Value>(&blocks[0]).unwrap(), json!({"a": "x\ny"}));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn unknown_fields_survive_anywhere(top in any_json(), inner in any_json(), text in ".{0,20}") {
        let value = json!({
            "model": "m",
            "x_top": top,
            "messages": [
                {"role": "user", "content": text, "x_inner": inner},
                {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "x_call": inner,
                    "function": {"name": "f", "arguments": text}}]},
            ],
        });
        let request = ChatRequest::from_json(value.to_string().as_bytes()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&request.to_json()).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_the_reader_fail_badly(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ChatRequest::from_json(&bytes);
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().all(empty),
        other => [Value::Null, json!([]), json!(""), json!(0)].contains(other),
    }
}

/// Whether nothing of `before` is lost in `after`; `after` may state required fields that were left out, as empty.
fn kept(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Number(before), Value::Number(after)) => before.as_f64() == after.as_f64(),
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| kept(before, after))
        }
        (Value::Object(before), Value::Object(after)) => {
            let lost = before
                .iter()
                .any(|(name, value)| !value.is_null() && !after.get(name).is_some_and(|written| kept(value, written)));
            !lost && after.iter().all(|(name, value)| before.contains_key(name) || empty(value))
        }
        _ => before == after,
    }
}

/// Recorded exchanges of providers that speak OpenAI's wire, each with its own fields.
#[test]
fn recorded_documents_mean_the_same_after_reading_and_writing() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let mut seen = [0; 3];
    for provider in [
        "openai-chat",
        "azure-openai",
        "groq",
        "deepseek",
        "mistral",
        "xai",
        "openrouter",
        "cerebras",
        "zai",
        "together",
    ] {
        let Ok(entries) = std::fs::read_dir(root.join(provider)) else {
            eprintln!("SKIPPED: no recordings of {provider}");
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let same = |before: &str, after: &[u8]| {
                let before: Value = serde_json::from_str(before).unwrap();
                let after: Value = serde_json::from_slice(after).unwrap();
                assert!(kept(&before, &after), "{}: {before} became {after}", path.display());
            };
            let request = read(&path.join("request.json"));
            if request.contains("\"messages\"") {
                same(&request, &ChatRequest::from_json(request.as_bytes()).unwrap().to_json());
                seen[0] += 1;
            }
            let response = read(&path.join("response.json"));
            if response.contains("\"chat.completion\"") {
                same(&response, &ChatResponse::from_json(response.as_bytes()).unwrap().to_json());
                seen[1] += 1;
            }
            for data in read(&path.join("response.sse")).lines().filter_map(|line| line.strip_prefix("data: ")) {
                if data.contains("chat.completion.chunk") {
                    same(data, &ChatChunk::from_json(data.as_bytes()).unwrap().to_json());
                    seen[2] += 1;
                }
            }
        }
    }
    eprintln!("{seen:?} recorded requests, answers, chunks");
}

//! What must hold for every conversation: nothing lost on the way out, an answer can be sent back.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{RequestOptions, response};
use super::support::{CONTEXT, ask, chat, name, read, recordings, sent, strict};

fn any_message() -> impl Strategy<Value = Value> {
    let words = "[a-zé ]{0,6}";
    prop_oneof![
        words.prop_map(|text| json!({"role": "user", "content": text})),
        prop::collection::vec(words, 0..3).prop_map(|list| {
            let parts: Vec<Value> = list.iter().map(|text| json!({"type": "text", "text": text})).collect();
            json!({"role": "user", "content": parts})
        }),
        words.prop_map(|text| json!({"role": "assistant", "content": text})),
        words.prop_map(|text| json!({"role": "system", "content": text})),
        ("[a-z.:]{1,4}", words).prop_map(|(id, text)| json!({"role": "assistant", "content": text, "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "f", "arguments": json!({"v": text}).to_string()}}]})),
        ("[a-z.:]{1,4}", words).prop_map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text})),
    ]
}

/// Every visible text of a JSON value's `text` and `v` members, in order.
fn visible(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| visible(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    // Thinking of other providers has no signature that Anthropic would take.
                    _ if matches!(name.as_str(), "thinking" | "reasoning_details") => {}
                    Value::String(text) if matches!(name.as_str(), "text" | "content" | "v") => {
                        found.extend((!text.trim().is_empty()).then(|| text.trim_end().to_owned()));
                    }
                    Value::String(arguments) if name == "arguments" => {
                        visible(&serde_json::from_str(arguments).unwrap(), found);
                    }
                    other => visible(other, found),
                }
            }
        }
        _ => {}
    }
}

/// What clients really send: translated, or refused by the name of something that is in the request.
#[test]
fn recorded_openai_requests_are_translated_or_refused_by_name() {
    for provider in ["openai-chat", "azure-openai", "groq", "deepseek", "mistral", "xai", "openrouter"] {
        for path in recordings(provider) {
            let body: Value = serde_json::from_slice(&read(&path.join("request.json"))).unwrap();
            if body.get("messages").is_none() {
                continue;
            }
            let mut said = Vec::new();
            visible(&body["messages"], &mut said);
            let options = RequestOptions { drop_params: true, ..strict("claude-sonnet-4-5") };
            match ask(&body, &strict("claude-sonnet-4-5")).or_else(|error| {
                let top = error.param.split(['.', '[']).next().unwrap();
                assert!(body.get(top).is_some(), "{}: {error}", name(&path));
                ask(&body, &options)
            }) {
                Ok(translated) => {
                    let out: Value = serde_json::from_slice(&translated.body).unwrap();
                    assert!(!out["messages"].as_array().unwrap().is_empty());
                    let mut heard = Vec::new();
                    visible(&out["system"], &mut heard);
                    visible(&out["messages"], &mut heard);
                    for text in said {
                        assert!(heard.contains(&text), "{}: lost {text}", name(&path));
                    }
                }
                Err(error) => assert!(error.param.starts_with("messages"), "{}: {error}", name(&path)),
            }
        }
    }
}

proptest! {
    /// No message is lost, turns alternate, results lead their turn, no text block is empty.
    #[test]
    fn conversations_are_translated_whole(messages in prop::collection::vec(any_message(), 1..12)) {
        let body = chat(&json!(messages));
        let Ok(translated) = ask(&body, &strict("claude-sonnet-4-5")) else {
            let mut said = Vec::new();
            visible(&body["messages"], &mut said);
            prop_assert!(said.is_empty());
            return Ok(());
        };
        let out: Value = serde_json::from_slice(&translated.body).unwrap();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        visible(&body["messages"], &mut before);
        visible(&out["system"], &mut after);
        visible(&out["messages"], &mut after);
        before.sort();
        after.sort();
        prop_assert_eq!(before, after);
        let turns = out["messages"].as_array().unwrap();
        for (position, turn) in turns.iter().enumerate() {
            prop_assert!(position == 0 || turns[position - 1]["role"] != turn["role"]);
            let blocks = turn["content"].as_array().unwrap();
            prop_assert!(!blocks.is_empty());
            let results: Vec<bool> = blocks.iter().map(|block| block["type"] == "tool_result").collect();
            prop_assert!(results.windows(2).all(|pair| pair[0] || !pair[1]), "results lead");
            for block in blocks.iter().filter(|block| block["type"] == "text") {
                prop_assert!(!block["text"].as_str().unwrap().trim().is_empty());
            }
        }
    }

    /// An answer sent back as history yields the blocks it came from.
    #[test]
    fn an_answer_can_be_sent_back(thinking in ".{0,8}", signature in "[a-zA-Z0-9+/=]{1,12}", said in "[a-z]{1,8}", value in ".{0,8}") {
        let blocks = json!([
            {"type": "thinking", "thinking": thinking, "signature": signature},
            {"type": "text", "text": said},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"v": value}},
        ]);
        let answer = json!({"id": "msg", "type": "message", "content": blocks, "stop_reason": "tool_use", "usage": {}});
        let (completion, _) =
            response(answer.to_string().as_bytes(), &CONTEXT).unwrap();
        let completion: Value = serde_json::from_slice(&completion).unwrap();
        let body = chat(&json!([
            {"role": "user", "content": "q"},
            completion["choices"][0]["message"],
            {"role": "tool", "tool_call_id": "toolu_1", "content": "r"},
        ]));
        prop_assert_eq!(&sent(&body)["messages"][1]["content"], &blocks);
    }
}

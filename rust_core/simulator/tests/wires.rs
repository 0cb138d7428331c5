//! The wires other than chat completions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{Client, Got, entry, start};
use serde_json::{Value, json};

fn messages(extra: &str) -> String {
    format!(
        r#"{{"model":"sim-claude","max_tokens":64,"system":"be brief","messages":[{{"role":"user","content":"two words"}}]{extra}}}"#
    )
}

fn names(got: &Got) -> Vec<String> {
    got.events().iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn anthropic_unary() {
    let sim = start();
    let got = Client::new(&sim).post("/v1/messages", "x-sim-tokens: 3\r\nx-sim-cached: 1\r\n", &messages(""));
    let answer = got.json();
    assert_eq!(answer["content"], json!([{"type": "text", "text": " time river that"}]));
    assert_eq!(answer["stop_reason"], "end_turn");
    assert_eq!(answer["usage"]["input_tokens"], 13, "four words, 3 + 4 + 3 around them, one of all cached");
    assert_eq!(answer["usage"]["cache_read_input_tokens"], 1);
    assert_eq!(answer["usage"]["output_tokens"], 3);
    assert!(got.header("request-id").is_some());
    let counted = Client::new(&sim).post("/v1/messages/count_tokens", "", &messages("")).json();
    assert_eq!(counted, json!({"input_tokens": 14}));
    let refused = Client::new(&sim).post("/v1/messages", "", r#"{"model":"c","messages":[]}"#);
    assert_eq!(refused.json()["error"]["message"], "max_tokens: Field required");
}

#[test]
fn anthropic_stream() {
    let sim = start();
    let got = Client::new(&sim).post("/v1/messages", "x-sim-tokens: 3\r\n", &messages(r#","stream":true"#));
    assert_eq!(
        names(&got),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    for (event, block) in got.events().iter().zip(got.text().split("\n\n")) {
        assert!(block.starts_with(&format!("event: {}\n", event["type"].as_str().unwrap())));
    }
    let events = got.events();
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 14);
    assert_eq!(events[7]["usage"]["output_tokens"], 3);
    assert_eq!(events[7]["delta"]["stop_reason"], "end_turn");
    assert_eq!(entry(&sim, &got)["tokens_sent"], 3);
}

#[test]
fn anthropic_thinking_and_tools() {
    let sim = start();
    let extra = r#","stream":true,"thinking":{"type":"enabled","budget_tokens":1024},"tool_choice":{"type":"any"},"tools":[{"name":"g","input_schema":{"type":"object","properties":{"q":{"type":"integer"}}}}]"#;
    let got = Client::new(&sim).post("/v1/messages", "", &messages(extra));
    let events = got.events();
    let delta = |field: &str| -> String { events.iter().filter_map(|e| e["delta"][field].as_str()).collect() };
    assert_eq!(delta("thinking"), " auth among whole cannot");
    assert!(!delta("signature").is_empty());
    assert_eq!(serde_json::from_str::<Value>(&delta("partial_json")).unwrap(), json!({"q": 1}));
    let stop = events.iter().find(|e| e["type"] == "message_delta").unwrap();
    assert_eq!(stop["delta"]["stop_reason"], "tool_use");
    assert_eq!(entry(&sim, &got)["tokens_sent"], stop["usage"]["output_tokens"]);
    let unary = Client::new(&sim)
        .post("/v1/messages", "", &messages(&extra.replace("\"stream\":true", "\"stream\":false")))
        .json();
    assert_eq!(unary["content"][0]["type"], "thinking");
    assert_eq!(unary["content"][1]["input"], json!({"q": 1}));
    let after = r#"{"model":"c","max_tokens":9,"tools":[{"name":"g"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":"use a tool"}]}]}"#;
    assert_eq!(Client::new(&sim).post("/v1/messages", "", after).json()["stop_reason"], "max_tokens");
}

#[test]
fn responses_have_every_lifecycle_event_in_order() {
    let sim = start();
    let body = r#"{"model":"sim","input":[{"role":"user","content":[{"type":"input_text","text":"one two"}]}],"instructions":"three","stream":true,"max_output_tokens":2}"#;
    let got = Client::new(&sim).post("/v1/responses", "", body);
    let events = got.events();
    assert_eq!(
        names(&got),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete"
        ]
    );
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], i);
    }
    assert_eq!(events[5]["delta"], " river");
    let last = &events[9]["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], " time river");
    assert_eq!((&last["usage"]["input_tokens"], &last["usage"]["output_tokens"]), (&json!(13), &json!(2)));
    let unary =
        Client::new(&sim).post("/v1/responses", "", &body.replace("\"stream\":true", "\"stream\":false")).json();
    assert_eq!(unary["output"][0]["content"], last["output"][0]["content"]);
    assert_eq!(unary["status"], "incomplete");
}

#[test]
fn responses_call_tools() {
    let sim = start();
    let tools = r#""tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{"q":{"type":"string"}}}}]"#;
    let body = format!(r#"{{"model":"sim","input":"use a tool","stream":true,{tools}}}"#);
    let got = Client::new(&sim).post("/v1/responses", "", &body);
    let events = got.events();
    let joined: String = events
        .iter()
        .filter(|e| e["type"] == "response.function_call_arguments.delta")
        .map(|e| e["delta"].as_str().unwrap())
        .collect();
    assert_eq!(joined, r#"{"q":"q 1"}"#);
    assert_eq!(events.last().unwrap()["response"]["output"][0]["name"], "f");
    let after = format!(
        r#"{{"model":"sim","input":[{{"role":"user","content":"use a tool"}},{{"type":"function_call_output","call_id":"c","output":"5"}}],{tools}}}"#
    );
    assert_eq!(Client::new(&sim).post("/v1/responses", "", &after).json()["output"][0]["type"], "message");
}

#[test]
fn embeddings_are_the_same_in_both_encodings() {
    let sim = start();
    let mut client = Client::new(&sim);
    let mut embed = |rest: &str| client.post("/v1/embeddings", "", &format!(r#"{{"model":"e","dimensions":4{rest}}}"#));
    let floats = embed(r#","input":["a b","c"]"#).json();
    assert_eq!(floats["usage"]["prompt_tokens"], 3);
    let vector: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    assert!((vector.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-4);
    assert_ne!(floats["data"][0]["embedding"], floats["data"][1]["embedding"]);
    let coded = embed(r#","input":"a b","encoding_format":"base64""#).json();
    let text = coded["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(text.len(), 24, "16 bytes");
    let table = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = text.bytes().take(6).fold(0u64, |n, b| (n << 6) | table.iter().position(|t| *t == b).unwrap() as u64);
    let first = f32::from_le_bytes(((bits >> 4) as u32).to_be_bytes());
    assert!((first - vector[0]).abs() < 1e-6, "{first} {vector:?}");
    assert_eq!(embed(r#","input":[1,2,3]"#).json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(embed(r#","input":[[1,2],[3]]"#).json()["usage"]["prompt_tokens"], 3);
    assert_eq!(embed(r#","input":[]"#).status, 400);
}

#[test]
fn legacy_completions_answer_each_prompt() {
    let sim = start();
    let mut client = Client::new(&sim);
    let got = client.post("/v1/completions", "", r#"{"model":"m","prompt":["a b","c"],"n":2,"max_tokens":1}"#).json();
    assert_eq!(got["choices"].as_array().unwrap().len(), 4);
    assert_eq!(got["choices"][3]["text"], " other");
    assert_eq!((&got["usage"]["prompt_tokens"], &got["usage"]["completion_tokens"]), (&json!(3), &json!(4)));
    let body = r#"{"model":"m","prompt":"a","max_tokens":2,"stream":true,"stream_options":{"include_usage":true}}"#;
    let events = client.post("/v1/completions", "", body).events();
    assert_eq!(events[1]["choices"][0]["text"], " river");
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 2);
}

const UPLOAD: &str = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\n\r\n--b--\r\n";

#[test]
fn uploads_files_and_media() {
    let sim = start();
    let mut client = Client::new(&sim);
    let multipart = "content-type: multipart/form-data; boundary=b\r\n";
    let text = client.post("/v1/audio/transcriptions", multipart, UPLOAD);
    assert!(text.json()["text"].as_str().unwrap().starts_with(" time river"));
    assert_eq!(entry(&sim, &text)["model"], "whisper");
    let file = client.post("/v1/files", multipart, UPLOAD).json();
    let id = file["id"].as_str().unwrap().to_owned();
    assert_eq!(file["bytes"], 3);
    assert_eq!(client.get("/v1/files").json()["data"][0]["id"], id.as_str());
    assert_eq!(client.get(&format!("/v1/files/{id}/content")).body, b"{}\n");
    client.send(common::request("DELETE", &format!("/v1/files/{id}"), "", "").as_bytes());
    assert_eq!(client.read().json()["deleted"], true);
    assert_eq!(client.get(&format!("/v1/files/{id}")).status, 404);
    let speech =
        client.post("/v1/audio/speech", "", r#"{"model":"t","input":"a b","voice":"x","response_format":"wav"}"#);
    assert_eq!(speech.header("content-type"), Some("audio/wav"));
    assert_eq!(speech.body.len(), 44 + 2 * 960);
    let image = client.post("/v1/images/generations", "", r#"{"model":"i","prompt":"a cat","n":2}"#).json();
    assert_eq!(image["data"].as_array().unwrap().len(), 2);
    let flagged = client.post("/v1/moderations", "", r#"{"input":["fine","flagged"]}"#).json();
    assert_eq!((&flagged["results"][0]["flagged"], &flagged["results"][1]["flagged"]), (&json!(false), &json!(true)));
    let ranked = client.post("/v1/rerank", "", r#"{"model":"r","query":"b","documents":["a","b"]}"#).json();
    assert_eq!(ranked["results"][0]["index"], 1);
}

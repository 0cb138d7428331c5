//! Chat completions as a client on a raw socket sees them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{Client, chat, deltas, entry, start};
use serde_json::json;

#[test]
fn a_unary_answer_has_its_tokens_and_an_exact_usage() {
    let sim = start();
    let got = Client::new(&sim).post("/v1/chat/completions", "", &chat(r#","max_tokens":3"#));
    assert_eq!(got.status, 200);
    let answer = got.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "sim");
    assert_eq!(answer["choices"][0]["message"]["content"], " time river that");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["prompt_tokens"], 11, "four words, 3 and the role around them, 3 for the answer");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["usage"]["total_tokens"], 14);
    assert!(got.header("x-request-id").is_some() && got.header("x-ratelimit-remaining-tokens").is_some());
    let entry = entry(&sim, &got);
    assert_eq!(
        (&entry["tokens_sent"], &entry["prompt_tokens"], &entry["outcome"]),
        (&json!(3), &json!(11), &json!("completed"))
    );
}

#[test]
fn a_stream_brings_each_token_once_and_usage_last() {
    let sim = start();
    let body = chat(r#","stream":true,"stream_options":{"include_usage":true}"#);
    let got = Client::new(&sim).post("/v1/chat/completions", "x-sim-tokens: 5\r\n", &body);
    assert!(got.whole);
    assert_eq!(got.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(deltas(&got, 0), [" time", " river", " that", " this", " with"]);
    let events = got.events();
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 5);
    for event in others {
        assert_eq!(event.get("usage"), Some(&json!(null)), "usage is null on every other chunk");
    }
    assert_eq!(others[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert_eq!(got.data().last().unwrap(), "[DONE]");
    assert_eq!(entry(&sim, &got)["tokens_sent"], 5);
}

#[test]
fn without_include_usage_no_chunk_has_the_field() {
    let sim = start();
    let got = Client::new(&sim).post("/v1/chat/completions", "", &chat(r#","stream":true"#));
    assert!(got.events().iter().all(|e| e.get("usage").is_none()));
    assert_eq!(deltas(&got, 0).len(), 16);
}

#[test]
fn several_choices_have_their_own_tokens() {
    let sim = start();
    let mut client = Client::new(&sim);
    let got = client.post("/v1/chat/completions", "", &chat(r#","n":2,"max_tokens":2,"stream":true"#));
    assert_eq!(deltas(&got, 0), [" time", " river"]);
    assert_eq!(deltas(&got, 1), [" your", " will"]);
    let got = client.post("/v1/chat/completions", "", &chat(r#","n":2,"max_tokens":2"#));
    assert_eq!(got.json()["choices"][1]["message"]["content"], " your will");
    assert_eq!(got.json()["usage"]["completion_tokens"], 4);
    let got = client.post("/v1/chat/completions", "", &chat(r#","n":0"#));
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("n")));
}

const TOOLS: &str = r#","tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}}}]"#;

#[test]
fn a_tool_call_when_it_is_demanded_or_mentioned() {
    let sim = start();
    let mut client = Client::new(&sim);
    let plain = client.post("/v1/chat/completions", "", &chat(TOOLS)).json();
    assert_eq!(plain["choices"][0]["finish_reason"], "stop");

    let body = chat(&format!(r#"{TOOLS},"tool_choice":"required""#));
    let called = client.post("/v1/chat/completions", "", &body).json();
    let call = &called["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(called["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(called["choices"][0]["message"]["content"], json!(null));
    assert_eq!(call["function"]["name"], "weather");
    let arguments: serde_json::Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"city": "city 1", "days": 1}));

    let body = body
        .replace("say four words please", "use a tool")
        .replace(r#","tool_choice":"required""#, r#","stream":true"#);
    let streamed = client.post("/v1/chat/completions", "", &body);
    let fragments: Vec<String> = streamed
        .events()
        .iter()
        .filter_map(|e| {
            e["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(ToOwned::to_owned)
        })
        .collect();
    assert!(fragments.len() > 3);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&fragments.concat()).unwrap(), arguments);
    assert_eq!(entry(&sim, &streamed)["tokens_sent"], fragments.len() - 1, "the opening chunk has empty arguments");

    let after = format!(
        r#"{{"model":"sim","messages":[{{"role":"user","content":"use a tool"}},{{"role":"assistant","content":null,"tool_calls":[]}},{{"role":"tool","tool_call_id":"x","content":"22 C"}}]{TOOLS}}}"#
    );
    assert_eq!(client.post("/v1/chat/completions", "", &after).json()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn response_formats_are_valid_instances() {
    let sim = start();
    let mut client = Client::new(&sim);
    let schema = r#","response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","properties":{"ok":{"type":"boolean"}}}}}"#;
    let text =
        client.post("/v1/chat/completions", "", &chat(schema)).json()["choices"][0]["message"]["content"].clone();
    assert_eq!(serde_json::from_str::<serde_json::Value>(text.as_str().unwrap()).unwrap(), json!({"ok": true}));
    let object = r#","response_format":{"type":"json_object"},"stream":true"#;
    let got = client.post("/v1/chat/completions", "", &chat(object));
    let value: serde_json::Value = serde_json::from_str(&deltas(&got, 0).concat()).unwrap();
    assert!(value.is_object());
}

#[test]
fn stop_sequences_cut() {
    let sim = start();
    let got = Client::new(&sim).post("/v1/chat/completions", "", &chat(r#","stop":["that"],"stream":true"#));
    assert_eq!(deltas(&got, 0).concat(), " time river ");
    assert_eq!(entry(&sim, &got)["completion_tokens"], 3);
}

#[test]
fn cached_and_reasoning_tokens_are_stated_when_asked_for() {
    let sim = start();
    let body = chat("").replace("\"sim\"", "\"sim/prompt=100,cached=60,reasoning=7,tokens=2\"");
    let got = Client::new(&sim).post("/v1/chat/completions", "", &body);
    let usage = got.json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 100);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 60);
    assert_eq!(usage["completion_tokens"], 9);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 7);
    assert_eq!(entry(&sim, &got)["tokens_sent"], 2);
    assert_eq!(got.json()["model"], "sim/prompt=100,cached=60,reasoning=7,tokens=2");
}

#[test]
fn azure_opens_with_the_verdict_on_the_prompt() {
    let sim = start();
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let path = "/openai/deployments/gpt-x/chat/completions?api-version=2024-10-21";
    let got = Client::new(&sim).post(path, "api-key: k\r\n", body);
    let events = got.events();
    assert_eq!(events[0]["choices"], json!([]));
    assert!(events[0]["prompt_filter_results"].is_array());
    assert_eq!(events[2]["choices"][0]["content_filter_results"]["hate"]["filtered"], false);
    assert_eq!(events[2]["model"], "gpt-x");
    assert!(got.header("x-ms-region").is_some());
}

#[test]
fn pace_is_kept_without_drift() {
    let sim = start();
    let begun = std::time::Instant::now();
    let got = Client::new(&sim).post(
        "/v1/chat/completions",
        "x-sim-ttft: 50\r\nx-sim-tps: 200\r\nx-sim-tokens: 61\r\n",
        &chat(r#","stream":true"#),
    );
    let took = begun.elapsed().as_millis();
    assert_eq!(deltas(&got, 0).len(), 61);
    assert!((350..700).contains(&took), "50 ms + 60 x 5 ms, took {took} ms");
    assert!(entry(&sim, &got)["ttft_us"].as_u64().unwrap() >= 50_000);
}

#[test]
fn what_cannot_be_answered_says_why() {
    let sim = start();
    let mut client = Client::new(&sim);
    for (body, what) in [
        ("{", "parse the JSON body"),
        (r#"{"messages":[]}"#, "'model'"),
        (r#"{"model":"sim"}"#, "'messages'"),
        (r#"{"model":"sim/token=1","messages":[]}"#, "\\\"token\\\""),
        (r#"{"model":"replay/none","messages":[]}"#, "no recording"),
    ] {
        let got = client.post("/v1/chat/completions", "", body);
        assert!(got.status == 400 || got.status == 404, "{body}");
        assert!(got.text().contains(what), "{body}: {}", got.text());
    }
}

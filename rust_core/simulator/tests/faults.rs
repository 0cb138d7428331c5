//! Every fault, as it shows on the wire and in the ledger.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::Read;
use std::time::{Duration, Instant};

use common::{Client, Got, chat, deltas, entry, entry_of, start};
use penstock_simulator::Simulator;

const PATH: &str = "/v1/chat/completions";

fn stream(sim: &Simulator, fault: &str) -> Got {
    Client::new(sim).post(PATH, &format!("x-sim-fault: {fault}\r\n"), &chat(r#","stream":true"#))
}

fn unary(sim: &Simulator, fault: &str) -> Got {
    Client::new(sim).post(PATH, &format!("x-sim-fault: {fault}\r\n"), &chat(""))
}

#[test]
fn reset_after_k_events() {
    let sim = start();
    let mut client = Client::new(&sim);
    client.send(common::request("POST", PATH, "x-sim-fault: reset_after:3\r\n", &chat(r#","stream":true"#)).as_bytes());
    let mut all = Vec::new();
    let end = client.stream.read_to_end(&mut all);
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains(" time") && text.contains(" river") && !text.contains(" that"), "{text}");
    let entry = entry_of(&sim, 1);
    assert_eq!(entry["outcome"], "faulted");
    assert_eq!((entry["events_sent"].as_u64(), entry["tokens_sent"].as_u64()), (Some(3), Some(2)));
}

#[test]
fn close_in_the_middle_of_an_event() {
    let sim = start();
    let got = stream(&sim, "close_after:2");
    assert!(!got.whole);
    assert_eq!(got.data().len(), 3, "two whole events and the start of one");
    assert!(serde_json::from_str::<serde_json::Value>(&got.data()[2]).is_err());
    assert_eq!(entry(&sim, &got)["tokens_sent"], 1);
}

#[test]
fn hang_until_the_client_goes() {
    let sim = start();
    let mut client = Client::new(&sim);
    client.send(common::request("POST", PATH, "x-sim-fault: hang_after:2\r\n", &chat(r#","stream":true"#)).as_bytes());
    client.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut all = Vec::new();
    assert!(client.stream.read_to_end(&mut all).is_err(), "neither data nor an end");
    assert!(String::from_utf8_lossy(&all).contains(" time"));
    drop(client);
    assert_eq!(entry_of(&sim, 1)["outcome"], "faulted");
}

#[test]
fn malformed_and_error_events() {
    let sim = start();
    let got = stream(&sim, "malformed:2");
    assert!(got.whole);
    assert_eq!(got.data().iter().filter(|d| serde_json::from_str::<serde_json::Value>(d).is_err()).count(), 2);
    let got = stream(&sim, "error_event:3");
    assert!(got.whole);
    let events = got.events();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["error"]["type"], "server_error");
    assert!(!got.text().contains("[DONE]"));
    let body =
        r#"{"model":"c/fault=error_event:4","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"a"}]}"#;
    let got = Client::new(&sim).post("/v1/messages", "", body);
    assert!(got.text().ends_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"));
}

#[test]
fn missing_usage_and_missing_done() {
    let sim = start();
    let body = chat(r#","stream":true,"stream_options":{"include_usage":true}"#);
    let got = Client::new(&sim).post(PATH, "x-sim-fault: no_usage+no_done\r\n", &body);
    assert!(got.whole && !got.text().contains("usage") && !got.text().contains("[DONE]"));
    assert!(unary(&sim, "no_usage").json().get("usage").is_none());
    assert_eq!(entry(&sim, &got)["completion_tokens"], 16);
}

#[test]
fn drip_is_one_byte_at_a_time_and_still_whole() {
    let sim = start();
    let begun = Instant::now();
    let got = Client::new(&sim).post(PATH, "x-sim-fault: drip:0\r\nx-sim-tokens: 2\r\n", &chat(r#","stream":true"#));
    assert!(got.whole);
    assert_eq!(deltas(&got, 0).concat(), " time river");
    let got = Client::new(&sim).post(PATH, "x-sim-fault: drip:1\r\nx-sim-status: 500\r\n", &chat(""));
    assert_eq!(got.status, 500);
    assert!(begun.elapsed() > Duration::from_millis(300), "hundreds of bytes, 1 ms each");
}

#[test]
fn a_huge_event() {
    let sim = start();
    let got = Client::new(&sim).post(PATH, "x-sim-fault: huge:3\r\nx-sim-tokens: 2\r\n", &chat(r#","stream":true"#));
    let tokens = deltas(&got, 0);
    assert_eq!((tokens[0].len(), tokens[1].as_str()), (3_000_000, " river"));
    assert!(unary(&sim, "huge:2").json()["choices"][0]["message"]["content"].as_str().unwrap().len() > 2_000_000);
}

#[test]
fn unary_bodies_that_lie() {
    let sim = start();
    let bad = unary(&sim, "bad_json");
    assert!(bad.whole && serde_json::from_slice::<serde_json::Value>(&bad.body).is_err());
    let short = unary(&sim, "truncate");
    assert!(!short.whole && !short.body.is_empty());
    assert!(short.body.len() < short.header("content-length").unwrap().parse().unwrap());
    assert_eq!(entry(&sim, &short)["outcome"], "faulted");
    assert_eq!(unary(&sim, "reset_after:0").status, 0);
    assert!(!unary(&sim, "reset_after:1").whole);
}

#[test]
fn an_invalid_chunk() {
    let sim = start();
    let got = stream(&sim, "bad_chunk:2+drip:0");
    assert!(!got.whole);
    assert_eq!(got.data().len(), 2);
}

#[test]
fn status_in_the_shape_of_each_wire_with_retry_after() {
    let sim = start();
    let headers = "x-sim-status: 429\r\nx-sim-retry-after: 7\r\n";
    let got = Client::new(&sim).post(PATH, headers, &chat(""));
    assert_eq!((got.status, got.header("retry-after")), (429, Some("7")));
    assert_eq!(got.json()["error"]["code"], "rate_limit_exceeded");
    let got = Client::new(&sim).post("/v1/messages", headers, r#"{"model":"c","max_tokens":1,"messages":[]}"#);
    assert_eq!(
        (got.json()["type"].as_str(), got.json()["error"]["type"].as_str()),
        (Some("error"), Some("rate_limit_error"))
    );
    let azure = "/openai/deployments/d/chat/completions?api-version=1";
    let got = Client::new(&sim).post(azure, headers, &chat(""));
    assert_eq!(got.json()["error"]["code"], "rate_limit_exceeded");
}

#[test]
fn the_first_n_of_a_key_fail() {
    let sim = start();
    let mut client = Client::new(&sim);
    let mut status =
        |key: &str| client.post(PATH, &format!("x-sim-key: {key}\r\nx-sim-fail-first: 2:503\r\n"), &chat("")).status;
    assert_eq!(
        [status("a"), status("a"), status("b"), status("a"), status("b"), status("b")],
        [503, 503, 503, 200, 503, 200]
    );
}

#[test]
fn informational_answers_and_slow_heads() {
    let sim = start();
    let mut client = Client::new(&sim);
    assert_eq!(client.post(PATH, "x-sim-early: 103\r\nx-sim-slow-headers: 1\r\n", &chat("")).status, 103);
    let got = client.read();
    assert_eq!(got.status, 200);
    assert!(got.whole && got.json()["usage"]["completion_tokens"] == 16);
    let begun = Instant::now();
    client.send(
        common::request("POST", PATH, "x-sim-delay: 0\r\nx-sim-ttft: 150\r\n", &chat(r#","stream":true"#)).as_bytes(),
    );
    let mut first = [0; 4096];
    let n = client.stream.read(&mut first).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(140), "the head does not wait for the first event");
    assert!(first[..n].ends_with(b"\r\n\r\n"));
    let n = client.stream.read(&mut first).unwrap();
    assert!(n > 0 && begun.elapsed() >= Duration::from_millis(150));
}

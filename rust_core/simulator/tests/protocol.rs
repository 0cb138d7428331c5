//! HTTP itself, the ledger and recordings.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::Write;
use std::time::Duration;

use common::{Client, chat, entry_of, request, start};
use penstock_simulator::{Options, Simulator};
use serde_json::json;

const PATH: &str = "/v1/chat/completions";

#[test]
fn keep_alive_and_pipelining_answer_in_order() {
    let sim = start();
    let mut client = Client::new(&sim);
    let one = request("POST", PATH, "x-sim-tokens: 1\r\n", &chat(r#","stream":true"#));
    let two = request("POST", PATH, "x-sim-tokens: 2\r\nx-sim-ttft: 30\r\n", &chat(""));
    let three = request("GET", "/v1/models", "", "");
    client.send(format!("{one}{two}{three}").as_bytes());
    assert!(client.read().text().contains(" time"));
    assert_eq!(client.read().json()["usage"]["completion_tokens"], 2);
    assert_eq!(client.read().json()["object"], "list");
    assert_eq!(client.get("/_sim/health").json()["status"], "ok");
}

#[test]
fn methods_and_paths() {
    let sim = start();
    let mut client = Client::new(&sim);
    assert_eq!(client.get("/nowhere").status, 404);
    assert_eq!(client.get(PATH).status, 405);
    client.send(request("HEAD", "/v1/models", "", "").as_bytes());
    let head = client.read_for(true);
    assert_eq!(head.status, 200);
    assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 0);
    assert_eq!(client.get("/v1/models/any").json()["id"], "any");
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let sim = start();
    let mut client = Client::new(&sim);
    let body = chat("");
    client.send(
        format!("POST {PATH} HTTP/1.1\r\nhost: s\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len())
            .as_bytes(),
    );
    assert_eq!(client.read().status, 100);
    client.send(body.as_bytes());
    assert_eq!(client.read().status, 200);
}

#[test]
fn chunked_requests_and_old_clients() {
    let sim = start();
    let mut client = Client::new(&sim);
    let body = chat("");
    let (a, b) = body.split_at(10);
    client.send(
        format!(
            "POST {PATH} HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\na\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
            b.len()
        )
        .as_bytes(),
    );
    assert_eq!(client.read().status, 200);
    let body = chat(r#","stream":true"#);
    client.send(format!("POST {PATH} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    let got = client.read();
    assert_eq!(got.header("transfer-encoding"), None);
    assert!(got.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn bad_framing_is_refused_and_closed() {
    let sim = start();
    for bad in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"]
    {
        let mut client = Client::new(&sim);
        client.send(bad.as_bytes());
        assert_eq!(client.read().status, 400, "{bad:?}");
        assert!(client.closed());
    }
}

#[test]
fn connection_close_is_honoured() {
    let sim = start();
    let mut client = Client::new(&sim);
    let got = client.post(PATH, "connection: close\r\n", &chat(""));
    assert_eq!(got.header("connection"), Some("close"));
    assert!(client.closed());
}

#[test]
fn a_client_that_leaves_is_cut_and_its_tokens_are_those_written() {
    let sim = start();
    let mut client = Client::new(&sim);
    client.send(
        request("POST", PATH, "x-sim-tps: 100\r\nx-sim-tokens: 10000\r\n", &chat(r#","stream":true"#)).as_bytes(),
    );
    let mut piece = [0; 4096];
    std::io::Read::read(&mut client.stream, &mut piece).unwrap();
    drop(client);
    let entry = entry_of(&sim, 1);
    assert_eq!(entry["outcome"], "cut");
    let sent = entry["tokens_sent"].as_u64().unwrap();
    assert!((1..1000).contains(&sent), "{sent}");
    assert_eq!(entry["completion_tokens"], 10_000);
}

#[test]
fn a_client_that_half_closes_gets_what_was_written_and_no_more() {
    let sim = start();
    let mut client = Client::new(&sim);
    client.send(request("POST", PATH, "x-sim-tokens: 1000000\r\n", &chat(r#","stream":true"#)).as_bytes());
    let mut all = vec![0; 1];
    std::io::Read::read_exact(&mut client.stream, &mut all).unwrap();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    std::io::Read::read_to_end(&mut client.stream, &mut all).unwrap();
    let entry = entry_of(&sim, 1);
    assert_eq!(entry["outcome"], "cut");
    let got = all.windows(13).filter(|w| w.starts_with(b"\"content\":\" ")).count();
    assert_eq!(entry["tokens_sent"], got);
    assert!(got < 1_000_000);
}

#[test]
fn a_reader_that_stalls_holds_the_writer() {
    let sim = start();
    let mut client = Client::new(&sim);
    client.send(request("POST", PATH, "x-sim-tokens: 200000\r\n", &chat(r#","stream":true"#)).as_bytes());
    let mut piece = [0; 1];
    std::io::Read::read(&mut client.stream, &mut piece).unwrap();
    std::thread::park_timeout(Duration::from_millis(200));
    assert_eq!(Client::new(&sim).get("/_sim/ledger").json()["totals"]["open"], 1);
    let mut rest = Vec::new();
    client.send(request("GET", "/_sim/health", "connection: close\r\n", "").as_bytes());
    std::io::Read::read_to_end(&mut client.stream, &mut rest).unwrap();
    assert_eq!(rest.windows(8).filter(|w| *w == b"content\"").count(), 200_001);
    assert_eq!(entry_of(&sim, 1)["tokens_sent"], 200_000);
}

#[test]
fn the_ledger_pages_and_the_last_request_is_kept_whole() {
    let sim = start();
    let mut client = Client::new(&sim);
    for _ in 0..5 {
        client.post(PATH, "authorization: Bearer sk-secret\r\nx-penstock-call-id: c1\r\nX-Odd: A b\r\n", &chat(""));
    }
    let page = client.get("/_sim/ledger?since=2&limit=2").json();
    assert_eq!(
        page["entries"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(page["next"], 4);
    assert_eq!(page["totals"]["requests"], 5);
    assert_eq!(page["totals"]["tokens_sent"], 80);
    assert_eq!(page["entries"][0]["call_id"], "c1");
    assert!(!page.to_string().contains("secret"));
    assert_eq!(page["entries"][0]["credential"].as_str().unwrap().len(), 16);
    let last = client.get("/_sim/requests/last").json();
    assert_eq!(
        (last["seq"].as_u64(), last["method"].as_str(), last["target"].as_str()),
        (Some(5), Some("POST"), Some(PATH))
    );
    assert!(last["headers"].as_array().unwrap().contains(&json!(["X-Odd", "A b"])));
    assert_eq!(last["body_bytes"], chat("").len());
    assert_eq!(client.get("/_sim/requests/1").json()["seq"], 1);
    assert_eq!(client.get("/_sim/requests/9").status, 404);
    client.send(request("POST", "/_sim/reset", "", "").as_bytes());
    assert_eq!(client.read().status, 200);
    assert_eq!(client.get("/_sim/ledger").json()["totals"]["requests"], 0);
    assert_eq!(client.get("/_sim/requests/last").status, 404);
    let got = client.post(PATH, "", &chat(""));
    assert_eq!(got.header("x-sim-seq"), Some("6"), "numbers are not reused");
}

#[test]
fn a_recording_is_answered_byte_for_byte() {
    let sim = start();
    let mut client = Client::new(&sim);
    // "data: a\n\ndata: b\n\n"
    let stream = r#"{"content_type":"text/event-stream","headers":{"x-odd":"1","Content-Length":"99"},"body_base64":"ZGF0YTogYQoKZGF0YTogYgoK","split":[3,10]}"#;
    let json = r#"{"status":418,"content_type":"application/json","body_base64":"eyJhIjoxfQ=="}"#;
    for (name, body) in [("s", stream), ("j", json)] {
        client.send(request("PUT", &format!("/_sim/replay/{name}"), "", body).as_bytes());
        assert_eq!(client.read().status, 200);
    }
    let got = client.post(PATH, "", r#"{"model":"replay/s","messages":[]}"#);
    assert_eq!((got.text().as_str(), got.header("x-odd")), ("data: a\n\ndata: b\n\n", Some("1")));
    client.send(request("POST", PATH, "", r#"{"model":"replay/s","messages":[]}"#).as_bytes());
    std::thread::park_timeout(Duration::from_millis(50));
    let mut raw = [0; 4096];
    let n = std::io::Read::read(&mut client.stream, &mut raw).unwrap();
    assert!(
        String::from_utf8_lossy(&raw[..n])
            .ends_with("\r\n\r\n3\r\ndat\r\na\r\na: a\n\ndata\r\n5\r\n: b\n\n\r\n0\r\n\r\n")
    );
    for (path, headers, body) in [
        ("/v1/embeddings", "x-sim-replay: j\r\n", "{}"),
        ("/some/other/path", "", r#"{"model":"x/replay/j"}"#),
        ("/v1beta/models/replay%2Fj:generateContent", "", "{}"),
    ] {
        let got = client.post(path, headers, body);
        assert_eq!((got.status, got.text().as_str(), got.header("openai-version")), (418, "{\"a\":1}", None), "{path}");
    }
    client.send(request("PUT", "/_sim/replay/x", "", r#"{"content_type":"a","body_base64":"!"}"#).as_bytes());
    assert!(client.read().text().contains("body_base64"));
    client.send(request("DELETE", "/_sim/replay/j", "", "").as_bytes());
    assert_eq!(client.read().status, 200);
    assert_eq!(client.post("/v1/embeddings", "x-sim-replay: j\r\n", "{}").status, 404);
}

#[test]
fn several_threads_share_a_port_and_stopping_frees_it() {
    let mut sim = Simulator::start(Options { threads: 2, ..Options::default() }).unwrap();
    let port = sim.port();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::new(&sim)).collect();
    for client in &mut clients {
        assert_eq!(client.post(PATH, "", &chat("")).status, 200);
    }
    // The other thread may still be closing an entry whose answer was read already.
    while clients[0].get("/_sim/ledger").json()["totals"]["open"] != 0 {}
    assert_eq!(clients[0].get("/_sim/ledger").json()["totals"]["completed"], 20);
    assert!(Simulator::start(Options { port, ..Options::default() }).is_err(), "the port is taken");
    assert!(Simulator::start(Options { port, threads: 2, ..Options::default() }).is_err(), "the port is taken");
    sim.stop();
    sim.stop();
    assert!(clients[0].closed());
    assert!(Simulator::start(Options { port, ..Options::default() }).is_ok());
}

#[test]
fn options_are_checked_by_name() {
    assert!(serde_json::from_str::<Options>(r#"{"tokns":1}"#).is_err());
    let parsed: Options = serde_json::from_str(r#"{"ttft_ms":5}"#).unwrap();
    assert_eq!((parsed.host.as_str(), parsed.tokens, parsed.threads), ("127.0.0.1", 16, 1));
    for options in [
        Options { threads: 0, ..Options::default() },
        Options { ttft_ms: -1.0, ..Options::default() },
        Options { tokens_per_second: f64::NAN, ..Options::default() },
    ] {
        assert_eq!(Simulator::start(options).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_thousand_streams_at_once() {
    let sim = start();
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::new(&sim)).collect();
    let ask = request("POST", PATH, "x-sim-tps: 100\r\nx-sim-tokens: 20\r\n", &chat(r#","stream":true"#));
    for client in &mut clients {
        client.stream.write_all(ask.as_bytes()).unwrap();
    }
    for client in &mut clients {
        let got = client.read();
        assert!(got.whole && common::deltas(&got, 0).len() == 20);
    }
    for seq in [1, 1000] {
        assert_eq!(entry_of(&sim, seq)["outcome"], "completed");
    }
}

#[test]
fn the_last_body_is_kept_whole_and_an_answer_too_large_is_refused() {
    let sim = start();
    let mut client = Client::new(&sim);
    let long = chat("").replace("say four", &"word ".repeat(100_000));
    assert_eq!(client.post(PATH, "", &long).json()["usage"]["prompt_tokens"], 100_009);
    let last = client.get("/_sim/requests/last").json();
    assert_eq!(last["body_base64"].as_str().unwrap().len(), long.len().div_ceil(3) * 4);
    let got = client.post(PATH, "x-sim-tokens: 1000000\r\nx-sim-bytes: 60000\r\n", &chat(""));
    assert!(got.status == 400 && got.text().contains("bytes"), "{}", got.text());
    let first = client.get("/_sim/requests/1").json();
    assert_eq!(first["body_bytes"], long.len());
    assert!(first["body_base64"].as_str().unwrap().len() < 100_000);
}

#[test]
fn a_client_that_leaves_before_the_first_byte_is_cut() {
    let sim = start();
    for body in [chat(""), chat(r#","stream":true"#)] {
        let mut client = Client::new(&sim);
        client.send(request("POST", PATH, "x-sim-ttft: 60000\r\n", &body).as_bytes());
        while Client::new(&sim).get("/_sim/ledger").json()["totals"]["open"] != 1 {}
        drop(client);
        let seq = Client::new(&sim).get("/_sim/ledger").json()["next"].as_u64().unwrap();
        let entry = entry_of(&sim, seq);
        assert_eq!((&entry["outcome"], &entry["tokens_sent"]), (&json!("cut"), &json!(0)));
    }
}

#[test]
fn a_simulator_may_be_held_by_any_thread() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&start());
}

#[test]
fn large_bodies_arrive_whole_in_any_framing() {
    let sim = start();
    let mut client = Client::new(&sim);
    let body = chat("").replace("say four", &"word ".repeat(400_000));
    let mut chunked = format!("POST {PATH} HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.as_bytes().chunks(9973) {
        chunked.extend(format!("{:x}\r\n", piece.len()).bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    client.send(&chunked);
    assert_eq!(client.read().json()["usage"]["prompt_tokens"], 400_009);
    assert_eq!(client.post(PATH, "", &body).json()["usage"]["prompt_tokens"], 400_009);
    client.send(format!("POST {PATH} HTTP/1.1\r\nhost: s\r\ncontent-length: 999999999999\r\n\r\n").as_bytes());
    assert_eq!(client.read().status, 413);
    assert!(client.closed());
}

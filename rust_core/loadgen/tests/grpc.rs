//! What the load generator reports of gRPC calls is what was injected.
//!
//! A server in the test delays, refuses and damages its answers in known ways. Timers and a busy machine only ever add
//! time, so lower bounds are exact and upper ones generous.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use penstock_loadgen::{Options, Report, run};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Timer resolution and scheduling on a busy machine.
const SLACK_US: f64 = 15_000.0;
/// The bytes `foo`, as options carry them.
const FOO: &str = "Zm9v";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// This status with `over budget` instead of an answer.
    Refuse(&'static str),
    /// The same in the trailers, after everything else.
    Late(&'static str),
    /// The stream is reset after half of the messages, or instead of an answer.
    Reset(Reason),
    /// Never an answer.
    Hang,
    /// No further than half of the messages.
    HangInside,
    NoStatus,
    NoMessage,
    Compressed,
    Truncated,
    Malformed,
    /// Not gRPC at all.
    Http(u16),
    /// `text/html`.
    Html,
}

#[derive(Debug, Clone, Default)]
struct Injected {
    ttft: Duration,
    gap: Duration,
    /// Of a stream; empty: unary.
    deltas: Vec<&'static str>,
    without_usage: bool,
    /// All messages in one frame.
    together: bool,
    fault: Option<Fault>,
    /// Only every so many calls, counted from 1; 0: each.
    fault_every: u64,
    /// A connection takes so many calls and says goodbye; 0: any number.
    goodbye_after: u64,
    /// A connection is dropped without a word when this call comes, counted over all; 0: none.
    drop_at: u64,
}

#[derive(Debug, Default)]
struct Heard {
    calls: AtomicU64,
    connections: AtomicU64,
    at_a_time: AtomicU64,
    most_at_a_time: AtomicU64,
    /// Path, metadata and body of each call, where they differ.
    requests: Mutex<BTreeSet<String>>,
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
}

fn chunk(text: &str) -> Vec<u8> {
    [field(1, b"id"), field(4, &field(2, &field(2, text.as_bytes()))), field(3, b"m")].concat()
}

fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap());
    out.extend_from_slice(message);
    out.freeze()
}

fn status(code: &str) -> HeaderMap {
    let pairs = [("grpc-status", code), ("grpc-message", "over%20budget")];
    pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn body(mut body: RecvStream) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        let _ = body.flow_control().release_capacity(data.len());
        whole.extend_from_slice(&data);
    }
    whole
}

async fn answer(injected: &Injected, fault: Option<Fault>, mut respond: SendResponse<Bytes>) {
    sleep(injected.ttft).await;
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    match fault {
        Some(Fault::Refuse(code)) => {
            head.headers_mut().extend(status(code));
            respond.send_response(head, true).unwrap();
            return;
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset(reason)) if injected.deltas.is_empty() => return respond.send_reset(reason),
        Some(Fault::Http(status)) => *head.status_mut() = status.try_into().unwrap(),
        Some(Fault::Html) => drop(head.headers_mut().insert("content-type", "text/html".parse().unwrap())),
        _ => {}
    }
    let mut stream = respond.send_response(head, false).unwrap();
    if messages(injected, fault, &mut stream).await {
        match fault {
            Some(Fault::Late(code)) => stream.send_trailers(status(code)).unwrap(),
            Some(Fault::NoStatus) => stream.send_data(Bytes::new(), true).unwrap(),
            _ => stream.send_trailers(status("0")).unwrap(),
        }
    }
}

/// Whether the trailers shall follow.
async fn messages(injected: &Injected, fault: Option<Fault>, stream: &mut SendStream<Bytes>) -> bool {
    match fault {
        Some(Fault::NoMessage) => return true,
        Some(Fault::Compressed) => stream.send_data(Bytes::from_static(&[1, 0, 0, 0, 1, 7]), false).unwrap(),
        Some(Fault::Truncated) => stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 7]), false).unwrap(),
        Some(Fault::Malformed) => stream.send_data(framed(&[0x22, 9]), false).unwrap(),
        _ => {}
    }
    if injected.deltas.is_empty() {
        if fault != Some(Fault::Compressed) && fault != Some(Fault::Truncated) {
            stream.send_data(framed(b"answer"), false).unwrap();
        }
        return true;
    }
    let mut whole = BytesMut::new();
    for (i, delta) in injected.deltas.iter().enumerate() {
        if i == injected.deltas.len() / 2 {
            match fault {
                Some(Fault::Reset(reason)) => {
                    // Reset and data would otherwise go out together, and the data be forgotten.
                    sleep(Duration::from_millis(5)).await;
                    stream.send_reset(reason);
                    return false;
                }
                Some(Fault::HangInside) => std::future::pending().await,
                _ => {}
            }
        }
        if injected.together {
            whole.extend_from_slice(&framed(&chunk(delta)));
            continue;
        }
        if i > 0 {
            sleep(injected.gap).await;
        }
        stream.send_data(framed(&chunk(delta)), false).unwrap();
    }
    if !injected.without_usage {
        whole.extend_from_slice(&framed(&field(5, b"")));
    }
    stream.send_data(whole.freeze(), false).unwrap();
    true
}

fn described(request: &Request<RecvStream>, timeout: &str) -> String {
    let of = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
    let timeout = if of("grpc-timeout") == timeout { "in time" } else { of("grpc-timeout") };
    let named = [of("content-type"), of("te"), of("authorization"), timeout].join(", ");
    format!("{} {} {named}", request.method(), request.uri().path())
}

async fn serve(listener: TcpListener, injected: Injected, heard: Arc<Heard>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        heard.connections.fetch_add(1, Ordering::Relaxed);
        let (injected, heard) = (injected.clone(), Arc::clone(&heard));
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut here = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                let ordinal = heard.calls.fetch_add(1, Ordering::Relaxed) + 1;
                if ordinal == injected.drop_at {
                    return;
                }
                here += 1;
                if here == injected.goodbye_after {
                    connection.graceful_shutdown();
                }
                let is_due = ordinal.checked_rem(injected.fault_every.max(1)) == Some(0);
                let (injected, heard) = (injected.clone(), Arc::clone(&heard));
                tokio::spawn(async move {
                    let now = heard.at_a_time.fetch_add(1, Ordering::Relaxed) + 1;
                    heard.most_at_a_time.fetch_max(now, Ordering::Relaxed);
                    let said = described(&request, "30000m");
                    let sent = String::from_utf8(body(request.into_body()).await).unwrap();
                    heard.requests.lock().unwrap().insert(format!("{said} {sent:?}"));
                    answer(&injected, injected.fault.filter(|_| is_due), respond).await;
                    heard.at_a_time.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }
}

/// Starts a server for the rest of the test's process.
fn server(injected: Injected) -> (SocketAddr, Arc<Heard>) {
    let (tx, rx) = std::sync::mpsc::channel();
    let heard = Arc::new(Heard::default());
    let listening = Arc::clone(&heard);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tx.send(listener.local_addr().unwrap()).unwrap();
            serve(listener, injected, listening).await;
        });
    });
    (rx.recv().unwrap(), heard)
}

fn load(address: SocketAddr, calls_per_connection: usize, rest: &str) -> Report {
    let grpc = format!("{{\"message\": \"{FOO}\", \"calls_per_connection\": {calls_per_connection}}}");
    let options = format!("{{\"url\": \"http://{address}/penstock.v1.Chat/Create\", \"grpc\": {grpc}, {rest}}}");
    run(&serde_json::from_str::<Options>(&options).unwrap()).unwrap()
}

/// What is reported of calls that all fail alike.
fn kind_of(fault: Fault, deltas: &[&'static str]) -> String {
    let injected = Injected { fault: Some(fault), deltas: deltas.to_vec(), ..Injected::default() };
    let stream = if deltas.is_empty() { "" } else { r#", "stream": {"order": "any"}"# };
    let report = load(server(injected).0, 2, &format!(r#""requests": 4, "timeout_ms": 300{stream}"#));
    assert_eq!((report.requests, report.errors, report.errors_by_kind.len()), (0, 4, 1), "{report:?}");
    report.errors_by_kind.keys().next().unwrap().clone()
}

fn assert_about(what: &str, got_us: f64, injected: Duration) {
    let injected = injected.as_secs_f64() * 1e6;
    assert!(got_us >= injected && got_us <= injected + SLACK_US, "{what}: {got_us} us for {injected} us");
}

const DELTAS: [&str; 4] = [" time", " river", " that", " this"];

#[test]
fn calls_share_connections_and_a_delay_is_reported_as_latency() {
    let ttft = Duration::from_millis(40);
    let (address, heard) = server(Injected { ttft, ..Injected::default() });
    let headers = r#""headers": [["authorization", "Bearer k"]]"#;
    let report = load(address, 4, &format!(r#""connections": 2, "requests": 80, "warmup_requests": 16, {headers}"#));
    assert_eq!((report.requests, report.errors, report.reconnects), (80, 0, 0));
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((of(&heard.calls), of(&heard.connections), of(&heard.most_at_a_time)), (96, 2, 8));
    let expected = r#"POST /penstock.v1.Chat/Create application/grpc, trailers, Bearer k, in time "\0\0\0\0\u{3}foo""#;
    assert_eq!(heard.requests.lock().unwrap().iter().map(String::as_str).collect::<Vec<_>>(), [expected]);
    assert_about("p50", report.latency_us.p50, ttft);
    assert!(report.latency_us.min >= 40_000.0);
    assert_eq!((report.bytes_sent, report.bytes_received), (80 * 8, 80 * 11));
    let closed_loop = 8.0 / 0.040;
    assert!(report.rps <= closed_loop && report.rps > closed_loop * 0.6, "{} calls/s", report.rps);
    assert!(report.stream.is_none());
}

#[test]
fn time_to_first_token_and_gaps_are_those_of_the_messages() {
    let (ttft, gap) = (Duration::from_millis(60), Duration::from_millis(20));
    let (address, _) = server(Injected { ttft, gap, deltas: DELTAS.to_vec(), ..Injected::default() });
    let stream = r#""stream": {"deltas": 4, "order": "numbered", "usage": true}"#;
    let report = load(address, 5, &format!(r#""connections": 2, "threads": 2, "requests": 30, {stream}"#));
    assert_eq!((report.requests, report.errors), (30, 0), "{:?}", report.errors_by_kind);
    let seen = report.stream.unwrap();
    assert_eq!((seen.frames, seen.deltas), (150, 120));
    assert_eq!((seen.ttft_us.count, seen.gap_us.count), (30, 90));
    assert_about("TTFT", seen.ttft_us.p50, ttft);
    assert!(seen.ttft_us.min >= 60_000.0);
    // Neither nothing, nor two of them, nor the time to the first.
    assert!((seen.gap_us.mean - 20_000.0).abs() < 8_000.0, "{:?}", seen.gap_us);
    assert_about("the whole", report.latency_us.p50, ttft + 3 * gap);
}

#[test]
fn messages_that_come_together_have_no_gap() {
    let (address, _) = server(Injected { deltas: DELTAS.to_vec(), together: true, ..Injected::default() });
    let report = load(address, 1, r#""requests": 3, "stream": {"deltas": 4, "order": "same", "usage": true}"#);
    assert_eq!(report.requests, 3, "{:?}", report.errors_by_kind);
    let seen = report.stream.unwrap();
    assert_eq!((seen.gap_us.count, seen.gap_us.max), (9, 0.0));
}

#[test]
fn flaws_of_streams_are_told_apart() {
    let kind = |deltas: &[&'static str], without_usage, stream: &str| {
        let (address, _) = server(Injected { deltas: deltas.to_vec(), without_usage, ..Injected::default() });
        let report = load(address, 1, &format!(r#""requests": 2, "stream": {stream}"#));
        report.errors_by_kind.keys().cloned().collect::<Vec<_>>().join(", ")
    };
    let numbered = r#"{"order": "numbered"}"#;
    assert_eq!(kind(&DELTAS, false, numbered), "");
    assert_eq!(kind(&[" time", " that", " river"], false, numbered), "grpc_order");
    assert_eq!(kind(&[" time", " that"], false, numbered), "grpc_order");
    assert_eq!(kind(&[" time", " time"], false, numbered), "grpc_order");
    assert_eq!(kind(&DELTAS, false, r#"{"deltas": 5}"#), "grpc_delta_count");
    assert_eq!(kind(&DELTAS, true, r#"{"usage": true}"#), "grpc_no_usage");
}

#[test]
fn every_kind_of_failure_has_its_name() {
    for (fault, unary, streamed) in [
        (Fault::Refuse("8"), "grpc_resource_exhausted", "grpc_resource_exhausted"),
        (Fault::Late("14"), "grpc_unavailable", "grpc_unavailable"),
        (Fault::Reset(Reason::INTERNAL_ERROR), "reset_internal_error", "reset_internal_error"),
        (Fault::Reset(Reason::from(77)), "reset_77", "reset_77"),
        (Fault::Hang, "timeout", "timeout"),
        (Fault::NoStatus, "grpc_no_status", "grpc_no_status"),
        (Fault::Compressed, "grpc_compressed", "grpc_compressed"),
        (Fault::Truncated, "grpc_truncated", "grpc_malformed"),
        (Fault::Http(503), "status_503", "status_503"),
        (Fault::Html, "grpc_content_type", "grpc_content_type"),
    ] {
        assert_eq!(kind_of(fault, &[]), unary, "{fault:?}");
        assert_eq!(kind_of(fault, &DELTAS), streamed, "{fault:?}");
    }
    assert_eq!(kind_of(Fault::NoMessage, &[]), "grpc_message_count");
    assert_eq!(kind_of(Fault::Malformed, &[]), "grpc_message_count");
    assert_eq!(kind_of(Fault::Malformed, &DELTAS), "grpc_malformed");
    assert_eq!(kind_of(Fault::HangInside, &DELTAS), "timeout_body");
}

#[test]
fn the_first_failure_says_what_the_server_said_and_the_others_are_not_hurt() {
    let fault = Some(Fault::Late("8"));
    let (address, heard) = server(Injected { fault, fault_every: 4, ..Injected::default() });
    let report = load(address, 3, r#""requests": 40"#);
    assert_eq!((report.requests, report.errors, report.reconnects), (30, 10, 0));
    assert_eq!(report.latency_us.count, 30);
    let first = report.first_error.unwrap();
    assert_eq!((first.kind.as_str(), first.detail.as_str()), ("grpc_resource_exhausted", "over budget"));
    assert_eq!(heard.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn a_call_that_times_out_leaves_a_living_connection_to_the_others() {
    let fault = Some(Fault::Hang);
    let (address, heard) = server(Injected { fault, fault_every: 10, ..Injected::default() });
    let report = load(address, 4, r#""requests": 60, "timeout_ms": 200"#);
    assert_eq!((report.requests, report.errors), (54, 6), "{:?}", report.errors_by_kind);
    assert_eq!(report.errors_by_kind["timeout"], 6);
    // All four hang at times, and nothing tells such a connection from a dead one.
    assert!(heard.connections.load(Ordering::Relaxed) <= 3);
}

#[test]
fn a_peer_that_is_gone_is_given_up_after_one_timeout() {
    // Accepted by the system, never answered.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    let report = load(listener.local_addr().unwrap(), 2, r#""requests": 4, "timeout_ms": 100"#);
    assert_eq!(report.errors_by_kind["timeout"], 4);
    assert_eq!(report.reconnects, 1);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn connections_that_say_goodbye_cost_no_call() {
    let (address, heard) =
        server(Injected { goodbye_after: 10, ttft: Duration::from_millis(2), ..Injected::default() });
    let report = load(address, 4, r#""requests": 200"#);
    assert_eq!((report.requests, report.errors), (200, 0), "{:?}", report.errors_by_kind);
    assert!(report.reconnects >= 10, "{}", report.reconnects);
    assert_eq!(heard.connections.load(Ordering::Relaxed), report.reconnects + 1);
}

#[test]
fn a_connection_that_is_lost_fails_its_calls_and_is_opened_again() {
    let (address, _) = server(Injected { drop_at: 20, ttft: Duration::from_millis(5), ..Injected::default() });
    let report = load(address, 4, r#""requests": 100"#);
    assert_eq!(report.requests + report.errors, 100);
    assert!((1..=4).contains(&report.errors), "{:?}", report.errors_by_kind);
    assert_eq!(report.errors_by_kind.keys().collect::<Vec<_>>(), ["closed"]);
    assert_eq!(report.reconnects, 1);
}

#[test]
fn what_is_no_http_2_or_nobody_is_said_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let report = load(address, 1, r#""requests": 2"#);
    assert_eq!(report.errors_by_kind["framing"], 2, "{:?}", report.errors_by_kind);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(load(nobody, 2, r#""requests": 2"#).errors_by_kind["connect"], 2);
}

#[test]
fn an_open_loop_counts_from_when_a_call_was_due() {
    let ttft = Duration::from_millis(100);
    let (address, heard) = server(Injected { ttft, ..Injected::default() });
    // 20 at a time are needed; there are 10.
    let report = load(address, 5, r#""connections": 2, "rate": 200, "requests": 100"#);
    assert_eq!((report.requests, report.errors), (100, 0), "{:?}", report.errors_by_kind);
    assert_eq!(heard.most_at_a_time.load(Ordering::Relaxed), 10);
    assert_about("service time", report.service_us.p50, ttft);
    assert!(report.latency_us.max > 400_000.0, "{}", report.latency_us.max);
    assert!(report.send_delay_us.unwrap().max > 300_000.0);
}

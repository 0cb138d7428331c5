//! What the load generator reports is what was injected.
//!
//! A server in the test delays, stalls and damages its answers in known ways. Timers and a busy
//! machine only ever add time, so lower bounds are exact and upper ones generous.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use penstock_http1::{BodyDecoder, Conn, Limits, put_chunk, put_last_chunk};
use penstock_loadgen::{Control, Options, Report, run, run_with};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Timer resolution and scheduling on a busy machine.
const SLACK_US: f64 = 15_000.0;

#[derive(Debug, Clone, Default)]
struct Injected {
    ttft: Duration,
    gap: Duration,
    deltas: Vec<&'static str>,
    without_done: bool,
    /// Every so many requests, counted from 1, the answer is 429.
    refuse_every: u64,
    /// Every so many requests the connection is closed after half of the answer.
    cut_every: u64,
    /// This request makes the whole server stand still.
    stall: Option<(u64, Duration)>,
    /// Connections are closed, without a word, after so many answers.
    close_after: u64,
    /// Every so many requests the connection is closed instead of an answer.
    silent_every: u64,
    /// What comes with a 429, `{}` when empty.
    refusal: &'static str,
}

async fn answer(conn: &mut Conn<TcpStream>, injected: &Injected, ordinal: u64) -> std::io::Result<bool> {
    let every = |n: u64| ordinal.checked_rem(n) == Some(0);
    if let Some((_, time)) = injected.stall.filter(|(at, _)| *at == ordinal) {
        // Blocks the only thread: every connection stands still.
        let start = std::time::Instant::now();
        while start.elapsed() < time {
            std::thread::park_timeout(time);
        }
    }
    if every(injected.silent_every) {
        return Ok(false);
    }
    if every(injected.refuse_every) {
        let body = if injected.refusal.is_empty() { "{}" } else { injected.refusal };
        let head = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 60";
        conn.write(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
        return Ok(true);
    }
    sleep(injected.ttft).await;
    if injected.deltas.is_empty() {
        if every(injected.cut_every) {
            conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await?;
            return Ok(false);
        }
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd").await?;
        return Ok(true);
    }
    conn.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    for (i, delta) in injected.deltas.iter().enumerate() {
        if i > 0 {
            sleep(injected.gap).await;
        }
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{delta}\"}}}}]}}\n\n");
        let mut out = BytesMut::new();
        put_chunk(&mut out, event.as_bytes());
        conn.write(&out).await?;
    }
    let mut out = BytesMut::new();
    put_chunk(&mut out, b"data: {\"choices\":[],\"usage\":{\"total_tokens\":9}}\n\n");
    if !injected.without_done {
        put_chunk(&mut out, b"data: [DONE]\n\n");
    }
    put_last_chunk(&mut out);
    conn.write(&out).await?;
    Ok(true)
}

async fn serve(listener: TcpListener, injected: Injected, served: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (injected, served) = (injected.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let mut conn = Conn::new(stream);
            let mut here = 0;
            while let Ok(Ok(Some(head))) = conn.read_request(&Limits::default()).await {
                let mut body = BodyDecoder::new(head.framing);
                while let Ok(Ok(Some(_))) = conn.read_body(&mut body).await {}
                let ordinal = served.fetch_add(1, Ordering::Relaxed) + 1;
                if !matches!(answer(&mut conn, &injected, ordinal).await, Ok(true)) {
                    return;
                }
                here += 1;
                if here == injected.close_after {
                    return;
                }
            }
        });
    }
}

/// Starts a server for the rest of the test's process, and says its URL and how many requests it has seen.
fn server(injected: Injected) -> (String, Arc<AtomicU64>) {
    let (tx, rx) = std::sync::mpsc::channel();
    let served = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&served);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tx.send(listener.local_addr().unwrap()).unwrap();
            serve(listener, injected, counter).await;
        });
    });
    (format!("http://{}/v1/chat/completions", rx.recv().unwrap()), served)
}

fn load(url: &str, rest: &str) -> Report {
    let options = format!("{{\"url\": \"{url}\", \"body\": \"{{}}\", {rest}}}");
    run(&serde_json::from_str::<Options>(&options).unwrap()).unwrap()
}

fn assert_about(what: &str, got_us: f64, injected: Duration) {
    let injected = injected.as_secs_f64() * 1e6;
    assert!(got_us >= injected && got_us <= injected + SLACK_US, "{what}: {got_us} us for {injected} us");
}

#[test]
fn a_delay_is_reported_as_latency() {
    let ttft = Duration::from_millis(40);
    let (url, served) = server(Injected { ttft, ..Injected::default() });
    let report = load(&url, r#""connections": 4, "requests": 40, "warmup_requests": 8"#);
    assert_eq!((report.requests, report.errors), (40, 0));
    assert_eq!(served.load(Ordering::Relaxed), 48, "the warm-up is sent and not reported");
    assert_about("p50", report.latency_us.p50, ttft);
    assert!(report.latency_us.min >= 40_000.0);
    assert_eq!(report.bytes_received, 160);
    let closed_loop = 4.0 / 0.040;
    assert!(report.rps <= closed_loop && report.rps > closed_loop * 0.6, "{} requests/s", report.rps);
}

#[test]
fn a_ramp_spreads_the_beginnings() {
    let (url, _) = server(Injected::default());
    let report = load(&url, r#""connections": 5, "requests": 100000, "duration_ms": 100, "ramp_ms": 500"#);
    assert_eq!(report.errors, 0);
    assert!(report.elapsed_s >= 0.4, "the last connection looked for work after {} s", report.elapsed_s);
}

#[test]
fn ttft_and_gaps_are_reported_as_injected() {
    let (ttft, gap) = (Duration::from_millis(60), Duration::from_millis(20));
    let deltas = vec![" time", " river", " that", " this", " with"];
    let (url, _) = server(Injected { ttft, gap, deltas, ..Injected::default() });
    let report =
        load(&url, r#""connections": 3, "requests": 9, "stream": {"deltas": 5, "order": "numbered", "usage": true}"#);
    assert_eq!((report.requests, report.errors), (9, 0), "{:?}", report.errors_by_kind);
    let stream = report.stream.unwrap();
    assert_eq!((stream.frames, stream.deltas), (9 * 7, 9 * 5));
    assert_eq!((stream.ttft_us.count, stream.gap_us.count), (9, 9 * 4));
    assert_about("ttft", stream.ttft_us.p50, ttft);
    assert!((stream.gap_us.p50 - 20_000.0).abs() <= SLACK_US, "gap {} us", stream.gap_us.p50);
    assert!((stream.gap_us.mean - 20_000.0).abs() <= SLACK_US, "mean gap {} us", stream.gap_us.mean);
    assert!(report.latency_us.min >= 140_000.0);
}

#[test]
fn an_open_loop_charges_the_server_for_requests_that_waited() {
    let stall = Duration::from_millis(400);
    let (url, served) = server(Injected { stall: Some((50, stall)), ..Injected::default() });
    let report = load(&url, r#""connections": 2, "rate": 200, "duration_ms": 1000"#);
    assert_eq!((report.requests, report.errors, served.load(Ordering::Relaxed)), (200, 0, 200));
    assert!(report.elapsed_s >= 0.99, "{} s", report.elapsed_s);
    // 80 arrivals fell into the stall and waited 200 ms on average; only two requests were under way in it.
    assert!(report.latency_us.p90 >= 150_000.0, "corrected p90 {} us", report.latency_us.p90);
    assert!(report.service_us.p90 <= 100_000.0, "uncorrected p90 {} us", report.service_us.p90);
    assert_about("max", report.latency_us.max, stall);
    assert!(report.send_delay_us.unwrap().max >= 300_000.0);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let (url, _) = server(Injected::default());
    let report = load(&url, r#""connections": 8, "rate": 1000, "requests": 500"#);
    assert_eq!((report.requests, report.errors), (500, 0));
    assert!((report.elapsed_s - 0.5).abs() < 0.1, "{} s", report.elapsed_s);
    let delay = report.send_delay_us.unwrap();
    assert!(delay.p50 < 5_000.0, "sent {} us late", delay.p50);
}

#[test]
fn arrivals_that_nobody_could_send_are_errors() {
    let (url, _) = server(Injected { ttft: Duration::from_millis(400), ..Injected::default() });
    let report = load(&url, r#""connections": 1, "rate": 100, "requests": 20, "timeout_ms": 600"#);
    assert_eq!(report.requests + report.errors, 20);
    assert!(report.errors_by_kind["unsent"] >= 15, "{:?}", report.errors_by_kind);
}

#[test]
fn failures_are_counted_by_kind_and_kept_out_of_latencies() {
    let (url, _) = server(Injected { refuse_every: 4, ..Injected::default() });
    let report = load(&url, r#""requests": 40"#);
    assert_eq!((report.requests, report.latency_us.count, report.errors_by_kind["status_429"]), (30, 30, 10));

    let (url, _) = server(Injected { cut_every: 5, ..Injected::default() });
    let report = load(&url, r#""requests": 40"#);
    assert_eq!((report.requests, report.errors_by_kind["closed_body"]), (32, 8));

    let (url, _) = server(Injected { ttft: Duration::from_millis(500), ..Injected::default() });
    let report = load(&url, r#""requests": 2, "timeout_ms": 30"#);
    assert_eq!((report.requests, report.errors_by_kind["timeout"]), (0, 2));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = load(&format!("http://{free}/"), r#""requests": 3"#);
    assert_eq!((report.requests, report.errors_by_kind["connect"]), (0, 3));
}

#[test]
fn damaged_streams_are_found() {
    let damaged = |deltas: &[&'static str], without_done| {
        let (url, _) = server(Injected { deltas: deltas.to_vec(), without_done, ..Injected::default() });
        load(&url, r#""requests": 5, "stream": {"deltas": 3, "order": "numbered"}"#).errors_by_kind
    };
    assert!(damaged(&[" time", " river", " that"], false).is_empty());
    assert_eq!(damaged(&[" time", " that", " river"], false)["sse_order"], 5);
    assert_eq!(damaged(&[" time", " river"], false)["sse_delta_count"], 5);
    assert_eq!(damaged(&[" time", " river", " that"], true)["sse_not_done"], 5);
}

#[test]
fn the_load_generator_says_what_it_costs_itself() {
    let (url, _) = server(Injected::default());
    let report = load(&url, r#""connections": 8, "requests": 4000, "warmup_requests": 100"#);
    assert_eq!((report.requests, report.errors), (4000, 0));
    if let Some(cost) = report.client_cpu_us_per_request {
        assert!(cost > 0.5 && cost < 500.0, "{cost} us");
    }
}

#[test]
fn a_kept_alive_connection_that_the_server_closed_is_opened_again() {
    let (url, served) = server(Injected { close_after: 4, ..Injected::default() });
    let report = load(&url, r#""connections": 2, "requests": 40"#);
    assert_eq!((report.requests, report.errors), (40, 0), "{:?}", report.errors_by_kind);
    assert_eq!(served.load(Ordering::Relaxed), 40, "no request is sent twice");
    // The last of the ten connections may have been closed behind the last answer.
    assert!((8..=9).contains(&report.reconnects), "{}", report.reconnects);
}

#[test]
fn a_request_that_a_new_connection_does_not_answer_is_an_error() {
    let (url, _) = server(Injected { silent_every: 1, ..Injected::default() });
    let report = load(&url, r#""requests": 5"#);
    assert_eq!((report.requests, report.errors_by_kind["closed"]), (0, 5));
    assert_eq!(report.first_error.unwrap().kind, "closed");
}

#[test]
fn a_refused_request_keeps_its_connection_and_shows_what_was_said() {
    let (url, served) = server(Injected { refuse_every: 2, refusal: r#"{"error": "slow"}"#, ..Injected::default() });
    let begun = std::time::Instant::now();
    let report = load(&url, r#""requests": 40"#);
    assert_eq!((report.requests, report.errors_by_kind["status_429"], report.reconnects), (20, 20, 0));
    assert_eq!(served.load(Ordering::Relaxed), 40);
    let first = report.first_error.unwrap();
    assert_eq!((first.kind.as_str(), first.detail.as_str()), ("status_429", r#"{"error": "slow"}"#));
    assert!(begun.elapsed() < Duration::from_secs(5), "`Retry-After` is not waited for");
}

#[test]
fn several_threads_are_one_load() {
    let ttft = Duration::from_millis(20);
    let (url, served) = server(Injected { ttft, ..Injected::default() });
    let report = load(&url, r#""connections": 7, "threads": 3, "requests": 140, "warmup_requests": 9"#);
    assert_eq!((report.requests, report.errors, served.load(Ordering::Relaxed)), (140, 0, 149));
    assert_eq!((report.latency_us.count, report.bytes_received), (140, 560));
    assert_about("p50", report.latency_us.p50, ttft);
    assert!(report.rps > 7.0 / 0.020 * 0.5, "{} requests/s", report.rps);
    let seconds: u64 = report.seconds.iter().map(|s| s.requests).sum();
    assert_eq!(seconds, 140);

    let open = load(&url, r#""connections": 20, "threads": 2, "rate": 200, "requests": 100"#);
    assert_eq!((open.requests, open.errors), (100, 0));
    assert!((open.elapsed_s - 0.52).abs() < 0.1, "{} s", open.elapsed_s);
}

#[test]
fn the_streams_of_all_threads_are_compared_with_one() {
    let deltas = vec!["a", "b"];
    let (url, _) = server(Injected { deltas, ..Injected::default() });
    let report = load(&url, r#""connections": 4, "threads": 2, "requests": 20, "stream": {}"#);
    assert_eq!((report.requests, report.stream.unwrap().deltas), (20, 40), "{:?}", report.errors_by_kind);
}

#[test]
fn the_course_shows_a_stall_in_its_second() {
    let (url, _) = server(Injected { stall: Some((150, Duration::from_millis(400))), ..Injected::default() });
    let report = load(&url, r#""connections": 4, "rate": 100, "duration_ms": 3000"#);
    assert_eq!((report.requests, report.seconds.iter().map(|s| s.requests).sum::<u64>()), (300, 300));
    let worst: Vec<_> = report.seconds.iter().map(|s| s.p99_us > 300_000.0).collect();
    // Arrival 150 is due after 1.5 s; what waited behind it is answered at 1.9 s.
    assert_eq!(worst[..3], [false, true, false], "{:?}", report.seconds);
}

/// Runs a load and stops it once `ready`.
fn stopped(url: &str, rest: &str, ready: impl Fn(u64) -> bool + Send + 'static) -> Report {
    let options = format!("{{\"url\": \"{url}\", \"body\": \"{{}}\", {rest}}}");
    let options = serde_json::from_str::<Options>(&options).unwrap();
    let control = Arc::new(Control::default());
    let other = Arc::clone(&control);
    let stopper = std::thread::spawn(move || {
        while !ready(other.progress().requests) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        other.stop();
        (other.progress(), std::time::Instant::now())
    });
    let report = run_with(&options, &control).unwrap();
    let (progress, at) = stopper.join().unwrap();
    assert!(at.elapsed() < Duration::from_secs(3), "{rest}: {:?}", at.elapsed());
    assert!(report.stopped && report.errors == 0, "{rest}: {:?}", report.errors_by_kind);
    assert!(progress.requests <= report.requests && progress.errors == 0);
    report
}

#[test]
fn a_load_that_is_stopped_reports_what_there_was() {
    let (url, _) = server(Injected { ttft: Duration::from_millis(20), ..Injected::default() });
    for rest in [
        r#""connections": 3, "duration_ms": 60000"#,
        r#""connections": 4, "threads": 2, "duration_ms": 60000"#,
        r#""connections": 4, "rate": 100, "duration_ms": 60000"#,
    ] {
        let report = stopped(&url, rest, |answered| answered > 10);
        assert!(report.requests > 10 && report.latency_us.count == report.requests, "{rest}: {}", report.requests);
    }
}

#[test]
fn what_is_in_flight_when_a_load_is_stopped_is_abandoned() {
    for (rest, in_flight, abandoned) in [
        (r#""connections": 3, "requests": 9"#, 3, 3),
        (r#""connections": 4, "threads": 2, "requests": 9"#, 4, 4),
        (r#""connections": 3, "requests": 9, "ramp_ms": 90000"#, 1, 1),
        (r#""connections": 3, "requests": 9, "warmup_requests": 9"#, 3, 0),
    ] {
        let (url, served) = server(Injected { ttft: Duration::from_secs(20), ..Injected::default() });
        let report = stopped(&url, rest, move |_| served.load(Ordering::Relaxed) == in_flight);
        assert_eq!((report.requests, report.abandoned), (0, abandoned), "{rest}");
    }
}

//! Flow control: no more is sent than is taken, no more is kept than is allowed, and nobody is forgotten.

use std::collections::HashMap;

use crate::rig::*;
use penstock_http2::Config;
use proptest::prelude::*;

fn ask(stream: u32, size: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&format!("/give/{size}")))
}

/// What a client has been sent, and may be sent.
#[derive(Default)]
struct Ledger {
    connection: i64,
    streams: HashMap<u32, i64>,
    bytes: HashMap<u32, Vec<u8>>,
    ended: Vec<u32>,
}

impl Ledger {
    fn take(&mut self, frame: &Frame) {
        if frame.kind == DATA {
            let n = frame.payload.len() as i64;
            self.connection -= n;
            *self.streams.get_mut(&frame.stream).unwrap() -= n;
            assert!(n <= 16_384 && self.connection >= 0, "more than the connection's window");
            assert!(n == 0 || self.streams[&frame.stream] >= 0, "more than the window of {}", frame.stream);
            self.bytes.entry(frame.stream).or_default().extend_from_slice(&frame.payload);
        }
        if frame.ends() {
            self.ended.push(frame.stream);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Stream(u8, u32),
    Connection(u32),
    First(u32),
    Reset(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..60_000).prop_map(Step::Open),
        4 => (any::<u8>(), 1_u32..40_000).prop_map(|(at, n)| Step::Stream(at, n)),
        3 => (1_u32..60_000).prop_map(Step::Connection),
        2 => (0_u32..50_000).prop_map(Step::First),
        1 => any::<u8>().prop_map(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn windows_hold_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        greeted(Config::default(), |mut raw, _| async move {
            let mut ledger = Ledger { connection: 65_535, ..Ledger::default() };
            let (mut first, mut next, mut sizes, mut gone) = (65_535_i64, 1_u32, HashMap::new(), Vec::new());
            for step in steps {
                let open: Vec<u32> =
                    sizes.keys().copied().filter(|id| !ledger.ended.contains(id) && !gone.contains(id)).collect();
                let pick = |at: u8| open.get(usize::from(at) % open.len().max(1)).copied();
                let bytes = match step {
                    Step::Open(size) => {
                        sizes.insert(next, size);
                        ledger.streams.insert(next, first);
                        next += 2;
                        ask(next - 2, size)
                    }
                    Step::Stream(at, n) => {
                        let Some(id) = pick(at) else { continue };
                        *ledger.streams.get_mut(&id).unwrap() += i64::from(n);
                        number(WINDOW_UPDATE, id, n)
                    }
                    Step::Connection(n) => {
                        ledger.connection += i64::from(n);
                        number(WINDOW_UPDATE, 0, n)
                    }
                    Step::First(n) => {
                        // It holds for all streams at once, also for what is on its way: below zero nothing comes.
                        ledger.streams.values_mut().for_each(|window| *window += i64::from(n) - first);
                        first = i64::from(n);
                        settings(&[(4, n)])
                    }
                    Step::Reset(at) => {
                        let Some(id) = pick(at) else { continue };
                        gone.push(id);
                        number(RST_STREAM, id, 8)
                    }
                };
                let shrinks = matches!(step, Step::First(_));
                raw.send(bytes).await;
                for frame in raw.settled().await {
                    // What was sent before the server knew is not held against it.
                    if shrinks && frame.kind == DATA {
                        let window = ledger.streams[&frame.stream] - frame.payload.len() as i64;
                        if window < 0 {
                            ledger.streams.insert(frame.stream, 0);
                            ledger.connection -= frame.payload.len() as i64;
                            ledger.bytes.entry(frame.stream).or_default().extend_from_slice(&frame.payload);
                            ledger.streams.insert(frame.stream, window);
                            continue;
                        }
                    }
                    ledger.take(&frame);
                }
            }
            // Given room, everything comes, complete and in order.
            raw.send(number(WINDOW_UPDATE, 0, 0x0fff_ffff)).await;
            raw.send(settings(&[(4, 0x0fff_ffff)])).await;
            ledger.connection += 0x0fff_ffff;
            ledger.streams.values_mut().for_each(|window| *window += 0x0fff_ffff - first);
            let wanted = sizes.keys().filter(|id| !gone.contains(id)).count();
            while ledger.ended.iter().filter(|id| !gone.contains(id)).count() < wanted {
                ledger.take(&raw.next().await.unwrap());
            }
            for (id, size) in sizes.iter().filter(|(id, _)| !gone.contains(id)) {
                let expected: Vec<u8> = (0..*size).map(|n| (n % 251) as u8).collect();
                assert!(ledger.bytes.remove(id).unwrap_or_default() == expected, "stream {id} of {size}");
            }
            drop(raw);
        });
    }
}

#[test]
fn a_stream_without_a_window_does_not_hold_up_the_others() {
    greeted(Config::default(), |mut raw, _| async move {
        raw.send([number(WINDOW_UPDATE, 0, 10_000_000), ask(1, 100_000), ask(3, 100_000)].concat()).await;
        let before = raw.settled().await;
        let of = |frames: &[Frame], id| {
            frames.iter().filter(|f| f.kind == DATA && f.stream == id).map(|f| f.payload.len()).sum::<usize>()
        };
        assert_eq!((of(&before, 1), of(&before, 3)), (65_535, 65_535));
        raw.send(number(WINDOW_UPDATE, 3, 100_000)).await;
        let after = raw.until(|f| f.ends()).await;
        assert_eq!((of(&after, 1), of(&after, 3)), (0, 100_000 - 65_535));
        drop(raw);
    });
}

#[test]
fn streams_share_the_connection_s_window() {
    greeted(Config::default(), |mut raw, _| async move {
        raw.send(settings(&[(4, 10_000_000)])).await;
        raw.settled().await;
        let streams: Vec<u32> = (0..10).map(|n| 2 * n + 1).collect();
        raw.send(streams.iter().flat_map(|id| ask(*id, 1_000_000)).collect::<Vec<_>>()).await;
        raw.settled().await;
        let mut sums: HashMap<u32, usize> = HashMap::new();
        for _ in 0..20 {
            raw.send(number(WINDOW_UPDATE, 0, 100_000)).await;
            // Until the window is used up.
            let mut sum = 0;
            while sum < 100_000 {
                let frame = raw.until(|f| f.kind == DATA).await.pop().unwrap();
                sum += frame.payload.len();
                *sums.entry(frame.stream).or_default() += frame.payload.len();
            }
        }
        let (least, most) = (sums.values().min().unwrap(), sums.values().max().unwrap());
        assert_eq!(sums.len(), streams.len());
        assert!(least * 3 > most * 2, "{sums:?}");
        drop(raw);
    });
}

#[test]
fn what_is_not_read_is_not_kept() {
    // The way to the client holds 4 KiB; the server's buffer 256.
    with(Config::default(), 4096, |mut raw, seen| async move {
        raw.send(hello()).await;
        raw.send([settings(&[(4, 0x7fff_ffff)]), number(WINDOW_UPDATE, 0, 0x7000_0000)].concat()).await;
        raw.send((0..20).flat_map(|n| ask(2 * n + 1, 1_000_000)).collect::<Vec<_>>()).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!((seen.accepted.get(), seen.ended.get()), (20, 0));
        // And a client that does not read is not heard for ever either: its pings are not answered into memory.
        let mut heard = 0;
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(100);
        while tokio::time::timeout(std::time::Duration::from_millis(200), raw.send(&pings)).await.is_ok() {
            heard += 100;
            assert!(heard < 20_000, "the server takes any number of pings");
        }
        drop(raw);
    });
}

#[test]
fn what_is_urgent_does_not_wait_for_a_slow_reader() {
    // The way to the client holds 4 KiB; the server's buffer 256, and it is full.
    with(Config::default(), 4096, |mut raw, _| async move {
        raw.send(hello()).await;
        raw.send([settings(&[(4, 0x7fff_ffff)]), number(WINDOW_UPDATE, 0, 0x7000_0000)].concat()).await;
        raw.send((0..20).flat_map(|n| ask(2 * n + 1, 1_000_000)).collect::<Vec<_>>()).await;
        for n in 0..20 {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let payload = format!("ping {n:03}");
            raw.send(frame(PING, 0, 0, payload.as_bytes())).await;
            let mut before = 0;
            let mut seen = raw.next().await.unwrap();
            while seen.payload != payload.as_bytes() {
                before += seen.payload.len();
                seen = raw.next().await.unwrap();
            }
            assert!(before < 50_000, "the answer to a ping came after {before} bytes of answers");
        }
        drop(raw);
    });
}

#[test]
fn a_body_is_asked_for_as_it_is_read() {
    let config = Config { stream_window: 100_000, connection_window: 200_000, ..Config::default() };
    greeted(config, |mut raw, _| async move {
        raw.send(settings(&[(4, 10_000_000)])).await;
        raw.send(number(WINDOW_UPDATE, 0, 10_000_000)).await;
        raw.send(frame(HEADERS, END_HEADERS, 1, &block("/relay"))).await;
        let (mut stream, mut connection) = (100_000_i64, 200_000_i64);
        for _ in 0..200 {
            raw.send(frame(DATA, 0, 1, &[7; 10_000])).await;
            (stream, connection) = (stream - 10_000, connection - 10_000);
            for frame in raw.settled().await.iter().filter(|f| f.kind == WINDOW_UPDATE) {
                *if frame.stream == 0 { &mut connection } else { &mut stream } += i64::from(frame.number());
            }
            assert!(stream >= 50_000 && connection >= 100_000, "{stream} {connection}");
        }
        drop(raw);
    });
}

#[test]
fn what_nobody_reads_takes_nothing_from_the_others() {
    let config = Config { stream_window: 100_000, connection_window: 200_000, ..Config::default() };
    greeted(config, |mut raw, _| async move {
        let mut connection = 200_000_i64;
        for n in 0..100_u32 {
            let path = ["/hold", "/early", "/drop"][n as usize % 3];
            raw.send(frame(HEADERS, END_HEADERS, 2 * n + 1, &block(path))).await;
            raw.send(frame(DATA, PADDED, 2 * n + 1, &[[100].as_slice(), &[7; 10_000]].concat())).await;
            raw.send(frame(DATA, 0, 2 * n + 1, &[7; 10_000])).await;
            connection -= 20_001;
            raw.send(number(RST_STREAM, 2 * n + 1, 8)).await;
            for frame in raw.settled().await.iter().filter(|f| f.kind == WINDOW_UPDATE && f.stream == 0) {
                connection += i64::from(frame.number());
            }
            assert!(connection > 90_000, "{connection} after {n}");
        }
        drop(raw);
    });
}

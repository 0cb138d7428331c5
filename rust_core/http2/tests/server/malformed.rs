//! What a client must not send, and what comes of it.

use crate::rig::by_hand::Stage;
use crate::rig::*;
use penstock_http2::{Config, PREFACE, Reason};

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

/// What a client sends for the nth time.
type Flood = Box<dyn Fn(u32) -> Vec<u8>>;

fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block("/hold"))
}

fn asked(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block("/echo"))
}

/// A literal field that is not kept.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn cat(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

#[test]
fn what_ends_the_connection() {
    let large = vec![0; 16_385];
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("DATA on a stream that was never opened", frame(DATA, 0, 1, b"x"), PROTOCOL),
        ("DATA on a stream of ours", frame(DATA, 0, 2, b"x"), PROTOCOL),
        ("DATA with more padding than payload", cat(&[open(1), frame(DATA, PADDED, 1, b"\x02x")]), PROTOCOL),
        ("DATA that is padded and empty", cat(&[open(1), frame(DATA, PADDED, 1, b"")]), SIZE),
        ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, &block("/")), PROTOCOL),
        ("HEADERS on a stream of ours", frame(HEADERS, END_HEADERS, 2, &block("/")), PROTOCOL),
        ("HEADERS on a stream that was skipped", cat(&[open(3), asked(1)]), CLOSED),
        ("HEADERS with more padding than payload", frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09\x82"), PROTOCOL),
        ("HEADERS with half a priority", frame(HEADERS, END_HEADERS | 0x20, 1, b"\0\0\0\0"), SIZE),
        ("HEADERS that cannot be decoded", frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION),
        ("trailers that cannot be decoded", cat(&[open(1), frame(HEADERS, 5, 1, b"\xff")]), COMPRESSION),
        ("a block that is interrupted", cat(&[frame(HEADERS, 0, 1, b""), frame(PING, 0, 0, &[0; 8])]), PROTOCOL),
        ("a block that goes on elsewhere", cat(&[frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 4, 3, b"")]), PROTOCOL),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block("/")), PROTOCOL),
        ("CONTINUATION of what is complete", cat(&[open(1), frame(CONTINUATION, END_HEADERS, 1, b"")]), PROTOCOL),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
        ("PRIORITY of a wrong size", frame(PRIORITY, 0, 1, &[0; 4]), SIZE),
        ("RST_STREAM on stream 0", number(RST_STREAM, 0, 8), PROTOCOL),
        ("RST_STREAM on a stream that was never opened", number(RST_STREAM, 1, 8), PROTOCOL),
        ("RST_STREAM of a wrong size", cat(&[open(1), frame(RST_STREAM, 0, 1, &[0; 3])]), SIZE),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, b""), PROTOCOL),
        ("SETTINGS of a wrong size", frame(SETTINGS, 0, 0, &[0; 5]), SIZE),
        ("SETTINGS that acknowledge and say something", frame(SETTINGS, ACK, 0, &[0, 4, 0, 0, 0, 0]), SIZE),
        ("SETTINGS with a push that is neither", settings(&[(2, 2)]), PROTOCOL),
        ("SETTINGS with too large a window", settings(&[(4, 1 << 31)]), FLOW),
        ("SETTINGS with too small a frame", settings(&[(5, 16_383)]), PROTOCOL),
        ("SETTINGS with too large a frame", settings(&[(5, 1 << 24)]), PROTOCOL),
        (
            "SETTINGS that open a stream's window too far",
            cat(&[open(1), number(WINDOW_UPDATE, 1, 0x7fff_0000), settings(&[(4, 0x7fff_ffff)])]),
            FLOW,
        ),
        ("PUSH_PROMISE", cat(&[open(1), frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x82")]), PROTOCOL),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("PING of a wrong size", frame(PING, 0, 0, &[0; 7]), SIZE),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("GOAWAY of a wrong size", frame(GOAWAY, 0, 0, &[0; 7]), SIZE),
        ("WINDOW_UPDATE of zero", number(WINDOW_UPDATE, 0, 0), PROTOCOL),
        ("WINDOW_UPDATE too far", number(WINDOW_UPDATE, 0, 0x7fff_ffff), FLOW),
        ("WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 5]), SIZE),
        ("WINDOW_UPDATE on a stream that was never opened", number(WINDOW_UPDATE, 1, 1), PROTOCOL),
        ("a frame larger than allowed", frame(DATA, 0, 1, &large), SIZE),
        ("a frame of an unknown kind that is larger than allowed", frame(0x42, 0, 0, &large), SIZE),
        ("HEADERS on a stream that is over", cat(&[asked(1), number(RST_STREAM, 1, 8), asked(1)]), CLOSED),
    ];
    for (what, bytes, code) in cases {
        println!("{what}");
        greeted(Config::default(), |mut raw, _| async move {
            raw.send(&bytes).await;
            let frames = raw.rest().await;
            let last = frames.last().unwrap_or_else(|| panic!("{what}: closed without a word"));
            assert_eq!(
                (last.kind, last.payload[4..8].to_vec()),
                (GOAWAY, code.to_be_bytes().to_vec()),
                "{what}: {frames:?}"
            );
        });
    }
}

#[test]
fn what_ends_a_stream_and_no_other() {
    let with = |fields: &[u8]| frame(HEADERS, 5, 1, &[&block("/echo")[..], fields].concat());
    let long = |n: &str| [&block("/echo")[..], &field("content-length", n)].concat();
    let over = vec![0; 16_384];
    let flood: Vec<Vec<u8>> = (0..8).map(|_| frame(DATA, 0, 1, &over)).collect();
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("an upper-case name", with(&field("X-A", "b")), PROTOCOL),
        ("a field of the connection", with(&field("connection", "close")), PROTOCOL),
        ("transfer-encoding", with(&field("transfer-encoding", "chunked")), PROTOCOL),
        ("te that is not trailers", with(&field("te", "gzip")), PROTOCOL),
        ("a value with a line's end", with(&field("x-a", "a\r\nb")), PROTOCOL),
        ("a pseudo-field after others", with(&[field("x-a", "b"), vec![0x87]].concat()), PROTOCOL),
        ("two methods", with(&[0x82]), PROTOCOL),
        ("a status", with(&[0x88]), PROTOCOL),
        ("no method", frame(HEADERS, 5, 1, &[0x86, 0x84]), PROTOCOL),
        ("no path", frame(HEADERS, 5, 1, &[0x82, 0x86]), PROTOCOL),
        ("an empty path", frame(HEADERS, 5, 1, &[0x82, 0x86, 0x04, 0x00]), PROTOCOL),
        ("less than its length", cat(&[frame(HEADERS, 4, 1, &long("5")), frame(DATA, 1, 1, b"four")]), PROTOCOL),
        ("more than its length", cat(&[frame(HEADERS, 4, 1, &long("3")), frame(DATA, 0, 1, b"four")]), PROTOCOL),
        ("nothing of its length", frame(HEADERS, 5, 1, &long("3")), PROTOCOL),
        (
            "trailers before its length",
            cat(&[frame(HEADERS, 4, 1, &long("3")), frame(HEADERS, 5, 1, &field("a", "b"))]),
            PROTOCOL,
        ),
        ("trailers that do not end it", cat(&[open(1), frame(HEADERS, END_HEADERS, 1, &field("a", "b"))]), PROTOCOL),
        ("trailers with a pseudo-field", cat(&[open(1), frame(HEADERS, 5, 1, &[0x82])]), PROTOCOL),
        ("DATA after its end", cat(&[frame(HEADERS, 5, 1, &block("/hold")), frame(DATA, 0, 1, b"x")]), CLOSED),
        ("HEADERS after its end", cat(&[frame(HEADERS, 5, 1, &block("/hold")), asked(1)]), CLOSED),
        ("WINDOW_UPDATE of zero", cat(&[open(1), number(WINDOW_UPDATE, 1, 0)]), PROTOCOL),
        ("WINDOW_UPDATE too far", cat(&[open(1), number(WINDOW_UPDATE, 1, 0x7fff_ffff)]), FLOW),
        ("PRIORITY of a wrong size", cat(&[open(1), frame(PRIORITY, 0, 1, &[0; 4])]), SIZE),
        ("more than its window", [open(1), flood.concat()].concat(), FLOW),
    ];
    let config = Config { stream_window: 65_535, ..Config::default() };
    for (what, bytes, code) in cases {
        println!("{what}");
        greeted(config, |mut raw, _| async move {
            raw.send(&bytes).await;
            let frames = raw.settled().await;
            let reset = frames.iter().find(|f| f.kind == RST_STREAM);
            let reset = reset.unwrap_or_else(|| panic!("{what}: {frames:?}"));
            assert_eq!((reset.stream, reset.number()), (1, code), "{what}");
            // The table is as the client left it, and others are served.
            raw.send(frame(HEADERS, 5, 9, &[0x82, 0x86, 0x04, 5, b'/', b'e', b'c', b'h', b'o', 0xbe])).await;
            if frames.iter().any(|f| f.kind == GOAWAY) {
                panic!("{what}: {frames:?}");
            }
            let last = raw.until(|f| f.stream == 9 || f.kind == GOAWAY).await.pop().unwrap();
            // Some of these never said the authority that the last one refers to.
            assert!(last.stream == 9 || last.payload[7] == COMPRESSION as u8, "{what}: {last:?}");
            drop(raw);
        });
    }
}

#[test]
fn what_is_none_of_our_business() {
    let close = number(RST_STREAM, 1, 8);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an unknown kind", frame(0x42, 0xff, 7, b"whatever")),
        ("unknown flags", frame(HEADERS, 0xd2 | 5, 1, &[0x82, 0x86, 0x84])),
        ("PRIORITY on a stream that is to come", frame(PRIORITY, 0, 5, &[0; 5])),
        ("an acknowledgement that was not asked for", frame(SETTINGS, ACK, 0, b"")),
        ("a pong that was not asked for", frame(PING, ACK, 0, &[7; 8])),
        ("unknown settings", settings(&[(0x99, 7), (8, 1), (3, 0)])),
        ("WINDOW_UPDATE on a stream that is over", cat(&[open(1), close.clone(), number(WINDOW_UPDATE, 1, 5)])),
        ("RST_STREAM twice", cat(&[open(1), close.clone(), close.clone()])),
        ("PRIORITY on a stream that is over", cat(&[open(1), close, frame(PRIORITY, 0, 1, &[0; 5])])),
        (
            "what was on its way to a stream that was broken off",
            cat(&[
                frame(HEADERS, END_HEADERS, 1, &block("/drop")),
                frame(PING, 0, 0, &[1; 8]),
                frame(DATA, 0, 1, b"late"),
                frame(HEADERS, 5, 1, &field("a", "b")),
            ]),
        ),
    ];
    for (what, bytes) in cases {
        println!("{what}");
        greeted(Config::default(), |mut raw, _| async move {
            for part in bytes.split_inclusive(|b| *b == 1) {
                raw.send(part).await;
                tokio::task::yield_now().await;
            }
            raw.send(asked(9)).await;
            let frames = raw.until(|f| f.stream == 9 || f.kind == GOAWAY).await;
            assert_eq!(frames.last().unwrap().kind, HEADERS, "{what}: {frames:?}");
            drop(raw);
        });
    }
}

#[test]
fn a_connection_begins_as_it_should() {
    for (what, bytes, code) in [
        ("no settings", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat(), Some(PROTOCOL)),
        ("an acknowledgement first", [PREFACE, &frame(SETTINGS, ACK, 0, b"")].concat(), Some(PROTOCOL)),
        ("another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), None),
        ("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), None),
    ] {
        with(Config::default(), 1 << 20, |mut raw, _| async move {
            raw.send(&bytes).await;
            let last = raw.rest().await.pop();
            let code = code.map(|code| [&0_u32.to_be_bytes()[..], &code.to_be_bytes()].concat());
            assert_eq!(last.filter(|f| f.kind == GOAWAY).map(|f| f.payload), code, "{what}");
        });
    }
    // A preface that comes in pieces, from a client that waits to hear what it may do.
    with(Config::default(), 1 << 20, |mut raw, _| async move {
        raw.send(&PREFACE[..7]).await;
        let first = raw.next().await.unwrap();
        let expected = settings(&[(3, 256), (4, 1 << 20), (6, 64 * 1024)]);
        assert_eq!((first.kind, &first.payload[..]), (SETTINGS, &expected[9..]));
        let second = raw.next().await.unwrap();
        assert_eq!((second.kind, second.number()), (WINDOW_UPDATE, (4 << 20) - 65_535));
        raw.send([&PREFACE[7..], &settings(&[]), &asked(1)].concat()).await;
        raw.until(|f| f.ends()).await;
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_may_be_sent_again() {
    greeted(Config { max_streams: 2, ..Config::default() }, |mut raw, _| async move {
        raw.send(cat(&[open(1), open(3), asked(5)])).await;
        let refused = raw.until(|f| f.kind == RST_STREAM).await.pop().unwrap();
        assert_eq!((refused.stream, refused.number()), (5, REFUSED));
        raw.send(cat(&[number(RST_STREAM, 1, 8), asked(7)])).await;
        let served = raw.until(|f| f.stream == 7).await.pop().unwrap();
        assert_eq!((served.kind, served.ends()), (HEADERS, true));
    });
}

#[test]
fn a_head_that_is_too_large_is_answered() {
    greeted(Config { max_header_list: 1000, ..Config::default() }, |mut raw, _| async move {
        let fields: Vec<u8> = (0..20).flat_map(|_| field("x-a", &"0123456789".repeat(4))).collect();
        let whole = [block("/echo"), fields].concat();
        let (first, rest) = whole.split_at(500);
        raw.send([frame(HEADERS, 0, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()).await;
        let answer = raw.until(|f| f.kind == HEADERS).await.pop().unwrap();
        assert_eq!((answer.stream, answer.ends(), &answer.payload[answer.payload.len() - 3..]), (1, true, &b"431"[..]));
        let reset = raw.next().await.unwrap();
        assert_eq!((reset.kind, reset.number()), (RST_STREAM, Reason::NO_ERROR.0));
        // Its body may be on its way.
        raw.send(cat(&[frame(DATA, 1, 1, b"body"), asked(3)])).await;
        assert!(raw.until(|f| f.stream == 3).await.pop().unwrap().ends());
    });
}

#[test]
fn floods_end_the_connection() {
    let floods: Vec<(&str, Flood)> = vec![
        ("pings", Box::new(|_| frame(PING, 0, 0, &[0; 8]))),
        ("settings", Box::new(|n| settings(&[(4, 65_535 + n)]))),
        ("acknowledgements", Box::new(|_| frame(SETTINGS, ACK, 0, b""))),
        ("priorities", Box::new(|_| frame(PRIORITY, 0, 1, &[0; 5]))),
        ("unknown frames", Box::new(|_| frame(0x42, 0, 0, b""))),
        ("windows", Box::new(|_| number(WINDOW_UPDATE, 0, 1))),
        ("empty DATA", Box::new(|n| if n == 0 { open(1) } else { frame(DATA, 0, 1, b"") })),
        ("padding", Box::new(|n| if n == 0 { open(1) } else { frame(DATA, PADDED, 1, b"\x01\0") })),
        ("empty CONTINUATION", Box::new(|n| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, b""))),
        (
            "CONTINUATION without end",
            Box::new(|n| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, &[0x82; 16_384])),
        ),
        // MadeYouReset: the client has us reset streams that are being answered.
        ("broken streams", Box::new(|n| cat(&[open(2 * n + 1), number(WINDOW_UPDATE, 2 * n + 1, 0)]))),
        ("streams beyond the limit", Box::new(|n| open(2 * n + 1))),
        ("malformed requests", Box::new(|n| frame(HEADERS, 5, 2 * n + 1, &[0x82]))),
        ("DATA on streams that are over", Box::new(|n| cat(&[asked(2 * n + 1), frame(DATA, 0, 2 * n + 1, b"x")]))),
    ];
    for (what, flood) in floods {
        println!("{what}");
        greeted(Config::default(), |mut raw, seen| async move {
            let (mut reader, mut writer) = {
                let (near, far) = tokio::io::split(raw.io);
                raw = Client::of(tokio::io::duplex(1).0);
                (near, far)
            };
            let writing = async {
                use tokio::io::AsyncWriteExt as _;
                for n in 0..30_000 {
                    if writer.write_all(&flood(n)).await.is_err() {
                        return;
                    }
                    if n % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            };
            let reading = async {
                use tokio::io::AsyncReadExt as _;
                let mut all = Vec::new();
                let _ = reader.read_to_end(&mut all).await;
                all
            };
            let (heard, ()) = tokio::join!(reading, writing);
            let end = &heard[heard.len() - 17..];
            assert_eq!((end[3], end[16]), (GOAWAY, CALM as u8), "{what}: {end:?}");
            assert!(seen.accepted.get() < 2000, "{what}: {}", seen.accepted.get());
            drop(raw);
        });
    }
}

#[test]
fn streams_that_are_reset_faster_than_anybody_notices_are_refused() {
    // Those who answer have other things to do.
    let mut stage = Stage::new(Config::default(), |request| {
        Box::pin(async move {
            let _held = request;
            std::future::pending().await
        })
    });
    stage.widen(usize::MAX);
    stage.say(&hello());
    let flood = |from: u32, many: u32| {
        let pair = |n| cat(&[open(2 * n + 1), number(RST_STREAM, 2 * n + 1, 8)]);
        (from..from + many).flat_map(pair).collect::<Vec<_>>()
    };
    stage.say(&flood(0, 1500));
    stage.rest(|_| 0, 10_000);
    let frames = stage.frames();
    let refused = frames.iter().filter(|f| f.kind == RST_STREAM && f.number() == REFUSED).count();
    assert_eq!((stage.opened(), refused, stage.over()), (528, 1500 - 528, (false, 528)));
    // How long it takes to notice is not the client's fault: it may ask again.
    (0..528).for_each(|n| stage.give_up(n));
    stage.say(&asked(3001));
    stage.rest(|_| 0, 10_000);
    assert_eq!((stage.opened(), stage.frames().len()), (529, 0));
    // But it may not go on for ever.
    stage.say(&flood(2000, 8000));
    stage.rest(|_| 0, 10_000);
    let last = stage.frames().pop().unwrap();
    assert_eq!((last.kind, last.payload[7], stage.over().0), (GOAWAY, CALM as u8, true));
}

#[test]
fn a_header_block_that_does_not_end_ends_the_connection() {
    let header_timeout = std::time::Duration::from_millis(50);
    greeted(Config { header_timeout, ..Config::default() }, |mut raw, _| async move {
        // A body that goes on keeps the connection busy; nothing of it can be sent within the block.
        raw.send(cat(&[
            frame(HEADERS, END_HEADERS, 1, &block("/give/100")),
            frame(HEADERS, 0, 3, &block("/echo")[..3]),
        ]))
        .await;
        let begun = std::time::Instant::now();
        let last = raw.rest().await.pop().unwrap();
        assert_eq!((last.kind, last.payload[7]), (GOAWAY, CALM as u8));
        assert!(begun.elapsed() >= header_timeout);
    });
    // One that ends in time is none of it, however many there are.
    greeted(Config { header_timeout, ..Config::default() }, |mut raw, _| async move {
        for n in 0..8 {
            let whole = block("/early");
            raw.send(frame(HEADERS, END_STREAM, 2 * n + 1, &whole[..3])).await;
            tokio::time::sleep(header_timeout / 4).await;
            raw.send(frame(CONTINUATION, END_HEADERS, 2 * n + 1, &whole[3..])).await;
            assert!(raw.until(|f| f.stream == 2 * n + 1).await.pop().unwrap().ends());
        }
    });
}

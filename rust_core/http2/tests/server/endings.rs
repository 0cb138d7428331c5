//! How connections end, and that however bytes are cut the outcome is the same.

use crate::rig::*;
use penstock_http2::Config;

fn asked(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block("/give/10"))
}

/// The ping of a goodbye, acknowledged.
fn acknowledged(ping: &Frame) -> Vec<u8> {
    frame(PING, ACK, 0, &ping.payload)
}

fn last(frame: &Frame) -> (u32, u8) {
    (frame.number(), frame.payload[7])
}

#[test]
fn a_goodbye_names_what_the_client_had_queued() {
    greeted(Config::default(), |mut raw, seen| async move {
        raw.send(frame(HEADERS, END_HEADERS, 1, &block("/echo"))).await;
        raw.settled().await;
        seen.goodbye.set(true);
        let first = raw.until(|f| f.kind == GOAWAY).await.pop().unwrap();
        assert_eq!(last(&first), (0x7fff_ffff, 0));
        let ping = raw.next().await.unwrap();
        // It acknowledges at once, and then sends what it had queued.
        raw.send(acknowledged(&ping)).await;
        raw.send([asked(3), number(WINDOW_UPDATE, 3, 10)].concat()).await;
        raw.send(asked(5)).await;
        let frames = raw.until(|f| f.kind == GOAWAY).await;
        assert_eq!(last(frames.last().unwrap()), (5, 0));
        assert_eq!(frames.iter().filter(|f| f.ends()).count(), 2);
        // What comes later still harms nobody, whatever it is; the table goes on.
        let late = [0x83, 0x86, 0x04, 2, b'/', b'x', 0x41, 1, b'l'];
        raw.send(
            [frame(HEADERS, END_HEADERS, 7, &late), number(WINDOW_UPDATE, 7, 5), frame(DATA, 0, 7, b"late")].concat(),
        )
        .await;
        raw.send([number(RST_STREAM, 7, 8), frame(DATA, END_STREAM, 1, b"in time")].concat()).await;
        let rest = raw.rest().await;
        let body: Vec<u8> = rest.iter().filter(|f| f.kind == DATA).flat_map(|f| f.payload.clone()).collect();
        assert_eq!((body, rest.iter().all(|f| f.stream == 1)), (b"in time".to_vec(), true));
    });
}

#[test]
fn a_connection_without_streams_ends_soon_after_its_goodbye() {
    greeted(Config::default(), |mut raw, seen| async move {
        seen.goodbye.set(true);
        let ping = raw.until(|f| f.kind == PING).await.pop().unwrap();
        raw.send(acknowledged(&ping)).await;
        let rest = raw.rest().await;
        assert_eq!(rest.iter().map(last).collect::<Vec<_>>(), [(0, 0)]);
    });
}

#[test]
fn what_a_client_says_after_the_last_answer_does_not_cost_it_the_answer() {
    greeted(Config::default(), |mut raw, seen| async move {
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block("/give/10"))).await;
        seen.goodbye.set(true);
        let ping = raw.until(|f| f.kind == PING).await.pop().unwrap();
        raw.send(acknowledged(&ping)).await;
        raw.until(|f| f.kind == GOAWAY).await;
        assert!(raw.rest().await.is_empty());
        // A socket that is closed would answer with a reset, and lose what is on its way.
        for _ in 0..100 {
            raw.send(number(WINDOW_UPDATE, 0, 10)).await;
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_client_that_goes_gets_its_last_answers() {
    greeted(Config::default(), |mut raw, _| async move {
        raw.send([asked(1), frame(HEADERS, END_HEADERS, 3, &block("/echo")), frame(GOAWAY, 0, 0, &[0; 8])].concat())
            .await;
        raw.send(frame(DATA, END_STREAM, 3, b"bye")).await;
        let rest = raw.rest().await;
        assert_eq!(rest.iter().filter(|f| f.ends()).map(|f| f.stream).collect::<Vec<_>>(), [1, 3]);
    });
}

#[test]
fn a_client_that_vanishes_leaves_nobody_behind() {
    for (what, bytes) in
        [("between frames", vec![]), ("in a frame", vec![0, 0, 5, 0]), ("in a block", frame(HEADERS, 0, 5, b""))]
    {
        greeted(Config::default(), |mut raw, seen| async move {
            raw.send(frame(HEADERS, END_HEADERS, 1, &block("/echo"))).await;
            raw.send(frame(HEADERS, END_HEADERS, 3, &block("/hold"))).await;
            raw.settled().await;
            raw.send(bytes).await;
            drop(raw);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!((seen.ended.get(), seen.given_up.get()), (2, 2), "{what}");
        });
    }
}

/// Everything that a client may say in one conversation.
fn conversation() -> Vec<u8> {
    let field = b"\x40\x03x-a\x01b";
    [
        hello(),
        frame(HEADERS, 0, 1, &block("/echo")[..5]),
        frame(CONTINUATION, 0, 1, &block("/echo")[5..]),
        frame(CONTINUATION, END_HEADERS, 1, field),
        frame(DATA, PADDED, 1, b"\x03one\0\0\0"),
        frame(
            HEADERS,
            END_HEADERS | END_STREAM | 0x20 | PADDED,
            3,
            &[&[2, 0, 0, 0, 0, 9], &block("/give/7")[..], &[0, 0]].concat(),
        ),
        frame(PRIORITY, 0, 3, &[0; 5]),
        frame(0x77, 1, 2, b"unknown"),
        frame(PING, 0, 0, b"a ping!!"),
        frame(DATA, 0, 1, b"two"),
        settings(&[(1, 50), (4, 70_000)]),
        number(WINDOW_UPDATE, 0, 1000),
        number(WINDOW_UPDATE, 1, 1000),
        frame(HEADERS, END_HEADERS, 5, &block("/hold")),
        number(RST_STREAM, 5, 8),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xc0]),
        frame(HEADERS, END_HEADERS | END_STREAM, 7, &block("/early")),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat()
}

/// What a client hears of each stream, whatever the order among them.
async fn heard(mut raw: Client, pieces: Vec<Vec<u8>>) -> Vec<(u32, u8, Vec<u8>)> {
    for piece in pieces {
        raw.send(piece).await;
        tokio::task::yield_now().await;
    }
    let mut heard: Vec<(u32, u8, Vec<u8>)> = Vec::new();
    for frame in
        raw.rest().await.into_iter().filter(|f| matches!(f.kind, DATA | PING | RST_STREAM | GOAWAY) || f.ends())
    {
        let payload = if frame.kind == HEADERS { Vec::new() } else { frame.payload };
        heard.push((frame.stream, frame.kind, payload));
    }
    heard.sort_by_key(|(stream, _, _)| *stream);
    heard
}

#[test]
fn however_the_bytes_are_cut_the_answers_are_the_same() {
    let whole = conversation();
    let mut cuts: Vec<Vec<Vec<u8>>> = vec![vec![whole.clone()], whole.chunks(1).map(<[u8]>::to_vec).collect()];
    cuts.extend((1..whole.len()).map(|at| vec![whole[..at].to_vec(), whole[at..].to_vec()]));
    let first = std::rc::Rc::new(std::cell::RefCell::new(None));
    for (at, pieces) in cuts.into_iter().enumerate() {
        let first = std::rc::Rc::clone(&first);
        with(Config::default(), 1 << 16, |raw, _| async move {
            let heard = heard(raw, pieces).await;
            let expected = first.borrow_mut().get_or_insert_with(|| heard.clone()).clone();
            assert_eq!(heard, expected, "cut {at}");
            assert_eq!(heard.iter().filter(|(stream, ..)| *stream == 1).map(|(.., p)| p.len()).sum::<usize>(), 6);
        });
    }
}

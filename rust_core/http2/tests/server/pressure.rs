//! Many at once: nobody starves, nobody is taken for an attacker by chance, and nobody makes work for nothing.

use std::collections::HashMap;

use crate::rig::*;
use penstock_http2::Config;

const BULK: usize = 2_000_000;

/// Asks for so many large answers.
fn bulk(streams: u32) -> Vec<u8> {
    let one = |n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block(&format!("/give/{BULK}")));
    (0..streams).flat_map(one).collect()
}

/// The least and the most that one of these streams was sent.
fn spread(sums: &HashMap<u32, usize>, streams: u32) -> (usize, usize) {
    let of = |n| sums.get(&(2 * n + 1)).copied().unwrap_or_default();
    ((0..streams).map(of).min().unwrap(), (0..streams).map(of).max().unwrap())
}

#[test]
fn a_window_that_opens_in_small_steps_serves_everybody() {
    greeted(Config::default(), |mut raw, _| async move {
        raw.send(settings(&[(4, 10_000_000)])).await;
        raw.settled().await;
        raw.send(bulk(64)).await;
        raw.settled().await;
        let mut sums = HashMap::new();
        for _ in 0..200 {
            raw.send(number(WINDOW_UPDATE, 0, 32_768)).await;
            let mut sum = 0;
            while sum < 32_768 {
                let data = raw.until(|f| f.kind == DATA).await.pop().unwrap();
                sum += data.payload.len();
                *sums.entry(data.stream).or_default() += data.payload.len();
            }
        }
        let (least, most) = spread(&sums, 64);
        assert!(least > 0 && most <= 2 * least, "between {least} and {most}");
    });
}

#[test]
fn a_slow_reader_of_many_answers_gets_some_of_each() {
    with(Config::default(), 4096, |mut raw, _| async move {
        raw.send(hello()).await;
        raw.send([settings(&[(4, 0x7fff_ffff)]), number(WINDOW_UPDATE, 0, 0x7000_0000)].concat()).await;
        raw.send(bulk(128)).await;
        let (mut sums, mut total) = (HashMap::new(), 0);
        while total < 20_000_000 {
            let seen = raw.next().await.unwrap();
            if seen.kind == DATA {
                total += seen.payload.len();
                *sums.entry(seen.stream).or_default() += seen.payload.len();
            }
        }
        let (least, most) = spread(&sums, 128);
        assert!(least > 0 && most <= 3 * least, "between {least} and {most}");
    });
}

#[test]
fn bodies_that_were_on_their_way_are_no_fault() {
    greeted(Config { max_streams: 600, ..Config::default() }, |mut raw, _| async move {
        raw.send((0..500).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &block("/early"))).collect::<Vec<_>>())
            .await;
        let mut resets = 0;
        while resets < 500 {
            resets += u32::from(raw.next().await.unwrap().kind == RST_STREAM);
        }
        raw.send((0..500).flat_map(|n| frame(DATA, END_STREAM, 2 * n + 1, b"late")).collect::<Vec<_>>()).await;
        raw.send(frame(PING, 0, 0, b"settled?")).await;
        let answer = raw.until(|f| [RST_STREAM, GOAWAY, PING].contains(&f.kind)).await.pop().unwrap();
        assert_eq!((answer.kind, &answer.payload[..]), (PING, &b"settled?"[..]));
    });
}

#[test]
fn heads_that_are_too_large_again_and_again_end_the_connection() {
    greeted(Config::default(), |mut raw, _| async move {
        // One field of four thousand bytes goes into the table; then each byte names it once more.
        let large = [&b"\x40\x01a\x7f\x81\x1e"[..], &[b'b'; 3968]].concat();
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[block("/echo"), large].concat())).await;
        raw.until(|f| f.stream == 1).await;
        raw.send(
            (1..1_000)
                .flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &[0xbe; 17]))
                .collect::<Vec<_>>(),
        )
        .await;
        for _ in 1..1_000 {
            if raw.next().await.is_none_or(|f| f.kind == GOAWAY) {
                return;
            }
        }
        panic!("a thousand were answered");
    });
}

#[test]
fn data_that_nobody_reads_pays_for_no_pings() {
    greeted(Config::default(), |mut raw, _| async move {
        raw.send(frame(HEADERS, END_HEADERS, 1, &block("/early"))).await;
        raw.until(|f| f.kind == RST_STREAM).await;
        let some = [frame(DATA, 0, 1, b"x"), frame(PING, 0, 0, &[0; 8]).repeat(3)].concat().repeat(20);
        for _ in 0..1_000 {
            raw.send(some.clone()).await;
            for _ in 0..60 {
                if raw.next().await.is_none_or(|f| f.kind == GOAWAY) {
                    return;
                }
            }
        }
        panic!("sixty thousand were answered");
    });
}

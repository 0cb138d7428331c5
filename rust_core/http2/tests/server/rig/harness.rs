//! Lets a server hear what anybody might say, and looks at what it answers: for the fuzz target, and for the tests that
//! run the same over inputs of a seeded generator.
//!
//! An input is a byte that says how it is meant, one that says how much is said at a time, one that says how much of the
//! answer the client takes before it says more, and then either bytes for the wire or frames in short: kind, flags,
//! stream, length, each in a byte, and the payload. In short most inputs are frames, so that little is needed to get past
//! the framing.

use std::collections::{HashMap, HashSet};

use penstock_http2::{Config, PREFACE};

use super::by_hand::{Dice, Stage};
use super::*;

/// The client does not begin with what every client begins with.
const RAW: u8 = 0x80;
/// Frames are in short.
const SHORT: u8 = 0x40;
/// The server says goodbye halfway.
const GOODBYE: u8 = 0x20;
/// Tasks are polled in any order, and some are given up.
const DISORDER: u8 = 0x10;
/// In short, on HEADERS: the payload says which of [`PATHS`], and what follows are more fields. On DATA: it is 64 times as
/// long.
const SPECIAL: u8 = 0x40;

const PATHS: [&str; 10] =
    ["/echo", "/give/0", "/give/1", "/give/20000", "/give/300000", "/relay", "/early", "/break", "/drop", "/hold"];

/// What the client has said and the server answered, as far as it bounds what may follow.
#[derive(Default)]
struct Watch {
    /// Of the client: streams that HEADERS named, bytes of DATA, and what it takes at most, by stream.
    named: HashSet<u32>,
    uploaded: HashMap<u32, u64>,
    takes: HashMap<u32, u64>,
    first: u64,
    pings: usize,
    settings: usize,
    /// Of the server.
    heard: usize,
    begun: HashSet<u32>,
    ended: HashSet<u32>,
    reset: HashSet<u32>,
    sent: HashMap<u32, u64>,
    credited: HashMap<u32, u64>,
    block: Option<u32>,
    broken: bool,
}

impl Watch {
    /// Takes note of a frame of the client.
    fn says(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = payload.first_chunk().map_or(0, |n| u64::from(u32::from_be_bytes(*n) & 0x7fff_ffff));
        match kind {
            HEADERS => {
                self.named.insert(stream);
            }
            DATA => {
                for at in [0, stream] {
                    *self.uploaded.entry(at).or_default() += payload.len() as u64;
                }
            }
            WINDOW_UPDATE => *self.takes.entry(stream).or_default() += number,
            SETTINGS if flags & ACK == 0 => {
                self.settings += 1;
                for setting in payload.chunks_exact(6).filter(|s| s[..2] == [0, 4]) {
                    self.first = self.first.max(u64::from(u32::from_be_bytes(setting[2..].try_into().unwrap())));
                }
            }
            PING if flags & ACK == 0 => self.pings += 1,
            _ => {}
        }
    }

    /// Checks a frame of the server.
    fn hears(&mut self, frame: &Frame, config: Config) {
        let id = frame.stream;
        assert!(frame.payload.len() <= 16_384, "a frame of {}", frame.payload.len());
        assert!(!self.broken, "{frame:?} after the last frame");
        self.heard += 1;
        if self.heard == 1 {
            assert_eq!((frame.kind, frame.flags), (SETTINGS, 0));
            return;
        }
        if let Some(block) = self.block {
            assert_eq!((frame.kind, id), (CONTINUATION, block), "in a header block");
        }
        if matches!(frame.kind, DATA | HEADERS | RST_STREAM | CONTINUATION) {
            // Streams that were passed over are closed (RFC 9113, section 5.1.1).
            let is_over = frame.kind == RST_STREAM && id % 2 == 1 && self.named.iter().any(|named| *named > id);
            assert!(is_over || self.named.contains(&id), "{frame:?} for a stream that nobody opened");
            assert!(!self.reset.contains(&id) || frame.kind == RST_STREAM, "{frame:?} after a reset");
        }
        match frame.kind {
            DATA => {
                assert!(self.begun.contains(&id) && !self.ended.contains(&id), "DATA before or after the answer");
                let takes = |at: u32, first: u64| first + self.takes.get(&at).copied().unwrap_or_default();
                for (at, most) in [(0, takes(0, 65_535)), (id, takes(id, self.first.max(65_535)))] {
                    let sent = self.sent.entry(at).or_default();
                    *sent += frame.payload.len() as u64;
                    assert!(*sent <= most, "{sent} bytes for a window of {most} of {at}");
                }
            }
            HEADERS => {
                assert!(!self.ended.contains(&id), "HEADERS after the end");
                assert!(self.begun.insert(id) || frame.ends(), "a second head");
                self.block = (frame.flags & END_HEADERS == 0).then_some(id);
            }
            CONTINUATION => self.block = self.block.filter(|_| frame.flags & END_HEADERS == 0),
            RST_STREAM => {
                self.reset.insert(id);
            }
            WINDOW_UPDATE => {
                let credited = self.credited.entry(id).or_default();
                *credited += u64::from(frame.number());
                let most = self.uploaded.get(&id).copied().unwrap_or_default();
                let first = if id == 0 { u64::from(config.connection_window) - 65_535 } else { 0 };
                assert!(frame.number() > 0 && *credited <= first + most, "{credited} given back of {most} on {id}");
            }
            SETTINGS => {
                assert_eq!((frame.flags, frame.payload.len()), (ACK, 0));
                self.settings = self.settings.checked_sub(1).expect("an acknowledgement of nothing");
            }
            PING if frame.flags & ACK != 0 => {
                self.pings = self.pings.checked_sub(1).expect("an answer to nothing");
            }
            GOAWAY => self.broken = frame.payload[4..8] != [0; 4],
            PING => {}
            other => panic!("a frame of kind {other}"),
        }
        if frame.ends() {
            self.ended.insert(id);
        }
    }
}

/// A frame that is written in short.
struct Short<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Short<'_> {
    /// It as a client would send it.
    fn whole(&self) -> (u8, Vec<u8>) {
        let flags = self.flags & !SPECIAL;
        let payload = match (self.kind, self.payload.split_first()) {
            (HEADERS, Some((path, fields))) if self.flags & SPECIAL != 0 => {
                [&block(PATHS[usize::from(*path) % PATHS.len()]), fields].concat()
            }
            (DATA, _) if self.flags & SPECIAL != 0 => self.payload.repeat(64),
            _ => self.payload.to_vec(),
        };
        (flags, frame(self.kind, flags, self.stream, &payload))
    }
}

/// Takes a frame in short off the front.
fn short<'a>(input: &mut &'a [u8]) -> Option<Short<'a>> {
    let ([kind, flags, stream, length], rest) = input.split_first_chunk()?;
    let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *input = rest;
    let stream = if *stream == 255 { 0x7fff_ffff } else { u32::from(*stream) };
    Some(Short { kind: *kind % 16, flags: *flags, stream, payload })
}

/// What is said, and notes of it.
fn said(how: u8, mut input: &[u8], watch: &mut Watch) -> Vec<u8> {
    let mut bytes = if how & RAW == 0 { hello() } else { Vec::new() };
    if how & RAW == 0 {
        watch.settings += 1;
    }
    if how & SHORT == 0 {
        bytes.extend_from_slice(input);
    } else {
        while let Some(short) = short(&mut input) {
            bytes.extend_from_slice(&short.whole().1);
        }
    }
    let start = if how & RAW == 0 { PREFACE.len() + 9 } else { PREFACE.len() };
    let mut rest = bytes.get(start..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = after.get(..length).unwrap_or(after);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        watch.says(head[3], head[4], stream, payload);
        rest = after.get(length..).unwrap_or_default();
    }
    bytes
}

/// Lets a server hear an input. Streams that it opened, and frames that it was answered with.
///
/// # Panics
/// What it answers is no HTTP/2, it does more than was asked for, it goes on without end, or does not come to one.
pub fn hear(input: &[u8]) -> (usize, usize) {
    let Some(([how, size, takes], input)) = input.split_first_chunk() else { return (0, 0) };
    let config = match how & 3 {
        0 => Config::default(),
        1 => Config { max_streams: 2, max_header_list: 300, ..Config::default() },
        2 => Config { send_buffer: 20_000, stream_window: 70_000, connection_window: 80_000, ..Config::default() },
        _ => Config { max_streams: 10, send_buffer: 4096, connection_window: 65_535, ..Config::default() },
    };
    let mut watch = Watch::default();
    let bytes = said(*how, input, &mut watch);
    let mut stage = Stage::new(config, |request| {
        Box::pin(async move {
            answer(request).await;
        })
    });
    let mut dice = Dice::new(u64::from(*size) << 8 | u64::from(*takes));
    let disorder = how & DISORDER != 0;
    // A few polls for a frame, and for each that an answer is sent in: small windows make many.
    let most = 100_000 + bytes.len() * 4;
    let size = if *size == 0 { bytes.len().max(1) } else { usize::from(*size) * 7 };
    let pieces = bytes.len().div_ceil(size);
    for (n, piece) in bytes.chunks(size).enumerate() {
        if n >= pieces / 2 && how & GOODBYE != 0 {
            stage.say_goodbye();
        }
        stage.widen(usize::from(*takes) * usize::from(*takes) * 16);
        stage.say(piece);
        stage.rest(|many| if disorder { dice.below(many) } else { 0 }, most);
        stage.frames().iter().for_each(|frame| watch.hears(frame, config));
        if disorder && stage.opened() > 0 && dice.below(8) == 0 {
            let one = dice.below(stage.opened());
            if dice.below(2) == 0 { stage.give_up(one) } else { stage.distract(one) }
        }
    }
    // All that is left, and the end: nobody is left behind, but those who do something else.
    stage.widen(usize::MAX / 2);
    stage.rest(|_| 0, most);
    stage.end();
    stage.rest(|_| 0, most);
    stage.frames().iter().for_each(|frame| watch.hears(frame, config));
    let (is_over, left) = stage.over();
    assert!(is_over && (disorder || left == 0), "{left} streams are left, the connection is over: {is_over}");
    (stage.opened(), watch.heard)
}

/// An input: a conversation as clients have them, most of the time with something wrong in it.
pub fn generate(seed: u64) -> Vec<u8> {
    let dice = &mut Dice::new(seed);
    let is_short = dice.below(4) == 0;
    let how =
        [0, 1, 2, 3][dice.below(4)] | [0, GOODBYE][usize::from(dice.below(6) == 0)] | [0, DISORDER][dice.below(2)];
    let mut input = vec![how, [0, dice.below(256) as u8][dice.below(2)], [255, dice.below(40) as u8][dice.below(2)]];
    if is_short {
        input[0] |= SHORT;
        for _ in 0..dice.below(60) {
            let length = [0, 1, 4, 5, 6, 8, dice.below(40)][dice.below(7)];
            let kind = [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, dice.below(256)][dice.below(16)] as u8;
            let flags = [0, 1, 4, 5, SPECIAL as usize | 4, SPECIAL as usize | 5, dice.below(256)][dice.below(7)] as u8;
            input.extend([kind, flags, [0, 1, 3, 5, 7, dice.below(256)][dice.below(6)] as u8, length as u8]);
            input.extend((0..length).map(|_| [0, dice.below(256) as u8][dice.below(2)]));
        }
        return input;
    }
    if dice.below(16) == 0 {
        input[0] |= RAW;
        input.extend(hello());
    }
    let start = input.len();
    let mut next = 1;
    for _ in 0..dice.below(80) {
        input.extend(saying(dice, &mut next));
    }
    for _ in 0..[0, 0, 1, 2, dice.below(20)][dice.below(5)] {
        spoil(dice, &mut input, start);
    }
    input
}

/// One or a few frames; `next` is the stream that is opened next. Most of the time a client may say this.
fn saying(dice: &mut Dice, next: &mut u32) -> Vec<u8> {
    let is_wrong = dice.below(60) == 0;
    let some = if is_wrong { dice.below(100) as u32 } else { 2 * dice.below(*next as usize / 2) as u32 + 1 };
    let what = if *next == 1 { 0 } else { dice.below(12) };
    match what {
        0..4 => {
            let (id, path) = (*next, PATHS[dice.below(PATHS.len())]);
            *next += [2, 2, 2, 4][dice.below(4)];
            let end = [0, END_STREAM][dice.below(2)];
            let mut whole = block(path);
            (0..dice.below(6)).for_each(|_| whole.extend(field(dice)));
            if dice.below(4) > 0 {
                return frame(HEADERS, END_HEADERS | end, id, &whole);
            }
            let (first, rest) = whole.split_at(dice.below(whole.len()));
            [frame(HEADERS, end, id, first), frame(CONTINUATION, END_HEADERS, id, rest)].concat()
        }
        4 => {
            let body = vec![7; [0, 1, 100, 5000, 16_384][dice.below(5)]];
            frame(DATA, [0, 0, 0, END_STREAM][dice.below(4)], some, &body)
        }
        5 => frame(DATA, PADDED, some, &[&[3][..], &vec![7; dice.below(300)], &[0; 3]].concat()),
        6 => number(WINDOW_UPDATE, [0, some][dice.below(2)], [1, 100, 5000, 100_000][dice.below(4)]),
        7 => settings(&[([4, 4, 1, 3, 5][dice.below(5)], [16_384, 65_535, 1 << 20][dice.below(3)])]),
        8 => settings(&[([4, 1, 3][dice.below(3)], dice.below(5000) as u32)]),
        9 => number(RST_STREAM, some, [0, 5, 8][dice.below(3)]),
        10 if is_wrong => frame(HEADERS, END_HEADERS | END_STREAM, some, &field(dice)),
        10 => frame(PING, [0, 0, ACK][dice.below(3)], 0, b"12345678"),
        _ => [frame(PRIORITY, 0, some, &[0; 5]), frame(SETTINGS, ACK, 0, b""), frame(11, 0, some, b"unknown")].concat(),
    }
}

/// A field: a literal that is or is not kept, one of the static table; or, seldom, what need not exist or may not be here.
fn field(dice: &mut Dice) -> Vec<u8> {
    let value = vec![b'v'; [0, 1, 20, 100, 126][dice.below(5)]];
    let literal =
        |first: u8, name: &[u8]| [&[first, name.len() as u8][..], name, &[value.len() as u8], &value].concat();
    match dice.below(40) {
        0 => vec![0x80 | (62 + dice.below(4) as u8)],
        1 => vec![0x80 | (dice.below(62) as u8)],
        2 => [vec![0x20 | dice.below(31) as u8], literal(0x10, b"te")].concat(),
        3..8 => vec![0x5c, 0x82, 0x18 | dice.below(8) as u8, dice.below(256) as u8],
        8..14 => vec![0x90],
        14..24 => literal(0, b"x-c"),
        _ => literal(0x40, [&b"x-a"[..], b"x-b", b"cookie"][dice.below(3)]),
    }
}

/// Something goes wrong with it.
fn spoil(dice: &mut Dice, input: &mut Vec<u8>, start: usize) {
    if input.len() <= start {
        return;
    }
    let at = start + dice.below(input.len() - start);
    match dice.below(6) {
        0 => input[at] ^= 1 << dice.below(8),
        1 => input[at] = dice.below(256) as u8,
        2 => input.truncate(at),
        3 => {
            input.remove(at);
        }
        4 => input.insert(at, dice.below(256) as u8),
        _ => {
            let end = (at + dice.below(64)).min(input.len());
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
    }
}

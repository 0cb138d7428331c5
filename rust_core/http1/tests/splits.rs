//! However the bytes are cut into reads, the outcome is the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use bytes::BytesMut;
use penstock_http1::{BodyDecoder, Decoded, Framing, FramingError, Limits, parse_request};
use proptest::prelude::*;

/// What a server makes of some bytes: heads and bodies until an error or the end of input.
#[derive(Debug, PartialEq)]
enum Event {
    Head(Vec<u8>, Vec<u8>, Framing),
    Body(Vec<u8>),
    Error(FramingError),
}

#[derive(Default)]
struct Server {
    buf: BytesMut,
    body: Option<(BodyDecoder, Vec<u8>)>,
    events: Vec<Event>,
    failed: bool,
    /// Bodies are collected rather than taken piece by piece.
    collects: bool,
}

impl Server {
    fn feed(&mut self, bytes: &[u8], limits: &Limits) {
        self.buf.extend_from_slice(bytes);
        while !self.failed {
            let step = match &mut self.body {
                None => parse_request(&mut self.buf, limits).map(|head| {
                    let Some(head) = head else { return true };
                    self.events.push(Event::Head(head.method.to_vec(), head.target.to_vec(), head.framing));
                    self.body = Some((BodyDecoder::new(head.framing), Vec::new()));
                    false
                }),
                Some((decoder, body)) if self.collects => {
                    let mut into = BytesMut::new();
                    let whole = decoder.decode_into(&mut self.buf, &mut into);
                    body.extend_from_slice(&into);
                    if whole == Ok(true) {
                        self.events.push(Event::Body(std::mem::take(body)));
                        self.body = None;
                    }
                    whole.map(|whole| !whole)
                }
                Some((decoder, body)) => match decoder.decode(&mut self.buf) {
                    Ok(Decoded::Data(data)) => {
                        body.extend_from_slice(&data);
                        Ok(false)
                    }
                    Ok(Decoded::NeedMore) => Ok(true),
                    Ok(Decoded::End) => {
                        self.events.push(Event::Body(std::mem::take(body)));
                        self.body = None;
                        Ok(false)
                    }
                    Err(e) => Err(e),
                },
            };
            match step {
                Ok(true) => return,
                Ok(false) => {}
                Err(e) => {
                    self.events.push(Event::Error(e));
                    self.failed = true;
                }
            }
        }
    }

    /// Unfinished bodies count too: their bytes must not depend on the reads either.
    fn result(mut self) -> Vec<Event> {
        if let Some((_, body)) = self.body.take() {
            self.events.push(Event::Body(body));
        }
        self.events
    }
}

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits, collects: bool) -> Vec<Event> {
    let mut server = Server { collects, ..Server::default() };
    for piece in pieces {
        server.feed(piece, limits);
    }
    server.result()
}

/// Requests right and wrong, glued from the pieces that framing turns on.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        "PUT / HTTP/1.0\r\n",
        "host: a\r\n",
        "host: b\r\n",
        "content-length: 5\r\n",
        "transfer-encoding: chunked\r\n",
        "x: y\r\n",
        " fold\r\n",
        "x:\0\r\n",
        "\r\n",
        "\r",
        "\n",
        "hello",
        "5\r\nhello\r\n",
        "a;e=1\r\n0123456789\r\n",
        "0\r\n",
        "0\r\n\r\n",
        "g\r\n",
        "T: v\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..14).prop_map(|v| v.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_result(
        bytes in messages(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8), small in any::<bool>(),
    ) {
        let limits = if small { Limits { head_bytes: 48, fields: 3 } } else { Limits::default() };
        let whole = run(std::iter::once(&bytes[..]), &limits, false);
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for collects in [false, true] {
            prop_assert_eq!(&run(cuts.windows(2).map(|w| &bytes[w[0]..w[1]]), &limits, collects), &whole);
            prop_assert_eq!(&run(bytes.chunks(1), &limits, collects), &whole);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in any::<prop::sample::Index>()) {
        let limits = Limits { head_bytes: 300, fields: 8 };
        let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
        prop_assert_eq!(run([a, b].into_iter(), &limits, false), run(std::iter::once(&bytes[..]), &limits, true));
        let mut head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        head.extend_from_slice(&bytes);
        prop_assert_eq!(run(head.chunks(7), &limits, true), run(std::iter::once(&head[..]), &limits, false));
    }
}

//! The event scanner: however a stream is cut, the same events, and frames that add up to the stream.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use penstock_gateway::sse::{Event, Frames, Scanner};

type Said = (Bytes, Bytes, Option<Bytes>, Option<u64>);

fn said(event: Event) -> Said {
    (event.kind, event.data, event.id, event.retry)
}

fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Said>, Option<Said>) {
    let mut scanner = Scanner::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        scanner.feed(piece);
        while let Some(event) = scanner.next_event().expect("smaller than the limit") {
            events.push(said(event));
        }
    }
    (events, scanner.finish().map(said))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let size = usize::from(size).max(1);
    assert_eq!(scan(std::iter::once(stream)), scan(stream.chunks(size)));

    let (mut frames, mut buffer, mut joined) = (Frames::new(), BytesMut::new(), Vec::new());
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = frames.next(&mut buffer) {
            joined.extend_from_slice(&frame);
        }
    }
    joined.extend_from_slice(&buffer);
    assert_eq!(joined, stream);
});

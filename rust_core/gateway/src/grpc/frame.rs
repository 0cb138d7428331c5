//! Length-prefixed messages, the unit that gRPC streams consist of: a flag, four bytes of length, the message.
//!
//! Whatever arrives is bounded before it is kept, and what is inflated while it is inflated.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use tokio::sync::Semaphore;

use super::Encoding;
use super::status::Code;
use crate::engine::Core;
use crate::errors::{Failure, Kind, Outcome};

/// Flag and length.
pub(crate) const PREFIX: usize = 5;
/// Answers up to this size are not compressed, whatever the client takes: they fit a packet as they are.
const WORTH_IT: usize = 1024;
/// Inflated at once, and what counts as small; other calls of the thread have their turn in between.
const STEP: usize = 128 * 1024;

/// Messages on their way out, back to back.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    buf: BytesMut,
    gzip: bool,
}

/// Where a message was begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Messages {
    /// `gzip`: compress what is worth it.
    pub(crate) fn new(gzip: bool) -> Self {
        Self { buf: BytesMut::new(), gzip }
    }

    /// Begins a message; its bytes are appended to [`Messages::out`].
    pub(crate) fn begin(&mut self) -> Mark {
        let mark = Mark(self.buf.len());
        self.buf.extend_from_slice(&[0; PREFIX]);
        mark
    }

    /// Where the bytes of the message go.
    pub(crate) fn out(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Ends the message.
    pub(crate) fn end(&mut self, mark: Mark) {
        let mut flag = 0;
        if self.gzip && self.buf.len() > mark.0 + PREFIX + WORTH_IT {
            let plain = self.buf.get(mark.0 + PREFIX..).unwrap_or_default();
            if let Some(smaller) = deflate(plain) {
                self.buf.truncate(mark.0 + PREFIX);
                self.buf.extend_from_slice(&smaller);
                flag = 1;
            }
        }
        let length = u32::try_from(self.buf.len() - mark.0 - PREFIX).unwrap_or(u32::MAX);
        if let Some(prefix) = self.buf.get_mut(mark.0..mark.0 + PREFIX) {
            let [a, b, c, d] = length.to_be_bytes();
            prefix.copy_from_slice(&[flag, a, b, c, d]);
        }
    }

    /// Takes back a message that was begun.
    pub(crate) fn undo(&mut self, mark: Mark) {
        self.buf.truncate(mark.0);
    }

    /// A message that is there already.
    pub(crate) fn put(&mut self, message: &[u8]) {
        let mark = self.begin();
        self.buf.extend_from_slice(message);
        self.end(mark);
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Bytes of all of them, prefixes included.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// All of them.
    pub(crate) fn take(&mut self) -> Bytes {
        self.buf.split().freeze()
    }
}

fn deflate(plain: &[u8]) -> Option<Vec<u8>> {
    let mut smaller = Vec::with_capacity(plain.len() / 2);
    let mut encoder = flate2::read::GzEncoder::new(plain, Compression::fast());
    // Reading from memory cannot fail.
    let done = encoder.read_to_end(&mut smaller).is_ok();
    (done && smaller.len() < plain.len()).then_some(smaller)
}

/// A frame as it arrived.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Compressed, or for other protocols' use.
    pub(crate) flag: u8,
    /// The message.
    pub(crate) data: Bytes,
}

/// Puts frames together from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The only piece so far, which mostly is the only one there will be.
    one: Bytes,
    many: BytesMut,
}

impl Reader {
    /// The next piece.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.is_empty() {
            self.one = piece;
            return;
        }
        if !self.one.is_empty() {
            self.many.reserve(self.one.len() + piece.len());
            self.many.extend_from_slice(&std::mem::take(&mut self.one));
        }
        self.many.extend_from_slice(&piece);
    }

    /// Whether nothing of a frame is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_empty() && self.many.is_empty()
    }

    /// Bytes that wait for the rest of their frame.
    pub(crate) fn len(&self) -> usize {
        self.one.len() + self.many.len()
    }

    /// Flag and length of the frame that begins with what is there, in bytes.
    pub(crate) fn announced(&self) -> Option<(u8, usize)> {
        let there: &[u8] = if self.one.is_empty() { &self.many } else { &self.one };
        let (&[flag, a, b, c, d], _) = there.split_first_chunk::<PREFIX>()?;
        Some((flag, u32::from_be_bytes([a, b, c, d]) as usize))
    }

    /// The next frame, once it is whole.
    ///
    /// # Errors
    /// It announces more than `limit` bytes.
    pub(crate) fn next(&mut self, limit: usize) -> Outcome<Option<Frame>> {
        let Some((flag, length)) = self.announced() else { return Ok(None) };
        if length > limit {
            return Err(too_large(limit));
        }
        if self.len() - PREFIX < length {
            return Ok(None);
        }
        let data = self.take(PREFIX + length).split_off(PREFIX);
        Ok(Some(Frame { flag, data }))
    }

    /// What is there, as it came, but no more than `most` bytes: of a frame that is not put together.
    pub(crate) fn take(&mut self, most: usize) -> Bytes {
        if self.one.is_empty() {
            self.many.split_to(most.min(self.many.len())).freeze()
        } else {
            self.one.split_to(most.min(self.one.len()))
        }
    }
}

/// The first of the frames in `bytes`, all of them whole and plain, and the rest.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, a, b, c, d], rest) = bytes.split_first_chunk::<PREFIX>()?;
    rest.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize)
}

/// Why a frame's message cannot be had, with the code that gRPC has for it, where it has one of its own.
pub(crate) type Unreadable = (Failure, Option<Code>);

/// Reads messages that may be compressed.
///
/// A small message can grow to a thousand times its size. So what is not small when it is inflated is first measured
/// without being kept, and then kept by one call of the thread at a time, until it has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inflating<'a> {
    room: &'a Semaphore,
    encoding: Encoding,
}

impl<'a> Inflating<'a> {
    /// `encoding`: how messages are compressed that are.
    pub(crate) fn new(core: &'a Core, encoding: Encoding) -> Self {
        Self { room: &core.inflating, encoding }
    }

    /// Whether a message with this flag can be read.
    pub(crate) fn understands(self, flag: u8) -> bool {
        flag == 0 || (flag == 1 && self.encoding == Encoding::Gzip)
    }

    /// The message in a frame. What is made of it is to be made without waiting for anything.
    ///
    /// # Errors
    /// Its flag is wrong, it cannot be inflated, or is larger than `limit` when it is.
    pub(crate) async fn message(self, frame: Frame, limit: usize) -> Result<Bytes, Unreadable> {
        let wrong = |what: String| (Failure::new(Kind::BadRequest, what), Some(Code::Internal));
        match (frame.flag, self.encoding) {
            (0, _) => Ok(frame.data),
            (1, Encoding::Gzip) => inflate(&frame.data, limit, self.room).await.map_err(|failure| (failure, None)),
            (1, _) => Err(wrong("A request message is compressed, but `grpc-encoding` does not say how.".to_owned())),
            (flag, _) => Err(wrong(format!("A request message has the flag {flag}; only 0 and 1 have a meaning."))),
        }
    }
}

/// A message beyond the bound.
pub(crate) fn too_large(limit: usize) -> Failure {
    Failure::new(Kind::BodyTooLarge, format!("The request message is larger than {limit} bytes."))
}

/// The plain bytes of a gzip message.
///
/// # Errors
/// It is no gzip, or holds more than `limit` bytes.
async fn inflate(message: &[u8], limit: usize, room: &Semaphore) -> Outcome<Bytes> {
    let mut plain = Vec::with_capacity(message.len().saturating_mul(4).min(STEP));
    let small = limit.min(STEP);
    let mut beginning = GzDecoder::new(message).take(small as u64 + 1);
    beginning.read_to_end(&mut plain).map_err(|_| no_gzip())?;
    if plain.len() <= small {
        return ended(beginning.get_ref()).map(|()| Bytes::from(plain));
    }
    // It waits for its turn without what is inflated already.
    drop(plain);
    let size = measure(message, limit).await?;
    // The semaphore is never closed.
    let _turn = room.acquire().await;
    let mut plain = Vec::with_capacity(size);
    let mut decoder = GzDecoder::new(message);
    while decoder.by_ref().take(STEP as u64).read_to_end(&mut plain).map_err(|_| no_gzip())? > 0 {
        tokio::task::yield_now().await;
    }
    Ok(Bytes::from(plain))
}

/// The size of a message, of which nothing is kept.
async fn measure(message: &[u8], limit: usize) -> Outcome<usize> {
    let mut decoder = GzDecoder::new(message);
    let mut scratch = vec![0; STEP];
    let mut size = 0;
    loop {
        match decoder.read(&mut scratch).map_err(|_| no_gzip())? {
            0 => return ended(&decoder).map(|()| size),
            n => size += n,
        }
        if size > limit {
            return Err(too_large(limit));
        }
        tokio::task::yield_now().await;
    }
}

/// A message is one gzip member: of several the first would be taken for all of it.
fn ended(decoder: &GzDecoder<&[u8]>) -> Outcome<()> {
    if decoder.get_ref().is_empty() { Ok(()) } else { Err(no_gzip()) }
}

fn no_gzip() -> Failure {
    Failure::new(Kind::BadRequest, "The request message is not the gzip that its flag and `grpc-encoding` say.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn frames_come_whole_however_they_were_cut() {
        let mut messages = Messages::new(false);
        let sent: [&[u8]; 4] = [b"one", b"", &[7; 3000], b"last"];
        sent.iter().for_each(|m| messages.put(m));
        let bytes = messages.take();
        for size in [1, 2, 3, 5, 7, 64, 4096] {
            let (mut reader, mut got) = (Reader::default(), Vec::new());
            for piece in bytes.chunks(size) {
                reader.push(Bytes::copy_from_slice(piece));
                while let Some(frame) = reader.next(3000).unwrap() {
                    assert_eq!(frame.flag, 0);
                    got.push(frame.data);
                }
            }
            assert!(reader.is_empty());
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_large_message_is_refused_by_its_announcement() {
        let mut reader = Reader::default();
        reader.push(Bytes::from_static(&[0, 0, 0, 1, 1]));
        assert_eq!(reader.next(256).unwrap_err().kind, Kind::BodyTooLarge);
        assert!(reader.next(257).unwrap().is_none());
    }

    #[test]
    fn a_frame_may_be_taken_as_it_comes() {
        let mut reader = Reader::default();
        for piece in [&[0, 0, 0][..], &[0], &[4, 1, 2, 3, 4, 1, 0, 0, 0, 1, 9]] {
            assert!(reader.announced().is_none());
            reader.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!(reader.announced(), Some((0, 4)));
        assert_eq!(
            (&reader.take(PREFIX)[..], &reader.take(2)[..], &reader.take(2)[..]),
            (&[0, 0, 0, 0, 4][..], &[1, 2][..], &[3, 4][..])
        );
        let next = reader.next(1).unwrap().unwrap();
        assert_eq!((next.flag, &next.data[..]), (1, &[9][..]));
        assert!(reader.take(5).is_empty() && reader.is_empty());
    }

    #[test]
    fn only_what_is_worth_it_is_compressed() {
        let (text, turns) = ("word ".repeat(1000), Semaphore::new(1));
        let mut messages = Messages::new(true);
        messages.put(b"short");
        messages.put(text.as_bytes());
        let mut reader = Reader::default();
        reader.push(messages.take());
        assert_eq!(reader.next(9999).unwrap().unwrap().flag, 0);
        let frame = reader.next(9999).unwrap().unwrap();
        assert!(frame.flag == 1 && frame.data.len() < 200);
        assert_eq!(&run(inflate(&frame.data, 5000, &turns)).unwrap()[..], text.as_bytes());
        assert_eq!(run(inflate(&frame.data, 4999, &turns)).unwrap_err().kind, Kind::BodyTooLarge);
    }

    #[test]
    fn a_flood_is_bounded_and_garbage_is_told() {
        let turns = Semaphore::new(1);
        let flood = deflate(&vec![0; 64 << 20]).unwrap();
        assert!(flood.len() < 1 << 20);
        assert_eq!(run(inflate(&flood, 1 << 20, &turns)).unwrap_err().kind, Kind::BodyTooLarge);
        let (first, second) = (deflate(&[7; 100]).unwrap(), deflate(&[0; 3 * STEP]).unwrap());
        let (joined, large) = ([&first[..], &second].concat(), [&second[..], &first].concat());
        for garbage in [&b"plain"[..], &flood[..flood.len() - 9], b"", &joined, &large] {
            assert_eq!(run(inflate(garbage, 128 << 20, &turns)).unwrap_err().kind, Kind::BadRequest);
        }
    }

    #[test]
    fn what_is_large_is_kept_by_one_at_a_time_and_what_is_small_never_waits() {
        let (small, large) = (vec![1; STEP], vec![2; 3 * STEP + 1]);
        let turns = Semaphore::new(1);
        run(async {
            let taken = turns.acquire().await.unwrap();
            assert_eq!(inflate(&deflate(&small).unwrap(), 1 << 20, &turns).await.unwrap(), small);
            let packed = deflate(&large).unwrap();
            let mut waiting = std::pin::pin!(inflate(&packed, 1 << 20, &turns));
            for _ in 0..10 {
                let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx))).await;
                assert!(polled.is_pending());
            }
            drop(taken);
            assert_eq!(waiting.await.unwrap(), large);
        });
        assert_eq!(turns.available_permits(), 1);
    }
}

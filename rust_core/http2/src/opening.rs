//! How streams are opened, and how requests end that have trailers: the frames that carry header blocks.

use tokio::time::Instant;

use crate::core::{Block, Core, Leaving};
use crate::error::{Fault, Reason, Taken};
use crate::frame::{Head, MAX_PAYLOAD, flag};
use crate::head::{self, Heard};
use crate::hpack;
use crate::stream::Stream;

/// A header block in more frames than this is drawn out on purpose.
const MOST_FRAMES: u32 = 64;

/// A stream that the client has opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) at: usize,
    pub(crate) head: crate::Head,
}

impl Core {
    pub(crate) fn headers(&mut self, head: Head, payload: &[u8]) -> Taken<Option<Opened>> {
        if head.stream.is_multiple_of(2) {
            return Err(Fault::PROTOCOL);
        }
        let content = head.content(payload)?;
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block(head.stream, ends, content);
        }
        self.block =
            Some(Block { stream: head.stream, ends, bytes: content.to_vec(), frames: 1, since: Instant::now() });
        Ok(None)
    }

    pub(crate) fn continuation(&mut self, head: Head, payload: &[u8]) -> Taken<Option<Opened>> {
        // Compressed a block is smaller than what it says, but nobody has to compress well.
        let most = self.config.max_header_list as usize * 2 + MAX_PAYLOAD;
        let Some(mut block) = self.block.take() else { return Err(Fault::PROTOCOL) };
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        if block.bytes.len() > most || block.frames > MOST_FRAMES {
            return Err(Fault::CALM);
        }
        if head.has(flag::END_HEADERS) {
            return self.block(block.stream, block.ends, &block.bytes);
        }
        self.block = Some(block);
        Ok(None)
    }

    /// Takes a whole header block, which goes through the table whatever becomes of it.
    fn block(&mut self, id: u32, ends: bool, block: &[u8]) -> Taken<Option<Opened>> {
        let most = self.config.max_header_list as usize;
        let corrupt = |hpack::Corrupt| Fault::Connection(Reason::COMPRESSION_ERROR);
        if id <= self.highest {
            let fits = head::trailers(&mut self.decoder, block, most).map_err(corrupt)?;
            return self.trailers(id, ends && fits).map(|()| None);
        }
        let heard = head::request(&mut self.decoder, block, most).map_err(corrupt)?;
        if matches!(self.leaving, Leaving::Last(last) if id > last) {
            self.abuse.idle()?;
            return Ok(None);
        }
        self.highest = id;
        match heard {
            Heard::Malformed => Err(Fault::Stream(id, Reason::PROTOCOL_ERROR)),
            Heard::TooLarge => self.too_large(id, ends).map(|()| None),
            Heard::Head(head) if ends && head.length().is_some_and(|n| n > 0) => {
                Err(Fault::Stream(id, Reason::PROTOCOL_ERROR))
            }
            Heard::Head(head) => self.open(id, ends, head),
        }
    }

    fn open(&mut self, id: u32, ends: bool, head: crate::Head) -> Taken<Option<Opened>> {
        let most = self.config.max_streams as usize;
        // Whoever answers a stream that was reset may need a moment to notice; a client that resets all it opens must
        // not have any number of them at work (rapid reset, CVE-2023-44487). But it is not its fault how long that takes.
        if self.streams.open() >= most || self.streams.held() >= 2 * most + 16 {
            self.put_refusal(id);
            self.abuse.idle()?;
            return Ok(None);
        }
        self.abuse.useful();
        let at = self.streams.insert(Stream {
            id,
            held: 2,
            heard: ends,
            left: head.length(),
            credit: self.config.stream_window,
            window: self.first_window,
            ..Stream::default()
        });
        Ok(Some(Opened { at, head }))
    }

    /// Answers a head that is larger than allowed.
    fn too_large(&mut self, id: u32, ends: bool) -> Taken {
        self.put_status(id, 431);
        if !ends {
            self.put_reset(id, Reason::NO_ERROR);
        }
        self.abuse.fault()
    }

    /// Takes trailers; `fit`: they end the stream and are well-formed.
    fn trailers(&mut self, id: u32, fit: bool) -> Taken {
        let Some((at, stream)) = self.streams.find(id).and_then(|at| Some((at, self.streams.get(at)?))) else {
            let closed = Fault::Connection(Reason::STREAM_CLOSED);
            return if self.is_ignored(id) { self.abuse.idle() } else { Err(closed) };
        };
        if stream.heard {
            return Err(Fault::Stream(id, Reason::STREAM_CLOSED));
        }
        if !fit {
            return Err(Fault::Stream(id, Reason::PROTOCOL_ERROR));
        }
        stream.count(0, true)?;
        stream.heard = true;
        stream.reader.wake();
        self.close_if_over(at);
        Ok(())
    }
}

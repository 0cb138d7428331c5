//! What frames of the client do.

use bytes::{Buf, BytesMut};

use crate::core::Core;
use crate::error::{Fault, Reason, Taken};
use crate::frame::{self, HEAD, Head, MAX_PAYLOAD, flag, kind};
use crate::opening::Opened;
use crate::settings;

/// Payloads that are no larger are copied, so that a small piece of a body does not keep a large buffer; and so are those
/// that are less than a part of it.
const COPIED: usize = 4096;
const PART: usize = 4;

impl Core {
    /// Takes the first frame off the buffer. `None`: there is none, or not all of it; otherwise whether it opened a stream.
    pub(crate) fn take(&mut self, buf: &mut BytesMut) -> Option<Option<Opened>> {
        let head = Head::read(buf)?;
        if head.length > MAX_PAYLOAD {
            self.end(Reason::FRAME_SIZE_ERROR);
            return Some(None);
        }
        if buf.len() < HEAD + head.length {
            return None;
        }
        let taken = match self.check_order(head) {
            Err(fault) => Err(fault),
            Ok(()) if head.kind == kind::DATA => {
                buf.advance(HEAD);
                let taken = self.data(head, buf);
                self.settle(taken);
                return Some(None);
            }
            Ok(()) => self.frame(head, buf.get(HEAD..HEAD + head.length).unwrap_or_default()),
        };
        buf.advance(HEAD + head.length);
        match taken {
            Ok(opened) => Some(opened),
            Err(fault) => {
                self.settle(Err(fault));
                Some(None)
            }
        }
    }

    /// Whether such a frame may come now.
    fn check_order(&mut self, head: Head) -> Taken {
        if !std::mem::replace(&mut self.greeted, true) && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Fault::PROTOCOL);
        }
        match &self.block {
            Some(block) if head.kind != kind::CONTINUATION || head.stream != block.stream => Err(Fault::PROTOCOL),
            None if head.kind == kind::CONTINUATION => Err(Fault::PROTOCOL),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Taken<Option<Opened>> {
        match head.kind {
            kind::HEADERS => return self.headers(head, payload),
            kind::CONTINUATION => return self.continuation(head, payload),
            kind::PRIORITY => self.priority(head),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            kind::PUSH_PROMISE => Err(Fault::PROTOCOL),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY => self.goaway(head),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            // To be ignored (RFC 9113, section 5.5).
            _ => self.abuse.idle(),
        }?;
        Ok(None)
    }

    /// Takes a DATA frame, whose payload is at the front of the buffer.
    fn data(&mut self, head: Head, buf: &mut BytesMut) -> Taken {
        let length = head.length as u32;
        let content = head.content(buf.get(..head.length).unwrap_or_default())?;
        if self.is_idle(head.stream) && !self.is_ignored(head.stream) {
            return Err(Fault::PROTOCOL);
        }
        // What comes counts for the connection whatever becomes of it (RFC 9113, section 6.9).
        self.credit = self.credit.checked_sub(length).ok_or(Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
        let (from, size) = (usize::from(head.has(flag::PADDED)), content.len());
        let piece = if head.length <= COPIED || head.length * PART < self.filled {
            let piece = BytesMut::from(content);
            buf.advance(head.length);
            piece
        } else {
            let mut piece = buf.split_to(head.length);
            piece.advance(from);
            piece.truncate(size);
            piece
        };
        let ends = head.has(flag::END_STREAM);
        let is_heard = self.streams.find(head.stream).and_then(|at| self.streams.get(at)).is_some_and(|s| !s.deaf);
        if is_heard && (size > 0 || ends) {
            self.abuse.useful()
        } else {
            self.abuse.idle()?
        }
        self.piece(head, piece, ends).inspect_err(|_| self.give_back(head.length))
    }

    fn piece(&mut self, head: Head, piece: BytesMut, ends: bool) -> Taken {
        let wrong = |reason| Err(Fault::Stream(head.stream, reason));
        let Some((at, stream)) = self.streams.find(head.stream).and_then(|at| Some((at, self.streams.get(at)?))) else {
            if self.is_ignored(head.stream) {
                self.give_back(head.length);
                return Ok(());
            }
            return wrong(Reason::STREAM_CLOSED);
        };
        if stream.heard {
            return wrong(Reason::STREAM_CLOSED);
        }
        let Some(credit) = stream.credit.checked_sub(head.length as u32) else {
            return wrong(Reason::FLOW_CONTROL_ERROR);
        };
        stream.credit = credit;
        stream.count(piece.len(), ends)?;
        // Padding is read as soon as it is here.
        let mut read = head.length - piece.len();
        if stream.deaf {
            read += piece.len();
        } else if !piece.is_empty() {
            stream.push(piece);
        }
        stream.heard = ends;
        stream.reader.wake();
        if read > 0 {
            self.return_credit(at, read);
        }
        if ends {
            self.close_if_over(at);
        }
        Ok(())
    }

    /// Bytes of a stream's body were read.
    pub(crate) fn return_credit(&mut self, at: usize, bytes: usize) {
        let half = self.config.stream_window / 2;
        if let Some(stream) = self.streams.get(at)
            && !stream.heard
            && stream.reset.is_none()
        {
            stream.read += bytes as u32;
            // Of a body that nobody reads no more is asked for.
            if stream.read >= half && !stream.deaf {
                let more = std::mem::take(&mut stream.read);
                stream.credit += more;
                let id = stream.id;
                frame::put_number(&mut self.out.urgent, kind::WINDOW_UPDATE, id, more);
                self.call();
            }
        }
        self.give_back(bytes);
    }

    fn priority(&mut self, head: Head) -> Taken {
        match (head.stream, head.length) {
            (0, _) => Err(Fault::PROTOCOL),
            (_, 5) => self.abuse.idle(),
            (id, _) if self.streams.find(id).is_some() => Err(Fault::Stream(id, Reason::FRAME_SIZE_ERROR)),
            _ => Err(Fault::SIZE),
        }
    }

    fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Taken {
        let reason = Reason(frame::number(payload)?);
        if self.is_idle(head.stream) && !self.is_ignored(head.stream) {
            return Err(Fault::PROTOCOL);
        }
        self.abuse.idle()?;
        if let Some(at) = self.streams.find(head.stream) {
            self.break_off(at, reason);
        }
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Taken {
        if head.stream != 0 {
            return Err(Fault::PROTOCOL);
        }
        if head.has(flag::ACK) {
            return if payload.is_empty() { self.abuse.idle() } else { Err(Fault::SIZE) };
        }
        self.abuse.idle()?;
        let wanted = settings::read(payload)?;
        if let Some((least, last)) = wanted.table {
            self.encoder.resize(least as usize);
            self.encoder.resize(last as usize);
        }
        if let Some(window) = wanted.window {
            let by = i64::from(window) - std::mem::replace(&mut self.first_window, i64::from(window));
            for stream in self.streams.each().filter(|stream| stream.is_open()) {
                stream.widen(by).ok_or(Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
            }
        }
        // Not before what is there, which was made as the old settings allow.
        frame::put_head(&mut self.out.bytes, 0, kind::SETTINGS, flag::ACK, 0);
        Ok(())
    }

    fn goaway(&mut self, head: Head) -> Taken {
        if head.stream != 0 {
            return Err(Fault::PROTOCOL);
        }
        if head.length < 8 {
            return Err(Fault::SIZE);
        }
        self.no_more = true;
        self.abuse.idle()
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Taken {
        let by = i64::from(frame::number(payload)? & frame::MOST);
        self.abuse.idle()?;
        if head.stream == 0 {
            self.window += by;
            if by == 0 {
                return Err(Fault::PROTOCOL);
            }
            if self.window > i64::from(frame::MOST) {
                return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
            }
            return Ok(());
        }
        if self.is_idle(head.stream) && !self.is_ignored(head.stream) {
            return Err(Fault::PROTOCOL);
        }
        let Some(stream) = self.streams.find(head.stream).and_then(|at| self.streams.get(at)) else { return Ok(()) };
        if by == 0 {
            return Err(Fault::Stream(head.stream, Reason::PROTOCOL_ERROR));
        }
        stream.widen(by).ok_or(Fault::Stream(head.stream, Reason::FLOW_CONTROL_ERROR))
    }
}

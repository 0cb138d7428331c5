//! Length-prefixed messages, as the gRPC protocol over HTTP/2 has them: a byte that says whether the message is
//! compressed, its length in four bytes, big-endian, and the message.

use bytes::{BufMut, Bytes, BytesMut};

use super::status::Violation;

const PREFIX: usize = 5;
/// Longest message that is read.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// The message with its prefix; `None` when it is longer than a prefix can say.
pub(super) fn framed(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut out = BytesMut::with_capacity(PREFIX + message.len());
    out.put_u8(0);
    out.put_u32(length);
    out.extend_from_slice(message);
    Some(out.freeze())
}

/// Finds the messages in a body that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The beginning of one that is not whole.
    partial: Vec<u8>,
}

impl Messages {
    /// Takes the next bytes and calls `each` with every message that they complete.
    pub(super) fn feed(
        &mut self,
        data: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let rest = split(data, &mut each)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        self.partial.extend_from_slice(data);
        let rest = split(&self.partial, &mut each)?.len();
        self.partial.drain(..self.partial.len() - rest);
        Ok(())
    }

    /// The body has ended.
    pub(super) fn finish(&self) -> Result<(), Violation> {
        if self.partial.is_empty() { Ok(()) } else { Err(Violation::Truncated) }
    }
}

/// Calls `each` with every whole message; what is left.
fn split<'a>(mut data: &'a [u8], each: &mut impl FnMut(&[u8]) -> Result<(), Violation>) -> Result<&'a [u8], Violation> {
    while let Some((&[flag, a, b, c, d], rest)) = data.split_first_chunk::<PREFIX>() {
        if flag != 0 {
            return Err(Violation::Compressed);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_MESSAGE {
            return Err(Violation::TooLong);
        }
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        each(message)?;
        data = rest;
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let body: Vec<u8> =
            [&b"one"[..], b"", &[7; 300]].iter().flat_map(|message| framed(message).unwrap().to_vec()).collect();
        for size in 1..=body.len() {
            let (mut messages, mut seen) = (Messages::default(), Vec::new());
            for piece in body.chunks(size) {
                let each = |message: &[u8]| {
                    seen.push(message.to_vec());
                    Ok(())
                };
                messages.feed(piece, each).unwrap();
            }
            messages.finish().unwrap();
            assert_eq!(seen, [b"one".to_vec(), Vec::new(), vec![7; 300]], "{size}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let feed = |data: &[u8]| {
            let mut messages = Messages::default();
            messages.feed(data, |_| Ok(())).and_then(|()| messages.finish()).unwrap_err()
        };
        assert_eq!(feed(&[1, 0, 0, 0, 1, 5]), Violation::Compressed);
        assert_eq!(feed(&[0, 0xff, 0, 0, 0]), Violation::TooLong);
        assert_eq!(feed(&[0, 0, 0, 0, 2, 5]), Violation::Truncated);
        assert_eq!(feed(&[0, 0]), Violation::Truncated);
    }
}

//! Frames beyond the bound. Nothing of them is kept but the id of the call that they begin, so that it can be told and the
//! other calls of the session go on.

use std::io::Read;

use bytes::BytesMut;

/// Compressed bytes that are kept to find the id in, and what of them is inflated at a time and at most.
const KEPT: usize = 4096;
const STEP: usize = 1024;
const MOST_INFLATED: usize = 64 * 1024;

/// A frame that is too large, while it comes.
#[derive(Debug)]
pub(super) struct Oversized {
    left: usize,
    scan: Scan,
    /// The beginning of one that is compressed.
    packed: Option<BytesMut>,
}

impl Oversized {
    /// `length`: what is announced, in bytes.
    pub(super) fn new(length: usize, is_packed: bool) -> Self {
        Self { left: length, scan: Scan::default(), packed: is_packed.then(BytesMut::new) }
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Takes the next piece of it.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.left = self.left.saturating_sub(piece.len());
        match &mut self.packed {
            Some(kept) => {
                let room = (KEPT - kept.len()).min(piece.len());
                kept.extend_from_slice(piece.get(..room).unwrap_or_default());
            }
            None => self.scan.push(piece),
        }
    }

    /// The id of the call that it begins, if it begins one and says which. In a compressed frame the id has to come before
    /// the request, as it does wherever fields are written in the order of their numbers.
    pub(super) fn id(self) -> Option<u64> {
        self.packed.map_or_else(|| self.scan.whole(), |kept| id_of_packed(&kept))
    }
}

/// The id in a compressed frame, or the beginning of one.
pub(super) fn id_of_packed(frame: &[u8]) -> Option<u64> {
    let mut scan = Scan::default();
    let mut plain = [0; STEP];
    let mut decoder = flate2::read::GzDecoder::new(frame).take(MOST_INFLATED as u64);
    while scan.id.is_none() {
        // Of a beginning the rest is missing, which is an error like any other.
        match decoder.read(&mut plain) {
            Ok(n) if n > 0 => scan.push(plain.get(..n)?),
            _ => break,
        }
    }
    scan.id
}

/// Looks for `start.id` in a `ChatSessionRequest` that comes in pieces, whatever the order of its fields. What the message
/// says last counts, as where it is read whole.
#[derive(Debug, Default)]
struct Scan {
    id: Option<u64>,
    next: Next,
    /// A number so far, and how many bits of it.
    number: u64,
    bits: u32,
    /// Bytes to step over.
    skip: u64,
    /// What is left of the `start` that it is in.
    inner: Option<u64>,
    is_broken: bool,
}

/// What the number is that comes next.
#[derive(Debug, Default, Clone, Copy)]
enum Next {
    /// A field's number and wire type.
    #[default]
    Tag,
    /// The value of this field.
    Value(u64),
    /// The length of this field.
    Length(u64),
}

const START: u64 = 1;
const CANCEL: u64 = 2;
const CREDIT: u64 = 3;
const ID: u64 = 1;

impl Scan {
    fn push(&mut self, mut piece: &[u8]) {
        while !self.is_broken
            && let Some((&byte, after)) = piece.split_first()
        {
            if self.skip > 0 {
                let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
                self.skip -= step as u64;
                piece = piece.get(step..).unwrap_or_default();
                continue;
            }
            piece = after;
            self.is_broken = self.take(byte).is_none();
        }
    }

    /// The id, if what came was one whole message.
    fn whole(self) -> Option<u64> {
        let is_whole = !self.is_broken && self.skip == 0 && self.bits == 0 && self.inner.is_none_or(|left| left == 0);
        self.id.filter(|_| is_whole && matches!(self.next, Next::Tag))
    }

    /// Takes a byte of a number. `None`: this is no such message.
    fn take(&mut self, byte: u8) -> Option<()> {
        if matches!(self.next, Next::Tag) && self.bits == 0 && self.inner == Some(0) {
            self.inner = None;
        }
        self.spend(1)?;
        if self.bits == 63 && byte > 1 {
            return None;
        }
        self.number |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        if byte >= 0x80 {
            return Some(());
        }
        self.bits = 0;
        let number = std::mem::take(&mut self.number);
        match std::mem::take(&mut self.next) {
            Next::Tag => self.tag(number),
            Next::Value(field) => {
                if self.inner.is_some() && field == ID {
                    self.id = Some(number);
                }
                Some(())
            }
            Next::Length(field) => self.length(field, number),
        }
    }

    fn tag(&mut self, tag: u64) -> Option<()> {
        let field = tag >> 3;
        if field == 0 || tag > u64::from(u32::MAX) {
            return None;
        }
        match tag & 7 {
            0 => self.next = Next::Value(field),
            1 => return self.step_over(8),
            2 => self.next = Next::Length(field),
            5 => return self.step_over(4),
            // Groups, which these messages do not have.
            _ => return None,
        }
        Some(())
    }

    fn length(&mut self, field: u64, length: u64) -> Option<()> {
        match (self.inner, field) {
            (None, START) => {
                self.inner = Some(length);
                return Some(());
            }
            (None, CANCEL | CREDIT) => self.id = None,
            _ => {}
        }
        self.step_over(length)
    }

    fn step_over(&mut self, bytes: u64) -> Option<()> {
        self.skip = bytes;
        self.spend(bytes)
    }

    /// Counts bytes against the `start` that they are in.
    fn spend(&mut self, bytes: u64) -> Option<()> {
        if let Some(left) = &mut self.inner {
            *left = left.checked_sub(bytes)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::grpc::wire;

    fn held(out: &mut BytesMut, field: u32, bytes: &[u8]) {
        wire::put_bytes(out, field, bytes);
    }

    /// A frame with these fields in its `start`.
    fn start(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        wire::put_message(&mut out, 1, write);
        out
    }

    /// What is found when the frame comes in pieces of each size.
    fn found(frame: &[u8]) -> Option<u64> {
        let [first, rest @ ..] = [1, 2, 3, 7, 64, 1 << 20].map(|size| {
            let mut oversized = Oversized::new(frame.len(), false);
            frame.chunks(size).for_each(|piece| oversized.push(piece));
            assert_eq!(oversized.left(), 0);
            oversized.id()
        });
        assert!(rest.iter().all(|other| *other == first), "{first:?} {rest:?}");
        first
    }

    fn packed(frame: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(frame).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_id_is_found_wherever_it_is() {
        for id in [1, 127, 128, 1 << 40, u64::MAX] {
            let first = start(|out| {
                wire::put_uint(out, 1, id);
                held(out, 2, &[7; 5000]);
            });
            assert_eq!(found(&first), Some(id));
            assert_eq!(id_of_packed(&packed(&first)), Some(id));
            let mut last = BytesMut::new();
            held(&mut last, 15, b"unknown");
            wire::put_uint(&mut last, 9, u64::MAX);
            last.extend_from_slice(&start(|out| {
                held(out, 2, &[0xff; 5000]);
                out.extend_from_slice(b"\x7d\0\0\0\0\x79\0\0\0\0\0\0\0\0");
                wire::put_uint(out, 4, 7);
                wire::put_uint(out, 1, id);
            }));
            held(&mut last, 15, &[1; 300]);
            assert_eq!(found(&last), Some(id));
        }
    }

    #[test]
    fn what_is_said_last_counts() {
        let of = |id| start(|out| wire::put_uint(out, 1, id));
        let cancel = {
            let mut out = BytesMut::new();
            wire::put_message(&mut out, 2, |out| wire::put_uint(out, 1, 4));
            out
        };
        let request = start(|out| held(out, 2, &[7; 500]));
        assert_eq!(found(&[&of(1)[..], &request, &of(2)].concat()), Some(2));
        assert_eq!(found(&[&of(1)[..], &request].concat()), Some(1));
        assert_eq!(found(&[&cancel[..], &of(3)].concat()), Some(3));
        assert_eq!(found(&[&of(3)[..], &cancel].concat()), None);
        assert_eq!(found(&[&of(3)[..], &cancel, &request].concat()), None);
    }

    #[test]
    fn what_is_no_whole_start_has_none() {
        let whole = start(|out| {
            wire::put_uint(out, 1, 300);
            held(out, 2, &[7; 200]);
        });
        for end in 0..whole.len() {
            assert_eq!(found(&whole[..end]), None, "{end}");
        }
        let wrong: [&[u8]; 8] = [
            b"",
            &[0xff; 40],
            // An id outside of a start, one of another wire type, and one that its start is too short for.
            b"\x08\x05",
            b"\x0a\x02\x0a\x00",
            b"\x0a\x01\x08\x05",
            // A field that is longer than the start that it is in, a group, a field without a number.
            b"\x0a\x04\x08\x05\x12\x07abcdefg",
            b"\x0a\x04\x08\x05\x13\x14",
            b"\x0a\x04\x08\x05\x02\x00",
        ];
        assert!(wrong.iter().all(|frame| found(frame).is_none()));
    }

    #[test]
    fn of_what_is_compressed_the_beginning_is_enough_and_a_flood_is_not_read() {
        let noise: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let (first, last) = (
            packed(&start(|out| {
                wire::put_uint(out, 1, 9);
                held(out, 2, &noise);
            })),
            packed(&start(|out| {
                held(out, 2, &vec![0; 64 << 20]);
                wire::put_uint(out, 1, 9);
            })),
        );
        for (frame, id) in [(first, Some(9)), (last, None), (b"no gzip".to_vec(), None), (Vec::new(), None)] {
            let mut oversized = Oversized::new(frame.len(), true);
            frame.chunks(1000).for_each(|piece| oversized.push(piece));
            assert!(oversized.packed.as_ref().is_some_and(|kept| kept.len() <= KEPT));
            assert_eq!(oversized.id(), id);
        }
    }
}

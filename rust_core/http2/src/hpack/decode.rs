//! Reads header blocks.

use std::collections::VecDeque;

use super::table::{DEFAULT_SIZE, OVERHEAD, STATIC};
use super::{Corrupt, huffman, integer};
use crate::field::Kind;

/// An entry of the dynamic table.
#[derive(Debug)]
struct Entry {
    /// Name and value.
    bytes: Box<[u8]>,
    name: usize,
    name_kind: Kind,
    kind: Kind,
}

impl Entry {
    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// Room for a literal that is kept for the next one, in bytes.
const KEPT: usize = 4096;

/// The peer's table as far as we follow it.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// As large as the peer lets it be; it may say less than it was allowed.
    most: usize,
    /// Name and value of a literal.
    literal: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: DEFAULT_SIZE, literal: Vec::new() }
    }

    /// Reads a whole block and hands on what it says, field by field.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(Kind, &[u8], &[u8]),
    ) -> Result<(), Corrupt> {
        let mut begun = false;
        while let Some((first, rest)) = block.split_first() {
            block = rest;
            if first & 0x80 != 0 {
                self.indexed(integer::read(*first, 7, &mut block)?, &mut field)?;
            } else if first & 0x40 != 0 {
                let (name, name_kind, kind) = self.literal(integer::read(*first, 6, &mut block)?, &mut block)?;
                let (n, v) = self.literal.split_at(name);
                field(kind, n, v);
                self.insert(name, name_kind, kind);
            } else if first & 0x20 != 0 {
                let most = integer::read(*first, 5, &mut block)?;
                if begun || most > DEFAULT_SIZE {
                    return Err(Corrupt);
                }
                self.most = most;
                self.evict(0);
                continue;
            } else {
                let (name, _, kind) = self.literal(integer::read(*first, 4, &mut block)?, &mut block)?;
                let (n, v) = self.literal.split_at(name);
                field(kind, n, v);
            }
            begun = true;
        }
        // One long field must not stay with a connection that says nothing more.
        if self.literal.capacity() > KEPT {
            self.literal = Vec::new();
        }
        Ok(())
    }

    fn indexed(&self, index: usize, field: &mut impl FnMut(Kind, &[u8], &[u8])) -> Result<(), Corrupt> {
        if let Some(place) = index.checked_sub(STATIC.len() + 1) {
            let entry = self.entries.get(place).ok_or(Corrupt)?;
            let (name, value) = entry.bytes.split_at(entry.name);
            field(entry.kind, name, value);
        } else {
            let (name, value) = index.checked_sub(1).and_then(|at| STATIC.get(at)).ok_or(Corrupt)?;
            field(static_kind(index).with(value.as_bytes()), name.as_bytes(), value.as_bytes());
        }
        Ok(())
    }

    /// Reads a literal whose name has this index, if any; gives the length of its name and what name and field are.
    fn literal(&mut self, index: usize, block: &mut &[u8]) -> Result<(usize, Kind, Kind), Corrupt> {
        self.literal.clear();
        let name_kind = if index == 0 {
            text(block, &mut self.literal)?;
            Kind::of(&self.literal)
        } else if let Some(place) = index.checked_sub(STATIC.len() + 1) {
            let entry = self.entries.get(place).ok_or(Corrupt)?;
            self.literal.extend_from_slice(entry.bytes.split_at(entry.name).0);
            entry.name_kind
        } else {
            let (name, _) = STATIC.get(index - 1).ok_or(Corrupt)?;
            self.literal.extend_from_slice(name.as_bytes());
            static_kind(index)
        };
        let name = self.literal.len();
        text(block, &mut self.literal)?;
        Ok((name, name_kind, name_kind.with(self.literal.split_at(name).1)))
    }

    fn insert(&mut self, name: usize, name_kind: Kind, kind: Kind) {
        let room = self.literal.len() + OVERHEAD;
        self.evict(room);
        // One that is larger than the table empties it and is not kept (RFC 7541, section 4.4).
        if room <= self.most {
            self.size += room;
            let bytes = self.literal.as_slice().into();
            self.entries.push_front(Entry { bytes, name, name_kind, kind });
        }
    }

    /// Drops the oldest until there is so much room.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.most {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
        }
    }
}

/// What the name of a static entry says.
fn static_kind(index: usize) -> Kind {
    match index {
        1 => Kind::Authority,
        2 | 3 => Kind::Method,
        4 | 5 => Kind::Path,
        6 | 7 => Kind::Scheme,
        // `:status` and `transfer-encoding`.
        8..=14 | 57 => Kind::Malformed,
        28 => Kind::Length,
        _ => Kind::Plain,
    }
}

/// Appends a string literal (RFC 7541, section 5.2).
fn text(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let (first, rest) = block.split_first().ok_or(Corrupt)?;
    *block = rest;
    let length = integer::read(*first, 7, block)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Corrupt)?;
    *block = rest;
    if first & 0x80 != 0 {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_entries_are_what_their_names_say() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            assert_eq!(static_kind(at + 1), Kind::of(name.as_bytes()), "{name}");
        }
    }
}

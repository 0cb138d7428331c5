//! Writes header blocks.
//!
//! What goes into the table is learned, not listed: a field goes there when its name is not there yet, or when it had the
//! same value twice in a row. So what every answer says is soon one byte, and what is another with each answer is said by
//! its name's index and does not push the others out. Strings are not Huffman coded: bytes on this side of a load balancer
//! are cheaper than the work.

use std::collections::VecDeque;

use bytes::BufMut;
use penstock_http1::{is_field_value, is_token};

use super::integer;
use super::table::{DEFAULT_SIZE, OVERHEAD, STATIC};

/// Names that are followed; what a provider makes up beyond them is written out.
const NAMES: usize = 64;
/// Values of a name that are found again.
const VALUES: usize = 4;

/// How a field with some name is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Learned,
    /// A secret that no table on the way may keep (RFC 7541, section 7.1.3).
    Never,
    /// It means something only to HTTP/1.1 (RFC 9113, section 8.2.2).
    Omitted,
}

/// A name that was said.
#[derive(Debug)]
struct Name {
    name: Box<[u8]>,
    tag: u32,
    /// Its index in the static table, or zero.
    fixed: usize,
    manner: Manner,
    /// Which insertions had it, counted from one; the newest is before `next`.
    said: [u64; VALUES],
    next: usize,
    /// What the last value was that did not come from the table.
    last: u64,
}

/// Our table as the peer follows it.
#[derive(Debug)]
pub(crate) struct Encoder {
    names: Vec<Name>,
    /// Where the name of the last field is in `names`: answers have their fields in the same order.
    at: usize,
    /// The values, the newest first, with the sizes of their entries.
    values: VecDeque<(Box<[u8]>, usize)>,
    inserted: u64,
    size: usize,
    most: usize,
    /// The least and the last size that the peer asked for since the last block.
    resized: Option<(usize, usize)>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            names: Vec::new(),
            at: 0,
            values: VecDeque::new(),
            inserted: 0,
            size: 0,
            most: DEFAULT_SIZE,
            resized: None,
        }
    }

    /// The peer lets the table be so large.
    pub(crate) fn resize(&mut self, allowed: usize) {
        let last = allowed.min(DEFAULT_SIZE);
        let least = self.resized.map_or(last, |(least, _)| least.min(last));
        self.resized = (last != self.most || least != last).then_some((least, last));
    }

    /// To be called before the first field of a block.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.resized.take() {
            for most in [Some(least), (last != least).then_some(last)].into_iter().flatten() {
                self.most = most;
                self.evict(0);
                integer::put(out, 0x20, 5, most);
            }
        }
    }

    /// Writes `:status`.
    pub(crate) fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                integer::put(out, 0, 4, 8);
                let digit = |n: u16| b'0' + (n % 10) as u8;
                return out.put_slice(&[3, digit(status / 100), digit(status / 10), digit(status)]);
            }
        };
        out.put_u8(0x80 | index);
    }

    /// Writes a field; one that no field can be, or that is not for HTTP/2, is left out.
    pub(crate) fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let Some(at) = self.find(name).or_else(|| self.learn(name)) else { return self.stranger(out, name, value) };
        self.at = at;
        let Self { names, values, inserted, .. } = self;
        let Some(known) = names.get_mut(at) else { return };
        // Where an insertion is now.
        let place = |said: u64| usize::try_from(*inserted - said).unwrap_or(usize::MAX);
        for said in known.said {
            let place = place(said);
            if said > 0 && values.get(place).is_some_and(|(v, _)| **v == *value) {
                return integer::put(out, 0x80, 7, STATIC.len() + 1 + place);
            }
        }
        if known.manner == Manner::Omitted || !is_field_value(value) {
            return;
        }
        let newest = known.said.get((known.next + VALUES - 1) % VALUES).map(|said| place(*said));
        let newest = newest.filter(|place| *place < values.len() && known.said != [0; VALUES]);
        let index = newest.map_or(known.fixed, |place| STATIC.len() + 1 + place);
        let mark = mark(value);
        let repeats = std::mem::replace(&mut known.last, mark) == mark;
        let room = known.name.len() + value.len() + OVERHEAD;
        let keeps = known.manner == Manner::Learned && (index == 0 || repeats) && room <= self.most / 4;
        match (keeps, known.manner) {
            (true, _) => integer::put(out, 0x40, 6, index),
            (false, Manner::Never) => integer::put(out, 0x10, 4, index),
            _ => integer::put(out, 0, 4, index),
        }
        if index == 0 {
            put_text(out, &known.name);
        }
        put_text(out, value);
        if keeps {
            *inserted += 1;
            if let Some(said) = known.said.get_mut(known.next) {
                *said = *inserted;
            }
            known.next = (known.next + 1) % VALUES;
            self.evict(room);
            self.size += room;
            self.values.push_front((value.into(), room));
        }
    }

    /// A field whose name is not followed.
    fn stranger(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        if manner(name) == Manner::Learned && is_token(name) && is_field_value(value) {
            out.put_u8(0);
            integer::put(out, 0, 7, name.len());
            out.extend(name.iter().map(u8::to_ascii_lowercase));
            put_text(out, value);
        }
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let tag = tag(name);
        let is = |known: &Name| known.tag == tag && (*known.name == *name || known.name.eq_ignore_ascii_case(name));
        let (before, from) = self.names.split_at_checked(self.at + 1).unwrap_or((&self.names, &[]));
        let after = from.iter().position(is).map(|at| at + before.len());
        after.or_else(|| before.iter().position(is))
    }

    fn learn(&mut self, name: &[u8]) -> Option<usize> {
        if self.names.len() >= NAMES || !is_token(name) {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let fixed = STATIC.iter().position(|(known, _)| known.as_bytes() == lower).map_or(0, |at| at + 1);
        self.names.push(Name {
            tag: tag(&lower),
            manner: manner(&lower),
            name: lower.into(),
            fixed,
            said: [0; VALUES],
            next: 0,
            last: 0,
        });
        Some(self.names.len() - 1)
    }

    fn evict(&mut self, room: usize) {
        while self.size + room > self.most {
            let Some((_, size)) = self.values.pop_back() else { return };
            self.size -= size;
        }
    }
}

fn manner(name: &[u8]) -> Manner {
    let is = |other: &&str| name.eq_ignore_ascii_case(other.as_bytes());
    if ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"].iter().any(is) {
        Manner::Omitted
    } else if is(&"set-cookie") {
        Manner::Never
    } else {
        Manner::Learned
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    integer::put(out, 0, 7, text.len());
    out.put_slice(text);
}

/// Tells most names apart at a glance: length, first, middle and last letter, whatever their case.
fn tag(name: &[u8]) -> u32 {
    let letter = |at: usize| name.get(at).copied().unwrap_or_default() | 0x20;
    let last = name.len().saturating_sub(1);
    u32::from_le_bytes([name.len() as u8, letter(0), letter(last / 2), letter(last)])
}

/// Tells most values apart; never zero.
fn mark(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    let fold = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    let sum = words.iter().fold(value.len() as u64, |sum, word| fold(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| fold(sum, u64::from(*byte))) | 1
}

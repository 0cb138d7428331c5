//! The Huffman code of string literals (RFC 7541, section 5.2 and appendix B), read by half bytes.
//!
//! The code is canonical, so that the lengths of its words say all about it. From them a machine is made at compile time
//! that knows for each inner node of the tree where four bits lead: the shortest word has five, so they end at most one.

#![allow(clippy::indexing_slicing)] // what is built here is built at compile time

use super::Corrupt;

/// Bits of each symbol's word; the last is the end of string, which must not occur.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22,
    23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23,
    22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, //
    30,
];

/// Inner nodes: a tree of 257 leaves has one less.
const NODES: usize = 256;
const END_OF_STRING: usize = 256;
/// What four bits may do.
const EMITS: u8 = 1;
/// The string may end here: what is left over is less than a byte of the end of string's word.
const MAY_END: u8 = 2;
const FAILS: u8 = 4;

/// Where four bits lead.
#[derive(Debug, Clone, Copy)]
struct Step {
    next: u8,
    symbol: u8,
    what: u8,
}

/// Each symbol's word, at the low end.
const fn words() -> [u32; 257] {
    let mut words = [0; 257];
    let mut word = 0;
    let mut length = 1;
    while length <= 30 {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] == length {
                words[symbol] = word;
                word += 1;
            }
            symbol += 1;
        }
        word <<= 1;
        length += 1;
    }
    words
}

/// For each inner node where a bit leads: another node, or a symbol above 256 plus its number.
const fn tree() -> [[u16; 2]; NODES] {
    const UNKNOWN: u16 = u16::MAX;
    let words = words();
    let mut nodes = [[UNKNOWN; 2]; NODES];
    let mut used = 1;
    let mut symbol = 0;
    while symbol < LENGTHS.len() {
        let mut node = 0;
        let mut left = LENGTHS[symbol];
        while left > 1 {
            left -= 1;
            let bit = (words[symbol] >> left & 1) as usize;
            if nodes[node][bit] == UNKNOWN {
                nodes[node][bit] = used;
                used += 1;
            }
            node = nodes[node][bit] as usize;
        }
        nodes[node][(words[symbol] & 1) as usize] = 256 + symbol as u16;
        symbol += 1;
    }
    nodes
}

const fn steps() -> [[Step; 16]; NODES] {
    let tree = tree();
    // The nodes that up to seven ones lead to.
    let mut padding = [false; NODES];
    let mut node = 0;
    let mut ones = 0;
    while ones < 8 {
        padding[node] = true;
        node = tree[node][1] as usize;
        ones += 1;
    }
    let mut steps = [[Step { next: 0, symbol: 0, what: 0 }; 16]; NODES];
    let mut from = 0;
    while from < NODES {
        let mut bits = 0;
        while bits < 16 {
            let mut step = Step { next: 0, symbol: 0, what: 0 };
            let mut node = from;
            let mut place = 4;
            while place > 0 {
                place -= 1;
                let to = tree[node][bits >> place & 1] as usize;
                if to == 256 + END_OF_STRING {
                    step.what |= FAILS;
                    node = 0;
                } else if to >= 256 {
                    step.symbol = (to - 256) as u8;
                    step.what |= EMITS;
                    node = 0;
                } else {
                    node = to;
                }
            }
            step.next = node as u8;
            if padding[node] {
                step.what |= MAY_END;
            }
            steps[from][bits] = step;
            bits += 1;
        }
        from += 1;
    }
    steps
}

static STEPS: [[Step; 16]; NODES] = steps();

/// Appends what the coded bytes say.
pub(crate) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    // Five bits are the least that a symbol takes.
    out.reserve(coded.len() * 8 / 5);
    let mut last = Step { next: 0, symbol: 0, what: MAY_END };
    let mut wrong = 0;
    for byte in coded {
        for bits in [byte >> 4, byte & 15] {
            last = STEPS[usize::from(last.next)][usize::from(bits & 15)];
            wrong |= last.what;
            if last.what & EMITS != 0 {
                out.push(last.symbol);
            }
        }
    }
    if wrong & FAILS != 0 || last.what & MAY_END == 0 { Err(Corrupt) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
        let (words, mut out, mut held, mut bits) = (words(), Vec::new(), 0_u64, 0);
        for byte in text {
            let length = u32::from(LENGTHS[usize::from(*byte)]);
            held = held << length | u64::from(words[usize::from(*byte)]);
            bits += length;
            while bits >= 8 {
                bits -= 8;
                out.push((held >> bits) as u8);
            }
        }
        if bits > 0 {
            out.push((held << (8 - bits)) as u8 | (0xff >> bits));
        }
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn words_are_those_of_the_rfc() {
        let words = words();
        for (symbol, word) in [(b'0', 0x0), (b'a', 0x3), (b' ', 0x14), (b':', 0x5c), (b'&', 0xf8), (b'~', 0x1ffd)] {
            assert_eq!(words[usize::from(symbol)], word, "{}", symbol as char);
        }
        assert_eq!((words[255], words[22], words[END_OF_STRING]), (0x3ff_ffee, 0x3fff_fffe, 0x3fff_ffff));
        assert_eq!(
            decoded(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]).unwrap(),
            b"www.example.com"
        );
    }

    #[test]
    fn wrong_ends_are_refused() {
        // Padding of zeros, a whole byte of padding, the end of string, half a word.
        for coded in [&[0b0001_1000][..], &[0x1f, 0xff], &[0xff; 4], &[0xff, 0xff, 0xff, 0xfc], &[0xff], &[0xfe]] {
            assert_eq!(decoded(coded), Err(Corrupt), "{coded:x?}");
        }
        assert_eq!(decoded(&[0x1f]).unwrap(), b"a");
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    proptest! {
        #[test]
        fn whatever_is_said_comes_back(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }

        #[test]
        fn no_bytes_break_it(coded in proptest::collection::vec(any::<u8>(), 0..64)) {
            // A word that is decoded is coded by the same bytes: there is one way to say a thing.
            if let Ok(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}

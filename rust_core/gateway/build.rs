//! Lays out, at build time, what the tokenizer reads at run time: the vocabularies as perfect hash
//! tables and the character classes as a two-level table.
//!
//! The vocabularies come out of the `bpe-openai` crate, which therefore is a build dependency only:
//! its own run-time form is three automata and three hash maps per vocabulary that must be
//! deserialised onto the heap, ours is read-only data of the library, mapped on demand, shared
//! between processes and ready at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::PathBuf;

#[path = "src/tokens/hash.rs"]
#[allow(dead_code)]
mod hash;

/// Bits of `tokens::classes`; the same numbers are there.
const CLASSES: [(u8, &str); 7] = [
    (1, r"[\p{Lu}\p{Lt}]"),
    (2, r"\p{Ll}"),
    (4, r"[\p{Lm}\p{Lo}]"),
    (8, r"\p{M}"),
    (16, r"\p{N}"),
    (32, r"[\s&&[^\r\n]]"),
    (64, r"[\r\n]"),
];
const OTHER: u8 = 128;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/tokens/hash.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (name, tokenizer) in [("o200k_base", bpe_openai::o200k_base()), ("cl100k_base", bpe_openai::cl100k_base())] {
        let count = u32::try_from(tokenizer.bpe.num_tokens()).expect("fewer than 2^32 tokens");
        let tokens: Vec<&[u8]> = (0..count).map(|id| tokenizer.bpe.token_bytes(id)).collect();
        for (part, bytes) in vocabulary(&tokens) {
            fs::write(out.join(format!("{name}.{part}")), bytes).expect("OUT_DIR is writable");
        }
    }
    fs::write(out.join("classes"), classes()).expect("OUT_DIR is writable");
}

/// Bytes of the filters: one bit in about ten is set.
const FILTER: usize = 1 << 17;
/// Sets of lengths, by the first four and the first eight bytes of a token.
const LENGTHS: usize = 1 << 16;
const LONG_LENGTHS: usize = 1 << 12;
/// Bytes of the filter of neighbouring characters.
const NEIGHBOURS: usize = 1 << 15;

/// The tables of one vocabulary, by file suffix.
fn vocabulary(tokens: &[&[u8]]) -> Vec<(&'static str, Vec<u8>)> {
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for (rank, token) in tokens.iter().enumerate() {
        assert!(!token.is_empty(), "token {rank} is empty");
        if token.len() <= hash::SHORT { short.push(rank) } else { long.push(rank) }
    }

    let hashes: Vec<u64> = short.iter().map(|&rank| hash::short(hash::pack(tokens[rank]))).collect();
    let (displacements, slots) = place(&hashes);
    let mut entries = Vec::new();
    for slot in &slots {
        let entry = slot.map_or(0, |i| hash::pack(tokens[short[i]]) | (short[i] as u128) << hash::KEY_BITS);
        entries.extend(entry.to_le_bytes());
    }
    let mut filter = vec![0_u8; FILTER];
    for hash in hashes {
        let (byte, bit) = hash::filtered(hash, FILTER);
        filter[byte] |= bit;
    }

    let hashes: Vec<u64> = long.iter().map(|&rank| hash::long(tokens[rank])).collect();
    let (long_displacements, slots) = place(&hashes);
    let (mut long_entries, mut text) = (Vec::new(), Vec::new());
    for slot in &slots {
        let (offset, length, rank) = match slot {
            None => (0, 0, u32::MAX),
            Some(i) => {
                let token = tokens[long[*i]];
                let offset = text.len() as u32;
                text.extend_from_slice(token);
                (offset, token.len() as u32, long[*i] as u32)
            }
        };
        for field in [offset, length, rank, 0] {
            long_entries.extend(field.to_le_bytes());
        }
    }
    let (lengths, long_lengths) = lengths(tokens);
    let (neighbours, fragments) = neighbours(tokens);
    let halves = halves(tokens);
    let long_pairs = long_pairs(&halves, &long);
    let bytes_of = |displacements: Vec<u16>| displacements.into_iter().flat_map(u16::to_le_bytes).collect();
    vec![
        ("displacements", bytes_of(displacements)),
        ("entries", entries),
        ("filter", filter),
        ("long_displacements", bytes_of(long_displacements)),
        ("long_entries", long_entries),
        ("long_text", text),
        ("lengths", lengths),
        ("long_lengths", long_lengths),
        ("halves", halves),
        ("long_pairs", long_pairs),
        ("neighbours", neighbours),
        ("fragments", fragments),
    ]
}

/// How long the tokens are that begin with the same four bytes, as a set of bits: 4 to 13, and 0 for all longer ones;
/// and those longer ones by their first eight bytes, from 14 up.
fn lengths(tokens: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
    let mut short = vec![0_u16; LENGTHS];
    let mut long = vec![0_u128; LONG_LENGTHS];
    for token in tokens {
        if let Some(first) = token.first_chunk::<4>() {
            let set = &mut short[hash::beginning(u64::from(u32::from_le_bytes(*first)), LENGTHS)];
            *set |= if token.len() <= hash::SHORT { 1 << token.len() } else { 1 };
        }
        if let Some(first) = token.first_chunk::<8>().filter(|_| token.len() > hash::SHORT) {
            let set = &mut long[hash::beginning(u64::from_le_bytes(*first), LONG_LENGTHS)];
            *set |= 1 << (token.len() - hash::SHORT - 1);
        }
    }
    (short.into_iter().flat_map(u16::to_le_bytes).collect(), long.into_iter().flat_map(u128::to_le_bytes).collect())
}

/// Per token the two it is merged from, the longest other one that it begins with, and its own length: 18, 18, 18 and 8
/// bits.
fn halves(tokens: &[&[u8]]) -> Vec<u8> {
    assert!(tokens.len() <= 1 << 18, "a rank takes 18 bits");
    let ranks: HashMap<&[u8], usize> = tokens.iter().enumerate().map(|(rank, token)| (*token, rank)).collect();
    let mut entries = Vec::new();
    for (rank, token) in tokens.iter().enumerate() {
        // What tells a byte from a merged token when two are compared.
        assert_eq!(token.len() == 1, rank < 256, "bytes come first");
        let (left, right, shorter) = if token.len() == 1 {
            (rank, rank, rank)
        } else {
            let (left, right) = token.split_at(last_merge(&ranks, token, rank));
            let shorter = (1..token.len()).rev().find_map(|length| ranks.get(&token[..length]));
            (ranks[left], ranks[right], *shorter.expect("every byte is a token"))
        };
        entries.extend((left | right << 18 | shorter << 36 | token.len() << 54).to_le_bytes());
    }
    entries
}

/// The long tokens by what they are merged from, as a hash table: left, right, rank, 0; and empty ones.
fn long_pairs(halves: &[u8], long: &[usize]) -> Vec<u8> {
    let mut slots = vec![None; (long.len() * 2).next_power_of_two()];
    for &rank in long {
        let entry = u64::from_le_bytes(halves[rank * 8..rank * 8 + 8].try_into().expect("8 bytes"));
        let (left, right) = (entry as u32 & 0x3_ffff, (entry >> 18) as u32 & 0x3_ffff);
        let mut slot = hash::pair(left, right, slots.len());
        while slots[slot].is_some() {
            slot = (slot + 1) & (slots.len() - 1);
        }
        slots[slot] = Some([left, right, rank as u32, 0]);
    }
    slots.into_iter().flat_map(|slot| slot.unwrap_or_default()).flat_map(u32::to_le_bytes).collect()
}

/// Where the last merge that makes `token` joins its halves.
fn last_merge(ranks: &HashMap<&[u8], usize>, token: &[u8], rank: usize) -> usize {
    let mut bounds: Vec<usize> = (0..=token.len()).collect();
    while bounds.len() > 3 {
        let pairs = bounds.windows(3).enumerate().filter_map(|(i, part)| {
            ranks.get(&token[part[0]..part[2]]).filter(|&&found| found < rank).map(|found| (*found, i + 1))
        });
        let (_, joint) = pairs.min().unwrap_or_else(|| panic!("token {rank} cannot be merged"));
        bounds.remove(joint);
    }
    bounds[1]
}

/// Which characters are neighbours in some token, as a filter; and, for tokens that hold a part of the one or the other
/// only, which bytes meet where the characters do: a bit per pair.
fn neighbours(tokens: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
    let mut whole = vec![0_u8; NEIGHBOURS];
    let mut parts = vec![0_u8; 1 << 13];
    let width = |lead: u8| match lead {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let starts_character = |byte: u8| byte & 0xc0 != 0x80;
    for token in tokens {
        for at in (1..token.len()).filter(|&at| starts_character(token[at])) {
            let left = token[..at].iter().rposition(|&byte| starts_character(byte)).map(|lead| &token[lead..at]);
            let right = token.get(at..at + width(token[at]));
            let (byte, bit) = match (left, right) {
                (Some(left), Some(right)) => {
                    hash::filtered(hash::neighbours(character(left), character(right)), NEIGHBOURS)
                }
                _ => {
                    let pair = usize::from(token[at - 1]) << 8 | usize::from(token[at]);
                    parts[pair >> 3] |= 1 << (pair & 7);
                    continue;
                }
            };
            whole[byte] |= bit;
        }
    }
    (whole, parts)
}

/// The bytes of a character as one number.
fn character(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// Hash and displace: every bucket gets the first displacement that sends its members to free slots.
/// Returns the displacements and, per slot, the index into `hashes`.
fn place(hashes: &[u64]) -> (Vec<u16>, Vec<Option<usize>>) {
    let bits = (hashes.len() * 5 / 4).next_power_of_two().trailing_zeros();
    let bucket_bits = bits.saturating_sub(2).max(1);
    let mut buckets = vec![Vec::new(); 1 << bucket_bits];
    for (index, &hash) in hashes.iter().enumerate() {
        buckets[hash::bucket(hash, bucket_bits)].push(index);
    }
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    order.sort_by_key(|&bucket| std::cmp::Reverse(buckets[bucket].len()));
    let mut displacements = vec![0_u16; buckets.len()];
    let mut slots: Vec<Option<usize>> = vec![None; 1 << bits];
    let mut wanted = Vec::new();
    for bucket in order {
        let members = &buckets[bucket];
        let fits = (0..=u16::MAX).find(|&displacement| {
            wanted.clear();
            members.iter().all(|&index| {
                let slot = hash::slot(hashes[index], displacement, bits);
                let free = slots[slot].is_none() && !wanted.contains(&slot);
                wanted.push(slot);
                free
            })
        });
        displacements[bucket] = fits.expect("a displacement for every bucket");
        for (&index, &slot) in members.iter().zip(&wanted) {
            slots[slot] = Some(index);
        }
    }
    (displacements, slots)
}

/// 4,352 block numbers (one per 256 code points), then the distinct blocks of 256 classes.
fn classes() -> Vec<u8> {
    let mut class = vec![OTHER; 0x11_0000];
    for (bit, pattern) in CLASSES {
        let hir = regex_syntax::Parser::new().parse(pattern).expect("a valid class");
        let ranges: Vec<(u32, u32)> = match hir.kind() {
            regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) => {
                set.iter().map(|range| (range.start().into(), range.end().into())).collect()
            }
            other => panic!("{pattern} is not a class of code points: {other:?}"),
        };
        for (start, end) in ranges {
            for code in start..=end {
                assert_eq!(class[code as usize], OTHER, "U+{code:04X} has two classes");
                class[code as usize] = bit;
            }
        }
    }
    let mut blocks: Vec<&[u8]> = Vec::new();
    let mut index = Vec::new();
    for block in class.chunks(256) {
        let number = blocks.iter().position(|seen| *seen == block).unwrap_or_else(|| {
            blocks.push(block);
            blocks.len() - 1
        });
        index.push(u8::try_from(number).expect("at most 256 distinct blocks"));
    }
    index.extend(blocks.into_iter().flatten());
    index
}

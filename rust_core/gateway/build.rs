//! Lays out, at build time, what the tokenizer reads at run time: the vocabularies as perfect hash
//! tables and the character classes as a two-level table.
//!
//! The vocabularies come out of the `bpe-openai` crate, which therefore is a build dependency only:
//! its own run-time form is three automata and three hash maps per vocabulary that must be
//! deserialised onto the heap, ours is read-only data of the library, mapped on demand, shared
//! between processes and ready at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

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

/// The tables of one vocabulary, by file suffix.
fn vocabulary(tokens: &[&[u8]]) -> Vec<(&'static str, Vec<u8>)> {
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for (rank, token) in tokens.iter().enumerate() {
        assert!(!token.is_empty(), "token {rank} is empty");
        if token.len() <= hash::SHORT { short.push(rank) } else { long.push(rank) }
    }

    let hashes: Vec<u64> = short.iter().map(|&rank| hash::short(hash::pack(tokens[rank]))).collect();
    let (displacements, slots) = place(&hashes);
    let (mut keys, mut ranks) = (Vec::new(), Vec::new());
    for slot in &slots {
        let (key, rank) = slot.map_or((0, u32::MAX), |i| (hash::pack(tokens[short[i]]), short[i] as u32));
        keys.extend(key.to_le_bytes());
        ranks.extend(rank.to_le_bytes());
    }

    let hashes: Vec<u64> = long.iter().map(|&rank| hash::long(tokens[rank])).collect();
    let (long_displacements, slots) = place(&hashes);
    let (mut entries, mut text) = (Vec::new(), Vec::new());
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
            entries.extend(field.to_le_bytes());
        }
    }
    let bytes_of = |displacements: Vec<u16>| displacements.into_iter().flat_map(u16::to_le_bytes).collect();
    vec![
        ("displacements", bytes_of(displacements)),
        ("keys", keys),
        ("ranks", ranks),
        ("long_displacements", bytes_of(long_displacements)),
        ("long_entries", entries),
        ("long_text", text),
    ]
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

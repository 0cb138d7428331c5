//! A quick hash for maps whose keys come from the configuration.
//!
//! Apart from the standard one, which withstands keys that an attacker chooses and costs several
//! times as much: whatever a client can put into a map must use that.

use std::hash::{BuildHasherDefault, Hasher};

/// For `HashMap<K, V, ByTrusted>`.
pub(crate) type ByTrusted = BuildHasherDefault<Fold>;

/// Multiply and rotate, word by word (after Firefox's and rustc's "Fx").
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Fold(u64);

const MULTIPLIER: u64 = 0xf135_7aea_2e62_a9c5;

impl Fold {
    fn add(&mut self, word: u64) {
        self.0 = self.0.wrapping_add(word).wrapping_mul(MULTIPLIER).rotate_left(5);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.add(rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.add(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.add(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    fn finish(&self) -> u64 {
        // A map takes its bucket from the low bits, which have seen least.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn names_that_differ_little_spread() {
        let names: Vec<String> = (0..10_000).map(|n| format!("deployment-{n}")).collect();
        let low: HashSet<u64> = names.iter().map(|n| ByTrusted::default().hash_one(n) % 16_384).collect();
        // Chance leaves about 46 % of the buckets used.
        assert!(low.len() > 6_800, "{}", low.len());
    }
}

//! The text form of a virtual key.
//!
//! `sk-` + 16 characters of key id + 43 of secret + 6 of checksum, all base62. The id names the key in logs without
//! giving it away, 43 characters hold 256 random bits, and the checksum (CRC-32/ISO-HDLC, the IEEE one, of all that
//! precedes it) tells a typing error from a revoked key without a look-up and lets scanners find leaked keys with few
//! false alarms. Administrators may also choose keys of their own: those have no structure.

use ring::rand::{SecureRandom, SystemRandom};

const PREFIX: &str = "sk-";
const ID_LEN: usize = 16;
const SECRET_LEN: usize = 43;
const CRC_LEN: usize = 6;
const BODY_LEN: usize = PREFIX.len() + ID_LEN + SECRET_LEN;
/// Length of a generated key.
pub const KEY_LEN: usize = BODY_LEN + CRC_LEN;
/// The longest key that is looked at, chosen ones included.
pub const MAX_KEY_LEN: usize = 1_024;
const MIN_CUSTOM_LEN: usize = 5;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandomness;

/// The parts of a generated key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// Public name of the key, 16 characters.
    pub id: &'a str,
    secret: &'a str,
}

impl std::fmt::Debug for KeyParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyParts").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a text is not a generated key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyShape {
    /// No key at all.
    Malformed,
    /// Length and alphabet of a generated key, but mistyped.
    BadChecksum,
    /// A key that an administrator may have chosen: `sk-` and at least 5 of `A-Z a-z 0-9 _ -`. It can only be looked up.
    Custom,
}

/// A new key.
///
/// # Errors
/// [`NoRandomness`] when the operating system's generator fails.
pub fn generate() -> Result<String, NoRandomness> {
    let random = SystemRandom::new();
    let mut key = String::with_capacity(KEY_LEN);
    key.push_str(PREFIX);
    while key.len() < PREFIX.len() + ID_LEN {
        let mut bytes = [0_u8; 32];
        random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        // 248 = 4 * 62: above it, some digits would come up more often than others.
        let digits = bytes.iter().filter(|byte| **byte < 248).map(|byte| digit(u32::from(*byte % 62)));
        key.extend(digits.take(PREFIX.len() + ID_LEN - key.len()));
    }
    let mut secret = [0_u8; 32];
    random.fill(&mut secret).map_err(|_| NoRandomness)?;
    push_base62(&mut key, secret, SECRET_LEN);
    let mut crc = [0_u8; 32];
    if let Some(tail) = crc.last_chunk_mut::<4>() {
        *tail = crc32(key.as_bytes()).to_be_bytes();
    }
    push_base62(&mut key, crc, CRC_LEN);
    Ok(key)
}

/// Take a generated key apart.
///
/// # Errors
/// [`KeyShape`] when it is not one; `Custom` may still be a valid key.
pub fn parse(key: &str) -> Result<KeyParts<'_>, KeyShape> {
    let body = key.strip_prefix(PREFIX).ok_or(KeyShape::Malformed)?;
    let generated = key.len() == KEY_LEN && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !generated {
        let chosen = key.len() <= MAX_KEY_LEN
            && body.len() >= MIN_CUSTOM_LEN
            && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        return Err(if chosen { KeyShape::Custom } else { KeyShape::Malformed });
    }
    let (signed, checksum) = key.split_at_checked(BODY_LEN).ok_or(KeyShape::Malformed)?;
    if base62(checksum) != Some(u64::from(crc32(signed.as_bytes()))) {
        return Err(KeyShape::BadChecksum);
    }
    let (id, secret) = body.split_at_checked(ID_LEN).ok_or(KeyShape::Malformed)?;
    Ok(KeyParts { id, secret: secret.get(..SECRET_LEN).ok_or(KeyShape::Malformed)? })
}

fn digit(value: u32) -> char {
    ALPHABET.get(value as usize).map_or('0', |byte| char::from(*byte))
}

/// Append `number` (big-endian) in base62, the least significant `len` digits, most significant first.
fn push_base62(out: &mut String, mut number: [u8; 32], len: usize) {
    let mut digits = [0_u32; SECRET_LEN];
    for slot in digits.iter_mut().rev().take(len) {
        let mut rest: u32 = 0;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *slot = rest;
    }
    out.extend(digits.iter().skip(SECRET_LEN - len).map(|value| digit(*value)));
}

fn base62(text: &str) -> Option<u64> {
    text.bytes().try_fold(0_u64, |sum, byte| {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        sum.checked_mul(62)?.checked_add(u64::from(value))
    })
}

const CRC_TABLE: [u32; 256] = crc_table();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses to index out of bounds")]
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        let index = usize::from((crc as u8) ^ byte);
        CRC_TABLE.get(index).copied().unwrap_or(0) ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn base62_keeps_all_256_bits() {
        let mut text = String::new();
        push_base62(&mut text, [0xFF; 32], SECRET_LEN);
        // 2^256 - 1, as an independent calculator writes it in this alphabet.
        let mut value = num(&text);
        assert_eq!(value.len(), 32);
        assert!(value.iter().all(|byte| *byte == 0xFF));
        text.clear();
        push_base62(&mut text, [0; 32], SECRET_LEN);
        value = num(&text);
        assert!(value.iter().all(|byte| *byte == 0));
        assert_eq!(text.len(), SECRET_LEN);
    }

    fn num(text: &str) -> Vec<u8> {
        let mut bytes = vec![0_u8; 32];
        for character in text.chars() {
            let mut carry = base62(&character.to_string()).unwrap() as u32;
            for byte in bytes.iter_mut().rev() {
                let value = u32::from(*byte) * 62 + carry;
                *byte = value as u8;
                carry = value >> 8;
            }
            assert_eq!(carry, 0);
        }
        bytes
    }

    #[test]
    fn generated_keys_parse_and_differ() {
        let keys: HashSet<String> = (0..2_000).map(|_| generate().unwrap()).collect();
        assert_eq!(keys.len(), 2_000);
        for key in &keys {
            assert_eq!(key.len(), KEY_LEN);
            let parts = parse(key).unwrap();
            assert_eq!(parts.id, &key[3..19]);
            assert_eq!(parts.secret.len(), SECRET_LEN);
            assert!(!format!("{parts:?}").contains(parts.secret));
        }
    }

    #[test]
    fn every_digit_occurs() {
        let text: String = (0..300).map(|_| generate().unwrap()[3..19].to_owned()).collect();
        let seen: HashSet<char> = text.chars().collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn other_shapes_are_told_apart() {
        for malformed in ["", "sk-", "sk-abcd", "pk-abcdefgh", "sk-abc def", "sk-abcé12", "SK-abcdefg", "sk-a\nbcdef"]
        {
            assert_eq!(parse(malformed), Err(KeyShape::Malformed), "{malformed:?}");
        }
        for custom in ["sk-12345", "sk-my_own-key", "sk-proj-abcdefghij"] {
            assert_eq!(parse(custom), Err(KeyShape::Custom), "{custom:?}");
        }
        let long = format!("sk-{}", "a".repeat(MAX_KEY_LEN));
        assert_eq!(parse(&long), Err(KeyShape::Malformed));
        let dashed = format!("sk-{}-", "a".repeat(KEY_LEN - 4));
        assert_eq!(parse(&dashed), Err(KeyShape::Custom));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261123), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_wrong_character_is_noticed(at in 3usize..KEY_LEN, with in 0usize..62) {
            let key = generate().unwrap();
            let mut bytes = key.clone().into_bytes();
            prop_assume!(bytes[at] != ALPHABET[with]);
            bytes[at] = ALPHABET[with];
            prop_assert_eq!(parse(std::str::from_utf8(&bytes).unwrap()), Err(KeyShape::BadChecksum));
        }

        #[test]
        fn no_text_panics(text in ".{0,100}") {
            let _ = parse(&text);
        }
    }
}

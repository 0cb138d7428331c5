//! What is stored and looked up instead of a key: HMAC-SHA-256 under the installation's pepper.
//!
//! Apart because a digest is the only form in which a key exists after the first microsecond of a call. A key has 256
//! random bits, so a slow hash would add nothing; the pepper makes a stolen database useless without the environment.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// The shortest pepper, in bytes.
pub const MIN_PEPPER: usize = 32;

/// HMAC-SHA-256 of a key.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

/// A text is not 64 hexadecimal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadDigest;

/// A pepper is no hexadecimal number or shorter than [`MIN_PEPPER`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPepper;

/// The HMAC key, with its two block states computed once.
pub struct Pepper(hmac::Key);

impl Digest {
    /// From the bytes of a MAC.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn of_tag(tag: hmac::Tag) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The bytes of the MAC.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Looks at every byte whatever it finds, so that its time says nothing about where two digests differ.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |seen, (a, b)| seen | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    /// A MAC is uniform already: eight of its bytes are as good as any hash of it, and nobody can choose them without
    /// the pepper. The table picks shards by the first byte, so these are others.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let bytes = unhex(text).ok_or(BadDigest)?;
        bytes.try_into().map(Self).map_err(|_| BadDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&hex::digits::<64>(&self.0)).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for BadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key digest is 64 hexadecimal characters")
    }
}

impl fmt::Display for BadPepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pepper must be at least 32 bytes: 64 hexadecimal characters or more")
    }
}

impl std::error::Error for BadDigest {}
impl std::error::Error for BadPepper {}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Pepper {
    /// From raw bytes.
    ///
    /// # Errors
    /// [`BadPepper`] when there are fewer than 32.
    pub fn new(bytes: &[u8]) -> Result<Self, BadPepper> {
        if bytes.len() < MIN_PEPPER {
            return Err(BadPepper);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// From hexadecimal text, as the engine's options carry it.
    ///
    /// # Errors
    /// [`BadPepper`] when it is not hexadecimal or too short.
    pub fn from_hex(text: &str) -> Result<Self, BadPepper> {
        Self::new(&unhex(text).ok_or(BadPepper)?)
    }

    /// The digest of a key.
    #[must_use]
    pub fn digest(&self, key: &[u8]) -> Digest {
        Digest::of_tag(hmac::sign(&self.0, key))
    }

    /// A digest of several texts for another purpose than to stand for a key. Each has its length before it, so that none
    /// can pass for a part of another; a key does not begin with one, so that no digest of a key is among these.
    #[must_use]
    pub fn mac(&self, purpose: &str, texts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for text in [&[purpose.as_bytes()], texts].concat() {
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text);
        }
        Digest::of_tag(context.sign())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_hmac_sha_256() {
        // RFC 4231, test case 6: a key of 131 bytes, longer than a block.
        let pepper = Pepper::new(&[0xaa; 131]).unwrap();
        let digest = pepper.digest(b"Test Using Larger Than Block-Size Key - Hash Key First");
        let text = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert_eq!(text.to_uppercase().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn a_digest_for_another_purpose_is_another() {
        let pepper = Pepper::new(&[7; 32]).unwrap();
        let one = pepper.mac("a", &[b"bc"]);
        assert_eq!(one, pepper.mac("a", &[b"bc"]));
        for other in
            [pepper.mac("ab", &[b"c"]), pepper.mac("a", &[b"b", b"c"]), pepper.digest(b"abc"), pepper.digest(b"bc")]
        {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_short_pepper_is_refused() {
        assert!(Pepper::new(&[1; 31]).is_err());
        assert!(Pepper::new(&[1; 32]).is_ok());
        assert!(Pepper::from_hex(&"ab".repeat(31)).is_err());
        assert!(Pepper::from_hex(&"xy".repeat(40)).is_err());
        assert!(Pepper::from_hex(&"abc".repeat(31)).is_err());
        assert!(Pepper::from_hex(&"ab".repeat(32)).is_ok());
    }

    #[test]
    fn digests_differ_in_any_bit() {
        let base = [7_u8; 32];
        for bit in 0..256 {
            let mut other = base;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Digest(base), Digest(other));
        }
        assert_eq!(Digest(base), Digest(base));
    }

    #[test]
    fn digests_travel_as_64_hexadecimal_characters() {
        let digest = Digest([0xAB; 32]);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{}\"", "ab".repeat(32)));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        for bad in ["\"\"", "\"ab\"", "7"] {
            assert!(serde_json::from_str::<Digest>(bad).is_err());
        }
        assert!(format!("é{}", "a".repeat(62)).parse::<Digest>().is_err());
        assert!("+a".repeat(32).parse::<Digest>().is_err());
    }
}

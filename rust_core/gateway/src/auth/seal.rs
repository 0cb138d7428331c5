//! Secrets at rest: provider keys in the database.
//!
//! AES-256-GCM. Layout: version byte 1, 12-byte random nonce, ciphertext, 16-byte tag. The version byte is
//! authenticated with the caller's data, which names the row and the purpose, so that a ciphertext moved to another
//! place does not open there. Random nonces are safe for far more messages under one key (2^32) than there are rows.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;

/// Why sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// The key is not 32 bytes long.
    KeyLength,
    /// The bytes are no sealed message of a known version.
    Format,
    /// Wrong key, wrong additional data, or the bytes were changed.
    Open,
    /// The operating system gave no random bytes, or the message is too long for the cipher.
    Seal,
}

impl std::fmt::Display for SealError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KeyLength => "the sealing key must be 32 bytes",
            Self::Format => "not a sealed value of a known version",
            Self::Open => "the sealed value does not open: wrong key, wrong row or purpose, or changed bytes",
            Self::Seal => "the value cannot be sealed",
        })
    }
}

impl std::error::Error for SealError {}

/// Encrypt and authenticate `plaintext`; `aad` is authenticated only and must be the same to open.
///
/// # Errors
/// `KeyLength` or `Seal`.
pub fn seal(key: &[u8], plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = cipher(key)?;
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Seal)?;
    let mut body = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound(aad)), &mut body)
        .map_err(|_| SealError::Seal)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut body);
    Ok(sealed)
}

/// The reverse of [`seal`].
///
/// # Errors
/// `KeyLength`, `Format` or `Open`.
pub fn unseal(key: &[u8], sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = cipher(key)?;
    let (version, rest) = sealed.split_first().ok_or(SealError::Format)?;
    if *version != VERSION {
        return Err(SealError::Format);
    }
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Format)?;
    let mut body = body.to_vec();
    let opened = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound(aad)), &mut body)
        .map_err(|_| SealError::Open)?
        .len();
    body.truncate(opened);
    Ok(body)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, SealError> {
    if key.len() != KEY_LEN {
        return Err(SealError::KeyLength);
    }
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| SealError::KeyLength)
}

fn bound(aad: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(1 + aad.len());
    bound.push(VERSION);
    bound.extend_from_slice(aad);
    bound
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const KEY: [u8; 32] = [9; 32];

    #[test]
    fn the_same_text_never_looks_the_same() {
        assert_ne!(seal(&KEY, b"secret", b"row").unwrap(), seal(&KEY, b"secret", b"row").unwrap());
    }

    #[test]
    fn it_opens_only_with_its_key_and_in_its_place() {
        let sealed = seal(&KEY, b"secret", b"row 1").unwrap();
        assert_eq!(sealed.len(), 1 + 12 + 6 + 16);
        assert_eq!(unseal(&KEY, &sealed, b"row 1").unwrap(), b"secret");
        assert_eq!(unseal(&KEY, &sealed, b"row 2"), Err(SealError::Open));
        assert_eq!(unseal(&[8; 32], &sealed, b"row 1"), Err(SealError::Open));
        assert_eq!(unseal(&KEY[..31], &sealed, b"row 1"), Err(SealError::KeyLength));
        assert_eq!(seal(&[0; 33], b"", b""), Err(SealError::KeyLength));
        assert_eq!(unseal(&KEY, b"", b""), Err(SealError::Format));
        assert_eq!(unseal(&KEY, &[1; 5], b""), Err(SealError::Format));
        assert_eq!(unseal(&KEY, &[2; 60], b""), Err(SealError::Format));
        assert_eq!(unseal(&KEY, &[1; 13], b""), Err(SealError::Open));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261124), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_comes_back_and_any_changed_bit_is_noticed(
            text in prop::collection::vec(any::<u8>(), 0..200), aad in prop::collection::vec(any::<u8>(), 0..50), at in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let mut sealed = seal(&KEY, &text, &aad).unwrap();
            prop_assert_eq!(unseal(&KEY, &sealed, &aad).unwrap(), text);
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert!(unseal(&KEY, &sealed, &aad).is_err());
        }
    }
}

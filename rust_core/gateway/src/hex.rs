//! Bytes as hexadecimal text, without a formatter: every call has an id and a key's digest.

/// The digits of `bytes`, two for each; `N` is how many that are.
pub(crate) fn digits<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [b'0'; N];
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    text
}

const fn digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_reads_as_the_formatter_writes_it() {
        for byte in 0..=u8::MAX {
            assert_eq!(digits::<4>(&[byte, !byte]), *format!("{byte:02x}{:02x}", !byte).as_bytes());
        }
    }
}

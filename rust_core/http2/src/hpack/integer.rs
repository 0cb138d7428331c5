//! Integers with a prefix (RFC 7541, section 5.1).

use super::Corrupt;

/// Continuation bytes that a number may have. Nothing that is counted here needs more than 28 bits, and a number may be
/// padded with zeros for ever.
const MOST: u32 = 4;

/// Reads the number whose first byte is `first`, of which the low `bits` belong to it; the rest is taken off `rest`.
#[inline]
pub(crate) fn read(first: u8, bits: u32, rest: &mut &[u8]) -> Result<usize, Corrupt> {
    let most = (1_usize << bits) - 1;
    let n = usize::from(first) & most;
    if n < most { Ok(n) } else { read_long(most, rest) }
}

fn read_long(mut n: usize, rest: &mut &[u8]) -> Result<usize, Corrupt> {
    for place in 0..MOST {
        let (byte, after) = rest.split_first().ok_or(Corrupt)?;
        *rest = after;
        n += usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(Corrupt)
}

/// Writes a number after the bits that `first` has.
#[inline]
pub(crate) fn put(out: &mut impl bytes::BufMut, first: u8, bits: u32, n: usize) {
    let most = (1_usize << bits) - 1;
    if n < most {
        return out.put_u8(first | n as u8);
    }
    out.put_u8(first | most as u8);
    let mut left = n - most;
    while left >= 0x80 {
        out.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    out.put_u8(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(n: usize, bits: u32) -> (Vec<u8>, Result<usize, Corrupt>) {
        let mut out = Vec::new();
        put(&mut out, 0, bits, n);
        let (first, mut rest) = out.split_first().unwrap();
        let read = read(*first, bits, &mut rest);
        assert!(rest.is_empty());
        (out, read)
    }

    #[test]
    fn the_rfc_s_examples() {
        assert_eq!(round(10, 5), (vec![10], Ok(10)));
        assert_eq!(round(1337, 5), (vec![31, 154, 10], Ok(1337)));
        assert_eq!(round(42, 8), (vec![42], Ok(42)));
    }

    #[test]
    fn numbers_around_the_edges_come_back() {
        for bits in 4..=8 {
            for n in (0..400).chain([16_383, 16_384, 65_535, 1 << 20, (1 << 28) - 1]) {
                assert_eq!(round(n, bits).1, Ok(n), "{n} in {bits} bits");
            }
        }
    }

    #[test]
    fn numbers_without_end_and_numbers_too_large_are_refused() {
        for bytes in [&[][..], &[0x80], &[0x80, 0x80, 0x80, 0x80, 0], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
            let mut rest = bytes;
            assert_eq!(read(0x7f, 7, &mut rest), Err(Corrupt), "{bytes:?}");
        }
    }
}

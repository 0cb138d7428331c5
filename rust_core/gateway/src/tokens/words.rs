//! Words of ASCII letters, found 64 bytes at a time.
//!
//! Most pieces of most texts are a space and some letters. The splitters find where they end a
//! character at a time, at the price of a mispredicted branch per word; here it is a few shifts of
//! bit masks. Apart from the splitters because it only proposes: what it does not know for certain
//! (a contraction, a letter beyond ASCII) it leaves to them.

const BLOCK: usize = 64;

/// Classes of the 64 bytes from `base`, as a bit each, the first byte's lowest.
#[derive(Default)]
pub(super) struct Words {
    base: usize,
    /// How many bytes are described; 0 before the first.
    size: usize,
    lower: u64,
    upper: u64,
    /// ASCII that may stand before a word: neither letter, digit nor line end.
    before: u64,
    /// What may make a word longer that so far is ASCII letters: other letters, and an apostrophe.
    open: u64,
}

impl Words {
    /// End of the piece of `o200k_base` that starts at `pos`, if that is a word of ASCII.
    #[inline(always)]
    pub(super) fn o200k(&mut self, text: &[u8], pos: usize) -> Option<usize> {
        self.word(text, pos, |words, from| {
            let rest = words.upper >> from;
            let capitals = rest.trailing_ones();
            let rest = words.lower.checked_shr(from + capitals).unwrap_or(0);
            capitals + rest.trailing_ones()
        })
    }

    /// End of the piece of `cl100k_base` that starts at `pos`, if that is a word of ASCII.
    #[inline(always)]
    pub(super) fn cl100k(&mut self, text: &[u8], pos: usize) -> Option<usize> {
        if text.get(pos) == Some(&b'\'') {
            // Here a contraction is a piece of its own.
            return None;
        }
        self.word(text, pos, |words, from| ((words.lower | words.upper) >> from).trailing_ones())
    }

    #[inline(always)]
    fn word(&mut self, text: &[u8], pos: usize, letters: impl Fn(&Self, u32) -> u32) -> Option<usize> {
        loop {
            let at = pos - self.base;
            if at + 1 < self.size {
                let from = at as u32 + (self.before >> at) as u32 % 2;
                let count = letters(self, from);
                let end = from + count;
                if end < BLOCK as u32 {
                    return (count != 0 && self.open >> end & 1 == 0).then_some(self.base + end as usize);
                }
            }
            if at == 0 && self.size != 0 {
                return None;
            }
            self.read(text, pos);
        }
    }

    #[inline]
    fn read(&mut self, text: &[u8], pos: usize) {
        let rest = text.get(pos..).unwrap_or_default();
        let padded;
        let block = match rest.first_chunk::<BLOCK>() {
            Some(block) => block,
            None => {
                let mut copy = [0; BLOCK];
                for (to, from) in copy.iter_mut().zip(rest) {
                    *to = *from;
                }
                padded = copy;
                &padded
            }
        };
        (self.base, self.size) = (pos, BLOCK);
        let lower = |byte: u8| byte.wrapping_sub(b'a') < 26;
        let upper = |byte: u8| byte.wrapping_sub(b'A') < 26;
        self.lower = mask(block, lower);
        self.upper = mask(block, upper);
        self.open = mask(block, |byte| (byte >= 0x80) | (byte == b'\''));
        let other =
            mask(block, |byte| (byte >= 0x80) | (byte.wrapping_sub(b'0') < 10) | (byte == b'\n') | (byte == b'\r'));
        self.before = !(other | self.lower | self.upper);
    }
}

/// A bit for each byte that is such.
#[inline(always)]
fn mask(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    let flags = block.map(|byte| u8::from(is(byte)));
    let (words, _) = flags.as_chunks::<8>();
    // Eight flags, a byte each, move to the top byte without carries: byte i by 7 - i times 7 bits.
    words
        .iter()
        .rev()
        .fold(0, |mask, word| mask << 8 | u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56)
}

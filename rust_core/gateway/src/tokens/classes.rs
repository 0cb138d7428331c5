//! Which of eight disjoint classes a character belongs to.
//!
//! The two published pre-tokenizer patterns only ever ask for unions of these classes. Apart from
//! the splitters because the table is generated (`build.rs`) from the same Unicode data that a
//! regex engine would use.

/// `Lu`, `Lt`.
pub(super) const UPPER: u8 = 1;
/// `Ll`.
pub(super) const LOWER: u8 = 2;
/// `Lm`, `Lo`: letters without case; both patterns of a word accept them.
pub(super) const CASELESS: u8 = 4;
/// `M`.
pub(super) const MARK: u8 = 8;
/// `N`.
pub(super) const NUMBER: u8 = 16;
/// White space other than `\r` and `\n`.
pub(super) const SPACE: u8 = 32;
/// `\r`, `\n`.
pub(super) const NEWLINE: u8 = 64;
/// Everything else: punctuation, symbols, controls, unassigned.
pub(super) const OTHER: u8 = 128;

/// `\p{L}`.
pub(super) const LETTER: u8 = UPPER | LOWER | CASELESS;
/// `\s`.
pub(super) const WHITE: u8 = SPACE | NEWLINE;

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes"));
const BLOCKS: usize = 0x11_0000 / 256;

static ASCII: [u8; 128] = {
    let mut table = [OTHER; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        let class = match byte {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'0'..=b'9' => NUMBER,
            b'\r' | b'\n' => NEWLINE,
            b' ' | b'\t' | 0x0b | 0x0c => SPACE,
            _ => OTHER,
        };
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[byte as usize] = class;
        }
        byte += 1;
    }
    table
};

/// Class and UTF-8 length of the character that starts at `pos`; `(0, 0)` at the end.
#[inline(always)]
pub(super) fn at(text: &[u8], pos: usize) -> (u8, usize) {
    match text.get(pos) {
        None => (0, 0),
        Some(&byte) => match ASCII.get(usize::from(byte)) {
            Some(&class) => (class, 1),
            None => wide(text, pos, byte),
        },
    }
}

fn wide(text: &[u8], pos: usize, lead: u8) -> (u8, usize) {
    let tail = |i: usize| u32::from(text.get(pos + i).copied().unwrap_or(0) & 0x3f);
    let lead = u32::from(lead);
    let (code, length) = match lead {
        0..0xe0 => ((lead & 0x1f) << 6 | tail(1), 2),
        0xe0..0xf0 => ((lead & 0x0f) << 12 | tail(1) << 6 | tail(2), 3),
        _ => ((lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
    };
    (of(code), length)
}

/// Class of a code point.
pub(super) fn of(code: u32) -> u8 {
    let code = code as usize;
    let block = TABLE.get(code >> 8).copied().map_or(0, usize::from);
    TABLE.get(BLOCKS + block * 256 + (code & 0xff)).copied().unwrap_or(OTHER)
}

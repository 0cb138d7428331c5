//! HPACK (RFC 7541): how header fields travel, each direction with a table of what was said before.

mod decode;
mod encode;
mod huffman;
mod integer;
mod table;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

/// A header block that cannot be decoded, after which nobody knows what the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrupt;

#[cfg(test)]
mod tests;

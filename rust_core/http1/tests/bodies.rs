//! Bodies: lengths, chunks, trailers, and their ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use bytes::BytesMut;
use penstock_http1::{BodyDecoder, Decoded, Framing, FramingError, put_chunk, put_last_chunk};

/// The body and what is left, or the error, of a whole buffer: the same by pieces and collected.
fn decode(framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), FramingError> {
    let by_pieces = pieces(framing, bytes);
    let (mut buf, mut body) = (BytesMut::from(bytes), BytesMut::new());
    let collected = BodyDecoder::new(framing)
        .decode_into(&mut buf, &mut body)
        .map(|whole| (body.to_vec(), whole.then(|| buf.to_vec())));
    assert_eq!(by_pieces, collected);
    by_pieces
}

fn pieces(framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), FramingError> {
    let mut buf = BytesMut::from(bytes);
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    loop {
        match decoder.decode(&mut buf)? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::NeedMore => return Ok((body, None)),
            Decoded::End => return Ok((body, Some(buf.to_vec()))),
        }
    }
}

fn chunked(bytes: impl AsRef<[u8]>) -> Result<(Vec<u8>, Option<Vec<u8>>), FramingError> {
    decode(Framing::Chunked, bytes.as_ref())
}

#[test]
fn a_length_takes_so_much_and_no_more() {
    assert_eq!(decode(Framing::Length(3), b"abcd"), Ok((b"abc".to_vec(), Some(b"d".to_vec()))));
    assert_eq!(decode(Framing::Length(3), b"ab"), Ok((b"ab".to_vec(), None)));
    assert_eq!(decode(Framing::Length(0), b"x"), Ok((vec![], Some(b"x".to_vec()))));
    assert_eq!(decode(Framing::None, b"x"), Ok((vec![], Some(b"x".to_vec()))));
    assert_eq!(decode(Framing::UntilClose, b"abc"), Ok((b"abc".to_vec(), None)));
}

#[test]
fn chunks_extensions_and_trailers() {
    let whole = "3\r\nabc\r\n00A ; x=\"y\"\r\n0123456789\r\n0;last\r\nT: v\r\nU: w\r\n\r\nGET";
    assert_eq!(chunked(whole), Ok((b"abc0123456789".to_vec(), Some(b"GET".to_vec()))));
    assert_eq!(chunked("0\r\n\r\n"), Ok((vec![], Some(vec![]))));
    let mut out = BytesMut::new();
    for size in [1, 15, 16, 255, 256, 70_000] {
        put_chunk(&mut out, &vec![b'z'; size]);
    }
    put_chunk(&mut out, b"");
    put_last_chunk(&mut out);
    assert_eq!(chunked(&out), Ok((vec![b'z'; 1 + 15 + 16 + 255 + 256 + 70_000], Some(vec![]))));
}

#[test]
fn malformed_chunks() {
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1100));
    for bad in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\na",
        "1 \r\na",
        "1\na",
        "1x\r\na",
        "1;\0\r\na",
        "1\r\r\na",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\rx",
        "1\r\naxx",
        "ffffffffffffffff\r\n",
        "1000000000000000\r\n",
        &long_extension,
        &"1".repeat(2000),
    ] {
        assert_eq!(chunked(bad), Err(FramingError::Chunk), "{bad:?}");
    }
}

#[test]
fn malformed_and_oversized_trailers() {
    for bad in ["0\r\n\n", "0\r\na: b\n\r\n", "0\r\na: b\r\n\n", "0\r\na\rb\r\n\r\n", "0\r\n\r\r\n\r\n"] {
        assert_eq!(chunked(bad), Err(FramingError::BareLineEnd), "{bad:?}");
    }
    assert_eq!(chunked(format!("0\r\na: {}", "b".repeat(17_000))), Err(FramingError::TrailersTooLarge));
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(3000));
    assert_eq!(chunked(many), Err(FramingError::TrailersTooLarge));
}

#[test]
fn trailers_at_the_limit_do_not_depend_on_the_reads() {
    let most = 16 * 1024;
    for first in most - 3..=most + 1 {
        let text = format!("0\r\n{}\r\n\r\n", "a".repeat(first - 1));
        let whole = chunked(&text).map(|_| ());
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut buf = BytesMut::new();
        let mut byte_by_byte = Ok(());
        for byte in text.bytes() {
            buf.extend_from_slice(&[byte]);
            if let Err(e) = decoder.decode(&mut buf) {
                byte_by_byte = Err(e);
                break;
            }
        }
        assert_eq!(whole, byte_by_byte, "{first}");
        assert_eq!(byte_by_byte.is_ok(), decoder.is_done(), "{first}");
    }
}

#[test]
fn the_peer_s_close_ends_only_what_it_delimits() {
    for (framing, bytes, fine) in [
        (Framing::UntilClose, "abc", true),
        (Framing::None, "", true),
        (Framing::Length(3), "abc", true),
        (Framing::Length(3), "ab", false),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n\r\n", true),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n", false),
        (Framing::Chunked, "3\r\nabc\r\n", false),
        (Framing::Chunked, "", false),
    ] {
        let mut decoder = BodyDecoder::new(framing);
        let mut buf = BytesMut::from(bytes);
        while let Decoded::Data(_) = decoder.decode(&mut buf).unwrap() {}
        let expected = if fine { Ok(()) } else { Err(FramingError::UnexpectedEof) };
        assert_eq!(decoder.eof(), expected, "{framing:?} {bytes:?}");
        assert_eq!(decoder.is_done(), fine);
    }
}

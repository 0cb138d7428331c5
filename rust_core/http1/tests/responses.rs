//! Response heads, and messages read from a stream.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use bytes::BytesMut;
use penstock_http1::{
    BodyDecoder, Conn, Framing, FramingError, HeadersBuilder, Limits, ResponseHead, parse_response, reason,
};
use tokio::io::AsyncWriteExt;

fn parse(text: &str, head_request: bool) -> Result<ResponseHead, FramingError> {
    parse_response(&mut BytesMut::from(text), &Limits::default(), head_request).map(Option::unwrap)
}

#[test]
fn how_a_response_s_body_ends() {
    let framing = |text: &str| parse(text, false).map(|h| (h.framing, h.keep_alive));
    assert_eq!(framing("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), Ok((Framing::Length(5), true)));
    assert_eq!(framing("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n"), Ok((Framing::Chunked, true)));
    assert_eq!(framing("HTTP/1.1 200 \r\n\r\n"), Ok((Framing::UntilClose, false)));
    assert_eq!(framing("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n"), Ok((Framing::Length(1), false)));
    for bodiless in ["204 No Content", "304 Not Modified", "100 Continue", "103 Early Hints"] {
        assert_eq!(framing(&format!("HTTP/1.1 {bodiless}\r\ncontent-length: 5\r\n\r\n")), Ok((Framing::None, true)));
    }
    assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true).unwrap().framing, Framing::None);
}

#[test]
fn malformed_responses() {
    for line in [
        "HTTP/2 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1  200",
        "200 OK",
        "HTTP/1.1 2x0 OK",
    ] {
        assert_eq!(parse(&format!("{line}\r\n\r\n"), false).unwrap_err(), FramingError::StartLine, "{line}");
    }
    let refused = |text: &str| parse(text, false).unwrap_err();
    assert_eq!(refused("HTTP/1.1 200 OK\rXa: b\r\n\r\n"), FramingError::BareLineEnd);
    assert_eq!(refused("HTTP/1.1 200 OK\n\n"), FramingError::BareLineEnd);
    assert_eq!(
        refused("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        FramingError::LengthAndEncoding
    );
    assert_eq!(refused("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"), FramingError::TransferEncoding);
    assert_eq!(refused("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"), FramingError::ObsFold);
}

#[tokio::test(flavor = "current_thread")]
async fn messages_follow_each_other_on_a_connection() {
    let (mut far, near) = tokio::io::duplex(16);
    let writer = async move {
        far.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await
            .unwrap();
        far.write_all(b"GET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3").await.unwrap();
    };
    let reader = async move {
        let mut conn = Conn::new(near);
        let first = conn.read_request(&Limits::default()).await.unwrap().unwrap().unwrap();
        let mut decoder = BodyDecoder::new(first.framing);
        let mut body = Vec::new();
        while let Some(piece) = conn.read_body(&mut decoder).await.unwrap().unwrap() {
            body.extend_from_slice(&piece);
        }
        assert_eq!(body, b"abc");
        let second = conn.read_request(&Limits::default()).await.unwrap().unwrap().unwrap();
        assert_eq!(second.target, "/2");
        let cut = conn.read_request(&Limits::default()).await.unwrap();
        assert_eq!(cut.unwrap_err(), FramingError::UnexpectedEof);
    };
    tokio::join!(writer, reader);
}

#[tokio::test(flavor = "current_thread")]
async fn a_close_between_messages_is_no_error() {
    let (far, near) = tokio::io::duplex(16);
    drop(far);
    let mut conn = Conn::new(near);
    assert!(conn.read_request(&Limits::default()).await.unwrap().unwrap().is_none());
    assert!(conn.read_response(&Limits::default(), false).await.unwrap().unwrap().is_none());
}

#[test]
fn built_fields_are_vetted() {
    let mut builder = HeadersBuilder::default();
    builder.push(b"a", b"b").unwrap();
    assert_eq!(builder.push(b"a b", b"c"), Err(FramingError::HeaderName));
    assert_eq!(builder.push(b"a", b"c\r\nx: y"), Err(FramingError::HeaderValue));
    let headers = builder.build();
    assert_eq!((headers.len(), headers.get_str("A")), (1, Some("b")));
    assert_eq!((reason(429), reason(599)), ("Too Many Requests", "Unknown"));
}

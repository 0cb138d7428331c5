//! Request heads: what is read, and one test per reason to refuse.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use bytes::BytesMut;
use penstock_http1::{Framing, FramingError, Limits, RequestHead, Version, parse_request};

fn parse(text: impl AsRef<[u8]>) -> Result<Option<RequestHead>, FramingError> {
    parse_request(&mut BytesMut::from(text.as_ref()), &Limits::default())
}

fn read(text: impl AsRef<[u8]>) -> RequestHead {
    parse(text).unwrap().unwrap()
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, error: FramingError) {
    assert_eq!(parse(text.as_ref()).err(), Some(error), "{:?}", String::from_utf8_lossy(text.as_ref()));
}

#[test]
fn a_head_is_taken_off_the_buffer_and_the_rest_stays() {
    let mut buf =
        BytesMut::from("\r\n\r\nPOST /a?b=c HTTP/1.1\r\nHost: h:1\r\nX-Y:\t v \t\r\ncontent-length: 3\r\n\r\nabcGET");
    let head = parse_request(&mut buf, &Limits::default()).unwrap().unwrap();
    assert_eq!((&head.method[..], &head.target[..], head.version), (&b"POST"[..], &b"/a?b=c"[..], Version::Http11));
    assert_eq!(head.headers.get("x-y"), Some(&b"v"[..]));
    assert_eq!(head.headers.iter().next().unwrap(), (&b"Host"[..], &b"h:1"[..]), "names keep their case");
    assert_eq!(head.framing, Framing::Length(3));
    assert!(head.keep_alive && !head.expect_continue && !head.upgrade);
    assert_eq!(&buf[..], b"abcGET");
}

#[test]
fn incomplete_heads_wait() {
    for part in [
        "",
        "\r",
        "\r\n",
        "GET",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r",
    ] {
        assert!(parse(part).unwrap().is_none(), "{part:?}");
    }
}

#[test]
fn what_fields_say_of_the_connection() {
    assert!(!read("GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\n").keep_alive);
    assert!(!read("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(read("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").keep_alive);
    assert!(read("PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n\r\n").expect_continue);
    assert!(!read("PUT / HTTP/1.0\r\nexpect: 100-continue\r\n\r\n").expect_continue);
    assert!(read("GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n").upgrade);
    assert!(!read("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n").upgrade);
}

#[test]
fn target_forms() {
    let target = |line: &str| parse(format!("{line}\r\nhost: a:8\r\n\r\n")).map(|h| h.unwrap().target);
    assert_eq!(target("OPTIONS * HTTP/1.1").unwrap(), "*");
    assert_eq!(target("GET http://A:8/x?y HTTP/1.1").unwrap(), "/x?y");
    assert_eq!(target("GET HTTPS://a:8 HTTP/1.1").unwrap(), "/");
    for other in ["http://b:8/", "http://a/", "http://u@a:8/", "https://a:80/", "http:///x"] {
        assert_eq!(target(&format!("GET {other} HTTP/1.1")).unwrap_err(), FramingError::AuthorityMismatch, "{other}");
    }
    for bad in ["*", "a:8", "x", "ftp://a:8/", "http://a:8?x"] {
        assert_eq!(target(&format!("GET {bad} HTTP/1.1")).unwrap_err(), FramingError::Target, "{bad}");
    }
    assert_eq!(target("CONNECT a:8 HTTP/1.1").unwrap_err(), FramingError::Target);
    refused(b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n", FramingError::Target);
    refused(b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", FramingError::Target);
    refused("GET http://a/ HTTP/1.0\r\n\r\n", FramingError::AuthorityMismatch);
}

#[test]
fn line_ends() {
    refused("GET / HTTP/1.1\nhost: a\r\n\r\n", FramingError::BareLineEnd);
    refused("GET / HTTP/1.1\r\nhost: a\n\r\n", FramingError::BareLineEnd);
    refused("GET / HTTP/1.1\r\nhost: a\r\n\n", FramingError::BareLineEnd);
    refused("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", FramingError::BareLineEnd);
    refused("GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n", FramingError::BareLineEnd);
    // CR and any byte must not pass for the line end after the request line.
    refused("GET / HTTP/1.1\rXhost: a\r\n\r\n", FramingError::BareLineEnd);
    refused("GET / HTTP/1.1\r\r\nhost: a\r\n\r\n", FramingError::BareLineEnd);
}

#[test]
fn request_lines() {
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        " GET / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET / x HTTP/1.1",
    ] {
        let error = parse(format!("{line}\r\nhost: a\r\n\r\n")).unwrap_err();
        assert!(matches!(error, FramingError::StartLine | FramingError::Target), "{line:?}: {error:?}");
    }
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11"] {
        refused(format!("GET / {version}\r\nhost: a\r\n\r\n"), FramingError::Version);
    }
}

#[test]
fn header_names_values_and_folds() {
    for name in ["x ", " x", "", "x\t", "x(y)", "x\u{e9}"] {
        let error = if name.starts_with(' ') { FramingError::ObsFold } else { FramingError::HeaderName };
        refused(format!("GET / HTTP/1.1\r\nhost: a\r\n{name}: v\r\n\r\n"), error);
    }
    refused("GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", FramingError::HeaderName);
    refused("GET / HTTP/1.1\r\nhost: a\r\nx\0y: v\r\n\r\n", FramingError::HeaderName);
    for control in ["\0", "\u{1}", "\u{b}", "\u{c}", "\u{1f}", "\u{7f}"] {
        refused(format!("GET / HTTP/1.1\r\nhost: a\r\nx: v{control}\r\n\r\n"), FramingError::HeaderValue);
    }
    for fold in [" more", "\tmore", " x: y"] {
        refused(format!("GET / HTTP/1.1\r\nhost: a\r\nx: v\r\n{fold}\r\n\r\n"), FramingError::ObsFold);
    }
    let head = read(b"GET / HTTP/1.1\r\nhost: a\r\nx: \xff\tz\r\ny:\r\n\r\n");
    assert_eq!((head.headers.get("x"), head.headers.get("y")), (Some(&b"\xff\tz"[..]), Some(&b""[..])));
}

#[test]
fn hosts() {
    refused("GET / HTTP/1.1\r\n\r\n", FramingError::HostMissing);
    refused("GET / HTTP/1.1\r\nhost: a\r\nHOST: a\r\n\r\n", FramingError::HostRepeated);
    refused("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", FramingError::HostRepeated);
    for bad in ["", "a b", "a,b", "a/b", "u@a", "a:b", "a:123456", "[::1", "[]", "[::1]x", "[g::]", ":80", "a:1:2"] {
        refused(format!("GET / HTTP/1.1\r\nhost: {bad}\r\n\r\n"), FramingError::HostInvalid);
    }
    for good in ["a", "a.b-c_d~1%20", "1.2.3.4:80", "[::1]", "[fe80::1.2.3.4]:65535", "a:"] {
        read(format!("GET / HTTP/1.1\r\nhost: {good}\r\n\r\n"));
    }
    read("GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn lengths_and_encodings() {
    let with =
        |fields: &str| parse(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")).map(|h| h.unwrap().framing);
    assert_eq!(with("x: y"), Ok(Framing::None));
    assert_eq!(with("content-length: 0"), Ok(Framing::None));
    assert_eq!(with("content-length: 0012"), Ok(Framing::Length(12)));
    assert_eq!(with("transfer-encoding: Chunked"), Ok(Framing::Chunked));
    for bad in ["", "-1", "+1", "1 2", "1,1", "0x1", "1.0", "9999999999999999999", "\u{661}"] {
        assert_eq!(with(&format!("content-length: {bad}")), Err(FramingError::ContentLength), "{bad:?}");
    }
    assert_eq!(with("content-length: 1\r\ncontent-length: 1"), Err(FramingError::ContentLength));
    for bad in ["gzip", "gzip, chunked", "chunked, chunked", "chunked;q=1", "identity", "", "xchunked"] {
        assert_eq!(with(&format!("transfer-encoding: {bad}")), Err(FramingError::TransferEncoding), "{bad:?}");
    }
    assert_eq!(with("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), Err(FramingError::TransferEncoding));
    for both in ["content-length: 1\r\ntransfer-encoding: chunked", "transfer-encoding: x\r\ncontent-length: x"] {
        assert_eq!(with(both), Err(FramingError::LengthAndEncoding));
    }
    refused("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", FramingError::TransferEncoding);
    refused("POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 1\r\n\r\n", FramingError::HeaderName);
}

#[test]
fn limits_hold_to_the_byte() {
    let head = |filler: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(filler));
    let limits = Limits { head_bytes: head(10).len(), fields: 2 };
    let parse = |text: String| parse_request(&mut BytesMut::from(&text[..]), &limits).map(|h| h.is_some());
    assert_eq!(parse(head(10)), Ok(true));
    assert_eq!(parse(head(11)), Err(FramingError::HeadTooLarge));
    let endless = "GET /".to_owned() + &"a".repeat(limits.head_bytes);
    assert_eq!(parse(endless), Err(FramingError::HeadTooLarge));
    assert_eq!(parse("GET / HTTP/1.1\r\nhost: a\r\na:\r\nb:\r\n\r\n".into()), Err(FramingError::HeadTooLarge));
    let big = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(65_536));
    assert_eq!(self::parse(big).err(), Some(FramingError::HeadTooLarge));
}

#[test]
fn every_error_has_a_status_and_a_sentence() {
    use FramingError as E;
    for error in [
        E::BareLineEnd,
        E::StartLine,
        E::HeaderName,
        E::HeaderValue,
        E::ObsFold,
        E::HostMissing,
        E::HostRepeated,
        E::HostInvalid,
        E::AuthorityMismatch,
        E::Target,
        E::ContentLength,
        E::LengthAndEncoding,
        E::TransferEncoding,
        E::Chunk,
        E::UnexpectedEof,
    ] {
        assert_eq!(error.status(), 400);
        assert_eq!(error.to_string(), error.message());
    }
    assert_eq!([E::HeadTooLarge, E::TrailersTooLarge, E::Version].map(E::status), [431, 431, 505]);
}

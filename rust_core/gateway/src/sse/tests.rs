use proptest::prelude::*;

use super::*;

type Plain = (String, String, Option<String>, Option<u64>);

fn plain(event: &Event) -> Plain {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    (event.name().to_owned(), text(&event.data), event.id.as_ref().map(text), event.retry)
}

/// Events, and the unfinished one, of a stream that arrives in these pieces.
fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Plain>, Option<Plain>) {
    let mut scanner = Scanner::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        scanner.feed(piece);
        while let Some(event) = scanner.next_event().unwrap() {
            events.push(plain(&event));
        }
    }
    (events, scanner.finish().map(|event| plain(&event)))
}

/// The standard's algorithm word for word, on a whole stream, line by line.
fn reference(stream: &str) -> (Vec<Plain>, Option<Plain>) {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut kind, mut data, mut id, mut retry) = (Vec::new(), String::new(), String::new(), None, None);
    let mut lines: Vec<&str> = stream.split('\n').collect();
    let last = lines.pop().unwrap();
    let mut process = |line: &str, kind: &mut String, data: &mut String, events: Option<&mut Vec<Plain>>| {
        let named = |kind: &str| if kind.is_empty() { "message".to_owned() } else { kind.to_owned() };
        if line.is_empty() {
            if let Some(stripped) = data.strip_suffix('\n') {
                let event = (named(kind), stripped.to_owned(), id.take(), retry.take());
                events.unwrap().push(event);
            }
            (id, retry) = (None, None);
            kind.clear();
            data.clear();
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => *kind = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => retry = value.parse().ok().or(retry),
            _ => {}
        }
    };
    for line in lines {
        process(line, &mut kind, &mut data, Some(&mut events));
    }
    // What is left when the stream ends, as if a blank line had come.
    if !last.is_empty() {
        process(last, &mut kind, &mut data, None);
    }
    let mut rest = Vec::new();
    process("", &mut kind, &mut data, Some(&mut rest));
    (events, rest.pop())
}

fn event(name: &str, data: &str) -> Plain {
    (name.to_owned(), data.to_owned(), None, None)
}

#[test]
fn the_standard_by_hand() {
    for (stream, events, rest) in [
        ("data: a\n\n", vec![event("message", "a")], None),
        (
            "data:a\r\n\r\ndata:  b\r\rdata: c\n\n",
            vec![event("message", "a"), event("message", " b"), event("message", "c")],
            None,
        ),
        ("event: x\ndata: 1\ndata: 2\ndata\n\n", vec![event("x", "1\n2\n")], None),
        (": hi\n\ndata\n\n", vec![event("message", "")], None),
        ("event: lost\n\ndata: a\n\n", vec![event("message", "a")], None),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec![event("message", "a")], None),
        ("\u{feff}\n\ndata: a\n\n", vec![event("message", "a")], None),
        ("datax: a\n data: b\ndata : c\n\n", vec![], None),
        ("data: [DONE]", vec![], Some(event("message", "[DONE]"))),
        ("data: a\n\ndata: b\n", vec![event("message", "a")], Some(event("message", "b"))),
        ("data: a\n\r\n\n\n: c", vec![event("message", "a")], None),
        ("", vec![], None),
    ] {
        assert_eq!(scan([stream.as_bytes()]), (events.clone(), rest.clone()), "{stream:?}");
        assert_eq!(scan(stream.as_bytes().chunks(1)), (events.clone(), rest.clone()), "{stream:?} byte by byte");
        assert_eq!(reference(stream), (events, rest), "{stream:?} by the reference");
    }
    let (events, _) = scan([&b"id: 7\nretry: 250\nretry: x\ndata: a\n\n"[..]]);
    assert_eq!(events, [("message".to_owned(), "a".to_owned(), Some("7".to_owned()), Some(250))]);
}

#[test]
fn an_event_is_there_as_soon_as_its_blank_line_is() {
    for blank in ["\n\n", "\r\n\r", "\r\r", "\r\n\r\n"] {
        let mut scanner = Scanner::new(100);
        scanner.feed(format!("data: x{blank}").as_bytes());
        assert!(scanner.next_event().unwrap().is_some(), "{blank:?}");
    }
}

#[test]
fn one_line_of_data_is_not_copied() {
    let mut buffer = BytesMut::from(&b"data: {\"a\":1}\n\ndata: z"[..]);
    let mut frames = Frames::new();
    let frame = frames.next(&mut buffer).unwrap();
    assert_eq!(&frame[..], b"data: {\"a\":1}\n\n");
    assert_eq!(&buffer[..], b"data: z");
    let event = parse(&frame).unwrap();
    assert_eq!(event.data.as_ptr(), frame[6..].as_ptr());
    assert!(frames.next(&mut buffer).is_none());
}

#[test]
fn the_cap_holds_whole_or_not() {
    let stream = format!("data: ok\n\ndata: {}\n\n", "x".repeat(50));
    for size in [1, 3, 1000] {
        let mut scanner = Scanner::new(40);
        let mut seen = 0;
        let failed = stream.as_bytes().chunks(size).any(|piece| {
            scanner.feed(piece);
            loop {
                match scanner.next_event() {
                    Ok(Some(_)) => seen += 1,
                    Ok(None) => return false,
                    Err(error) => return error == TooLarge { limit: 40 },
                }
            }
        });
        assert!(failed && seen == 1);
        scanner.feed(b"data: more\n\n");
        assert_eq!(scanner.next_event(), Err(TooLarge { limit: 40 }));
        assert_eq!(scanner.finish(), None);
    }
}

#[test]
fn a_large_event_in_crumbs_takes_linear_time() {
    let mut scanner = Scanner::new(1 << 24);
    let started = std::time::Instant::now();
    scanner.feed(b"data: ");
    for _ in 0..1 << 20 {
        scanner.feed(b"xxxx");
        assert_eq!(scanner.next_event(), Ok(None));
    }
    scanner.feed(b"\n\n");
    assert_eq!(scanner.next_event().unwrap().unwrap().data.len(), 4 << 20);
    // Quadratic would be hours.
    assert!(started.elapsed().as_secs() < 20);
}

fn any_stream() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "data", "data:", "data: ", "event: e", "id: 1", "id: \0", "retry: 5", "retry: z", ":", " ",
            "\u{feff}", "x", "[DONE]",
        ]).prop_map(str::to_owned),
        1 => "[a-zé: ]{0,6}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_standards_events(stream in any_stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let expected = reference(&stream);
        prop_assert_eq!(scan(pieces.clone()), expected.clone());
        prop_assert_eq!(scan(bytes.chunks(1)), expected);

        let (mut buffer, mut frames, mut joined) = (BytesMut::new(), Frames::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(frame) = frames.next(&mut buffer) {
                joined.extend_from_slice(&frame);
            }
        }
        joined.extend_from_slice(&buffer);
        prop_assert_eq!(joined, bytes);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        scan(bytes.chunks(7));
    }
}

//! The RFC's own examples (appendix C), both directions against each other, and bytes that mean nothing.

use proptest::prelude::*;

use super::huffman::tests::encode as huffman;
use super::*;
use crate::field::Kind;

type Fields = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Corrupt> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |_, name, value| fields.push((text(name), text(value))))?;
    Ok(fields)
}

fn pairs(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

const COMMON: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];

#[test]
fn single_fields() {
    // C.2.1 to C.2.4.
    for (block, name, value) in [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key", "custom-header"),
        ("040c2f73616d706c652f70617468", ":path", "/sample/path"),
        ("100870617373776f726406736563726574", "password", "secret"),
        ("82", ":method", "GET"),
    ] {
        assert_eq!(decoded(&mut Decoder::new(), &hex(block)), Ok(pairs(&[(name, value)])));
    }
}

#[test]
fn requests_one_after_another() {
    // C.3 without and C.4 with Huffman coding.
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    let first = pairs(&COMMON);
    let second = [&first[..], &pairs(&[("cache-control", "no-cache")])].concat();
    let third = pairs(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ]);
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        for (block, fields) in blocks.iter().zip([&first, &second, &third]) {
            assert_eq!(decoded(&mut decoder, &hex(block)).as_ref(), Ok(fields));
        }
    }
}

#[test]
fn answers_that_push_each_other_out_of_the_table() {
    // C.5 and C.6, where the table has 256 bytes; that is said before the first.
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17687474\
         70733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a\
         4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae\
         82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960\
         d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    let date = |second: &str| ("date".to_owned(), format!("Mon, 21 Oct 2013 20:13:{second} GMT"));
    let of = |status: &str, second: &str| {
        let mut fields = pairs(&[(":status", status), ("cache-control", "private")]);
        fields.push(date(second));
        fields.push(("location".to_owned(), "https://www.example.com".to_owned()));
        fields
    };
    let mut third = of("200", "22");
    third.push(("content-encoding".to_owned(), "gzip".to_owned()));
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    third.push(("set-cookie".to_owned(), cookie.to_owned()));
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        for (at, (block, fields)) in blocks.iter().zip([of("302", "21"), of("307", "21"), third.clone()]).enumerate() {
            let size = if at == 0 { hex("3fe101") } else { Vec::new() };
            assert_eq!(decoded(&mut decoder, &[size, hex(block)].concat()), Ok(fields));
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (block, why) in [
        ("80", "index zero"),
        ("be", "an empty table"),
        ("ff80808080808080808001", "an index without end"),
        ("7e01", "a name that is not there"),
        ("00", "no name"),
        ("0001", "half a name"),
        ("000161", "no value"),
        ("00016105616263", "half a value"),
        ("3fe21f", "a table larger than allowed"),
        ("8220", "a size after a field"),
        ("0081ff0161", "padding of a whole byte"),
        ("ff", "half an integer"),
    ] {
        assert_eq!(decoded(&mut Decoder::new(), &hex(block)), Err(Corrupt), "{why}");
    }
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new();
    assert!(decoded(&mut decoder, &hex("4001610162be")).is_ok());
    let large = [hex("400161"), vec![0x7f, 0x81, 0x1f], vec![b'v'; 4096]].concat();
    assert_eq!(decoded(&mut decoder, &large).unwrap()[0].1.len(), 4096);
    assert_eq!(decoded(&mut decoder, &hex("be")), Err(Corrupt));
}

fn encoded(encoder: &mut Encoder, fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    fields.iter().for_each(|(name, value)| encoder.field(&mut out, name.as_bytes(), value.as_bytes()));
    out
}

#[test]
fn what_is_said_again_is_a_byte_and_what_changes_pushes_nothing_out() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut sizes = Vec::new();
    for round in 0..500 {
        let mut fields = pairs(&[("content-type", "application/json"), ("x-model", "one"), ("vary", "origin")]);
        fields.push(("x-call-id".to_owned(), format!("call-{round:08}")));
        fields.push(("set-cookie".to_owned(), "secret".to_owned()));
        let block = encoded(&mut encoder, &fields);
        assert_eq!(decoded(&mut decoder, &block), Ok(fields));
        sizes.push(block.len());
    }
    // A byte each for what is constant, two for the name of what is not.
    let steady = 3 + (2 + 1 + 13) + (2 + 1 + 6);
    assert!(sizes[2..].iter().all(|size| *size <= steady), "{sizes:?}");
}

#[test]
fn names_are_lowered_and_what_is_no_field_of_http_2_is_left_out() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let said = pairs(&[
        ("X-Upper", "1"),
        ("Connection", "close"),
        ("keep-alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("bad name", "v"),
        (":status", "200"),
        ("x-bad", "a\nb"),
        ("x-upper", "1"),
    ]);
    for _ in 0..3 {
        let block = encoded(&mut encoder, &said);
        assert_eq!(decoded(&mut decoder, &block), Ok(pairs(&[("x-upper", "1"), ("x-upper", "1")])));
    }
}

#[test]
fn names_beyond_those_that_are_followed_are_written_out() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for round in 0..300 {
        let fields =
            vec![(format!("X-Made-Up-{round}"), "v".to_owned()), ("connection".to_owned(), "close".to_owned())];
        let block = encoded(&mut encoder, &fields);
        assert_eq!(decoded(&mut decoder, &block), Ok(vec![(format!("x-made-up-{round}"), "v".to_owned())]));
    }
}

#[test]
fn a_peer_that_wants_no_table_gets_none() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let fields = pairs(&[("x-a", "1"), ("x-b", "2")]);
    encoded(&mut encoder, &fields).len();
    decoded(&mut decoder, &encoded(&mut Encoder::new(), &fields)).unwrap();
    encoder.resize(0);
    encoder.resize(100);
    let block = encoded(&mut encoder, &fields);
    // First the least, then the last of the sizes.
    assert_eq!(block[..3], [0x20, 0x3f, 0x45]);
    assert_eq!(decoded(&mut decoder, &block), Ok(fields.clone()));
    encoder.resize(0);
    assert_eq!(decoded(&mut decoder, &encoded(&mut encoder, &fields)), Ok(fields.clone()));
    assert_eq!(decoded(&mut decoder, &encoded(&mut encoder, &fields)), Ok(fields));
    assert_eq!(decoded(&mut decoder, &hex("be")), Err(Corrupt));
}

#[test]
fn a_field_in_the_table_keeps_what_it_is() {
    let mut decoder = Decoder::new();
    let kinds = |decoder: &mut Decoder, block: &[u8]| {
        let mut kinds = Vec::new();
        decoder.decode(block, |kind, _, _| kinds.push(kind)).unwrap();
        kinds
    };
    let bad = [hex("4004"), b"X-Up".to_vec(), hex("0131")].concat();
    assert_eq!(kinds(&mut decoder, &bad), [Kind::Malformed]);
    let length = [hex("5c02"), b"12".to_vec(), hex("5c01"), b"x".to_vec()].concat();
    assert_eq!(kinds(&mut decoder, &length), [Kind::Length, Kind::Malformed]);
    // A name whose value was wrong may come again with one that is right.
    assert_eq!(
        kinds(&mut decoder, &[&hex("bebfc00f2f01")[..], b"7"].concat())[..3],
        [Kind::Malformed, Kind::Length, Kind::Malformed]
    );
    assert_eq!(kinds(&mut decoder, &[&hex("7e01")[..], b"7"].concat()), [Kind::Length]);
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "x-[a-f]",
        2 => prop::sample::select(vec!["content-type", "vary", "date", "set-cookie", "grpc-status"]).prop_map(str::to_owned),
        1 => "[a-z][a-z0-9-]{0,40}",
    ]
}

proptest! {
    #[test]
    fn whatever_is_encoded_comes_back(
        blocks in prop::collection::vec(
            (prop::option::weighted(0.2, 0_usize..6000), prop::collection::vec((name(), "[ -~]{0,3}|[ -~]{0,300}"), 0..20)),
            1..40,
        )
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for (resized, fields) in blocks {
            if let Some(size) = resized {
                encoder.resize(size);
            }
            let said: Fields = fields.into_iter().collect();
            let heard = decoded(&mut decoder, &encoded(&mut encoder, &said));
            let is_said = |name: &str| !["connection", "keep-alive", "upgrade"].contains(&name);
            let expected: Fields = said.into_iter().filter(|(name, _)| is_said(name)).collect();
            prop_assert_eq!(heard, Ok(expected));
        }
    }

    #[test]
    fn no_bytes_break_the_decoder(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..10)) {
        let mut decoder = Decoder::new();
        for block in blocks {
            if decoded(&mut decoder, &block).is_err() {
                break;
            }
        }
    }

    #[test]
    fn coded_strings_are_read_like_plain_ones(name in "[a-z-]{1,20}", value in "[ -~]{0,60}") {
        let mut block = vec![0x40];
        for text in [&name, &value] {
            let coded = huffman(text.as_bytes());
            super::integer::put(&mut block, 0x80, 7, coded.len());
            block.extend_from_slice(&coded);
        }
        block.push(0xbe);
        let field = (name, value);
        prop_assert_eq!(decoded(&mut Decoder::new(), &block), Ok(vec![field.clone(), field]));
    }
}

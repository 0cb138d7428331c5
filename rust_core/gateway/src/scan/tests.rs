use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::json;

use super::*;

const CHAT: &str = r#" {"model": "gpt-4o", "messages":[{"role":"user","content":"caf\u00e9 \"x\" {}"}],
 "stream":true, "stream_options":{"include_usage":false,"x":[1, 2]}, "max_tokens": 7, "user":"u-1", "zz":{"a":[{}]} } "#;

fn kind(body: &str) -> ScanError {
    object(body.as_bytes()).unwrap_err()
}

/// What an independent parser says: a JSON object and nothing else.
fn reference(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    serde_json::from_str::<IgnoredAny>(text).is_ok() && text.trim_start().starts_with('{')
}

/// Verdict on well-formedness alone.
fn accepts(body: &[u8]) -> bool {
    !matches!(
        object(body),
        Err(ScanError::NotJson { .. } | ScanError::NotObject | ScanError::InvalidUtf8 { .. } | ScanError::TooDeep)
    )
}

#[test]
fn finds_what_the_hot_path_needs() {
    let body = object(CHAT.as_bytes()).unwrap();
    assert_eq!(body.model_str().unwrap(), "gpt-4o");
    assert!(body.stream);
    assert_eq!(body.include_usage, Some(false));
    assert_eq!(body.max_tokens, Some(7));
    assert_eq!(body.n, 1);
    assert_eq!(body.user_str().as_deref(), Some("u-1"));
    assert_eq!(body.messages.unwrap().of(CHAT.as_bytes()), br#"[{"role":"user","content":"caf\u00e9 \"x\" {}"}]"#);
    let names: Vec<&[u8]> = body.members().iter().map(|member| member.key.of(CHAT.as_bytes())).collect();
    assert_eq!(
        names,
        [&b"model"[..], b"messages", b"stream", b"stream_options", b"max_tokens", b"user", b"zz"].as_slice()
    );
    assert_eq!(body.get("zz").unwrap().text(), br#"{"a":[{}]}"#);
}

#[test]
fn the_strongest_output_bound_wins() {
    let bound = |text: &str| object(text.as_bytes()).unwrap().max_tokens;
    assert_eq!(bound(r#"{"max_tokens":1,"max_completion_tokens":2}"#), Some(2));
    assert_eq!(bound(r#"{"max_completion_tokens":null,"max_tokens":1}"#), Some(1));
    assert_eq!(bound(r#"{"max_output_tokens":3}"#), Some(3));
    assert_eq!(bound(r#"{"max_tokens":null}"#), None);
    for unusable in ["-1", "1.5", "\"1\"", "[]"] {
        assert_eq!(bound(&format!(r#"{{"max_tokens":{unusable}}}"#)), None);
        assert_eq!(object(format!(r#"{{"n":{unusable}}}"#).as_bytes()).unwrap().n, 1);
    }
}

#[test]
fn null_counts_as_absent() {
    let body =
        object(br#"{"model":null,"stream":null,"n":null,"stream_options":null,"user":null,"messages":null}"#).unwrap();
    assert!(body.model.is_none() && !body.stream && body.n == 1 && body.messages.is_none());
    assert!(body.stream_options.is_none() && body.user.is_none());
}

#[test]
fn a_member_we_act_on_may_not_appear_twice() {
    for name in KNOWN {
        let text = format!(r#"{{"{name}":null,"x":1,"{name}":null}}"#);
        assert_eq!(kind(&text), ScanError::DuplicateKey { name });
    }
    assert_eq!(kind(r#"{"model":"a","mod\u0065l":"b"}"#), ScanError::DuplicateKey { name: "model" });
    assert!(object(br#"{"x":1,"x":2}"#).is_ok());
    let twice = r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#;
    assert_eq!(kind(twice), ScanError::DuplicateKey { name: "stream_options.include_usage" });
}

#[test]
fn an_escaped_name_is_the_same_name() {
    assert_eq!(object(br#"{"mod\u0065l":"m","s\u0074ream":true}"#).unwrap().model_str().unwrap(), "m");
}

#[test]
fn wrong_types_are_named() {
    for (text, field) in [
        (r#"{"model":1}"#, "model"),
        (r#"{"model":["a"]}"#, "model"),
        (r#"{"stream":"true"}"#, "stream"),
        (r#"{"stream":1}"#, "stream"),
        (r#"{"stream_options":[]}"#, "stream_options"),
        (r#"{"stream_options":{"include_usage":1}}"#, "stream_options.include_usage"),
    ] {
        let error = kind(text);
        assert!(matches!(&error, ScanError::WrongType { field: wrong, .. } if *wrong == field), "{text}: {error}");
        assert!(error.to_string().contains(field));
        assert_eq!(error.param(), Some(field));
    }
}

#[test]
fn verdicts_by_hand() {
    for text in [
        "{}",
        " {\n} ",
        r#"{"":0}"#,
        r#"{"a":-0.5e+10}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\u0000\/\b"}"#,
        "{\"a\":\"\u{7f}\"}",
        r#"{"a":[[],{},[{}],"",0,true,false,null]}"#,
    ] {
        assert!(object(text.as_bytes()).is_ok(), "{text}");
    }
    for text in [
        "",
        " ",
        "{",
        "}",
        "{]",
        "[1,]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1 "b":2}"#,
        "{}{}",
        "{} x",
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":tru}"#,
        r#"{"a":truex}"#,
        r#"{"a":NaN}"#,
        r#"{'a':1}"#,
        r#"{a:1}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\u12"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{0}\"}",
        r#"{"a":"b}"#,
        r#"{"a":[1}"#,
        r#"{"a":{"b":1]}"#,
        "{\"a\":1\u{a0}}",
        "\u{feff}{}",
        r#"{"a":/* */1}"#,
    ] {
        assert!(
            matches!(object(text.as_bytes()), Err(ScanError::NotJson { .. })),
            "{text}: {:?}",
            object(text.as_bytes())
        );
    }
    for text in ["[]", "1", "\"{}\"", "null", " [{}] "] {
        assert_eq!(kind(text), ScanError::NotObject);
    }
    assert_eq!(object(b"{\"a\":\"\xff\"}").unwrap_err(), ScanError::InvalidUtf8 { offset: 6 });
    assert_eq!(kind(r#"{"a" 1}"#).to_string(), "the request body is not valid JSON: expected ':' at byte 5");
}

#[test]
fn control_characters_are_found_at_every_place_of_a_long_string() {
    for length in [0, 1, 7, 8, 9, 31, 32, 33, 70] {
        for at in 0..=length {
            for bad in [0_u8, 0x1f, b'\n'] {
                let mut text = vec![b'x'; length];
                text.insert(at, bad);
                let body = [b"{\"a\":\"", &text[..], b"\"}"].concat();
                assert!(matches!(object(&body), Err(ScanError::NotJson { offset, .. }) if offset == 6 + at));
            }
            let mut text = "é".repeat(length);
            text.push_str("\\\"\\\\");
            assert!(object(format!("{{\"a\":\"{text}\"}}").as_bytes()).is_ok());
        }
    }
}

#[test]
fn nesting_is_capped_without_recursion() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(object(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert_eq!(kind(&nested(MAX_DEPTH)), ScanError::TooDeep);
    assert_eq!(kind(&"{\"a\":".repeat(5_000_000)), ScanError::TooDeep);
    let mixed = format!("{}1{}", "{\"a\":[".repeat(MAX_DEPTH / 2), "]}".repeat(MAX_DEPTH / 2));
    assert!(object(mixed.as_bytes()).is_ok());
}

#[test]
fn surrogates() {
    for (raw, text) in [
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00x", "\u{fffd}x"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"a\u00e9\\\/\t", "aé\\/\t"),
        ("", ""),
        ("plain é", "plain é"),
    ] {
        assert_eq!(unescape(raw.as_bytes()), text, "{raw}");
    }
    assert!(matches!(unescape(b"plain"), Cow::Borrowed(_)));
}

#[test]
fn strings_are_the_values_and_not_the_names() {
    let text = br#"{"a":"b","c" : ["d",{"e":"f\"g"},1,"h" ],"i":{"j":{"k":""}}}"#;
    let found: Vec<&[u8]> = strings(text).map(|span| span.of(text)).collect();
    assert_eq!(found, [&b"b"[..], b"d", b"f\\\"g", b"h", b""].as_slice());
}

#[test]
fn edits_by_hand() {
    let edit = |text: &str, change: &dyn Fn(&mut Edit<'_>)| {
        let body = object(text.as_bytes()).unwrap();
        let mut edit = body.edit();
        change(&mut edit);
        String::from_utf8(edit.apply()).unwrap()
    };
    let text = r#" { "model" : "a" , "b":1,"c" :[ "x" ] } "#;
    assert_eq!(edit(text, &|_| {}), text);
    assert_eq!(
        edit(text, &|e| {
            e.set_raw("model", br#""zz""#);
        }),
        r#" { "model" : "zz" , "b":1,"c" :[ "x" ] } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.set_raw("d", b"4");
        }),
        r#" { "model" : "a" , "b":1,"c" :[ "x" ],"d":4 } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.remove("model");
        }),
        r#" { "b":1,"c" :[ "x" ] } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.remove("b");
        }),
        r#" { "model" : "a","c" :[ "x" ] } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.remove("c");
        }),
        r#" { "model" : "a" , "b":1 } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.remove("c").remove("model").remove("b");
        }),
        " {  } "
    );
    assert_eq!(
        edit(text, &|e| {
            e.remove("c").remove("model").remove("b").set_raw("n", b"2");
        }),
        r#" { "n":2 } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.remove("b").set_raw("b", b"9");
        }),
        r#" { "model" : "a" , "b":9,"c" :[ "x" ] } "#
    );
    assert_eq!(
        edit("{}", &|e| {
            e.set_raw("a\"b", b"1").set_raw("c", b"2").set_raw("c", b"3");
        }),
        r#"{"a\"b":1,"c":3}"#
    );
    assert_eq!(
        edit(r#"{"a":null,"b":1}"#, &|e| {
            e.set_default_raw("a", b"5").set_default_raw("b", b"6").set_default_raw("c", b"7");
        }),
        r#"{"a":5,"b":1,"c":7}"#
    );
    let at = text.find("\"x\"").unwrap();
    assert_eq!(
        edit(text, &|e| {
            e.splice(Span { start: at, end: at + 3 }, b"\"yy\"");
        }),
        r#" { "model" : "a" , "b":1,"c" :[ "yy" ] } "#
    );
    assert_eq!(
        edit(text, &|e| {
            e.splice(Span { start: at, end: at + 3 }, b"1").set_raw("c", b"[]");
        }),
        r#" { "model" : "a" , "b":1,"c" :[] } "#
    );
    assert_eq!(
        edit(r#"{"a":1,"stream_options":{"x":2}}"#, &|e| {
            e.include_usage();
        }),
        r#"{"a":1,"stream_options":{"x":2,"include_usage":true}}"#
    );
    assert_eq!(
        edit(r#"{"stream_options":{"include_usage" : false ,"x":2}}"#, &|e| {
            e.include_usage();
        }),
        r#"{"stream_options":{"include_usage" : true ,"x":2}}"#
    );
    assert_eq!(
        edit(r#"{"stream_options":null}"#, &|e| {
            e.include_usage();
        }),
        r#"{"stream_options":{"include_usage":true}}"#
    );
    assert_eq!(
        edit(r#"{"a":1}"#, &|e| {
            e.include_usage();
        }),
        r#"{"a":1,"stream_options":{"include_usage":true}}"#
    );
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".*".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

fn any_object() -> impl Strategy<Value = BTreeMap<String, serde_json::Value>> {
    let name = prop_oneof!["[a-h]", "[A-Zé\"\\\\\u{1} 😀]{0,3}", Just("messages".to_owned()), Just("tools".to_owned())];
    prop::collection::btree_map(name, any_json(), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_was_written(members in any_object(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&members) } else { serde_json::to_vec(&members) }.unwrap();
        let body = object(&text).unwrap();
        prop_assert_eq!(body.members().len(), members.len());
        for (member, (name, value)) in body.members().iter().zip(&members) {
            prop_assert!(member.is(&text, name));
            let read: serde_json::Value = serde_json::from_slice(member.value.of(&text)).unwrap();
            prop_assert_eq!(&read, &serde_json::from_str::<serde_json::Value>(&value.to_string()).unwrap());
            let inner = Value::new(member.value.of(&text));
            if let Some(string) = value.as_str() {
                prop_assert_eq!(inner.as_str().unwrap(), string);
            }
            prop_assert_eq!(inner.items().count(), value.as_array().map_or(0, Vec::len));
            prop_assert_eq!(inner.members().count(), value.as_object().map_or(0, serde_json::Map::len));
        }
    }

    #[test]
    fn untouched_bytes_are_copied(members in any_object(), which in any::<prop::sample::Index>(), pretty in any::<bool>()) {
        prop_assume!(!members.is_empty());
        let text = if pretty { serde_json::to_vec_pretty(&members) } else { serde_json::to_vec(&members) }.unwrap();
        let body = object(&text).unwrap();
        let name = members.keys().nth(which.index(members.len())).unwrap().clone();
        let span = body.members()[which.index(members.len())].value;

        let mut edit = body.edit();
        edit.set_raw(&name, b"\"new\"");
        let expected = [&text[..span.start], b"\"new\"", &text[span.end..]].concat();
        prop_assert_eq!(edit.apply(), &expected[..]);
        let whole = bytes::Bytes::from(text.clone());
        let body = object(&whole).unwrap();
        let mut edit = body.edit();
        edit.set_raw(&name, b"\"new\"");
        for large in [1, 8, usize::MAX] {
            prop_assert_eq!(edit.pieces(&whole, large).concat(), &expected[..]);
        }

        let mut edit = body.edit();
        edit.remove(&name).set_raw("\u{1}added", b"[1]");
        let edited: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&edit.apply()).unwrap();
        let mut wanted: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
        wanted.remove(&name);
        wanted.insert("\u{1}added".to_owned(), json!([1]));
        prop_assert_eq!(edited, wanted);
    }

    #[test]
    fn unescape_agrees_with_serde(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(unescape(&json.as_bytes()[1..json.len() - 1]), text);
    }

    #[test]
    fn any_bytes_get_the_reference_verdict(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert_eq!(accepts(&bytes), reference(&bytes));
    }
}

/// A fuzzer small enough for every test run: well-formed bodies, mutated; the verdict must be that of another parser.
#[test]
fn mutated_bodies_get_the_reference_verdict() {
    let seeds = [
        CHAT.as_bytes(),
        br#"{"a":[1,-2.5e3,true,false,null,"x\u00e9\ud83d\ude00\\\"\n",{"b":{}},[]],"model":"m"}"#,
        "{\"é漢😀\":\"é漢😀 and some more text that is longer than one window of the string scan\",\"n\":1}".as_bytes(),
    ];
    let tokens: [&[u8]; 22] = [
        b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b"\\u", b"\\ud800", b"0", b"-", b".", b"e+", b"true",
        b"null", b" ", b"\n", b"\0", b"\x1f", b"\xc3", b"\xff",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (started, mut accepted, mut rejected) = (Instant::now(), 0, 0);
    while accepted + rejected < 100_000 && started.elapsed() < Duration::from_secs(5) {
        let mut body = seeds[random(seeds.len())].to_vec();
        for _ in 0..=random(3) {
            let at = random(body.len() + 1);
            let end = (at + random(5)).min(body.len());
            match random(4) {
                0 => drop(body.drain(at..end)),
                1 => drop(body.splice(at..at, tokens[random(tokens.len())].iter().copied())),
                2 => drop(body.splice(at..end, tokens[random(tokens.len())].iter().copied())),
                _ => {
                    let copy = body[at..end].to_vec();
                    let to = random(body.len() + 1);
                    body.splice(to..to, copy);
                }
            }
        }
        assert_eq!(accepts(&body), reference(&body), "{:?}", String::from_utf8_lossy(&body));
        if let Ok(scanned) = object(&body) {
            assert_eq!(scanned.edit().apply(), body);
        }
        if reference(&body) { accepted += 1 } else { rejected += 1 }
    }
    assert!(accepted > 500 && rejected > 500, "{accepted} accepted, {rejected} rejected");
}

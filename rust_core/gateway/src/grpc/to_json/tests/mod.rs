//! Requests to JSON: here what is right, in `wire` what is odd or wrong on the wire, in `any` whatever comes.

mod any;
mod wire;

use serde_json::{Value as Json, json};

use super::*;
use crate::errors::{Failure, Kind as Why};
use crate::grpc::from_json;
use crate::grpc::schema::{
    CHAT_CREATE_REQUEST, COMPLETIONS_CREATE_REQUEST, COMPLETIONS_CREATE_RESPONSE, EMBEDDINGS_CREATE_REQUEST,
    EMBEDDINGS_CREATE_RESPONSE, TOKENS_CONVERSATION,
};
use crate::grpc::wire::{put_double, put_int, put_message, put_text, put_uint};

/// A request with every kind of part, tool, union and misfit.
const FULL: &str = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[
{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"image_url","image_url":{"url":"u","detail":"low"}},
{"type":"image_url","image_url":"https://plain"},{"type":"input_audio","input_audio":{"data":"x","format":"wav"}},
{"type":"file","file":{"file_id":"f"},"prompt_cache_breakpoint":{"mode":"explicit"}},
{"type":"document","source":{"x":[1,2.5,null,true]}}],"name":"ann"},
{"role":"assistant","content":null,"tool_calls":[{"type":"function","id":"c","function":{"name":"f","arguments":"{}"}}],"name":null},
{"role":"assistant","tool_calls":[{"type":"custom","id":"d","custom":{"name":"t","input":"z"}}]},
{"role":"assistant","content":[{"type":"refusal","refusal":"no"}],"audio":{"id":"a1"}},
{"role":"assistant","content":"t","reasoning_content":"r","thinking_blocks":[{"signature":"=="}]},
{"role":"tool","content":"","tool_call_id":"c"},{"role":"user","content":[]}],
"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","p":{"maximum":12345678901234567890}},"strict":true}},
{"type":"custom","custom":{"name":"c","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"d"}}}},
{"type":"web_search_preview","size":1}],"tool_choice":{"type":"function","function":{"name":"f"}},
"parallel_tool_calls":false,"temperature":0,"top_p":0.9,"stop":["a"],"stream_options":{"include_usage":true},
"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":false}},
"seed":-1152921504606846976,"logit_bias":{"5":-100},"modalities":["text","audio"],"audio":{"voice":{"id":"v"},"format":"wav"},
"prediction":{"type":"content","content":[{"type":"text","text":"x"}]},
"web_search_options":{"user_location":{"type":"approximate","approximate":{"city":"Ulm"}}},"metadata":{"a":"b"},
"prompt_cache_options":{"ttl":"30m"},"moderation":{"model":"m","policy":{"input":{"mode":"block"},"output":null}},
"functions":[{"name":"q","parameters":{}}],"function_call":{"name":"q"},"max_tokens":null,"top_k":3}"#;

fn message(json: &str, schema: &'static Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    from_json::object(json.as_bytes(), schema, &mut out).unwrap();
    out.to_vec()
}

fn try_json(message: &[u8], schema: &'static Message, stream: Option<bool>) -> Result<String, Failure> {
    let mut out = BytesMut::from(&b"before"[..]);
    object(message, schema, stream, &mut out)?;
    Ok(String::from_utf8(out.to_vec()).unwrap().strip_prefix("before").unwrap().to_owned())
}

fn chat(message: &[u8]) -> String {
    try_json(message, CHAT_CREATE_REQUEST, None).unwrap()
}

/// The message that `write` writes, and the failure that it is.
fn refused(write: impl FnOnce(&mut BytesMut)) -> Failure {
    let mut out = BytesMut::new();
    write(&mut out);
    let failure = try_json(&out, CHAT_CREATE_REQUEST, Some(false)).unwrap_err();
    assert_eq!(failure.kind, Why::BadRequest);
    failure
}

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    chat(&out)
}

/// An entry of `extra` with a string.
fn put_extra(out: &mut BytesMut, name: &str, value: &str) {
    put_message(out, 100, |out| {
        put_message(out, 1, |out| {
            put_text(out, 1, name);
            put_message(out, 2, |out| put_text(out, 3, value));
        });
    });
}

#[test]
fn a_full_request_keeps_everything_in_its_order() {
    assert_eq!(chat(&message(FULL, CHAT_CREATE_REQUEST)), FULL.replace('\n', ""));
}

#[test]
fn a_small_message_byte_by_byte() {
    let bytes = b"\x0a\x01m\x12\x08\x0a\x04user\x12\x00\x41\0\0\0\0\0\0\xe0\x3f\x50\x00";
    assert_eq!(chat(bytes), r#"{"model":"m","messages":[{"role":"user","content":""}],"temperature":0.5,"n":0}"#);
}

#[test]
fn what_is_required_is_always_there() {
    assert_eq!(chat(b""), r#"{"model":"","messages":[]}"#);
    assert_eq!(try_json(b"", TOKENS_CONVERSATION, None).unwrap(), r#"{"messages":[]}"#);
    assert_eq!(try_json(b"", EMBEDDINGS_CREATE_REQUEST, None).unwrap(), r#"{"model":""}"#);
}

#[test]
fn stream_stands_before_extra_and_is_the_methods_to_say() {
    let with = |extra: &str, stream| {
        let json = format!(r#"{{"model":"m","messages":[]{extra}}}"#);
        try_json(&message(&json, CHAT_CREATE_REQUEST), CHAT_CREATE_REQUEST, stream)
    };
    let start = r#"{"model":"m","messages":[]"#;
    assert_eq!(with(r#","a":1,"z":2"#, Some(true)).unwrap(), format!(r#"{start},"stream":true,"a":1,"z":2}}"#));
    assert_eq!(with("", Some(false)).unwrap(), format!("{start}}}"));
    assert_eq!(with(r#","stream":true"#, Some(true)).unwrap(), format!(r#"{start},"stream":true}}"#));
    assert_eq!(with(r#","stream":null"#, Some(true)).unwrap(), format!(r#"{start},"stream":true}}"#));
    assert_eq!(with(r#","stream":false"#, Some(false)).unwrap(), format!(r#"{start},"stream":false}}"#));
    for (said, stream) in [("true", Some(false)), ("true", None), ("false", Some(true)), ("1", Some(true))] {
        let failure = with(&format!(r#","stream":{said}"#), stream).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("stream"));
    }
}

#[test]
fn each_form_of_a_member_stays_what_it_is() {
    for (name, value) in [
        ("tool_choice", json!("auto")),
        ("tool_choice", json!({"type": "custom", "custom": {"name": "c"}})),
        ("tool_choice", json!({"type": "web_search", "x": 1})),
        (
            "tool_choice",
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}}),
        ),
        ("function_call", json!("none")),
        ("stop", json!("x")),
        ("stop", json!([])),
        ("seed", json!(i64::MAX)),
        ("seed", json!(1.5)),
        ("temperature", json!(null)),
        ("temperature", json!("hot")),
        ("n", json!(true)),
        ("tools", json!([])),
        ("metadata", json!({})),
        ("metadata", json!({"a": 1})),
        ("logit_bias", json!({"1": 1, "2": -0.5})),
        ("audio", json!({"voice": "ash"})),
        ("prediction", json!({"type": "content", "content": "x"})),
    ] {
        let request = json!({"model": "m", "messages": [], name: value});
        let made = chat(&message(&request.to_string(), CHAT_CREATE_REQUEST));
        assert_eq!(serde_json::from_str::<Json>(&made).unwrap(), request);
    }
    for value in [json!("a"), json!(["a", "b"]), json!([1, 2]), json!([[1], [2, 3], []]), json!([]), json!([1, "a"])] {
        for (schema, name) in [(EMBEDDINGS_CREATE_REQUEST, "input"), (COMPLETIONS_CREATE_REQUEST, "prompt")] {
            let request = format!(r#"{{"model":"m","{name}":{value}}}"#);
            assert_eq!(try_json(&message(&request, schema), schema, None).unwrap(), request);
        }
    }
}

#[test]
fn a_call_without_a_type_has_that_of_its_payload() {
    let call = |write: fn(&mut BytesMut)| written(|out| put_message(out, 2, |out| put_message(out, 7, write)));
    assert!(call(|out| put_message(out, 4, |_| ())).contains(r#"[{"type":"function","function":{}}]"#));
    assert!(call(|out| put_message(out, 5, |_| ())).contains(r#"[{"type":"custom","custom":{}}]"#));
    assert!(call(|out| put_text(out, 2, "c")).contains(r#"[{"id":"c"}]"#));
    let extra = call(|out| {
        put_message(out, 4, |_| ());
        put_extra(out, "type", "own");
    });
    assert!(extra.contains(r#"[{"type":"own","function":{}}]"#));
}

#[test]
fn numbers_are_as_short_as_they_can_be() {
    let temperature = |value: f64| written(|out| put_double(out, 8, value));
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0.0"),
        (1.0, "1"),
        (-100.0, "-100"),
        (0.1, "0.1"),
        (9_007_199_254_740_991.0, "9007199254740991"),
        (1e300, "1e300"),
        (5e-324, "5e-324"),
    ] {
        assert_eq!(temperature(value), format!(r#"{{"model":"","messages":[],"temperature":{text}}}"#));
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(refused(|out| put_double(out, 8, value)).param.as_deref(), Some("temperature"));
    }
    assert!(written(|out| put_int(out, 16, i64::MIN)).ends_with(r#""seed":-9223372036854775808}"#));
    assert!(written(|out| put_int(out, 10, i64::from(i32::MIN))).ends_with(r#""n":-2147483648}"#));
}

#[test]
fn strings_are_escaped_as_json_wants_it() {
    let text: String = (0..300).filter_map(char::from_u32).chain("\u{2028}é😀\"\\".chars()).collect();
    let made = written(|out| put_text(out, 1, &text));
    assert_eq!(serde_json::from_str::<Json>(&made).unwrap()["model"], json!(text));
    assert!(written(|out| put_text(out, 1, "\n\u{1}\"")).starts_with(r#"{"model":"\n\u0001\"","#));
}

#[test]
fn objects_are_sorted_and_type_comes_first() {
    let made = written(|out| {
        put_extra(out, "b", "1");
        put_extra(out, "type", "t");
        put_extra(out, "a", "old");
        put_extra(out, "a", "new");
        put_message(out, 28, |out| put_text(out, 1, "y"));
        put_message(out, 28, |out| put_text(out, 1, "x"));
        put_message(out, 28, |out| {
            put_text(out, 2, "last");
            put_text(out, 1, "y");
        });
    });
    let expected = r#"{"type":"t","model":"","messages":[],"metadata":{"x":"","y":"last"},"a":"new","b":"1"}"#;
    assert_eq!(made, expected);
}

#[test]
fn nothing_set_in_a_union_is_nothing_in_the_json() {
    let made = written(|out| {
        put_message(out, 11, |_| ());
        put_message(out, 36, |_| ());
        put_message(out, 4, |_| ());
    });
    assert_eq!(made, r#"{"model":"","messages":[],"tool_choice":{}}"#);
}

#[test]
fn answers_have_openais_shape() {
    let answer = json!({
        "object": "text_completion", "id": "a", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": "ab", "logprobs": {
            "tokens": ["a", "b"], "token_logprobs": [null, -1.5], "text_offset": [0, 1],
            "top_logprobs": [null, {"b": -1.5}],
        }, "finish_reason": null}],
    });
    let made = try_json(&message(&answer.to_string(), COMPLETIONS_CREATE_RESPONSE), COMPLETIONS_CREATE_RESPONSE, None);
    assert_eq!(serde_json::from_str::<Json>(&made.unwrap()).unwrap(), answer);
    let vectors = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0.1,-0.002]},{"object":"embedding","index":1,"embedding":[]}],"model":"e","usage":{"prompt_tokens":1}}"#;
    assert_eq!(
        try_json(&message(vectors, EMBEDDINGS_CREATE_RESPONSE), EMBEDDINGS_CREATE_RESPONSE, None).unwrap(),
        vectors
    );
}

/// The JSON of a request within a limit: its length, or the failure.
fn within(message: &[u8], limit: usize) -> Result<usize, Failure> {
    let mut out = BytesMut::from(&b"before"[..]);
    let outcome = object_within(message, CHAT_CREATE_REQUEST, Some(true), limit, &mut out);
    // What one scalar or the brackets of the levels above it may add, and the buffer's doubling.
    assert!(out.capacity() <= 3 * limit + 4096, "{} for {limit}", out.capacity());
    outcome.map(|()| out.len() - 6)
}

#[test]
fn a_body_has_its_limit_to_the_byte() {
    for json in [FULL.to_owned(), FULL.replace("\"m\"", "\"\\u0001\"")] {
        let message = message(&json, CHAT_CREATE_REQUEST);
        let length = within(&message, usize::MAX / 8).unwrap();
        assert_eq!(within(&message, length).unwrap(), length);
        for limit in [0, 1, 100, length / 2, length - 1] {
            let failure = within(&message, limit).unwrap_err();
            assert_eq!((failure.kind, failure.param), (Why::BodyTooLarge, None));
            assert!(failure.message.contains(&format!("{limit} bytes")), "{}", failure.message);
        }
    }
}

#[test]
fn messages_that_are_longer_as_json_stay_within_the_limit() {
    const LIMIT: usize = 1 << 20;
    let entry = |out: &mut BytesMut, write: &dyn Fn(&mut BytesMut)| put_message(out, 100, |out| write(out));
    let floods: [&dyn Fn(&mut BytesMut); 7] = [
        // Messages without anything.
        &|out| (0..LIMIT / 2).for_each(|_| put_message(out, 2, |_| ())),
        // Text of control characters.
        &|out| put_text(out, 1, &"\u{1}".repeat(LIMIT)),
        &|out| put_message(out, 2, |out| put_text(out, 2, &"\u{1}".repeat(LIMIT))),
        &|out| put_extra(out, "x", &"\u{1}".repeat(LIMIT)),
        // Lists of `extra`.
        &|out| {
            entry(out, &|out| {
                put_message(out, 1, |out| {
                    put_message(out, 2, |out| {
                        put_message(out, 6, |out| (0..LIMIT / 2).for_each(|_| put_message(out, 1, |_| ())));
                    });
                });
            });
        },
        // Its members.
        &|out| {
            entry(out, &|out| {
                (0..LIMIT / 8).for_each(|at| put_message(out, 1, |out| put_text(out, 1, &format!("{at:04x}"))));
            });
        },
        // Entries of a map.
        &|out| (0..LIMIT / 2).for_each(|at| put_message(out, 28, |out| put_text(out, 1, &format!("{at:x}")))),
    ];
    for (at, flood) in floods.iter().enumerate() {
        let mut message = BytesMut::new();
        flood(&mut message);
        let failure = within(&message, LIMIT).map(|length| panic!("flood {at}: {length}")).unwrap_err();
        assert_eq!(failure.kind, Why::BodyTooLarge, "flood {at}: {}", failure.message);
    }
}

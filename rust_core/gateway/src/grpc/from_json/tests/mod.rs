//! Answers to messages: here what is known, in `any` whatever comes.

mod any;

use serde_json::{Value as Json, json};

use super::*;
use crate::grpc::schema::{
    CHAT_CREATE_REQUEST, CHAT_CREATE_RESPONSE, CHAT_STREAM_RESPONSE, COMPLETIONS_CREATE_RESPONSE,
    EMBEDDINGS_CREATE_RESPONSE,
};
use crate::grpc::to_json;
use crate::grpc::wire::{put_bool, put_double, put_message, put_text, put_uint};

const CHUNK: &str = r#"{"id":"c","object":"chat.completion.chunk","created":300,"model":"m","system_fingerprint":"f",
"choices":[{"index":0,"delta":{"content":"a\n"},"logprobs":null,"finish_reason":null}],"usage":null}"#;

fn read(json: &str, schema: &'static Message) -> Result<Vec<u8>, Malformed> {
    let mut out = BytesMut::from(&b"before"[..]);
    object(json.as_bytes(), schema, &mut out)?;
    Ok(out.strip_prefix(b"before").unwrap().to_vec())
}

fn expect(json: &str, schema: &'static Message, write: impl FnOnce(&mut BytesMut)) {
    let mut out = BytesMut::new();
    write(&mut out);
    assert_eq!(read(json, schema).unwrap(), out, "{json}");
}

/// An entry of `extra`.
fn put_extra(out: &mut BytesMut, name: &str, value: impl FnOnce(&mut BytesMut)) {
    put_message(out, 100, |out| {
        put_message(out, 1, |out| {
            put_text(out, 1, name);
            put_message(out, 2, value);
        });
    });
}

/// An answer and back; what OpenAI always writes is written.
fn round(json: &Json, schema: &'static Message) -> Json {
    let mut out = BytesMut::new();
    to_json::object(&read(&json.to_string(), schema).unwrap(), schema, None, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_chunk_byte_by_byte() {
    expect(CHUNK, CHAT_STREAM_RESPONSE, |out| {
        put_text(out, 1, "c");
        put_uint(out, 2, 300);
        put_text(out, 3, "m");
        put_text(out, 7, "f");
        put_message(out, 4, |out| {
            put_message(out, 2, |out| put_text(out, 2, "a\n"));
        });
    });
    assert_eq!(read(r#"{"id":"c","created":1}"#, CHAT_STREAM_RESPONSE).unwrap(), b"\x0a\x01c\x10\x01");
}

#[test]
fn zero_is_written_only_where_it_says_something() {
    expect(r#"{"id":"","created":0,"choices":[{"index":0,"delta":{}}]}"#, CHAT_STREAM_RESPONSE, |out| {
        put_message(out, 4, |out| put_message(out, 2, |_| ()));
    });
    expect(r#"{"usage":{"prompt_tokens":0},"service_tier":""}"#, CHAT_STREAM_RESPONSE, |out| {
        put_message(out, 5, |out| put_uint(out, 1, 0));
        put_text(out, 6, "");
    });
    let token = r#"{"choices":[{"logprobs":{"content":[{"token":"","logprob":0.0,"bytes":null}]}}]}"#;
    expect(token, CHAT_STREAM_RESPONSE, |out| {
        put_message(out, 4, |out| put_message(out, 3, |out| put_message(out, 1, |_| ())));
    });
}

#[test]
fn what_does_not_fit_goes_to_extra() {
    let extra = |json: &str, name: &str, write: fn(&mut BytesMut)| {
        expect(json, CHAT_STREAM_RESPONSE, |out| put_extra(out, name, write));
    };
    extra(r#"{"id":5}"#, "id", |out| put_double(out, 2, 5.0));
    extra(r#"{"created":1.0}"#, "created", |out| put_double(out, 2, 1.0));
    extra(r#"{"created":9223372036854775808}"#, "created", |out| put_double(out, 2, 9_223_372_036_854_775_808.0));
    extra(r#"{"object":"other"}"#, "object", |out| put_text(out, 3, "other"));
    extra(r#"{"choices":{}}"#, "choices", |out| put_message(out, 5, |_| ()));
    extra(r#"{"choices":[{"index":1},2]}"#, "choices", |out| {
        put_message(out, 6, |out| {
            put_message(out, 1, |out| {
                put_message(out, 5, |out| {
                    put_message(out, 1, |out| {
                        put_text(out, 1, "index");
                        put_message(out, 2, |out| put_double(out, 2, 1.0));
                    });
                });
            });
            put_message(out, 1, |out| put_double(out, 2, 2.0));
        });
    });
    extra(r#"{"own \"name\"":[true,"x"]}"#, "own \"name\"", |out| {
        put_message(out, 6, |out| {
            put_message(out, 1, |out| put_bool(out, 4, true));
            put_message(out, 1, |out| put_text(out, 3, "x"));
        });
    });
    // What is beyond the doubles has no number.
    extra(r#"{"x":1e999}"#, "x", |out| put_text(out, 3, "1e999"));
    extra(r#"{"x":9007199254740993}"#, "x", |out| put_double(out, 2, 9_007_199_254_740_992.0));
}

#[test]
fn names_may_be_written_with_escapes() {
    expect(r#"{"m\u006fdel":"m","\u006fbject":"x"}"#, CHAT_STREAM_RESPONSE, |out| {
        put_text(out, 3, "m");
        put_extra(out, "object", |out| put_text(out, 3, "x"));
    });
}

#[test]
fn of_a_member_that_comes_twice_the_first_counts() {
    expect(r#"{"id":"a","id":"b"}"#, CHAT_STREAM_RESPONSE, |out| put_text(out, 1, "a"));
    expect(r#"{"id":null,"id":"b"}"#, CHAT_STREAM_RESPONSE, |out| put_extra(out, "id", |out| put_uint(out, 1, 0)));
}

#[test]
fn answers_come_back_as_they_were() {
    let answer = json!({
        "object": "chat.completion", "id": "a", "created": 0, "model": "m",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": null, "refusal": null,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                "annotations": [],
            },
            "finish_reason": "tool_calls",
            "logprobs": {"content": [{
                "token": "é", "logprob": -0.5, "bytes": [195, 169],
                "top_logprobs": [{"token": "e", "logprob": -1, "bytes": null}],
            }]},
        }],
        "usage": {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2, "cost": 0.5},
        "moderation": {
            "input": {"type": "error", "code": "c", "message": "m", "own": 1},
            "output": {"type": "moderation_results", "model": "m", "results": [{
                "model": "m", "flagged": true, "categories": {"a": false}, "category_scores": {"a": 0.25},
                "category_applied_input_types": {"a": ["text"], "b": []},
            }]},
        },
        "metadata": {"k": "v"},
        "provider": "x",
    });
    assert_eq!(round(&answer, CHAT_CREATE_RESPONSE), answer);
}

#[test]
fn moderation_of_another_kind_is_kept_whole() {
    let answer = json!({
        "object": "chat.completion", "id": "", "created": 0, "model": "", "choices": [],
        "moderation": {"input": {"type": "later", "code": 1}, "output": {"code": "c"}},
    });
    assert_eq!(round(&answer, CHAT_CREATE_RESPONSE), answer);
    expect(r#"{"moderation":{"input":{"type":"error"}}}"#, CHAT_CREATE_RESPONSE, |out| {
        put_message(out, 9, |out| put_message(out, 1, |out| put_message(out, 2, |_| ())));
    });
}

#[test]
fn embeddings_are_packed_whatever_they_were() {
    let expected = |out: &mut BytesMut| {
        put_message(out, 1, |out| {
            put_uint(out, 1, 2);
            put_message(out, 2, |out| {
                for value in [1.0_f32, 0.1, -2.5e-3] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            });
        });
    };
    let of = |vector: &str| {
        format!(r#"{{"object":"list","data":[{{"object":"embedding","index":2,"embedding":{vector}}}]}}"#)
    };
    expect(&of("[1, 0.1 ,-2.5e-3]"), EMBEDDINGS_CREATE_RESPONSE, expected);
    let mut text = BytesMut::new();
    let bytes: Vec<u8> = [1.0_f32, 0.1, -2.5e-3].into_iter().flat_map(f32::to_le_bytes).collect();
    crate::grpc::base64::encode(&bytes, true, &mut text);
    let text = String::from_utf8(text.to_vec()).unwrap();
    expect(&of(&format!("\"{text}\"")), EMBEDDINGS_CREATE_RESPONSE, expected);
    for misfit in ["[1,null]", "\"AAA=\"", "\"****\"", "[1e99]", "[[1]]"] {
        let made = round(&serde_json::from_str(&of(misfit)).unwrap(), EMBEDDINGS_CREATE_RESPONSE);
        assert_eq!(made["data"][0]["embedding"], serde_json::from_str::<Json>(misfit).unwrap(), "{misfit}");
    }
    expect(&of("[]"), EMBEDDINGS_CREATE_RESPONSE, |out| put_message(out, 1, |out| put_uint(out, 1, 2)));
}

#[test]
fn logprobs_of_completions_are_one_list() {
    let of = |logprobs: Json| {
        json!({"object": "text_completion", "id": "", "created": 0, "model": "", "choices": [
            {"index": 0, "text": "", "finish_reason": null, "logprobs": logprobs}]})
    };
    let good = of(json!({
        "tokens": ["a", "b"], "token_logprobs": [null, -1.5], "text_offset": [0, 1],
        "top_logprobs": [null, {"b": -1.5, "c": -2}], "own": 1,
    }));
    assert_eq!(round(&good, COMPLETIONS_CREATE_RESPONSE), good);
    for odd in [
        json!({"tokens": ["a"], "token_logprobs": ["x"], "text_offset": [0], "top_logprobs": null}),
        json!({"tokens": ["a"], "token_logprobs": [-1, -2], "text_offset": [0], "top_logprobs": []}),
        json!({"tokens": {"a": 1}, "token_logprobs": [], "text_offset": [], "top_logprobs": []}),
    ] {
        assert_eq!(round(&of(odd.clone()), COMPLETIONS_CREATE_RESPONSE), of(odd));
    }
    let short = of(json!({"tokens": ["a", "b"], "token_logprobs": null, "top_logprobs": [{}]}));
    let made = round(&short, COMPLETIONS_CREATE_RESPONSE);
    let expected = json!({
        "tokens": ["a", "b"], "token_logprobs": [null, null], "text_offset": [], "top_logprobs": [null, null],
    });
    assert_eq!(made["choices"][0]["logprobs"], expected);
}

#[test]
fn what_is_no_answer_is_refused() {
    for wrong in ["", "[]", "null", "\"x\"", "5", " "] {
        assert_eq!(read(wrong, CHAT_STREAM_RESPONSE), Err(Malformed::NotObject), "{wrong}");
    }
    for wrong in
        ["{}{}", "{\"a\":}", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"choices\":[{}", "{\"a\":\"\n\"}", "{\"x\":nul}"]
    {
        assert!(matches!(read(wrong, CHAT_STREAM_RESPONSE), Err(Malformed::Json(_))), "{wrong}");
    }
    let mut out = BytesMut::new();
    let error = object(b"{\"id\":\"\xff\"}", CHAT_STREAM_RESPONSE, &mut out).unwrap_err();
    assert_eq!(error, Malformed::Utf8 { offset: 7 });
    for length in 0..CHUNK.len() {
        assert!(read(&CHUNK[..length], CHAT_STREAM_RESPONSE).is_err(), "{length}");
    }
    assert!(read(&format!(" \n{CHUNK}\r\n"), CHAT_STREAM_RESPONSE).is_ok());
}

#[test]
fn nesting_is_bounded_by_what_clients_read() {
    let nested = |levels: usize| format!("{{\"deep\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(read(&nested(45), CHAT_STREAM_RESPONSE).is_ok());
    assert_eq!(read(&nested(60), CHAT_STREAM_RESPONSE), Err(Malformed::TooDeep));
    assert_eq!(read(&"{\"x\":".repeat(10_000), CHAT_STREAM_RESPONSE), Err(Malformed::TooDeep));
    // Each level would be read again by the one around it if what does not fit were tried again inside.
    let token = (0..40).fold("1".to_owned(), |inner, _| format!("{{\"top_logprobs\":[{inner},1]}}"));
    let json = format!("{{\"choices\":[{{\"logprobs\":{{\"content\":[{token}]}}}}]}}");
    assert_eq!(read(&json, CHAT_STREAM_RESPONSE), Err(Malformed::TooDeep));
}

#[test]
fn requests_are_read_too() {
    let call = r#"{"tool_choice":{"function":{"name":"f"},"type":"function"},"stop":"x","logit_bias":{"1":2}}"#;
    expect(call, CHAT_CREATE_REQUEST, |out| {
        put_message(out, 4, |out| put_message(out, 2, |out| put_text(out, 1, "f")));
        put_message(out, 11, |out| put_text(out, 1, "x"));
        put_message(out, 19, |out| {
            put_text(out, 1, "1");
            put_double(out, 2, 2.0);
        });
    });
}

/// A call whose second payload is not the one that counts, and what says so.
#[test]
fn of_two_payloads_the_one_that_type_names_has_its_field() {
    let call = |members: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{{members}}}]}}}}]}}"#);
    let function = |out: &mut BytesMut| put_message(out, 4, |out| put_text(out, 1, "f"));
    let custom = |out: &mut BytesMut| put_message(out, 5, |out| put_text(out, 2, "i"));
    let extra = |out: &mut BytesMut, name: &str, member: &str, value: &str| {
        put_extra(out, name, |out| {
            put_message(out, 5, |out| {
                put_message(out, 1, |out| {
                    put_text(out, 1, member);
                    put_message(out, 2, |out| put_text(out, 3, value));
                });
            });
        });
    };
    let expected = |json: &str, write: &dyn Fn(&mut BytesMut)| {
        expect(&call(json), CHAT_STREAM_RESPONSE, |out| {
            put_message(out, 4, |out| put_message(out, 2, |out| put_message(out, 4, write)));
        });
    };
    expected(r#""function":{"name":"f"},"custom":{"input":"i"},"type":"function""#, &|out| {
        function(out);
        extra(out, "custom", "input", "i");
        put_text(out, 3, "function");
    });
    expected(r#""custom":{"input":"i"},"type":"function","function":{"name":"f"}"#, &|out| {
        extra(out, "custom", "input", "i");
        put_text(out, 3, "function");
        function(out);
    });
    expected(r#""type":"custom","function":{"name":"f"},"custom":{"input":"i"}"#, &|out| {
        put_text(out, 3, "custom");
        extra(out, "function", "name", "f");
        custom(out);
    });
    // Without a `type`, or with one of the provider's own, the first.
    for (members, first) in [("", 0), (r#","type":"other""#, 1), (r#","type":null"#, 2)] {
        expected(&format!(r#""custom":{{"input":"i"}},"function":{{"name":"f"}}{members}"#), &|out| {
            custom(out);
            extra(out, "function", "name", "f");
            match first {
                1 => put_text(out, 3, "other"),
                2 => put_extra(out, "type", |out| put_uint(out, 1, 0)),
                _ => (),
            }
        });
    }
    // What does not fit its field is no payload.
    expected(r#""function":null,"type":"function","custom":{"input":"i"}"#, &|out| {
        put_extra(out, "function", |out| put_uint(out, 1, 0));
        put_text(out, 3, "function");
        custom(out);
    });
}

#[test]
fn two_payloads_come_out_again() {
    let round_trip = |call: Json| {
        let answer = json!({"object": "chat.completion", "id": "a", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]});
        round(&answer, CHAT_CREATE_RESPONSE)["choices"][0]["message"]["tool_calls"][0].clone()
    };
    let both = json!({"id": "c", "function": {"name": "f", "arguments": "{}", "x": [1]}, "custom": {"name": "", "input": "i"}});
    for kind in ["function", "custom", "other"] {
        let mut call = both.clone();
        call["type"] = kind.into();
        assert_eq!(round_trip(call.clone()), call);
    }
}

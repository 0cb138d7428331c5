//! What is odd or wrong on the wire.

use super::*;
use crate::grpc::wire::put_bytes;

#[test]
fn lists_are_read_packed_and_unpacked() {
    let mut out = BytesMut::new();
    put_message(&mut out, 4, |out| {
        put_uint(out, 1, 1);
        put_bytes(out, 1, b"\x02\xac\x02");
        put_uint(out, 1, u64::from(u32::MAX));
    });
    let made = try_json(&out, EMBEDDINGS_CREATE_REQUEST, None).unwrap();
    assert_eq!(made, r#"{"model":"","input":[1,2,300,4294967295]}"#);
}

#[test]
fn of_a_oneof_the_last_counts_and_pieces_are_put_together() {
    let parts =
        |text| move |out: &mut BytesMut| put_message(out, 3, |out| put_message(out, 1, |out| put_text(out, 1, text)));
    let content = |write: &dyn Fn(&mut BytesMut)| written(|out| put_message(out, 2, |out| write(out)));
    assert!(
        content(&|out| {
            parts("a")(out);
            put_text(out, 2, "t");
        })
        .contains(r#""content":"t""#)
    );
    assert!(
        content(&|out| {
            parts("a")(out);
            put_text(out, 2, "t");
            parts("b")(out);
            put_text(out, 1, "user");
            parts("c")(out);
        })
        .contains(r#"{"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]}"#)
    );
    let stop = written(|out| {
        put_text(out, 1, "one");
        put_message(out, 12, |out| put_uint(out, 1, 1));
        put_text(out, 1, "two");
        put_message(out, 12, |out| put_uint(out, 2, 0));
    });
    assert!(stop.contains(r#""model":"two""#));
    assert!(stop.contains(r#""stream_options":{"include_usage":true,"include_obfuscation":false}"#));
}

#[test]
fn unknown_fields_and_wrong_wire_types_are_stepped_over() {
    let made = written(|out| {
        put_uint(out, 1, 7);
        put_text(out, 8, "hot");
        put_uint(out, 999, 1);
        out.extend_from_slice(b"\x9b\x06\x08\x01\x9c\x06");
        put_text(out, 1, "m");
        put_uint(out, 100, 1);
    });
    assert_eq!(made, r#"{"model":"m","messages":[]}"#);
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let part = |write: fn(&mut BytesMut)| {
        refused(|out| {
            put_message(out, 2, |_| ());
            put_message(out, 2, |out| put_message(out, 3, |out| put_message(out, 1, |out| put_message(out, 2, write))));
        })
    };
    let failure = part(|out| put_bytes(out, 1, b"\xff"));
    assert_eq!(failure.param.as_deref(), Some("messages[1].content[0].image_url.url"));
    assert_eq!(failure.message, "`messages[1].content[0].image_url.url` is not UTF-8; a `string` field must be.");
    let failure = part(|out| out.extend_from_slice(b"\x0a\x05a"));
    assert_eq!(failure.param.as_deref(), Some("messages[1].content[0].image_url"));
    assert_eq!(refused(|out| out.extend_from_slice(b"\x0a")).param, None);
    let key = refused(|out| put_message(out, 28, |out| put_bytes(out, 1, b"\xff")));
    assert_eq!(key.param.as_deref(), Some("metadata"));
    let value = refused(|out| {
        put_message(out, 100, |out| {
            put_message(out, 1, |out| {
                put_text(out, 1, "a");
                put_message(out, 2, |out| {
                    put_message(out, 6, |out| put_message(out, 1, |out| put_bytes(out, 3, b"\xff")))
                });
            });
        });
    });
    assert_eq!(value.param.as_deref(), Some("a[0]"));
}

#[test]
fn json_text_is_copied_and_must_be_json() {
    let function = |text: &str| {
        let mut out = BytesMut::new();
        put_message(&mut out, 3, |out| put_message(out, 1, |out| put_text(out, 3, text)));
        try_json(&out, CHAT_CREATE_REQUEST, None)
    };
    assert!(function(" {\"b\" : 1.0, \"a\":2}\n").unwrap().contains(r#""parameters":{"b" : 1.0, "a":2}}"#));
    for wrong in ["", " ", "{", "{}}", "{} {}", "nul", "{\"a\":1,}"] {
        let failure = function(wrong).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("tools[0].function.parameters"), "{wrong}");
    }
}

#[test]
fn a_member_is_in_its_field_or_in_extra() {
    let twice = |field: fn(&mut BytesMut), name| {
        let failure = refused(|out| {
            put_extra(out, name, "x");
            field(out);
        });
        assert_eq!(failure.param.as_deref(), Some(name));
    };
    twice(|out| put_text(out, 1, "m"), "model");
    twice(|out| put_double(out, 8, 1.0), "temperature");
    twice(|out| put_message(out, 2, |_| ()), "messages");
    twice(|out| put_message(out, 28, |_| ()), "metadata");
    let content = refused(|out| {
        put_message(out, 2, |out| {
            put_uint(out, 4, 0);
            put_extra(out, "content", "x");
        });
    });
    assert_eq!(content.param.as_deref(), Some("messages[0].content"));
    let tag = refused(|out| {
        put_message(out, 3, |out| {
            put_message(out, 1, |_| ());
            put_extra(out, "type", "function");
        });
    });
    assert_eq!(tag.param.as_deref(), Some("tools[0].type"));
    let mode = refused(|out| {
        put_message(out, 4, |out| {
            put_text(out, 1, "auto");
            put_extra(out, "x", "y");
        });
    });
    assert_eq!(mode.param.as_deref(), Some("tool_choice"));
    let one = written(|out| {
        put_extra(out, "model", "in extra");
        put_extra(out, "extra", "a member of that name");
    });
    assert_eq!(one, r#"{"messages":[],"extra":"a member of that name","model":"in extra"}"#);
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let mut value = BytesMut::from(&b"\x08\x00"[..]);
        for _ in 0..levels {
            let mut outer = BytesMut::new();
            put_message(&mut outer, 6, |out| put_bytes(out, 1, &value));
            value = outer;
        }
        let mut out = BytesMut::new();
        put_message(&mut out, 100, |out| {
            put_message(out, 1, |out| {
                put_text(out, 1, "deep");
                put_bytes(out, 2, &value);
            });
        });
        try_json(&out, CHAT_CREATE_REQUEST, None)
    };
    assert!(nested(48).unwrap().contains(&"[".repeat(48)));
    assert!(nested(60).unwrap_err().message.contains("nested too deep"));
    assert!(nested(10_000).unwrap_err().message.contains("nested too deep"));
}

#[test]
fn no_prefix_of_a_message_is_too_much() {
    let whole = message(FULL, CHAT_CREATE_REQUEST);
    for length in 0..whole.len() {
        if let Ok(made) = try_json(&whole[..length], CHAT_CREATE_REQUEST, None) {
            serde_json::from_str::<Json>(&made).unwrap();
        }
    }
}

#[test]
fn scattered_fields_are_bounded() {
    let scattered = |count: usize| {
        let mut out = BytesMut::new();
        for _ in 0..count {
            put_uint(&mut out, 10, 1);
            put_uint(&mut out, 6, 2);
        }
        try_json(&out, CHAT_CREATE_REQUEST, None)
    };
    assert_eq!(scattered(1000).unwrap(), r#"{"model":"","messages":[],"max_tokens":2,"n":1}"#);
    assert!(scattered(100_000).unwrap_err().message.contains("out of order"));
    let mut many = BytesMut::new();
    for _ in 0..100_000 {
        put_text(&mut many, 22, "text");
    }
    assert_eq!(try_json(&many, CHAT_CREATE_REQUEST, None).unwrap().matches("\"text\"").count(), 100_000);
}

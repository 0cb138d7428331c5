use bytes::BytesMut;
use proptest::prelude::*;

use super::super::{Method, Translator};
use super::{message, put};
use crate::errors::{Failure, Kind};
use crate::grpc::wire::{put_bytes, put_float, put_text, put_uint};
use crate::scan;

/// A request as `xai-sdk` 1.21.0 serialises it, with most of the arguments of `chat.create`.
const FROM_THE_SDK: &[u8] = b"\n\x10\n\x0c\n\nBe \"brief\"\x10\x03\n\x1e\n\x04\n\x02hi\n\x14\x12\x12\n\x0ehttp://x/y.png\x10\x03\x10\x01\x12\x01m8\x05@\x01M\x00\x00\x00\xbfR\x02\x08\x02X\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01b\x01ab\x01bu333?}\x00\x00\x80?\x82\x01\x01u\x8a\x01\x1c\n\x1a\n\x01f\x12\x01d\"\x12{\"type\": \"object\"}\x92\x01\x02\x08\x01\x98\x01\x01\xa8\x01\x00";

pub(super) fn translated(method: Method, message: &[u8]) -> Result<String, Failure> {
    Translator::new(method).request(message, 1 << 20).map(|json| String::from_utf8(json.to_vec()).unwrap())
}

fn chat(fields: impl FnOnce(&mut BytesMut)) -> Result<String, Failure> {
    translated(Method::Completion, &message(fields))
}

/// The JSON of the messages of a request.
fn conversation(messages: &[Vec<u8>]) -> Result<String, Failure> {
    let json = chat(|out| messages.iter().for_each(|message| put_bytes(out, 1, message)))?;
    Ok(json.strip_prefix(r#"{"model":"","messages":"#).unwrap().strip_suffix('}').unwrap().to_owned())
}

/// A message of this role with these parts.
fn said(role: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    message(|out| {
        parts.iter().for_each(|part| put_bytes(out, 1, part));
        put_uint(out, 2, role);
    })
}

fn text(text: &str) -> Vec<u8> {
    message(|out| put_text(out, 1, text))
}

pub(super) fn refused(outcome: Result<String, Failure>) -> (Kind, String, String) {
    let failure = outcome.unwrap_err();
    let param = failure.param.unwrap_or_default().into_owned();
    (failure.kind, param, failure.message.into_owned())
}

#[test]
fn a_request_of_the_published_client_is_openais() {
    let expected = concat!(
        r#"{"model":"m","messages":[{"role":"system","content":"Be \"brief\""},"#,
        r#"{"role":"user","content":[{"type":"text","text":"hi"},"#,
        r#"{"type":"image_url","image_url":{"url":"http://x/y.png","detail":"high"}}]}],"#,
        r#""max_tokens":5,"presence_penalty":-0.5,"response_format":{"type":"json_object"},"seed":-3,"stop":["a","b"],"#,
        r#""temperature":0.7,"top_p":1,"user":"u","#,
        r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type": "object"}}}],"#,
        r#""tool_choice":"auto","reasoning_effort":"low","parallel_tool_calls":false"#,
    );
    assert_eq!(translated(Method::Completion, FROM_THE_SDK).unwrap(), format!("{expected}}}"));
    assert_eq!(
        translated(Method::CompletionChunk, FROM_THE_SDK).unwrap(),
        format!(r#"{expected},"stream":true,"stream_options":{{"include_usage":true}}}}"#)
    );
}

#[test]
fn what_is_not_said_is_not_written() {
    let json = chat(|out| {
        put_uint(out, 5, 0);
        put_uint(out, 8, 1);
        put_text(out, 16, "");
        put_uint(out, 19, 0);
        put(out, 20, |out| put_uint(out, 1, 1));
        put_text(out, 22, "");
        put_uint(out, 23, 0);
        put_uint(out, 24, 0);
        put_uint(out, 31, 0);
        put_uint(out, 999, 7);
    });
    assert_eq!(json.unwrap(), r#"{"model":"","messages":[]}"#);
}

#[test]
fn the_rest_of_the_parameters() {
    let json = chat(|out| {
        put_float(out, 3, 0.1);
        put_uint(out, 5, 1);
        put_uint(out, 6, 3);
        put_uint(out, 8, 2);
        put(out, 18, |out| put_text(out, 2, "f"));
        put_uint(out, 19, 5);
        put_uint(out, 31, 2);
        put_text(out, 34, "hash");
        put_text(out, 2, "first");
        put_text(out, 2, "last");
    });
    let expected = r#"{"model":"last","messages":[],"frequency_penalty":0.1,"logprobs":true,"top_logprobs":3,"n":2,"tool_choice":{"type":"function","function":{"name":"f"}},"reasoning_effort":"xhigh","service_tier":"priority","safety_identifier":"hash"}"#;
    assert_eq!(json.unwrap(), expected);
}

#[test]
fn a_schema_is_pasted_and_has_a_name() {
    let format = |kind, schema: &str| {
        chat(|out| {
            put(out, 10, |out| {
                put_uint(out, 1, kind);
                put_text(out, 2, schema);
            });
        })
    };
    let expected = r#"{"model":"","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"response","schema":{"z":1, "a":[]}}}}"#;
    assert_eq!(format(3, r#"{"z":1, "a":[]}"#).unwrap(), expected);
    for (kind, schema, param) in [
        (3, "", "response_format.schema"),
        (3, "[]", "response_format.schema"),
        (3, "{", "response_format.schema"),
        (2, "{}", "response_format.schema"),
        (9, "", "response_format.format_type"),
    ] {
        let (kind, named, _) = refused(format(kind, schema));
        assert_eq!((kind, named.as_str()), (Kind::BadRequest, param));
    }
}

#[test]
fn content_is_text_or_parts() {
    let (image, by_file) = (
        message(|out| put(out, 2, |out| put_text(out, 1, "/9j/abc="))),
        message(|out| put(out, 3, |out| put_text(out, 1, "file-1"))),
    );
    let data = message(|out| {
        put(out, 3, |out| {
            put_bytes(out, 2, b"%PDF-1");
            put_text(out, 3, "a \"b\".pdf");
        });
    });
    for (parts, expected) in [
        (vec![], r#""""#.to_owned()),
        (vec![text("a")], r#""a""#.to_owned()),
        (vec![text("a"), text("")], r#"[{"type":"text","text":"a"},{"type":"text","text":""}]"#.to_owned()),
        (vec![image], r#"[{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/abc="}}]"#.to_owned()),
        (vec![by_file], r#"[{"type":"file","file":{"file_id":"file-1"}}]"#.to_owned()),
        (
            vec![data],
            r#"[{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0x","filename":"a \"b\".pdf"}}]"#
                .to_owned(),
        ),
    ] {
        assert_eq!(conversation(&[said(1, &parts)]).unwrap(), format!(r#"[{{"role":"user","content":{expected}}}]"#));
    }
}

fn called(ids: &[&str], content: &str) -> Vec<u8> {
    message(|out| {
        put(out, 1, |out| put_text(out, 1, content));
        put_uint(out, 2, 2);
        for id in ids {
            put(out, 4, |out| {
                put_text(out, 1, id);
                put_uint(out, 2, 1);
                put(out, 10, |out| {
                    put_text(out, 1, "f");
                    put_text(out, 2, "{}");
                });
            });
        }
        put_text(out, 5, "");
    })
}

fn result(id: Option<&str>) -> Vec<u8> {
    message(|out| {
        put(out, 1, |out| put_text(out, 1, "42"));
        put_uint(out, 2, 5);
        id.into_iter().for_each(|id| put_text(out, 7, id));
    })
}

#[test]
fn a_tool_message_without_an_id_answers_the_next_call() {
    let assistant = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    let answer = |id: &str| format!(r#"{{"role":"tool","content":"42","tool_call_id":"{id}"}}"#);
    let calls = called(&["a", "b"], "");
    assert_eq!(
        conversation(&[calls.clone(), result(None), result(None)]).unwrap(),
        format!("[{assistant},{},{}]", answer("a"), answer("b"))
    );
    assert_eq!(
        conversation(&[calls.clone(), result(Some("a")), result(None)]).unwrap(),
        format!("[{assistant},{},{}]", answer("a"), answer("b"))
    );
    let (kind, param, _) = refused(conversation(&[calls, result(Some("a")), result(Some("b")), result(None)]));
    assert_eq!((kind, param.as_str()), (Kind::BadRequest, "messages[3].tool_call_id"));
    assert!(conversation(&[called(&["a"], "so")]).unwrap().contains(r#""content":"so""#));
}

/// The field that is at fault, and a request in which it is.
type Case = (&'static str, fn(&mut BytesMut));

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let cases: [Case; 14] = [
        ("search_parameters", |out| put(out, 20, |out| put_uint(out, 1, 3))),
        ("search_parameters", |out| put_bytes(out, 20, b"")),
        ("previous_response_id", |out| put_text(out, 22, "r")),
        ("store_messages", |out| put_uint(out, 23, 1)),
        ("use_encrypted_content", |out| put_uint(out, 24, 1)),
        ("max_turns", |out| put_uint(out, 25, 0)),
        ("include", |out| put_bytes(out, 26, &[1])),
        ("include", |out| put_uint(out, 26, 0)),
        ("agent_count", |out| put_uint(out, 29, 1)),
        ("guidelines", |out| put_bytes(out, 39, b"")),
        ("tools[1].web_search", |out| {
            put(out, 17, |out| put(out, 1, |out| put_text(out, 1, "f")));
            put(out, 17, |out| put_bytes(out, 3, b""));
        }),
        ("messages[0].encrypted_content", |out| put(out, 1, |out| put_text(out, 6, "x"))),
        ("messages[0].content[0].image_url.file_id", |out| {
            put(out, 1, |out| put(out, 1, |out| put(out, 2, |out| put_text(out, 3, "f"))));
        }),
        ("messages[0].content[0].file.url", |out| {
            put(out, 1, |out| put(out, 1, |out| put(out, 3, |out| put_text(out, 5, "http://x"))));
        }),
    ];
    for (name, fields) in cases {
        let (kind, param, message) = refused(chat(fields));
        assert_eq!((kind, param.as_str()), (Kind::ParameterUnsupported, name));
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
    }
    let ran_there = message(|out| put(out, 4, |out| put_uint(out, 2, 2)));
    assert_eq!(refused(conversation(&[ran_there])).1, "messages[0].tool_calls[0].type");
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let cases: [Case; 10] = [
        ("messages[1].role", |out| {
            put(out, 1, |out| put_uint(out, 2, 1));
            put(out, 1, |out| put_uint(out, 2, 0));
        }),
        ("messages[0].role", |out| put(out, 1, |out| put_uint(out, 2, 7))),
        ("messages[0].content[1].text", |out| {
            put(out, 1, |out| {
                put(out, 1, |out| put_text(out, 1, "fine"));
                put(out, 1, |out| put_bytes(out, 1, &[0xff]));
            });
        }),
        ("messages[0].content[0].text", |out| put(out, 1, |out| put_bytes(out, 1, b""))),
        ("messages[0].content[0].file.mime_type", |out| {
            put(out, 1, |out| {
                put_uint(out, 2, 1);
                put(out, 1, |out| put(out, 3, |out| put_bytes(out, 2, b"?")));
            });
        }),
        ("model", |out| put_bytes(out, 2, &[0xc3])),
        ("temperature", |out| put_float(out, 14, f32::NAN)),
        ("tools[0].function.parameters", |out| {
            put(out, 17, |out| put(out, 1, |out| put_text(out, 4, "not JSON")));
        }),
        ("tools[0].function", |out| put_bytes(out, 17, b"")),
        ("reasoning_effort", |out| put_uint(out, 19, 6)),
    ];
    for (name, fields) in cases {
        let (kind, param, message) = refused(chat(fields));
        assert_eq!((kind, param.as_str()), (Kind::BadRequest, name));
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
    }
    assert_eq!(refused(translated(Method::Completion, b"\x0a\x7f")).0, Kind::BadRequest);
}

#[test]
fn of_a_oneof_the_last_counts_and_its_pieces_are_one() {
    let part = message(|out| {
        put_text(out, 1, "not this");
        put(out, 2, |out| put_text(out, 1, "http://x"));
        put(out, 2, |out| put_uint(out, 2, 2));
    });
    let expected =
        r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x","detail":"low"}}]}]"#;
    assert_eq!(conversation(&[said(1, &[part])]).unwrap(), expected);
}

#[test]
fn a_body_has_its_limit_to_the_byte() {
    let length = translated(Method::CompletionChunk, FROM_THE_SDK).unwrap().len();
    let within = |limit| Translator::new(Method::CompletionChunk).request(FROM_THE_SDK, limit);
    assert_eq!(within(length).unwrap().len(), length);
    for limit in 0..length {
        assert_eq!(within(limit).unwrap_err().kind, Kind::BodyTooLarge, "{limit}");
    }
}

#[test]
fn messages_that_are_longer_as_json_are_refused() {
    const LIMIT: usize = 1 << 20;
    type Fields<'a> = &'a dyn Fn(&mut BytesMut);
    let floods: [(Method, Fields<'_>); 6] = [
        (Method::Completion, &|out| (0..LIMIT / 8).for_each(|_| put_bytes(out, 1, &said(1, &[])))),
        (Method::Completion, &|out| put_bytes(out, 1, &said(1, &[text(&"\u{1}".repeat(LIMIT / 2))]))),
        (Method::Completion, &|out| put_bytes(out, 1, &said(1, &vec![text(""); LIMIT / 8]))),
        (Method::Completion, &|out| {
            put_bytes(out, 1, &message(|out| (0..LIMIT / 8).for_each(|_| put_bytes(out, 4, b""))))
        }),
        (Method::Sample, &|out| (0..LIMIT / 2).for_each(|_| put_text(out, 1, ""))),
        (Method::Embed, &|out| (0..LIMIT / 3).for_each(|_| put_bytes(out, 1, &message(|out| put_bytes(out, 1, b""))))),
    ];
    for (at, (method, flood)) in floods.iter().enumerate() {
        let failure = Translator::new(*method).request(&message(flood), LIMIT).unwrap_err();
        assert_eq!(failure.kind, Kind::BodyTooLarge, "flood {at}: {}", failure.message);
        assert!(failure.message.starts_with("The request message is larger than 1048576 bytes"), "{}", failure.message);
    }
}

proptest! {
    /// Whatever a client sends is refused or becomes one JSON object.
    #[test]
    fn no_bytes_become_anything_but_json(
        changes in prop::collection::vec((0..FROM_THE_SDK.len(), any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut changed = FROM_THE_SDK.to_vec();
        changes.into_iter().for_each(|(at, byte)| changed[at] = byte);
        for message in [&changed, &noise] {
            for method in [Method::Completion, Method::CompletionChunk, Method::Sample, Method::Embed] {
                if let Ok(json) = Translator::new(method).request(message, 1 << 20) {
                    prop_assert!(scan::object(&json).is_ok(), "{json:?}");
                }
            }
        }
    }
}

//! Golden conversations: what goes out for what came in, and what is refused with its place.

use serde_json::{Value, json};

use super::super::request;
use super::support::{ask, chat, refused, sent, strict, text, with};
use crate::canonical::ChatRequest;

#[test]
fn the_smallest_request() {
    let expected = json!({"model": "claude-sonnet-4-5", "max_tokens": 4096,
        "messages": [{"role": "user", "content": [text("hi")]}]});
    assert_eq!(sent(&with(&json!({}))), expected);
}

#[test]
fn system_and_developer_messages_go_to_system_in_order() {
    let body = chat(&json!([
        {"role": "system", "content": "one"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": [{"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "again"},
    ]));
    let out = sent(&body);
    let marked = json!({"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}});
    assert_eq!(out["system"], json!([text("one"), marked]));
    assert_eq!(out["messages"], json!([{"role": "user", "content": [text("hi"), text("again")]}]));
    let mut native = body.clone();
    native["system"] = json!("zero");
    assert_eq!(sent(&native)["system"][0], text("zero"));
    let only = sent(&chat(&json!([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}])));
    assert_eq!((&only["system"], &only["messages"][0]["content"]), (&json!([text("a")]), &json!([text("b")])));
}

#[test]
fn tool_results_are_one_user_turn_after_the_calls() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let body = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}], "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [call("a", "{\"z\": 1.0, \"a\":2}"), call("b", "")]},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "user", "content": "note"},
        {"role": "tool", "tool_call_id": "b", "is_error": true, "content": [
            {"type": "text", "text": "B"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
    ]});
    let out = sent(&body);
    let uses = json!([
        {"type": "tool_use", "id": "a", "name": "f", "input": {"z": 1.0, "a": 2}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {}},
    ]);
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}});
    let results = json!([
        {"type": "tool_result", "tool_use_id": "a", "content": [text("A")]},
        {"type": "tool_result", "tool_use_id": "b", "content": [text("B"), image], "is_error": true},
        text("note"),
    ]);
    let turns = out["messages"].as_array().unwrap();
    assert_eq!(turns.len(), 3);
    assert_eq!(turns[1], json!({"role": "assistant", "content": uses}));
    assert_eq!(turns[2], json!({"role": "user", "content": results}));
    let written = String::from_utf8(ask(&body, &strict("claude-sonnet-4-5")).unwrap().body).unwrap();
    assert!(written.contains(r#""input":{"z": 1.0, "a":2}"#), "arguments keep their text: {written}");
    assert_eq!(out["tools"], json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]));
}

#[test]
fn foreign_call_ids_are_spelled_alike_in_call_and_result() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "functions.f:0|x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "functions.f:0|x", "content": ""},
    ]});
    let out = sent(&body);
    let id = out["messages"][1]["content"][0]["id"].as_str().unwrap();
    assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{id}");
    assert_eq!(out["messages"][2]["content"][0], json!({"type": "tool_result", "tool_use_id": id}));
    // The history calls a tool that is no longer offered: it is declared, and forbidden.
    assert_eq!((&out["tools"][0]["name"], &out["tool_choice"]), (&json!("f"), &json!({"type": "none"})));
}

#[test]
fn signed_thinking_comes_first_and_byte_for_byte() {
    let first = r#"{"type":"thinking","thinking":"a\u00e9","signature":"Zm9v+/=="}"#;
    let second = r#"{"type":"redacted_thinking","data":"x"}"#;
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"answer","reasoning_content":"a","thinking_blocks":[{first},{second},{{"type":"thinking","thinking":"unsigned"}}]}},{{"role":"user","content":"more"}}]}}"#
    );
    let parsed = ChatRequest::from_json(body.as_bytes()).unwrap();
    let out = request(&parsed, &strict("claude-sonnet-4-5")).unwrap();
    let written = String::from_utf8(out.body).unwrap();
    let expected = format!(r#""content":[{first},{second},{{"type":"text","text":"answer"}}]"#);
    assert!(written.contains(&expected), "{written}");
    assert_eq!(out.dropped, ["messages[1].thinking_blocks[2]"]);
    let native = sent(&chat_with_native_thinking());
    assert_eq!(native["messages"][1]["content"][0]["signature"], "s");
    let unsigned =
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]);
    let foreign =
        ask(&chat(&json!([{"role": "assistant", "content": unsigned}])), &strict("claude-sonnet-4-5")).unwrap();
    assert_eq!(foreign.dropped, ["messages[].content[].thinking"]);
}

fn chat_with_native_thinking() -> Value {
    chat(&json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "more"},
    ]))
}

#[test]
fn what_an_answer_kept_for_anthropic_goes_back() {
    let search = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": 1}});
    let body = chat(&json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "provider_specific_fields": {"content_blocks": [search], "citations": []}},
        {"role": "user", "content": "more"},
    ]));
    assert_eq!(sent(&body)["messages"][1]["content"], json!([search, text("a")]));
}

#[test]
fn images_and_documents() {
    let part =
        |part: Value| sent(&chat(&json!([{"role": "user", "content": [part]}])))["messages"][0]["content"][0].clone();
    let url = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    assert_eq!(
        part(url("https://x/y.png")),
        json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})
    );
    let alone = json!({"type": "image_url", "image_url": "https://x/y.png"});
    assert_eq!(part(alone), part(url("https://x/y.png")));
    assert_eq!(part(url("data:image/jpg;base64,aGk="))["source"]["media_type"], "image/jpeg");
    let file = |data: &str| json!({"type": "file", "file": {"file_data": data, "filename": "a.pdf"}});
    assert_eq!(
        part(file("data:application/pdf;base64,JVBERi0=")),
        json!({"type": "document", "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}})
    );
    assert_eq!(
        part(file("data:text/csv;charset=utf-8;base64,w6ksYg=="))["source"],
        json!({"type": "text", "media_type": "text/plain", "data": "\u{e9},b"})
    );
    let uploaded = chat(&json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_1"}}]}]));
    let out = ask(&uploaded, &strict("claude-sonnet-4-5")).unwrap();
    assert_eq!(out.betas, ["files-api-2025-04-14"]);
    for bad in
        [url("ftp://x"), url("data:image/png,raw"), url("data:video/mp4;base64,aGk="), url("data:image/png;base64,")]
    {
        let param = refused(&chat(&json!([{"role": "user", "content": [bad]}])));
        assert_eq!(param, "messages[0].content[0].image_url.url");
    }
    let audio = json!([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]);
    assert_eq!(refused(&chat(&audio)), "messages[1].content[0].type");
    let source = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "citations": {"enabled": true}});
    assert_eq!(part(source.clone()), source);
}

#[test]
fn empty_text_is_left_out_and_a_prefill_has_no_white_space_at_its_end() {
    let out = sent(&chat(&json!([
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "q"}]},
        {"role": "assistant", "content": "  "},
        {"role": "user", "content": "\n"},
        {"role": "assistant", "content": "The answer is \n"},
    ])));
    let expected = json!([
        {"role": "user", "content": [text("q")]},
        {"role": "assistant", "content": [text("The answer is")]},
    ]);
    assert_eq!(out["messages"], expected);
    assert_eq!(refused(&chat(&json!([]))), "messages");
    assert_eq!(refused(&chat(&json!([{"role": "user", "content": ""}]))), "messages");
}

#[test]
fn broken_messages_are_refused_with_their_place() {
    let case = |message: Value| refused(&chat(&json!([{"role": "user", "content": "q"}, message])));
    assert_eq!(case(json!({"role": "narrator", "content": "x"})), "messages[1].role");
    assert_eq!(case(json!({"role": "tool", "content": "x"})), "messages[1].tool_call_id");
    let call = |id: &str, arguments: &str| json!({"role": "assistant", "tool_calls": [{"id": id, "function": {"name": "f", "arguments": arguments}}]});
    assert_eq!(case(call("a", "[1]")), "messages[1].tool_calls[0].function.arguments");
    assert_eq!(case(call("a", "{\"x\":")), "messages[1].tool_calls[0].function.arguments");
    assert_eq!(case(call("", "{}")), "messages[1].tool_calls[0].id");
    let image = json!([{"type": "image_url", "image_url": {"url": "https://x"}}]);
    assert_eq!(case(json!({"role": "system", "content": image})), "messages[1].content");
}

//! Streams that recordings do not hold: odd, broken, hostile.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{CONTEXT, collect, translate};
use crate::providers::anthropic::{StreamTranslator, UsageWatch};
use crate::usage::Usage;

fn named(list: &[Value]) -> Vec<(String, String)> {
    list.iter().map(|event| (event["type"].as_str().unwrap_or("").to_owned(), event.to_string())).collect()
}

fn start(id: &str) -> Value {
    json!({"type": "message_start", "message": {"id": id, "usage": {"input_tokens": 10, "output_tokens": 1}}})
}

fn open(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn text(index: u64, text: &str) -> Value {
    delta(index, &json!({"type": "text_delta", "text": text}))
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str, output: u64) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": output}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn a_call_without_arguments_gets_an_empty_object() {
    let tool = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let whole = json!({"type": "tool_use", "id": "b", "name": "g", "input": {"x": 1}});
    let mut list = vec![start("m"), open(0, &tool), delta(0, &json!({"type": "input_json_delta", "partial_json": ""}))];
    list.extend([stop(0), open(1, &whole)]);
    list.extend(end("tool_use", 3));
    let (_, out, _) = translate(&named(&list), false);
    let got = collect(&out);
    assert_eq!(got.calls[0], ("a".into(), "f".into(), "{}".into()));
    assert_eq!(got.calls[1], ("b".into(), "g".into(), r#"{"x":1}"#.into()));
    assert_eq!(got.finishes, ["tool_calls"]);
}

#[test]
fn interleaved_blocks_keep_their_own_arguments() {
    let tool = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let part = |index: u64, json: &str| delta(index, &json!({"type": "input_json_delta", "partial_json": json}));
    let mut list = vec![start("m"), open(3, &tool("a")), open(5, &tool("b")), part(5, "{\"k\""), part(3, "{\"j\":")];
    list.extend([part(5, ":2}"), part(3, "1}"), stop(3), stop(5)]);
    list.extend(end("tool_use", 3));
    let (_, out, _) = translate(&named(&list), false);
    let got = collect(&out);
    assert_eq!(got.calls[0].2, r#"{"j":1}"#);
    assert_eq!(got.calls[1].2, r#"{"k":2}"#);
}

#[test]
fn unknown_events_blocks_and_deltas_do_not_break_the_stream() {
    let mut list = vec![
        start("m"),
        json!({"type": "brand_new", "x": [1]}),
        open(0, &json!({"type": "hologram", "a": "x", "input": {}})),
        delta(0, &json!({"type": "hologram_delta", "a": "y", "b": 2})),
        stop(0),
        open(1, &json!({"type": "text", "text": "pre"})),
        delta(1, &json!({"type": "wave_delta", "amplitude": 1})),
        text(1, "fix"),
        text(7, "!"),
        delta(9, &json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(42),
    ];
    list.extend(end("a_new_reason", 3));
    let mut events = named(&list);
    events.insert(1, ("future".into(), "not json".into()));
    events.push(("message_stop".into(), json!({"type": "message_stop"}).to_string()));
    let (translator, out, outcome) = translate(&events, false);
    outcome.unwrap();
    let got = collect(&out);
    assert!(translator.finished() && got.done);
    assert_eq!((got.text.as_str(), got.finishes[0].as_str()), ("prefix!", "stop"));
    assert_eq!(got.fields[0]["content_blocks"], json!([{"type": "hologram", "a": "xy", "b": 2, "input": {}}]));
    assert_eq!(got.fields[0]["stop_reason"], "a_new_reason");
}

#[test]
fn an_error_event_ends_translation_with_its_words() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let (translator, out, outcome) = translate(&named(&[start("m"), text(0, "hal"), error.clone()]), true);
    let told = outcome.unwrap_err();
    assert_eq!((told.kind.as_str(), told.message.as_str()), ("overloaded_error", "Overloaded"));
    assert!(!translator.finished() && !collect(&out).done);
    assert_eq!(translator.text_so_far(), "hal");
    assert!(!translator.usage_complete());
    let mut watch = UsageWatch::new();
    watch.event(Some(b"error"), error.to_string().as_bytes());
    assert_eq!(watch.error().unwrap().kind, "overloaded_error");
}

#[test]
fn known_events_that_are_not_json_are_an_error_and_not_a_panic() {
    let mut translator = StreamTranslator::new(&CONTEXT, false);
    let told = translator.event(Some(b"content_block_delta"), b"{\"type\":", &mut Vec::new()).unwrap_err();
    assert_eq!(told.kind, "malformed_response");
    translator.event(Some(b"ping"), b"", &mut Vec::new()).unwrap();
    translator.event(None, b"[DONE]", &mut Vec::new()).unwrap();
    let mut watch = UsageWatch::new();
    watch.event(None, b"{\"type\":");
    watch.body(b"[");
    assert_eq!(watch.usage(), None);
}

#[test]
fn a_refusal_is_a_content_filter_with_its_explanation() {
    let details = json!({"type": "refusal", "category": "cyber", "explanation": "No."});
    let list = [
        start("m"),
        json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_sequence": null, "stop_details": details},
            "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    let (_, out, _) = translate(&named(&list), false);
    let got = collect(&out);
    assert_eq!((got.refusal.as_str(), got.finishes[0].as_str()), ("No.", "content_filter"));
    assert_eq!(got.fields[0], json!({"stop_reason": "refusal", "stop_details": details}));
}

#[test]
fn a_stream_without_its_last_event_can_still_be_closed() {
    let [last, _] = end("end_turn", 3);
    let (mut translator, mut out, _) = translate(&named(&[start("m"), text(0, "a"), last]), true);
    assert!(!translator.finished());
    assert!(translator.close(&mut out) && translator.close(&mut out));
    let got = collect(&out);
    assert!(got.done);
    assert_eq!((got.finishes.len(), got.usages.len()), (1, 1));
    let (mut cut, mut out, _) = translate(&named(&[start("m"), text(0, "a")]), true);
    assert!(!cut.close(&mut out) && !collect(&out).done);
}

#[test]
fn restated_input_counts_and_a_zero_does_not_erase() {
    let usage = |input: u64| {
        let mut list = vec![json!({"type": "message_start", "message": {"id": "m", "usage":
            {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}}})];
        list.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage":
            {"input_tokens": input, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 3}}}));
        translate(&named(&list), false).0.usage().unwrap()
    };
    assert_eq!(usage(0), Usage { prompt: 17, completion: 9, cached: 5, cache_write: 2, reasoning: 3 });
    assert_eq!(usage(30).prompt, 37);
}

#[test]
fn a_restarted_message_leaves_no_thinking_of_the_abandoned_one() {
    let think = |text: &str, signature: &str| {
        vec![
            open(0, &json!({"type": "thinking", "thinking": ""})),
            delta(0, &json!({"type": "thinking_delta", "thinking": text})),
            delta(0, &json!({"type": "signature_delta", "signature": signature})),
            stop(0),
        ]
    };
    let mut list = vec![start("first")];
    list.extend(think("one", "sig/1=="));
    list.push(start("second"));
    list.extend(think("two", "sig/2=="));
    list.extend(end("end_turn", 5));
    let (_, out, _) = translate(&named(&list), false);
    let got = collect(&out);
    assert_eq!(got.thinking, [json!({"type": "thinking", "thinking": "two", "signature": "sig/2=="})]);
    assert_eq!((got.roles, got.finishes.len()), (1, 1));
}

#[test]
fn pretty_printed_raw_values_stay_on_one_line() {
    let event = "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"server_tool_use\",\n\"input\":{\n},\"name\":\"a\\nb\"}}";
    let mut events = named(&[start("m")]);
    events.push(("content_block_start".into(), event.into()));
    events.extend(named(&[stop(0)]));
    events.extend(named(&end("pause_turn", 1)));
    let (_, out, _) = translate(&events, false);
    let got = collect(&out);
    assert_eq!(got.fields[0]["content_blocks"][0]["name"], "a\nb");
    assert_eq!((got.fields[0]["stop_reason"].as_str(), got.finishes[0].as_str()), (Some("pause_turn"), "stop"));
}

fn any_event() -> impl Strategy<Value = Value> {
    let block = prop_oneof![
        Just(json!({"type": "text", "text": "t"})),
        Just(json!({"type": "thinking", "thinking": ""})),
        Just(json!({"type": "tool_use", "id": "i", "name": "n", "input": {}})),
        Just(json!({"type": "server_tool_use", "id": "i", "name": "n", "input": {}})),
        Just(json!({"type": 7})),
    ];
    let change = prop_oneof![
        ".{0,6}".prop_map(|text| json!({"type": "text_delta", "text": text})),
        ".{0,6}".prop_map(|text| json!({"type": "thinking_delta", "thinking": text})),
        ".{0,6}".prop_map(|text| json!({"type": "input_json_delta", "partial_json": text})),
        Just(json!({"type": "signature_delta", "signature": "s"})),
        Just(json!({"type": "citations_delta", "citation": {"type": "char_location"}})),
    ];
    prop_oneof![
        "[a-c]".prop_map(|id| start(&id)),
        (0..3u64, block).prop_map(|(index, block)| open(index, &block)),
        (0..3u64, change).prop_map(|(index, change)| delta(index, &change)),
        (0..3u64).prop_map(stop),
        Just(json!({"type": "ping"})),
        Just(json!({"type": "message_delta", "delta": {"stop_reason": null}, "usage": {"output_tokens": 2}})),
    ]
}

proptest! {
    /// Whatever the order of events, a client that is as strict as `collect` can read the result, and no text is lost.
    #[test]
    fn any_order_of_events_makes_a_readable_stream(list in prop::collection::vec(any_event(), 0..40)) {
        let mut list = list;
        list.extend(end("end_turn", 7));
        let (translator, out, outcome) = translate(&named(&list), true);
        prop_assert!(outcome.is_ok());
        let got = collect(&out);
        prop_assert!(got.done && translator.finished());
        prop_assert_eq!((got.roles, got.finishes.len(), got.usages.len()), (1, 1, 1));
        prop_assert!(got.text.len() + got.reasoning.len() <= translator.text_so_far().len());
        prop_assert_eq!(translator.usage().unwrap().completion, 7);
    }

    #[test]
    fn no_bytes_make_the_translator_fail_badly(list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
        let mut translator = StreamTranslator::new(&CONTEXT, true);
        for data in &list {
            let _ = translator.event(None, data, &mut Vec::new());
        }
    }
}

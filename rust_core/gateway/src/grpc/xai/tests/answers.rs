use bytes::BytesMut;

use super::super::{Method, Translator};
use super::{numbers, texts, values};
use crate::errors::{Failure, Kind};

fn answer(method: Method, json: &str) -> Result<Vec<u8>, Failure> {
    let mut out = BytesMut::new();
    Translator::new(method).answer(json.as_bytes(), &mut out)?;
    Ok(out.to_vec())
}

/// The bytes are those that the published client's own protobuf runtime writes for the same answer.
#[test]
fn a_completion_byte_for_byte() {
    let json = r#"{"id":"c1","object":"chat.completion","created":1700000000,"model":"m","system_fingerprint":"fp",
        "choices":[{"index":0,"message":{"role":"assistant","content":"hi","reasoning_content":"hm",
            "tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},
            "logprobs":null,"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,
            "prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}"#;
    let expected = b"\n\x02c1\x12\x1e\x08\x04\x1a\x1a\n\x02hi\x10\x02\x1a\x0e\n\x01t\x10\x01R\x07\n\x01f\x12\x02{}\"\x02hm*\x06\x08\x80\xe2\xcf\xaa\x062\x01m:\x02fpJ\x0c\x08\x02\x10\n\x18\x0f \n0\x038\x04";
    assert_eq!(answer(Method::Completion, json).unwrap(), expected);
}

/// Behind the rest, because it is known last; whoever reads the message sees one usage.
#[test]
fn the_price_is_added_to_the_usage() {
    let mut out = BytesMut::new();
    let mut translator = Translator::new(Method::Completion);
    translator.answer(br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":0}}"#, &mut out).unwrap();
    let before = out.len();
    translator.finish_answer(&mut out);
    assert_eq!(out.len(), before);
    translator.cost(b"0.000000012");
    translator.finish_answer(&mut out);
    assert_eq!(out.split_off(before), b"\x4a\x02\x58\x78"[..]);
}

#[test]
fn finish_reasons() {
    for (word, value) in [
        ("\"stop\"", vec![3]),
        ("\"length\"", vec![1]),
        ("\"tool_calls\"", vec![4]),
        ("\"function_call\"", vec![4]),
        ("\"content_filter\"", vec![3]),
        ("\"model_length\"", vec![2]),
        ("\"eos\"", vec![3]),
        ("null", vec![]),
    ] {
        let json = format!(r#"{{"choices":[{{"message":{{}},"finish_reason":{word}}}]}}"#);
        assert_eq!(numbers(&answer(Method::Completion, &json).unwrap(), &[2, 1]), value, "{word}");
    }
}

#[test]
fn several_answers_and_what_stands_in_for_content() {
    let json = r#"{"choices":[
        {"index":1,"message":{"content":null,"refusal":"no"}},
        {"message":{"content":[{"type":"thinking","thinking":[{"text":"hm"}]},{"type":"text","text":"a"}]}},
        {"index":2,"message":{"content":"b","reasoning":"r","tool_calls":[
            {"function":{"name":"f","arguments":""}},{"id":"2","function":{"name":"g","arguments":{"a":1}}}]}}],
        "service_tier":"priority","citations":["http://a"]}"#;
    let out = answer(Method::Completion, json).unwrap();
    assert_eq!(texts(&out, &[2, 3, 1]), ["no", "a", "b"]);
    assert_eq!(texts(&out, &[2, 3, 4]), ["hm", "r"]);
    assert_eq!(numbers(&out, &[2, 3, 2]), [2, 2, 2], "every message is the assistant's");
    assert_eq!(numbers(&out, &[2, 2]), [1, 1, 2]);
    assert_eq!(texts(&out, &[2, 3, 3, 10, 2]), ["{}", r#"{"a":1}"#]);
    assert_eq!(numbers(&out, &[2, 3, 3, 2]), [1, 1]);
    assert_eq!(numbers(&out, &[15]), [2]);
    assert_eq!(texts(&out, &[10]), ["http://a"]);
}

#[test]
fn citations_are_told_once() {
    let json = r#"{"choices":[{"message":{"content":"x","annotations":[
        {"type":"url_citation","url_citation":{"url":"http://a","start_index":0}},
        {"type":"url_citation","url_citation":{"url":"http://b"}},{"type":"other"}]}}],"citations":["http://a"]}"#;
    assert_eq!(texts(&answer(Method::Completion, json).unwrap(), &[10]), ["http://a", "http://b"]);
}

#[test]
fn log_probabilities() {
    let json = r#"{"choices":[{"message":{"content":"é"},"logprobs":{"content":[
        {"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[{"token":"e","logprob":-2,"bytes":null}]}],
        "refusal":null}}]}"#;
    let out = answer(Method::Completion, json).unwrap();
    assert_eq!(texts(&out, &[2, 4, 1, 1]), ["é"]);
    assert_eq!(values(&out, &[2, 4, 1, 2])[0].float(), Some(-0.5));
    assert_eq!(values(&out, &[2, 4, 1, 3])[0].bytes(), Some(&[195, 169][..]));
    assert_eq!(texts(&out, &[2, 4, 1, 4, 1]), ["e"]);
    assert_eq!(values(&out, &[2, 4, 1, 4, 2])[0].float(), Some(-2.0));
    let other = r#"{"choices":[{"message":{"content":"x"},"logprobs":{"tokens":["x"],"content":5}}]}"#;
    assert!(values(&answer(Method::Completion, other).unwrap(), &[2, 4]).is_empty());
}

/// xAI and some others tell reasoning beside the completion, OpenAI inside it; here it is beside, whoever answered.
#[test]
fn output_is_told_without_reasoning() {
    for completion in [7, 4] {
        let json = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":10,"completion_tokens":{completion},"total_tokens":17,
            "completion_tokens_details":{{"reasoning_tokens":3}},"prompt_tokens_details":{{"image_tokens":6}}}}}}"#
        );
        let out = answer(Method::Completion, &json).unwrap();
        let usage: Vec<_> = (1..=8).map(|field| numbers(&out, &[9, field])).collect();
        assert_eq!(usage, [vec![4], vec![10], vec![17], vec![4], vec![6], vec![3], vec![], vec![]]);
    }
}

#[test]
fn text_completions() {
    let json = r#"{"id":"c","created":5,"model":"m","choices":[{"index":0,"text":"a","finish_reason":"length","logprobs":null},
        {"index":1,"text":"b","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let out = answer(Method::Sample, json).unwrap();
    assert_eq!(texts(&out, &[2, 3]), ["a", "b"]);
    assert_eq!(numbers(&out, &[2, 1]), [1, 3]);
    assert_eq!((numbers(&out, &[5, 1]), texts(&out, &[6])), (vec![5], vec!["m"]));
    assert_eq!(numbers(&out, &[9, 3]), [3]);
}

#[test]
fn embeddings_in_the_form_they_came_in() {
    let json =
        r#"{"object":"list","model":"m","data":[{"index":0,"embedding":[0.5,-1]},{"index":1,"embedding":"AAAAPw=="}]}"#;
    let out = answer(Method::Embed, json).unwrap();
    let floats = values(&out, &[2, 2, 1]);
    assert_eq!(floats.len(), 1);
    assert_eq!(floats[0].bytes(), Some(&[0, 0, 0, 63, 0, 0, 128, 191][..]));
    assert_eq!(texts(&out, &[2, 2, 2]), ["AAAAPw=="]);
    assert_eq!(numbers(&out, &[2, 1]), [1]);
    assert_eq!((numbers(&out, &[3, 1]), texts(&out, &[4])), (vec![2], vec!["m"]));
}

#[test]
fn what_is_no_answer_is_the_providers_fault() {
    for (method, json) in [
        (Method::Completion, "{}"),
        (Method::Completion, "nothing"),
        (Method::Completion, r#"{"choices":{}}"#),
        (Method::Sample, "{}"),
        (Method::Embed, "{}"),
        (Method::Embed, r#"{"data":[{"embedding":[1,"2"]}]}"#),
        (Method::CompletionChunk, r#"{"choices":[]}"#),
    ] {
        assert_eq!(answer(method, json).unwrap_err().kind, Kind::UpstreamProtocol, "{json}");
    }
}

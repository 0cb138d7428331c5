use super::super::{Method, Translator};
use super::{numbers, texts, unframed};
use crate::errors::{Failure, Kind};
use crate::grpc::frame::Messages;

/// The messages that the events of a stream become, the end included.
fn stream(method: Method, events: &[&str]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut translator = Translator::new(method);
    let mut messages = Messages::default();
    for event in events {
        translator.event(b"", event.as_bytes(), &mut messages)?;
    }
    translator.cost(b"0.000000012");
    translator.end(&mut messages)?;
    Ok(unframed(&messages.take()))
}

fn chat(events: &[&str]) -> Vec<Vec<u8>> {
    stream(Method::CompletionChunk, events).unwrap()
}

fn delta(choice: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":7,"model":"m","system_fingerprint":"fp","choices":[{choice}]}}"#
    )
}

const USAGE: &str = r#"{"id":"c","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

/// What the published client's accumulator takes from every chunk is in every chunk.
#[test]
fn every_chunk_tells_all_that_clients_take_from_the_latest() {
    let messages = chat(&[
        &delta(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#),
        &delta(r#"{"index":0,"delta":{"content":"Hel"},"finish_reason":null}"#),
        r#"{"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}],"usage":null}"#,
        &delta(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#),
        USAGE,
    ]);
    assert_eq!(messages.len(), 4, "the first chunk says nothing that a client would see");
    for message in &messages {
        assert_eq!((texts(message, &[1]), texts(message, &[4])), (vec!["c"], vec!["m"]));
        assert_eq!((numbers(message, &[3, 1]), texts(message, &[5])), (vec![7], vec!["fp"]));
    }
    let roles: Vec<_> = messages.iter().map(|m| numbers(m, &[2, 1, 2])).collect();
    assert_eq!(roles, [vec![2], vec![2], vec![2], vec![]]);
    let content: String = messages.iter().flat_map(|m| texts(m, &[2, 1, 1])).collect();
    assert_eq!(content, "Hello");
    assert_eq!(messages.iter().map(|m| numbers(m, &[2, 3])).collect::<Vec<_>>(), [vec![], vec![], vec![3], vec![]]);
    assert_eq!(numbers(&messages[3], &[6, 3]), [5]);
    assert!(numbers(&messages[2], &[6, 3]).is_empty());
}

#[test]
fn usage_that_was_told_is_told_again() {
    let messages = chat(&[
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#,
        r#"{"choices":[{"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    ]);
    let totals: Vec<_> = messages.iter().map(|m| numbers(m, &[6, 3])).collect();
    assert_eq!(totals, [[4], [4], [5], [5]]);
    let prices: Vec<_> = messages.iter().map(|m| numbers(m, &[6, 11])).collect();
    assert_eq!(prices, [vec![], vec![], vec![], vec![120]], "the price is known at the end");
}

#[test]
fn calls_come_whole_with_the_end_of_their_answer() {
    let call =
        |calls: &str| delta(&format!(r#"{{"index":0,"delta":{{"tool_calls":[{calls}]}},"finish_reason":null}}"#));
    let messages = chat(&[
        &call(r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#),
        &call(r#"{"index":0,"function":{"arguments":"{\"x\""}}"#),
        &call(r#"{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}"#),
        &call(r#"{"index":0,"function":{"arguments":":1}"}}"#),
        &delta(r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#),
        USAGE,
    ]);
    assert_eq!(messages.len(), 2);
    assert_eq!(texts(&messages[0], &[2, 1, 3, 1]), ["a", "b"]);
    assert_eq!(texts(&messages[0], &[2, 1, 3, 10, 1]), ["f", "g"]);
    assert_eq!(texts(&messages[0], &[2, 1, 3, 10, 2]), [r#"{"x":1}"#, "{}"]);
    assert_eq!(numbers(&messages[0], &[2, 3]), [4]);
    assert!(texts(&messages[1], &[2, 1, 3, 1]).is_empty());
}

/// Servers that give every call the index 0, or none, tell them apart by their ids; others repeat the id in each fragment.
#[test]
fn calls_are_told_apart_by_their_ids_too() {
    for index in ["\"index\":0,", ""] {
        let one =
            |id: &str, text: &str| format!(r#"{{{index}"id":"{id}","function":{{"name":"f","arguments":"{text}"}}}}"#);
        let messages = chat(&[
            &delta(&format!(r#"{{"index":0,"delta":{{"tool_calls":[{},{}]}}}}"#, one("a", "1"), one("b", "2"))),
            &delta(&format!(r#"{{"index":0,"delta":{{"tool_calls":[{}]}},"finish_reason":"stop"}}"#, one("b", "3"))),
        ]);
        assert_eq!(messages.len(), 1);
        assert_eq!(texts(&messages[0], &[2, 1, 3, 10, 2]), ["1", "23"]);
    }
}

#[test]
fn calls_of_a_stream_that_never_says_why_it_ended_are_not_lost() {
    let messages = chat(&[
        &delta(r#"{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}"#),
        USAGE,
    ]);
    assert_eq!(messages.len(), 1);
    assert_eq!(texts(&messages[0], &[2, 1, 3, 1]), ["a"]);
    assert_eq!((numbers(&messages[0], &[2, 3]), numbers(&messages[0], &[6, 3])), (vec![4], vec![5]));
}

#[test]
fn several_answers_keep_their_numbers_and_their_ends() {
    let messages = chat(&[
        &delta(r#"{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b","reasoning_content":"r"}}"#),
        &delta(r#"{"index":0,"delta":{},"finish_reason":"length"}"#),
        &delta(r#"{"index":0,"delta":{"content":"!"}}"#),
        &delta(r#"{"index":1,"delta":{"refusal":"no"},"finish_reason":"stop"}"#),
    ]);
    assert_eq!(numbers(&messages[0], &[2, 4]), [1]);
    assert_eq!(texts(&messages[0], &[2, 1, 1]), ["a", "b"]);
    assert_eq!(texts(&messages[0], &[2, 1, 4]), ["r"]);
    assert_eq!(numbers(&messages[2], &[2, 3]), [1], "clients would take it for unfinished again");
    assert_eq!((texts(&messages[3], &[2, 1, 1]), numbers(&messages[3], &[2, 4])), (vec!["no"], vec![1]));
}

#[test]
fn citations_are_added_once_and_log_probabilities_with_their_text() {
    let messages = chat(&[
        r#"{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-1}]}}],"citations":["u"]}"#,
        r#"{"choices":[{"delta":{"content":"b"}}],"citations":["u","v"]}"#,
    ]);
    assert_eq!((texts(&messages[0], &[7]), texts(&messages[1], &[7])), (vec!["u"], vec!["v"]));
    assert_eq!(texts(&messages[0], &[2, 2, 1, 1]), ["a"]);
}

#[test]
fn pieces_of_text_completions() {
    let events = [
        r#"{"id":"c","created":7,"model":"m","choices":[{"index":0,"text":"a","finish_reason":null}]}"#,
        r#"{"id":"c","created":7,"model":"m","choices":[{"index":0,"text":"","finish_reason":"length"}]}"#,
        USAGE,
    ];
    let messages = stream(Method::SampleStreaming, &events).unwrap();
    assert_eq!(messages.iter().map(|m| texts(m, &[2, 3])).collect::<Vec<_>>(), [vec!["a"], vec![], vec![]]);
    assert_eq!(numbers(&messages[1], &[2, 1]), [1]);
    assert_eq!((texts(&messages[2], &[1]), numbers(&messages[2], &[9, 3])), (vec!["c"], vec![5]));
    assert_eq!(numbers(&messages[2], &[9, 11]), [120]);
}

#[test]
fn what_a_provider_sends_is_bounded() {
    let failure = |events: &[&str]| stream(Method::CompletionChunk, events).unwrap_err().kind;
    assert_eq!(failure(&["{"]), Kind::UpstreamProtocol);
    assert_eq!(failure(&[&delta(r#"{"index":4000000000,"delta":{"content":"a"}}"#)]), Kind::UpstreamProtocol);
    let text = "x".repeat(1 << 20);
    let fragment = delta(&format!(
        r#"{{"index":0,"delta":{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{text}"}}}}]}}}}"#
    ));
    assert_eq!(failure(&vec![fragment.as_str(); 17]), Kind::UpstreamProtocol);
}

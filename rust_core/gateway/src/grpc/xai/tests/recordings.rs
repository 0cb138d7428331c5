//! Recorded answers of providers that speak OpenAI's wire: all are understood, and what they say arrives.

use bytes::BytesMut;
use serde_json::Value;

use super::super::{Method, Translator};
use super::{numbers, texts, unframed};
use crate::grpc::frame::Messages;

/// Text, and names and arguments of calls, of all choices of an answer or a chunk.
#[derive(Debug, Default, PartialEq)]
struct Said {
    content: String,
    calls: Vec<(String, String)>,
}

/// The same, put together from the JSON: calls by choice, index and id.
#[derive(Debug, Default)]
struct Expected {
    content: String,
    fragments: Vec<(Place, String, (String, String))>,
}

type Place = (Option<u64>, Option<u64>);

impl Expected {
    /// In order of choices; clients want JSON even where there are no arguments.
    fn said(mut self) -> Said {
        self.fragments.sort_by_key(|((choice, _), _, _)| *choice);
        let whole = |(name, arguments): (String, String)| {
            (name, if arguments.is_empty() { "{}".to_owned() } else { arguments })
        };
        Said { content: self.content, calls: self.fragments.into_iter().map(|(_, _, call)| whole(call)).collect() }
    }
}

fn expect(said: &mut Expected, json: &Value, member: &str) {
    for choice in json["choices"].as_array().into_iter().flatten() {
        let message = &choice[member];
        match &message["content"] {
            Value::Array(parts) => parts.iter().for_each(|part| said.content += part["text"].as_str().unwrap_or("")),
            content => said.content += content.as_str().unwrap_or(""),
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let of = |name: &str| call["function"][name].as_str().unwrap_or("").to_owned();
            let id = call["id"].as_str().unwrap_or("").to_owned();
            let place = (choice["index"].as_u64(), call["index"].as_u64());
            let known =
                said.fragments.iter().rposition(|(at, known, _)| *at == place && (id.is_empty() || *known == id));
            let at = known.filter(|_| member == "delta").unwrap_or_else(|| {
                said.fragments.push((place, id, Default::default()));
                said.fragments.len() - 1
            });
            let (name, arguments) = &mut said.fragments[at].2;
            *name += &of("name");
            *arguments += &of("arguments");
        }
    }
}

fn told(messages: &[Vec<u8>], to_message: u32) -> Said {
    let mut said = Said::default();
    for message in messages {
        said.content.extend(texts(message, &[2, to_message, 1]));
        let names = texts(message, &[2, to_message, 3, 10, 1]);
        let arguments = texts(message, &[2, to_message, 3, 10, 2]);
        assert_eq!(names.len(), arguments.len());
        said.calls.extend(names.iter().zip(&arguments).map(|(n, a)| ((*n).to_owned(), (*a).to_owned())));
    }
    said
}

#[test]
fn what_providers_said_arrives() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    let Ok(providers) = std::fs::read_dir(&root) else {
        eprintln!("SKIPPED: no recordings");
        return;
    };
    let mut seen = [0; 2];
    let recordings = providers.flatten().filter_map(|provider| std::fs::read_dir(provider.path()).ok()).flatten();
    for path in recordings.map(|entry| entry.unwrap().path()) {
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        let response = read("response.json");
        if let Ok(json) = serde_json::from_str::<Value>(&response)
            && json["object"] == "chat.completion"
        {
            let mut out = BytesMut::new();
            let translated = Translator::new(Method::Completion).answer(response.as_bytes(), &mut out);
            assert!(translated.is_ok(), "{}: {translated:?}", path.display());
            let mut expected = Expected::default();
            expect(&mut expected, &json, "message");
            if expected.content.is_empty() {
                expected.content = json["choices"][0]["message"]["refusal"].as_str().unwrap_or("").to_owned();
            }
            assert_eq!(told(&[out.to_vec()], 3), expected.said(), "{}", path.display());
            if json["usage"]["total_tokens"].is_u64() {
                let usage: u64 = [1, 2, 6].iter().flat_map(|field| numbers(&out, &[9, *field])).sum();
                assert_eq!(vec![usage], numbers(&out, &[9, 3]), "{}", path.display());
            }
            seen[0] += 1;
        }
        let stream = read("response.sse");
        let chunks: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        if !chunks.iter().any(|chunk| chunk.contains("chat.completion.chunk")) || stream.contains("data: {\"error\"") {
            continue;
        }
        let (mut translator, mut messages) = (Translator::new(Method::CompletionChunk), Messages::default());
        let mut expected = Expected::default();
        for chunk in chunks.into_iter().filter(|chunk| chunk.trim() != "[DONE]") {
            let translated = translator.event(b"", chunk.as_bytes(), &mut messages);
            assert!(translated.is_ok(), "{}: {translated:?} {chunk}", path.display());
            expect(&mut expected, &serde_json::from_str(chunk).unwrap(), "delta");
        }
        translator.end(&mut messages).unwrap();
        assert_eq!(told(&unframed(&messages.take()), 1), expected.said(), "{}", path.display());
        seen[1] += 1;
    }
    eprintln!("{seen:?} recorded answers, streams");
}

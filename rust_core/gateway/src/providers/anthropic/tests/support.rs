//! Recordings and how to read what was written.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::canonical::{ChatChunk, ChatRequest};
use crate::providers::anthropic::{
    ParamError, RequestOptions, ResponseContext, StreamTranslator, Translated, WireError, request,
};

pub(super) const CONTEXT: ResponseContext<'_> = ResponseContext { model: "public-name", created: 1_700_000_000 };

/// The directories of recorded exchanges with a provider; says so and returns none where there are no recordings.
pub(super) fn recordings(provider: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures").join(provider);
    let Ok(entries) = std::fs::read_dir(&root) else {
        eprintln!("SKIPPED: no recordings of {provider}");
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

pub(super) fn read(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The events of an SSE body.
pub(super) fn events(body: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    let (mut name, mut data) = (String::new(), Vec::new());
    for line in body.lines().chain([""]) {
        if line.is_empty() {
            if !data.is_empty() {
                events.push((std::mem::take(&mut name), data.join("\n")));
                data.clear();
            }
        } else if let Some(value) = line.strip_prefix("event:") {
            name = value.trim().to_owned();
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
        }
    }
    events
}

/// What a client has put together from a translated stream.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub roles: usize,
    pub text: String,
    pub reasoning: String,
    pub refusal: String,
    pub thinking: Vec<Value>,
    pub calls: Vec<(String, String, String)>,
    pub annotations: Vec<Value>,
    pub fields: Vec<Value>,
    pub finishes: Vec<String>,
    pub usages: Vec<Value>,
    pub done: bool,
}

/// Read translated frames as a client does; panics on anything a strict client would refuse.
pub(super) fn collect(out: &[u8]) -> Collected {
    let mut collected = Collected::default();
    let text = std::str::from_utf8(out).unwrap();
    for (position, frame) in text.split_terminator("\n\n").enumerate() {
        assert!(!collected.done, "a frame after [DONE]");
        let data = frame.strip_prefix("data: ").unwrap();
        assert!(!data.contains('\n'), "a frame of several lines");
        if data == "[DONE]" {
            collected.done = true;
            continue;
        }
        let chunk = ChatChunk::from_json(data.as_bytes()).unwrap();
        assert_eq!(chunk.object, "chat.completion.chunk");
        assert_eq!((chunk.model.as_str(), chunk.created), (CONTEXT.model, CONTEXT.created));
        let value: Value = serde_json::from_str(data).unwrap();
        if chunk.choices.is_empty() {
            collected.usages.push(value["usage"].clone());
            continue;
        }
        assert!(collected.usages.is_empty(), "a choice after the usage chunk");
        assert!(collected.finishes.is_empty(), "a choice after the finish chunk");
        let delta = &value["choices"][0]["delta"];
        if delta.get("role").is_some() {
            assert_eq!(position, 0, "the role comes first");
            collected.roles += 1;
        }
        collected.text += delta["content"].as_str().unwrap_or("");
        collected.reasoning += delta["reasoning_content"].as_str().unwrap_or("");
        collected.refusal += delta["refusal"].as_str().unwrap_or("");
        let list = |name: &str| delta[name].as_array().cloned().unwrap_or_default();
        collected.thinking.extend(list("thinking_blocks"));
        collected.annotations.extend(list("annotations"));
        collected.fields.extend(delta.get("provider_specific_fields").cloned());
        for call in list("tool_calls") {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if index == collected.calls.len() {
                let id = call["id"].as_str().unwrap().to_owned();
                let name = call["function"]["name"].as_str().unwrap().to_owned();
                assert_eq!(call["type"], "function");
                collected.calls.push((id, name, String::new()));
            }
            collected.calls[index].2 += call["function"]["arguments"].as_str().unwrap();
        }
        if let Some(reason) = value["choices"][0]["finish_reason"].as_str() {
            collected.finishes.push(reason.to_owned());
        }
    }
    collected
}

/// Run events through a translator.
pub(super) fn translate(
    events: &[(String, String)],
    include_usage: bool,
) -> (StreamTranslator, Vec<u8>, Result<(), WireError>) {
    let mut translator = StreamTranslator::new(&CONTEXT, include_usage);
    let mut out = Vec::new();
    for (name, data) in events {
        if let Err(error) = translator.event(Some(name.as_bytes()), data.as_bytes(), &mut out) {
            return (translator, out, Err(error));
        }
    }
    (translator, out, Ok(()))
}

/// Options that refuse what cannot be expressed.
pub(super) fn strict(model: &str) -> RequestOptions<'_> {
    RequestOptions { model, default_max_tokens: 4096, drop_params: false, allowed_params: &[] }
}

pub(super) fn ask(body: &Value, options: &RequestOptions<'_>) -> Result<Translated, ParamError> {
    request(&ChatRequest::from_json(body.to_string().as_bytes()).unwrap(), options)
}

/// The Messages body of a request that can be expressed.
pub(super) fn sent(body: &Value) -> Value {
    serde_json::from_slice(&ask(body, &strict("claude-sonnet-4-5")).unwrap().body).unwrap()
}

pub(super) fn chat(messages: &Value) -> Value {
    json!({"model": "m", "messages": messages})
}

pub(super) fn with(extra: &Value) -> Value {
    let mut body = chat(&json!([{"role": "user", "content": "hi"}]));
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

pub(super) fn refused(body: &Value) -> String {
    ask(body, &strict("claude-sonnet-4-5")).unwrap_err().param
}

pub(super) fn on(model: &str, extra: &Value) -> Value {
    serde_json::from_slice(&ask(&with(extra), &strict(model)).unwrap().body).unwrap()
}

pub(super) fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

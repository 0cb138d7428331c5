//! The OpenAI wire: chat, completions, embeddings, responses and the smaller endpoints.

pub(crate) mod chat;
mod chat_stream;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod media;
pub(crate) mod responses;
mod responses_stream;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;

use crate::call::{Call, Early, Usage};
use crate::json::{put, quoted};
use crate::output::Output;
use crate::reply::{Answer, Refusal, Unary};
use crate::text::Text;

/// Most choices of a request.
const MAX_CHOICES: u32 = 128;

/// An error event of a stream.
pub(crate) fn error_event() -> Bytes {
    Bytes::from_static(
        b"data: {\"error\":{\"message\":\"The server had an error while processing your request.\",\
          \"type\":\"server_error\",\"param\":null,\"code\":\"server_error\"}}\n\n",
    )
}

/// The `usage` object of chat and legacy completions.
pub(crate) fn usage_json(usage: &Usage) -> String {
    let Usage { prompt, cached, output, reasoning } = *usage;
    let total = prompt + output;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}

/// Tokens of all choices.
pub(crate) fn sent(output: &Output, choices: u32) -> u64 {
    match output {
        Output::Words(words) => words.iter().map(|w| w.count).sum(),
        other => other.tokens() * u64::from(choices),
    }
}

/// `n`, checked.
pub(crate) fn choices(n: Option<u32>) -> Result<u32, Refusal> {
    match n.unwrap_or(1) {
        n @ 1..=MAX_CHOICES => Ok(n),
        n => {
            Err(Refusal { param: Some("n"), ..Refusal::invalid(format!("n: {n} is not between 1 and {MAX_CHOICES}")) })
        }
    }
}

/// `POST /moderations`: nothing is ever flagged but text with the word `flagged`.
pub(crate) fn moderations(call: &mut Call<'_>) -> Result<Answer, Early> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow, default)]
        model: Option<std::borrow::Cow<'a, str>>,
        input: serde_json::Value,
    }
    let request: Request<'_> = call.parse()?;
    call.model(request.model.as_deref().unwrap_or("omni-moderation-latest"))?;
    let inputs: Vec<&serde_json::Value> = match &request.input {
        serde_json::Value::Array(all) if all.iter().all(serde_json::Value::is_string) => all.iter().collect(),
        one => vec![one],
    };
    let names = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let mut results = Vec::new();
    let mut words = 0;
    for input in inputs {
        let text = input.to_string();
        words += serde_json::from_str::<Text>(&text).unwrap_or_default().words;
        let hit = text.contains("flagged");
        let each = |f: &dyn Fn(&str) -> String| {
            names.iter().map(|n| format!("{}:{}", quoted(n), f(n))).collect::<Vec<_>>().join(",")
        };
        let flag = |name: &str| (hit && name == "violence").to_string();
        let score = |name: &str| if hit && name == "violence" { "0.98" } else { "0.0001" }.to_owned();
        results.push(format!(
            r#"{{"flagged":{hit},"categories":{{{}}},"category_scores":{{{}}},"category_applied_input_types":{{{}}}}}"#,
            each(&flag),
            each(&score),
            each(&|_| r#"["text"]"#.to_owned())
        ));
    }
    call.count(words, 0);
    let body = format!(
        r#"{{"id":"modr-sim{:016}","model":{},"results":[{}]}}"#,
        call.seq,
        quoted(&call.facts.model),
        results.join(",")
    );
    Ok(Answer::Unary(Unary::json(body)))
}

/// `POST /rerank` (Cohere's and Jina's shape): documents with more of the query's words come first.
pub(crate) fn rerank(call: &mut Call<'_>) -> Result<Answer, Early> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow, default)]
        model: std::borrow::Cow<'a, str>,
        query: String,
        documents: Vec<serde_json::Value>,
        top_n: Option<usize>,
        #[serde(default)]
        return_documents: bool,
    }
    let request: Request<'_> = call.parse()?;
    call.model(&request.model)?;
    let asked: Vec<&str> = request.query.split_whitespace().collect();
    let mut words = asked.len() as u64;
    let mut ranked: Vec<(usize, f64)> = Vec::new();
    for (index, document) in request.documents.iter().enumerate() {
        let text = document.as_str().or_else(|| document.get("text").and_then(|t| t.as_str())).unwrap_or_default();
        let has = asked.iter().filter(|w| text.contains(**w)).count();
        words += text.split_whitespace().count() as u64;
        ranked.push((index, (has as f64 + 0.01) / (asked.len() as f64 + 0.02)));
    }
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(request.top_n.unwrap_or(usize::MAX));
    let results: Vec<serde_json::Value> = ranked
        .iter()
        .map(|(index, score)| {
            let mut result = serde_json::json!({"index": index, "relevance_score": score});
            if let (true, Some(document), Some(map)) =
                (request.return_documents, request.documents.get(*index), result.as_object_mut())
            {
                let shown = if document.is_string() { serde_json::json!({"text": document}) } else { document.clone() };
                map.insert("document".into(), shown);
            }
            result
        })
        .collect();
    let usage = call.count(words, 0);
    let body = serde_json::json!({
        "id": format!("rerank-sim{:016}", call.seq), "model": call.facts.model, "results": results,
        "usage": {"total_tokens": usage.prompt, "prompt_tokens": usage.prompt},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1},
                 "tokens": {"input_tokens": usage.prompt, "output_tokens": 0}},
    });
    Ok(Answer::Unary(Unary::json(body.to_string())))
}

const MODELS: [&str; 3] = ["sim", "sim-claude", "sim-embedding"];

fn model_json(id: &str) -> String {
    format!(r#"{{"id":{},"object":"model","created":1735689600,"owned_by":"penstock"}}"#, quoted(id))
}

/// `GET /models`.
pub(crate) fn models(call: &mut Call<'_>) -> Result<Answer, Early> {
    call.gate()?;
    let mut body = BytesMut::new();
    put!(body, r#"{{"object":"list","data":["#);
    for (i, id) in MODELS.iter().enumerate() {
        if i > 0 {
            body.put_u8(b',');
        }
        body.put_slice(model_json(id).as_bytes());
    }
    put!(body, "]}}");
    Ok(Answer::Unary(Unary::json(body.freeze())))
}

/// `GET /models/{id}`: every id exists, since every id is answered.
pub(crate) fn model(call: &mut Call<'_>, id: &str) -> Result<Answer, Early> {
    call.model(id)?;
    Ok(Answer::Unary(Unary::json(model_json(id))))
}

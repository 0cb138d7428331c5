//! The routing table of the public port. Everything it does not know goes to the control plane.

use super::Surface;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// A call: through the five phases. The template labels records and metrics.
    Call(Surface, &'static str),
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`
    Model(&'a str),
    /// Liveness.
    Live,
    /// Readiness.
    Ready,
    /// The Litestar app.
    Control,
}

/// Opaque parts of the OpenAI API: first path segment after `/v1`, and the label.
const PASSTHROUGH: &[(&str, &str)] = &[
    ("responses", "/v1/responses"),
    ("images", "/v1/images"),
    ("audio", "/v1/audio"),
    ("moderations", "/v1/moderations"),
    ("rerank", "/v1/rerank"),
    ("files", "/v1/files"),
    ("uploads", "/v1/uploads"),
    ("batches", "/v1/batches"),
    ("fine_tuning", "/v1/fine_tuning"),
    ("assistants", "/v1/assistants"),
    ("threads", "/v1/threads"),
    ("vector_stores", "/v1/vector_stores"),
    ("containers", "/v1/containers"),
    ("conversations", "/v1/conversations"),
    ("evals", "/v1/evals"),
    ("videos", "/v1/videos"),
    ("ocr", "/v1/ocr"),
    ("score", "/v1/score"),
    ("chat", "/v1/chat/completions/{id}"),
];

/// Looks a request up. `path` is without query.
#[must_use]
pub fn route<'a>(method: &[u8], path: &'a str) -> Route<'a> {
    let get = method == b"GET" || method == b"HEAD";
    match path {
        "/_health/live" if get => return Route::Live,
        "/_health/ready" if get => return Route::Ready,
        _ => {}
    }
    let inner = path.strip_prefix("/v1/").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    if method == b"POST" {
        match inner {
            "chat/completions" => return Route::Call(Surface::Chat, "/v1/chat/completions"),
            "completions" => return Route::Call(Surface::Completions, "/v1/completions"),
            "embeddings" => return Route::Call(Surface::Embeddings, "/v1/embeddings"),
            "messages" => return Route::Call(Surface::Messages, "/v1/messages"),
            "messages/count_tokens" => return Route::Call(Surface::CountTokens, "/v1/messages/count_tokens"),
            _ => {}
        }
    }
    if get {
        if inner == "models" {
            return Route::Models;
        }
        if let Some(id) = inner.strip_prefix("models/").filter(|id| !id.is_empty()) {
            return Route::Model(id);
        }
    }
    let (segment, deeper) = inner.split_once('/').map_or((inner, false), |(s, _)| (s, true));
    let known = PASSTHROUGH.iter().find(|(name, _)| *name == segment);
    match known {
        // `/v1/chat/completions` takes POST only; what lies below it are stored completions.
        Some(("chat", _)) if inner != "chat/completions" && !inner.starts_with("chat/completions/") => Route::Control,
        Some(("audio" | "fine_tuning", _)) if !deeper => Route::Control,
        Some((_, template)) if matches!(method, b"GET" | b"POST" | b"DELETE" | b"PUT" | b"PATCH") => {
            Route::Call(Surface::Passthrough, template)
        }
        _ if inner == "v2/rerank" && method == b"POST" => Route::Call(Surface::Passthrough, "/v2/rerank"),
        _ => Route::Control,
    }
}

/// Whether the `model` in the body of an opaque request is what runs. On the others (files, batches, threads, ...) the
/// provider takes the model from elsewhere or runs none, and the request reaches whatever the account holds.
#[must_use]
pub fn runs_its_model(method: &[u8], path: &str) -> bool {
    const EXACT: [&str; 9] = [
        "responses",
        "responses/compact",
        "responses/input_tokens",
        "moderations",
        "rerank",
        "v2/rerank",
        "ocr",
        "score",
        "videos",
    ];
    let inner = path.strip_prefix("/v1/").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    method == b"POST" && (EXACT.contains(&inner) || inner.starts_with("images/") || inner.starts_with("audio/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_routes_with_and_without_v1() {
        for prefix in ["", "/v1"] {
            for (path, surface) in [
                ("/chat/completions", Surface::Chat),
                ("/completions", Surface::Completions),
                ("/embeddings", Surface::Embeddings),
                ("/messages", Surface::Messages),
                ("/responses", Surface::Passthrough),
                ("/audio/speech", Surface::Passthrough),
            ] {
                let full = format!("{prefix}{path}");
                assert!(matches!(route(b"POST", &full), Route::Call(s, _) if s == surface), "{full}");
            }
        }
        assert_eq!(route(b"GET", "/v1/models/openai/gpt-4o"), Route::Model("openai/gpt-4o"));
        assert_eq!(route(b"GET", "/models"), Route::Models);
    }

    #[test]
    fn the_rest_is_the_control_planes() {
        for (method, path) in [
            (&b"GET"[..], "/"),
            (b"POST", "/key/generate"),
            (b"GET", "/schema"),
            (b"POST", "/v1/chat"),
            (b"GET", "/model/info"),
            (b"POST", "/v1/models"),
            (b"GET", "/v1/model/info"),
            (b"POST", "/v1//chat/completions"),
            (b"POST", "/v1/chat/completionsx"),
        ] {
            assert_eq!(route(method, path), Route::Control, "{path}");
        }
    }
}

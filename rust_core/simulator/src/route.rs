//! Which endpoint of which wire a request is for.

use crate::files::FileAction;
use crate::reply::Wire;

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Moderations,
    Speech,
    Transcriptions,
    Images,
    Rerank,
    Models,
    Model(String),
    Files(FileAction),
    Messages,
    CountTokens,
}

/// An endpoint as a provider's host has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) wire: Wire,
    pub(crate) endpoint: Endpoint,
    /// Of an Azure path.
    pub(crate) deployment: Option<String>,
}

/// The outcome of a search.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Route(Route),
    WrongMethod(Wire),
    Nothing(Wire),
}

/// Finds the route of a request target.
pub(crate) fn find(method: &[u8], target: &str) -> Found {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let (wire, deployment, rest) = split(path);
    let get = matches!(method, b"GET" | b"HEAD");
    let post = method == b"POST";
    let wire = if rest == "messages" || rest.starts_with("messages/") { Wire::Anthropic } else { wire };
    let (allowed, endpoint) = match rest {
        "chat/completions" => (post, Endpoint::Chat),
        "completions" => (post, Endpoint::Completions),
        "embeddings" => (post, Endpoint::Embeddings),
        "responses" => (post, Endpoint::Responses),
        "moderations" => (post, Endpoint::Moderations),
        "audio/speech" => (post, Endpoint::Speech),
        "audio/transcriptions" | "audio/translations" => (post, Endpoint::Transcriptions),
        "images/generations" => (post, Endpoint::Images),
        "rerank" => (post, Endpoint::Rerank),
        "messages" => (post, Endpoint::Messages),
        "messages/count_tokens" => (post, Endpoint::CountTokens),
        "models" => (get, Endpoint::Models),
        "files" => (get || post, Endpoint::Files(if post { FileAction::Upload } else { FileAction::List })),
        _ => {
            if let Some(id) = rest.strip_prefix("models/").filter(|id| !id.is_empty()) {
                (get, Endpoint::Model(decoded(id)))
            } else if let Some(id) = rest.strip_prefix("files/").filter(|id| !id.is_empty()) {
                let action = match id.strip_suffix("/content") {
                    Some(id) => FileAction::Content(id.to_owned()),
                    None if method == b"DELETE" => FileAction::Delete(id.to_owned()),
                    None => FileAction::Get(id.to_owned()),
                };
                let allowed = get || (method == b"DELETE" && matches!(action, FileAction::Delete(_)));
                (allowed, Endpoint::Files(action))
            } else {
                return Found::Nothing(wire);
            }
        }
    };
    if allowed { Found::Route(Route { wire, endpoint, deployment }) } else { Found::WrongMethod(wire) }
}

/// Takes the provider's base path off.
fn split(path: &str) -> (Wire, Option<String>, &str) {
    if let Some(rest) = path.strip_prefix("/openai/deployments/") {
        let (deployment, rest) = rest.split_once('/').unwrap_or((rest, ""));
        return (Wire::Azure, Some(decoded(deployment)), rest);
    }
    for base in ["/openai/v1/", "/api/v1/", "/v1/", "/v2/"] {
        if let Some(rest) = path.strip_prefix(base) {
            return (Wire::OpenAi, None, rest);
        }
    }
    (Wire::OpenAi, None, path.strip_prefix('/').unwrap_or(path))
}

/// Percent-decoded; what is not UTF-8 then is replaced.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_below_every_base() {
        for path in ["/v1/chat/completions", "/chat/completions", "/openai/v1/chat/completions?x=1"] {
            let found = find(b"POST", path);
            assert!(
                matches!(found, Found::Route(Route { wire: Wire::OpenAi, endpoint: Endpoint::Chat, .. })),
                "{path}"
            );
        }
        let Found::Route(azure) = find(b"POST", "/openai/deployments/a%2Fb%zz/embeddings?api-version=1") else {
            panic!()
        };
        assert_eq!(azure.deployment.as_deref(), Some("a/b%zz"));
        assert_eq!(azure.wire, Wire::Azure);
    }

    #[test]
    fn methods_and_strangers() {
        assert_eq!(find(b"GET", "/v1/messages"), Found::WrongMethod(Wire::Anthropic));
        assert_eq!(find(b"GET", "/v1/nothing"), Found::Nothing(Wire::OpenAi));
        assert!(matches!(find(b"HEAD", "/v1/models"), Found::Route(_)));
        assert!(matches!(find(b"DELETE", "/v1/files/f/content"), Found::WrongMethod(_)));
    }
}

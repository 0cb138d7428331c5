//! Which routes a key may call: LiteLLM's `allowed_routes`.
//!
//! Apart from the models a key may use because it is asked before a body is read, and for management routes too.

use super::pattern;

/// What a route is, as the surface that owns it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// OpenAI's API.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
    /// Another API for models (Gemini, pass-through).
    OtherLlm,
    /// Reading about keys, teams, users and models.
    Info,
    /// Changing them.
    Management,
    /// None of these.
    Other,
}

/// Whether one of `allowed` covers the route. An empty list covers every route.
///
/// An entry is a group (`llm_api_routes`, `openai_routes`, `anthropic_routes`, `info_routes`, `management_routes`), a path with `*`,
/// or a path that covers itself and what is below it. A leading `/v1` is the same as none. A path that could mean
/// another one once it is resolved (`..`) is covered by no list.
pub(super) fn allows(allowed: &[String], path: &str, kind: RouteKind) -> bool {
    if allowed.is_empty() {
        return true;
    }
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.split('/').any(climbs) {
        return false;
    }
    allowed.iter().any(|entry| match entry.as_str() {
        "llm_api_routes" => matches!(kind, RouteKind::OpenAi | RouteKind::Anthropic | RouteKind::OtherLlm),
        "openai_routes" => kind == RouteKind::OpenAi,
        "anthropic_routes" => kind == RouteKind::Anthropic,
        "info_routes" => kind == RouteKind::Info,
        "management_routes" => kind == RouteKind::Management,
        entry => covers(entry, path) || covers(unversioned(entry), unversioned(path)),
    })
}

fn covers(entry: &str, path: &str) -> bool {
    if entry.contains('*') {
        return pattern::matches(entry, path);
    }
    let entry = entry.trim_end_matches('/');
    entry.starts_with('/') && path.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn unversioned(path: &str) -> &str {
    path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Dot segments, plain or percent-encoded, and encoded separators, which a server behind may resolve differently.
fn climbs(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == ".." || plain.contains("%2f") || plain.contains("%5c") || plain.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(entry: &str, path: &str, kind: RouteKind) -> bool {
        allows(&[entry.to_owned()], path, kind)
    }

    #[test]
    fn no_list_allows_all() {
        assert!(allows(&[], "/anything", RouteKind::Other));
    }

    #[test]
    fn groups_cover_their_kinds_only() {
        use RouteKind::{Anthropic, Info, Management, OpenAi, Other, OtherLlm};
        let groups: [(&str, &[RouteKind]); 5] = [
            ("llm_api_routes", &[OpenAi, Anthropic, OtherLlm]),
            ("openai_routes", &[OpenAi]),
            ("anthropic_routes", &[Anthropic]),
            ("info_routes", &[Info]),
            ("management_routes", &[Management]),
        ];
        for (group, covered) in groups {
            for kind in [OpenAi, Anthropic, OtherLlm, Info, Management, Other] {
                assert_eq!(allowed(group, "/x", kind), covered.contains(&kind), "{group} {kind:?}");
            }
        }
    }

    #[test]
    fn paths_cover_themselves_and_what_is_below() {
        let openai = RouteKind::OpenAi;
        for (entry, path) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions", "/chat/completions"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/files", "/v1/files/file-1/content"),
            ("/v1/files/", "/v1/files"),
            ("/v1/files/*", "/v1/files/file-1"),
            ("/v1/*", "/v1/embeddings?x=1"),
            ("*", "/v1/embeddings"),
        ] {
            assert!(allowed(entry, path, openai), "{entry} {path}");
        }
        for (entry, path) in [
            ("/v1/chat/completions", "/v1/chat"),
            ("/v1/chat", "/v1/chatter"),
            ("/v1/files/*", "/v1/files"),
            ("/v1/files", "/v1/embeddings"),
            ("/v1/files", "/v1/files/../chat/completions"),
            ("/v1/files/*", "/v1/files/%2E%2e/chat/completions"),
            ("/v1/files", "/v1/files/..%2fchat"),
            ("", "/v1/chat"),
            ("llm_api_route", "/llm_api_route"),
        ] {
            assert!(!allowed(entry, path, openai), "{entry} {path}");
        }
    }
}

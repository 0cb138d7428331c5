//! The `anthropic-beta` flags that a request needs.
//!
//! Only for features that are not generally available; a flag that a platform does not know is refused there.

use crate::canonical::{ChatRequest, Object, raw};

/// Tool types that are behind a flag.
const TOOLS: &[(&str, &str)] = &[
    ("advisor_20260301", "advisor-tool-2026-03-01"),
    ("code_execution_20250522", "code-execution-2025-05-22"),
    ("computer_20241022", "computer-use-2024-10-22"),
    ("computer_20250124", "computer-use-2025-01-24"),
    ("computer_20251124", "computer-use-2025-11-24"),
    ("mcp_toolset", "mcp-client-2025-11-20"),
];

/// More flags than exist would only make a header that no server takes.
const MOST: usize = 64;

/// The flags the client asked for (`betas` or `anthropic_beta`, list or comma-separated) and those its features need.
pub(super) fn needed(chat: &ChatRequest, uses_files: bool) -> Vec<String> {
    let mut flags = Vec::new();
    let mut add = |flag: &str| {
        let flag = flag.trim();
        if !flag.is_empty() && flags.len() < MOST && !flags.iter().any(|known| known == flag) {
            flags.push(flag.to_owned());
        }
    };
    for name in ["betas", "anthropic_beta"] {
        let Some(value) = chat.rest.get(name) else { continue };
        match raw::parse::<Vec<String>>(value) {
            Some(list) => list.iter().for_each(|flag| add(flag)),
            None => raw::parse::<String>(value).iter().flat_map(|text| text.split(',')).for_each(&mut add),
        }
    }
    let types: Vec<&str> = chat.tools.iter().flatten().filter_map(|tool| tool.kind.as_deref()).collect();
    for (kind, flag) in TOOLS {
        if types.contains(kind) {
            add(flag);
        }
    }
    if chat.rest.get("mcp_servers").is_some() && !types.contains(&"mcp_toolset") {
        add("mcp-client-2025-04-04");
    }
    if let Some(management) = chat.rest.get("context_management") {
        if management.get().contains("\"compact_") {
            add("compact-2026-01-12");
        }
        if management.get().contains("\"clear_") {
            add("context-management-2025-06-27");
        }
    }
    let skills = chat.rest.get("container").and_then(raw::parse::<Object>);
    if skills.is_some_and(|container| container.get("skills").is_some()) {
        add("skills-2025-10-02");
    }
    if chat.rest.get("output_format").is_some() {
        add("structured-outputs-2025-11-13");
    }
    if chat.rest.text("speed").as_deref() == Some("fast") {
        add("fast-mode-2026-02-01");
    }
    if chat.rest.get("fallbacks").is_some() {
        add("server-side-fallback-2026-07-01");
    }
    if uses_files {
        add("files-api-2025-04-14");
    }
    flags
}

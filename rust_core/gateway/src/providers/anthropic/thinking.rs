//! `reasoning_effort` in terms of what each generation of Claude understands.
//!
//! | model | thinking | effort |
//! |---|---|---|
//! | before 3.7 | none: refused | - |
//! | 3.7 to 4.5 | `enabled` with a token budget | `minimal`, `low` 1024; `medium` 2048; `high` 4096; `xhigh` 8192; `max` 16384 |
//! | 4.6 | `adaptive` | `output_config.effort`; `minimal` is `low`, `xhigh` is `max` |
//! | 4.7 and later, or a name without a version | `adaptive` | the same, with `xhigh` |
//!
//! `none` leaves thinking out, and switches it off where a model would think unasked (5 and later).

use crate::canonical::{Raw, raw};

/// What a model understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Does not think.
    Plain,
    /// Thinks within a token budget.
    Budget,
    /// Decides itself how long to think.
    Adaptive {
        /// Major version, minor version.
        version: (u32, u32),
    },
}

/// The generation that a model name tells, e.g. `claude-sonnet-4-5-20250929`, `us.anthropic.claude-3-7-sonnet-...-v1:0`.
pub(super) fn generation(model: &str) -> Generation {
    let name = model.to_ascii_lowercase();
    let tail = name.find("claude").and_then(|at| name.get(at..)).unwrap_or(&name);
    let mut numbers = tail
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| if word.len() <= 2 { word.parse::<u32>().ok() } else { None })
        .skip_while(Option::is_none)
        .map_while(|number| number);
    let version = match numbers.next() {
        Some(major) => (major, numbers.next().unwrap_or(0)),
        None => (u32::MAX, 0),
    };
    match version {
        version if version < (3, 7) => Generation::Plain,
        version if version < (4, 6) => Generation::Budget,
        version => Generation::Adaptive { version },
    }
}

/// What an effort becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// No thinking asked for.
    Off,
    /// Thinking explicitly off.
    Disabled,
    /// So many tokens of thinking.
    Budget(u64),
    /// Adaptive thinking with this `output_config.effort`.
    Effort(&'static str),
    /// The model cannot.
    Unsupported,
}

/// `None`: not an effort.
pub(super) fn plan(effort: &str, generation: Generation) -> Option<Plan> {
    let level = ["none", "minimal", "low", "medium", "high", "xhigh", "max"].iter().position(|name| *name == effort)?;
    Some(match (generation, level) {
        (Generation::Adaptive { version: (5.., _) }, 0) => Plan::Disabled,
        (_, 0) => Plan::Off,
        (Generation::Plain, _) => Plan::Unsupported,
        (Generation::Budget, level) => Plan::Budget(match level {
            1 | 2 => 1024,
            3 => 2048,
            4 => 4096,
            5 => 8192,
            _ => 16384,
        }),
        (Generation::Adaptive { version }, level) => Plan::Effort(match level {
            1 | 2 => "low",
            3 => "medium",
            4 => "high",
            5 if version >= (4, 7) => "xhigh",
            _ => "max",
        }),
    })
}

/// The smallest budget that Anthropic accepts.
pub(super) const SMALLEST_BUDGET: u64 = 1024;

/// The `thinking` parameter of a plan.
pub(super) fn parameter(plan: &Plan) -> Option<Raw> {
    #[derive(serde::Serialize)]
    struct Thinking {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        budget_tokens: Option<u64>,
    }
    let (kind, budget_tokens) = match plan {
        Plan::Off | Plan::Unsupported => return None,
        Plan::Disabled => ("disabled", None),
        Plan::Budget(tokens) => ("enabled", Some(*tokens)),
        Plan::Effort(_) => ("adaptive", None),
    };
    Some(raw::to_raw(&Thinking { kind, budget_tokens }))
}

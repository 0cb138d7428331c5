//! Tools and the choice among them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::content;
use super::params::ParamError;
use super::wire::ToolDef;
use crate::canonical::{ChatRequest, Either, FunctionDef, Object, Tool, raw};

static NO_FIELDS: Object = Object::new();

/// `tools` and `tool_choice` of the body.
pub(super) struct Tools<'a> {
    pub list: Vec<ToolDef<'a>>,
    pub choice: Option<Object>,
}

impl Tools<'_> {
    /// Whether the choice forces a call.
    pub(super) fn forced(&self) -> bool {
        let kind = self.choice.as_ref().and_then(|choice| choice.text("type"));
        kind.is_some_and(|kind| matches!(kind.as_str(), "any" | "tool"))
    }
}

/// `called` are the tools that the history calls: Anthropic wants them declared even when none may be called any more.
pub(super) fn translate<'a>(chat: &'a ChatRequest, called: &BTreeSet<&'a str>) -> Result<Tools<'a>, ParamError> {
    let mut list = Vec::new();
    let allowed = allowed_names(chat)?;
    for (index, tool) in chat.tools.iter().flatten().enumerate() {
        let path = format!("tools[{index}]");
        let name = tool.function.as_ref().map(|function| function.name.as_str());
        if allowed.as_ref().is_none_or(|allowed| name.is_some_and(|name| allowed.contains(name))) {
            list.push(definition(tool, &path)?);
        }
    }
    if let Some(options) = &chat.web_search_options {
        list.push(web_search(options));
    }
    let native_tools = chat.rest.get("mcp_servers").is_some_and(|servers| !raw::is_null(servers));
    if list.is_empty() && !native_tools {
        if chat.tool_choice.as_ref().is_some_and(forces) {
            return Err(ParamError::new("tool_choice", "demands a call, but `tools` is empty"));
        }
        let choice = (!called.is_empty()).then(|| kind("none"));
        return Ok(Tools { list: called.iter().map(|name| stub(name)).collect(), choice });
    }
    Ok(Tools { list, choice: choice(chat)? })
}

fn definition<'a>(tool: &'a Tool, path: &str) -> Result<ToolDef<'a>, ParamError> {
    match (tool.kind.as_deref(), &tool.function) {
        (Some("function") | None, Some(function)) => function_tool(tool, function, path),
        (Some("function"), None) => Err(ParamError::new(format!("{path}.function"), "is missing")),
        (Some("custom"), _) if tool.rest.get("input_schema").is_none() => Err(ParamError::new(
            format!("{path}.type"),
            "Anthropic has no free-form tools; declare a `function` with a string parameter",
        )),
        (None, None) if tool.rest.get("input_schema").is_none() => {
            Err(ParamError::new(format!("{path}.type"), "is missing"))
        }
        _ => Ok(ToolDef::Native(raw::to_raw(tool))),
    }
}

fn function_tool<'a>(tool: &'a Tool, function: &'a FunctionDef, path: &str) -> Result<ToolDef<'a>, ParamError> {
    Ok(ToolDef::Function {
        name: Cow::Borrowed(&function.name),
        description: function.description.as_deref(),
        input_schema: schema(function, path)?,
        strict: function.strict.filter(|strict| *strict),
        cache_control: content::mark(tool.cache_control.as_ref().or(function.cache_control.as_ref())),
        // `defer_loading`, `input_examples`, `allowed_callers`: Anthropic's own, kept beside `function`.
        rest: &tool.rest,
    })
}

/// The parameters' schema; Anthropic requires `type: object` to be spelled out.
fn schema<'a>(function: &'a FunctionDef, path: &str) -> Result<Cow<'a, RawValue>, ParamError> {
    let path = || format!("{path}.function.parameters");
    let Some(parameters) = function.parameters.as_deref().filter(|schema| !raw::is_null(schema)) else {
        return Ok(Cow::Owned(empty_schema()));
    };
    let mut object: Object =
        raw::parse(parameters).ok_or_else(|| ParamError::new(path(), "must be a JSON Schema object"))?;
    if object.get("type").is_some() {
        return Ok(Cow::Borrowed(parameters));
    }
    object.push("type", "object");
    Ok(Cow::Owned(raw::to_raw(&object)))
}

fn empty_schema() -> Box<RawValue> {
    let mut schema = Object::new();
    schema.push("type", "object");
    schema.push("properties", &Object::new());
    raw::to_raw(&schema)
}

fn stub(name: &str) -> ToolDef<'_> {
    ToolDef::Function {
        name: Cow::Borrowed(name),
        description: None,
        input_schema: Cow::Owned(empty_schema()),
        strict: None,
        cache_control: None,
        rest: &NO_FIELDS,
    }
}

/// OpenAI's `web_search_options` as Anthropic's web search tool; the context size bounds the number of searches.
fn web_search(options: &Object) -> ToolDef<'static> {
    let mut tool = Object::new();
    tool.push("type", "web_search_20250305");
    tool.push("name", "web_search");
    let searches = match options.text("search_context_size").as_deref() {
        Some("low") => 1,
        Some("high") => 10,
        _ => 5,
    };
    tool.push("max_uses", &searches);
    let place = options.get("user_location").and_then(raw::parse::<Object>);
    if let Some(place) = place.and_then(|location| location.get("approximate").and_then(raw::parse::<Object>)) {
        let mut location = Object::new();
        location.push("type", "approximate");
        for (name, value) in place.iter() {
            location.push(name, value);
        }
        tool.push("user_location", &location);
    }
    ToolDef::Native(raw::to_raw(&tool))
}

fn kind(kind: &str) -> Object {
    let mut choice = Object::new();
    choice.push("type", kind);
    choice
}

fn forces(choice: &Either<Object>) -> bool {
    match choice {
        Either::Text(mode) => mode == "required" || mode == "any",
        Either::Other(object) => !matches!(object.text("type").as_deref(), Some("auto" | "none")),
    }
}

fn choice(chat: &ChatRequest) -> Result<Option<Object>, ParamError> {
    let bad = |message: &str| ParamError::new("tool_choice", message);
    let mut choice = match &chat.tool_choice {
        None => None,
        Some(Either::Text(mode)) => Some(mode_choice(mode)?),
        Some(Either::Other(object)) => Some(match object.text("type").as_deref() {
            Some("function") => {
                let function = object.get("function").and_then(raw::parse::<Object>).unwrap_or_default();
                let mut choice = kind("tool");
                choice.push("name", &function.text("name").ok_or_else(|| bad("needs `function.name`"))?);
                choice
            }
            Some("allowed_tools") => {
                let set = object.get("allowed_tools").and_then(raw::parse::<Object>).unwrap_or_default();
                mode_choice(set.text("mode").as_deref().unwrap_or("auto"))?
            }
            Some("auto" | "any" | "none" | "tool") => object.clone(),
            _ => return Err(bad("must be `auto`, `none`, `required`, or an object that names a function")),
        }),
    };
    let parallel = chat.parallel_tool_calls.unwrap_or(true);
    if !parallel && choice.as_ref().and_then(|choice| choice.text("type")).as_deref() != Some("none") {
        choice.get_or_insert_with(|| kind("auto")).set("disable_parallel_tool_use", &true);
    }
    Ok(choice)
}

fn mode_choice(mode: &str) -> Result<Object, ParamError> {
    match mode {
        "auto" | "none" => Ok(kind(mode)),
        "required" | "any" => Ok(kind("any")),
        _ => Err(ParamError::new("tool_choice", format!("unknown mode `{mode}`; use `auto`, `none` or `required`"))),
    }
}

/// The functions that an `allowed_tools` choice leaves; Anthropic has no such choice, so only they are declared.
fn allowed_names(chat: &ChatRequest) -> Result<Option<BTreeSet<String>>, ParamError> {
    let Some(Either::Other(choice)) = &chat.tool_choice else { return Ok(None) };
    if choice.text("type").as_deref() != Some("allowed_tools") {
        return Ok(None);
    }
    let set = choice.get("allowed_tools").and_then(raw::parse::<Object>).unwrap_or_default();
    let tools: Vec<Tool> = set
        .get("tools")
        .and_then(raw::parse)
        .ok_or_else(|| ParamError::new("tool_choice.allowed_tools.tools", "must be a list of functions"))?;
    Ok(Some(tools.into_iter().filter_map(|tool| tool.function).map(|function| function.name).collect()))
}

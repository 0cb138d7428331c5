//! Plausible JSON for a JSON schema, and the choice of a tool.

use serde_json::{Map, Value, json};

/// Nesting after which optional parts are left out.
const MAX_DEPTH: usize = 12;

/// A function the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// The tool to call, from `tools` and `tool_choice` in any of the three wires' forms;
/// `wanted`: the conversation asks for one when the choice is left to the model.
pub(crate) fn choose(tools: &Value, choice: &Value, wanted: bool) -> Option<Tool> {
    let kind = choice.as_str().or_else(|| choice.get("type").and_then(Value::as_str)).unwrap_or("auto");
    let named = choice.pointer("/function/name").or_else(|| choice.get("name")).and_then(Value::as_str);
    let forced = named.is_some() || matches!(kind, "required" | "any");
    if kind == "none" || !(forced || wanted) {
        return None;
    }
    tools.as_array()?.iter().filter_map(tool).find(|t| named.is_none_or(|n| t.name == n))
}

fn tool(tool: &Value) -> Option<Tool> {
    let function = tool.get("function").unwrap_or(tool);
    let schema = ["parameters", "input_schema"].iter().find_map(|k| function.get(k)).cloned();
    Some(Tool {
        name: function.get("name")?.as_str()?.to_owned(),
        schema: schema.unwrap_or_else(|| json!({"type": "object"})),
    })
}

/// An instance of the schema. Keywords that do not change the shape (`pattern`, `format`) are not looked at.
pub(crate) fn instance(schema: &Value) -> Value {
    build(schema, schema, "answer", 0)
}

fn build(schema: &Value, root: &Value, name: &str, depth: usize) -> Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.filter(|_| depth < MAX_DEPTH).map_or(Value::Null, |t| build(t, root, name, depth + 1));
    }
    if let Some(fixed) = schema.get("const").or_else(|| schema.pointer("/enum/0")) {
        return fixed.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(options)) = schema.get(key) {
            let is_null = |o: &&Value| o.get("type").and_then(Value::as_str) == Some("null");
            // Deep inside a recursive schema, the way out is the null alternative.
            let pick = if depth >= MAX_DEPTH { options.iter().find(is_null) } else { None };
            if let Some(option) = pick.or_else(|| options.iter().find(|o| !is_null(o))).or(options.first()) {
                return build(option, root, name, depth + 1);
            }
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or("null"),
        _ if schema.get("items").is_some() => "array",
        _ => "object",
    };
    match kind {
        "string" => string(schema, name),
        "integer" => json!(number(schema).ceil() as i64),
        "number" => json!(number(schema)),
        "boolean" => Value::Bool(true),
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(64);
            let most = if depth >= MAX_DEPTH { 0 } else { least };
            let item = schema.get("items").cloned().unwrap_or_else(|| json!({"type": "string"}));
            (0..most).map(|_| build(&item, root, name, depth + 1)).collect()
        }
        "null" => Value::Null,
        _ => object(schema, root, depth),
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required: Vec<&str> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut object = Map::new();
    match schema.get("properties") {
        Some(Value::Object(properties)) => {
            for (name, property) in properties {
                if depth < MAX_DEPTH || required.contains(&name.as_str()) && depth < 2 * MAX_DEPTH {
                    object.insert(name.clone(), build(property, root, name, depth + 1));
                }
            }
        }
        // `json_object`: any object will do.
        _ if depth == 0 && schema.get("type").is_none() => {
            object.insert("answer".into(), "time river that".into());
        }
        _ => {}
    }
    Value::Object(object)
}

fn string(schema: &Value, name: &str) -> Value {
    let length = |key: &str| schema.get(key).and_then(Value::as_u64).map(|n| n.min(65_536) as usize);
    let mut text = format!("{name} 1");
    if let Some(least) = length("minLength") {
        text.extend(std::iter::repeat_n('x', least.saturating_sub(text.chars().count())));
    }
    if let Some(most) = length("maxLength") {
        text = text.chars().take(most).collect();
    }
    Value::String(text)
}

fn number(schema: &Value) -> f64 {
    let of = |key: &str| schema.get(key).and_then(Value::as_f64);
    let least = of("minimum").or_else(|| of("exclusiveMinimum").map(|n| n + 1.0));
    let most = of("maximum").or_else(|| of("exclusiveMaximum").map(|n| n - 1.0));
    least.unwrap_or(1.0).min(most.unwrap_or(f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_schema_s_shape() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}, "unit": {"enum": ["c", "f"]},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}, "note": {"type": ["string", "null"]},
                "when": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}
            },
            "$defs": {"tag": {"type": "object", "properties": {"id": {"type": "number"}}}}
        });
        let made = instance(&schema);
        assert_eq!(
            made,
            json!({"city": "city 1", "days": 3, "unit": "c", "tags": [{"id": 1.0}], "note": "note 1", "when": true})
        );
    }

    #[test]
    fn a_recursive_schema_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}},
                            "required": ["next"]});
        assert!(instance(&schema).to_string().len() < 2000);
    }

    #[test]
    fn the_choice_of_a_tool() {
        let tools = json!([{"type": "function", "function": {"name": "a"}},
                           {"type": "function", "function": {"name": "b", "parameters": {"type": "object"}}}]);
        let name = |choice: Value, wanted| choose(&tools, &choice, wanted).map(|t| t.name);
        assert_eq!(name(Value::Null, false), None);
        assert_eq!(name(json!("auto"), true), Some("a".into()));
        assert_eq!(name(json!("none"), true), None);
        assert_eq!(name(json!("required"), false), Some("a".into()));
        assert_eq!(name(json!({"type": "function", "function": {"name": "b"}}), false), Some("b".into()));
        assert_eq!(name(json!({"type": "tool", "name": "b"}), false), Some("b".into()));
        assert_eq!(name(json!({"type": "any"}), false), Some("a".into()));
        let flat = json!([{"name": "z", "input_schema": {"type": "object"}}]);
        assert_eq!(choose(&flat, &Value::Null, true).map(|t| t.name), Some("z".into()));
    }
}

//! Tools, which of them are to be called, and the form of the answer.

use super::json::{Json, is_object};
use super::read::{self, Value, bad, each, text, within};
use super::request::refused;
use crate::errors::Outcome;

const MODES: [&str; 3] = ["auto", "none", "required"];

/// The name of the schema, which OpenAI's API asks for and xAI's has not.
const SCHEMA_NAME: &str = "response";

/// Writes the member `tools`.
pub(super) fn all(json: &mut Json, tools: &[&[u8]]) -> Outcome<()> {
    if tools.is_empty() {
        return Ok(());
    }
    json.key("tools");
    json.open(b'[');
    for (i, tool) in tools.iter().enumerate() {
        within(|| format!("tools[{i}]"), one(json, tool))?;
    }
    json.close(b']');
    Ok(())
}

fn one(json: &mut Json, tool: &[u8]) -> Outcome<()> {
    let mut function: Option<Function<'_>> = None;
    each(tool, |number, value| {
        let Value::Bytes(bytes) = value else { return Ok(()) };
        let name = match number {
            1 => return within(|| "function", function.get_or_insert_default().read(bytes)),
            3 => "web_search",
            4 => "x_search",
            5 => "code_execution",
            6 => "collections_search",
            7 => "mcp",
            8 => "attachment_search",
            10 => "image_generation",
            _ => return Ok(()),
        };
        Err(refused(name, "this tool runs at xAI; only functions of the application can be called"))
    })?;
    let Some(function) = function else { return Err(bad("function", "must be set")) };
    json.open(b'{');
    json.text("type", "function");
    json.key("function");
    within(|| "function", function.write(json))?;
    json.close(b'}');
    Ok(())
}

/// A function of the application.
#[derive(Default)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    strict: bool,
    parameters: &'a str,
}

impl<'a> Function<'a> {
    fn read(&mut self, message: &'a [u8]) -> Outcome<()> {
        each(message, |number, value| {
            match (number, value) {
                (1, Value::Bytes(bytes)) => self.name = text("name", bytes)?,
                (2, Value::Bytes(bytes)) => self.description = text("description", bytes)?,
                (3, Value::Varint(bits)) => self.strict = bits != 0,
                (4, Value::Bytes(bytes)) => self.parameters = text("parameters", bytes)?,
                _ => {}
            }
            Ok(())
        })
    }

    fn write(&self, json: &mut Json) -> Outcome<()> {
        json.open(b'{');
        json.text("name", self.name);
        json.text_if_any("description", self.description);
        if !self.parameters.is_empty() {
            if !is_object(self.parameters) {
                return Err(bad("parameters", "must be a JSON Schema: the text of one JSON object"));
            }
            json.key("parameters");
            json.raw(self.parameters);
        }
        json.display("strict", self.strict.then_some(true));
        json.close(b'}');
        Ok(())
    }
}

/// `tool_choice`: a mode or a name, whichever was set last.
#[derive(Default)]
pub(super) struct Choice<'a> {
    mode: Option<&'static str>,
    function: Option<&'a str>,
}

impl<'a> Choice<'a> {
    pub(super) fn read(&mut self, message: &'a [u8]) -> Outcome<()> {
        each(message, |number, value| {
            match (number, value) {
                (1, Value::Varint(bits)) => (self.mode, self.function) = (read::word("mode", bits, &MODES)?, None),
                (2, Value::Bytes(bytes)) => (self.mode, self.function) = (None, Some(text("function_name", bytes)?)),
                _ => {}
            }
            Ok(())
        })
    }

    pub(super) fn write(&self, json: &mut Json) -> Outcome<()> {
        if let Some(mode) = self.mode {
            json.text("tool_choice", mode);
        }
        if let Some(name) = self.function {
            json.key("tool_choice");
            json.open(b'{');
            json.text("type", "function");
            json.key("function");
            json.open(b'{');
            json.text("name", name);
            json.close(b'}');
            json.close(b'}');
        }
        Ok(())
    }
}

/// `response_format`.
#[derive(Default)]
pub(super) struct ResponseFormat<'a> {
    kind: u64,
    schema: &'a str,
}

impl<'a> ResponseFormat<'a> {
    pub(super) fn read(&mut self, message: &'a [u8]) -> Outcome<()> {
        each(message, |number, value| {
            match (number, value) {
                (1, Value::Varint(bits)) => self.kind = bits,
                (2, Value::Bytes(bytes)) => self.schema = text("schema", bytes)?,
                _ => {}
            }
            Ok(())
        })
    }

    pub(super) fn write(&self, json: &mut Json) -> Outcome<()> {
        const KINDS: [&str; 3] = ["text", "json_object", "json_schema"];
        let kind = read::word("format_type", self.kind, &KINDS)?;
        let is_schema = kind == Some("json_schema");
        if is_schema && !is_object(self.schema) {
            return Err(bad("schema", "must be a JSON Schema: the text of one JSON object"));
        }
        if !is_schema && !self.schema.is_empty() {
            return Err(bad("schema", "goes with FORMAT_TYPE_JSON_SCHEMA only"));
        }
        let Some(kind) = kind else { return Ok(()) };
        json.key("response_format");
        json.open(b'{');
        json.text("type", kind);
        if is_schema {
            // Not `strict`: xAI's clients send schemas that OpenAI's strict mode refuses.
            json.key("json_schema");
            json.open(b'{');
            json.text("name", SCHEMA_NAME);
            json.key("schema");
            json.raw(self.schema);
            json.close(b'}');
        }
        json.close(b'}');
        Ok(())
    }
}

//! Messages of the conversation.
//!
//! xAI's wire can leave out which call a tool's answer belongs to, OpenAI's cannot: so the calls of the latest assistant
//! message are remembered until they are answered.

use std::collections::HashSet;

use super::content::{self, Part};
use super::json::Json;
use super::read::{self, Value, bad, each, text, within};
use super::request::refused;
use crate::errors::Outcome;

const ROLES: [&str; 6] = ["user", "assistant", "system", "function", "tool", "developer"];

/// Calls run in the application; all other types are history of tools at xAI.
const CLIENT_SIDE: u64 = 1;
/// Calls that are done or not yet answered; what comes after was cut short or failed.
const COMPLETED: u64 = 1;

#[derive(Default)]
struct Message<'a> {
    role: u64,
    content: Vec<Part<'a>>,
    name: &'a str,
    tool_calls: Vec<Call<'a>>,
    reasoning_content: &'a str,
    tool_call_id: &'a str,
}

#[derive(Default)]
struct Call<'a> {
    id: &'a str,
    name: &'a str,
    arguments: &'a str,
}

/// Writes the member `messages`.
pub(super) fn all(json: &mut Json, messages: &[&[u8]]) -> Outcome<()> {
    json.key("messages");
    json.open(b'[');
    let mut unanswered = Unanswered::default();
    for (i, message) in messages.iter().enumerate() {
        within(
            || format!("messages[{i}]"),
            read(message, json.limit()).and_then(|message| {
                let id = answered(&message, &mut unanswered)?;
                write(json, &message, id)
            }),
        )?;
        json.check()?;
    }
    json.close(b']');
    Ok(())
}

fn read(message: &[u8], limit: usize) -> Outcome<Message<'_>> {
    let mut m = Message::default();
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => {
                let i = m.content.len();
                let part = within(|| format!("content[{i}]"), content::read(bytes))?;
                read::push(&mut m.content, part, r#"{"type":"text","text":""}"#.len(), limit)?;
            }
            (2, Value::Varint(bits)) => m.role = bits,
            (3, Value::Bytes(bytes)) => m.name = text("name", bytes)?,
            (4, Value::Bytes(bytes)) => {
                let i = m.tool_calls.len();
                let call = within(|| format!("tool_calls[{i}]"), call(bytes))?;
                read::push(&mut m.tool_calls, call, r#"{"id":"","type":"function","function":{}}"#.len(), limit)?;
            }
            (5, Value::Bytes(bytes)) => m.reasoning_content = text("reasoning_content", bytes)?,
            (6, Value::Bytes(bytes)) if !bytes.is_empty() => {
                return Err(refused("encrypted_content", "only xAI can read encrypted thinking; leave it out"));
            }
            (7, Value::Bytes(bytes)) => m.tool_call_id = text("tool_call_id", bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(m)
}

fn call(message: &[u8]) -> Outcome<Call<'_>> {
    let mut call = Call::default();
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => call.id = text("id", bytes)?,
            (2, Value::Varint(bits)) if bits > CLIENT_SIDE => {
                return Err(refused(
                    "type",
                    "this call ran at xAI; only calls of the application's functions can be sent",
                ));
            }
            (3, Value::Varint(bits)) if bits > COMPLETED => {
                return Err(refused("status", "a call cannot be marked as failed; say so in the tool's answer"));
            }
            (4, Value::Bytes(bytes)) if !bytes.is_empty() => {
                return Err(refused("error_message", "a call has no place for it; say so in the tool's answer"));
            }
            (10, Value::Bytes(bytes)) => within(|| "function", function(bytes, &mut call))?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(call)
}

fn function<'a>(message: &'a [u8], call: &mut Call<'a>) -> Outcome<()> {
    each(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => call.name = text("name", bytes)?,
            (2, Value::Bytes(bytes)) => call.arguments = text("arguments", bytes)?,
            _ => {}
        }
        Ok(())
    })
}

/// The calls of the latest assistant message that no tool's message has answered yet.
#[derive(Default)]
struct Unanswered<'a> {
    /// The ids of those that come after the last one that was answered for being the next.
    ids: std::vec::IntoIter<&'a str>,
    /// Those that were answered by name, and are passed over.
    named: HashSet<&'a str>,
}

impl<'a> Unanswered<'a> {
    fn of(calls: &[Call<'a>]) -> Self {
        Self { ids: calls.iter().map(|call| call.id).collect::<Vec<_>>().into_iter(), named: HashSet::new() }
    }

    fn answer(&mut self, id: &'a str) {
        if !self.ids.as_slice().is_empty() {
            self.named.insert(id);
        }
    }

    fn answer_next(&mut self) -> Option<&'a str> {
        self.ids.find(|id| !self.named.contains(id))
    }
}

/// Which call a tool's message answers: the one it names, else the first that is still unanswered.
fn answered<'a>(message: &Message<'a>, unanswered: &mut Unanswered<'a>) -> Outcome<&'a str> {
    let role = read::word("role", message.role, &ROLES)?;
    match role {
        Some("assistant") => *unanswered = Unanswered::of(&message.tool_calls),
        Some("tool") if !message.tool_call_id.is_empty() => unanswered.answer(message.tool_call_id),
        Some("tool") => {
            let needed = || bad("tool_call_id", "is needed: no call before this message is unanswered");
            return unanswered.answer_next().ok_or_else(needed);
        }
        _ => {}
    }
    Ok(message.tool_call_id)
}

fn write(json: &mut Json, message: &Message<'_>, tool_call_id: &str) -> Outcome<()> {
    let Some(role) = read::word("role", message.role, &ROLES)? else { return Err(bad("role", "must be set")) };
    json.open(b'{');
    json.text("role", role);
    match message.content.as_slice() {
        // Clients replay an answer that only calls tools with one empty text.
        [] | [Part::Text("")] if !message.tool_calls.is_empty() => {
            json.key("content");
            json.raw("null");
        }
        [] => json.text("content", ""),
        [Part::Text(text)] => json.text("content", text),
        parts => {
            json.key("content");
            json.open(b'[');
            for (i, part) in parts.iter().enumerate() {
                within(|| format!("content[{i}]"), part.write(json))?;
            }
            json.close(b']');
        }
    }
    json.text_if_any("name", message.name);
    if !message.tool_calls.is_empty() {
        json.key("tool_calls");
        json.open(b'[');
        for call in &message.tool_calls {
            json.open(b'{');
            json.text("id", call.id);
            json.text("type", "function");
            json.key("function");
            json.open(b'{');
            json.text("name", call.name);
            json.text("arguments", call.arguments);
            json.close(b'}');
            json.close(b'}');
        }
        json.close(b']');
    }
    json.text_if_any("reasoning_content", message.reasoning_content);
    json.text_if_any("tool_call_id", tool_call_id);
    json.close(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const ASSISTANT: u64 = 2;
    const TOOL: u64 = 5;

    fn assistant<'a>(ids: &[&'a str]) -> Message<'a> {
        let tool_calls = ids.iter().map(|id| Call { id, ..Call::default() }).collect();
        Message { role: ASSISTANT, tool_calls, ..Message::default() }
    }

    fn tool(tool_call_id: &str) -> Message<'_> {
        Message { role: TOOL, tool_call_id, ..Message::default() }
    }

    #[test]
    fn an_answer_without_a_name_is_for_the_first_call_without_one() {
        let mut unanswered = Unanswered::default();
        let mut next = |message: Message<'static>| answered(&message, &mut unanswered).ok();
        assert_eq!(next(tool("")), None);
        next(assistant(&["a", "b", "c", "b", "d", "e"]));
        assert_eq!(next(tool("")), Some("a"));
        assert_eq!(next(tool("c")), Some("c"));
        assert_eq!(next(tool("other")), Some("other"));
        assert_eq!(next(tool("")), Some("b"));
        assert_eq!(next(tool("")), Some("b"));
        assert_eq!(next(tool("e")), Some("e"));
        assert_eq!(next(tool("")), Some("d"));
        assert_eq!(next(tool("")), None);
        next(assistant(&["e", "f"]));
        assert_eq!(next(tool("f")), Some("f"));
        assert_eq!(next(tool("")), Some("e"));
        next(assistant(&["g"]));
        next(assistant(&[]));
        assert_eq!(next(tool("")), None);
    }

    #[test]
    fn many_calls_and_answers_take_no_longer_than_they_are_many() {
        let ids: Vec<String> = (0..300_000).map(|number| number.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let mut unanswered = Unanswered::default();
        answered(&assistant(&ids), &mut unanswered).unwrap();
        for id in ids.iter().rev().take(100_000) {
            assert_eq!(answered(&tool(id), &mut unanswered).unwrap(), *id);
        }
        for id in ids.iter().take(200_000) {
            assert_eq!(answered(&tool(""), &mut unanswered).unwrap(), *id);
        }
        assert!(answered(&tool(""), &mut unanswered).is_err());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

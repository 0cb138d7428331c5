//! Penstock's own messages and the REST bodies that they stand for.

use bytes::{Bytes, BytesMut};

use super::frame::Messages;
use super::schema::Message;
use super::twin::Twin;
use super::{from_json, to_json, wire};
use crate::errors::{Failure, Kind, Outcome};
use crate::scan;

/// How a method's messages relate to JSON.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Field by field.
    Typed { request: &'static Message, answer: &'static Message },
    /// The message carries the text.
    Text,
}

/// Translates one call's messages.
#[derive(Debug)]
pub(crate) struct Translator {
    form: Form,
    /// Whether the answer is a stream; `None`: the route has none.
    stream: Option<bool>,
    /// Chunks like the last one.
    twin: Option<Twin>,
}

impl Translator {
    /// A method whose messages have fields for the members of the JSON.
    pub(crate) fn typed(request: &'static Message, answer: &'static Message, stream: Option<bool>) -> Self {
        Self { form: Form::Typed { request, answer }, stream, twin: Twin::of(answer) }
    }

    /// A method whose messages carry JSON.
    pub(crate) fn text(stream: bool) -> Self {
        Self { form: Form::Text, stream: Some(stream), twin: None }
    }

    /// The JSON body of a request message, of at most `limit` bytes.
    pub(crate) fn request(&self, message: &[u8], limit: usize) -> Outcome<Bytes> {
        match self.form {
            Form::Typed { request, .. } => {
                // JSON is longer than the message by the names of its members.
                let mut out = BytesMut::with_capacity((message.len() + message.len() / 2).min(limit) + 64);
                to_json::object_within(message, request, self.stream, limit, &mut out)?;
                Ok(out.freeze())
            }
            Form::Text => {
                let body = with_stream(body_json(message)?, self.stream == Some(true))?;
                if body.len() > limit {
                    let what = format!("The request message is larger than {limit} bytes as JSON.");
                    return Err(Failure::new(Kind::BodyTooLarge, what));
                }
                Ok(body)
            }
        }
    }

    pub(crate) fn answer(&self, json: &[u8], out: &mut BytesMut) -> Outcome<()> {
        match self.form {
            Form::Typed { answer, .. } => from_json::object(json, answer, out).map_err(|e| malformed("answer", &e)),
            Form::Text => {
                scan::object(json).map_err(|e| malformed("answer", &e))?;
                wire::put_bytes(out, 1, json);
                Ok(())
            }
        }
    }

    pub(crate) fn event(&mut self, name: &[u8], data: &[u8], messages: &mut Messages) -> Outcome<()> {
        let mark = messages.begin();
        let out = messages.out();
        if self.twin.as_mut().is_some_and(|twin| twin.put(data, out)) {
            messages.end(mark);
            return Ok(());
        }
        let begun = out.len();
        let written = match self.form {
            Form::Typed { answer, .. } => from_json::object(data, answer, out).map_err(|e| malformed("stream", &e)),
            Form::Text => match std::str::from_utf8(name).and(std::str::from_utf8(data)) {
                Ok(_) => {
                    wire::put_bytes(out, 1, name);
                    wire::put_bytes(out, 2, data);
                    Ok(())
                }
                Err(e) => Err(malformed("stream", &e)),
            },
        };
        match written {
            Ok(()) => {
                if let Some(twin) = &mut self.twin {
                    twin.learn(data, messages.out().get(begun..).unwrap_or_default());
                }
                messages.end(mark);
            }
            Err(_) => messages.undo(mark),
        }
        written
    }
}

fn malformed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::UpstreamProtocol, format!("The provider's {what} is not what its wire promises: {why}."))
}

/// The field `body_json`.
fn body_json(message: &[u8]) -> Outcome<&[u8]> {
    let wrong = |what: String| Failure::new(Kind::BadRequest, what).param("body_json");
    let mut body: &[u8] = &[];
    let mut reader = wire::Reader::new(message);
    while let Some((field, value)) =
        reader.next().map_err(|e| wrong(format!("The request message is malformed: {e}.")))?
    {
        if let (1, wire::Value::Bytes(text)) = (field, value) {
            body = text;
        }
    }
    Ok(body)
}

/// The body with the `stream` that the method says.
fn with_stream(body: &[u8], stream: bool) -> Outcome<Bytes> {
    let wrong = |what: String| Failure::new(Kind::BadRequest, what).param("body_json");
    let object = scan::object(body).map_err(|e| wrong(format!("`body_json` is not one JSON object: {e}")))?;
    match object.get("stream") {
        Some(said) if !said.is_null() && object.stream != stream => {
            let other = if stream { "Create" } else { "Stream" };
            Err(wrong(format!("`stream` in `body_json` contradicts the method; call `{other}` or leave it out.")))
        }
        Some(said) if !said.is_null() => Ok(Bytes::copy_from_slice(body)),
        _ if !stream => Ok(Bytes::copy_from_slice(body)),
        _ => {
            let mut edit = object.edit();
            edit.set_raw("stream", &b"true"[..]);
            Ok(Bytes::from(edit.apply()))
        }
    }
}

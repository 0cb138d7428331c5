//! Prompt tokens of a request, before it is sent.
//!
//! Text is counted exactly. What a provider adds around it (message framing) and what is not text
//! (images, audio, files) follow the published formulas where there are any; the constants below
//! say which are estimates. The answer's own usage corrects the reservation afterwards.

use crate::scan::{Body, Value, strings, unescape_bytes};

use super::{Encoding, count_bytes};

/// Tokens around each message. Source: OpenAI cookbook, "How to count tokens with tiktoken".
const PER_MESSAGE: usize = 3;
/// For a message that carries a `name`. Same source.
const PER_NAME: usize = 1;
/// The answer is primed with `<|start|>assistant<|message|>`. Same source.
const PRIMING: usize = 3;
/// An image in low detail. Source: OpenAI vision guide, "Calculating costs".
const IMAGE_LOW: usize = 85;
/// An image in high detail: 85 + 4 tiles of 170, which is what 1024 x 1024 pixels cost. Same source; larger images cost
/// more, and their size is not known without decoding them.
const IMAGE_HIGH: usize = 765;
/// Spoken input is ten tokens per second (OpenAI audio guide); uncompressed it is 48,000 bytes per second (24 kHz, 16 bit).
const WAVE_BYTES_PER_TOKEN: usize = 4_800;
/// As above for compressed audio of 64 kbit/s. An estimate.
const AUDIO_BYTES_PER_TOKEN: usize = 800;
/// An estimate for documents: a PDF page of 50 kB costs about 1,600 tokens (Anthropic's PDF guide says 1,500 to 3,000).
const FILE_BYTES_PER_TOKEN: usize = 32;
/// A file that is only named, so that its size is not known: one page. An estimate.
const FILE_BY_REFERENCE: usize = 1_600;
/// Blocks inside blocks (tool results) are understood this deep; beyond, their string values are counted.
const BLOCK_DEPTH: usize = 4;

/// Prompt tokens of a chat, completions, embeddings, Responses or Anthropic Messages request.
///
/// Never fails: of shapes it does not know it counts the string values.
pub fn count_prompt(body: &Body<'_>, encoding: Encoding) -> usize {
    let counter = Counter { encoding };
    let get = |span: Option<_>| span.map(|span| body.value(span));
    let mut total = 0;
    let mut primed = false;
    if let Some(messages) = get(body.messages) {
        primed = true;
        total += counter.items(messages);
    }
    if let Some(input) = get(body.input) {
        let conversation = input.items().next().is_some_and(Value::is_object) || is_responses(body);
        primed |= conversation;
        total += match (conversation, input.as_bytes()) {
            (true, Some(text)) => PER_MESSAGE + counter.text(b"user") + counter.text(&text),
            (true, None) => counter.items(input),
            (false, _) => counter.raw_input(input),
        };
    }
    if let Some(prompt) = get(body.prompt) {
        total += counter.raw_input(prompt);
    }
    for instructions in
        [get(body.system), body.get("instructions").filter(|value| !value.is_null())].into_iter().flatten()
    {
        total += PER_MESSAGE + counter.content(instructions, 0);
    }
    for tools in [get(body.tools), body.get("functions").filter(|value| !value.is_null())].into_iter().flatten() {
        total += counter.json(tools);
    }
    total + if primed { PRIMING } else { 0 }
}

/// Embeddings requests have an `input`, too, but none of these.
fn is_responses(body: &Body<'_>) -> bool {
    [
        "instructions",
        "max_output_tokens",
        "tools",
        "stream",
        "reasoning",
        "text",
        "store",
        "previous_response_id",
        "temperature",
    ]
    .iter()
    .any(|name| body.get(name).is_some())
}

struct Counter {
    encoding: Encoding,
}

impl Counter {
    /// A text that was scanned, and so is UTF-8.
    fn text(&self, text: &[u8]) -> usize {
        count_bytes(self.encoding, text)
    }

    /// A string as text; anything else as what its JSON says.
    fn json(&self, value: Value<'_>) -> usize {
        match value.as_bytes() {
            Some(text) => self.text(&text),
            None => self.text(value.text()),
        }
    }

    /// All string values inside; inline data by its size.
    fn strings(&self, value: Value<'_>) -> usize {
        let text = value.text();
        strings(text)
            .map(|span| {
                let text = unescape_bytes(span.of(text));
                inline_bytes(&text).map_or_else(|| self.text(&text), |bytes| bytes.div_ceil(FILE_BYTES_PER_TOKEN))
            })
            .sum()
    }

    /// Text without framing: a string, token ids, or a list of either.
    fn raw_input(&self, input: Value<'_>) -> usize {
        match input.as_bytes() {
            Some(text) => self.text(&text),
            None if input.is_array() => input.items().map(|item| self.raw_item(item)).sum(),
            None => self.strings(input),
        }
    }

    fn raw_item(&self, item: Value<'_>) -> usize {
        if item.is_number() {
            1
        } else if item.is_array() {
            item.items().map(|inner| if inner.is_number() { 1 } else { self.strings(inner) }).sum()
        } else {
            self.strings(item)
        }
    }

    /// Messages, or the items of a Responses input.
    fn items(&self, list: Value<'_>) -> usize {
        if !list.is_array() {
            return self.strings(list);
        }
        list.items().map(|item| if item.is_object() { self.item(item) } else { self.strings(item) }).sum()
    }

    fn item(&self, item: Value<'_>) -> usize {
        let mut total = PER_MESSAGE;
        let mut understood = false;
        for (name, value) in item.members() {
            if value.is_null() {
                continue;
            }
            understood |= matches!(&*name, b"content" | b"role" | b"arguments" | b"output");
            total += match &*name {
                b"role" | b"refusal" | b"arguments" | b"reasoning_content" => self.json(value),
                b"name" => PER_NAME + self.json(value),
                b"content" | b"output" | b"summary" => self.content(value, 0),
                b"tool_calls" => value.items().map(|call| self.call(call)).sum(),
                b"function_call" => self.function(value),
                _ => 0,
            };
        }
        if understood || item.get("tool_calls").is_some() { total } else { PER_MESSAGE + self.strings(item) }
    }

    /// One entry of `tool_calls`: the id is not part of the prompt.
    fn call(&self, call: Value<'_>) -> usize {
        match call.get("function").or_else(|| call.get("custom")) {
            Some(function) => self.function(function),
            None => self.strings(call),
        }
    }

    fn function(&self, function: Value<'_>) -> usize {
        let fields = ["name", "arguments", "input"];
        fields.iter().filter_map(|name| function.get(name)).map(|value| self.json(value)).sum()
    }

    /// A string, or a list of parts or blocks.
    fn content(&self, content: Value<'_>, depth: usize) -> usize {
        match content.as_bytes() {
            Some(text) => self.text(&text),
            None if content.is_array() && depth < BLOCK_DEPTH => {
                content.items().map(|part| self.part(part, depth)).sum()
            }
            None => self.strings(content),
        }
    }

    fn part(&self, part: Value<'_>, depth: usize) -> usize {
        let kind = part.get("type").and_then(Value::as_bytes).unwrap_or_default();
        let field = |name: &str| part.get(name).map_or(0, |value| self.json(value));
        match &*kind {
            b"text" | b"input_text" | b"output_text" | b"summary_text" | b"reasoning_text" => field("text"),
            b"refusal" => field("refusal"),
            b"thinking" => field("thinking"),
            b"image_url" | b"input_image" | b"image" => image(part),
            b"input_audio" => audio(part),
            b"file" | b"input_file" | b"document" => self.file(part, depth),
            b"tool_use" | b"server_tool_use" => field("name") + field("input"),
            b"tool_result" => part.get("content").map_or(0, |content| self.content(content, depth + 1)),
            _ => self.strings(part),
        }
    }

    /// A file part of OpenAI, or a document block of Anthropic.
    fn file(&self, part: Value<'_>, depth: usize) -> usize {
        if let Some(source) = part.get("source") {
            let data = source.get("data").and_then(Value::as_bytes);
            return match (source.get("type").and_then(Value::as_bytes).as_deref(), data) {
                (Some(b"text"), Some(text)) => self.text(&text),
                (_, Some(data)) => decoded(&data).div_ceil(FILE_BYTES_PER_TOKEN),
                _ => source.get("content").map_or(FILE_BY_REFERENCE, |content| self.content(content, depth + 1)),
            };
        }
        let file = part.get("file").unwrap_or(part);
        match file.get("file_data").and_then(Value::as_bytes) {
            Some(data) => inline_bytes(&data).unwrap_or_else(|| decoded(&data)).div_ceil(FILE_BYTES_PER_TOKEN),
            None => FILE_BY_REFERENCE,
        }
    }
}

fn image(part: Value<'_>) -> usize {
    let detail = part.get("detail").or_else(|| part.get("image_url")?.get("detail")).and_then(Value::as_bytes);
    if detail.as_deref() == Some(b"low") { IMAGE_LOW } else { IMAGE_HIGH }
}

fn audio(part: Value<'_>) -> usize {
    let audio = part.get("input_audio").unwrap_or(part);
    let bytes = audio.get("data").and_then(Value::as_bytes).map_or(0, |data| decoded(&data));
    let format = audio.get("format").and_then(Value::as_bytes);
    let wave = format.is_none_or(|format| matches!(&*format, b"wav" | b"pcm16"));
    bytes.div_ceil(if wave { WAVE_BYTES_PER_TOKEN } else { AUDIO_BYTES_PER_TOKEN })
}

/// Size of what a `data:...;base64,` URL carries.
fn inline_bytes(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"data:")?;
    let at = memchr::memmem::find(rest, b";base64,")?;
    Some(decoded(rest.get(at + 8..)?))
}

/// Size of what base64 text stands for.
fn decoded(base64: &[u8]) -> usize {
    base64.len() / 4 * 3
}

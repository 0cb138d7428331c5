//! Requests and streams of the usual shapes and sizes, the same at each run.

/// Prose with what prose has: punctuation, digits, a line break, quotes (which JSON escapes), letters beyond ASCII.
const PROSE: &str = "The weir above the mill was rebuilt in 1894, after the flood of that spring had carried away its \
    oak sill. Nobody had measured the river properly before; the engineers \u{2013} two brothers from Gen\u{e8}ve \u{2013} \
    hung brass chains across it and wrote: \"2.75 m at the gauge, falling.\" What they drew is still used.\n\
    A penstock of riveted steel, 1,100 mm wide, leads the water down 38 metres to the turbines. Its gate closes in \
    twelve seconds. Close it faster and the column of water hammers against the leaves; slower, and a runaway wheel \
    tears itself apart (it happened once, in 1931). So the governor counts revolutions, opens and shuts, opens and shuts. ";

/// `bytes` of prose, give or take a character.
pub(crate) fn prose(bytes: usize) -> String {
    let mut text = PROSE.repeat(bytes / PROSE.len() + 1);
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// A chat request with a system prompt and a conversation, of about so many bytes.
pub(crate) fn chat(bytes: usize) -> Result<Vec<u8>, serde_json::Error> {
    let turn = bytes.saturating_sub(700) / 3;
    let said = |role: &str, length: usize| serde_json::json!({"role": role, "content": prose(length)});
    serde_json::to_vec(&serde_json::json!({
        "model": "gpt-4o-mini",
        "messages": [said("system", 400), said("user", turn), said("assistant", turn), said("user", turn)],
        "temperature": 0.7,
        "top_p": 1,
        "max_tokens": 256,
        "stream": false,
        "user": "user-7421",
        "metadata": {"trace": "f3b1c8", "feature": "chat"},
    }))
}

/// One event of a stream, as OpenAI sends it.
pub(crate) fn frame(number: usize) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-9f3a\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-mini\",\
         \"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{number}\"}},\
         \"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
    )
}

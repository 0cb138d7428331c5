//! Whatever comes: any JSON there and back, any text.

use proptest::prelude::*;

use super::*;

fn any_answer() -> impl Strategy<Value = Json> {
    const NAMES: [&str; 24] = [
        "id",
        "created",
        "model",
        "choices",
        "usage",
        "index",
        "delta",
        "role",
        "content",
        "logprobs",
        "finish_reason",
        "token",
        "logprob",
        "bytes",
        "top_logprobs",
        "moderation",
        "input",
        "type",
        "error",
        "code",
        "prompt_tokens",
        "tool_calls",
        "function",
        "object",
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        (-(1_i64 << 40)..1 << 40).prop_map(|value| json!(value)),
        (0..300).prop_map(|value| json!(value)),
        any::<i32>().prop_map(|value| json!(f64::from(value) + 0.125)),
        ".{0,12}".prop_map(|value| json!(value)),
        Just(json!("error")),
    ];
    let name = prop_oneof![6 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), 1 => ".{0,4}"];
    let inner = leaf.prop_recursive(5, 30, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::btree_map(name.clone(), inner, 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    });
    prop::collection::btree_map(prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), inner, 0..6)
        .prop_map(|members| members.into_iter().collect())
}

/// What was sent, and beside it only what is written although it was not there: nulls, zeros, empty arrays, types.
fn holds(made: &Json, sent: &Json) -> bool {
    match (made, sent) {
        (Json::Object(made), Json::Object(sent)) => {
            sent.iter().all(|(name, value)| made.get(name).is_some_and(|made| holds(made, value)))
                && made.iter().all(|(name, value)| {
                    sent.contains_key(name)
                        || matches!(name.as_str(), "type" | "object")
                        || [json!(null), json!(""), json!(0), json!([])].contains(value)
                })
        }
        (Json::Array(made), Json::Array(sent)) => {
            made.len() == sent.len() && made.iter().zip(sent).all(|(made, sent)| holds(made, sent))
        }
        (made, sent) => made == sent,
    }
}

proptest! {
    #[test]
    fn any_answer_keeps_everything(answer in any_answer()) {
        let made = round(&answer, CHAT_STREAM_RESPONSE);
        prop_assert!(holds(&made, &answer), "{made}\n{answer}");
    }

    #[test]
    fn no_text_is_too_much(text in "[\\[\\]{}:,\" a-e0-9.\\\\u-]{0,60}", at in any::<prop::sample::Index>()) {
        for schema in [CHAT_STREAM_RESPONSE, CHAT_CREATE_REQUEST, EMBEDDINGS_CREATE_RESPONSE, COMPLETIONS_CREATE_RESPONSE] {
            let _ = read(&text, schema);
            let mut chunk = CHUNK.to_owned();
            let at = at.index(chunk.len());
            chunk.insert_str(at, &text);
            let is_json = serde_json::from_str::<Json>(&chunk).is_ok();
            if is_json {
                prop_assert!(read(&chunk, schema).is_ok());
            }
        }
    }
}

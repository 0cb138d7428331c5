//! Whatever comes: any JSON there and back, any order, any bytes.

use proptest::prelude::*;

use super::*;
use crate::grpc::wire::{Reader, put_bytes};
use crate::scan;

/// The fields of a message in another order, those of the same number in the order they had.
fn reordered(message: &[u8], keys: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut reader = Reader::new(message);
    loop {
        let before = reader.rest();
        let Some((number, _)) = reader.next().unwrap() else { break };
        let key = keys.get(number as usize % keys.len().max(1)).copied().unwrap_or_default();
        fields.push((key, number, &before[..before.len() - reader.rest().len()]));
    }
    fields.sort_by_key(|(key, number, _)| (*key, *number));
    fields.into_iter().flat_map(|(_, _, bytes)| bytes.to_vec()).collect()
}

/// The schema of one message of a conversation.
fn chat_message() -> &'static Message {
    match TOKENS_CONVERSATION.fields[0].kind {
        Kind::Message(schema) => schema,
        _ => unreachable!(),
    }
}

/// A number with a fraction that `serde_json` reads exactly.
fn fraction() -> impl Strategy<Value = f64> {
    any::<i32>().prop_map(|value| f64::from(value) + 0.125)
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        (-(1_i64 << 53)..=1 << 53).prop_map(|value| json!(value)),
        fraction().prop_map(|value| json!(value)),
        ".{0,20}".prop_map(|value| json!(value)),
        prop::sample::select(vec!["text", "function", "custom", "auto"]).prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::btree_map(member(), inner, 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    const NAMES: [&str; 30] = [
        "messages",
        "tools",
        "tool_choice",
        "tool_calls",
        "function_call",
        "functions",
        "function",
        "custom",
        "name",
        "type",
        "text",
        "content",
        "role",
        "image_url",
        "url",
        "file",
        "refusal",
        "parameters",
        "mode",
        "stop",
        "temperature",
        "n",
        "seed",
        "logit_bias",
        "metadata",
        "audio",
        "voice",
        "id",
        "extra",
        "allowed_tools",
    ]; // named by what is special about them
    prop_oneof![4 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// Without what is written although it was not sent.
fn without_added(made: Json, sent: &Json) -> Json {
    match (made, sent) {
        (Json::Object(made), Json::Object(sent)) => made
            .into_iter()
            .filter(|(name, value)| sent.contains_key(name) || !(value == "" || *value == json!([]) || name == "type"))
            .map(|(name, value)| {
                let value = match sent.get(&name) {
                    Some(sent) => without_added(value, sent),
                    None => value,
                };
                (name, value)
            })
            .collect(),
        (Json::Array(made), Json::Array(sent)) if made.len() == sent.len() => {
            made.into_iter().zip(sent).map(|(made, sent)| without_added(made, sent)).collect()
        }
        (made, _) => made,
    }
}

proptest! {
    #[test]
    fn any_json_in_any_member_survives(members in prop::collection::btree_map(member(), any_json(), 0..6)) {
        let request: Json = members.into_iter().filter(|(name, _)| name != "stream").collect();
        let bytes = message(&request.to_string(), CHAT_CREATE_REQUEST);
        let made = serde_json::from_str(&chat(&bytes)).unwrap();
        prop_assert_eq!(without_added(made, &request), request);
    }

    #[test]
    fn the_order_on_the_wire_does_not_matter(keys in prop::collection::vec(any::<u8>(), 1..64)) {
        let whole = message(FULL, CHAT_CREATE_REQUEST);
        prop_assert_eq!(chat(&reordered(&whole, &keys)), FULL.replace('\n', ""));
        const ONE: &str = r#"{"role":"user","content":[{"type":"text","text":"a"}],"name":"n","tool_calls":[{"type":"function","id":"c","function":{}}],"x":1}"#;
        let inner = message(ONE, chat_message());
        let made = written(|out| put_bytes(out, 2, &reordered(&inner, &keys)));
        prop_assert_eq!(made, format!(r#"{{"model":"","messages":[{ONE}]}}"#));
    }

    #[test]
    fn doubles_read_back_as_they_were(value in any::<f64>()) {
        let made = written(|out| put_double(out, 8, value));
        let text = made.strip_prefix(r#"{"model":"","messages":[],"temperature":"#).unwrap().strip_suffix('}').unwrap();
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        let back = message(&made, CHAT_CREATE_REQUEST);
        prop_assert_eq!(chat(&back), made);
    }

    #[test]
    fn no_bytes_are_too_much(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for schema in [CHAT_CREATE_REQUEST, COMPLETIONS_CREATE_REQUEST, EMBEDDINGS_CREATE_REQUEST, TOKENS_CONVERSATION, COMPLETIONS_CREATE_RESPONSE] {
            if let Ok(made) = try_json(&bytes, schema, None) {
                prop_assert!(scan::object(made.as_bytes()).is_ok());
            }
        }
        // The same with lengths that are more often right.
        for byte in &mut bytes {
            *byte &= 0x1f;
        }
        if let Ok(made) = try_json(&bytes, CHAT_CREATE_REQUEST, Some(true)) {
            prop_assert!(scan::object(made.as_bytes()).is_ok());
        }
    }

    #[test]
    fn a_changed_byte_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut whole = message(FULL, CHAT_CREATE_REQUEST);
        let at = at.index(whole.len());
        whole[at] = byte;
        if let Ok(made) = try_json(&whole, CHAT_CREATE_REQUEST, None) {
            prop_assert!(scan::object(made.as_bytes()).is_ok());
        }
    }
}

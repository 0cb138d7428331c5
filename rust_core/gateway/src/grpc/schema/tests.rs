use super::*;

fn all() -> Vec<&'static Message> {
    let mut todo = vec![
        CHAT_CREATE_REQUEST,
        CHAT_CREATE_RESPONSE,
        CHAT_STREAM_RESPONSE,
        COMPLETIONS_CREATE_REQUEST,
        COMPLETIONS_CREATE_RESPONSE,
        COMPLETIONS_STREAM_RESPONSE,
        EMBEDDINGS_CREATE_REQUEST,
        EMBEDDINGS_CREATE_RESPONSE,
        TOKENS_CONVERSATION,
    ];
    let mut found: Vec<&'static Message> = Vec::new();
    while let Some(message) = todo.pop() {
        if found.iter().any(|one| std::ptr::eq(*one, message)) {
            continue;
        }
        found.push(message);
        for field in message.fields {
            match field.kind {
                Kind::Message(inner) => todo.push(inner),
                Kind::Map(Kind::Message(inner)) => todo.push(*inner),
                _ => (),
            }
        }
    }
    found
}

#[test]
fn every_field_is_found_by_number_and_by_name() {
    let messages = all();
    assert!(messages.len() > 50);
    for message in messages {
        for (place, field) in message.fields.iter().enumerate() {
            assert_eq!(message.by_number(field.number), Some(place));
            if !field.name().is_empty() {
                let first = message.by_name(field.name().as_bytes()).unwrap();
                assert!(first <= place);
                assert!(message.fields[first..=place].iter().all(|one| one.name() == field.name()));
            }
        }
        assert_eq!(message.by_number(0), None);
        assert_eq!(message.by_number(EXTRA), None);
        assert_eq!(message.by_number(u32::MAX), None);
    }
}

#[test]
fn a_name_that_is_almost_one_is_none() {
    for message in all() {
        for name in message.fields.iter().map(Field::name).filter(|name| !name.is_empty()) {
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] ^= 1;
                assert_eq!(message.by_name(&other), None, "{name} {at}");
                other.truncate(at);
                assert!(message.by_name(&other).is_none_or(|place| message.fields[place].name().len() == at));
            }
            let long = name.repeat(64);
            assert_eq!(message.by_name(long.as_bytes()), None);
        }
        assert_eq!(message.by_name(b""), None);
    }
}

//! Requests beside chat.

use super::super::Method;
use super::requests::{refused, translated};
use super::{message, put};
use crate::errors::Kind;
use crate::grpc::wire::{put_bytes, put_float, put_text, put_uint};

#[test]
fn text_completions() {
    let request = |prompts: &[&str]| {
        message(|out| {
            prompts.iter().for_each(|prompt| put_text(out, 1, prompt));
            put_text(out, 3, "m");
            put_uint(out, 7, 9);
            put_float(out, 14, 0.25);
        })
    };
    assert_eq!(
        translated(Method::Sample, &request(&["a"])).unwrap(),
        r#"{"model":"m","prompt":"a","max_tokens":9,"temperature":0.25}"#
    );
    assert_eq!(
        translated(Method::SampleStreaming, &request(&["a", "b"])).unwrap(),
        r#"{"model":"m","prompt":["a","b"],"max_tokens":9,"temperature":0.25,"stream":true,"stream_options":{"include_usage":true}}"#
    );
    assert_eq!(refused(translated(Method::Sample, &request(&[]))).1, "prompt");
    let logprobs = message(|out| put_uint(out, 5, 1));
    assert_eq!(refused(translated(Method::Sample, &logprobs)).0, Kind::ParameterUnsupported);
}

#[test]
fn embeddings() {
    let request = message(|out| {
        put(out, 1, |out| put_text(out, 1, "a"));
        put(out, 1, |out| put_text(out, 1, "b"));
        put_text(out, 2, "m");
        put_uint(out, 3, 2);
        put_text(out, 4, "u");
    });
    let expected = r#"{"model":"m","input":["a","b"],"encoding_format":"base64","user":"u"}"#;
    assert_eq!(translated(Method::Embed, &request).unwrap(), expected);
    let image = message(|out| put(out, 1, |out| put_bytes(out, 2, b"")));
    assert_eq!(refused(translated(Method::Embed, &image)).1, "input[0].image_url");
}

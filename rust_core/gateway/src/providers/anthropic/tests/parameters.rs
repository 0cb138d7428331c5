//! Golden parameters: tools, sampling, reasoning, formats; refused by name or dropped on request.

use serde_json::{Value, json};

use super::super::{RequestOptions, request};
use super::support::{ask, on, refused, sent, strict, with};
use crate::canonical::ChatRequest;

#[test]
fn tools_keep_their_schema_text_and_marks() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"q"}],"tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{"type":"object","properties":{"z":{},"a":{}}}},"cache_control":{"type":"ephemeral"},"defer_loading":true},{"type":"web_search_20250305","name":"web_search","max_uses":2},{"type":"function","function":{"name":"g","parameters":{"properties":{}}}}]}"#;
    let chat = ChatRequest::from_json(body.as_bytes()).unwrap();
    let written = String::from_utf8(request(&chat, &strict("claude-x")).unwrap().body).unwrap();
    let tools = r#""tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{"z":{},"a":{}}},"strict":true,"cache_control":{"type":"ephemeral"},"defer_loading":true},{"type":"web_search_20250305","name":"web_search","max_uses":2},{"name":"g","input_schema":{"properties":{},"type":"object"}}]"#;
    assert!(written.contains(tools), "{written}");
}

#[test]
fn tool_choice_and_parallel_calls() {
    let tools =
        json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]);
    let choice = |choice: Value, parallel: bool| {
        let body = with(&json!({"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}));
        sent(&body)["tool_choice"].clone()
    };
    assert_eq!(choice(json!("auto"), true), json!({"type": "auto"}));
    assert_eq!(choice(json!("none"), false), json!({"type": "none"}));
    assert_eq!(choice(json!("required"), false), json!({"type": "any", "disable_parallel_tool_use": true}));
    assert_eq!(choice(json!(null), false), json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(
        choice(json!({"type": "function", "function": {"name": "f"}}), true),
        json!({"type": "tool", "name": "f"})
    );
    let subset = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
        "tools": [{"type": "function", "function": {"name": "g"}}]}});
    let out = sent(&with(&json!({"tools": tools, "tool_choice": subset})));
    assert_eq!((out["tools"].as_array().unwrap().len(), &out["tools"][0]["name"]), (1, &json!("g")));
    assert_eq!(out["tool_choice"], json!({"type": "any"}));
    assert_eq!(refused(&with(&json!({"tools": tools, "tool_choice": "sometimes"}))), "tool_choice");
    assert_eq!(refused(&with(&json!({"tool_choice": "required"}))), "tool_choice");
    assert!(sent(&with(&json!({"tool_choice": "auto", "parallel_tool_calls": false}))).get("tool_choice").is_none());
    assert_eq!(refused(&with(&json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}))), "tools[0].type");
}

#[test]
fn web_search_options_become_the_search_tool() {
    let options = json!({"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"city": "Bern"}}});
    let out = sent(&with(&json!({"web_search_options": options})));
    let tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 1,
        "user_location": {"type": "approximate", "city": "Bern"}});
    assert_eq!(out["tools"], json!([tool]));
}

#[test]
fn sampling_stops_and_bounds() {
    let out = sent(&with(&json!({"max_tokens": 5, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9,
        "stop": "END", "user": "u1", "service_tier": "default", "stream": true, "top_k": 3})));
    assert_eq!((&out["max_tokens"], &out["temperature"], &out["top_p"]), (&json!(7), &json!(0.5), &json!(0.9)));
    assert_eq!((&out["stop_sequences"], &out["metadata"]), (&json!(["END"]), &json!({"user_id": "u1"})));
    assert_eq!(
        (&out["service_tier"], &out["stream"], &out["top_k"]),
        (&json!("standard_only"), &json!(true), &json!(3))
    );
    assert_eq!(sent(&with(&json!({"stop": ["a", "b"]})))["stop_sequences"], json!(["a", "b"]));
    assert_eq!(sent(&with(&json!({"metadata": {"user_id": "u2", "x": "y"}})))["metadata"], json!({"user_id": "u2"}));
}

#[test]
fn neutral_parameters_pass_without_a_word() {
    let neutral = json!({"n": 1, "logprobs": false, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {},
        "modalities": ["text"], "store": true, "metadata": {"a": "b"}, "stream_options": {"include_usage": true},
        "parallel_tool_calls": true, "prompt_cache_key": "k", "response_format": {"type": "text"}, "x_null": null,
        "seed": null, "verbosity": "medium"});
    let translated = ask(&with(&neutral), &strict("claude-sonnet-4-5")).unwrap();
    assert!(translated.dropped.is_empty() && translated.betas.is_empty());
    assert_eq!(serde_json::from_slice::<Value>(&translated.body).unwrap(), sent(&with(&json!({}))));
}

#[test]
fn what_cannot_be_expressed_is_refused_by_name_or_dropped_on_request() {
    let cases = json!({"n": 2, "logprobs": true, "top_logprobs": 3, "seed": 7, "frequency_penalty": 0.5,
        "presence_penalty": -1, "logit_bias": {"1": 5}, "modalities": ["text", "audio"], "audio": {"voice": "x"},
        "prediction": {"type": "content"}, "verbosity": "low", "functions": [], "function_call": "auto",
        "temperature": 1.5, "stop": [" ", "x"], "service_tier": "flex", "some_new_thing": 1,
        "response_format": {"type": "json_object"}});
    for (name, value) in cases.as_object().unwrap() {
        let body = with(&json!({name.as_str(): value}));
        let error = ask(&body, &strict("claude-sonnet-4-5")).unwrap_err();
        assert_eq!(&error.param, name);
        assert!(error.message.contains("drop_params"), "{error}");
        let options = RequestOptions { drop_params: true, ..strict("claude-sonnet-4-5") };
        let translated = ask(&body, &options).unwrap();
        assert_eq!(translated.dropped, std::slice::from_ref(name));
        let out: Value = serde_json::from_slice(&translated.body).unwrap();
        match name.as_str() {
            "temperature" => assert_eq!(out["temperature"], 1.0),
            "stop" => assert_eq!(out["stop_sequences"], json!(["x"])),
            _ => assert_eq!(out, sent(&with(&json!({}))), "{name}"),
        }
    }
    let allowed = ["seed".to_owned(), "some_new_thing".to_owned()];
    let options = RequestOptions { allowed_params: &allowed, ..strict("claude-sonnet-4-5") };
    let translated = ask(&with(&json!({"seed": 7, "some_new_thing": {"b": 1}})), &options).unwrap();
    let out: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!((&out["seed"], &out["some_new_thing"]), (&json!(7), &json!({"b": 1})));
}

#[test]
fn structured_output_keeps_the_schema_text() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"q"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","properties":{"z":{},"a":{}}}}}}"#;
    let chat = ChatRequest::from_json(body.as_bytes()).unwrap();
    let written = String::from_utf8(request(&chat, &strict("claude-sonnet-4-5")).unwrap().body).unwrap();
    let expected =
        r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"z":{},"a":{}}}}}"#;
    assert!(written.contains(expected), "{written}");
    assert_eq!(
        refused(&with(&json!({"response_format": {"type": "json_schema"}}))),
        "response_format.json_schema.schema"
    );
}

#[test]
fn effort_in_the_terms_of_each_generation() {
    let low = on("claude-sonnet-4-5-20250929", &json!({"reasoning_effort": "low"}));
    assert_eq!(low["thinking"], json!({"type": "enabled", "budget_tokens": 1024}));
    let bounded =
        on("us.anthropic.claude-3-7-sonnet-20250219-v1:0", &json!({"reasoning_effort": "high", "max_tokens": 3000}));
    assert_eq!((&bounded["thinking"]["budget_tokens"], &bounded["max_tokens"]), (&json!(1500), &json!(3000)));
    let unbounded = on("claude-opus-4-20250514", &json!({"reasoning_effort": "high"}));
    assert_eq!((&unbounded["thinking"]["budget_tokens"], &unbounded["max_tokens"]), (&json!(4096), &json!(8192)));
    for (model, effort, expected) in [
        ("claude-opus-4-6", "minimal", "low"),
        ("claude-opus-4.6", "xhigh", "max"),
        ("claude-opus-4-8", "xhigh", "xhigh"),
        ("claude-fable-5", "high", "high"),
        ("my-own-name", "medium", "medium"),
    ] {
        let out = on(model, &json!({"reasoning_effort": effort}));
        assert_eq!(out["thinking"], json!({"type": "adaptive"}), "{model}");
        assert_eq!(out["output_config"], json!({"effort": expected}), "{model}");
    }
    assert!(on("claude-opus-4-6", &json!({"reasoning_effort": "none"})).get("thinking").is_none());
    assert_eq!(on("claude-fable-5", &json!({"reasoning_effort": "none"}))["thinking"], json!({"type": "disabled"}));
    for (model, extra, param) in [
        ("claude-3-5-haiku-20241022", json!({"reasoning_effort": "low"}), "reasoning_effort"),
        ("claude-sonnet-4-5", json!({"reasoning_effort": "huge"}), "reasoning_effort"),
        ("claude-sonnet-4-5", json!({"reasoning_effort": "low", "max_tokens": 1024}), "reasoning_effort"),
        ("claude-sonnet-4-5", json!({"reasoning_effort": "low", "temperature": 0.2}), "temperature"),
        (
            "claude-sonnet-4-5",
            json!({"reasoning_effort": "low", "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "reasoning_effort",
        ),
    ] {
        assert_eq!(ask(&with(&extra), &strict(model)).unwrap_err().param, param, "{model} {extra}");
    }
}

#[test]
fn a_tool_loop_without_its_signed_thinking_goes_on_without_thinking() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let mut body = json!({"model": "m", "reasoning_effort": "low", "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "r"}]});
    let translated = ask(&body, &strict("claude-sonnet-4-5")).unwrap();
    let out: Value = serde_json::from_slice(&translated.body).unwrap();
    assert!(out.get("thinking").is_none());
    assert_eq!(translated.dropped, ["reasoning_effort"]);
    body["messages"][1]["thinking_blocks"] = json!([{"type": "thinking", "thinking": "t", "signature": "s"}]);
    assert_eq!(sent(&body)["thinking"]["type"], "enabled");
}

#[test]
fn anthropics_own_parameters_pass_with_their_flags() {
    let native = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low"},
        "mcp_servers": [{"type": "url", "name": "s", "url": "https://x"}], "container": {"id": "c", "skills": []},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}, "betas": ["context-1m-2025-08-07"],
        "cache_control": {"type": "ephemeral"}});
    let translated = ask(&with(&native), &strict("claude-sonnet-4-5")).unwrap();
    let out: Value = serde_json::from_slice(&translated.body).unwrap();
    for name in ["thinking", "output_config", "mcp_servers", "container", "context_management", "cache_control"] {
        assert_eq!(out[name], native[name], "{name}");
    }
    assert!(out.get("betas").is_none());
    let flags =
        ["context-1m-2025-08-07", "mcp-client-2025-04-04", "context-management-2025-06-27", "skills-2025-10-02"];
    assert_eq!(translated.betas, flags);
}

//! Snapshots for tests.

use std::fmt::Write;

/// One group, `m`, of deployments `d0`, `d1`, ... with these orders and weights.
pub(crate) fn snapshot(members: &[(i32, u32)]) -> String {
    let mut deployments = String::new();
    for (number, (order, weight)) in members.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(
            deployments,
            r#"{comma}{{"id":"d{number}","provider":"p","wire":"openai","model":"m","base_url":"http://127.0.0.1:1/v1",
            "headers":[],"query":"","weight":{weight},"order":{order},"rpm":null,"tpm":null,"max_parallel_requests":null,
            "connect_timeout_ms":1,"first_byte_timeout_ms":1,"idle_timeout_ms":1,"total_timeout_ms":null,"keepalive_ms":null,
            "stream_usage":true,"drop_params":false,"drop":[],"allowed_params":[],"defaults":{{}},"overrides":{{}},
            "forward_headers":[],"max_output_tokens":null,"tokenizer":"o200k_base","price":null,"prices":{{}},"mode":"chat"}}"#
        );
    }
    let places: Vec<String> = (0..members.len()).map(|n| n.to_string()).collect();
    format!(
        r#"{{"version":1,"deployments":[{deployments}],"groups":[{{"name":"m","deployments":[{}],"access_groups":[],
        "fallbacks":[],"hidden":false,"created":0,"owned_by":"p"}}],"settings":{{"retries":0,"retry_backoff_ms":0,
        "allowed_fails":0,"cooldown_ms":0,"max_fallbacks":0,"budget_exceeded_status":422,"default_output_tokens":0,
        "max_parallel_requests":null,"passthrough_group":null,"always_include_stream_usage":false}}}}"#,
        places.join(",")
    )
}

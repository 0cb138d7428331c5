//! `/_sim/*`: the ledger, captured requests, recordings, and forgetting it all. `/health`, as inference servers have it.

use penstock_http1::RequestHead;

use crate::json;
use crate::replay::{Recording, Replay};
use crate::reply::Unary;
use crate::server::{Shared, lock};

/// Entries of a ledger page when the request does not say.
const PAGE: usize = 100;
const MAX_PAGE: usize = 10_000;

/// Where routers probe an inference server before they send it calls.
const PROBE: &str = "/health";

/// Whether a request is to the simulator itself and not to the provider it plays.
pub(crate) fn is_for(target: &[u8]) -> bool {
    target.starts_with(b"/_sim/") || target.split(|&byte| byte == b'?').next() == Some(PROBE.as_bytes())
}

/// Answers a request to the simulator itself.
pub(crate) fn answer(shared: &Shared, head: &RequestHead, body: &[u8]) -> Unary {
    let target = String::from_utf8_lossy(&head.target);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = if path == PROBE { "health" } else { path.strip_prefix("/_sim/").unwrap_or_default() };
    let get = matches!(&head.method[..], b"GET" | b"HEAD");
    match path {
        "health" if get => Unary::json(r#"{"status":"ok"}"#),
        "ledger" if get => ledger(shared, query),
        "requests/last" if get => capture(shared, None),
        "reset" if &head.method[..] == b"POST" => {
            shared.ledger.reset();
            lock(&shared.recordings).clear();
            lock(&shared.attempts).clear();
            lock(&shared.files).clear();
            Unary::json(r#"{"status":"reset"}"#)
        }
        "health" | "ledger" | "requests/last" | "reset" => error(405, "not allowed to use this method here"),
        _ => {
            if let Some(name) = path.strip_prefix("replay/").filter(|n| !n.is_empty()) {
                return replay(shared, &head.method, name, body);
            }
            match path.strip_prefix("requests/").and_then(|seq| seq.parse().ok()) {
                Some(seq) if get => capture(shared, Some(seq)),
                _ => error(404, "no such path below /_sim"),
            }
        }
    }
}

fn ledger(shared: &Shared, query: &str) -> Unary {
    let (mut since, mut limit) = (None, PAGE);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let Ok(number) = value.parse::<u64>() else {
            return error(400, &format!("{name}: {value:?} is not a number"));
        };
        match name {
            "since" => since = Some(number),
            "limit" => limit = usize::try_from(number).unwrap_or(MAX_PAGE).min(MAX_PAGE),
            _ => return error(400, &format!("{name}: not known; since and limit are")),
        }
    }
    Unary::json(shared.ledger.page(since, limit))
}

fn capture(shared: &Shared, seq: Option<u64>) -> Unary {
    shared.ledger.capture(seq).map_or_else(|| error(404, "no such request is kept"), Unary::json)
}

fn replay(shared: &Shared, method: &[u8], name: &str, body: &[u8]) -> Unary {
    match method {
        b"PUT" => {
            let put = serde_json::from_slice::<Recording>(body)
                .map_err(|e| e.to_string())
                .and_then(Replay::try_from)
                .and_then(|replay| lock(&shared.recordings).put(name.to_owned(), replay));
            match put {
                Ok(()) => Unary::json(format!(r#"{{"name":{}}}"#, json::quoted(name))),
                Err(message) => error(400, &message),
            }
        }
        b"DELETE" if lock(&shared.recordings).remove(name) => Unary::json(r#"{"deleted":true}"#),
        b"DELETE" => error(404, "no recording has this name"),
        _ => error(405, "recordings are PUT and DELETEd"),
    }
}

fn error(status: u16, message: &str) -> Unary {
    Unary::new(status, "application/json", format!(r#"{{"error":{}}}"#, json::quoted(message)))
}

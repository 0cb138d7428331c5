//! An upstream that speaks the providers' wires: demo model, judge of the tests, benchmark mock.
//!
//! It is apart from the gateway because it must not share its ideas: what the two agree on is the
//! bytes between them. It answers with the words of a fixed vocabulary in their order (` time`,
//! ` river`, ..., one per delta), so that order and completeness of a relayed stream can be checked,
//! and it keeps its own [`ledger`] of what it received and what it wrote.
//!
//! # Wires
//! OpenAI (`/v1/...`, also without `/v1` and below `/openai/v1` and `/api/v1`): `chat/completions`,
//! `completions`, `embeddings`, `responses`, `moderations`, `audio/speech`, `audio/transcriptions`,
//! `audio/translations`, `images/generations`, `rerank`, `models`, `files`. Azure OpenAI:
//! `/openai/deployments/{deployment}/...`, whose streams open with `prompt_filter_results`.
//! Anthropic: `/v1/messages`, `/v1/messages/count_tokens`. Any model name and any credential is
//! accepted.
//!
//! # Usage
//! Exact by its own definition. Output tokens: one per delta of a stream, the same number in a unary
//! answer; a hidden reasoning token (`reasoning=N`) counts as output and is not sent. Each of the
//! 1,000 words in `words.txt` is, with the space before it, one token of `o200k_base` and of
//! `cl100k_base`, and place `i` of an answer has word `i` modulo 1,000 (the next choice begins 7 words
//! later, thinking at word 500): whoever counts the text of an answer that was cut arrives at
//! `tokens_sent`. That does not hold for padded tokens (`bytes`, `huge`), arguments of tool calls and
//! JSON formats, which are cut into fragments of six bytes.
//!
//! Prompt tokens: white-space separated words of all text (message contents, names, system prompt,
//! instructions, tool results), one per integer of a token list, and for conversations (chat,
//! messages, responses) 3 per message, system prompt or instructions, 1 per role, 1 per name and 3 for
//! the answer's beginning. For prompts of `words.txt` with single spaces that is what a BPE count with
//! OpenAI's published framing gives; definitions of tools and arguments of calls are not counted.
//! An answer has
//! [`Options::tokens`] tokens, or the control's `tokens`; `max_tokens` and its siblings cut it
//! (`finish_reason: length`), `stop` sequences too. A tool call is sent when the request has
//! `tools` and `tool_choice` demands one or the last user message has the word `tool`; one token
//! per fragment of its arguments.
//!
//! # Control of one answer
//! By request headers `x-sim-{name}: {value}`, or by the model: the part after its last `/`, when
//! it has a `=`, is a comma-separated list of `name=value` (`sim/ttft=20,tps=100,tokens=64`). The
//! model wins over a header. Unknown names and bad values are refused with 400.
//!
//! | name | value |
//! |---|---|
//! | `ttft` | milliseconds from the request's end to the first byte of the answer |
//! | `delay` | milliseconds to the response head; the first event still comes at `ttft` |
//! | `tps` | tokens per second of a stream; a unary answer takes `ttft + tokens / tps` |
//! | `tokens` | output tokens |
//! | `bytes` | bytes of each token (at least those of its word; filled up with dots) |
//! | `prompt` | prompt tokens the usage states, in place of the count |
//! | `cached`, `reasoning` | cached prompt tokens, hidden reasoning tokens |
//! | `status` | answer with this error status, in the wire's error shape |
//! | `retry_after` | seconds, sent as `Retry-After` with an error status |
//! | `key`, `fail_first` | `fail_first=n:status`: the first n requests with this `key` fail so |
//! | `early` | an informational status (1xx) sent before the answer |
//! | `slow_headers` | milliseconds between two bytes of the response head |
//! | `flush` | 1: each event of a stream in a write of its own even when it is not paced |
//! | `replay` | answer with the recording of this name (see [`replay`]; also model `replay/{name}`) |
//! | `fault` | one or more of the below, joined by `+` |
//!
//! | fault | effect on a stream (k: events sent before) | on a unary answer |
//! |---|---|---|
//! | `reset_after:k` | RST | RST; k=0 before the head, else after half the body |
//! | `close_after:k` | half of the next event, then FIN | the same with FIN |
//! | `hang_after:k` | silence until the client goes | the same with silence |
//! | `malformed:k` | an event that is no JSON, then the rest | - |
//! | `error_event:k` | the wire's error event, then the end | - |
//! | `bad_chunk:k` | an invalid chunk size, then FIN | - |
//! | `no_usage` | no usage | no usage |
//! | `no_done` | no `[DONE]` or `message_stop` | - |
//! | `drip:ms` | one byte at a time | one byte at a time |
//! | `huge:n` | the first token has n MB | the same |
//! | `bad_json`, `truncate` | - | half the JSON; half the body under a full `Content-Length` |
//!
//! # Looking inside
//! Every answer carries `x-sim-seq`, the number of its request in the ledger.
//! `GET /_sim/health` (and `GET /health`, which routers probe); `GET /_sim/ledger?since=seq&limit=n`; `GET /_sim/requests/last` and
//! `/_sim/requests/{seq}` (all headers and the body in base64, of the last 64 requests);
//! `PUT|DELETE /_sim/replay/{name}`; `POST /_sim/reset`.

mod admin;
mod anthropic;
mod base64;
mod call;
mod connection;
mod control;
mod exchange;
mod faults;
mod files;
mod json;
pub mod ledger;
mod multipart;
mod openai;
mod output;
mod plan;
pub mod replay;
mod reply;
mod route;
mod schema;
mod server;
mod text;
mod vocabulary;

use std::io;

use serde::{Deserialize, Serialize};

/// How the simulator behaves when a request asks for nothing special.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Address or name to listen on.
    pub host: String,
    /// TCP port; 0: any free one.
    pub port: u16,
    /// Threads, each with its own runtime and listener.
    pub threads: usize,
    /// Delay before the first byte of an answer, in milliseconds.
    pub ttft_ms: f64,
    /// Pace of streamed tokens; 0: as fast as they can be written.
    pub tokens_per_second: f64,
    /// Output tokens of an answer whose request does not bound them.
    pub tokens: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 0, threads: 1, ttft_ms: 0.0, tokens_per_second: 0.0, tokens: 16 }
    }
}

/// A running simulator; dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    running: Option<server::Running>,
    port: u16,
}

impl Simulator {
    /// Listens and starts the threads.
    ///
    /// # Errors
    /// `InvalidInput` names an option out of range; otherwise the address cannot be bound.
    pub fn start(options: Options) -> io::Result<Self> {
        let running = server::start(options)?;
        let port = running.port();
        Ok(Self { running: Some(running), port })
    }

    /// The bound TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection and joins the threads. Idempotent.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

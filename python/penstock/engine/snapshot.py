"""What Python hands to the data plane: options, the snapshot and key records.

These structs are the whole contract of the downward direction. They are encoded as JSON and
read by ``rust_core/gateway/src/snapshot`` with the same field names; a field added here must be
added there. Unknown fields are refused on the Rust side, so that the two cannot drift apart.

Units: durations in milliseconds, money in nano-dollars (1e-9 USD), prices in nano-dollars per
million tokens, times in Unix milliseconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Wire = Literal["openai", "azure", "anthropic"]
WhenGone = Literal["fail_open", "local_share", "fail_closed"]
"""From the loosest to the strictest: each gateway keeps the whole limit for itself, its share goes on, calls are refused."""


class ListenerTls(msgspec.Struct, frozen=True):
    """TLS of the public port, from PEM files."""

    certificate: str
    """Path of the certificate chain."""
    key: str
    """Path of the private key."""
    client_ca: str | None = None
    """Path of the CA bundle that client certificates must chain to; clients without one are refused."""


class GrpcOptions(msgspec.Struct, frozen=True):
    """What is only about gRPC and HTTP/2."""

    reflection: bool = True
    """Describe the services to tools; without a key."""
    web_origins: list[str] = []
    """Origins whose pages may call over gRPC-Web, or `*`."""
    max_connection_age_ms: int | None = None
    """Age, a tenth more or less, at which a client is asked to open a new connection; None: never."""
    max_connection_age_grace_ms: int | None = None
    """How long calls on a connection of that age may go on; None: to their end."""
    keepalive_ms: int = 60_000
    """Interval of pings on connections with calls in flight; 0: none."""
    keepalive_timeout_ms: int = 20_000
    """A connection on which a ping is not answered within this time is closed."""


class IdempotencyOptions(msgspec.Struct, frozen=True):
    """Answers kept under the `Idempotency-Key` of their requests."""

    keep_ms: int = 86_400_000
    """How long an answer is kept."""
    answer_bytes: int = 1024 * 1024
    """A larger answer is not kept."""
    memory_bytes: int = 64 * 1024 * 1024
    """All answers together; the oldest make room."""
    shared: bool = False
    """Answers hold over several gateways: `hook.claim` is asked who runs a request."""
    claim_ms: int = 30_000
    """How long a claim that nobody renews lasts."""


class EngineOptions(msgspec.Struct, frozen=True):
    """What is fixed for the life of the process."""

    host: str = "127.0.0.1"
    """Address of the public listener."""
    port: int | None = 4000
    """TCP port of the public listener; 0 picks a free one; None opens none (another listener calls `submit`)."""
    threads: int = 1
    """Data-plane threads, each with its own runtime, listener and upstream pools."""
    control_socket: str = ""
    """Path of the unix socket on which Granian serves the control plane."""
    pepper: str = ""
    """Hexadecimal HMAC key under which virtual keys are digested; at least 32 bytes."""
    tls: ListenerTls | None = None
    max_body_bytes: int = 32 * 1024 * 1024
    """Larger request bodies are refused with 413."""
    max_header_bytes: int = 64 * 1024
    """Larger request heads are refused with 431."""
    header_timeout_ms: int = 10_000
    """A client must deliver a complete request head within this time."""
    body_timeout_ms: int = 30_000
    """Longest pause between two pieces of a request body."""
    idle_timeout_ms: int = 75_000
    """An idle keep-alive connection is closed after this time."""
    write_timeout_ms: int = 60_000
    """A client that takes no byte of its answer for this long is treated as gone."""
    busy_poll_us: int = 0
    """Microseconds for which a data-plane thread that has just worked looks for more before it sleeps; 0: not at all."""
    max_connections: int = 65_536
    """Open client connections, over all threads; further ones are closed at once."""
    max_streams: int = 256
    """Concurrent HTTP/2 streams per connection."""
    trusted_proxies: list[str] = []
    """CIDR blocks whose `X-Forwarded-For` is believed."""
    key_table_capacity: int = 100_000
    """Keys held in memory; the least recently used without calls in flight make room."""
    negative_ttl_ms: int = 5_000
    """How long an unknown key is remembered as unknown."""
    hook_timeout_ms: int = 5_000
    """How long a call waits for the control plane's answer to a hook."""
    shared_limits: bool = False
    """Rates and slots hold over several gateways: `hook.quota` is asked for units of them."""
    usage_queue_capacity: int = 1_000_000
    """Usage records waiting for the store; beyond it new calls are refused with 503 rather than unaccounted."""
    ca_file: str | None = None
    """PEM bundle of the CAs that upstreams may chain to; None uses the built-in Mozilla roots."""
    grpc: GrpcOptions = GrpcOptions()
    incarnation: str = ""
    """Names this run of the process: 16 hexadecimal characters, never used before. Ordinals of usage records begin at 1 then;
    without a name they rise over restarts."""
    journal_dir: str | None = None
    """Directory of the journals, one for each incarnation, and for nothing else; None: what is not in the ledger yet is lost when the
    process is killed."""
    checkpoint_ms: int = 500
    """How often the tokens of a stream are noted in the journal while they come."""
    idempotency: IdempotencyOptions = IdempotencyOptions()


class PriceTier(msgspec.Struct, frozen=True):
    """Prices of one model from a number of input tokens on; nano-dollars per million tokens."""

    from_input_tokens: int = 0
    """The tier holds for calls with at least so many input tokens; the highest such tier wins."""
    input: int = 0
    output: int = 0
    cache_read: int | None = None
    """None: priced as input."""
    cache_write: int | None = None
    """None: priced as input."""
    reasoning: int | None = None
    """None: priced as output."""
    request: int = 0
    """Nano-dollars per call (not per million)."""


class Price(msgspec.Struct, frozen=True):
    """The price list of a deployment."""

    version: str
    """Names the list a cost was computed from, e.g. `genai-prices/0.2.3` or `config`."""
    tiers: list[PriceTier]
    """Ordered by `from_input_tokens`; the first starts at 0."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream that can answer calls for a model group."""

    id: str
    provider: str
    """Label for records and metrics: `openai`, `azure`, `anthropic`, `groq`, ..."""
    wire: Wire
    """Which protocol the upstream speaks."""
    model: str
    """The upstream's model name; in a wildcard group `*` stands for what the request's name has in its place."""
    base_url: str
    """`http://` or `https://`, no trailing slash. For `openai` the part before `/chat/completions`, for `anthropic` the part
    before `/v1/messages`, for `azure` the part before `/openai/...`."""
    headers: list[tuple[str, str]] = []
    """Sent with every call: authentication, API version, extra headers. They replace the client's."""
    query: str = ""
    """Appended to the upstream's URL, without `?` (`api-version=...`)."""
    weight: int = 1
    """Share of the group's calls among deployments of the same order."""
    order: int = 0
    """Lower orders are tried first."""
    rpm: int | None = None
    tpm: int | None = None
    max_parallel_requests: int | None = None
    connect_timeout_ms: int = 5_000
    first_byte_timeout_ms: int = 600_000
    """From the request being sent to the first byte of the answer."""
    idle_timeout_ms: int = 120_000
    """Longest pause between two pieces of the answer."""
    total_timeout_ms: int | None = None
    """Bound on the whole of a call that is not streamed."""
    keepalive_ms: int | None = None
    """Send an SSE comment to the client after so much silence before the first token; None: never."""
    stream_usage: bool = True
    """The upstream understands `stream_options.include_usage`."""
    drop_params: bool = False
    """Drop parameters that the upstream's wire cannot express, instead of refusing the call."""
    drop: list[str] = []
    """Top-level request parameters that are always removed."""
    allowed_params: list[str] = []
    """Parameters passed on although the wire does not know them."""
    defaults: dict[str, msgspec.Raw] = {}
    """Parameters (raw JSON values) used when the request does not have them."""
    overrides: dict[str, msgspec.Raw] = {}
    """Parameters (raw JSON values) that replace the request's (`extra_body`)."""
    forward_headers: list[str] = []
    """Prefixes (lower case) of client headers that are sent on besides the standard ones."""
    max_output_tokens: int | None = None
    """The model's own bound, used to reserve tokens and budget when the request sets none, and as Anthropic's required `max_tokens`."""
    tokenizer: Literal["o200k_base", "cl100k_base"] = "o200k_base"
    price: Price | None = None
    prices: dict[str, Price] = {}
    """Prices by upstream model, for wildcard deployments whose model is known only when the call arrives.

    Names are lower case. A key with `*` (any run of characters, also none) or `#` (one digit) is a pattern: it holds for
    names that are not keys themselves; of several that match, the one with the most characters other than `*`, then the
    first in byte order.
    """
    mode: str = "chat"
    """LiteLLM's `model_info.mode`: chat, completion, embedding, ..."""


class ModelGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A public model name and the deployments behind it."""

    name: str
    """As clients send it; may contain one `*`."""
    deployments: list[int]
    """Indices into `Snapshot.deployments`."""
    access_groups: list[str] = []
    """Names that a key's `models` may use to mean this group."""
    fallbacks: list[str] = []
    """Groups tried in this order when every deployment failed before the first byte."""
    hidden: bool = False
    """Not listed by `/v1/models` (aliases that ask for it)."""
    created: int = 0
    """Unix seconds, shown by `/v1/models`."""
    owned_by: str = "penstock"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Policies that a config change may change while calls are in flight."""

    retries: int = 2
    """Further attempts on other deployments after a retryable failure before the first byte."""
    retry_backoff_ms: int = 100
    """Pause before the second attempt on the same deployment; doubles, with jitter. An upstream's Retry-After is honoured up to 5 s."""
    allowed_fails: int = 3
    """Failures in a minute after which a deployment cools down; upstream 401, 403, 404 count as such, 400 and 422 do not."""
    cooldown_ms: int = 5_000
    """How long; 0 switches cooldowns off."""
    max_fallbacks: int = 5
    default_fallbacks: list[str] = []
    budget_exceeded_status: int = 422
    default_output_tokens: int = 1_024
    """Reserved for the output when neither the request nor the deployment bounds it."""
    max_parallel_requests: int | None = None
    """Calls in flight over all keys."""
    passthrough_group: str | None = None
    """Group that answers opaque routes whose request names no model (`GET /v1/files`, ...); None: 400."""
    always_include_stream_usage: bool = False
    """Show the usage chunk to clients that did not ask for it."""
    customers: bool = False
    """Requests are held to the limits of the customer that they name (`user`)."""
    request_tags: bool = False
    """Requests may bring tags (`metadata.tags`, header `x-litellm-tags`): they are recorded, and held to the tags' limits."""
    spend_logs: bool = True
    """Keep a row for each call; without, calls are handed up to be charged to a virtual key, or because they failed."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled configuration, immutable, applied atomically."""

    version: int
    deployments: list[Deployment]
    groups: list[ModelGroup]
    aliases: dict[str, str] = {}
    """Other names of groups."""
    master_token: str = ""
    """Digest of the master key; empty: there is none and only virtual keys work."""
    settings: Settings = Settings()


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual key as the hot path needs it."""

    token: str
    """Digest, 64 hexadecimal characters."""
    alias: str | None = None
    models: list[str] = []
    """Groups, aliases, access groups, or patterns with `*`; empty or `all-proxy-models`: every model; `no-default-models`: none."""
    aliases: dict[str, str] = {}
    """This key's own model names."""
    rpm: int | None = None
    tpm: int | None = None
    max_parallel_requests: int | None = None
    max_budget: int | None = None
    """Nano-dollars per budget window."""
    spend: int = 0
    """Nano-dollars spent in the current budget window, as the ledger has it."""
    spend_version: int = 0
    """Ordinal of the last usage record contained in `spend`."""
    spend_at: int = 0
    """Of the figure in the ledger: a later one has a larger number."""
    budget_window_start: int | None = None
    """Beginning of the current budget window, Unix milliseconds: a call that it lets in counts from then on."""
    budget_reset_at: int | None = None
    """End of the current budget window, Unix milliseconds."""
    budget_duration_ms: int | None = None
    expires_at: int | None = None
    blocked: bool = False
    cidrs: list[str] = []
    """Client addresses that may use the key; empty: all."""
    allowed_routes: list[str] = []
    """Path prefixes or LiteLLM route groups (`llm_api_routes`, `info_routes`, ...); empty: all."""
    tags: list[str] = []
    user_id: str | None = None
    team_id: str | None = None
    org_id: str | None = None
    scopes: list[str] = []
    """Names of the scopes above the key whose limits hold for it, from near to far: `member:t/u`, `team:t`, `user:u`,
    `org:o`, `tag:x`, and those of single models (`model:team:t/gpt-4o`)."""
    when_gone: WhenGone | None = None
    """What becomes of shared rates and slots without Redis; the strictest of those that a call stands under holds."""
    revision: int = 0
    """A record of an earlier revision than the held one is ignored; 0: always taken."""


class ScopeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever else than the key a limit or a budget belongs to; all of them hold together."""

    name: str
    """`kind:id`; for one model of a scope or a key `model:<name of that>/<model>`, where a key's is `key:<digest>`."""
    alias: str | None = None
    blocked: bool = False
    models: list[str] = []
    """As a key's; both must allow a model."""
    rpm: int | None = None
    tpm: int | None = None
    max_parallel_requests: int | None = None
    max_budget: int | None = None
    """Nano-dollars per budget window."""
    spend: int = 0
    """Nano-dollars spent in the current budget window, as the ledger has it."""
    spend_version: int = 0
    """Ordinal of the last usage record contained in `spend`."""
    spend_at: int = 0
    """Of the figure in the ledger: a later one has a larger number."""
    budget_window_start: int | None = None
    """Beginning of the current budget window, Unix milliseconds: a call that it lets in counts from then on."""
    budget_reset_at: int | None = None
    """End of the current budget window, Unix milliseconds. Spending is 0 from then on."""
    budget_duration_ms: int | None = None
    """Length of a window; None with an end: a calendar window, whose end after this one a later record says."""
    only_model: str | None = None
    """The scope holds only for calls of this model group or requested model."""
    when_gone: WhenGone | None = None
    """As a key's."""
    below: list[str] = []
    """Of a customer or a tag the scopes for one model below it: a call that names it stands under them, too."""
    revision: int = 0
    """A record of an earlier revision than the held one is ignored; 0: always taken."""


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the upstream simulator behaves when a request asks for nothing special."""

    host: str = "127.0.0.1"
    port: int = 0
    threads: int = 1
    ttft_ms: float = 0
    """Delay before the first byte of an answer."""
    tokens_per_second: float = 0
    """Pace of streamed tokens; 0: as fast as they can be written."""
    tokens: int = 16
    """Output tokens of an answer whose request does not bound them."""

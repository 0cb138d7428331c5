"""The `penstock:` section: what LiteLLM's schema has no word for. Strict, so that a typing error cannot switch a
setting off unnoticed.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from penstock.config.secret import Secret
from penstock.config.values import (
    BaseUrl,
    Cidr,
    Count,
    Dollars,
    Few,
    HeaderPrefix,
    HostPort,
    Lifetime,
    Milliseconds,
    Port,
    Positive,
    Section,
    Size,
    Status,
    Threads,
    WebOrigin,
)


class Tls(Section, frozen=True, kw_only=True):
    """TLS of the public port."""

    strict: ClassVar[bool] = True

    certificate: str
    """Path of the PEM certificate chain."""
    key: str
    """Path of the PEM private key."""
    client_ca: str | None = None
    """Path of the PEM bundle that client certificates must chain to; absent: none are asked for."""


class ListenerSettings(Section, frozen=True, kw_only=True):
    """The public port. Fixed for the life of the process."""

    strict: ClassVar[bool] = True

    host: str | None = None
    """Address, 127.0.0.1 when absent; PENSTOCK_HOST and `--host` go before it."""
    port: Port | None = None
    """TCP port, 4000 when absent; PENSTOCK_PORT and `--port` go before it; 0 picks a free one."""
    threads: Threads | None = None
    """Data-plane threads; PENSTOCK_THREADS and `--threads` go before it."""
    max_body_mb: Size | None = None
    """Bound of request bodies in MiB, 32 when absent."""
    max_header_kb: Size | None = None
    """Bound of request heads in KiB, 64 when absent."""
    header_timeout: Milliseconds | None = None
    """Time to deliver a request head, 10 s when absent."""
    body_timeout: Milliseconds | None = None
    """Longest pause between two pieces of a request body, or of a message of a gRPC session, 30 s when absent."""
    idle_timeout: Milliseconds | None = None
    """Idle keep-alive connections are closed after this time, 75 s when absent."""
    write_timeout: Milliseconds | None = None
    """A client that takes no byte of its answer for so long is treated as gone, 60 s when absent."""
    busy_poll_us: Count | None = None
    """Microseconds for which a data-plane thread that has just worked looks for more before it sleeps. 50 to 200 halve the
    added latency at low load and use up to a whole core; 0, off, when absent."""
    shutdown_delay: Milliseconds | None = None
    """How long calls are still taken after the first signal to stop, while readiness answers 503 already, so that load balancers
    go elsewhere before the port is closed; not at all when absent."""
    grace: Milliseconds | None = None
    """How long calls in flight may go on after that, 25 s when absent."""
    max_connections: Positive | None = None
    """Open client connections, 65536 when absent."""
    max_streams: Positive | None = None
    """Concurrent HTTP/2 streams per connection, 256 when absent."""
    trusted_proxies: list[Cidr] = []
    """Blocks whose `X-Forwarded-For` is believed."""
    tls: Tls | None = None


class GrpcSettings(Section, frozen=True, kw_only=True):
    """gRPC on the public port. Fixed for the life of the process."""

    strict: ClassVar[bool] = True

    reflection: bool | None = None
    """Describe the services to tools such as grpcurl, without a key; true when absent."""
    web_origins: list[WebOrigin] = []
    """Origins whose pages may call over gRPC-Web, or `*`; none when absent."""
    max_connection_age: Milliseconds | None = None
    """Age, a tenth more or less, at which HTTP/2 clients are asked to open a new connection, so that a load balancer can place
    it; never when absent."""
    max_connection_age_grace: Milliseconds | None = None
    """How long calls on a connection of that age may go on; to their end when absent."""
    keepalive: Milliseconds | None = None
    """Interval of HTTP/2 pings on connections with calls in flight, 60 s when absent; 0: none."""
    keepalive_timeout: Milliseconds | None = None
    """A connection on which a ping is not answered within this time is closed, 20 s when absent."""


class LimitSettings(Section, frozen=True, kw_only=True):
    """Admission."""

    strict: ClassVar[bool] = True

    max_parallel_requests: Positive | None = None
    """Calls in flight over all keys; goes before `general_settings.global_max_parallel_requests`."""
    default_output_tokens: Positive | None = None
    """Tokens reserved for the output when neither request nor deployment bounds it, 1024 when absent."""
    key_table_capacity: Positive | None = None
    """Keys held in memory, 100000 when absent."""
    negative_ttl: Milliseconds | None = None
    """How long an unknown key is remembered as unknown, 5 s when absent."""
    hook_timeout: Milliseconds | None = None
    """How long a call waits for the control plane, 5 s when absent."""


class TimeoutSettings(Section, frozen=True, kw_only=True):
    """Upstream timeouts of deployments that have none of their own."""

    strict: ClassVar[bool] = True

    connect: Milliseconds | None = None
    """To a connection, TLS included, 5 s when absent."""
    first_byte: Milliseconds | None = None
    """From the request being sent to the first byte of the answer, 600 s when absent."""
    idle: Milliseconds | None = None
    """Longest pause between two pieces of an answer, 120 s when absent."""
    total: Milliseconds | None = None
    """Whole of a call that is not streamed; unbounded when absent."""


class RoutingSettings(Section, frozen=True, kw_only=True):
    """Retries, cooldowns and fallbacks; they go before their counterparts in `router_settings`."""

    strict: ClassVar[bool] = True

    retries: Few | None = None
    """Further attempts after a retryable failure before the first byte, 2 when absent."""
    retry_backoff: Milliseconds | None = None
    """Pause before the second attempt on the same deployment, 0.1 s when absent; it doubles."""
    allowed_fails: Few | None = None
    """Failures in a minute before a deployment cools down, 3 when absent."""
    cooldown: Milliseconds | None = None
    """How long a deployment cools down, 5 s when absent; 0: never."""
    max_fallbacks: Few | None = None
    """Fallback groups tried for one call, 5 when absent."""
    default_fallbacks: list[str] = []
    """Groups tried for calls whose own group names none."""
    passthrough_group: str | None = None
    """Group that answers opaque routes whose request names no model."""


class StreamSettings(Section, frozen=True, kw_only=True):
    """Streams to clients."""

    strict: ClassVar[bool] = True

    keepalive: Milliseconds | None = None
    """Pause before the first token after which clients get an SSE comment; none when absent."""
    include_usage: bool | None = None
    """Show the usage chunk to clients that did not ask for it."""


class BudgetSettings(Section, frozen=True, kw_only=True):
    """Budgets."""

    strict: ClassVar[bool] = True

    exceeded_status: Status | None = None
    """Status of calls that are over budget, 422 when absent."""


class KeySettings(Section, frozen=True, kw_only=True):
    """Keys that others than the proxy's administrators make."""

    strict: ClassVar[bool] = True

    max_per_user: Count | None = None
    """Keys of one user beyond which it makes no more for itself, and service accounts of one team beyond which its members make
    no more; 100 when absent. Admins of the team or its organization are not held to it."""


class IdempotencySettings(Section, frozen=True, kw_only=True):
    """Answers kept under the `Idempotency-Key` of their requests."""

    strict: ClassVar[bool] = True

    keep: Milliseconds | None = None
    """How long an answer is kept, 24 h when absent."""
    answer_kb: Positive | None = None
    """Bound of one answer in KiB, 1024 when absent; a larger one is not kept."""
    memory_mb: Size | None = None
    """Bound of all answers together in MiB, 64 when absent; the oldest make room."""
    claim: Lifetime | None = None
    """With Redis: how long a call of a gateway that was killed counts as running, 30s when absent."""


class LedgerSettings(Section, frozen=True, kw_only=True):
    """Usage records."""

    strict: ClassVar[bool] = True

    queue_capacity: Positive | None = None
    """Records waiting for the store, 1000000 when absent; beyond it calls are refused rather than unaccounted."""
    checkpoint: Milliseconds | None = None
    """How often the tokens of a stream are noted in the journal while they come, 500ms when absent: so much of a stream may go
    unbilled when the process is killed."""
    coworker: bool = True
    """With Redis: write down what is in the stream of usage, too, and not leave it to `penstock coworker` alone."""
    stream_length: Positive | None = None
    """Batches, of up to 512 records each, that may wait in the Redis stream, 4096 when absent; beyond it gateways write to the
    database themselves."""


class DatabaseSection(Section, frozen=True, kw_only=True):
    """The database, when it is a server. Fixed for the life of the process."""

    strict: ClassVar[bool] = True

    pool_size: Positive | None = None
    """Connections of one process at most, 10 when absent and at least 2; goes before
    `general_settings.database_connection_pool_limit`, and that before `connection_limit` in the address."""
    wait: Milliseconds | None = None
    """How long a caller waits for a connection, 5 s when absent; goes before `general_settings.database_connection_timeout`."""
    deadline: Milliseconds | None = None
    """How long a statement may take, 10 s when absent."""


class MetricsSettings(Section, frozen=True, kw_only=True):
    """`/metrics`."""

    strict: ClassVar[bool] = True

    public: bool | None = None
    """Answer without a key. When absent `litellm_settings.require_auth_for_metrics_endpoint` decides; a key is the default."""


class SentinelSettings(Section, frozen=True, kw_only=True):
    """Where to ask which Redis is the master."""

    strict: ClassVar[bool] = True

    service: str
    """Name that the sentinels watch the master under."""
    nodes: list[HostPort]
    """The sentinels; the first that answers decides."""
    password: Secret | None = None
    """Of the sentinels themselves; the master's is in the URL."""


class RedisSection(Section, frozen=True, kw_only=True):
    """The shared store of limits, slots, holds and the usage queue. Fixed for the life of the process."""

    strict: ClassVar[bool] = True

    url: Secret | None = None
    """`redis://` or `rediss://user:password@host:port/db`. REDIS_URL and REDIS_HOST go before it, `router_settings.redis_*` and
    `litellm_settings.cache_params` after it. With `sentinel` only user, password, database and TLS are taken from it."""
    cluster: bool = False
    """The address is a node of a Redis Cluster."""
    cluster_nodes: list[HostPort] = []
    """Further nodes to start from; implies `cluster`."""
    sentinel: SentinelSettings | None = None
    ca_file: str | None = None
    """PEM bundle that `rediss://` servers must chain to; absent: the system's roots."""
    deadline: Milliseconds | None = None
    """Answers of Redis that take longer are late: calls stop waiting for them where they can. 50 ms when absent."""
    connect_timeout: Milliseconds | None = None
    """To a connection, TLS and login included, 1 s when absent."""
    max_connections: Positive | None = None
    """Connections of one process (in Cluster mode: to each node), 16 when absent."""
    expected_replicas: Positive | None = None
    """Gateways that share the limits, for the fallback of one that has never reached Redis; 1 when absent."""
    local_share_for: Milliseconds | None = None
    """How long each replica goes on with its share of the limits when Redis is gone, 60 s when absent."""
    when_gone: Literal["fail_open", "local_share", "fail_closed"] = "fail_closed"
    """What becomes of rate and slot limits after that where no key, team, user or organization of a call has a choice of its
    own: each gateway keeps the whole limit for itself, its share goes on, or calls are refused. Budgets are refused either
    way. Requests with an idempotency key are run by the rules of one gateway (`fail_open`), or are refused, as soon as Redis
    is gone."""


class UpstreamSettings(Section, frozen=True, kw_only=True):
    """Connections to providers."""

    strict: ClassVar[bool] = True

    ca_file: str | None = None
    """PEM bundle of the CAs that providers may chain to; absent: the built-in Mozilla roots."""
    forward_headers: list[HeaderPrefix] = []
    """Client headers that are sent on besides the standard ones, by name or beginning (`x-trace-`)."""


class StoredModelSettings(Section, frozen=True, kw_only=True):
    """Models in the database (`general_settings.store_model_in_db`)."""

    strict: ClassVar[bool] = True

    environment: list[str] = []
    """Variables that a stored model may refer to as `os.environ/NAME`, and so send to an address of its own."""


class PriceSetting(Section, frozen=True, kw_only=True):
    """Prices of a model in dollars per million tokens; what is absent stays as listed."""

    strict: ClassVar[bool] = True

    input: Dollars | None = None
    output: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    reasoning: Dollars | None = None
    request: Dollars | None = None
    """Dollars per call."""


class AlertSettings(Section, frozen=True, kw_only=True):
    """Alerts about budgets."""

    strict: ClassVar[bool] = True

    webhook_url: BaseUrl | None = None
    """Where a POST with a JSON body is sent when a soft or a hard budget is used up; absent: such an alert is only logged."""


class PenstockSection(Section, frozen=True, kw_only=True):
    """`penstock`."""

    strict: ClassVar[bool] = True

    demo: bool = True
    """Offer the built-in models `demo` and `demo-claude`."""
    data_dir: str | None = None
    """Directory of everything that is kept; PENSTOCK_DATA_DIR and `--data-dir` go before it."""
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    """PENSTOCK_LOG_LEVEL goes before it; info when neither says."""
    listener: ListenerSettings = ListenerSettings()
    grpc: GrpcSettings = GrpcSettings()
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    routing: RoutingSettings = RoutingSettings()
    streams: StreamSettings = StreamSettings()
    budgets: BudgetSettings = BudgetSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    keys: KeySettings = KeySettings()
    alerts: AlertSettings = AlertSettings()
    ledger: LedgerSettings = LedgerSettings()
    database: DatabaseSection = DatabaseSection()
    metrics: MetricsSettings = MetricsSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    redis: RedisSection = RedisSection()
    stored_models: StoredModelSettings = StoredModelSettings()
    prices: dict[str, PriceSetting] = {}
    """By `model` or `provider/model`, both of which may hold `*`."""

"""LiteLLM's `config.yaml` as typed sections: the fields that take effect. The rest is in ``known``.

Field names and meanings are LiteLLM's, so that an existing file works unchanged; durations are written
there in seconds and prices in dollars per token.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

from penstock.config import known
from penstock.config.key_generation import KeyBounds, KeyGeneration
from penstock.config.penstock_section import PenstockSection
from penstock.config.secret import Json, Secret
from penstock.config.values import (
    BaseUrl,
    Count,
    Dollars,
    Few,
    Milliseconds,
    Order,
    Port,
    Positive,
    Section,
    Size,
    Status,
    TokenPrice,
)

Mode = Literal[
    "chat",
    "completion",
    "embedding",
    "image_generation",
    "image_edit",
    "audio_transcription",
    "audio_speech",
    "rerank",
    "moderation",
    "batch",
    "realtime",
    "responses",
    "ocr",
    "video_generation",
]


class TokenCosts(Section, frozen=True, kw_only=True):
    """Prices in dollars per token; they may stand in `litellm_params` or in `model_info`."""

    input_cost_per_token: TokenPrice | None = None
    output_cost_per_token: TokenPrice | None = None
    cache_read_input_token_cost: TokenPrice | None = None
    cache_creation_input_token_cost: TokenPrice | None = None
    output_cost_per_reasoning_token: TokenPrice | None = None
    input_cost_per_request: Dollars | None = None
    """Dollars per call."""
    input_cost_per_token_above_128k_tokens: TokenPrice | None = None
    output_cost_per_token_above_128k_tokens: TokenPrice | None = None
    input_cost_per_token_above_200k_tokens: TokenPrice | None = None
    output_cost_per_token_above_200k_tokens: TokenPrice | None = None
    cache_read_input_token_cost_above_200k_tokens: TokenPrice | None = None
    cache_creation_input_token_cost_above_200k_tokens: TokenPrice | None = None


class CredentialValues(Section, frozen=True, kw_only=True):
    """What a named credential sets; a deployment's own fields go before it."""

    unused: ClassVar[frozenset[str]] = known.LITELLM_PARAMS

    api_key: Secret | None = None
    api_base: BaseUrl | None = None
    api_version: str | None = None
    organization: str | None = None
    azure_ad_token: Secret | None = None


class Credential(Section, frozen=True, kw_only=True):
    """One entry of `credential_list`."""

    unused: ClassVar[frozenset[str]] = frozenset({"credential_info"})

    credential_name: str
    """As `litellm_credential_name` refers to it."""
    credential_values: CredentialValues = CredentialValues()


class LitellmParams(TokenCosts, frozen=True, kw_only=True):
    """How one deployment is called."""

    unused: ClassVar[frozenset[str]] = known.LITELLM_PARAMS
    parameters: ClassVar[frozenset[str]] = known.REQUEST_PARAMETERS
    internal: ClassVar[frozenset[str]] = frozenset({"defaults"})

    model: str | None = None
    """`provider/model`; a wildcard keeps `*`. Required for a deployment."""
    custom_llm_provider: str | None = None
    """The provider, when the name does not say."""
    api_key: Secret | None = None
    """Upstream key; the provider's environment variable when absent."""
    api_base: BaseUrl | None = None
    """Upstream address; the provider's own when absent."""
    base_url: BaseUrl | None = None
    """Another name of `api_base`."""
    api_version: str | None = None
    """Azure's `api-version`."""
    azure_ad_token: Secret | None = None
    """Entra token, sent as bearer instead of the API key."""
    organization: str | list[str] | None = None
    """OpenAI organization; a list makes one deployment of each."""
    litellm_credential_name: str | None = None
    """Entry of `credential_list` that fills what is not set here."""
    rpm: Count | None = None
    """Requests per minute that the deployment takes; also its share when there are no weights."""
    tpm: Count | None = None
    """Tokens per minute that the deployment takes; also its share when there are neither weights nor rpm."""
    max_parallel_requests: Positive | None = None
    """Calls in flight."""
    weight: Decimal | None = None
    """Share of the group's calls."""
    order: Order | None = None
    """Lower orders are tried first."""
    timeout: Milliseconds | None = None
    """Whole of a call that is not streamed, and time to the first byte of one that is."""
    stream_timeout: Milliseconds | None = None
    """Longest pause between two pieces of a stream."""
    drop_params: bool | None = None
    """Leave out parameters that the provider cannot express instead of refusing the call."""
    additional_drop_params: list[str] = []
    """Parameters that are always left out."""
    allowed_openai_params: list[str] = []
    """Parameters passed on although the provider's API does not name them."""
    extra_headers: dict[str, Secret] = {}
    """Headers of every call."""
    headers: dict[str, Secret] = {}
    """Another name of `extra_headers`; those go first."""
    extra_body: dict[str, Json] = {}
    """Parameters that replace the request's."""
    keepalive_seconds: Milliseconds | None = None
    """Pause before the first token after which clients get an SSE comment."""
    defaults: dict[str, Json] = {}
    """Gathered from parameters that stand beside the fields, such as `temperature`."""


class ModelInfo(TokenCosts, frozen=True, kw_only=True):
    """What is known about a deployment beside how to call it."""

    unused: ClassVar[frozenset[str]] = known.MODEL_INFO

    id: str | None = None
    """Stable id; made from the parameters when absent."""
    mode: Mode | None = None
    base_model: str | None = None
    """The model behind a deployment whose own name says nothing, for prices and token counts."""
    access_groups: list[str] = []
    """Names by which a key may be given this group."""
    max_output_tokens: Positive | None = None
    """The model's bound on output tokens."""


class ModelEntry(Section, frozen=True, kw_only=True):
    """One entry of `model_list`; entries of the same name form a group."""

    unused: ClassVar[frozenset[str]] = frozenset({"tpm", "rpm", "model_description"})
    internal: ClassVar[frozenset[str]] = frozenset({"unresolved", "position"})

    model_name: str
    """As clients ask for it; may hold one `*`."""
    litellm_params: LitellmParams
    model_info: ModelInfo = ModelInfo()
    unresolved: tuple[str, ...] = ()
    """Environment variables that the entry asks for and that are not set: it is left out of its group."""
    position: int = 0
    """Place in the list, from 0."""


class CacheNode(Section, frozen=True, kw_only=True):
    """One entry of `redis_startup_nodes`."""

    host: str
    port: Port = Port(6379)


class CacheParams(Section, frozen=True, kw_only=True):
    """`litellm_settings.cache_params`, as far as it says where Redis is."""

    unused: ClassVar[frozenset[str]] = known.CACHE_PARAMS

    url: Secret | None = None
    host: str | None = None
    port: Port | None = None
    username: str | None = None
    password: Secret | None = None
    db: Count | None = None
    ssl: bool = False
    redis_startup_nodes: list[CacheNode] = []
    """Nodes of a Redis Cluster."""
    service_name: str | None = None
    """The master's name in Sentinel."""
    sentinel_nodes: list[list[str]] = []
    """Pairs of host and port."""
    sentinel_password: Secret | None = None


class LitellmSettings(Section, frozen=True, kw_only=True):
    """`litellm_settings`."""

    unused: ClassVar[frozenset[str]] = known.LITELLM_SETTINGS

    drop_params: bool = False
    num_retries: Few | None = None
    """Further attempts; `router_settings` goes before it."""
    request_timeout: Milliseconds | None = None
    """Bound of calls whose deployment has no `timeout`."""
    fallbacks: list[dict[str, list[str]]] = []
    default_fallbacks: list[str] = []
    budget_exceeded_status_code: Status | None = None
    """Status of calls that are over budget, 422 when absent."""
    sse_keepalive_ping_interval_seconds: Milliseconds | None = None
    """Pause before the first token after which clients get an SSE comment; none when absent."""
    cache_params: CacheParams = CacheParams()
    """Where Redis is, when nothing else says so."""
    max_budget: Dollars | None = None
    """US dollars that all virtual keys together may spend per `budget_duration`."""
    budget_duration: str | None = None
    """Budget window of `max_budget` (`1d`, `7d`, `30d`, `1mo`); for ever when absent."""
    max_end_user_budget: Dollars | None = None
    """US dollars of each customer (the request's `user`) that has no budget of its own."""
    max_end_user_budget_id: str | None = None
    """Budget of customers that are seen for the first time."""
    disable_end_user_cost_tracking: bool = False
    """No default budget for customers that nobody has created."""
    max_internal_user_budget: Dollars | None = None
    """US dollars of each new user whose request names no budget."""
    internal_user_budget_duration: str | None = None
    """Budget window of `max_internal_user_budget`."""
    upperbound_key_generate_params: KeyBounds = KeyBounds()
    """The most that requests give to keys, administrators' too."""
    key_generation_settings: KeyGeneration = KeyGeneration()
    """Who else than the proxy's administrators makes keys."""
    require_auth_for_metrics_endpoint: bool = True
    """`/metrics` needs the master key; `penstock.metrics.public` goes before it."""


class AliasTarget(Section, frozen=True, kw_only=True):
    """An alias that is not listed."""

    model: str
    hidden: bool = False


class RouterSettings(Section, frozen=True, kw_only=True):
    """`router_settings`."""

    unused: ClassVar[frozenset[str]] = known.ROUTER_SETTINGS

    routing_strategy: str | None = None
    """Only `simple-shuffle` (by weight) takes effect."""
    model_group_alias: dict[str, str | AliasTarget] = {}
    """Other names of groups."""
    num_retries: Few | None = None
    retry_after: Milliseconds | None = None
    """Shortest pause before another attempt."""
    max_fallbacks: Few | None = None
    allowed_fails: Few | None = None
    """Failures in a minute before a deployment cools down."""
    cooldown_time: Milliseconds | None = None
    disable_cooldowns: bool = False
    timeout: Milliseconds | None = None
    """Bound of calls whose deployment has no `timeout`; goes before `litellm_settings.request_timeout`."""
    stream_timeout: Milliseconds | None = None
    fallbacks: list[dict[str, list[str]]] = []
    default_fallbacks: list[str] = []
    default_max_parallel_requests: Positive | None = None
    """Calls in flight of deployments that do not say."""
    default_litellm_params: LitellmParams = LitellmParams()
    """Fills what deployments do not set."""
    redis_url: Secret | None = None
    """Redis; the environment and `penstock.redis.url` go before it."""
    redis_host: str | None = None
    redis_port: Port | None = None
    redis_username: str | None = None
    redis_password: Secret | None = None
    redis_db: Count | None = None
    redis_ssl: bool = False


class GeneralSettings(Section, frozen=True, kw_only=True):
    """`general_settings`."""

    unused: ClassVar[frozenset[str]] = known.GENERAL_SETTINGS

    master_key: Secret | None = None
    """The admin key; PENSTOCK_MASTER_KEY or LITELLM_MASTER_KEY when absent."""
    dangerously_permit_weak_or_unset_master_key: bool = False
    """Read in order to say that it has no effect."""
    database_url: Secret | None = None
    """State database; DATABASE_URL when absent."""
    database_connection_pool_limit: Positive | None = None
    """Connections of one process at most; `penstock.database.pool_size` goes before it."""
    database_connection_timeout: Milliseconds | None = None
    """How long a caller waits for a connection; `penstock.database.wait` goes before it."""
    global_max_parallel_requests: Positive | None = None
    """Calls in flight over all keys."""
    max_request_size_mb: Size | None = None
    """Bound of request bodies in MiB."""
    always_include_stream_usage: bool = False
    """Show the usage chunk to clients that did not ask for it."""
    maximum_spend_logs_retention_period: str | None = None
    """Age at which rows of calls are removed, e.g. `90d`; they stay when absent. Sums and spending stay in any case."""
    disable_spend_logs: bool = False
    """Keep no row for each call: `/spend/logs` has nothing to show. Calls with a virtual key are charged and counted all
    the same; calls with the master key are in the metrics, and failed ones in the log."""
    alert_to_webhook_url: dict[str, Json] = {}
    """Addresses by kind of alert; `budget_alerts` is used, `penstock.alerts.webhook_url` goes before it."""
    infer_model_from_keys: bool = False
    """Add `<provider>/*` for every provider whose key is in the environment."""
    store_model_in_db: bool = False
    """Serve the models in the database beside those of the file; STORE_MODEL_IN_DB does the same."""


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    unused: ClassVar[frozenset[str]] = known.TOP_LEVEL
    internal: ClassVar[frozenset[str]] = frozenset({"from_file"})

    model_list: list[ModelEntry] = []
    litellm_settings: LitellmSettings = LitellmSettings()
    router_settings: RouterSettings = RouterSettings()
    general_settings: GeneralSettings = GeneralSettings()
    environment_variables: dict[str, Secret] = {}
    """Take effect before anything else is read, as if they had been set outside."""
    credential_list: list[Credential] = []
    include: list[str] = []
    """Files that are merged into this one, relative to it."""
    penstock: PenstockSection = PenstockSection()
    from_file: bool = False
    """Set by the loader: without a file, deployments come from the environment."""

"""One `model_list` entry to the deployments that it means.

Apart from the compiler of whole snapshots, because entries also come from the database, one at a time.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

import msgspec

from penstock import prices
from penstock.config.accesses import accesses, effective
from penstock.config.env import Environment
from penstock.config.schema import Config, LitellmParams, ModelEntry, ModelInfo, TokenCosts
from penstock.config.secret import Json
from penstock.engine.snapshot import Deployment, Price
from penstock.prices.overrides import per_million
from penstock.providers import Upstream, connect

DEFAULT_FIRST_BYTE_MS = 600_000
DEFAULT_IDLE_MS = 120_000
DEFAULT_CONNECT_MS = 5_000

_CL100K_MODELS = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-")


class Compiled(msgspec.Struct, frozen=True):
    """A deployment before its group gives it a weight."""

    deployment: Deployment
    weight: Decimal | None
    """As written; None: not set."""


class StoredDeployments(msgspec.Struct, frozen=True):
    """What one model of the database comes to, built before the snapshot so that a bad one is known by its id."""

    model_id: str
    group: str
    members: list[Compiled]
    access_groups: list[str]


def build(entry: ModelEntry, config: Config, environment: Environment) -> list[Compiled]:
    """The deployments of ``entry``: one, or one per organization.

    Raises:
        penstock.providers.UpstreamError: it cannot be called (`MissingKeyError`: for want of a key).
        KeyError: its credential does not exist.
    """
    params = effective(entry.litellm_params, config)
    return [
        compiled(entry.model_name, connect(access, environment), params, entry.model_info, config, ordinal)
        for ordinal, access in enumerate(accesses(params, config))
    ]


def compiled(
    group: str,
    upstream: Upstream,
    params: LitellmParams,
    info: ModelInfo,
    config: Config,
    ordinal: int = 0,
) -> Compiled:
    """The deployment of ``group`` at ``upstream``. ``ordinal`` tells siblings apart that share an explicit id."""
    settings, router, own = config.litellm_settings, config.router_settings, config.penstock
    timeout = params.timeout or None
    bound = timeout or router.timeout or settings.request_timeout or None
    drop = [name for name in params.additional_drop_params if not any(letter in name for letter in ".[]")]
    named = price_overrides(config)
    over = _overrides(params, info)
    known_model = info.base_model.rpartition("/")[2] if info.base_model else upstream.model
    wildcard = "*" in known_model
    deployment = Deployment(
        id=_id(info.id, ordinal) if info.id else stable_id(group, upstream),
        provider=upstream.provider.name,
        wire=upstream.wire,
        model=upstream.model,
        base_url=upstream.base_url,
        headers=upstream.headers,
        query=upstream.query,
        order=params.order or 0,
        rpm=params.rpm,
        tpm=params.tpm,
        max_parallel_requests=params.max_parallel_requests or router.default_max_parallel_requests,
        connect_timeout_ms=own.timeouts.connect or DEFAULT_CONNECT_MS,
        first_byte_timeout_ms=timeout or own.timeouts.first_byte or bound or DEFAULT_FIRST_BYTE_MS,
        idle_timeout_ms=params.stream_timeout or own.timeouts.idle or router.stream_timeout or DEFAULT_IDLE_MS,
        total_timeout_ms=timeout or own.timeouts.total or bound,
        keepalive_ms=params.keepalive_seconds
        or own.streams.keepalive
        or settings.sse_keepalive_ping_interval_seconds
        or None,
        stream_usage=upstream.provider.stream_usage and "stream_options" not in drop,
        drop_params=settings.drop_params if params.drop_params is None else params.drop_params,
        drop=drop,
        allowed_params=params.allowed_openai_params,
        defaults=_raw(params.defaults),
        overrides=_raw(params.extra_body),
        forward_headers=[str(prefix) for prefix in own.upstream.forward_headers],
        max_output_tokens=info.max_output_tokens,
        tokenizer="cl100k_base" if _is_cl100k(known_model) else "o200k_base",
        price=None if wildcard else prices.lookup(upstream.provider.name, known_model, over, named),
        prices=_wildcard_prices(upstream, known_model, over, named) if wildcard else {},
        mode=info.mode or ("embedding" if "embed" in known_model.lower() else "chat"),
    )
    return Compiled(deployment, params.weight)


def stable_id(group: str, upstream: Upstream) -> str:
    """16 hexadecimal characters of what makes the deployment itself: where it is, not how it is tuned or paid for.

    Credentials are not part of it, so that rotating a key keeps a deployment's history together.
    """
    organization = dict(upstream.headers).get("OpenAI-Organization", "")
    parts = [group, upstream.provider.name, upstream.model, upstream.base_url, upstream.query, organization]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def price_overrides(config: Config) -> dict[str, prices.PriceOverrides]:
    """`penstock.prices` in the units of the price list."""
    return {
        name: prices.PriceOverrides(
            input=per_million(setting.input),
            output=per_million(setting.output),
            cache_read=per_million(setting.cache_read),
            cache_write=per_million(setting.cache_write),
            reasoning=per_million(setting.reasoning),
            request=per_million(setting.request),
        )
        for name, setting in config.penstock.prices.items()
    }


def _wildcard_prices(
    upstream: Upstream,
    model: str,
    over: prices.PriceOverrides,
    named: dict[str, prices.PriceOverrides],
) -> dict[str, Price]:
    known = prices.for_wildcard(upstream.provider.name, over, named)
    start = model.partition("*")[0].lower()
    if not start:
        return known
    # A narrower wildcard can only meet names with its own beginning.
    return {name: price for name, price in known.items() if _may_start_with(name, start)}


def _may_start_with(pattern: str, start: str) -> bool:
    fixed = pattern.replace("#", "*").partition("*")[0]
    return fixed.startswith(start) or (fixed != pattern and start.startswith(fixed))


def _overrides(params: LitellmParams, info: ModelInfo) -> prices.PriceOverrides:
    costs = {}
    for name in TokenCosts.__struct_fields__:
        # Written in both places, the entry's parameters hold.
        written = (getattr(params, name), getattr(info, name))
        costs[name] = next((value for value in written if value is not None), None)
    return prices.TokenPrices(**costs).overrides()


def _raw(parameters: dict[str, Json]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(json.value)) for name, json in parameters.items()}


def _id(name: str, ordinal: int) -> str:
    return name if ordinal == 0 else f"{name}-{ordinal + 1}"


def _is_cl100k(model: str) -> bool:
    return model == "gpt-4" or model.startswith(_CL100K_MODELS)

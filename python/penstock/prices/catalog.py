"""The bundled price list of genai-prices, converted to the snapshot's integers. No network, ever."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from penstock.engine.snapshot import Price, PriceTier
from penstock.prices.amounts import nano_per_million
from penstock.prices.patterns import Patterns, best, patterns

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider


@cache
def list_version() -> str:
    """`genai-prices/<version of the package>`."""
    return f"genai-prices/{version('genai-prices')}"


def lookup_list(provider: str, model: str, now: datetime | None = None) -> Price | None:
    """The list price of ``model`` at the list's ``provider``, as of ``now`` (the current time).

    Models that are priced by other things than tokens and calls (seconds of audio, pages) have none.
    """
    entry = _provider(provider)
    if entry is None:
        return None
    found = entry.find_model(model, all_providers=_providers())
    return _convert(found, now or datetime.now(UTC)) if found is not None else None


def list_prices(provider: str, now: datetime | None = None) -> dict[str, Price]:
    """Every model of the list's ``provider`` by its names and patterns, as `Deployment.prices` has them."""
    entry = _provider(provider)
    if entry is None:
        return {}
    moment = now or datetime.now(UTC)
    sources = [entry, *filter(None, map(_provider, entry.fallback_model_providers or ()))]
    prices: dict[str, Price] = {}
    late: list[tuple[Patterns, Price]] = []
    for source in sources:
        for model in source.models:
            price = _convert(model, moment)
            if price is None:
                continue
            rule = patterns(model.match)
            if rule.broad:
                late.append((rule, price))
                continue
            for text in rule.texts:
                prices.setdefault(text, price)
    for rule, price in late:
        for text in rule.texts:
            prices.setdefault(text, price)
    # The plain name of a family ("claude-x" beside "claude-x*") is what most calls use: found without any matching.
    stems = {text.strip("*") for text in prices if "#" not in text} - prices.keys() - {""}
    named = {stem: best(prices, stem) for stem in sorted(stems) if "*" not in stem}
    return prices | {stem: price for stem, price in named.items() if price is not None}


def _providers() -> list[Provider]:
    # Heavy: pydantic and 2,300 models. Only reached when a price is wanted.
    from genai_prices.data import providers

    return providers


def _provider(name: str) -> Provider | None:
    return next((entry for entry in _providers() if entry.id == name), None)


def _convert(model: ModelInfo, now: datetime) -> Price | None:
    listed = model.get_prices(now)
    starts = sorted({start for key in _KEYS for start in _starts(listed, key)} | {0})
    tiers = [_tier(listed, start) for start in starts]
    if not any(_at(listed, key, 0) is not None for key in _KEYS):
        return None
    return Price(version=list_version(), tiers=tiers)


_KEYS = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "output_reasoning_mtok",
    "requests_kcount",
)


def _tier(listed: ModelPrice, start: int) -> PriceTier:
    request = _at(listed, "requests_kcount", start)
    return PriceTier(
        from_input_tokens=start,
        input=_nano(listed, "input_mtok", start) or 0,
        output=_nano(listed, "output_mtok", start) or 0,
        cache_read=_nano(listed, "cache_read_mtok", start),
        cache_write=_nano(listed, "cache_write_mtok", start),
        reasoning=_nano(listed, "output_reasoning_mtok", start),
        request=nano_per_million(request / 1000) if request is not None else 0,
    )


def _nano(listed: ModelPrice, key: str, start: int) -> int | None:
    dollars = _at(listed, key, start)
    return nano_per_million(dollars) if dollars is not None else None


def _starts(listed: ModelPrice, key: str) -> list[int]:
    # The list's tiers hold above their threshold, the snapshot's from theirs on.
    value = getattr(listed, key)
    return [] if value is None or isinstance(value, Decimal) else [tier.start + 1 for tier in value.tiers]


def _at(listed: ModelPrice, key: str, tokens: int) -> Decimal | None:
    """The price in dollars that holds for calls with ``tokens`` input tokens."""
    value = getattr(listed, key)
    if value is None or isinstance(value, Decimal):
        return value
    dollars: Decimal = value.base
    for tier in value.tiers:
        if tokens > tier.start:
            dollars = tier.price
    return dollars

"""The price of a deployment: what its own entry says, over what `penstock.prices` says, over the list."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.engine.snapshot import Price
from penstock.prices.catalog import list_prices, lookup_list
from penstock.prices.overrides import PriceOverrides
from penstock.prices.patterns import best
from penstock.providers import PROVIDERS


def lookup(
    provider: str,
    model: str,
    overrides: PriceOverrides | None = None,
    named: Mapping[str, PriceOverrides] | None = None,
) -> Price | None:
    """The price of ``model`` at ``provider`` (a registered name).

    ``overrides`` belong to the deployment, ``named`` to names or patterns of `provider/model` or `model`
    (`penstock.prices`). None: nothing is known, calls cost nothing.
    """
    entry = PROVIDERS.get(provider)
    price = lookup_list(entry.prices, model) if entry is not None and entry.prices is not None else None
    override = best(_of_provider(provider, named or {}), model)
    if override is not None:
        price = override.apply(price)
    return overrides.apply(price) if overrides else price


def for_wildcard(
    provider: str,
    overrides: PriceOverrides | None = None,
    named: Mapping[str, PriceOverrides] | None = None,
) -> dict[str, Price]:
    """Prices of every known model of ``provider``, for a deployment whose model is chosen by each request.

    Keys are lower-case names and patterns as described at `Deployment.prices`.
    """
    entry = PROVIDERS.get(provider)
    listed = list_prices(entry.prices) if entry is not None and entry.prices is not None else {}
    prices = dict(listed)
    for name, override in _of_provider(provider, named or {}).items():
        prices[name] = override.apply(best(listed, name))
    if overrides:
        prices = {name: overrides.apply(price) for name, price in prices.items()}
    return prices


def _of_provider(provider: str, named: Mapping[str, PriceOverrides]) -> dict[str, PriceOverrides]:
    """The overrides that concern ``provider``, by model name; `provider/model` goes before a bare `model`."""
    bare: dict[str, PriceOverrides] = {}
    own: dict[str, PriceOverrides] = {}
    for name, override in named.items():
        head, slash, rest = name.lower().partition("/")
        if slash and head == provider:
            own[rest] = override
        elif not slash or head not in PROVIDERS:
            bare[name.lower()] = override
    return bare | own

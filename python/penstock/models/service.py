"""How a model name resolves, and what may be shown of a deployment.

Reads the compiled snapshot, so that it says what the data plane does and not what a file might mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from penstock.engine.snapshot import Deployment, ModelGroup, Price, Snapshot
from penstock.models.models import JsonObject
from penstock.money import NANOS_PER_DOLLAR

_SHOWN: Final = frozenset({"model", "custom_llm_provider", "rpm", "tpm", "weight", "order", "max_parallel_requests"})


class Resolution(msgspec.Struct, frozen=True):
    """What a model name leads to."""

    asked: str
    group: ModelGroup | None
    via: str
    """`name`, `alias`, `wildcard` or `nothing`."""
    wildcard: str = ""
    """What stands for the `*` of a wildcard group."""
    deployments: list[Deployment] = []
    """In the order of their `order`, heavier first within one."""


def resolve(snapshot: Snapshot, model: str) -> Resolution:
    """Exact name, then alias, then the wildcard with the longest fixed part."""
    groups = {group.name: group for group in snapshot.groups}
    via, name = "name", model
    if name not in groups and name in snapshot.aliases:
        via, name = "alias", snapshot.aliases[name]
    group, filler = groups.get(name), ""
    if group is None:
        fitting = [(len(found.name), found) for found in snapshot.groups if _fits(found.name, name)]
        if fitting:
            via, group = "wildcard", max(fitting, key=lambda pair: pair[0])[1]
            before, _, after = group.name.partition("*")
            filler = name[len(before) : len(name) - len(after)]
    if group is None:
        return Resolution(model, None, "nothing")
    behind = [snapshot.deployments[index] for index in group.deployments]
    behind.sort(key=lambda deployment: (deployment.order, -deployment.weight))
    return Resolution(model, group, via, filler, behind)


def _fits(pattern: str, name: str) -> bool:
    before, star, after = pattern.partition("*")
    return bool(star) and len(name) >= len(before) + len(after) and name.startswith(before) and name.endswith(after)


def deployments_of(snapshot: Snapshot, model: str) -> list[Deployment]:
    """The deployments that may answer for a model name, a deployment's id or an upstream's model name."""
    found = resolve(snapshot, model).deployments
    return found or [one for one in snapshot.deployments if model in (one.id, one.model)]


def per_token(nanos_per_million: int | None) -> float | None:
    """Nano-dollars per million tokens as LiteLLM's dollars per token."""
    return None if nanos_per_million is None else nanos_per_million / 1_000_000 / NANOS_PER_DOLLAR


def costs(price: Price | None) -> dict[str, Any]:
    """LiteLLM's price fields."""
    if price is None:
        return {"input_cost_per_token": None, "output_cost_per_token": None}
    base = price.tiers[0]
    shown: dict[str, Any] = {
        "input_cost_per_token": per_token(base.input),
        "output_cost_per_token": per_token(base.output),
        "cache_read_input_token_cost": per_token(base.cache_read),
        "cache_creation_input_token_cost": per_token(base.cache_write),
        "price_version": price.version,
    }
    for tier in price.tiers[1:]:
        suffix = f"_above_{tier.from_input_tokens // 1000}k_tokens"
        shown[f"input_cost_per_token{suffix}"] = per_token(tier.input)
        shown[f"output_cost_per_token{suffix}"] = per_token(tier.output)
    return shown


def entries(
    snapshot: Snapshot, stored: Iterable[JsonObject] = (), ids: Mapping[str, str] = MappingProxyType({})
) -> list[JsonObject]:
    """One entry per group and deployment, in LiteLLM's `/model/info` shape. Addresses and headers stay inside.

    ``stored`` are the models of the database as they are shown, ``ids`` theirs by the id of each deployment. Those that
    are blocked or cannot be served come last.
    """
    kept = {str(model["model_id"]): model for model in stored}
    shown = [
        _entry(group, snapshot.deployments[index], kept.get(ids.get(snapshot.deployments[index].id, "")))
        for group in snapshot.groups
        for index in group.deployments
    ]
    served = set(ids.values())
    return [*shown, *(_idle(model) for model_id, model in kept.items() if model_id not in served)]


def _entry(group: ModelGroup, deployment: Deployment, stored: JsonObject | None) -> JsonObject:
    return {
        "model_name": group.name,
        "litellm_params": {
            "model": f"{deployment.provider}/{deployment.model}",
            "custom_llm_provider": deployment.provider,
            "rpm": deployment.rpm,
            "tpm": deployment.tpm,
            "weight": deployment.weight,
            "order": deployment.order,
            "max_parallel_requests": deployment.max_parallel_requests,
        },
        "model_info": {
            **(stored["model_info"] if stored is not None else {}),
            "id": deployment.id,
            "db_model": stored is not None,
            "mode": deployment.mode,
            "key": deployment.model,
            "litellm_provider": deployment.provider,
            "max_output_tokens": deployment.max_output_tokens,
            "access_groups": group.access_groups,
            **costs(deployment.price),
        },
    }


def _idle(stored: JsonObject) -> JsonObject:
    """A stored model without a deployment, with what is known of it and no address."""
    params = {name: value for name, value in stored["litellm_params"].items() if name in _SHOWN}
    return {"model_name": stored["model_name"], "litellm_params": params, "model_info": stored["model_info"]}


def _most(values: list[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def groups(snapshot: Snapshot) -> list[dict[str, Any]]:
    """One entry per group, in LiteLLM's `/model_group/info` shape."""
    shown = []
    for group in snapshot.groups:
        behind = [snapshot.deployments[index] for index in group.deployments]
        priced = next((deployment.price for deployment in behind if deployment.price is not None), None)
        shown.append(
            {
                "model_group": group.name,
                "providers": sorted({deployment.provider for deployment in behind}),
                "mode": behind[0].mode if behind else None,
                "max_output_tokens": _most([deployment.max_output_tokens for deployment in behind]),
                "rpm": _sum([deployment.rpm for deployment in behind]),
                "tpm": _sum([deployment.tpm for deployment in behind]),
                "fallbacks": group.fallbacks,
                "access_groups": group.access_groups,
                **costs(priced),
            }
        )
    return shown

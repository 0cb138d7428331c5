"""Whether one key may do more than another: what keeps a key from widening itself, or from making one that is wider.

Apart from the authority because it compares two keys and knows nothing of callers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.access.routes import covers
from penstock.durations import parse_duration
from penstock.scopes.fields import model_limits

if TYPE_CHECKING:
    from penstock.keys.models import VirtualKey
    from penstock.scopes.models import ModelLimit

MODEL_ROUTES = frozenset({"llm_api_routes", "openai_routes", "anthropic_routes"})
"""Groups that manage nothing."""
_TEAM_MODELS = "all-team-models"
_NO_MODELS = "no-default-models"
_EVERY_MODEL = frozenset({"all-proxy-models", "*"})
_MODEL_FIELDS = ("model_max_budget", "model_rpm_limit", "model_tpm_limit")


def _least(one: int | None, bound: int | None) -> bool:
    return bound is None or (one is not None and one <= bound)


def _number(column: str) -> Callable[[VirtualKey, VirtualKey], bool]:
    return lambda one, bound: _least(getattr(one, column), getattr(bound, column))


def _models(one: VirtualKey, bound: VirtualKey) -> bool:
    if _TEAM_MODELS in bound.models and bound.team_id is not None and one.team_id == bound.team_id:
        return True
    most, asked = _meant(bound.models), _meant(one.models)
    return bool(most & _EVERY_MODEL) or asked <= most


def _meant(models: Sequence[str]) -> set[str]:
    """What a list of models lets through: nothing in it is everything, unless it says that this is nothing."""
    if _NO_MODELS in models:
        return set(models) - _EVERY_MODEL - {_NO_MODELS}
    return set(models) or set(_EVERY_MODEL)


def _aliases(one: VirtualKey, bound: VirtualKey) -> bool:
    """A name of its own for a model is a way around a list of models."""
    return not bound.models or one.aliases.items() <= bound.aliases.items()


def _window(one: VirtualKey, bound: VirtualKey) -> bool:
    """The budget does not come back more often."""
    if bound.max_budget is None or one.budget_duration == bound.budget_duration or one.budget_duration is None:
        return True
    return bound.budget_duration is not None and _length(one.budget_duration) >= _length(bound.budget_duration)


def _length(duration: str) -> int:
    return parse_duration(duration, "budget_duration").nominal_milliseconds()


def are_within(routes: Sequence[str], bound: Sequence[str]) -> bool:
    """Every one of these `allowed_routes` is covered by those of the bound; an empty list is every route."""
    return not bound or (bool(routes) and all(_is_route_within(route, bound) for route in routes))


def _is_route_within(route: str, bound: Sequence[str]) -> bool:
    if route in bound:
        return True
    if route.startswith("/"):
        return "*" not in route and any(covers([entry], None, route) for entry in bound)
    return any(covers([entry], route, "") for entry in bound)


def _addresses(one: VirtualKey, bound: VirtualKey) -> bool:
    if not bound.allowed_cidrs:
        return True
    blocks = [ipaddress.ip_network(block, strict=False) for block in bound.allowed_cidrs]
    return bool(one.allowed_cidrs) and all(
        any(_is_subnet(ipaddress.ip_network(own, strict=False), block) for block in blocks) for own in one.allowed_cidrs
    )


def _is_subnet(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, block: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(one, ipaddress.IPv4Network) and isinstance(block, ipaddress.IPv4Network):
        return one.subnet_of(block)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(block, ipaddress.IPv6Network):
        return one.subnet_of(block)
    return False


def _budget(one: VirtualKey, bound: VirtualKey) -> bool:
    budget_id = bound.extra.get("budget_id")
    return budget_id is None or one.extra.get("budget_id") == budget_id


def _limits_of(key: VirtualKey) -> dict[str, ModelLimit]:
    budgets, rpm, tpm = (key.extra.get(field) for field in _MODEL_FIELDS)
    return model_limits(budgets, rpm, tpm)


def _per_model(column: str) -> Callable[[VirtualKey, VirtualKey], bool]:
    def within(one: VirtualKey, bound: VirtualKey) -> bool:
        own = _limits_of(one)
        return all(
            getattr(limit, column) is None
            or (model in own and _least(getattr(own[model], column), getattr(limit, column)))
            for model, limit in _limits_of(bound).items()
        )

    return within


_STRICTNESS: dict[str, int] = {"fail_open": 0, "local_share": 1, "fail_closed": 2}


def is_as_strict(choice: str | None, before: str | None) -> bool:
    """Whether `when_gone` may be this where it was that without loosening anything. Of no choice nobody knows here what others
    make of it: only the strictest is surely no looser."""
    return choice == before or (
        choice is not None and _STRICTNESS[choice] >= _STRICTNESS["fail_closed" if before is None else before]
    )


_WITHIN: dict[str, Callable[[VirtualKey, VirtualKey], bool]] = {
    "allowed_routes": lambda one, bound: are_within(one.allowed_routes, bound.allowed_routes),
    "models": _models,
    "aliases": _aliases,
    "max_budget": _number("max_budget"),
    "budget_duration": _window,
    "rpm_limit": _number("rpm_limit"),
    "tpm_limit": _number("tpm_limit"),
    "max_parallel_requests": _number("max_parallel_requests"),
    "model_max_budget": _per_model("max_budget"),
    "model_rpm_limit": _per_model("rpm"),
    "model_tpm_limit": _per_model("tpm"),
    "budget_id": _budget,
    "duration": _number("expires_at"),
    "allowed_cidrs": _addresses,
    "when_gone": lambda one, bound: is_as_strict(one.when_gone, bound.when_gone),
    "blocked": lambda one, bound: one.blocked or not bound.blocked,
    "tags": lambda one, bound: set(bound.tags) <= set(one.tags),
    "spend": lambda one, bound: one.spend >= bound.spend,
}
OF_ITSELF = frozenset({"duration", "allowed_cidrs", "blocked", "tags", "spend", "budget_id"})
"""What holds for one key, and says nothing about those that are made with it."""


def wider(one: VirtualKey, bound: VirtualKey) -> list[str]:
    """The fields in which a key may do more than another, by the names that requests have for them."""
    return [field for field, is_within in _WITHIN.items() if not is_within(one, bound)]

"""Limits and spend of a scope as LiteLLM's answers show them: dollars and RFC 3339.

Apart from the routes of the domains because all of them show the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.durations import iso
from penstock.money import dollars, dollars_or_none
from penstock.scopes.models import Scope


def limits(scope: Scope | None, models: Mapping[str, Scope] | None = None) -> dict[str, Any]:
    """The fields that every object with limits has; `models` are its limits per model."""
    scope = scope or Scope(name="", kind="", id="")
    by_model = models or {}
    return {
        "max_budget": dollars_or_none(scope.max_budget),
        "soft_budget": dollars_or_none(scope.soft_budget),
        "budget_duration": scope.budget_duration,
        "budget_reset_at": iso(scope.budget_reset_at),
        "budget_id": scope.budget_id,
        "tpm_limit": scope.tpm,
        "rpm_limit": scope.rpm,
        "max_parallel_requests": scope.max_parallel_requests,
        "when_gone": scope.when_gone,
        "model_max_budget": {
            model: {"budget_limit": dollars(one.max_budget), "time_period": one.budget_duration}
            for model, one in by_model.items()
            if one.max_budget is not None
        },
        "model_rpm_limit": {model: one.rpm for model, one in by_model.items() if one.rpm is not None},
        "model_tpm_limit": {model: one.tpm for model, one in by_model.items() if one.tpm is not None},
        "model_spend": {model: dollars(one.spend) for model, one in by_model.items()},
        "spend": dollars(scope.spend),
        "total_spend": dollars(scope.total_spend),
    }


def budget_table(scope: Scope | None) -> dict[str, Any] | None:
    """`litellm_budget_table`: the limits of money and rate alone; None when there are none."""
    if scope is None:
        return None
    shown = {
        "budget_id": scope.budget_id,
        "max_budget": dollars_or_none(scope.max_budget),
        "soft_budget": dollars_or_none(scope.soft_budget),
        "max_parallel_requests": scope.max_parallel_requests,
        "tpm_limit": scope.tpm,
        "rpm_limit": scope.rpm,
        "budget_duration": scope.budget_duration,
    }
    if all(value is None for value in shown.values()):
        return None
    return {**shown, "budget_reset_at": iso(scope.budget_reset_at)}


def warnings(request: msgspec.Struct, fields: Iterable[str], *more: str) -> dict[str, Any]:
    """`warnings` of an answer: those of the fields that the request asks something by and that nothing here acts upon, and more
    words if there are some."""
    asked = [name for name in fields if getattr(request, name, UNSET) not in (UNSET, None, [], {}, False)]
    words = [*(f"`{name}` is stored but has no effect in this version" for name in asked), *more]
    return {"warnings": words} if words else {}


def stamps(row: Any) -> dict[str, Any]:
    """When and by whom a row was made and changed."""
    return {
        "created_at": iso(row.created_at),
        "created_by": row.created_by,
        "updated_at": iso(row.updated_at),
        "updated_by": row.updated_by,
    }

"""A scope as it is stored, and the limits that requests may write into one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from penstock.engine.snapshot import WhenGone

JsonObject = dict[str, Any]


class Scope(msgspec.Struct, kw_only=True):
    """A row of `scopes`. Money in nano-dollars, times in Unix milliseconds.

    The limits are the scope's own; where one is None, the one of the budget `budget_id` holds.
    """

    name: str
    """`kind:id`."""
    kind: str
    id: str
    parent: str | None = None
    """Of a scope for one model: the scope it is a part of."""
    above: str | None = None
    """Of a team: its organization."""
    only_model: str | None = None
    from_budget: bool = False
    """It is there because the parent's budget has limits per model."""
    alias: str | None = None
    blocked: bool = False
    when_gone: WhenGone | None = None
    models: list[str] = []
    rpm: int | None = None
    tpm: int | None = None
    max_parallel_requests: int | None = None
    max_budget: int | None = None
    soft_budget: int | None = None
    budget_id: str | None = None
    budget_duration: str | None = None
    budget_window_start: int | None = None
    budget_reset_at: int | None = None
    spend: int = 0
    """In the current budget window."""
    total_spend: int = 0
    """Ever."""
    last_active_at: int | None = None
    charged_at: int = 0
    """When a process last added to the spend."""
    revision: int = 1
    """Rises with every change, the spend's included."""
    updated_at: int = 0


class ReadScope(Scope, kw_only=True):
    """A scope with the limits of its budget, and up to where the records of a data plane are in its spend: of one moment."""

    charged: int = 0
    """Ordinal of the last record of the incarnation asked about of which, and of all before, `spend` has the cost."""


LIMITS = ("rpm", "tpm", "max_parallel_requests", "max_budget", "soft_budget", "budget_duration")
"""Columns that a budget gives to the scopes that refer to it."""


class ModelLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for the calls of one model. Nano-dollars."""

    max_budget: int | None = None
    budget_duration: str | None = None
    rpm: int | None = None
    tpm: int | None = None


class BudgetFields(msgspec.Struct, kw_only=True):
    """Limits as LiteLLM's requests write them. Absent: keep (or none); null: clear."""

    max_budget: Decimal | None | UnsetType = UNSET
    """US dollars per budget window."""
    soft_budget: Decimal | None | UnsetType = UNSET
    """US dollars after which an alert is sent, once per budget window."""
    budget_duration: str | None | UnsetType = UNSET
    max_parallel_requests: int | None | UnsetType = UNSET
    tpm_limit: int | None | UnsetType = UNSET
    rpm_limit: int | None | UnsetType = UNSET
    tpd_limit: int | None | UnsetType = UNSET
    model_max_budget: JsonObject | None | UnsetType = UNSET
    """By model: `{"budget_limit": 1.5, "time_period": "1d"}`, or US dollars for ever."""


class ScopeFields(BudgetFields, kw_only=True):
    """Limits of a scope: its own, and the budget that gives what it has not."""

    budget_id: str | None | UnsetType = UNSET
    when_gone: WhenGone | None | UnsetType = UNSET
    """What becomes of rates and slots when Redis has been gone for a while: `fail_open`, `local_share` or `fail_closed`; the
    strictest of those that a call stands under holds. Penstock's own field."""
    model_rpm_limit: dict[str, int] | None | UnsetType = UNSET
    model_tpm_limit: dict[str, int] | None | UnsetType = UNSET

"""The shapes of budgets: as clients send them (LiteLLM's field names), and as they are stored."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from penstock.scopes.models import BudgetFields, ModelLimit


class NewBudgetRequest(BudgetFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /budget/new`."""

    budget_id: str | None | UnsetType = UNSET
    budget_reset_at: str | None | UnsetType = UNSET
    """Accepted and not used: each scope's window is its own and follows from `budget_duration`."""


class UpdateBudgetRequest(BudgetFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /budget/update`: fields that are absent stay as they are."""

    budget_id: str
    budget_reset_at: str | None | UnsetType = UNSET


class BudgetsIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /budget/info`."""

    budgets: list[str]


class DeleteBudgetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /budget/delete`."""

    id: str


class Budget(msgspec.Struct, kw_only=True):
    """A row of `budgets`. Money in nano-dollars, times in Unix milliseconds."""

    budget_id: str
    max_budget: int | None = None
    soft_budget: int | None = None
    max_parallel_requests: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    budget_duration: str | None = None
    model_limits: dict[str, ModelLimit] = {}
    extra: dict[str, Any] = {}
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""

"""`/budget/...` in LiteLLM's shapes."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.params import FromQuery, JSONBody

from penstock.access import Access, caller_of
from penstock.budgets.models import (
    Budget,
    BudgetsIdentifier,
    DeleteBudgetRequest,
    NewBudgetRequest,
    UpdateBudgetRequest,
)
from penstock.engine.current import CurrentRuntime
from penstock.errors import bad_request
from penstock.money import dollars_or_none
from penstock.scopes.fields import shown_model_budgets
from penstock.scopes.shown import stamps, warnings

AnyRequest = Request[Any, Any, Any]

_SETTINGS = {
    "max_budget": ("Float", "US dollars per budget window."),
    "soft_budget": ("Float", "US dollars after which an alert is sent."),
    "budget_duration": ("String", "Length of the budget window, e.g. 1d, 7d, 30d, 1mo."),
    "max_parallel_requests": ("Integer", "Calls in flight."),
    "tpm_limit": ("Integer", "Tokens per minute."),
    "rpm_limit": ("Integer", "Requests per minute."),
    "model_max_budget": ("Object", "US dollars by model."),
}


def shown(budget: Budget) -> dict[str, Any]:
    """A budget as LiteLLM shows it."""
    return {
        **budget.extra,
        "budget_id": budget.budget_id,
        "max_budget": dollars_or_none(budget.max_budget),
        "soft_budget": dollars_or_none(budget.soft_budget),
        "max_parallel_requests": budget.max_parallel_requests,
        "tpm_limit": budget.tpm,
        "rpm_limit": budget.rpm,
        "model_max_budget": shown_model_budgets(budget.model_limits),
        "budget_duration": budget.budget_duration,
        "budget_reset_at": None,
        **stamps(budget),
    }


def _warnings(request: NewBudgetRequest | UpdateBudgetRequest) -> dict[str, Any]:
    words = "`budget_reset_at` has no effect: everybody's window ends by `budget_duration`"
    return warnings(request, ("tpd_limit",), *([words] if isinstance(request.budget_reset_at, str) else []))


@post("/budget/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewBudgetRequest]) -> dict[str, Any]:
    """Create a budget that any number of objects may refer to by `budget_id`."""
    budget = await runtime.entities.budgets.create(data, caller_of(request).actor)
    return {**shown(budget), **_warnings(data)}


@post("/budget/update", access=Access.ADMIN, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateBudgetRequest]) -> dict[str, Any]:
    """Change the given fields of a budget, with effect on the next call of everybody who refers to it."""
    budget = await runtime.entities.budgets.update(data, caller_of(request).actor)
    return {**shown(budget), **_warnings(data)}


@post("/budget/info", access=Access.VIEWER, status_code=200)
async def info(runtime: CurrentRuntime, data: JSONBody[BudgetsIdentifier]) -> list[dict[str, Any]]:
    """Several budgets; unknown ones are left out."""
    if not data.budgets:
        raise bad_request("`budgets` must name at least one budget", "budgets")
    return [shown(budget) for budget in await runtime.entities.budgets.among(data.budgets)]


@get("/budget/list", access=Access.VIEWER)
async def list_budgets(runtime: CurrentRuntime) -> list[dict[str, Any]]:
    """Every budget."""
    return [shown(budget) for budget in await runtime.entities.budgets.all()]


@get("/budget/settings", access=Access.VIEWER)
async def settings(runtime: CurrentRuntime, budget_id: FromQuery[str]) -> list[dict[str, Any]]:
    """What can be set in a budget, and what is."""
    budget = shown(await runtime.entities.budgets.get(budget_id))
    return [
        {
            "field_name": name,
            "field_type": kind,
            "field_description": description,
            "field_value": budget[name],
            "stored_in_db": budget[name] not in (None, {}),
            "field_default_value": None,
            "premium_field": False,
            "nested_fields": None,
        }
        for name, (kind, description) in _SETTINGS.items()
    ]


@post("/budget/delete", access=Access.ADMIN, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteBudgetRequest]) -> dict[str, Any]:
    """Remove a budget that nobody refers to."""
    return shown(await runtime.entities.budgets.delete(data.id, caller_of(request).actor))


HANDLERS = [new, update, info, list_budgets, settings, delete]

"""What a request changes in limits: validation and conversion, the same for every level.

Apart from the service because it knows what clients write, and the service what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.durations import parse_duration
from penstock.errors import ApiError, bad_request
from penstock.money import dollars_or_none, nanos_from_dollars
from penstock.nesting import DEEPEST, is_too_deep
from penstock.scopes.models import BudgetFields, ModelLimit, Scope, ScopeFields

_LARGEST = 2**63 - 1
_LONGEST_TEXT = 512
_NUMBERS = {"rpm_limit": "rpm", "tpm_limit": "tpm", "max_parallel_requests": "max_parallel_requests"}
_MONEY = ("max_budget", "soft_budget")
_MODEL_BUDGET = {"budget_limit": "max_budget", "max_budget": "max_budget", "time_period": "budget_duration"}
_MODEL_FIELDS = {*_MODEL_BUDGET, "budget_duration", "rpm_limit", "tpm_limit"}


def given(fields: msgspec.Struct) -> set[str]:
    """Names of the fields that the request has, null or not."""
    return {name for name in fields.__struct_fields__ if getattr(fields, name) is not UNSET}


def as_refusal(error: ValueError) -> ApiError:
    """400 for words that name the field in backticks first."""
    text = str(error)
    return bad_request(text, text.split("`")[1] if text.count("`") >= 2 else None)


def checked_id(value: str | None, field: str) -> None:
    """Refuse what cannot be an id.

    Raises:
        ApiError: 400 naming the field.
    """
    if value is not None and not (0 < len(value) <= _LONGEST_TEXT):
        raise bad_request(f"`{field}` must have 1 to {_LONGEST_TEXT} characters", field)


def checked_new_id(value: str | None, field: str) -> None:
    """The same for what nobody has been called before: ids are put together with `/` for limits of members, and stand in paths.

    Raises:
        ApiError: 400 naming the field.
    """
    checked_id(value, field)
    if value is not None and "/" in value:
        raise bad_request(f"`{field}` must not have a `/` in it", field)


def checked_depth(fields: msgspec.Struct) -> None:
    """Refuse values that could not be shown again.

    Raises:
        ApiError: 400 naming the field.
    """
    for name in fields.__struct_fields__:
        if is_too_deep(getattr(fields, name)):
            raise bad_request(f"`{name}` is nested more than {DEEPEST} levels deep", name)


def limits_called(names: Mapping[str, str], request: msgspec.Struct) -> BudgetFields:
    """Limits that a request has under other names: those of the request by those of a budget.

    Raises:
        ApiError: 400 naming the request's field.
    """
    found = {own: value for name, own in names.items() if (value := getattr(request, name)) is not UNSET}
    for name, own in names.items():
        if own in found:
            try:
                limits(BudgetFields(**{own: found[own]}))
            except ApiError as error:
                raise bad_request(error.message.replace(f"`{own}`", f"`{name}`", 1), name) from error
    return BudgetFields(**found)


def limits(fields: BudgetFields) -> dict[str, Any]:
    """The columns that the request gives, by name.

    Raises:
        ApiError: 400 naming the field.
    """
    columns: dict[str, Any] = {}
    try:
        for name, column in _NUMBERS.items():
            value = getattr(fields, name)
            if value is not UNSET:
                columns[column] = None if value is None else _number(value, name)
        for name in _MONEY:
            amount = getattr(fields, name)
            if amount is not UNSET:
                columns[name] = None if amount is None else nanos_from_dollars(amount, name)
        if fields.budget_duration is not UNSET:
            if fields.budget_duration is not None:
                parse_duration(fields.budget_duration, "budget_duration")
            columns["budget_duration"] = fields.budget_duration
    except ValueError as error:
        raise as_refusal(error) from error
    return columns


def model_limits(
    budgets: Mapping[str, Any] | None, rpm: Mapping[str, Any] | None, tpm: Mapping[str, Any] | None
) -> dict[str, ModelLimit]:
    """Limits by model from `model_max_budget`, `model_rpm_limit` and `model_tpm_limit`.

    Raises:
        ApiError: 400 naming the field.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        for model, value in (budgets or {}).items():
            found[_model(model, "model_max_budget")] = _model_budget(model, value)
        for field, column, given_limits in (("model_rpm_limit", "rpm", rpm), ("model_tpm_limit", "tpm", tpm)):
            for model, value in (given_limits or {}).items():
                found.setdefault(_model(model, field), {})[column] = _number(value, field)
    except ValueError as error:
        raise as_refusal(error) from error
    return {model: ModelLimit(**columns) for model, columns in found.items()}


def shown_model_budgets(limits_: Mapping[str, ModelLimit]) -> dict[str, Any]:
    """`model_max_budget` as LiteLLM shows it."""
    return {
        model: {"budget_limit": dollars_or_none(limit.max_budget), "time_period": limit.budget_duration}
        for model, limit in limits_.items()
        if limit.max_budget is not None
    }


def _model(name: str, field: str) -> str:
    if not 0 < len(name) <= _LONGEST_TEXT:
        raise ValueError(f"`{field}`: a model's name has 1 to {_LONGEST_TEXT} characters")
    return name


def _number(value: Any, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ValueError(f"`{field}` must be a whole number from 0 on")
    return value


def _money(value: Any, field: str) -> int:
    try:
        return nanos_from_dollars(Decimal("nonsense" if isinstance(value, bool) else str(value)), field)
    except InvalidOperation as error:
        raise ValueError(f"`{field}` must be a number of US dollars") from error


def _model_budget(model: str, value: Any) -> dict[str, Any]:
    field = "model_max_budget"
    if not isinstance(value, dict):
        return {"max_budget": _money(value, field)}
    unknown = sorted(set(value) - _MODEL_FIELDS)
    if unknown:
        known = ", ".join(sorted(_MODEL_FIELDS))
        raise ValueError(f"`{field}`: `{unknown[0]}` of `{model}` is not known; known are {known}")
    columns: dict[str, Any] = {}
    for name, entry in value.items():
        if entry is None:
            continue
        column = _MODEL_BUDGET.get(name, name)
        if column == "max_budget":
            columns[column] = _money(entry, field)
        elif column == "budget_duration":
            parse_duration(str(entry), field)
            columns[column] = str(entry)
        else:
            columns[_NUMBERS[name]] = _number(entry, field)
    return columns


def stored(fields: msgspec.Struct, names: tuple[str, ...], extra: dict[str, Any]) -> dict[str, Any]:
    """`extra` with those of the request's fields that are kept and shown as they came."""
    kept = dict(extra)
    for name in names:
        value = getattr(fields, name, UNSET)
        if value is UNSET:
            continue
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = float(value) if isinstance(value, Decimal) else value
    return kept


def changes(fields: ScopeFields) -> dict[str, Any]:
    """The columns of a scope that the request gives, its reference to a budget included.

    Raises:
        ApiError: 400 naming the field.
    """
    columns = limits(fields)
    if fields.budget_id is not UNSET:
        checked_id(fields.budget_id, "budget_id")
        columns["budget_id"] = fields.budget_id
    if fields.when_gone is not UNSET:
        columns["when_gone"] = fields.when_gone
    return columns


def model_changes(fields: ScopeFields, before: Mapping[str, Scope]) -> dict[str, ModelLimit] | None:
    """All limits per model after the request, or None when it says nothing of them; `before` are the present ones.

    Raises:
        ApiError: 400 naming the field.
    """
    budgets, rpm, tpm = fields.model_max_budget, fields.model_rpm_limit, fields.model_tpm_limit
    if budgets is UNSET and rpm is UNSET and tpm is UNSET:
        return None
    own = {model: scope for model, scope in before.items() if not scope.from_budget}
    asked = model_limits(
        None if budgets is UNSET else budgets, None if rpm is UNSET else rpm, None if tpm is UNSET else tpm
    )
    merged: dict[str, ModelLimit] = {}
    for model in {**own, **asked}:
        old, new = own.get(model), asked.get(model, ModelLimit())
        limit = ModelLimit(
            max_budget=new.max_budget if budgets is not UNSET or old is None else old.max_budget,
            budget_duration=new.budget_duration if budgets is not UNSET or old is None else old.budget_duration,
            rpm=new.rpm if rpm is not UNSET or old is None else old.rpm,
            tpm=new.tpm if tpm is not UNSET or old is None else old.tpm,
        )
        if limit != ModelLimit():
            merged[model] = limit
    return merged

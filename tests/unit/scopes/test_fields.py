"""What requests may write into limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from penstock.errors import ApiError
from penstock.scopes.fields import limits, model_changes, model_limits
from penstock.scopes.models import BudgetFields, ModelLimit, Scope, ScopeFields


def test_dollars_become_nano_dollars_and_names_become_columns() -> None:
    fields = BudgetFields(max_budget=Decimal("0.000000001"), rpm_limit=3, tpm_limit=None, budget_duration="30d")
    assert limits(fields) == {"max_budget": 1, "rpm": 3, "tpm": None, "budget_duration": "30d"}
    assert limits(BudgetFields()) == {}


@pytest.mark.parametrize(
    "field,value",
    [
        ("max_budget", Decimal(-1)),
        ("soft_budget", Decimal("NaN")),
        ("budget_duration", "a month"),
        ("rpm_limit", -1),
        ("max_parallel_requests", 2**63),
    ],
)
def test_a_refusal_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(ApiError) as refusal:
        limits(BudgetFields(**{field: value}))
    assert (refusal.value.status, refusal.value.param) == (400, field)
    assert f"`{field}`" in refusal.value.message


@pytest.mark.parametrize(
    "value,expected",
    [
        ({"budget_limit": 1.5, "time_period": "1d"}, ModelLimit(max_budget=1_500_000_000, budget_duration="1d")),
        ({"max_budget": "0.1", "budget_duration": "1mo"}, ModelLimit(max_budget=100_000_000, budget_duration="1mo")),
        ({"max_budget": 1, "rpm_limit": 2, "tpm_limit": None}, ModelLimit(max_budget=1_000_000_000, rpm=2)),
        (2, ModelLimit(max_budget=2_000_000_000)),
    ],
)
def test_budgets_by_model_come_in_lite_llms_ways(value: Any, expected: ModelLimit) -> None:
    assert model_limits({"gpt-4o": value}, None, None) == {"gpt-4o": expected}


@pytest.mark.parametrize(
    "budgets,rpm,field",
    [
        ({"m": {"budget": 1}}, None, "model_max_budget"),
        ({"m": True}, None, "model_max_budget"),
        ({"m": "much"}, None, "model_max_budget"),
        ({"m": {"budget_limit": 1, "time_period": "1y"}}, None, "model_max_budget"),
        (None, {"m": 1.5}, "model_rpm_limit"),
        (None, {"": 1}, "model_rpm_limit"),
    ],
)
def test_bad_limits_by_model_are_refused_by_name(budgets: Any, rpm: Any, field: str) -> None:
    with pytest.raises(ApiError) as refusal:
        model_limits(budgets, rpm, None)
    assert (refusal.value.status, refusal.value.param) == (400, field)


def test_what_a_request_does_not_name_stays() -> None:
    before = {
        "a": Scope(name="model:team:t/a", kind="model", id="", only_model="a", max_budget=5, rpm=1),
        "b": Scope(name="model:team:t/b", kind="model", id="", only_model="b", rpm=2),
        "c": Scope(name="model:team:t/c", kind="model", id="", only_model="c", rpm=9, from_budget=True),
    }
    assert model_changes(ScopeFields(), before) is None
    assert model_changes(ScopeFields(model_rpm_limit={"b": 7}), before) == {
        "a": ModelLimit(max_budget=5),
        "b": ModelLimit(rpm=7),
    }
    assert model_changes(ScopeFields(model_rpm_limit=None, model_max_budget={}), before) == {}

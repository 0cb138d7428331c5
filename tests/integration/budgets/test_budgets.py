"""`/budget/...` through the public port."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.managed import Managed


def _id() -> str:
    return f"budget-{uuid.uuid4()}"


def test_a_budget_is_made_changed_listed_and_removed(managed: Managed) -> None:
    budget = _id()
    made = managed.post(
        "/budget/new",
        budget_id=budget,
        max_budget=1,
        soft_budget=0.5,
        budget_duration="30d",
        rpm_limit=2,
        model_max_budget={"priced": {"budget_limit": 0.25, "time_period": "1d"}},
    ).json()
    assert (made["budget_id"], made["max_budget"], made["soft_budget"], made["rpm_limit"]) == (budget, 1.0, 0.5, 2)
    assert made["model_max_budget"] == {"priced": {"budget_limit": 0.25, "time_period": "1d"}}
    assert managed.post("/budget/new", budget_id=budget).json()["error"]["param"] == "budget_id"
    changed = managed.post("/budget/update", budget_id=budget, max_budget=3, soft_budget=None).json()
    assert (changed["max_budget"], changed["soft_budget"], changed["rpm_limit"]) == (3.0, None, 2)
    assert managed.post("/budget/info", budgets=[budget, "none"]).json() == [changed]
    assert budget in {one["budget_id"] for one in managed.get("/budget/list").json()}
    settings = {
        one["field_name"]: one["field_value"] for one in managed.get("/budget/settings", budget_id=budget).json()
    }
    assert (settings["max_budget"], settings["soft_budget"], settings["rpm_limit"]) == (3.0, None, 2)
    assert managed.post("/budget/delete", id=budget).json()["budget_id"] == budget
    assert managed.post("/budget/delete", id=budget).status_code == 404
    assert managed.post("/budget/update", budget_id=budget).status_code == 404


def test_who_refers_to_a_budget_has_its_limits_and_keeps_it_alive(managed: Managed) -> None:
    budget = managed.post("/budget/new", max_budget=1, tpm_limit=9).json()["budget_id"]
    customer = _id()
    managed.post("/customer/new", user_id=customer, budget_id=budget)
    team = managed.post("/team/new", budget_id=budget, max_budget=2).json()
    assert (team["max_budget"], team["tpm_limit"], team["budget_id"]) == (2.0, 9, budget)
    managed.post("/budget/update", budget_id=budget, max_budget=4)
    assert managed.get("/customer/info", end_user_id=customer).json()["max_budget"] == 4.0
    assert managed.get("/team/info", team_id=team["team_id"]).json()["team_info"]["max_budget"] == 2.0
    refused = managed.post("/budget/delete", id=budget)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "id")
    managed.post("/customer/update", user_id=customer, budget_id=None)
    managed.post("/team/update", team_id=team["team_id"], budget_id=None)
    assert managed.get("/customer/info", end_user_id=customer).json()["max_budget"] is None
    assert managed.post("/budget/delete", id=budget).status_code == 200


@pytest.mark.parametrize(
    "body,param",
    [
        ({"max_budget": -1}, "max_budget"),
        ({"budget_duration": "often"}, "budget_duration"),
        ({"model_max_budget": {"m": {"limit": 1}}}, "model_max_budget"),
        ({"budgetid": "x"}, "budgetid"),
        ({"tpm_limit": -3}, "tpm_limit"),
    ],
)
def test_refusals_name_the_field(managed: Managed, body: dict[str, Any], param: str) -> None:
    refused = managed.post("/budget/new", **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text

"""The management endpoints on PostgreSQL: one walk through all of them, for the SQL of the stores is the same text on both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.managed import Managed


def test_everything_works_on_postgresql_too(start_managed: Callable[..., Managed], database_url: str) -> None:
    managed = start_managed(environment={"DATABASE_URL": database_url})

    def ok(path: str, method: str = "POST", **body: Any) -> Any:
        answer = managed.client.request(method, path, headers=managed.admin, json=body)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    budget = ok("/budget/new", max_budget=5, budget_duration="30d", model_max_budget={"priced": 4})["budget_id"]
    organization = ok("/organization/new", organization_alias="o", max_budget=9)["organization_id"]
    team = ok("/team/new", organization_id=organization, team_member_budget=1, budget_duration="1d")["team_id"]
    user = ok("/user/new", user_email="p@example.org", teams=[team], budget_id=budget)
    ok("/team/member_update", team_id=team, user_id=user["user_id"], max_budget_in_team=2, role="admin")
    ok("/tag/new", name="blue", rpm_limit=100)
    ok("/customer/new", user_id="c", budget_id=budget)
    key = managed.key(team_id=team, user_id=user["user_id"], tags=["blue"], model_rpm_limit={"priced": 50})
    for _ in range(2):
        assert managed.chat(key, user="c").status_code == 200
    spend = managed.info(key)["spend"]
    assert spend > 0
    found = {
        "team": managed.get("/team/info", team_id=team).json()["team_info"]["spend"],
        "member": managed.get("/team/info", team_id=team).json()["team_memberships"][0]["spend"],
        "user": managed.get("/user/info", user_id=user["user_id"]).json()["user_info"]["spend"],
        "organization": managed.get("/organization/info", organization_id=organization).json()["spend"],
        "customer": managed.get("/customer/info", end_user_id="c").json()["spend"],
        "model": managed.get("/customer/info", end_user_id="c").json()["model_spend"]["priced"],
        "tag": ok("/tag/info", names=["blue"])["blue"]["spend"],
    }
    assert found == {name: pytest.approx(spend) for name in found}
    ok("/budget/update", budget_id=budget, max_budget=6, budget_duration="7d")
    assert managed.get("/customer/info", end_user_id="c").json()["max_budget"] == 6.0
    assert managed.get("/user/list", page_size=1).json()["total"] == 1
    assert managed.get("/v2/team/list").json()["teams"][0]["team_id"] == team
    new_key = ok("/key/regenerate", key=key)["key"]
    assert managed.chat(new_key).status_code == 200
    ok("/customer/block", user_ids=["c", "d"])
    ok("/customer/delete", user_ids=["c", "d"])
    ok("/tag/delete", name="blue")
    ok("/user/delete", user_ids=[user["user_id"]])
    ok("/organization/delete", "DELETE", organization_ids=[organization])
    assert managed.chat(new_key).status_code == 401
    ok("/budget/delete", id=budget)

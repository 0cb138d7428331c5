"""Ids of one team, user or organization never reach the limits of another, however they are spelt."""

from __future__ import annotations

from typing import Any

from tests.integration.access.people import Company
from tests.integration.access.test_rights import ok
from tests.integration.access.test_standing import new


def refused(answer: Any, param: str) -> None:
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_new_ids_have_no_slash(company: Company) -> None:
    refused(company.managed.post("/team/new", team_id=new("a") + "/b"), "team_id")
    refused(
        company.managed.post("/organization/new", organization_id=new("a") + "/b", organization_alias="x"),
        "organization_id",
    )
    team = ok(company.post("boss", "/team/new", organization_id=company.acme))["team_id"]
    refused(company.post("boss", "/team/member_add", team_id=team, member={"user_id": "eu/bob"}), "user_id")
    members = [{"user_id": "eu/bob"}]
    refused(company.post("boss", "/team/bulk_member_add", team_id=team, members=members), "user_id")
    assert not ok(company.get("boss", "/team/info", team_id=team))["team_memberships"]


def test_limits_of_single_models_stay_with_their_owner(company: Company) -> None:
    """A user's id may hold slashes as a model's name does."""
    victim = new("vic")
    limits: dict[str, Any] = {"model_rpm_limit": {"openai/gpt-4o": 5}, "model_max_budget": {"openai/gpt-4o": 1}}
    ok(company.managed.post("/user/new", user_id=victim, auto_create_key=False, **limits))

    def present(user: str) -> tuple[Any, Any]:
        shown = ok(company.managed.get("/v2/user/info", user_id=user))
        return shown["model_rpm_limit"], shown["model_max_budget"]["openai/gpt-4o" if user == victim else "gpt-4o"]

    before = present(victim)
    assert before == ({"openai/gpt-4o": 5}, {"budget_limit": 1.0, "time_period": None})
    for user in (f"{victim}/openai", f"{victim}%2Fopenai"):
        more: dict[str, Any] = {"model_rpm_limit": {"gpt-4o": 9}, "model_max_budget": {"gpt-4o": 7}}
        ok(company.managed.post("/user/new", user_id=user, auto_create_key=False, **more))
        assert present(user) == ({"gpt-4o": 9}, {"budget_limit": 7.0, "time_period": None})
        assert present(victim) == before
        ok(company.managed.post("/user/update", user_id=user, model_rpm_limit={"gpt-4o": 8}))
        assert present(user)[0] == {"gpt-4o": 8}
        ok(company.managed.post("/user/delete", user_ids=[user]))
        assert present(victim) == before

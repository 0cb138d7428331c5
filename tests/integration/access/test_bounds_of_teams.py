"""What a team may be given by an organization's admin: budgets within its reach, limits within those of the organization."""

from __future__ import annotations

from typing import Any

import httpx

from tests.integration.access.people import Company
from tests.integration.access.test_rights import no, ok
from tests.integration.access.test_standing import new


def budget(company: Company, **limits: Any) -> str:
    return str(ok(company.post("root", "/budget/new", budget_id=new("contract"), **limits))["budget_id"])


def refused(answer: httpx.Response, param: str) -> None:
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_budgets_of_others_are_not_referred_to(company: Company) -> None:
    theirs, ours = budget(company, max_budget=123, rpm_limit=77), budget(company, max_budget=5)
    ok(company.post("root", "/team/update", team_id=company.rivals, budget_id=theirs))
    ok(company.post("root", "/team/update", team_id=company.ads, budget_id=ours))
    made = ok(company.post("boss", "/team/new", organization_id=company.acme, budget_id=ours))
    assert made["max_budget"] == 5.0
    key = ok(company.post("boss", "/key/generate", team_id=made["team_id"], budget_id=ours))["key"]
    for unknown in (theirs, "none"):
        answers = [
            company.post("boss", "/team/new", organization_id=company.acme, budget_id=unknown),
            company.post("boss", "/team/update", team_id=made["team_id"], budget_id=unknown),
            company.ask("boss", "PATCH", f"/team/{made['team_id']}", budget_id=unknown),
            company.post("boss", "/key/generate", team_id=made["team_id"], budget_id=unknown),
            company.post("boss", "/key/generate", organization_id=company.acme, budget_id=unknown),
            company.post("boss", "/key/update", key=key, budget_id=unknown),
            company.post("boss", "/key/regenerate", key=key, budget_id=unknown),
            company.post("lead", "/key/generate", team_id=company.search, budget_id=unknown),
            company.post("lead", "/key/service-account/generate", team_id=company.search, budget_id=unknown),
        ]
        for answer in answers:
            no(answer, "budget_id")
            assert theirs not in answer.text
    # What the administrator has given stays, and may be written back.
    ok(company.post("root", "/key/update", key=key, budget_id=theirs))
    ok(company.post("boss", "/key/update", key=key, budget_id=theirs, key_alias=None))
    ok(company.post("boss", "/team/update", team_id=made["team_id"], budget_id=None))


def test_a_budget_does_not_lift_a_team_above_its_organization(company: Company) -> None:
    limits: dict[str, Any] = {"max_budget": 50, "rpm_limit": 100, "models": ["priced"]}
    made = ok(company.post("root", "/organization/new", organization_alias="small", **limits))["organization_id"]
    chief = new("chief")
    member = {"role": "org_admin", "user_id": chief}
    ok(company.post("root", "/organization/member_add", organization_id=made, member=member))
    mine = company.key(user_id=chief)
    within, beyond = budget(company, max_budget=49), budget(company, max_budget=51)
    refused(company.post("root", "/team/new", organization_id=made, budget_id=beyond), "budget_id")
    team = ok(company.post("root", "/team/new", organization_id=made, budget_id=within, models=["priced"]))["team_id"]
    refused(company.post("root", "/team/update", team_id=team, budget_id=beyond), "budget_id")
    refused(company.post("root", "/team/update", team_id=team, max_budget=51), "max_budget")
    # The team's own limit goes before the budget's.
    ok(company.post("root", "/team/update", team_id=team, budget_id=beyond, max_budget=10))
    refused(company.post(mine, "/team/model/add", team_id=team, models=["other"]), "models")
    ok(company.post(mine, "/team/model/add", team_id=team, models=["priced"]))


def test_a_key_is_moved_only_where_its_user_belongs(company: Company) -> None:
    """From one organization to another without a team in between, by an admin of both."""
    user, chief = new("worker"), new("chief")
    made = [ok(company.post("root", "/organization/new", organization_alias=new("o")))["organization_id"] for _ in "ab"]
    for organization in made:
        member = {"role": "org_admin", "user_id": chief}
        ok(company.post("root", "/organization/member_add", organization_id=organization, member=member))
    member = {"role": "internal_user", "user_id": user}
    ok(company.post("root", "/organization/member_add", organization_id=made[0], member=member))
    mine = company.key(user_id=chief)
    key = ok(company.post(mine, "/key/generate", organization_id=made[0], user_id=user))["key"]
    refused(company.post(mine, "/key/update", key=key, organization_id=made[1]), "user_id")
    ok(company.post("root", "/organization/member_add", organization_id=made[1], member=member))
    ok(company.post(mine, "/key/update", key=key, organization_id=made[1]))

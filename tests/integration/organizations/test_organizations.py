"""`/organization/...` through the public port."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.integration.managed import Managed


def _call(managed: Managed, method: str, path: str, **body: Any) -> httpx.Response:
    return managed.client.request(method, path, headers=managed.admin, json=body)


def _new(managed: Managed, **fields: Any) -> dict[str, Any]:
    answer = managed.post("/organization/new", organization_alias="org", **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_organization_is_shown_with_teams_and_members(managed: Managed) -> None:
    made = _new(managed, max_budget=5, budget_duration="1mo", metadata={"a": 1}, models=["priced"], rpm_limit=4)
    organization = made["organization_id"]
    assert (made["organization_alias"], made["max_budget"], made["models"]) == ("org", 5.0, ["priced"])
    assert made["litellm_budget_table"]["rpm_limit"] == 4
    team = managed.post("/team/new", organization_id=organization, team_alias="ours").json()["team_id"]
    added = managed.post(
        "/organization/member_add",
        organization_id=organization,
        member={"role": "org_admin", "user_email": f"{uuid.uuid4()}@example.org"},
    ).json()
    user = added["updated_users"][0]["user_id"]
    assert added["updated_organization_memberships"][0]["user_role"] == "org_admin"
    info = managed.get("/organization/info", organization_id=organization).json()
    assert info["teams"] == [{"team_id": team, "team_alias": "ours"}]
    assert [(member["user_id"], member["user_role"]) for member in info["members"]] == [(user, "org_admin")]
    assert [one["organization_id"] for one in managed.post("/organization/info", organizations=[organization]).json()]
    assert organization in {one["organization_id"] for one in managed.get("/organization/list").json()}


def test_update_and_members_change(managed: Managed) -> None:
    organization = _new(managed, tpm_limit=7)["organization_id"]
    changed = _call(
        managed, "PATCH", "/organization/update", organization_id=organization, max_budget=3, organization_alias="new"
    ).json()
    assert (changed["max_budget"], changed["tpm_limit"], changed["organization_alias"]) == (3.0, 7, "new")
    user = str(uuid.uuid4())
    managed.post("/organization/member_add", organization_id=organization, member=[{"user_id": user}])
    role = {"organization_id": organization, "user_id": user, "role": "internal_user_viewer"}
    assert _call(managed, "PATCH", "/organization/member_update", **role).json()["user_role"] == role["role"]
    gone = {"organization_id": organization, "user_id": user}
    assert _call(managed, "DELETE", "/organization/member_delete", **gone).json()["user_id"] == user
    assert _call(managed, "DELETE", "/organization/member_delete", **gone).status_code == 404
    assert managed.get("/user/info", user_id=user).status_code == 200


def test_an_organization_goes_with_its_teams_and_their_keys(managed: Managed) -> None:
    organization = _new(managed)["organization_id"]
    team = managed.post("/team/new", organization_id=organization).json()["team_id"]
    keys = [managed.key(team_id=team), managed.key(organization_id=organization)]
    assert managed.info(keys[0])["organization_id"] == organization
    gone = _call(managed, "DELETE", "/organization/delete", organization_ids=[organization])
    assert [one["organization_id"] for one in gone.json()] == [organization]
    assert [managed.chat(key).status_code for key in keys] == [401, 401]
    assert managed.get("/team/info", team_id=team).status_code == 404
    assert managed.get("/organization/info", organization_id=organization).status_code == 404


def test_spend_is_that_of_all_teams(managed: Managed) -> None:
    organization = _new(managed)["organization_id"]
    for _ in range(2):
        team = managed.post("/team/new", organization_id=organization).json()["team_id"]
        assert managed.chat(managed.key(team_id=team)).status_code == 200
    spend = managed.get("/organization/info", organization_id=organization).json()["spend"]
    teams = managed.get("/team/list", organization_id=organization).json()
    assert spend == pytest.approx(sum(team["spend"] for team in teams))
    assert len(teams) == 2
    assert spend > 0


@pytest.mark.parametrize(
    "body,param",
    [
        ({}, "organization_alias"),
        ({"organization_alias": "x", "max_budget": "much"}, "max_budget"),
        ({"organization_alias": "x", "modles": []}, "modles"),
        ({"organization_alias": "x", "budget_id": "none"}, "budget_id"),
    ],
)
def test_refusals_name_the_field(managed: Managed, body: dict[str, Any], param: str) -> None:
    refused = managed.post("/organization/new", **body)
    assert refused.status_code == 400, refused.text
    assert f"`{param}`" in refused.json()["error"]["message"]


def test_a_members_budget_that_is_not_acted_upon_is_named(managed: Managed) -> None:
    organization = _new(managed)["organization_id"]
    member = {"role": "internal_user", "user_id": str(uuid.uuid4())}
    added = managed.post(
        "/organization/member_add", organization_id=organization, member=member, max_budget_in_organization=1
    ).json()
    assert "`max_budget_in_organization`" in added["warnings"][0]

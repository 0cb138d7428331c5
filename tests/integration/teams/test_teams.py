"""`/team/...` through the public port."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.managed import Managed

SHOWN = (
    *("team_id", "team_alias", "organization_id", "admins", "members", "members_with_roles", "metadata", "tpm_limit"),
    *("rpm_limit", "max_budget", "budget_duration", "models", "blocked", "spend", "max_parallel_requests"),
    *("budget_reset_at", "model_id", "litellm_model_table", "created_at", "updated_at"),
)


def _new(managed: Managed, **fields: Any) -> dict[str, Any]:
    answer = managed.post("/team/new", **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_team_has_lite_llms_fields(managed: Managed) -> None:
    team = _new(managed, team_alias="ours", max_budget=3, model_aliases={"nick": "priced"})
    assert set(SHOWN) <= set(team)
    assert team["litellm_model_table"] == {"model_aliases": {"nick": "priced"}}
    updated = managed.post("/team/update", team_id=team["team_id"], max_budget=4).json()
    assert (updated["team_id"], updated["data"]["max_budget"]) == (team["team_id"], 4.0)
    assert updated["data"]["team_alias"] == "ours"


def test_keys_and_spend_of_a_team(managed: Managed) -> None:
    user = str(uuid.uuid4())
    team = _new(managed, members=[user])["team_id"]
    mine, others = managed.key(team_id=team, user_id=user), managed.key(team_id=team)
    for key in (mine, others, others):
        assert managed.chat(key).status_code == 200
    info = managed.get("/team/info", team_id=team).json()
    spends = {key["token"]: key["spend"] for key in info["keys"]}
    assert len(spends) == 2
    assert info["team_info"]["spend"] == pytest.approx(sum(spends.values()))
    (membership,) = info["team_memberships"]
    assert membership["spend"] == pytest.approx(managed.info(mine)["spend"])
    assert membership["spend"] > 0
    reset = managed.post(f"/team/{team}/member/{user}/reset_spend").json()
    assert reset["spend"] == 0.0
    assert reset["total_spend"] > 0


def test_members_come_change_and_go_with_their_keys(managed: Managed) -> None:
    team = _new(managed)["team_id"]
    user = str(uuid.uuid4())
    added = managed.post("/team/member_add", team_id=team, member={"role": "user", "user_id": user}).json()
    assert [member["user_id"] for member in added["members_with_roles"]] == [user]
    changed = managed.post("/team/member_update", team_id=team, user_id=user, max_budget_in_team=5, role="admin").json()
    assert (changed["max_budget_in_team"], changed["role"], changed["user_email"]) == (5.0, "admin", None)
    key = managed.key(team_id=team, user_id=user)
    assert managed.chat(key).status_code == 200
    assert managed.post("/team/member_delete", team_id=team, user_id=user).json()["members_with_roles"] == []
    assert managed.chat(key).status_code == 401


def test_a_deleted_team_takes_its_keys_along(managed: Managed) -> None:
    team = _new(managed)["team_id"]
    key = managed.key(team_id=team)
    assert managed.chat(key).status_code == 200
    assert managed.post("/team/delete", team_ids=[team]).json() == {"deleted_teams": [team]}
    assert managed.chat(key).status_code == 401
    assert managed.post("/key/generate", team_id=team).json()["error"]["param"] == "team_id"


@pytest.mark.parametrize(
    "path,body,status,param",
    [
        ("/team/new", {"max_budget": -1}, 400, "max_budget"),
        ("/team/new", {"team_member_budget": -1}, 400, "team_member_budget"),
        ("/team/new", {"budget_duration": "1 year"}, 400, "budget_duration"),
        ("/team/new", {"organization_id": "none"}, 400, "organization_id"),
        ("/team/new", {"model_rpm_limit": {"m": -1}}, 400, "model_rpm_limit"),
        ("/team/new", {"team_idd": "x"}, 400, "team_idd"),
        ("/team/update", {"team_id": "none"}, 404, "team_id"),
        ("/team/member_add", {"team_id": "none", "member": {"user_id": "u"}}, 404, "team_id"),
        ("/team/block", {"team_id": "none"}, 404, "team_id"),
        ("/team/delete", {"team_ids": []}, 400, "team_ids"),
    ],
)
def test_refusals_name_the_field(managed: Managed, path: str, body: dict[str, Any], status: int, param: str) -> None:
    refused = managed.post(path, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text

"""`/user/...` through the public port."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.integration.managed import CONFIG, Managed


def _id() -> str:
    return f"user-{uuid.uuid4()}"


def test_a_user_comes_with_a_key_and_is_shown_with_it(managed: Managed) -> None:
    user, email = _id(), f"{uuid.uuid4()}@Example.org"
    made = managed.post("/user/new", user_id=user, user_email=email, max_budget=2, models=["priced"]).json()
    assert made["key"].startswith("sk-")
    assert made["user_role"] == "internal_user"
    assert (made["user_id"], made["user_email"], made["max_budget"]) == (user, email.lower(), 2.0)
    info = managed.get("/user/info", user_id=user).json()
    assert info["user_id"] == user
    assert [key["token"] for key in info["keys"]] == [made["token"]]
    assert (info["user_info"]["models"], info["teams"]) == (["priced"], [])
    assert "keys" not in managed.get("/v2/user/info", user_id=user).json()
    listed = managed.get("/user/list", user_ids=user).json()
    assert (listed["total"], listed["users"][0]["user_id"], listed["users"][0]["key_count"]) == (1, user, 1)
    assert "key" not in listed["users"][0]


def test_without_a_key_none_is_made(managed: Managed) -> None:
    made = managed.post("/user/new", auto_create_key=False).json()
    assert made["key"] is None
    assert managed.get("/user/info", user_id=made["user_id"]).json()["keys"] == []


def test_update_changes_what_is_given(managed: Managed) -> None:
    user = managed.post("/user/new", auto_create_key=False, rpm_limit=3, user_alias="one").json()["user_id"]
    changed = managed.post("/user/update", user_id=user, tpm_limit=9, user_role="internal_user_viewer").json()
    assert changed["user_id"] == user
    data = changed["data"]
    assert (data["rpm_limit"], data["tpm_limit"], data["user_alias"]) == (3, 9, "one")
    assert data["user_role"] == "internal_user_viewer"
    assert managed.post("/user/update", user_id=user, rpm_limit=None).json()["data"]["rpm_limit"] is None


@pytest.mark.parametrize(
    "path,body,status,param",
    [
        ("/user/new", {"user_role": "king"}, 400, "user_role"),
        ("/user/new", {"max_budget": -1}, 400, "max_budget"),
        ("/user/new", {"budget_duration": "1y"}, 400, "budget_duration"),
        ("/user/new", {"usr_email": "x"}, 400, "usr_email"),
        ("/user/new", {"teams": ["no-such-team"]}, 404, "team_id"),
        ("/user/new", {"budget_id": "no-such-budget"}, 400, "budget_id"),
        ("/user/update", {"user_id": "nobody-at-all"}, 404, "user_id"),
        ("/user/update", {"rpm_limit": 1}, 400, "user_id"),
        ("/user/delete", {"user_ids": ["nobody-at-all"]}, 404, "user_id"),
    ],
)
def test_refusals_name_the_field(managed: Managed, path: str, body: dict[str, object], status: int, param: str) -> None:
    refused = managed.post(path, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text


def test_ids_and_addresses_are_unique(managed: Managed) -> None:
    user, email = _id(), f"{uuid.uuid4()}@example.org"
    assert managed.post("/user/new", user_id=user, user_email=email, auto_create_key=False).status_code == 200
    assert managed.post("/user/new", user_id=user).json()["error"]["param"] == "user_id"
    assert managed.post("/user/new", user_email=email.upper()).json()["error"]["param"] == "user_email"


def test_a_deleted_user_takes_keys_and_memberships_along(managed: Managed) -> None:
    team = managed.post("/team/new").json()["team_id"]
    made = managed.post("/user/new", teams=[team]).json()
    assert made["teams"] == [team]
    assert managed.chat(made["key"]).status_code == 200
    answer = managed.post("/user/delete", user_ids=[made["user_id"]])
    assert (answer.status_code, answer.json()) == (200, 1)
    assert managed.chat(made["key"]).status_code == 401
    assert managed.get("/user/info", user_id=made["user_id"]).status_code == 404
    assert managed.get("/team/info", team_id=team).json()["team_info"]["members_with_roles"] == []


def test_a_users_key_sees_its_user_and_no_other(managed: Managed) -> None:
    team = managed.post("/team/new").json()["team_id"]
    mine = managed.post("/user/new", teams=[team]).json()
    other = managed.post("/user/new").json()

    def ask(path: str, **query: str) -> httpx.Response:
        return managed.client.get(path, headers={"authorization": f"Bearer {mine['key']}"}, params=query)

    assert ask("/user/info").json()["user_id"] == mine["user_id"]
    assert ask("/v2/user/info", user_id=mine["user_id"]).status_code == 200
    assert ask("/user/info", user_id=other["user_id"]).status_code == 403
    assert ask("/team/info", team_id=team).json()["team_id"] == team
    assert ask("/team/info", team_id=managed.post("/team/new").json()["team_id"]).status_code == 403
    assert ask("/user/list").status_code == 403
    assert [one["team_id"] for one in ask("/team/list").json()] == [team]


def test_keys_of_proxy_administrators_administer(managed: Managed) -> None:
    made = managed.post("/user/new", user_role="proxy_admin").json()
    headers = {"authorization": f"Bearer {made['key']}"}
    assert managed.client.get("/user/list", headers=headers).status_code == 200
    created = managed.client.post("/team/new", headers=headers, json={}).json()
    assert created["created_by"] == made["token"]
    assert managed.post("/user/update", user_id=made["user_id"], user_role="internal_user").status_code == 200
    assert managed.client.get("/user/list", headers=headers).status_code == 403


def test_spend_is_the_users_over_all_keys(managed: Managed) -> None:
    user = _id()
    first, second = managed.key(user_id=user), managed.key(user_id=user)
    for key in (first, second, second):
        assert managed.chat(key).status_code == 200
    shown = managed.get("/user/info", user_id=user).json()
    keys = [key["spend"] for key in shown["keys"]]
    assert shown["user_info"]["spend"] == pytest.approx(sum(keys))
    assert all(keys)


def test_new_users_have_the_configured_budget(start_managed: Callable[..., Managed]) -> None:
    config = CONFIG + "\nlitellm_settings: {max_internal_user_budget: 7, internal_user_budget_duration: 1d}\n"
    managed = start_managed(config=config)
    made = managed.post("/user/new", auto_create_key=False).json()
    assert (made["max_budget"], made["budget_duration"]) == (7.0, "1d")
    assert managed.post("/user/new", auto_create_key=False, max_budget=1).json()["max_budget"] == 1.0
    managed.key(user_id="by-the-way")
    assert managed.get("/v2/user/info", user_id="by-the-way").json()["max_budget"] == 7.0
    assert managed.post("/user/new", user_role="proxy_admin", auto_create_key=False).json()["max_budget"] is None

"""Ids with a slash, which were allowed once, go on working and are not taken for others."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.scopes.fields import checked_id
from tests.conftest import FakeApp


async def _post(app: FakeApp, path: str, status: int = 200, **body: Any) -> Any:
    answer = await app.client.post(path, headers=app.admin, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _budgets(app: FakeApp, team_id: str) -> dict[str, Any]:
    answer = await app.client.get("/team/info", headers=app.admin, params={"team_id": team_id})
    return {one["user_id"]: one["litellm_budget_table"]["max_budget"] for one in answer.json()["team_memberships"]}


@pytest.fixture
async def old(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> FakeApp:
    """`bob` is a member of the team `sales/eu`, which an older version let through."""
    with monkeypatch.context() as patch:
        patch.setattr("penstock.teams.service.checked_new_id", checked_id)
        await _post(fake_app, "/team/new", team_id="sales/eu", model_rpm_limit={"a/b": 3})
    await _post(fake_app, "/team/member_add", team_id="sales/eu", member={"user_id": "bob"}, max_budget_in_team=5)
    return fake_app


async def test_they_are_changed_as_ever(old: FakeApp) -> None:
    await _post(old, "/team/member_update", team_id="sales/eu", user_id="bob", max_budget_in_team=6)
    await _post(old, "/team/update", team_id="sales/eu", model_rpm_limit={"a/b": 4, "c": 1})
    assert await _budgets(old, "sales/eu") == {"bob": 6.0}
    team = (await old.client.get("/team/info", headers=old.admin, params={"team_id": "sales/eu"})).json()["team_info"]
    assert team["model_rpm_limit"] == {"a/b": 4, "c": 1}
    await _post(old, "/key/generate", team_id="sales/eu", user_id="bob")
    await _post(old, "/team/member_delete", team_id="sales/eu", user_id="bob")
    await _post(old, "/team/delete", team_ids=["sales/eu"])


async def test_nobody_new_is_called_like_one_of_them(old: FakeApp) -> None:
    await _post(old, "/team/new", team_id="sales", model_rpm_limit={"eu/a/b": 9})
    add = {"team_id": "sales", "member": {"user_id": "eu/bob"}, "max_budget_in_team": 999}
    assert (await _post(old, "/team/member_add", 400, **add))["error"]["param"] == "user_id"
    key = await _post(old, "/key/generate", 400, team_id="sales", user_id="eu/bob")
    assert key["error"]["param"] == "user_id"
    key = await _post(old, "/key/generate", team_id="sales")
    assert (await _post(old, "/key/update", 400, key=key["key"], user_id="eu/bob"))["error"]["param"] == "user_id"
    assert await _budgets(old, "sales/eu") == {"bob": 5.0}
    team = (await old.client.get("/team/info", headers=old.admin, params={"team_id": "sales/eu"})).json()["team_info"]
    assert team["model_rpm_limit"] == {"a/b": 3}


async def test_who_is_called_alike_already_keeps_the_keys_when_the_other_goes(
    old: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await _post(old, "/key/generate", team_id="sales/eu", user_id="bob")
    await _post(old, "/team/new", team_id="sales")
    with monkeypatch.context() as patch:
        patch.setattr("penstock.teams.members.checked_new_id", checked_id)
        patch.setattr("penstock.scopes.service.ScopeService.own", _nothing)
        await _post(old, "/team/member_add", team_id="sales", member={"user_id": "eu/bob"})
    await _post(old, "/team/member_delete", team_id="sales", user_id="eu/bob")
    assert (await old.client.get("/key/info", headers=old.admin, params={"key": key["key"]})).status_code == 200


async def _nothing(*_: Any) -> None:
    return None

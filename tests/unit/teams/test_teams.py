"""`/team/...`, members and the keys under them: shapes, refusals, and what the data plane is told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")


async def _post(app: FakeApp, path: str, status: int = 200, **body: Any) -> Any:
    answer = await app.client.post(path, headers=app.admin, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _get(app: FakeApp, path: str, status: int = 200, **query: Any) -> Any:
    answer = await app.client.get(path, headers=app.admin, params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_team_is_shown_as_lite_llm_shows_it(fake_app: FakeApp) -> None:
    team = await _post(
        fake_app,
        "/team/new",
        team_id="t",
        team_alias="ours",
        max_budget=1.5,
        soft_budget=1,
        budget_duration="30d",
        tpm_limit=100,
        models=["demo"],
        metadata={"who": "me"},
        members_with_roles=[{"role": "admin", "user_id": "u"}],
        model_rpm_limit={"demo": 3},
        guardrails=["g"],
    )
    assert (team["team_id"], team["team_alias"], team["max_budget"], team["soft_budget"]) == ("t", "ours", 1.5, 1.0)
    assert team["budget_reset_at"].endswith("-01T00:00:00.000Z")
    assert team["members_with_roles"] == [{"user_id": "u", "user_email": None, "role": "admin"}]
    assert (team["model_rpm_limit"], team["spend"], team["metadata"]["who"]) == ({"demo": 3}, 0.0, "me")
    assert team["guardrails"] == ["g"]
    assert len(team["warnings"]) == 1
    info = await _get(fake_app, "/team/info", team_id="t")
    assert (info["team_id"], info["keys"]) == ("t", [])
    assert [member["user_id"] for member in info["team_memberships"]] == ["u"]
    assert [one["team_id"] for one in await _get(fake_app, "/team/list")] == ["t"]
    page = await _get(fake_app, "/v2/team/list")
    assert (page["total"], page["teams"][0]["team_id"]) == (1, "t")
    again = await _post(fake_app, "/team/new", 400, team_id="t")
    assert again["error"]["param"] == "team_id"
    assert (await _get(fake_app, "/team/info", 404, team_id="nobody"))["error"]["param"] == "team_id"
    wrong = await _post(fake_app, "/team/update", 400, team_id="t", max_budgett=1)
    assert wrong["error"]["param"] == "max_budgett"


async def test_a_key_is_told_after_the_scopes_above_it(fake_app: FakeApp) -> None:
    await _post(fake_app, "/organization/new", organization_id="o", organization_alias="org", max_budget=10)
    await _post(fake_app, "/team/new", team_id="t", organization_id="o", max_budget=5, model_rpm_limit={"demo": 1})
    await _post(fake_app, "/team/member_add", team_id="t", member={"user_id": "u"}, max_budget_in_team=2)
    await _post(fake_app, "/tag/new", name="blue", max_budget=1)
    key = await fake_app.new_key(
        team_id="t",
        user_id="u",
        tags=["blue", "unlimited"],
        model_max_budget={"gpt-4o": {"budget_limit": 0.5, "time_period": "1d"}},
    )
    assert key["organization_id"] == "o"
    told = fake_app.engine.keys[key["token"]]
    own = f"key:{key['token']}"
    assert told["scopes"] == [
        own,
        f"model:{own}/gpt-4o",
        "member:t/u",
        "team:t",
        "model:team:t/demo",
        "user:u",
        "org:o",
        "tag:blue",
    ]
    scopes = fake_app.engine.scopes
    assert scopes[f"model:{own}/gpt-4o"]["max_budget"] == 500_000_000
    assert scopes[f"model:{own}/gpt-4o"]["only_model"] == "gpt-4o"
    assert (scopes["member:t/u"]["max_budget"], scopes["team:t"]["max_budget"]) == (2 * 10**9, 5 * 10**9)
    assert scopes["model:team:t/demo"]["rpm"] == 1


async def test_changes_reach_the_data_plane_at_once(fake_app: FakeApp) -> None:
    await _post(fake_app, "/team/new", team_id="t")
    key = await fake_app.new_key(team_id="t", user_id="u")
    engine = fake_app.engine
    assert engine.keys[key["token"]]["scopes"] == ["team:t", "user:u"]
    await _post(fake_app, "/team/update", team_id="t", rpm_limit=3)
    assert engine.scopes["team:t"]["rpm"] == 3
    await _post(fake_app, "/team/block", team_id="t")
    assert engine.scopes["team:t"]["blocked"]
    await _post(fake_app, "/team/unblock", team_id="t")
    assert not engine.scopes["team:t"]["blocked"]
    # Who becomes a member has another scope above the keys that are there already.
    await _post(fake_app, "/team/member_add", team_id="t", member={"user_id": "u"}, rpm_limit=1)
    assert engine.keys[key["token"]]["scopes"] == ["member:t/u", "team:t", "user:u"]
    await _post(fake_app, "/team/member_update", team_id="t", user_id="u", rpm_limit=2, max_budget_in_team=1)
    assert (engine.scopes["member:t/u"]["rpm"], engine.scopes["member:t/u"]["max_budget"]) == (2, 10**9)
    await _post(fake_app, "/team/update", team_id="t", model_tpm_limit={"demo": 9})
    assert "model:team:t/demo" in engine.keys[key["token"]]["scopes"]
    await _post(fake_app, "/team/update", team_id="t", model_tpm_limit={})
    assert "model:team:t/demo" not in engine.keys[key["token"]]["scopes"]
    assert "model:team:t/demo" in engine.dropped_scopes
    await _post(fake_app, "/organization/new", organization_id="o", organization_alias="org")
    await _post(fake_app, "/team/update", team_id="t", organization_id="o")
    assert engine.keys[key["token"]]["scopes"] == ["member:t/u", "team:t", "user:u", "org:o"]


async def test_the_members_budget_holds_where_a_member_has_none(fake_app: FakeApp) -> None:
    await _post(fake_app, "/team/new", team_id="t", team_member_budget=3, team_member_rpm_limit=7)
    members = [{"user_id": "a"}, {"user_email": "B@example.org", "role": "admin"}]
    answer = await _post(fake_app, "/team/member_add", team_id="t", member=members)
    assert [one["litellm_budget_table"]["max_budget"] for one in answer["updated_team_memberships"]] == [3.0, 3.0]
    assert {user["user_email"] for user in answer["updated_users"]} == {None, "b@example.org"}
    await _post(fake_app, "/team/member_update", team_id="t", user_id="a", max_budget_in_team=1)
    await _post(fake_app, "/team/update", team_id="t", team_member_budget=4)
    info = await _get(fake_app, "/team/info", team_id="t")
    budgets = [one["litellm_budget_table"] for one in info["team_memberships"]]
    assert sorted((one["max_budget"], one["rpm_limit"]) for one in budgets) == [(1.0, 7), (4.0, 7)]
    bulk = await _post(fake_app, "/team/bulk_member_add", team_id="t", members=[{"user_id": "c"}, {"user_id": "d"}])
    assert bulk["successful_additions"] == 2
    assert len(bulk["updated_team"]["members_with_roles"]) == 4


async def test_a_team_goes_with_its_keys_and_a_member_with_its_own(fake_app: FakeApp) -> None:
    await _post(fake_app, "/team/new", team_id="t", members=["u", "v"])
    first = await fake_app.new_key(team_id="t", user_id="u")
    second = await fake_app.new_key(team_id="t", user_id="v")
    other = await fake_app.new_key(user_id="u")
    left = await _post(fake_app, "/team/member_delete", team_id="t", user_id="u")
    assert [member["user_id"] for member in left["members_with_roles"]] == ["v"]
    engine = fake_app.engine
    assert set(engine.keys) & {first["token"], second["token"], other["token"]} == {second["token"], other["token"]}
    assert (await _post(fake_app, "/team/member_delete", 404, team_id="t", user_id="u"))["error"]["param"] == "user_id"
    assert await _post(fake_app, "/team/delete", team_ids=["t"]) == {"deleted_teams": ["t"]}
    assert set(engine.keys) & {second["token"], other["token"]} == {other["token"]}
    assert {"team:t", "member:t/v"} <= set(engine.dropped_scopes)
    assert (await _post(fake_app, "/team/delete", 404, team_ids=["t"]))["error"]["code"] == "404"


async def test_an_organization_bounds_its_teams(fake_app: FakeApp) -> None:
    await _post(
        fake_app,
        "/organization/new",
        organization_id="o",
        organization_alias="org",
        max_budget=10,
        tpm_limit=100,
        models=["a", "b"],
    )
    for field, value in (("max_budget", 11), ("tpm_limit", 101), ("models", ["a", "c"])):
        refused = await _post(fake_app, "/team/new", 400, organization_id="o", **{field: value})
        assert refused["error"]["param"] == field
    await _post(fake_app, "/team/new", organization_id="o", max_budget=10, tpm_limit=100, models=["a"])
    assert (await _post(fake_app, "/team/new", 400, organization_id="x"))["error"]["param"] == "organization_id"


async def test_owners_of_a_key_must_exist_but_users_need_not(fake_app: FakeApp) -> None:
    for field in ("team_id", "organization_id", "budget_id"):
        refused = await _post(fake_app, "/key/generate", 400, **{field: "nobody"})
        assert refused["error"]["param"] == field, refused
    refused = await _post(fake_app, "/key/generate", 400, model_max_budget={"m": {"budget_limit": -1}})
    assert refused["error"]["param"] == "model_max_budget"
    await fake_app.new_key(user_id="new-here")
    assert (await _get(fake_app, "/user/info", user_id="new-here"))["user_info"]["user_role"] == "internal_user"


async def test_models_are_added_and_taken(fake_app: FakeApp) -> None:
    await _post(fake_app, "/team/new", team_id="t", models=["a"])
    assert (await _post(fake_app, "/team/model/add", team_id="t", models=["b", "a"]))["models"] == ["a", "b"]
    assert (await _post(fake_app, "/team/model/delete", team_id="t", models=["a"]))["models"] == ["b"]
    # The last one gone must not mean that every model may be called.
    assert (await _post(fake_app, "/team/model/delete", team_id="t", models=["b"]))["models"] == ["no-default-models"]
    assert fake_app.engine.scopes["team:t"]["models"] == ["no-default-models"]
    assert (await _post(fake_app, "/team/model/add", team_id="t", models=["c"]))["models"] == ["c"]
    key = await fake_app.new_key(team_id="t", models=["all-team-models"])
    assert fake_app.engine.keys[key["token"]]["models"] == []


async def test_a_key_with_a_new_secret_keeps_its_scopes(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(model_rpm_limit={"m": 1})
    answer = await _post(fake_app, "/key/regenerate", key=key["key"])
    own = f"key:{answer['token']}"
    assert fake_app.engine.keys[answer["token"]]["scopes"] == [own, f"model:{own}/m"]
    await _post(fake_app, "/key/update", key=answer["token"], model_rpm_limit=None)
    assert fake_app.engine.keys[answer["token"]]["scopes"] == []
    deleted = await _post(fake_app, "/key/delete", keys=[answer["token"]])
    assert deleted["deleted_keys"] == [answer["token"]]
    assert await fake_app.runtime.entities.scopes.find(own) is None


async def test_another_process_learns_of_changes(fake_app: FakeApp) -> None:
    from penstock.audit import AuditTrail
    from penstock.scopes.service import ScopeService
    from penstock.scopes.store import ScopeStore

    await _post(fake_app, "/team/new", team_id="t")
    key = await fake_app.new_key(team_id="t", user_id="u")
    runtime = fake_app.runtime
    entities = runtime.entities
    other = ScopeService(
        ScopeStore(runtime.database), AuditTrail(runtime.database), entities.alerts, entities.scopes._predecessors
    )
    async with runtime.database.transaction() as tx:
        await other.put(tx, "team:t", {"rpm": 5})
        await other.put(tx, "member:t/u", {"rpm": 6})
    await runtime._sync_once()
    assert fake_app.engine.scopes["team:t"]["rpm"] == 5
    assert fake_app.engine.scopes["member:t/u"]["rpm"] == 6
    assert fake_app.engine.keys[key["token"]]["scopes"] == ["member:t/u", "team:t", "user:u"]
    async with runtime.database.transaction() as tx:
        await other.remove(tx, "member:t/u")
    await runtime._sync_once()
    assert fake_app.engine.keys[key["token"]]["scopes"] == ["team:t", "user:u"]
    assert "member:t/u" not in fake_app.engine.scopes


async def test_an_address_belongs_to_one_user(fake_app: FakeApp) -> None:
    await _post(fake_app, "/user/new", user_id="first", user_email="a@example.org", auto_create_key=False)
    await _post(fake_app, "/team/new", team_id="t")
    member = {"user_id": "second", "user_email": "a@example.org"}
    refused = await _post(fake_app, "/team/member_add", 400, team_id="t", member=member)
    assert refused["error"]["param"] == "user_email"
    added = await _post(fake_app, "/team/member_add", team_id="t", member={"user_email": "A@example.org"})
    assert [user["user_id"] for user in added["updated_users"]] == ["first"]


async def test_somebody_new_who_is_named_twice_is_one_user(fake_app: FakeApp) -> None:
    twice = [{"user_email": "b@example.org"}, {"user_email": " B@example.org"}]
    made = await _post(fake_app, "/team/new", team_id="t", members_with_roles=twice)
    assert len(made["members_with_roles"]) == 1
    both = [{"user_email": "c@example.org"}, {"user_email": "C@example.org", "role": "admin"}]
    refused = await _post(fake_app, "/team/new", 400, team_id="u", members_with_roles=both)
    assert refused["error"]["param"] == "members_with_roles"
    await _post(fake_app, "/team/new", team_id="u")


async def test_the_data_plane_is_answered_about_customers_and_tags(fake_app: FakeApp) -> None:
    await _post(fake_app, "/customer/new", user_id="c", rpm_limit=3)
    engine = fake_app.engine
    for number, name in ((1, "customer:c"), (2, "customer:nobody"), (3, "tag:nothing")):
        engine.emit(number, "hook.scope", msgspec.json.encode({"scope": name}))
    async with asyncio.timeout(30):
        while len(engine.resolved) < 3:
            # Any answer of the gateway gives its other tasks their turn.
            await _get(fake_app, "/tag/list")
    assert (engine.resolved[1]["name"], engine.resolved[1]["rpm"]) == ("customer:c", 3)
    assert [engine.resolved[number] for number in (2, 3)] == [None, None]


async def test_resetting_everybodys_spend_includes_every_level(fake_app: FakeApp) -> None:
    await _post(fake_app, "/team/new", team_id="t", spend=2)
    await fake_app.new_key(team_id="t")
    assert fake_app.engine.scopes["team:t"]["spend"] == 2 * 10**9
    await _post(fake_app, "/global/spend/reset")
    assert fake_app.engine.scopes["team:t"]["spend"] == 0
    info = (await _get(fake_app, "/team/info", team_id="t"))["team_info"]
    assert (info["spend"], info["total_spend"]) == (0.0, 2.0)

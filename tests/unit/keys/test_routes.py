"""`/key/...` in LiteLLM's shapes, and what the data plane is told."""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock.keys.models import GenerateKeyRequest
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")

LITELLM_FIELDS = [
    "key_alias",
    "duration",
    "models",
    "spend",
    "max_budget",
    "user_id",
    "team_id",
    "agent_id",
    "max_parallel_requests",
    "metadata",
    "tpm_limit",
    "rpm_limit",
    "tpd_limit",
    "budget_duration",
    "budget_limits",
    "allowed_cache_controls",
    "config",
    "permissions",
    "model_max_budget",
    "budget_fallbacks",
    "model_rpm_limit",
    "model_tpm_limit",
    "mcp_rpm_limit",
    "tag_rpm_limit",
    "guardrails",
    "policies",
    "prompts",
    "blocked",
    "aliases",
    "object_permission",
    "key",
    "default_estimated_output_tokens",
    "default_estimated_output_tokens_per_model",
    "budget_id",
    "end_user_budget_id",
    "tags",
    "disable_global_guardrails",
    "enable_prompt_caching",
    "throttle_on_budget_exceeded",
    "enforced_params",
    "allowed_routes",
    "allowed_passthrough_routes",
    "denied_passthrough_routes",
    "allowed_vector_store_indexes",
    "rpm_limit_type",
    "tpm_limit_type",
    "router_settings",
    "access_group_ids",
    "soft_budget",
    "send_invite_email",
    "key_type",
    "auto_rotate",
    "rotation_interval",
    "organization_id",
    "project_id",
]


async def _post(app: FakeApp, path: str, **body: Any) -> Any:
    answer = await app.client.post(path, headers=app.admin, json=body)
    return answer.status_code, answer.json()


def test_every_field_of_litellm_is_known() -> None:
    assert set(LITELLM_FIELDS) <= set(GenerateKeyRequest.__struct_fields__)


async def test_generate_stores_a_digest_and_tells_the_data_plane(fake_app: FakeApp) -> None:
    before = time.time() * 1000
    await _post(fake_app, "/organization/new", organization_id="o", organization_alias="org")
    await _post(fake_app, "/team/new", team_id="t", organization_id="o")
    key = await fake_app.new_key(
        key_alias="team-a",
        max_budget=0.1,
        budget_duration="1h",
        duration="30d",
        models=["demo"],
        rpm_limit=3,
        tpm_limit=1000,
        max_parallel_requests=2,
        metadata={"tags": ["x"], "who": "me"},
        allowed_cidrs=["10.0.0.0/8"],
        user_id="u",
        team_id="t",
        organization_id="o",
        prompts=["p"],
    )
    assert key["key"].startswith("sk-")
    assert key["key_name"] == f"sk-...{key['key'][-4:]}"
    assert (key["token"], key["token_id"]) == (fake_app.runtime.digest(key["key"]),) * 2
    assert (key["max_budget"], key["spend"], key["prompts"], key["metadata"]["who"]) == (0.1, 0.0, ["p"], "me")
    record = fake_app.engine.keys[key["token"]]
    assert record["max_budget"] == 100_000_000
    assert record["budget_duration_ms"] == 3_600_000
    assert record["budget_reset_at"] >= before + 3_600_000 - 1
    assert record["expires_at"] >= before + 30 * 86_400_000 - 1
    assert (record["rpm"], record["tpm"], record["max_parallel_requests"]) == (3, 1000, 2)
    assert (record["cidrs"], record["tags"], record["models"]) == (["10.0.0.0/8"], ["x"], ["demo"])
    assert (record["user_id"], record["team_id"], record["org_id"]) == ("u", "t", "o")
    for file in fake_app.runtime.settings.data_dir.iterdir():
        assert key["key"].encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "body,param",
    [
        ({"max_budgt": 1}, "max_budgt"),
        ({"max_budget": -1}, "max_budget"),
        ({"max_budget": "x"}, "max_budget"),
        ({"duration": "30 days"}, "duration"),
        ({"budget_duration": "1y"}, "budget_duration"),
        ({"rpm_limit": -1}, "rpm_limit"),
        ({"rpm_limit": "many"}, "rpm_limit"),
        ({"allowed_cidrs": ["10.0.0.0/99"]}, "allowed_cidrs"),
        ({"key": "sk-short"}, "key"),
        ({"key": "no-prefix-but-long-enough"}, "key"),
        ({"key_type": "root"}, "key_type"),
        ({"token": "0" * 64}, "token"),
        ({"total_spend": 1}, "total_spend"),
        ({"created_by": "x"}, "created_by"),
    ],
)
async def test_bad_fields_are_refused_by_name(fake_app: FakeApp, body: dict[str, Any], param: str) -> None:
    status, answer = await _post(fake_app, "/key/generate", **body)
    assert status == 400
    assert answer["error"]["param"] == param
    assert answer["error"]["code"] == "400"
    assert answer["error"]["type"] == "invalid_request_error"
    assert f"`{param}`" in answer["error"]["message"]


async def test_a_misspelt_field_gets_a_suggestion(fake_app: FakeApp) -> None:
    _, answer = await _post(fake_app, "/key/generate", max_budgt=1)
    assert "`max_budget`" in answer["error"]["message"]


async def test_fields_without_effect_are_named(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(guardrails=["pii"], model_rpm_limit={"demo": 1}, tag_rpm_limit={"x": 1})
    assert len(key["warnings"]) == 2
    assert key["guardrails"] == ["pii"]
    assert "warnings" not in await fake_app.new_key(key_alias="plain")


async def test_aliases_are_unique(fake_app: FakeApp) -> None:
    await fake_app.new_key(key_alias="a")
    status, answer = await _post(fake_app, "/key/generate", key_alias="a")
    assert (status, answer["error"]["param"]) == (400, "key_alias")
    other = await fake_app.new_key(key_alias="b")
    status, answer = await _post(fake_app, "/key/update", key=other["key"], key_alias="a")
    assert (status, answer["error"]["param"]) == (400, "key_alias")
    listed = (await fake_app.client.get("/key/aliases", headers=fake_app.admin)).json()
    assert (listed["aliases"], listed["total_count"]) == (["a", "b"], 2)


async def test_update_changes_what_is_given_and_clears_what_is_null(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(rpm_limit=3, max_budget=1, models=["demo"], prompts=["p"])
    status, answer = await _post(fake_app, "/key/update", key=key["token"], rpm_limit=5, max_budget=None, prompts=None)
    assert status == 200
    assert (answer["rpm_limit"], answer["max_budget"], answer["models"]) == (5, None, ["demo"])
    assert "prompts" not in answer
    record = fake_app.engine.keys[key["token"]]
    assert (record["rpm"], record["max_budget"], record["models"]) == (5, None, ["demo"])
    assert (await _post(fake_app, "/key/update", key="sk-unknown", rpm_limit=5))[0] == 404


async def test_block_and_unblock(fake_app: FakeApp) -> None:
    key = await fake_app.new_key()
    assert (await _post(fake_app, "/key/block", key=key["key"]))[1]["blocked"] is True
    assert fake_app.engine.keys[key["token"]]["blocked"] is True
    assert (await _post(fake_app, "/key/unblock", key=key["token"]))[1]["blocked"] is False
    assert fake_app.engine.keys[key["token"]]["blocked"] is False


async def test_delete_is_all_or_nothing(fake_app: FakeApp) -> None:
    one, two = await fake_app.new_key(), await fake_app.new_key(key_alias="two")
    assert (await _post(fake_app, "/key/delete", keys=[one["key"], "sk-unknown"]))[0] == 404
    assert one["token"] in fake_app.engine.keys
    status, answer = await _post(fake_app, "/key/delete", keys=[one["key"]], key_aliases=["two"])
    assert status == 200
    assert answer["deleted_keys"] == [one["key"], two["token"]]
    assert set(fake_app.engine.dropped) == {one["token"], two["token"]}
    gone = await fake_app.client.get("/key/info", headers=fake_app.admin, params={"key": one["key"]})
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("in_path", [True, False])
async def test_regenerate_keeps_the_key_and_ends_the_old_secret(fake_app: FakeApp, in_path: bool) -> None:
    old = await fake_app.new_key(key_alias="r", max_budget=2)
    path, body = (f"/key/{old['key']}/regenerate", {}) if in_path else ("/key/regenerate", {"key": old["key"]})
    status, new = await _post(fake_app, path, **body, rpm_limit=9)
    assert status == 200
    assert new["key"] != old["key"]
    assert (new["key_alias"], new["max_budget"], new["rpm_limit"]) == ("r", 2.0, 9)
    assert old["token"] in fake_app.engine.dropped
    assert fake_app.engine.keys[new["token"]]["rpm"] == 9
    assert await fake_app.runtime.keys.find(old["key"]) is None
    assert await fake_app.runtime.keys.tokens_ever(new["key"]) == [new["token"], old["token"]]


async def test_list_pages_and_filters(fake_app: FakeApp) -> None:
    for index in range(5):
        await fake_app.new_key(user_id="u1" if index % 2 else "u2")
    listing = await fake_app.client.get("/key/list", headers=fake_app.admin, params={"page": 2, "size": 2})
    assert listing.json()["total_count"] == 5
    assert listing.json()["total_pages"] == 3
    assert len(listing.json()["keys"]) == 2
    assert all(isinstance(key, str) for key in listing.json()["keys"])
    mine = await fake_app.client.get(
        "/key/list", headers=fake_app.admin, params={"user_id": "u1", "return_full_object": "true"}
    )
    assert [key["user_id"] for key in mine.json()["keys"]] == ["u1", "u1"]
    many = await fake_app.client.post(
        "/v2/key/info", headers=fake_app.admin, json={"keys": [mine.json()["keys"][0]["token"], "sk-unknown"]}
    )
    assert len(many.json()["info"]) == 1


async def test_changes_leave_an_audit_trail_without_values(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(key_alias="audited-alias")
    await _post(fake_app, "/key/block", key=key["key"])
    rows = await fake_app.runtime.database.fetch_all("SELECT actor, action, object_id, fields FROM audit ORDER BY id")
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("master-key", "key.generate"),
        ("master-key", "key.block"),
    ]
    assert {row["object_id"] for row in rows} == {key["token"]}
    assert "audited-alias" not in str(rows)


async def test_a_key_changed_by_another_process_reaches_the_data_plane(fake_app: FakeApp) -> None:
    key = await fake_app.new_key()
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("DELETE FROM keys WHERE token = ?", (key["token"],))
        await tx.execute(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields) VALUES (0, 'x', 'c', 'd', 'key', ?, '')",
            (key["token"],),
        )
    await fake_app.runtime._sync_once()
    assert key["token"] in fake_app.engine.dropped

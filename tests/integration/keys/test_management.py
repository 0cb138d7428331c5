"""`/key/...` in LiteLLM's shapes: every field, every refusal, pages."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.integration.managed import Managed

SHOWN_AS_SENT: dict[str, Any] = {
    "models": ["priced", "tier-a"],
    "max_budget": 12.5,
    "soft_budget": 10.25,
    "budget_duration": "30d",
    "user_id": "u-1",
    "team_id": "t-1",
    "organization_id": "o-1",
    "agent_id": "a-1",
    "project_id": "p-1",
    "max_parallel_requests": 7,
    "tpm_limit": 1_000_000,
    "rpm_limit": 600,
    "tpd_limit": 5_000_000,
    "metadata": {"team": "core", "nested": {"deep": [1, 2.5, None, True, "é"]}},
    "budget_limits": [{"budget_duration": "1d", "max_budget": 3}],
    "allowed_cache_controls": ["no-cache"],
    "config": {"a": 1},
    "permissions": {"pii": False},
    "model_max_budget": {"priced": {"budget_limit": "0.1", "time_period": "1d"}},
    "budget_fallbacks": {"priced": ["other"]},
    "model_rpm_limit": {"priced": 10},
    "model_tpm_limit": {"priced": 100},
    "mcp_rpm_limit": {"server": 5},
    "tag_rpm_limit": {"blue": 5},
    "guardrails": ["g"],
    "policies": ["p"],
    "prompts": ["q"],
    "blocked": False,
    "aliases": {"mine": "priced"},
    "object_permission": {"vector_stores": ["v"]},
    "default_estimated_output_tokens": 100,
    "default_estimated_output_tokens_per_model": {"priced": 50},
    "budget_id": "b-1",
    "end_user_budget_id": "e-1",
    "disable_global_guardrails": True,
    "enable_prompt_caching": True,
    "throttle_on_budget_exceeded": True,
    "enforced_params": ["user"],
    "allowed_routes": ["llm_api_routes"],
    "allowed_passthrough_routes": ["/x"],
    "denied_passthrough_routes": ["/y"],
    "allowed_vector_store_indexes": [{"index_name": "i", "index_permissions": ["read"]}],
    "rpm_limit_type": "best_effort_throughput",
    "tpm_limit_type": "guaranteed_throughput",
    "router_settings": {"num_retries": 1},
    "access_group_ids": ["g-1"],
    "send_invite_email": False,
    "auto_rotate": True,
    "rotation_interval": "30d",
    "spend": 0.125,
}
"""GenerateKeyRequest's fields that `/key/info` shows under the same name with the same value."""

INFO_ALWAYS = {
    *("token", "key_name", "key_alias", "spend", "max_budget", "expires", "models", "aliases", "config", "user_id"),
    *("team_id", "max_parallel_requests", "metadata", "tpm_limit", "rpm_limit", "budget_duration", "budget_reset_at"),
    *(
        "allowed_cache_controls",
        "soft_budget",
        "permissions",
        "model_max_budget",
        "blocked",
        "created_at",
        "updated_at",
    ),
    *("litellm_budget_table", "organization_id", "created_by", "updated_by", "allowed_routes", "budget_id", "tags"),
}


def alias() -> str:
    """One that no other test has."""
    return f"alias-{secrets.token_hex(6)}"


def test_every_field_comes_back_as_it_was_sent(managed: Managed) -> None:
    name = alias()
    managed.post("/organization/new", organization_id="o-1", organization_alias="one")
    managed.post("/team/new", team_id="t-1", organization_id="o-1")
    managed.post("/budget/new", budget_id="b-1", max_budget=100)
    answer = managed.post("/key/generate", key_alias=name, tags=["blue", "green"], **SHOWN_AS_SENT)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    info = managed.info(made["key"])
    for shown in (made, info):
        for field, value in SHOWN_AS_SENT.items():
            expected = {**value, "tags": ["blue", "green"]} if field == "metadata" else value
            assert shown[field] == expected, field
        assert shown["tags"] == ["blue", "green"]
        assert shown["key_alias"] == name
    # What a caller may take for a protection although it is only kept is named.
    assert any("`mcp_rpm_limit`" in warning for warning in made["warnings"])
    assert not any("`rpm_limit`" in warning for warning in made["warnings"])


def test_generate_answers_in_lite_llms_shape(managed: Managed) -> None:
    made = managed.post("/key/generate", duration="30d").json()
    assert INFO_ALWAYS | {"key", "token_id"} <= set(made)
    assert made["key"].startswith("sk-")
    assert len(made["key"]) == 68
    assert made["token"] == made["token_id"] != made["key"]
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    assert made["created_by"] == made["updated_by"] == "master-key"
    life = datetime.fromisoformat(made["expires"]) - datetime.fromisoformat(made["created_at"])
    assert life == timedelta(days=30)
    bare = managed.client.post("/key/generate", headers=managed.admin)
    assert bare.status_code == 200
    assert bare.json()["expires"] is None
    assert bare.json()["models"] == []


def test_info_is_found_by_key_and_by_token_and_shows_no_secret(managed: Managed) -> None:
    made = managed.post("/key/generate").json()
    for identifier in (made["key"], made["token"]):
        answer = managed.get("/key/info", key=identifier).json()
        assert answer["key"] == identifier
        assert set(answer["info"]) >= INFO_ALWAYS
        assert made["key"] not in str(answer["info"])
    own = managed.client.get("/key/info", headers={"x-api-key": made["key"]}).json()
    assert own["info"]["token"] == made["token"]
    assert managed.get("/key/info", key="sk-nobody-has-this-one").status_code == 404
    many = managed.post("/v2/key/info", keys=[made["key"], made["token"], "sk-nobody-has-this-one"]).json()
    assert [info["token"] for info in many["info"]] == [made["token"]] * 2


def test_update_changes_what_is_given_and_nothing_else(managed: Managed) -> None:
    key = managed.key(key_alias=alias(), rpm_limit=5, tpm_limit=50, tags=["a"], metadata={"m": 1}, max_budget=3)
    before = managed.info(key)
    answer = managed.post("/key/update", key=key, rpm_limit=9, guardrails=["g"])
    assert (answer.status_code, answer.json()["key"]) == (200, key)
    after = managed.info(key)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"rpm_limit", "guardrails", "updated_at"}
    # Null clears; the token does as well as the key.
    managed.post("/key/update", key=before["token"], rpm_limit=None, max_budget=None, tags=None, metadata=None)
    cleared = managed.info(key)
    assert (cleared["rpm_limit"], cleared["max_budget"], cleared["tags"], cleared["metadata"]) == (None, None, [], {})
    assert cleared["tpm_limit"] == 50


def test_block_unblock_and_delete_answer_and_refuse_unknown_keys(managed: Managed) -> None:
    key, name = managed.key(), alias()
    aliased = managed.key(key_alias=name)
    assert managed.post("/key/block", key=key).json()["blocked"] is True
    assert managed.post("/key/unblock", key=key).json()["blocked"] is False
    for path in ("/key/block", "/key/unblock", "/key/update", "/key/regenerate"):
        missing = managed.post(path, key="sk-nobody-has-this-one")
        assert (missing.status_code, missing.json()["error"]["param"]) == (404, "key"), path
    assert managed.post("/key/sk-nobody-has-this-one/regenerate").status_code == 404
    # All or nothing.
    assert managed.post("/key/delete", keys=[key, "sk-nobody-has-this-one"]).status_code == 404
    assert managed.post("/key/delete", keys=[key], key_aliases=["no-such-alias"]).status_code == 404
    assert managed.post("/key/delete").status_code == 400
    assert managed.chat(key).status_code == 200
    assert managed.post("/key/delete", keys=[key]).json() == {"deleted_keys": [key]}
    assert managed.post("/key/delete", key_aliases=[name]).status_code == 200
    for gone in (key, aliased):
        assert managed.get("/key/info", key=gone).status_code == 404
    assert managed.post("/key/delete", keys=[key]).status_code == 404


@pytest.mark.parametrize("in_path", [True, False])
@pytest.mark.parametrize("by", ["key", "token"])
def test_regenerate_gives_the_same_key_another_secret(managed: Managed, in_path: bool, by: str) -> None:
    made = managed.post("/key/generate", key_alias=alias(), rpm_limit=50, models=["priced"]).json()
    assert managed.chat(made["key"]).status_code == 200
    spent = managed.info(made["key"])["spend"]
    if in_path:
        answer = managed.post(f"/key/{made[by]}/regenerate", rpm_limit=60)
    else:
        answer = managed.post("/key/regenerate", key=made[by], rpm_limit=60)
    fresh = answer.json()
    assert answer.status_code == 200, answer.text
    assert fresh["key"] != made["key"]
    assert fresh["token"] != made["token"]
    assert fresh["key_name"] == f"sk-...{fresh['key'][-4:]}"
    info = managed.info(fresh["key"])
    assert (info["key_alias"], info["rpm_limit"], info["models"]) == (made["key_alias"], 60, ["priced"])
    assert info["spend"] == spent > 0
    assert managed.get("/key/info", key=made["key"]).status_code == 404
    assert managed.chat(made["key"]).status_code == 401
    assert managed.chat(fresh["key"]).status_code == 200
    assert len(managed.logs(fresh["key"])) == 2, "the history goes with the key"


def test_a_chosen_key_is_taken_once(managed: Managed) -> None:
    chosen = f"sk-my_own-{secrets.token_hex(12)}"
    assert managed.post("/key/generate", key=chosen).json()["key"] == chosen
    again = managed.post("/key/generate", key=chosen)
    assert (again.status_code, again.json()["error"]["param"]) == (400, "key")
    name = alias()
    managed.key(key_alias=name)
    twice = managed.post("/key/generate", key_alias=name)
    assert (twice.status_code, twice.json()["error"]["param"]) == (400, "key_alias")
    other = managed.key()
    assert managed.post("/key/update", key=other, key_alias=name).status_code == 400


@pytest.mark.parametrize(
    "field,value",
    [
        ("rpm_limit", "ten"),
        ("rpm_limit", 1.5),
        ("rpm_limit", -1),
        ("tpm_limit", 2**63),
        ("max_parallel_requests", True),
        ("max_budget", "much"),
        ("max_budget", -0.01),
        ("models", "priced"),
        ("models", [1]),
        ("metadata", []),
        ("aliases", {"a": 1}),
        ("blocked", "yes"),
        ("duration", "soon"),
        ("duration", "0s"),
        ("budget_duration", "1y"),
        ("allowed_cidrs", ["10.0.0.0/40"]),
        ("allowed_cidrs", ["localhost"]),
        ("key", "short"),
        ("key", "sk-short"),
        ("key_type", "god"),
        ("key_alias", ""),
        ("user_id", "u" * 600),
        ("rpm_limt", 5),
        ("user_role", "proxy_admin"),
        ("token", "0" * 64),
        ("created_by", "me"),
        ("org_id", "o"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(managed: Managed, field: str, value: Any) -> None:
    key = managed.key()
    before = managed.info(key)
    answer = managed.post("/key/generate", **{field: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (400, "invalid_request_error", "400")
    assert str(error["param"]).split("[")[0].split(".")[0] == field
    assert field in error["message"]
    if field != "key":
        assert managed.post("/key/update", key=key, **{field: value}).status_code == 400
        assert managed.info(key) == before


def test_bodies_that_are_no_objects_are_refused(managed: Managed) -> None:
    for body in (b"{", b"[]", b'"x"', b"\xff", b'{"rpm_limit": 1,}', b"[" * 100_000):
        headers = {**managed.admin, "content-type": "application/json"}
        answer = managed.client.post("/key/generate", headers=headers, content=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body[:20]


def test_free_form_values_that_could_not_be_shown_again_are_refused(managed: Managed) -> None:
    headers = {**managed.admin, "content-type": "application/json"}
    made = []
    for depth in (1, 60, 70, 500, *range(940, 1_000, 2)):
        for opening, closing in (('{"a":', "}"), ("[", "]")):
            body = '{"metadata": {"m": ' + opening * depth + "1" + closing * depth + "}}"
            answer = managed.client.post("/key/generate", headers=headers, content=body.encode())
            assert answer.status_code == (200 if depth <= 60 else 400), depth
            made += [answer.json()["key"]] if answer.status_code == 200 else []
    assert managed.get("/key/list", return_full_object=True).status_code == 200
    assert {managed.chat(key).status_code for key in made} == {200}


def test_lists_come_in_pages_that_hold_every_key_once(managed: Managed) -> None:
    user = f"u-{secrets.token_hex(6)}"
    names = sorted(alias() for _ in range(7))
    tokens = {managed.info(managed.key(user_id=user, key_alias=name))["token"] for name in names}
    seen: list[str] = []
    for page, count in ((1, 3), (2, 3), (3, 1), (4, 0)):
        answer = managed.get("/key/list", user_id=user, page=page, size=3).json()
        assert len(answer["keys"]) == count
        assert (answer["total_count"], answer["current_page"], answer["total_pages"]) == (7, page, 3)
        seen += answer["keys"]
    assert (len(seen), set(seen)) == (7, tokens)
    query = {"user_id": user, "return_full_object": True, "sort_by": "key_alias", "sort_order": "asc"}
    whole = managed.get("/key/list", **query).json()["keys"]
    assert [entry["key_alias"] for entry in whole] == names
    assert set(whole[0]) >= INFO_ALWAYS
    one = managed.get("/key/list", key_alias=names[0], return_full_object=True).json()["keys"]
    assert [entry["key_alias"] for entry in one] == names[:1]
    assert managed.get("/key/list", key_hash=one[0]["token"]).json()["keys"] == [one[0]["token"]]
    assert managed.get("/key/list", team_id="nobody").json()["keys"] == []
    for field, value in (
        ("page", 0),
        ("size", 101),
        ("size", "x"),
        ("sort_by", "token; DROP TABLE keys"),
        ("page", -1),
    ):
        refused = managed.get("/key/list", **{field: value})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


def test_aliases_are_listed_in_pages(managed: Managed) -> None:
    names = {alias() for _ in range(3)}
    for name in names:
        managed.key(key_alias=name)
    managed.key()
    first = managed.get("/key/aliases", size=2).json()
    assert len(first["aliases"]) == 2
    found: set[str] = set()
    for page in range(1, first["total_pages"] + 1):
        found |= set(managed.get("/key/aliases", size=2, page=page).json()["aliases"])
    assert names <= found
    assert len(found) == first["total_count"]
    assert None not in found


def test_a_virtual_key_sees_itself_alone(managed: Managed) -> None:
    mine, other = managed.key(), managed.key()
    for identifier in (other, managed.info(other)["token"], "sk-nobody-has-this-one"):
        answer = managed.client.get("/key/info", headers={"x-api-key": mine}, params={"key": identifier})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "403")

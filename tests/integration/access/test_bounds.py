"""What a key is held to, neither it nor a member gets around: by changing it, by a new secret, by making another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.access.people import Company
from tests.integration.access.test_rights import no, ok
from tests.integration.access.test_standing import new

HELD: dict[str, Any] = {
    "max_budget": 1,
    "budget_duration": "30d",
    "models": ["priced"],
    "rpm_limit": 5,
    "tpm_limit": 500,
    "max_parallel_requests": 2,
    "duration": "1h",
    "allowed_cidrs": ["10.0.0.0/8"],
    "tags": ["costs"],
    "model_rpm_limit": {"priced": 3},
    "model_max_budget": {"priced": 1},
    "allowed_routes": ["llm_api_routes"],
}
LESS: dict[str, Any] = {
    "max_budget": 0.5,
    "rpm_limit": 4,
    "duration": "1m",
    "allowed_cidrs": ["10.1.0.0/16"],
    "tags": ["costs", "more"],
    "model_rpm_limit": {"priced": 2, "other": 1},
    "budget_duration": "60d",
    "allowed_routes": ["openai_routes"],
    "metadata": {"a": 1},
}
MORE: dict[str, Any] = {
    "max_budget": None,
    "budget_duration": "1m",
    "models": ["priced", "other"],
    "rpm_limit": 6,
    "tpm_limit": None,
    "max_parallel_requests": 3,
    "duration": "2h",
    "allowed_cidrs": ["0.0.0.0/0"],
    "tags": [],
    "model_rpm_limit": {},
    "model_max_budget": {"priced": 2},
    "aliases": {"priced": "other"},
    "allowed_routes": [],
}


def team_with_member(company: Company, *permissions: str) -> tuple[str, str, str]:
    """A team that lets its members do this; a member, and a key of the member that is good everywhere."""
    team = ok(
        company.post("boss", "/team/new", organization_id=company.acme, team_member_permissions=list(permissions))
    )["team_id"]
    user = new("member")
    ok(company.post("boss", "/team/member_add", team_id=team, member={"user_id": user}))
    return team, user, company.key(user_id=user)


def test_a_new_secret_is_all_that_regenerate_lets_a_member_have(company: Company) -> None:
    team, user, mine = team_with_member(company, "/key/regenerate")
    key = company.key(user_id=user, team_id=team, blocked=True, **HELD)
    for field, value in {**MORE, **LESS, "blocked": False, "spend": 0}.items():
        for path in ("/key/regenerate", f"/key/{key}/regenerate"):
            body: dict[str, Any] = {field: value}
            if path == "/key/regenerate":
                body["key"] = key
            no(company.post(mine, path, **body), field)
    before = company.managed.info(key)
    made = ok(company.post(mine, f"/key/{key}/regenerate", key_alias=new("alias")))
    kept = ("max_budget", "models", "rpm_limit", "blocked", "allowed_cidrs", "tags", "expires", "allowed_routes")
    assert {name: made[name] for name in kept} == {name: before[name] for name in kept}
    assert company.managed.chat(made["key"]).status_code in (401, 403)


@pytest.mark.parametrize("permissions", [["/key/update"], ["/key/update", "/key/bulk_update", "/key/regenerate"]])
def test_a_member_makes_what_its_key_is_held_to_less_and_never_more(company: Company, permissions: list[str]) -> None:
    team, user, mine = team_with_member(company, *permissions)
    key = company.key(user_id=user, team_id=team, blocked=True, spend=0.5, **HELD)
    for field, value in {**MORE, "spend": 0, "blocked": False}.items():
        no(company.post(mine, "/key/update", key=key, **{field: value}), field)
        if "/key/bulk_update" in permissions:
            bulk = ok(company.post(mine, "/key/bulk_update", keys=[{"key": key, field: value}]))
            assert field in bulk["failed_updates"][0]["failed_reason"]
            no(company.post(mine, f"/key/{key}/regenerate", **{field: value}), field)
    for field, value in LESS.items():
        ok(company.post(mine, "/key/update", key=key, **{field: value}))
    permissions = [*permissions, "/key/unblock", "/key/{key_id}/reset_spend"]
    ok(company.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=permissions))
    ok(company.post(mine, "/key/update", key=key, spend=0, blocked=False))
    # Who stands above the member sets what it likes.
    for field, value in MORE.items():
        ok(company.post("boss", "/key/update", key=key, **{field: value}))


def test_a_key_does_not_widen_itself(company: Company) -> None:
    routes = ["/key/update", "/key/regenerate", "/key/*/reset_spend"]
    held = {**HELD, "allowed_cidrs": ["0.0.0.0/0"], "allowed_routes": routes}
    for who, where in (
        ("lead", {"team_id": company.search}),
        ("boss", {"organization_id": company.acme}),
        ("root", {}),
    ):
        key = company.key(user_id=company.ids[who], spend=0.5, **where, **held)
        for field, value in {**MORE, "spend": 0, "allowed_cidrs": [], "aliases": {"priced": "other"}}.items():
            no(company.post(key, "/key/update", key=key, **{field: value}), field)
            no(company.post(key, "/key/regenerate", key=key, **{field: value}), field)
        no(company.post(key, f"/key/{key}/reset_spend"), "spend")
        ok(company.post(key, "/key/update", key=key, rpm_limit=2, metadata={"a": 1}))
        ok(company.post(key, "/key/regenerate", key=key))


def test_a_restricted_key_makes_none_that_is_less_restricted(company: Company) -> None:
    routes = ["/key/generate", "/key/service-account/generate", "/user/new"]
    for who, where in (("lead", {"team_id": company.search}), ("root", {})):
        user = company.ids[who]
        key = company.key(user_id=user, allowed_routes=routes, rpm_limit=5, models=["priced"], **where)
        own = {**where, "user_id": user, "rpm_limit": 5, "models": ["priced"]}
        for wrong in ([], ["management_routes"], ["*"], ["/key/*"], ["llm_api_routes", "/user/list"]):
            no(company.post(key, "/key/generate", **own, allowed_routes=wrong), "allowed_routes")
        for key_type in ("default", "management", "read_only"):
            no(company.post(key, "/key/generate", **own, key_type=key_type), "allowed_routes")
        no(company.post(key, "/key/generate", **own), "allowed_routes")
        made = ok(company.post(key, "/key/generate", **own, key_type="llm_api"))["key"]
        no(company.post(made, "/key/generate", **own))
        assert company.managed.chat(made).status_code == 200
        ok(company.post(key, "/key/generate", **own, allowed_routes=["/key/generate"]))
        for field, value in {"rpm_limit": 6, "models": ["priced", "other"], "aliases": {"priced": "other"}}.items():
            no(company.post(key, "/key/generate", **{**own, "key_type": "llm_api", field: value}), field)
        no(company.post(key, "/key/generate", **{**own, "key_type": "llm_api", "rpm_limit": None}), "rpm_limit")
        # A key that is nobody's manages nothing.
        team: dict[str, Any] = {"team_id": company.search, "rpm_limit": 5, "models": ["priced"]}
        nobodys = ok(company.post(key, "/key/service-account/generate", **team))["key"]
        no(company.post(nobodys, "/key/generate", **team))
    provisioning = company.key(user_id=company.ids["root"], allowed_routes=["/user/new"])
    no(company.post(provisioning, "/user/new", user_role="proxy_admin"), "allowed_routes")
    other = company.key(user_id=company.ids["root"])
    rotating = company.key(user_id=company.ids["root"], allowed_routes=["/key/regenerate", "/key/update"])
    no(company.post(rotating, "/key/regenerate", key=other), "allowed_routes")
    no(
        company.post(
            rotating, "/key/update", key=company.key(key_type="llm_api"), user_id=company.ids["root"], allowed_routes=[]
        )
    )
    ok(company.post(rotating, "/key/regenerate", key=company.key(team_id=company.search)))


def test_names_and_secrets_are_chosen_by_administrators(company: Company) -> None:
    no(company.post("boss", "/team/new", organization_id=company.acme, team_id=new("mine")), "team_id")
    secret = f"sk-{new('chosen')}-0123456789"
    for who in ("lead", "boss"):
        no(company.post(who, "/key/generate", team_id=company.search, key=secret), "key")
        no(company.post(who, "/key/service-account/generate", team_id=company.search, key=secret), "key")
        key = company.key(team_id=company.search)
        no(company.post(who, "/key/regenerate", key=key, new_key=secret), "new_key")
        no(company.post(who, f"/key/{key}/regenerate", new_key=secret), "new_key")
        ok(company.post(who, "/key/regenerate", key=key))
    assert (
        ok(company.post("root", "/team/new", organization_id=company.acme, team_id=(mine := new("t"))))["team_id"]
        == mine
    )
    assert ok(company.post("root", "/key/generate", key=secret))["key"] == secret

"""Limits and budgets above the key: team, member, user, organization, customer, tag, the whole proxy, and single models."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.limits.test_budgets import COST, dollars, worst_case
from tests.integration.managed import ASKED, CONFIG, Managed, cost_of_priced, nanos, question, until


def _name() -> str:
    return uuid.uuid4().hex[:12]


def _made(managed: Managed, path: str, **body: Any) -> dict[str, Any]:
    answer = managed.post(path, **body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _under(managed: Managed, level: str, **limits: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a new key, and what a call, must have to be under a new scope of this level that has these limits."""
    name = _name()
    if level == "team":
        return {"team_id": _made(managed, "/team/new", team_alias=f"alias-{name}", **limits)["team_id"]}, {}
    if level == "member":
        team = _made(managed, "/team/new")["team_id"]
        if "max_budget" in limits:
            limits["max_budget_in_team"] = limits.pop("max_budget")
        _made(managed, "/team/member_add", team_id=team, member={"user_id": name}, **limits)
        return {"team_id": team, "user_id": name}, {}
    if level == "user":
        _made(managed, "/user/new", user_id=name, auto_create_key=False, **limits)
        return {"user_id": name}, {}
    if level == "organization":
        made = _made(managed, "/organization/new", organization_alias="o", **limits)
        return {"team_id": _made(managed, "/team/new", organization_id=made["organization_id"])["team_id"]}, {}
    if level == "customer":
        _made(managed, "/customer/new", user_id=name, **limits)
        return {}, {"user": name}
    _made(managed, "/tag/new", name=name, **limits)
    return {"tags": [name]}, {}


LEVELS = ["team", "member", "user", "organization", "customer", "tag"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_budget_refuses_what_does_not_fit(managed: Managed, level: str) -> None:
    owner, call = _under(managed, level, max_budget=dollars(worst_case() + COST))
    first, second = managed.key(**owner), managed.key(**owner)
    assert managed.chat(first, **call).status_code == 200
    assert managed.chat(second, **call).status_code == 200, "what was spent and what is reserved fit"
    refused = managed.chat(first, **call)
    assert refused.status_code == 422, refused.text
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("budget_exceeded", "budget_exceeded")
    assert error["message"].startswith("Budget has been exceeded! ")
    assert "Current cost" in error["message"]
    assert managed.chat(managed.key()).status_code == 200, "others are not concerned"


@pytest.mark.parametrize("level", LEVELS)
def test_requests_per_minute_hold_over_all_keys(managed: Managed, level: str) -> None:
    owner, call = _under(managed, level, rpm_limit=3)
    keys = [managed.key(**owner), managed.key(**owner)]
    statuses = [managed.chat(keys[number % 2], **call).status_code for number in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


@pytest.mark.parametrize("level", ["team", "customer"])
def test_calls_in_flight_hold_over_all_keys(managed: Managed, level: str) -> None:
    owner, call = _under(managed, level, max_parallel_requests=2)
    answers = managed.many(managed.key(**owner), 6, sim={"ttft": 2_000}, **call)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429, 429]
    assert managed.chat(managed.key(**owner), **call).status_code == 200


@pytest.mark.parametrize("level", LEVELS)
def test_models_hold_for_every_key(managed: Managed, level: str) -> None:
    if level in {"member", "tag"}:
        # Neither has models of its own in LiteLLM's API.
        owner, call = _under(managed, level)
        assert managed.chat(managed.key(**owner), model="other", **call).status_code == 200
        return
    owner, call = _under(managed, level, models=["priced"])
    key = managed.key(**owner)
    assert managed.chat(key, **call).status_code == 200
    assert managed.chat(key, model="other", **call).status_code in {401, 403}


@pytest.mark.parametrize("level", ["team", "customer"])
def test_a_block_holds_from_the_next_call_on_until_it_is_undone(managed: Managed, level: str) -> None:
    owner, call = _under(managed, level)
    key = managed.key(**owner)
    assert managed.chat(key, **call).status_code == 200
    body = {"team_id": owner["team_id"]} if level == "team" else {"user_ids": [call["user"]]}
    _made(managed, f"/{level}/block", **body)
    assert managed.chat(key, **call).status_code in {401, 403}
    _made(managed, f"/{level}/unblock", **body)
    assert managed.chat(key, **call).status_code == 200


def test_a_customer_that_was_never_created_can_be_blocked(managed: Managed) -> None:
    name, key = _name(), managed.key()
    assert managed.chat(key, user=name).status_code == 200
    _made(managed, "/customer/block", user_ids=[name])
    assert managed.chat(key, user=name).status_code in {401, 403}
    assert managed.chat(key, user=_name()).status_code == 200


def test_changed_limits_hold_from_the_next_call_on(managed: Managed) -> None:
    team = _made(managed, "/team/new")["team_id"]
    key = managed.key(team_id=team)
    assert managed.chat(key).status_code == 200
    _made(managed, "/team/update", team_id=team, max_budget=dollars(COST))
    refused = managed.chat(key)
    assert refused.status_code == 422
    assert team in refused.json()["error"]["message"]
    _made(managed, "/team/update", team_id=team, max_budget=None, rpm_limit=0)
    assert managed.chat(key).status_code == 429
    _made(managed, "/team/update", team_id=team, rpm_limit=None)
    assert managed.chat(key).status_code == 200


def test_who_becomes_a_member_is_held_to_the_members_budget(managed: Managed) -> None:
    team, user = _made(managed, "/team/new", team_member_budget=0)["team_id"], _name()
    key = managed.key(team_id=team, user_id=user)
    assert managed.chat(key).status_code == 200
    _made(managed, "/team/member_add", team_id=team, member={"user_id": user})
    assert managed.chat(key).status_code == 422
    _made(managed, "/team/member_update", team_id=team, user_id=user, max_budget_in_team=1)
    assert managed.chat(key).status_code == 200


def test_a_shared_budget_is_spent_by_each_alone(managed: Managed) -> None:
    budget = _made(managed, "/budget/new", max_budget=dollars(worst_case()))["budget_id"]
    keys = [managed.key(budget_id=budget), managed.key(budget_id=budget)]
    assert [managed.chat(key).status_code for key in keys] == [200, 200]
    assert [managed.chat(key).status_code for key in keys] == [422, 422]
    _made(managed, "/budget/update", budget_id=budget, max_budget=1)
    assert [managed.chat(key).status_code for key in keys] == [200, 200]


def test_a_key_has_limits_for_single_models(managed: Managed) -> None:
    key = managed.key(
        model_max_budget={"priced": {"budget_limit": dollars(worst_case()), "time_period": "1d"}},
        model_rpm_limit={"other": 1},
    )
    assert managed.chat(key).status_code == 200
    assert managed.chat(key).status_code == 422
    assert managed.chat(key, model="nick").status_code == 422, "an alias of the group is the group"
    assert [managed.chat(key, model="other").status_code for _ in range(2)] == [200, 429]
    assert managed.chat(key, model="bounded").status_code == 200


def test_a_team_has_limits_for_single_models(managed: Managed) -> None:
    team = _made(managed, "/team/new", model_rpm_limit={"priced": 2})["team_id"]
    keys = [managed.key(team_id=team), managed.key(team_id=team)]
    assert [managed.chat(keys[number % 2]).status_code for number in range(4)] == [200, 200, 429, 429]
    assert managed.chat(keys[0], model="other").status_code == 200


@pytest.mark.parametrize("level", ["customer", "tag"])
def test_whom_a_request_names_has_limits_for_single_models(managed: Managed, level: str) -> None:
    name = _name()
    call: dict[str, Any] = {"user": name} if level == "customer" else {"metadata": {"tags": [name]}}
    made: dict[str, Any] = {"user_id": name} if level == "customer" else {"name": name}
    limits = {"model_rpm_limit": {"priced": 1}, "model_max_budget": {"bounded": {"budget_limit": 0}}}
    _made(managed, f"/{level}/new", **made, **limits)
    keys = [managed.key(), managed.key()]
    assert [managed.chat(key, **call).status_code for key in keys] == [200, 429]
    assert managed.chat(keys[0], model="other", **call).status_code == 200
    refused = managed.chat(keys[0], model="bounded", **call)
    assert refused.status_code == 422
    assert name in refused.text
    assert "bounded" in refused.text
    assert managed.chat(keys[0]).status_code == 200, "who does not name it is not under it"
    _made(managed, f"/{level}/update", **made, model_rpm_limit={"priced": 3})
    assert [managed.chat(keys[0], **call).status_code for _ in range(3)] == [200, 200, 429]


def test_a_name_that_a_key_gives_a_model_evades_nothing(managed: Managed) -> None:
    team = _made(managed, "/team/new", model_rpm_limit={"wild/x": 2}, model_max_budget={"other": {"budget_limit": 0}})
    renamed = managed.key(team_id=team["team_id"], aliases={"mine": "wild/x", "priced": "other"})
    plain = managed.key(team_id=team["team_id"])
    asked = [(renamed, "mine"), (plain, "wild/x"), (renamed, "mine")]
    assert [managed.chat(key, model=model).status_code for key, model in asked] == [200, 200, 429]
    assert managed.chat(renamed, model="priced").status_code == 422, "what is meant has a budget"
    customer = _name()
    _made(managed, "/customer/new", user_id=customer, models=["priced"])
    other = managed.key(aliases={"priced": "other"})
    assert managed.chat(other, model="priced", user=customer).status_code == 403


def test_parallel_calls_of_many_keys_never_overspend_a_team(managed: Managed) -> None:
    body = {"max_tokens": 40}
    cost, worst = cost_of_priced(ASKED, 40), worst_case(**body)
    budget = 20 * cost + cost // 2
    team = _made(managed, "/team/new", max_budget=dollars(budget))["team_id"]
    keys = [managed.key(team_id=team) for _ in range(4)]

    async def all_at_once() -> list[int]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(
            base_url=managed.gateway.url, timeout=30, trust_env=False, limits=limits
        ) as client:
            calls = (
                client.post(
                    "/v1/chat/completions",
                    headers={
                        "authorization": f"Bearer {keys[number % 4]}",
                        "x-sim-ttft": "30",
                        "x-sim-tokens": "40",
                    },
                    json=question(**body),
                )
                for number in range(200)
            )
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    statuses = asyncio.run(all_at_once())
    admitted = statuses.count(200)
    assert set(statuses) == {200, 422}
    assert budget // worst <= admitted <= budget // cost
    spent = managed.get("/team/info", team_id=team).json()["team_info"]["spend"]
    assert nanos(spent) == admitted * cost <= budget
    while managed.chat(keys[0], sim={"tokens": 40}, **body).status_code == 200:
        admitted += 1
    spent = managed.get("/team/info", team_id=team).json()["team_info"]["spend"]
    assert nanos(spent) == admitted * cost <= budget


def test_a_budget_window_begins_again(managed: Managed) -> None:
    team = _made(managed, "/team/new", max_budget=dollars(worst_case()), budget_duration="2s")["team_id"]
    key = managed.key(team_id=team)
    assert managed.chat(key).status_code == 200
    until(lambda: managed.chat(key).status_code == 422 or None, what="the end of the budget")
    until(lambda: managed.chat(key).status_code == 200 or None, what="the next window")
    info = managed.get("/team/info", team_id=team).json()["team_info"]
    assert nanos(info["spend"]) <= worst_case()
    assert nanos(info["total_spend"]) >= 2 * COST


def test_the_whole_proxy_and_unknown_customers_have_configured_budgets(start_managed: Callable[..., Managed]) -> None:
    settings = f"max_budget: {dollars(10 * worst_case())}, max_end_user_budget: {dollars(worst_case())}"
    managed = start_managed(config=CONFIG + "\nlitellm_settings: {" + settings + "}\n")
    customer = _name()
    assert managed.chat(managed.key(), user=customer).status_code == 200
    assert managed.chat(managed.key(), user=customer).status_code == 422
    assert managed.chat(managed.key(), user=_name()).status_code == 200
    assert managed.get("/customer/info", end_user_id=customer).json()["spend"] > 0
    admitted = 2
    while managed.chat(managed.key()).status_code == 200:
        admitted += 1
        assert admitted < 500
    assert admitted * COST <= 10 * worst_case() < admitted * COST + worst_case()


def test_spend_and_limits_survive_a_restart(start_managed: Callable[..., Managed]) -> None:
    managed = start_managed()
    team = _made(managed, "/team/new", max_budget=dollars(worst_case()))["team_id"]
    key = managed.key(team_id=team)
    assert managed.chat(key).status_code == 200
    managed.gateway.process.stop()
    from tests.conftest import Process

    again = Process(
        [
            *("serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", str(managed.gateway.data_dir)),
            *("--listener", "native", "--config", str(managed.gateway.directory / "config.yaml")),
        ],
        managed.gateway.directory,
        {"PENSTOCK_MASTER_KEY": managed.gateway.admin_key},
    )
    try:
        url = str(again.wait_ready()["address"])
        with managed.gateway.client(base_url=url) as client:
            headers = {"authorization": f"Bearer {key}"}
            assert client.post("/v1/chat/completions", headers=headers, json=question()).status_code == 422
    finally:
        again.close()

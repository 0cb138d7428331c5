"""What an operator's configuration says of keys that others make, and of the most that any key is given."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.integration.access.people import Company
from tests.integration.access.test_rights import no, ok
from tests.integration.access.test_standing import new
from tests.integration.managed import CONFIG, Managed

RULES = """
litellm_settings:
  upperbound_key_generate_params:
    {max_budget: 20, budget_duration: 30d, duration: 90d, rpm_limit: 100, tpm_limit: 1000, max_parallel_requests: 7}
  key_generation_settings:
    team_key_generation: {required_params: [tags]}
    personal_key_generation: {allowed_user_roles: [internal_user], required_params: [key_alias]}
"""


def gateway(directory: Path, simulator_url: str, rules: str) -> Iterator[Company]:
    config = CONFIG.replace("penstock:\n", "penstock:\n  keys: {max_per_user: 3}\n") + rules
    managed = Managed(Gateway(directory, simulator_url, config=config))
    try:
        yield Company(managed)
    finally:
        managed.client.close()
        managed.gateway.close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Company]:
    yield from gateway(tmp_path_factory.mktemp("strict"), simulator_url, RULES)


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Company]:
    """Where keys of teams are for their admins to make."""
    rules = "litellm_settings: {key_generation_settings: {team_key_generation: {allowed_team_member_roles: [admin]}}}\n"
    yield from gateway(tmp_path_factory.mktemp("led"), simulator_url, rules)


def refused(answer: httpx.Response, param: str) -> None:
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def alone(company: Company, **fields: Any) -> str:
    """A key of a new user who belongs nowhere."""
    return company.key(user_id=new("solo"), **fields)


def test_no_key_is_given_more_than_the_bounds(strict: Company) -> None:
    made = ok(strict.post("root", "/key/generate"))
    shown = (made["max_budget"], made["budget_duration"], made["rpm_limit"], made["tpm_limit"])
    assert (*shown, made["max_parallel_requests"]) == (20.0, "30d", 100, 1000, 7)
    assert made["expires"] is not None
    less = ok(strict.post("root", "/key/generate", max_budget=1, duration="1d", rpm_limit=5))
    assert (less["max_budget"], less["rpm_limit"]) == (1.0, 5)
    beyond: dict[str, Any] = {
        "max_budget": 20.01,
        "budget_duration": "31d",
        "duration": "91d",
        "rpm_limit": 101,
        "tpm_limit": 1001,
        "max_parallel_requests": 8,
    }
    for field, value in beyond.items():
        change = {field: value}
        refused(strict.post("root", "/key/generate", **change), field)
        refused(strict.post("root", "/key/update", key=made["key"], **change), field)
        refused(strict.post("root", "/key/regenerate", key=made["key"], **change), field)
        refused(strict.post("root", "/key/service-account/generate", team_id=strict.search, **change), field)
        nothing: dict[str, Any] = {field: None}
        refused(strict.post("root", "/key/update", key=made["key"], **nothing), field)
    refused(strict.post("root", "/key/generate", duration="-1"), "duration")
    refused(strict.post("root", "/key/generate", duration="soon"), "duration")
    ok(strict.post("root", "/key/update", key=made["key"], key_alias=None, max_budget=20))


def test_users_make_keys_of_their_own(strict: Company) -> None:
    mine = alone(strict, models=["priced"], max_budget=10)
    user = strict.managed.info(mine)["user_id"]
    refused(strict.post(mine, "/key/generate", max_budget=1, models=["priced"]), "key_alias")
    asked = {"key_alias": new("own"), "models": ["priced"], "max_budget": 5}
    made = ok(strict.post(mine, "/key/generate", **asked))
    assert (made["user_id"], made["team_id"], made["organization_id"]) == (user, None, None)
    assert strict.managed.chat(made["key"]).status_code == 200
    assert strict.managed.chat(made["key"], model="other").status_code in (401, 403)
    # No more than the key that makes it, nor for others, nor elsewhere.
    more = {"key_alias": new("own")}
    no(strict.post(mine, "/key/generate", **{**asked, **more, "max_budget": 11}), "max_budget")
    no(strict.post(mine, "/key/generate", **{**asked, **more, "models": []}), "models")
    no(strict.post(mine, "/key/generate", **{**asked, **more, "user_id": strict.ids["root"]}), "user_id")
    no(strict.post(mine, "/key/generate", **{**asked, **more, "user_id": None}), "user_id")
    no(strict.post(mine, "/key/generate", **{**asked, **more, "team_id": strict.search}), "team_id")
    no(strict.post(mine, "/key/generate", **{**asked, **more, "organization_id": strict.acme}), "organization_id")
    # What a key is held to is made less, never more.
    ok(strict.post(mine, "/key/update", key=made["key"], max_budget=2))
    no(strict.post(mine, "/key/update", key=made["key"], max_budget=3), "max_budget")
    no(strict.post(mine, "/key/update", key=made["key"], user_id=strict.ids["root"]), "user_id")
    no(strict.post(mine, "/key/update", key=made["key"], team_id=strict.search), "team_id")
    no(strict.post(mine, f"/key/{made['key']}/reset_spend"))
    other = alone(strict)
    no(strict.post(other, "/key/update", key=made["key"], max_budget=1), "key")
    no(strict.post(other, "/key/delete", keys=[made["key"]]), "keys")
    fresh = ok(strict.post(mine, "/key/regenerate", key=made["key"]))["key"]
    ok(strict.post("root", "/key/block", key=fresh))
    no(strict.post(mine, "/key/unblock", key=fresh), "key")
    no(strict.post(mine, "/key/update", key=fresh, blocked=False), "blocked")
    ok(strict.post(mine, "/key/delete", keys=[fresh]))


def test_who_makes_no_keys_of_its_own(strict: Company, company: Company) -> None:
    asked = {"key_alias": new("own")}
    for who in ("looker", "viewer", "keyonly"):
        no(strict.post(who, "/key/generate", **asked))
    # A key within a team or an organization may have been made by others.
    for where in ({"team_id": strict.search}, {"organization_id": strict.acme}):
        bound = strict.key(user_id=strict.ids["member"], **where)
        no(strict.post(bound, "/key/generate", **asked))
    in_team = strict.key(user_id=strict.ids["member"], team_id=strict.search)
    no(strict.post("member", "/key/update", key=in_team, team_id=None))
    # Nobody does unless the configuration says so.
    for who in ("nobody", "member", "lead"):
        no(company.post(who, "/key/generate", **asked))


def test_a_user_makes_so_many_keys_and_no_more(strict: Company) -> None:
    mine = alone(strict)
    for _ in range(2):
        ok(strict.post(mine, "/key/generate", key_alias=new("own")))
    no(strict.post(mine, "/key/generate", key_alias=new("own")), "user_id")
    ok(strict.post("root", "/key/generate", user_id=strict.managed.info(mine)["user_id"]))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_requests_at_once_make_as_many_as_one_after_the_other(
    request: pytest.FixtureRequest, start_gateway: Callable[..., Gateway], database: str
) -> None:
    shared = {
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
        "PENSTOCK_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
    }
    if database == "postgres":
        shared["DATABASE_URL"] = request.getfixturevalue("database_url")
    config = CONFIG.replace("penstock:\n", "penstock:\n  keys: {max_per_user: 3}\n") + RULES
    # The same file is one process's; a server is everybody's.
    gateways = [start_gateway(config=config, environment=shared) for _ in range(2 if database == "postgres" else 1)]
    gateways[0].admin_key = shared["PENSTOCK_MASTER_KEY"]
    company = Company(Managed(gateways[0]))
    mine, maker = alone(company), new("maker")
    team = ok(company.post("boss", "/team/new", organization_id=company.acme, members_with_roles=[{"user_id": maker}]))
    where = {"team_id": team["team_id"], "tags": ["a"]}
    allowed = ["/key/generate", "/key/service-account/generate"]
    ok(company.post("boss", "/team/permissions_update", team_id=team["team_id"], team_member_permissions=allowed))
    of_maker = company.key(user_id=maker)

    async def at_once(key: str, path: str, **fields: Any) -> list[httpx.Response]:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=20)) as client:
            calls = [
                client.post(
                    gateways[number % len(gateways)].url + path,
                    headers=headers,
                    json={"key_alias": new("own"), **fields},
                )
                for number in range(20)
            ]
            return await asyncio.gather(*calls)

    for key, path, fields, room in (
        (mine, "/key/generate", {}, 2),
        (of_maker, "/key/generate", where, 2),
        (of_maker, "/key/service-account/generate", where, 3),
    ):
        statuses = [answer.status_code for answer in asyncio.run(at_once(key, path, **fields))]
        assert sorted(statuses) == [200] * room + [403] * (20 - room), path
    company.managed.client.close()


def test_members_make_so_many_keys_and_no_more(strict: Company) -> None:
    user, chief = new("maker"), new("chief")
    members = [{"user_id": user}, {"user_id": chief, "role": "admin"}]
    team = ok(strict.post("boss", "/team/new", organization_id=strict.acme, members_with_roles=members))["team_id"]
    allowed = ["/key/generate", "/key/service-account/generate", "/key/delete"]
    ok(strict.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=allowed))
    mine, where = strict.key(user_id=user), {"team_id": team, "tags": ["a"]}
    made = [ok(strict.post(mine, "/key/generate", **where))["key"] for _ in range(2)]
    no(strict.post(mine, "/key/generate", **where), "user_id")
    for _ in range(3):
        ok(strict.post(mine, "/key/service-account/generate", **where))
    no(strict.post(mine, "/key/service-account/generate", **where), "team_id")
    ok(strict.post(mine, "/key/delete", keys=made[:1]))
    ok(strict.post(mine, "/key/generate", **where))
    # Who is in charge of the team is not held to it.
    ok(strict.post(strict.key(user_id=chief), "/key/service-account/generate", **where))
    refused(strict.post("boss", "/key/generate", team_id=team), "tags")
    ok(strict.post("root", "/key/generate", team_id=team))


def test_keys_of_teams_are_made_by_their_admins_where_that_is_the_rule(led: Company) -> None:
    ok(led.post("lead", "/team/permissions_update", team_id=led.search, team_member_permissions=["/key/generate"]))
    no(led.post("member", "/key/generate", team_id=led.search), "team_id")
    for who in ("lead", "boss", "root"):
        ok(led.post(who, "/key/generate", team_id=led.search))


@pytest.mark.parametrize(
    "settings, place",
    [
        ("upperbound_key_generate_params: {duration: soon}", "upperbound_key_generate_params.duration"),
        ("upperbound_key_generate_params: {max_budget: -1}", "upperbound_key_generate_params.max_budget"),
        ("key_generation_settings: {team_key_generation: {required_params: [tag]}}", "required_params"),
        (
            "key_generation_settings: {team_key_generation: {allowed_team_member_roles: [x]}}",
            "allowed_team_member_roles",
        ),
        ("key_generation_settings: {personal_key_generation: {allowed_user_roles: [x]}}", "allowed_user_roles"),
    ],
)
def test_rules_that_mean_nothing_are_errors(tmp_path: Path, settings: str, place: str) -> None:
    from penstock.config import Environment, load

    file = tmp_path / "config.yaml"
    file.write_text(f"litellm_settings: {{{settings}}}\n")
    errors = [problem.path for problem in load(file, Environment({})).problems if problem.severity == "error"]
    assert len(errors) == 1
    assert place in errors[0]

"""Redis stays away longer than shares hold: each payer's own choice says what becomes of its limits, the strictest of a call's."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.faults.conftest import CONFIG
from tests.faults.hammer import figure
from tests.rig import until
from tests.servers.redis import Redis

Start = Callable[..., Gateway]
_LIMIT = 10


@pytest.fixture
def gateway(start_gateway: Start, database_url: str, own_redis: Redis) -> Gateway:
    """One of two of an installation that fails closed, a second after Redis has gone; a busy machine has not lost it."""
    shared = {
        "DATABASE_URL": database_url,
        "REDIS_URL": own_redis.url,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    config = CONFIG % (0, "60s", "60s") + "  redis: {deadline: 500ms, local_share_for: 1s, when_gone: fail_closed}\n"
    gateways = [start_gateway(config=config, environment=shared) for _ in range(2)]
    for each in gateways:
        until(lambda each=each: figure(each, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
    return gateways[0]


class Payers:
    """Keys with a limit each, below teams and organizations with choices."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """An administrator's request."""
        with self._gateway.client() as client:
            answer = client.post(path, headers=self._gateway.admin, json=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def key(self, **fields: Any) -> str:
        """One with a limit."""
        return str(self.post("/key/generate", **{"rpm_limit": _LIMIT, **fields})["key"])

    def served(self, key: str, calls: int = 2 * _LIMIT, max_tokens: int = 2) -> int:
        """How many of so many calls are; the others are refused for the limit."""
        body = {"model": "sim", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "time"}]}
        headers = {"authorization": f"Bearer {key}"}
        with self._gateway.client() as client:
            answers = [client.post("/v1/chat/completions", headers=headers, json=body) for _ in range(calls)]
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {200, 429}, statuses
        return statuses.count(200)


def test_the_strictest_choice_of_those_who_pay_holds(gateway: Gateway, own_redis: Redis) -> None:
    payers = Payers(gateway)
    organization = payers.post("/organization/new", organization_alias="o", when_gone="fail_closed")["organization_id"]
    teams = {
        choice: payers.post("/team/new", team_alias=choice, when_gone=choice)["team_id"]
        for choice in ("fail_open", "local_share", "fail_closed")
    }
    closed = payers.post("/team/new", organization_id=organization)["team_id"]
    keys = {
        "nobody chose": payers.key(),
        "open": payers.key(when_gone="fail_open"),
        "shared": payers.key(when_gone="local_share"),
        "the team's": payers.key(team_id=teams["fail_open"]),
        "the team is stricter": payers.key(team_id=teams["fail_closed"], when_gone="fail_open"),
        "the key is stricter": payers.key(team_id=teams["fail_open"], when_gone="local_share"),
        "the organization is": payers.key(team_id=closed, when_gone="fail_open"),
        "without a limit": payers.key(rpm_limit=None, team_id=teams["fail_closed"]),
    }
    watch = payers.key(rpm_limit=1_000_000)
    money = payers.key(rpm_limit=None, max_budget=1, when_gone="fail_open")
    assert payers.served(watch, 1) == 1
    own_redis.crash()
    until(lambda: figure(gateway, "penstock_quota_shared") == 0, "Redis is given up")
    until(lambda: payers.served(watch, 1) == 0, "the time of shares is over")
    assert {name: payers.served(key) for name, key in keys.items()} == {
        "nobody chose": 0,
        "open": _LIMIT,
        "shared": _LIMIT // 2,
        "the team's": _LIMIT,
        "the team is stricter": 0,
        "the key is stricter": _LIMIT // 2,
        "the organization is": 0,
        "without a limit": 2 * _LIMIT,
    }
    with gateway.client() as client:
        body = {"model": "sim", "max_tokens": 2, "messages": [{"role": "user", "content": "time"}]}
        answer = client.post("/v1/chat/completions", headers={"authorization": f"Bearer {money}"}, json=body)
    assert answer.status_code == 503, "money is not given away, whatever anybody chose"
    # What one was let have the other does not use, when it is free again.
    both = payers.post("/team/new", max_parallel_requests=100)["team_id"]
    let, strict = (
        payers.key(rpm_limit=None, team_id=both, when_gone=choice) for choice in ("fail_open", "fail_closed")
    )
    assert (payers.served(let, 5), payers.served(strict, 5)) == (5, 0)
    # Whoever calls one after the other, each time with what the call before is done with, is not refused for that.
    slot = payers.key(rpm_limit=None, max_parallel_requests=2, when_gone="local_share")
    tokens = payers.key(rpm_limit=None, tpm_limit=2_000, when_gone="local_share")
    assert payers.served(slot, 20) == 20
    assert payers.served(tokens, 4, max_tokens=800) == 4
    # Nor is it refused because the other was.
    assert [(payers.served(strict, 1), payers.served(let, 1)) for _ in range(3)] == [(0, 1)] * 3
    # A change holds for the next call, with Redis or without.
    fresh = payers.key(team_id=teams["fail_open"])
    assert payers.served(fresh, 2) == 2
    payers.post("/team/update", team_id=teams["fail_open"], when_gone="fail_closed")
    assert payers.served(fresh, 2) == 0
    other = payers.key(when_gone="fail_open")
    assert payers.served(other, 2) == 2
    payers.post("/key/update", key=other, when_gone=None)
    assert payers.served(other, 2) == 0

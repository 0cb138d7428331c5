"""Several gateways, one Redis, through their public ports: together they never exceed a limit, and use it up."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.faults.accounts import note, rows_of
from tests.faults.conftest import CONFIG
from tests.faults.streams import body
from tests.rig import until
from tests.servers.redis import Redis

Start = Callable[..., Gateway]
_GATEWAYS = 3


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """One that the test may stop."""
    node = Redis()
    yield node
    node.close()


@pytest.fixture
def together(start_gateway: Start, database_url: str, own_redis: Redis) -> list[Gateway]:
    """Gateways that share everything and know of each other."""
    shared = {
        "DATABASE_URL": database_url,
        "REDIS_URL": own_redis.url,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    gateways = [start_gateway(config=CONFIG % (0, "60s", "60s"), environment=shared) for _ in range(_GATEWAYS)]
    for gateway in gateways:
        until(
            lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == _GATEWAYS,  # type: ignore[misc]
            "everybody is known",
        )
    return gateways


def figure(gateway: Gateway, name: str) -> float:
    """One metric of the control plane."""
    with gateway.client() as client:
        text = client.get("/metrics", headers=gateway.admin).text
    found = re.search(rf"^{name} ([0-9.e+-]+)$", text, re.M)
    assert found is not None, f"{name} is not among the metrics"
    return float(found[1])


class Crowd:
    """Clients of all gateways that use one key."""

    def __init__(self, gateways: list[Gateway], key: str) -> None:
        limits = httpx.Limits(max_connections=200)
        self._clients = [
            httpx.AsyncClient(base_url=each.url, timeout=30, trust_env=False, limits=limits) for each in gateways
        ]
        self._headers = {"authorization": f"Bearer {key}"}
        self.answers: list[tuple[float, int]] = []
        """When each call was sent, and its status."""
        self.others: list[str] = []

    async def call(self, number: int, most: int = 3, headers: dict[str, str] | None = None) -> int:
        """One call through the gateway whose turn it is."""
        client = self._clients[number % len(self._clients)]
        sent = time.monotonic()
        answer = await client.post(
            "/v1/chat/completions", headers={**self._headers, **(headers or {})}, json=body("sim", max_tokens=most)
        )
        self.answers.append((sent, answer.status_code))
        if answer.status_code not in (200, 429):
            self.others.append(answer.text)
        return answer.status_code

    async def hammer(
        self,
        per_second: float,
        seconds: float,
        at: dict[float, Callable[[], None]] | None = None,
        most: int = 3,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Calls at a steady pace, whether they are answered or not. ``at``: what else happens, by second."""
        begin, tasks, events = time.monotonic(), [], sorted((at or {}).items())
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
            while events and time.monotonic() - begin >= events[0][0]:
                await asyncio.to_thread(events.pop(0)[1])
            tasks.append(asyncio.ensure_future(self.call(number, most, headers)))
        await asyncio.gather(*tasks)

    def admitted(self) -> int:
        """Calls that were served."""
        return sum(1 for _, status in self.answers if status == 200)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()


def run(gateways: list[Gateway], key: str, work: Callable[[Crowd], Any]) -> Crowd:
    """Have a crowd do something."""

    async def main() -> Crowd:
        crowd = Crowd(gateways, key)
        try:
            await work(crowd)
        finally:
            await crowd.close()
        return crowd

    return asyncio.run(main())


def trips(gateways: list[Gateway]) -> float:
    """Round trips to Redis so far for the sake of limits."""
    return sum(figure(gateway, "penstock_quota_round_trips_total") for gateway in gateways)


@pytest.mark.parametrize("limit", [120, 900])
def test_a_limit_is_one_limit_for_all(together: list[Gateway], limit: int) -> None:
    key = together[0].new_key(rpm_limit=limit)
    before = trips(together)
    # Ten times the limit; all of it is there at once, and no more for a minute.
    crowd = run(together, key, lambda crowd: crowd.hammer(10 * limit / 60, 12))
    admitted = crowd.admitted()
    beats = 12 * _GATEWAYS / 0.3
    asked = trips(together) - before
    note(
        f"limit {limit}: {admitted} of {len(crowd.answers)} admitted, {asked:.0f} round trips ({beats:.0f} of them beats)"
    )
    assert not crowd.others
    assert 0.97 * limit <= admitted <= limit


def test_tokens_are_shared_and_what_was_not_used_is_free_again(together: list[Gateway]) -> None:
    key = together[0].new_key(tpm_limit=3_000)
    crowd = run(together, key, lambda crowd: crowd.hammer(60, 8, most=50, headers={"x-sim-tokens": "3"}))
    # Each call uses 13 tokens and might have used 60: the others are free again when it is settled.
    used = tokens_of(together[0], key, crowd.admitted())
    note(f"{used} of 3000 tokens by {crowd.admitted()} of {len(crowd.answers)} calls")
    assert not crowd.others
    assert 0.9 * 3_000 <= used <= 3_000


def tokens_of(gateway: Gateway, key: str, calls: int) -> int:
    """What the ledger has, once it has every call."""
    rows = until(lambda: rows if len(rows := rows_of(gateway, key)) >= calls else None, "every record", 20)
    return sum(row["total_tokens"] for row in rows)


def test_calls_in_flight_are_counted_over_all(together: list[Gateway]) -> None:
    key, most = together[0].new_key(max_parallel_requests=12), 12

    async def waves(crowd: Crowd) -> None:
        for _ in range(3):
            # All of a wave are there before the first of it ends.
            calls = (crowd.call(number, headers={"x-sim-ttft": "1500"}) for number in range(60))
            statuses = await asyncio.gather(*calls)
            assert statuses.count(200) <= most, statuses
            served.append(statuses.count(200))
            # Slots that nobody uses here are free for the others soon.
            await asyncio.sleep(0.5)

    served: list[int] = []
    crowd = run(together, key, waves)
    note(f"{served} of {most} slots used at once")
    assert not crowd.others
    assert served == [most] * 3


def test_a_limit_holds_when_redis_goes_in_the_middle(together: list[Gateway], own_redis: Redis) -> None:
    limit = 240
    key = together[0].new_key(rpm_limit=limit)
    before = 0

    def kill() -> None:
        nonlocal before
        before = crowd_of[0].admitted()
        own_redis.crash()

    crowd_of: list[Crowd] = []

    async def work(crowd: Crowd) -> None:
        crowd_of.append(crowd)
        await crowd.hammer(40, 15, {2.5: kill})

    crowd = run(together, key, work)
    note(f"{before} admitted before Redis went, {crowd.admitted()} of {limit} altogether")
    assert 0 < before < crowd.admitted() <= limit
    assert not crowd.others
    assert all(figure(gateway, "penstock_quota_shared") == 0 for gateway in together)


def test_a_limit_holds_when_redis_forgets_everything(together: list[Gateway], own_redis: Redis) -> None:
    limit = 240
    key = together[0].new_key(rpm_limit=limit)
    # Every gateway reports what it drew; calls wait for that.
    crowd = run(together, key, lambda crowd: crowd.hammer(40, 12, {2.5: own_redis.flush}))
    note(f"{crowd.admitted()} of {limit} admitted over a flush")
    assert not crowd.others
    assert 0.97 * limit <= crowd.admitted() <= limit

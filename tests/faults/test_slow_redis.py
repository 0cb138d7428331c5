"""A Redis that answers late, through the public port: limits hold, and nobody is refused far below one or waits for long."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import note
from tests.faults.conftest import CONFIG
from tests.faults.hammer import Callers, again_after_an_outage, figure, run
from tests.integration.quota.rig import OverTheLimit
from tests.rig import until
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis
from tests.stalls import again_after_a_stall

pytestmark = pytest.mark.alone
Start = Callable[..., Gateway]
_FAR = 1_000_000
_PACE = 80.0
"""Calls a second: so many that some find requests there and no tokens, and others the reverse."""
_BOUND_S = 3.0
"""Some answers in turn of a Redis that is just not given up: the one under way, the call's own, and once more where what it had
of a lease has run out meanwhile."""
_DELAYS = [0.06, 0.2]
"""Of one direction: both answers are later than the 50 ms that a call likes to wait for."""


@pytest.fixture
def far_redis(own_redis: Redis, start_proxy: Callable[[int], Proxy]) -> Proxy:
    """The way to it."""
    return start_proxy(own_redis.port)


@pytest.fixture
def two(start_gateway: Start, database_url: str, far_redis: Proxy) -> list[Gateway]:
    """Gateways that share everything and know of each other."""
    shared = {
        "DATABASE_URL": database_url,
        "REDIS_URL": f"redis://127.0.0.1:{far_redis.port}/0",
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    gateways = [start_gateway(config=CONFIG % (0, "60s", "60s"), environment=shared) for _ in range(2)]
    for gateway in gateways:
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
    return gateways


class Timed(Callers):
    """Knows how long each call took."""

    def __init__(self, gateways: list[Gateway], key: str) -> None:
        super().__init__(gateways, key)
        self.took: list[float] = []

    async def call(self, number: int, most: int = 3, headers: dict[str, str] | None = None) -> int:
        sent = time.monotonic()
        status = await super().call(number, most, headers)
        self.took.append(time.monotonic() - sent)
        return status


def sums(gateways: list[Gateway], name: str) -> float:
    """Of a counter of all gateways."""
    return sum(figure(gateway, f"penstock_quota_{name}_total") for gateway in gateways)


@pytest.mark.timeout(500)
@pytest.mark.parametrize("delay", _DELAYS)
@again_after_a_stall(0.15)
@again_after_an_outage
def test_a_limit_that_is_far_away_refuses_nobody(two: list[Gateway], far_redis: Proxy, delay: float) -> None:
    far_redis.heal()
    key = two[0].new_key(rpm_limit=_FAR, tpm_limit=1_000 * _FAR)

    async def main() -> Timed:
        crowd = Timed(two, key)
        try:
            await crowd.hammer(_PACE, 12, {1.0: lambda: far_redis.delay(delay), 10.0: lambda: far_redis.delay(0.0)})
        finally:
            await crowd.close()
        return crowd

    crowd = asyncio.run(main())
    took = sorted(crowd.took)
    ahead = sums(two, "granted_ahead")
    note(
        f"{len(took)} calls, p50 {took[len(took) // 2] * 1000:.0f}, p99 {took[len(took) * 99 // 100] * 1000:.0f},"
        f" max {took[-1] * 1000:.0f} ms, {ahead:.0f} draws granted ahead of the answer,"
        f" {sums(two, 'outages'):.0f} times given up, {sums(two, 'granted_alone'):.0f} alone"
    )
    assert {status for _, status in crowd.answers} == {200}, crowd.others
    assert took[-1] < _BOUND_S
    assert ahead > 0
    assert took[len(took) // 2] < delay, "most calls wait for no answer"


@pytest.mark.parametrize("delay", _DELAYS)
@pytest.mark.parametrize("limit", [30, 300])
@again_after_an_outage
def test_a_limit_holds_over_gateways_that_hear_late(
    two: list[Gateway], far_redis: Proxy, delay: float, limit: int
) -> None:
    far_redis.heal()
    key = two[0].new_key(rpm_limit=limit)
    far_redis.delay(delay)
    crowd = run(two, key, lambda crowd: crowd.hammer(limit / 6, 12))
    note(
        f"{crowd.admitted()} of {limit} admitted, {sums(two, 'granted_ahead'):.0f} draws ahead of the answer,"
        f" {sums(two, 'outages'):.0f} times given up, {sums(two, 'granted_alone'):.0f} alone"
    )
    if crowd.admitted() > limit:
        raise OverTheLimit(f"{crowd.admitted()} of {limit}")
    assert not crowd.others
    assert 0.9 * limit <= crowd.admitted()

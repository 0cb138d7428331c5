"""Several gateways, one Redis, through their public ports: together they never exceed a limit, and use it up."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.conftest import Gateway, at_once
from tests.faults.accounts import Row, note, rows_of, settled
from tests.faults.conftest import CONFIG
from tests.faults.hammer import Callers, again_after_an_outage, figure, run, trips
from tests.integration.quota.rig import OverTheLimit
from tests.rig import Sim, until
from tests.servers.redis import Redis
from tests.stalls import Stopwatch

_GATEWAYS = 3
_WORKS_MS = 1_500
"""The upstream on a call that holds a slot."""


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Redis]:
    """One that a test may stop; the next one finds it running."""
    node = Redis()
    yield node
    node.close()


@pytest.fixture(scope="module")
def gateways(lasting_database_url: str, own_redis: Redis, start_lasting: Callable[..., Gateway]) -> list[Gateway]:
    """Gateways that share everything. Redis has the time that a busy machine takes."""
    shared = {
        "DATABASE_URL": lasting_database_url,
        "REDIS_URL": own_redis.url,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    config = CONFIG % (0, "60s", "60s") + "  redis: {deadline: 250ms}\n"
    return at_once(*[partial(start_lasting, config=config, environment=shared)] * _GATEWAYS)


@pytest.fixture
def together(gateways: list[Gateway], own_redis: Redis) -> list[Gateway]:
    """The same when they know of each other, whatever the test before did to Redis."""
    if not own_redis.child.is_running:
        own_redis.start()
    for gateway in gateways:
        until(
            lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == _GATEWAYS,  # type: ignore[misc]
            "everybody is known",
        )
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_shared") == 1, "limits are shared", 20)  # type: ignore[misc]
    return gateways


@pytest.mark.parametrize("limit", [120, 900])
@again_after_an_outage
def test_a_limit_is_one_limit_for_all(together: list[Gateway], limit: int) -> None:
    key = together[0].new_key(rpm_limit=limit)
    before, watch = trips(together), Stopwatch()
    # Ten times the limit; all of it is there at once, and no more for a minute.
    crowd = run(together, key, lambda crowd: crowd.hammer(10 * limit / 60, 12))
    admitted, took_s = crowd.admitted(), watch.seconds
    beats = 12 * _GATEWAYS / 0.3
    asked = trips(together) - before
    note(
        f"limit {limit}: {admitted} of {len(crowd.answers)} admitted, {asked:.0f} round trips ({beats:.0f} of them beats)"
        f" in {took_s:.0f} s"
    )
    never_over_in(took_s, admitted, limit)
    assert not crowd.others
    assert 0.97 * limit <= admitted


@again_after_an_outage
def test_tokens_are_shared_and_what_was_not_used_is_free_again(together: list[Gateway]) -> None:
    key = together[0].new_key(tpm_limit=3_000)
    crowd = run(together, key, lambda crowd: crowd.hammer(60, 8, most=50, headers={"x-sim-tokens": "3"}))
    # Each call uses 13 tokens and might have used 60: the others are free again when it is settled.
    used = tokens_of(together[0], key, crowd.admitted())
    note(f"{used} of 3000 tokens by {crowd.admitted()} of {len(crowd.answers)} calls")
    never_over(used, 3_000)
    assert not crowd.others
    assert used >= 0.9 * 3_000


def never_over_in(seconds: float, found: int, limit: int) -> None:
    """On a machine that takes longer than a minute for it, what was used first is free again."""
    never_over(found, limit * (1 + int(seconds // 60)))


def never_over(found: int, limit: int) -> None:
    """Whatever the machine did meanwhile."""
    if found > limit:
        raise OverTheLimit(f"{found} of {limit}")


def tokens_of(gateway: Gateway, key: str, calls: int) -> int:
    """What the ledger has, once it has every call."""
    rows = until(lambda: rows if len(rows := rows_of(gateway, key)) >= calls else None, "every record", 20)
    return sum(row["total_tokens"] for row in rows)


@again_after_an_outage
def test_calls_in_flight_are_counted_over_all(together: list[Gateway], sim: Sim) -> None:
    key, most = together[0].new_key(max_parallel_requests=12), 12

    async def waves(crowd: Callers) -> None:
        for _ in range(3):
            # Most of a wave, if not all, are there before the first of it ends.
            since = sim.mark()
            calls = (crowd.call(number, headers={"x-sim-ttft": str(_WORKS_MS)}) for number in range(60))
            await asyncio.gather(*calls)
            peaks.append(at_once_upstream(await asyncio.to_thread(settled, sim, since)))
            # Slots that nobody uses here are free for the others soon.
            await asyncio.sleep(0.5)

    peaks: list[int] = []
    crowd = run(together, key, waves)
    note(f"{peaks} of {most} slots used at once")
    never_over(max(peaks), most)
    assert not crowd.others
    assert peaks == [most] * 3


def at_once_upstream(entries: list[Row]) -> int:
    """The most calls that the upstream worked on at the same time."""
    # Milliseconds that are rounded down: an end and the beginning that it made room for may seem to be in the wrong order.
    turns = [(entry["at_ms"], 1) for entry in entries]
    # No sooner than it was told to answer: that it has done so it may note long after the answer was read.
    turns += [(entry["at_ms"] + min(entry["duration_us"] / 1000, _WORKS_MS) - 1, -1) for entry in entries]
    return max(itertools.accumulate(change for _, change in sorted(turns)))


def test_a_limit_holds_when_redis_goes_in_the_middle(together: list[Gateway], own_redis: Redis) -> None:
    limit = 240
    key = together[0].new_key(rpm_limit=limit)
    before = 0

    def kill() -> None:
        nonlocal before
        before = crowd_of[0].admitted()
        own_redis.crash()

    crowd_of: list[Callers] = []

    async def work(crowd: Callers) -> None:
        crowd_of.append(crowd)
        await crowd.hammer(40, 15, {2.5: kill})

    crowd = run(together, key, work)
    note(f"{before} admitted before Redis went, {crowd.admitted()} of {limit} altogether")
    assert 0 < before < crowd.admitted() <= limit
    assert not crowd.others
    assert all(figure(gateway, "penstock_quota_shared") == 0 for gateway in together)


@again_after_an_outage
def test_a_limit_holds_when_redis_forgets_everything(together: list[Gateway], own_redis: Redis) -> None:
    limit = 240
    key = together[0].new_key(rpm_limit=limit)
    # Every gateway reports what it drew; calls wait for that.
    watch = Stopwatch()
    crowd = run(together, key, lambda crowd: crowd.hammer(40, 12, {2.5: own_redis.flush}))
    took_s = watch.seconds
    note(f"{crowd.admitted()} of {limit} admitted over a flush")
    never_over_in(took_s, crowd.admitted(), limit)
    assert not crowd.others
    assert 0.97 * limit <= crowd.admitted()

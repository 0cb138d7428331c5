"""What goes to Redis together, what goes again, and what does not go any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest

from penstock.quota.hooks import QuotaHooks
from penstock.quota.link import Op
from penstock.quota.models import Ask, Grant, QuotaAnswer, QuotaOptions
from penstock.quota.service import QuotaService
from penstock.shared.redis import SharedUnavailable
from tests.integration.quota.rig import FAST, again, come_about, draw, gateway, scope
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster
from tests.stalls import Stopwatch

_PLAIN = QuotaOptions(window_ms=60_000, beat_ms=60_000, settle_ms=200, patience_ms=5_000)
"""No beat comes in between."""
_CLUSTER = QuotaOptions(window_ms=60_000, lease_ttl_ms=500, beat_ms=60_000, settle_ms=800, patience_ms=5_000)


def trips(service: QuotaService, delay_s: float = 0) -> list[list[Op]]:
    """What it sends from now on, each trip so much longer."""
    sent: list[list[Op]] = []
    call = service._link.call

    async def noted(ops: list[Op], deadline_s: float | None = None) -> None:
        sent.append(ops)
        await asyncio.sleep(delay_s)
        await call(ops, deadline_s)

    service._link.call = noted  # type: ignore[method-assign]
    return sent


def names(sent: list[list[Op]]) -> list[list[str]]:
    """Of the scripts, by trip."""
    return [[op.command.name for op in ops] for ops in sent]


async def test_the_groups_of_a_cluster_are_drawn_at_once() -> None:
    cluster = RedisCluster(3)
    try:
        async with gateway(cluster.url, _CLUSTER, is_cluster=True, deadline_ms=500) as one:
            key, user, customer = scope(), scope("user"), scope("customer")
            asks = [
                Ask(scope=key, kind="rpm", limit=9, tag="o1"),
                Ask(scope=key, kind="parallel", limit=1, tag="o1"),
                Ask(scope=user, kind="rpm", limit=9, tag="o1"),
                Ask(scope=customer, kind="rpm", limit=9, tag="o1"),
            ]
            watch = Stopwatch()
            assert [grant.granted for grant in await one.draw(asks)] == [1, 1, 1, 1]
            assert watch.ran_s < 2.2 * _CLUSTER.settle_ms / 1000, "new tags settle together"
            one.give_back(key, "parallel", 1)
            await come_about(lambda: not one._beats.has_reports(), "the slot is free")
            sent = trips(one, 0.15)
            watch = Stopwatch()
            assert [grant.granted for grant in await one.draw(asks)] == [1, 1, 1, 1]
            assert watch.ran_s < 1
            assert names(sent) == [["draw"] * 3]
    finally:
        cluster.close()


@again
async def test_slots_stay_while_rates_that_ran_out_are_drawn_again() -> None:
    cluster = RedisCluster(3)
    try:
        async with gateway(cluster.url, _CLUSTER, is_cluster=True, deadline_ms=500) as one:
            key, user = scope(), scope("user")
            await draw(one, key, limit=9, tag="o1")
            asks = [
                Ask(scope=key, kind="rpm", limit=9, tag="o1"),
                Ask(scope=key, kind="parallel", limit=1, tag="o1"),
                Ask(scope=user, kind="rpm", limit=9, tag="o1"),
            ]
            sent = trips(one)
            # The user's tag settles for longer than a lease of the key lasts.
            begin = time.monotonic()
            grants = await one.draw(asks)
            took = (time.monotonic() - begin) * 1000
            assert [grant.granted for grant in grants] == [1, 1, 1]
            assert all(grant.ttl_ms > took for grant in grants if grant.lease), "what is granted can be used"
            kinds = [
                [ask["kind"] for ask in op.command.request["asks"]]
                for ops in sent
                for op in ops
                if op.command.name == "draw"
            ]
            assert sum("parallel" in asked for asked in kinds) == 1
            assert sum(asked == ["rate"] for asked in kinds) >= 2
            assert (await draw(one, key, limit=9, need=7, tag="o1")).granted == 7, "what ran out is given back"
    finally:
        cluster.close()


async def test_returns_go_with_the_draw_that_follows_them(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url, _PLAIN) as one:
        hooks = QuotaHooks(one)
        first = await draw(one, name, limit=2, need=2)
        sent = trips(one)
        back = {"scope": name, "kind": "rpm", "units": 2, "lease": first.lease}
        hooks.on_event("quota.return", msgspec.json.encode(back))
        asked = msgspec.json.encode({"asks": [{"scope": name, "kind": "rpm", "limit": 2, "need": 2}]})
        answer = msgspec.json.decode(await asyncio.create_task(hooks.answer(asked)), type=QuotaAnswer)
        assert answer.grants[0].granted == 2
        assert names(sent) == [["give_back", "draw"]]
        hooks.on_event("quota.return", msgspec.json.encode({**back, "lease": answer.grants[0].lease}))
        await come_about(lambda: len(sent) == 2, "without a draw they go all the same")


async def test_returns_are_added_up_and_go_before_the_draws_of_their_trip(redis_url: str) -> None:
    key, team = scope(), scope("team")
    async with gateway(redis_url, _PLAIN) as one:
        rates = [key, team, *(scope() for _ in range(300))]
        # All of one half second, for the names of leases are those.
        grants = await asyncio.gather(*(draw(one, rate, limit=400, need=400) for rate in rates))
        sent = trips(one)
        for rate, grant in zip(rates, grants, strict=True):
            for _ in range(40):
                one.give_back(rate, "rpm", 10, lease=grant.lease)
        found = await asyncio.gather(*(draw(one, rate, limit=400, need=400) for rate in (rates[-1], key, team)))
        assert [grant.granted for grant in found] == [400, 400, 400]
        assert names(sent) == [["give_back"] * len(rates) + ["draw"] * 3]


@again
async def test_a_draw_that_nobody_waits_for_any_more_is_not_sent(redis_url: str) -> None:
    name, slots = scope(), scope()
    async with gateway(redis_url, _PLAIN, waits_ms=2_400) as one:
        sent = trips(one, 1.8)
        first = asyncio.create_task(draw(one, scope(), limit=10))
        await asyncio.sleep(0.02)
        late = [asyncio.create_task(draw(one, name, limit=10, need=10)) for _ in range(5)]
        late.append(asyncio.create_task(draw(one, slots, "parallel", 1)))
        await asyncio.sleep(1.7)
        last = asyncio.create_task(draw(one, name, limit=10, need=10))
        assert (await first).granted == 1
        for task in late:
            grant = await task
            assert (grant.granted, grant.refused, grant.unknown) == (0, True, True)
        assert (await last).granted == 10
        assert names(sent) == [["draw"], ["draw"]]


async def test_a_draw_that_is_begun_again_is_counted_once_and_keeps_its_beginning(redis_url: str) -> None:
    async with gateway(redis_url, _PLAIN) as one:
        drawn, failed = one._draw_group, list[bool]()

        async def broken_once(*given: object) -> list[Grant]:
            if not failed:
                failed.append(True)
                await asyncio.sleep(0.2)
                raise SharedUnavailable("the connection broke")
            return await drawn(*given)  # type: ignore[arg-type]

        one._draw_group = broken_once  # type: ignore[method-assign,assignment]
        grant = await draw(one, scope())
        assert grant.granted == 1
        assert grant.ttl_ms >= _PLAIN.lease_ttl_ms + 200, "since it was asked for"
        assert one.figures.draws == 1


@again
async def test_calls_hardly_wait_while_many_rates_are_reported(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy = start_proxy(redis.port)
    options = msgspec.structs.replace(FAST, window_ms=30_000, patience_ms=500, missing_after_ms=1_200)
    async with gateway(f"redis://127.0.0.1:{proxy.port}/0", options, deadline_ms=500) as far:
        proxy.hang()
        await come_about(lambda: far.state == "local_share", "it is alone")
        for _ in range(3_000):
            assert (await draw(far, scope(), limit=1_000_000)).granted
        waits: list[float] = []

        async def crowd() -> None:
            while True:
                begin = time.monotonic()
                assert (await draw(far, scope(), limit=1_000_000)).granted
                waits.append(time.monotonic() - begin)
                await asyncio.sleep(0.001)

        busy = asyncio.create_task(crowd())
        proxy.heal()
        proxy.delay(0.1)
        try:
            await come_about(lambda: far.state == "shared", "it is back", 10)
            await asyncio.sleep(0.4)
        finally:
            busy.cancel()
        # The last reports and the word that it is there, each an answer.
        assert max(waits) < 2
        proxy.delay(0.0)


@pytest.mark.parametrize("is_told", [True, False])
@again
async def test_what_was_used_without_redis_and_not_needed_goes_back(is_told: bool) -> None:
    redis, name = Redis(), scope()
    options = msgspec.structs.replace(FAST, window_ms=30_000)
    try:
        async with gateway(redis.url, options) as one, gateway(redis.url, options) as two:
            await come_about(lambda: one.sharing == two.sharing == 2, "two share")
            redis.freeze()
            await come_about(lambda: one.state == two.state == "local_share", "both are alone")
            grant = await draw(one, name, "tpm", limit=100, need=40)
            assert (grant.granted, grant.alone) == (40, True)
            if not is_told:
                one.give_back(name, "tpm", 30, lease=grant.lease)
            redis.resume()
            await come_about(lambda: one.state == two.state == "shared", "both are back")
            if is_told:
                assert (await draw(two, name, "tpm", limit=100, need=61)).granted == 0
                one.give_back(name, "tpm", 30, lease=grant.lease)
                await draw(one, scope())
            assert (await draw(two, name, "tpm", limit=100, need=91)).granted == 0, "what was needed counts"
            assert (await draw(two, name, "tpm", limit=100, need=90)).granted == 90
    finally:
        redis.close()


@again
async def test_what_was_used_ahead_of_a_slow_redis_and_not_needed_goes_back(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy, name, limit = start_proxy(redis.port), scope(), 1_000_000
    options = msgspec.structs.replace(
        FAST, window_ms=60_000, lease_ttl_ms=500, missing_after_ms=1_200, patience_ms=500, settle_ms=200
    )
    async with (
        gateway(redis_url, options) as near,
        gateway(f"redis://127.0.0.1:{proxy.port}/0", options, deadline_ms=20) as far,
    ):
        await come_about(lambda: near.sharing == far.sharing == 2, "two share")
        proxy.delay(0.03)
        grants: list[Grant] = []
        begin = time.monotonic()
        while far.figures.granted_ahead < 100:
            grants.append(await draw(far, name, "tpm", limit=limit, need=4_000, want=1))
            assert grants[-1].granted >= 4_000
            assert time.monotonic() < begin + 20
            await asyncio.sleep(0.01)
        await come_about(lambda: not far._beats.has_reports(), "all is told")
        # The calls are over, and used little.
        for over in grants:
            far.give_back(name, "tpm", over.granted - 10, lease=over.lease)
        await asyncio.sleep(0.3)
        left = (await draw(near, name, "tpm", limit=limit)).remaining
        used = 10 * far.figures.draws
        assert limit * 31 // 32 - used - 100_000 < left <= limit - used
        proxy.delay(0.0)

"""Several gateways on one Redis: limits over all of them, and what becomes of the limits when Redis forgets or is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from penstock.payers import Figure
from penstock.quota.hooks import QuotaHooks
from penstock.quota.link import Op
from penstock.quota.models import Ask, QuotaAnswer, QuotaOptions
from penstock.quota.service import QuotaService
from tests.integration.quota.rig import (
    CALM,
    FAST,
    OverTheLimit,
    again,
    come_about,
    connected,
    draw,
    gateway,
    never_over,
    scope,
)
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel
from tests.stalls import Stopwatch

_WINDOW_S = FAST.window_ms / 1000


async def hammer(
    services: list[QuotaService], name: str, limit: int, seconds: float, over: asyncio.Event | None = None
) -> list[float]:
    """Ask each of them as often as it answers, for so long and until it is ``over``; the moments of what was admitted."""
    admitted: list[float] = []
    end = time.monotonic() + seconds

    async def run(service: QuotaService) -> None:
        while (asked := time.monotonic()) < end or (over is not None and not over.is_set()):
            grant = await draw(service, name, limit=limit, want=1)
            if (now := time.monotonic()) < asked + grant.ttl_ms / 1000:
                admitted.append(now)
            elif grant.granted:
                service.give_back(name, "rpm", grant.granted, lease=grant.lease)
            await asyncio.sleep(0.002)

    await asyncio.gather(*(run(service) for service in services))
    return sorted(admitted)


async def test_a_limit_holds_over_gateways_and_comes_back(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url) as one, gateway(redis_url) as two:
        assert [(await draw(one, name)).granted for _ in range(6)] == [1] * 6
        assert [(await draw(two, name)).granted for _ in range(6)] == [1] * 4 + [0] * 2
        refused = await draw(two, name)
        assert refused.refused
        assert refused.retry_after_ms is not None
        await asyncio.sleep((refused.retry_after_ms + 10) / 1000)
        assert (await draw(two, name)).granted == 1


async def test_large_limits_are_leased_and_what_is_not_used_goes_back(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url) as one, gateway(redis_url) as two:
        await come_about(lambda: one.sharing == 2, "two share")
        watch = Stopwatch()
        lease = await draw(one, name, limit=6_400, want=10_000)
        assert lease.granted == 200, "a sixteenth of an even share"
        assert CALM.lease_ttl_ms <= lease.ttl_ms <= CALM.lease_ttl_ms + 1_000 * watch.seconds + 1, (
            "since it was asked for"
        )
        one.give_back(name, "rpm", 150, lease=lease.lease)
        await draw(one, name, limit=6_400)
        last = await draw(two, name, limit=6_400, need=6_349)
        assert last.granted == 6_349


async def test_a_small_limit_is_granted_exactly(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url) as one:
        assert (await draw(one, name, limit=63, want=50)).granted == 1


async def test_a_draw_over_several_levels_is_all_or_nothing(redis_url: str) -> None:
    key, team = scope(), scope("team")
    async with gateway(redis_url) as one:
        asks = [Ask(scope=key, kind="rpm", limit=9, tag="t"), Ask(scope=team, kind="rpm", limit=2, tag="t")]
        assert [(await one.draw(asks))[0].granted for _ in range(3)] == [1, 1, 0]
        third = await one.draw(asks)
        assert [grant.refused for grant in third] == [False, True]
        assert (await draw(one, key, limit=9, need=7, tag="t")).granted == 7, "refused draws took nothing"


async def test_concurrent_draws_share_round_trips(redis_url: str) -> None:
    # However long the draws take, no beat comes in between.
    name, options = scope(), msgspec.structs.replace(CALM, beat_ms=60_000)
    async with gateway(redis_url, options) as one:
        await draw(one, scope())
        before = one.round_trips
        grants = await asyncio.gather(*(draw(one, name, limit=60) for _ in range(100)))
        assert sum(grant.granted for grant in grants) == 60
        assert one.round_trips - before < 10


async def test_slots_are_held_until_they_are_given_back(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url) as one, gateway(redis_url) as two:
        assert (await draw(one, name, "parallel", 3, need=2)).granted == 2
        assert [(await draw(two, name, "parallel", 3)).granted for _ in range(2)] == [1, 0]
        # Longer than a hold lasts: it is renewed.
        await asyncio.sleep(CALM.slot_hold_ms / 1000 * 1.5)
        assert (await draw(two, name, "parallel", 3)).granted == 0
        one.give_back(name, "parallel", 1)
        await draw(one, scope())
        assert (await draw(two, name, "parallel", 3)).granted == 1


async def test_slots_of_a_gateway_that_ended_without_a_word_come_free(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url) as two:
        async with connected(redis_url) as shared:
            one = QuotaService(shared, "1" * 16, options=CALM)
            await one.start()
            assert (await draw(one, name, "parallel", 1)).granted == 1
            one._beats.is_up = False
            await one.stop()
        assert (await draw(two, name, "parallel", 1)).granted == 0
        await asyncio.sleep(CALM.slot_hold_ms / 1000)
        assert (await draw(two, name, "parallel", 1)).granted == 1


async def test_a_budget_is_never_drawn_above_what_the_ledger_leaves(redis_url: str) -> None:
    name, asked = scope(), []

    async def ledger(owner: str, _: int) -> Figure:
        asked.append(owner)
        return Figure(400, 3)

    # On a busy machine an answer may take longer than 50 ms, and a draw without an answer is a refusal.
    patient: dict[str, Any] = {"spent": ledger, "deadline_ms": 2_000}
    async with gateway(redis_url, **patient) as one, gateway(redis_url, **patient) as two:
        grants = await asyncio.gather(
            *(draw(service, name, "budget", 1_000, need=7) for service in (one, two) for _ in range(60))
        )
        admitted = sum(grant.granted for grant in grants)
        assert admitted == 600 // 7 * 7
        assert set(asked) == {name}
        # The calls of one gateway end; their cost is in the ledger before the hold is lowered.
        ended = sum(grant.granted for grant in grants[:60])
        one.tell_spent(name, Figure(400 + ended // 2, 4), ended)
        await draw(one, scope())
        left = 1_000 - (400 + ended // 2) - (admitted - ended)
        assert (await draw(two, name, "budget", 1_000, need=left + 1)).granted == 0
        assert (await draw(two, name, "budget", 1_000, need=left)).granted == left


async def test_a_budget_that_nobody_can_read_is_refused(redis_url: str) -> None:
    async with gateway(redis_url) as one:
        grant = await draw(one, scope(), "budget", 1_000)
        assert (grant.granted, grant.refused, grant.unknown) == (0, True, True)


async def test_a_flush_is_noticed_and_nothing_is_given_twice(redis: Redis, redis_url: str) -> None:
    name, slots, money = scope(), scope(), scope()

    async def ledger(*_: object) -> Figure:
        return Figure(0, 1)

    async with gateway(redis_url, spent=ledger) as one, gateway(redis_url, spent=ledger) as two:
        # The window must outlast the settling for the test to see it.
        assert (await draw(one, name, limit=10, need=8)).granted == 8
        assert (await draw(one, slots, "parallel", 10, need=8)).granted == 8
        assert (await draw(one, money, "budget", 10, need=8)).granted == 8
        redis.flush()
        watch = Stopwatch()
        grants = await asyncio.gather(
            draw(two, name, limit=10, need=3),
            draw(two, slots, "parallel", 10, need=3),
            draw(two, money, "budget", 10, need=3),
        )
        assert [grant.granted for grant in grants] == [0, 0, 0]
        assert watch.ran_s < 2 * CALM.settle_ms / 1000
        assert (await draw(two, slots, "parallel", 10, need=2)).granted == 2
        assert (await draw(two, money, "budget", 10, need=2)).granted == 2


@pytest.mark.parametrize("fault", ["crash", "freeze", "flush"])
@again
async def test_the_limit_holds_while_redis_fails_and_comes_back(fault: str) -> None:
    redis, name, limit = Redis(), scope(), 40
    try:
        async with AsyncExitStack() as stack:
            services = [await stack.enter_async_context(gateway(redis.url, FAST)) for _ in range(2)]
            await come_about(lambda: all(service.sharing == 2 for service in services), "two share")
            over = asyncio.Event()
            stack.callback(over.set)
            hammering = asyncio.create_task(hammer(services, name, limit, 5, over))
            await asyncio.sleep(0.6)
            if fault == "flush":
                redis.flush()
            else:
                getattr(redis, fault)()
                await come_about(lambda: all(service.state == "local_share" for service in services), "both are alone")
                await asyncio.sleep(1.6)
                await asyncio.to_thread(redis.start if fault == "crash" else redis.resume)
                await come_about(lambda: all(service.state == "shared" for service in services), "both are back")
                # And a window, however long coming back took.
                await asyncio.sleep(_WINDOW_S)
            over.set()
            admitted = await hammering
        never_over(admitted, _WINDOW_S, limit)
        assert len(admitted) >= 2 * limit, "calls went on"
    finally:
        redis.close()


@again
async def test_the_limit_holds_while_one_gateway_is_cut_off(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy, name, limit = start_proxy(redis.port), scope(), 40
    async with gateway(redis_url, FAST) as near, gateway(f"redis://127.0.0.1:{proxy.port}/0", FAST) as far:
        await come_about(lambda: near.sharing == far.sharing == 2, "two share")
        hammering = asyncio.create_task(hammer([near, far], name, limit, 6))
        await asyncio.sleep(0.6)
        proxy.hang()
        await come_about(lambda: far.state == "local_share", "one is alone")
        assert near.state == "shared"
        # Until everybody has noticed, and a window.
        await asyncio.sleep(2.5)
        proxy.heal()
        await come_about(lambda: far.state == "shared", "it is back")
        admitted = await hammering
    never_over(admitted, _WINDOW_S, limit)
    assert far.figures.granted_alone > 0
    assert len(admitted) >= 2 * limit


@again
async def test_what_is_drawn_before_it_is_noticed_that_one_is_cut_off_counts(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy, name = start_proxy(redis.port), scope()
    options = msgspec.structs.replace(FAST, missing_after_ms=1_100)
    async with gateway(redis_url, options) as near, gateway(f"redis://127.0.0.1:{proxy.port}/0", options) as far:
        await come_about(lambda: near.sharing == far.sharing == 2, "two share")
        assert (await draw(far, name, limit=40)).granted == 1
        assert (await draw(near, name, limit=40, need=39)).granted == 39
        assert (await draw(far, name, limit=40)).remaining == 0
        await asyncio.sleep(0.5)
        proxy.hang()
        await come_about(lambda: far.state == "local_share", "one is alone")
        # The window of the first draws ends before anybody misses it.
        refused = await draw(near, name, limit=40, need=39)
        assert refused.retry_after_ms is not None
        await asyncio.sleep((refused.retry_after_ms + 10) / 1000)
        assert (await draw(near, name, limit=40, need=39)).granted == 39
        drawn = time.monotonic()
        taken = 0
        while time.monotonic() < drawn + _WINDOW_S - 0.02:
            taken += (await draw(far, name, limit=40)).granted
            await asyncio.sleep(0.005)
        assert taken <= 1


@again
async def test_a_busy_gateway_comes_back_all_the_same(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    # A machine that stands still for a moment is no outage, and one more would leave enough of a window.
    patient = msgspec.structs.replace(FAST, window_ms=20_000, patience_ms=600, missing_after_ms=900)
    proxy, names = start_proxy(redis.port), [scope() for _ in range(50)]
    async with gateway(f"redis://127.0.0.1:{proxy.port}/0", patient) as far:
        assert (await draw(far, names[0], limit=1_000_000)).granted == 1
        proxy.hang()
        await come_about(lambda: far.state == "local_share", "it is alone")

        async def crowd() -> None:
            # More often than Redis answers, and for longer than coming back may take.
            calls = []
            for number in range(2_000):
                calls.append(asyncio.ensure_future(draw(far, names[number % 50], limit=1_000_000)))
                await asyncio.sleep(0.003)
            assert all(grant.granted for grant in await asyncio.gather(*calls))

        busy = asyncio.create_task(crowd())
        proxy.heal()
        proxy.delay(0.02)
        await come_about(lambda: far.state == "shared", "it is back")
        assert not busy.done()
        await busy


@pytest.mark.parametrize("is_answered", [True, False])
@again
async def test_on_the_way_back_nothing_is_used_that_others_may_draw(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy], is_answered: bool
) -> None:
    proxy, name = start_proxy(redis.port), scope()
    async with gateway(redis_url, FAST) as near, gateway(f"redis://127.0.0.1:{proxy.port}/0", FAST) as far:
        await come_about(lambda: near.sharing == far.sharing == 2, "two share")
        # Lately enough that nothing but what was in use may be used at first.
        assert (await draw(far, name, limit=40)).granted == 1
        proxy.hang()
        await come_about(lambda: near._beats.kept_back(40) == 20, "it is missed")
        await asyncio.sleep((FAST.known_missing_ms + FAST.counted_ms) / 1000)
        said, answered, call = asyncio.Event(), asyncio.Event(), far._link.call

        async def slow_call(ops: list[Op], deadline_s: float | None = None) -> None:
            is_beat = ops[0].command.name == "beat" and not ops[0].command.request["is_quiet"]
            if is_beat and not is_answered:
                proxy.hang(to_server=False)
            try:
                await call(ops, deadline_s)
            finally:
                if is_beat:
                    said.set()
                    await answered.wait()

        far._link.call = slow_call  # type: ignore[method-assign]
        proxy.heal()
        await asyncio.wait_for(said.wait(), 5)
        await come_about(lambda: near._beats.kept_back(40) == 0, "the others take it for present")
        drawing = asyncio.gather(*(draw(far, name, limit=40) for _ in range(20)))
        assert (await draw(near, name, limit=40, need=30)).granted == 30
        answered.set()
        granted = sum(grant.granted for grant in await drawing)
        if granted > 10:
            raise OverTheLimit(f"{granted} beside 30 of 40")
        assert granted == 10 or not is_answered
        far._link.call = call  # type: ignore[method-assign]
        proxy.heal()


_SLOW = QuotaOptions(
    window_ms=2_400, lease_ttl_ms=500, beat_ms=100, missing_after_ms=1_200, patience_ms=500, settle_ms=200
)
"""A machine with much to do must not make a slow Redis one that is gone."""


@pytest.fixture
def far_redis(start_proxy: Callable[[int], Proxy]) -> Iterator[Proxy]:
    """The way to a Redis that nobody else has left anything in."""
    node = Redis()
    yield start_proxy(node.port)
    node.close()


@pytest.mark.parametrize("limit", [20, 640])
@again
async def test_the_limit_holds_while_answers_come_late(far_redis: Proxy, limit: int) -> None:
    url, name = f"redis://127.0.0.1:{far_redis.port}/0", scope()
    async with gateway(url, _SLOW, deadline_ms=20) as one, gateway(url, _SLOW, deadline_ms=20) as two:
        await come_about(lambda: one.sharing == two.sharing == 2, "two share")
        far_redis.delay(0.03)
        admitted = await hammer([one, two] * 10, name, limit, 7)
        far_redis.delay(0.0)
        never_over(admitted, _SLOW.window_ms / 1000, limit)
        assert (one.state, two.state) == ("shared", "shared")
        assert len(admitted) >= limit
        ahead = one.figures.granted_ahead + two.figures.granted_ahead
        assert (ahead > 0) is (limit == 640), "only of large limits there is something to spare"
        assert one.figures.granted_alone + two.figures.granted_alone == 0


@again
async def test_calls_do_not_wait_for_a_slow_redis(far_redis: Proxy) -> None:
    name, limit = scope(), 1_000_000
    async with gateway(f"redis://127.0.0.1:{far_redis.port}/0", _SLOW, deadline_ms=20) as one:
        await draw(one, name, limit=limit)
        far_redis.delay(0.05)
        begin = time.monotonic()
        while not one.figures.granted_ahead:
            assert (await draw(one, name, limit=limit)).granted
            assert time.monotonic() < begin + 10
        watch = Stopwatch()
        assert all([(await draw(one, name, limit=limit)).granted for _ in range(200)])
        assert watch.ran_s < 2, "200 draws in less time than twenty answers take"
        assert one.figures.granted_ahead >= 200


@pytest.mark.parametrize("when_gone, granted", [("fail_closed", 0), ("fail_open", 1)])
async def test_after_the_time_of_shares_the_operator_has_chosen(
    when_gone: str, granted: int, caplog: pytest.LogCaptureFixture
) -> None:
    redis = Redis()
    try:
        async with gateway(redis.url, local_share_ms=2_500, when_gone=when_gone) as one:
            redis.stop()
            name = scope()
            await come_about(lambda: one.state == "local_share", "it is alone")
            assert (await draw(one, name, limit=1)).granted == 1
            assert (await draw(one, name, limit=1)).granted == 0
            await come_about(lambda: one.state == when_gone, "the time is over")
            assert (await draw(one, name, limit=1)).granted == granted
            assert (await draw(one, scope(), "budget", 10)).granted == 0, "money is not given away either way"
            modes = [
                record.__dict__["mode"] for record in caplog.records if record.__dict__.get("event") == "quota.mode"
            ]
            assert modes == ["local_share", when_gone]
    finally:
        redis.close()


async def test_a_gateway_starts_without_redis_and_finds_it() -> None:
    redis = Redis()
    redis.stop()
    try:
        # A window that outlasts the start of Redis, however long that takes.
        options = msgspec.structs.replace(CALM, window_ms=30_000)
        async with gateway(redis.url, options, expected_replicas=4) as one:
            assert one.state == "local_share"
            name = scope()
            assert [(await draw(one, name, limit=8)).granted for _ in range(3)] == [1, 1, 0]
            await asyncio.to_thread(redis.start)
            await come_about(lambda: one.state == "shared", "it is found", 20)
            # What was used alone is reported.
            assert (await draw(one, name, limit=8, need=7)).granted == 0
            assert (await draw(one, name, limit=8, need=6)).granted == 6
    finally:
        redis.close()


async def test_the_data_planes_questions_are_answered_as_bytes(redis_url: str) -> None:
    name = scope()
    async with gateway(redis_url) as one:
        hooks = QuotaHooks(one)
        asked = msgspec.json.encode({"asks": [{"scope": name, "kind": "parallel", "limit": 2, "want": 1, "need": 1}]})
        answers = [msgspec.json.decode(await hooks.answer(asked), type=QuotaAnswer).grants[0] for _ in range(3)]
        assert [answer.granted for answer in answers] == [1, 1, 0]
        hooks.on_event("quota.return", msgspec.json.encode({"scope": name, "kind": "parallel", "units": 1}))
        await draw(one, scope())
        assert (await draw(one, name, "parallel", 2)).granted == 1
        # Counted before the last of the three grants had arrived: that one comes on top.
        hooks.on_event("quota.hold", msgspec.json.encode({"scope": name, "kind": "parallel", "amount": 0, "drawn": 2}))
        await draw(one, scope())
        assert (await draw(one, name, "parallel", 2)).remaining == 0
        with pytest.raises(ValueError, match="no such event"):
            hooks.on_event("quota.other", b"{}")


async def test_a_cluster_keeps_each_tenant_together() -> None:
    cluster = RedisCluster(3)
    try:
        options = msgspec.structs.replace(CALM, window_ms=12_000, lease_ttl_ms=1_000)
        async with AsyncExitStack() as stack:
            one, two = [
                await stack.enter_async_context(gateway(cluster.url, options, is_cluster=True, deadline_ms=500))
                for _ in range(2)
            ]
            key, team, user = scope(), scope("team"), scope("user")
            asks = [
                Ask(scope=key, kind="rpm", limit=9, tag="o1"),
                Ask(scope=team, kind="rpm", limit=2, tag="o1"),
                Ask(scope=user, kind="rpm", limit=5, tag="o1"),
            ]
            assert [grant.granted for grant in await one.draw(asks)] == [1, 1, 1]
            assert [grant.granted for grant in await two.draw(asks)] == [1, 1, 1]
            assert [grant.granted for grant in await two.draw(asks)] == [0, 0, 0]
            await draw(two, scope())
            # The user is at home elsewhere; it was drawn first or last, and what it gave came back.
            assert (await draw(one, user, limit=5, need=3)).granted == 3
            for node in cluster.nodes:
                node.flush()
            assert (await draw(two, team, limit=2, tag="o1")).granted == 0
    finally:
        cluster.close()


async def test_sentinels_lead_to_the_new_master() -> None:
    sentinel, name = RedisSentinel(), scope()
    try:
        async with gateway("redis://ignored", service="penstock", nodes=(sentinel.address,)) as one:
            assert one.state == "shared"
            assert (await draw(one, name, limit=10, need=9)).granted == 9
            sentinel.master.crash()
            await come_about(lambda: one.state == "local_share", "it is alone")
            await come_about(lambda: one.state == "shared", "the new master is found", 20)
            assert (await draw(one, scope(), limit=1)).granted == 1
    finally:
        sentinel.close()

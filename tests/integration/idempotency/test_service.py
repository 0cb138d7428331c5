"""Claims and answers of several gateways on a real Redis: who runs a request, what others get, and what happens without Redis."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from penstock.idempotency import scripts
from penstock.idempotency.hooks import IdempotencyHooks
from penstock.idempotency.models import Answered, Claim, Release, Reply
from penstock.idempotency.service import IdempotencyService
from penstock.shared import scripts as lua
from penstock.shared.redis import SharedRedis
from tests.integration.quota.rig import connected
from tests.servers.redis import Redis, RedisCluster
from tests.stalls import Stopwatch

_ordinals = itertools.count(1)
TTL_MS, KEEP_MS = 3_000, 60_000
"""A claim outlasts a second in which the machine stands still."""


def claim(id: str, request: str = "r", ttl_ms: int = TTL_MS) -> Claim:
    return Claim(id=id, request=request, owner=f"test-{next(_ordinals)}", ttl_ms=ttl_ms)


def answer_to(asked: Claim, *, is_kept: bool = True, keep_ms: int = KEEP_MS) -> Answered:
    return Answered(id=asked.id, request=asked.request, owner=asked.owner, keep_ms=keep_ms, is_kept=is_kept)


def release_of(asked: Claim) -> Release:
    return Release(id=asked.id, owner=asked.owner)


@asynccontextmanager
async def service(url: str, **fields: Any) -> AsyncIterator[IdempotencyService]:
    """One gateway's."""
    # A deadline that a busy machine keeps: a claim without an answer is a refusal.
    async with connected(url, **{"deadline_ms": 2_000, **fields}) as shared:
        service = IdempotencyService(shared)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()


@pytest.fixture
async def two(redis_url: str) -> AsyncIterator[tuple[IdempotencyService, IdempotencyService]]:
    async with service(redis_url) as a, service(redis_url) as b:
        yield a, b


@pytest.fixture
def own_redis() -> Any:
    """One that the test may stop."""
    node = Redis()
    yield node
    node.close()


@pytest.fixture
def id() -> str:
    return secrets.token_hex(32)


async def verdict(service: IdempotencyService, asked: Claim) -> str | None:
    reply = await service.claim(asked)
    return None if reply is None else reply.verdict


async def until(probe: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = probe()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


# ---- the scripts ------------------------------------------------------------------------------


class Table:
    """Calls the scripts one by one."""

    def __init__(self, shared: SharedRedis) -> None:
        self.shared = shared

    async def call(self, call: lua.ScriptCall) -> Any:
        [reply] = await lua.execute(self.shared, [call])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def claim(self, asked: Claim) -> tuple[str, int, bytes | None]:
        return scripts.verdict(await self.call(scripts.claim(asked)))

    async def ttl(self, id: str) -> int:
        return int(await self.shared.client.pttl(scripts.key(id)))


@pytest.fixture
async def table(redis_url: str) -> AsyncIterator[Table]:
    async with connected(redis_url, deadline_ms=2_000) as shared:
        yield Table(shared)


async def test_a_request_is_claimed_once_and_renewed_by_its_owner_alone(table: Table, id: str) -> None:
    first, second = claim(id, ttl_ms=30_000), claim(id, ttl_ms=90_000)
    assert await table.claim(first) == ("run", 0, None)
    assert await table.claim(second) == ("running", 0, None)
    assert await table.claim(claim(id, "another")) == ("other_request", 0, None)
    assert 25_000 < await table.ttl(id) <= 30_000
    await table.shared.client.pexpire(scripts.key(id), 1_000)
    assert await table.claim(first) == ("run", 0, None)
    assert 25_000 < await table.ttl(id) <= 30_000
    # Lost by Redis: the renewal makes it anew.
    await table.shared.client.flushall()
    assert await table.claim(first) == ("run", 0, None)
    assert await table.claim(second) == ("running", 0, None)


async def test_an_answer_is_told_and_a_large_one_is_fetched(table: Table, id: str) -> None:
    asked = claim(id)
    await table.claim(asked)
    assert await table.call(scripts.answered(answer_to(asked), b"\x00\n\xff")) == 1
    assert await table.claim(claim(id)) == ("answered", 3, b"\x00\n\xff")
    assert await table.claim(asked) == ("answered", 3, b"\x00\n\xff")
    assert await table.claim(claim(id, "another")) == ("other_request", 0, None)
    assert KEEP_MS - 5_000 < await table.ttl(id) <= KEEP_MS
    other = claim(secrets.token_hex(32))
    await table.claim(other)
    large = bytes(scripts.INLINE_BYTES + 1)
    await table.call(scripts.answered(answer_to(other), large))
    assert await table.claim(other) == ("answered", len(large), None)
    assert await scripts.fetch(table.shared, other.id) == large


async def test_an_answer_that_is_not_kept_is_said_to_be_so(table: Table, id: str) -> None:
    asked = claim(id)
    await table.claim(asked)
    assert await table.call(scripts.answered(answer_to(asked, is_kept=False), b"")) == 1
    assert await table.claim(claim(id)) == ("not_kept", 0, None)
    assert await table.claim(claim(id, "another")) == ("other_request", 0, None)


async def test_a_claim_that_another_has_by_now_stays_that_ones(table: Table, id: str) -> None:
    late, now = claim(id), claim(id)
    await table.claim(late)
    await table.shared.client.delete(scripts.key(id))
    assert await table.claim(now) == ("run", 0, None)
    assert await table.call(scripts.release(release_of(late))) == 0
    assert await table.call(scripts.answered(answer_to(late), b"late")) == 0
    assert await table.claim(late) == ("running", 0, None)
    assert await table.call(scripts.answered(answer_to(now), b"now")) == 1
    assert await table.claim(late) == ("answered", 3, b"now")
    # Its owner may forget it, to make room.
    assert await table.call(scripts.release(release_of(now))) == 1
    assert await table.claim(claim(id)) == ("run", 0, None)


async def test_an_answer_of_a_claim_that_nobody_has_is_taken(table: Table, id: str) -> None:
    asked = claim(id)
    assert await table.call(scripts.answered(answer_to(asked), b"x")) == 1
    assert await table.claim(claim(id)) == ("answered", 1, b"x")


# ---- the service ------------------------------------------------------------------------------


async def test_of_many_on_two_gateways_one_runs(two: tuple[IdempotencyService, IdempotencyService], id: str) -> None:
    verdicts = await asyncio.gather(*(verdict(two[number % 2], claim(id)) for number in range(100)))
    assert set(verdicts) == {"run", "running"}
    assert verdicts.count("run") == 1


@pytest.mark.parametrize("length", [0, 100, 3_000_000])
async def test_the_others_answer_is_heard(
    two: tuple[IdempotencyService, IdempotencyService], id: str, length: int
) -> None:
    asked, sealed = claim(id), secrets.token_bytes(length)
    assert await verdict(two[0], asked) == "run"
    assert await two[0].answered(answer_to(asked), sealed)
    for each in two:
        assert await each.claim(claim(id)) == Reply("answered", sealed)
    assert await verdict(two[1], claim(id, "another")) == "other_request"


async def test_a_claim_is_held_while_the_call_runs_and_ends_with_the_gateway(redis_url: str, id: str) -> None:
    asked = claim(id)
    async with service(redis_url) as b:
        async with service(redis_url) as a:
            assert await verdict(a, asked) == "run"
            await asyncio.sleep(2 * TTL_MS / 1000)
            assert await verdict(b, claim(id)) == "running"
            # As if it were killed: nothing is released.
        assert await verdict(b, claim(id)) == "running"
        await asyncio.sleep(TTL_MS / 1000)
        assert await verdict(b, claim(id)) == "run"


async def test_a_released_request_is_run_by_the_next(
    two: tuple[IdempotencyService, IdempotencyService], id: str
) -> None:
    a, b = two
    asked = claim(id)
    assert await verdict(a, asked) == "run"
    a.release(release_of(asked))

    async def is_free() -> bool:
        return await verdict(b, claim(id)) == "run"

    await until(is_free)
    assert await verdict(a, asked) == "running"


async def test_what_is_to_be_told_is_told_before_the_end(redis_url: str, id: str) -> None:
    async with service(redis_url) as b:
        async with service(redis_url) as a:
            asked = claim(id)
            assert await verdict(a, asked) == "run"
            a.release(release_of(asked))
        assert await verdict(b, claim(id)) == "run"


# ---- without Redis ----------------------------------------------------------------------------


async def test_without_redis_the_operators_choice_holds_and_nothing_waits(own_redis: Redis, id: str) -> None:
    async with AsyncExitStack() as stack:
        closed = await stack.enter_async_context(service(own_redis.url, when_gone="fail_closed", deadline_ms=400))
        open_ = await stack.enter_async_context(service(own_redis.url, when_gone="fail_open", deadline_ms=400))
        own_redis.stop()
        for _ in range(20):
            for each, reply in ((closed, None), (open_, Reply("run"))):
                watch = Stopwatch()
                assert await each.claim(claim(id)) == reply
                assert watch.ran_s < 3
        assert (closed.figures.refused_alone, open_.figures.alone) == (20, 20)


async def test_a_redis_that_hangs_is_given_up_and_found_again(own_redis: Redis, id: str) -> None:
    async with service(own_redis.url, deadline_ms=150) as closed:
        before = claim(id, ttl_ms=10_000)
        assert await verdict(closed, before) == "run"
        own_redis.freeze()
        watch = Stopwatch()
        replies = await asyncio.gather(*(closed.claim(claim(secrets.token_hex(32))) for _ in range(50)))
        assert replies == [None] * 50
        assert watch.ran_s < 1
        # While nothing answers, the end of a call waits for its turn without holding anybody up.
        told = asyncio.ensure_future(closed.answered(answer_to(before), b"answer"))
        await asyncio.sleep(0.3)
        own_redis.resume()
        assert await told

        async def is_back() -> bool:
            return await closed.claim(claim(id)) == Reply("answered", b"answer")

        await until(is_back)


async def test_a_claim_that_was_refused_without_redis_does_not_block_the_request(own_redis: Redis, id: str) -> None:
    async with service(own_redis.url, deadline_ms=400) as closed, service(own_redis.url) as other:
        own_redis.freeze()
        # Redis has it in its buffer, and takes it when it wakes up.
        assert await closed.claim(claim(id, ttl_ms=20_000)) is None
        own_redis.resume()

        async def is_free() -> bool:
            return await verdict(other, claim(id, ttl_ms=20_000)) == "run"

        await until(is_free)


async def test_an_answer_that_cannot_be_told_is_given_up(own_redis: Redis, id: str) -> None:
    async with service(own_redis.url, when_gone="fail_open", deadline_ms=400) as a:
        asked = claim(id)
        assert await verdict(a, asked) == "run"
        own_redis.stop()
        watch = Stopwatch()
        assert not await a.answered(answer_to(asked), b"answer")
        assert watch.ran_s < 5
        assert a.figures.lost == 1


async def test_a_redis_that_forgot_a_claim_is_told_again(own_redis: Redis, id: str) -> None:
    async with service(own_redis.url) as a, service(own_redis.url) as b:
        assert await verdict(a, claim(id)) == "run"
        own_redis.flush()
        await until(lambda: own_redis.command("EXISTS", scripts.key(id)))
        assert await verdict(b, claim(id)) == "running"


async def test_in_a_cluster_each_request_has_one_slot() -> None:
    cluster = RedisCluster(3)
    try:
        async with service(cluster.url, is_cluster=True, deadline_ms=500) as a:
            asked = [claim(secrets.token_hex(32)) for _ in range(50)]
            assert await asyncio.gather(*(verdict(a, each) for each in asked)) == ["run"] * 50
            assert await asyncio.gather(*(a.answered(answer_to(each), b"x") for each in asked)) == [True] * 50
            again = await asyncio.gather(*(a.claim(claim(each.id)) for each in asked))
            assert again == [Reply("answered", b"x")] * 50
            large, sealed = claim(secrets.token_hex(32)), bytes(3 * scripts.INLINE_BYTES)
            assert await verdict(a, large) == "run"
            assert await a.answered(answer_to(large), sealed)
            assert await a.claim(claim(large.id)) == Reply("answered", sealed)
    finally:
        cluster.close()


# ---- the boundary -----------------------------------------------------------------------------


async def test_the_hooks_say_it_in_the_data_planes_words(redis_url: str, id: str) -> None:
    async with service(redis_url) as a:
        hooks = IdempotencyHooks(a)
        ask = b'{"id":"%s","request":"r","owner":"o-%d","ttl_ms":3000}'
        assert await hooks.claim(ask % (id.encode(), 1)) == b"run"
        assert await hooks.claim(ask % (id.encode(), 2)) == b"running"
        told = b'{"id":"%s","request":"r","owner":"o-1","keep_ms":60000,"is_kept":true}\n\x00\n\x01' % id.encode()
        assert await hooks.answered(told) == b""
        assert await hooks.claim(ask % (id.encode(), 2)) == b"answered\n\x00\n\x01"
        hooks.released(b'{"id":"%s","owner":"o-1"}' % id.encode())

        async def is_free() -> bool:
            return await hooks.claim(ask % (id.encode(), 2)) == b"run"

        await until(is_free)

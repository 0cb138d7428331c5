"""The connection's promises, and the channel of changes, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redis.exceptions import ResponseError

from penstock.shared.bus import CHANNEL, Announced, ChangeBus
from penstock.shared.redis import SharedRedis, SharedUnavailable
from tests.integration.quota.rig import again, come_about, connected
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis
from tests.stalls import Stopwatch


def test_keys_of_a_tag_share_a_slot_whatever_they_are_called() -> None:
    assert SharedRedis.key("a", "b") == "penstock:a:b"
    assert SharedRedis.key("rpm", "key:x", tag="o1") == "penstock:{o1}:rpm:key:x"
    assert SharedRedis.key("a", tag="o}1") == "penstock:{o)1}:a"


async def test_a_hung_server_costs_the_deadline_and_no_restart() -> None:
    redis = Redis()
    try:
        async with connected(redis.url) as shared:
            await shared.ping()
            redis.freeze()
            watch = Stopwatch()
            with pytest.raises(SharedUnavailable, match="50 ms"):
                await shared.run(shared.client.get("a"))
            assert watch.ran_s < 0.5
            redis.resume()
            await shared.run(shared.client.set("a", "1"), 5)
            await asyncio.to_thread(redis.restart)
            assert await shared.run(shared.client.get("a"), 5) is None
            redis.stop()
            with pytest.raises(SharedUnavailable):
                await shared.run(shared.client.get("a"), 1)
    finally:
        redis.close()


async def test_replies_about_the_server_are_outside_reasons_and_others_are_not(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        await shared.client.config_set("maxmemory", "1")
        try:
            with pytest.raises(SharedUnavailable, match="OutOfMemory"):
                await shared.run(shared.client.set("a", "1"), 5)
        finally:
            await shared.client.config_set("maxmemory", "0")
        await shared.client.set("a", "1")
        with pytest.raises(ResponseError):
            await shared.run(shared.client.lpush("a", "1"), 5)


async def test_the_pool_is_bounded(redis_url: str) -> None:
    async with connected(redis_url, max_connections=3) as shared:
        await asyncio.gather(*(shared.run(shared.client.blpop("nothing", 0.1), 5) for _ in range(9)))
        clients = await shared.client.client_list()
        assert len(clients) <= 4


class Heard:
    """What a bus told."""

    def __init__(self) -> None:
        self.messages: list[list[Announced]] = []
        self.arrived = asyncio.Event()

    async def __call__(self, changes: list[Announced]) -> None:
        self.messages.append(changes)
        self.arrived.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.messages) < count:
                self.arrived.clear()
                await self.arrived.wait()


@again
async def test_changes_are_heard_by_the_others_and_looked_for_after_a_break(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy, change = start_proxy(redis.port), Announced("key", "a" * 64, "key.delete")
    async with connected(redis_url) as near, connected(f"redis://127.0.0.1:{proxy.port}/0") as far:
        one, two, heard = ChangeBus(near, "one"), ChangeBus(far, "two"), Heard()
        listening = asyncio.create_task(two.listen(heard))
        try:
            await heard.wait_for(1)
            assert heard.messages == [[]], "something may have been missed before"
            watch = Stopwatch()
            assert await one.publish([change])
            await heard.wait_for(2)
            assert heard.messages[1] == [change]
            assert watch.ran_s < 0.5
            await two.publish([change])
            await near.client.publish(CHANNEL, b"not ours")
            await heard.wait_for(3)
            assert heard.messages[2] == [], "its own are not heard; what is not understood is looked up"
            # Nobody says that the connection is gone: it is found out.
            proxy.hang()
            await come_about(lambda: not two.is_listening, "the break is found out", 20)
            proxy.heal()
            await heard.wait_for(4)
            assert heard.messages[3] == []
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_what_cannot_be_announced_is_said() -> None:
    redis = Redis()
    try:
        async with connected(redis.url) as shared:
            redis.stop()
            assert await ChangeBus(shared, "one").publish([Announced("key", "a", "key.block")]) is False
    finally:
        redis.close()

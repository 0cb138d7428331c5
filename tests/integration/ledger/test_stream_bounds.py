"""The stream takes no more of Redis than it may, in entries and in bytes."""

from __future__ import annotations

from penstock.ledger import wire
from penstock.ledger.records import Batch
from tests.integration.quota.rig import connected


def _batch(number: int, size: int) -> Batch:
    return Batch("bounds", number, b"[" + b"1" * size + b"]", 1)


async def test_by_entries(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        await shared.run(shared.client.delete(wire.STREAM), 1)
        assert [await wire.add(shared, _batch(number, 10), 3) for number in range(1, 6)] == [True] * 3 + [False] * 2
        await shared.run(shared.client.delete(wire.STREAM), 1)


async def test_by_bytes(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        await shared.run(shared.client.delete(wire.STREAM), 1)
        largest = 1_000_000
        taken = [await wire.add(shared, _batch(number, 100_000), 1_000, largest) for number in range(1, 21)]
        assert 5 <= sum(taken) <= 10
        assert taken == sorted(taken, reverse=True), "once it is full it stays full"
        size = await shared.run(shared.client.memory_usage(wire.STREAM), 1)
        assert size is not None
        assert size <= largest
        # What coworkers have taken out makes room.
        await shared.run(shared.client.xtrim(wire.STREAM, maxlen=0, approximate=False), 1)
        assert await wire.add(shared, _batch(21, 100_000), 1_000, largest)
        await shared.run(shared.client.delete(wire.STREAM), 1)

"""What a coworker does when Redis says odd things, and whom it tells of what."""

from __future__ import annotations

import asyncio

import pytest

from penstock.ledger import wire
from penstock.ledger.apply import Ledger
from penstock.ledger.coworker import Coworker
from penstock.shared.redis import SharedRedis, SharedUnavailable
from tests.unit.ledger.test_apply import numbered

_LONGEST = 100


async def test_somebody_else_s_value_does_not_end_the_coworker(
    shared: SharedRedis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits, done = asyncio.Event(), asyncio.Event()

    async def tell(redis: SharedRedis, watermarks: dict[str, int]) -> None:
        done.set()

    monkeypatch.setattr(wire, "tell_progress", tell)

    async def rest(seconds: float) -> None:
        waits.set()
        await asyncio.sleep(0.01)

    await shared.client.set(wire.STREAM, "not a stream")
    coworker = Coworker(shared, ledger)
    monkeypatch.setattr(coworker, "_rest", rest)
    working = asyncio.create_task(coworker.run())
    async with asyncio.timeout(60):
        await waits.wait()
        assert "WRONGTYPE" in "".join(str(vars(line).get("reason", "")) for line in caplog.records)
        await shared.client.delete(wire.STREAM)
        assert await wire.add(shared, numbered("a", 1, 5), _LONGEST)
        await done.wait()
        coworker.stop()
        await shared.client.flushall()
        await working
    assert coworker.applied == 5


async def test_what_could_not_be_told_is_told_the_next_time(
    shared: SharedRedis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, int]] = []
    failures = [SharedUnavailable("away")]

    async def tell(redis: SharedRedis, watermarks: dict[str, int]) -> None:
        told.append(watermarks)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(wire, "tell_progress", tell)
    assert await wire.add(shared, numbered("a", 1, 3), _LONGEST)
    first = Coworker(shared, ledger)
    with pytest.raises(SharedUnavailable):
        await first.step(block=False)
    assert first.applied == 3
    # Another takes the entry over, which changes nothing in the ledger any more.
    await shared.client.xgroup_destroy(wire.STREAM, wire.GROUP)
    other = Coworker(shared, ledger)
    assert await other.drain() == 1
    assert other.applied == 0
    assert told == [{"a": 3}, {"a": 3}]


async def test_who_is_slower_takes_nothing_back(shared: SharedRedis) -> None:
    await wire.tell_progress(shared, {"a": 200, "b": 7})
    await wire.tell_progress(shared, {"a": 100, "b": 8})
    assert [await wire.progress_of(shared, one) for one in "ab"] == [200, 8]

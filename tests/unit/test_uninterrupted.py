"""Work that a cancelled caller still waits for."""

from __future__ import annotations

import asyncio

import pytest

from penstock.uninterrupted import to_the_end


async def test_what_was_begun_is_done_before_the_cancellation_is_raised() -> None:
    done: list[str] = []
    lock = asyncio.Lock()

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.append("work")

    async def caller() -> None:
        async with lock:
            await to_the_end(work())

    task = asyncio.ensure_future(caller())
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert lock.locked()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work"]
    assert not lock.locked()


async def test_results_and_failures_come_through() -> None:
    async def result() -> int:
        return 7

    async def failure() -> None:
        raise ValueError("no")

    assert await to_the_end(result()) == 7
    with pytest.raises(ValueError, match="no"):
        await to_the_end(failure())
    task = asyncio.ensure_future(to_the_end(failure()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

"""A thread of one connection's own, and coroutines that run on it from beginning to end.

Apart from SQLite because it is about threads alone: a trip to another thread and back costs tens of microseconds of
wake-ups, so what belongs together makes one trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")


class Worker:
    """One thread, started with its first work; what is handed to it runs in that order."""

    def __init__(self, name: str, thread_start: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(1, name, thread_start)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` on the thread. A caller that is cancelled does not stop what has begun."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """End the thread, which must have nothing left to do."""
        self._pool.shutdown()


def without_waiting(work: Awaitable[_T]) -> _T:
    """The result of a coroutine that has nothing to wait for.

    Raises:
        RuntimeError: it awaits something that is not there yet.
    """
    steps: Any = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: _T = done.value
        return result
    steps.close()
    raise RuntimeError("a unit of work may await its transaction and nothing else")

"""A thread of one connection's own, and coroutines that await nothing but their transaction.

Apart from the engines because it is about threads and coroutines alone: a trip to another thread and back costs tens of microseconds of
wake-ups, so what belongs together makes one trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")
_NOTHING_ELSE = "a unit of work may await its transaction and nothing else"


class Worker:
    """One thread, started with its first work; what is handed to it runs in that order."""

    def __init__(self, name: str, thread_start: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(1, name, thread_start)

    async def run(self, work: Callable[[], _T], over: Callable[[], None] | None = None) -> _T:
        """Do ``work`` on the thread. A caller that is cancelled does not stop what has begun; ``over`` is called when it has
        ended or will not begin, on any thread."""
        future = self._pool.submit(work)
        if over is not None:
            future.add_done_callback(lambda _: over())
        return await asyncio.wrap_future(future)

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
    raise RuntimeError(_NOTHING_ELSE)


class WaitingFor(Awaitable[_T]):
    """Awaits ``work``, which may wait only while ``is_asked()``: the same rule where the transaction itself has to wait.

    Raises:
        RuntimeError: it awaits something else.
    """

    def __init__(self, work: Awaitable[_T], is_asked: Callable[[], bool]) -> None:
        self._work = work
        self._is_asked = is_asked

    def __await__(self) -> Generator[Any, Any, _T]:
        """Pass on what the coroutine yields to the loop, after a look at why."""
        steps: Any = self._work.__await__()
        go_on = partial(next, steps)
        while True:
            try:
                awaited = go_on()
            except StopIteration as done:
                result: _T = done.value
                return result
            if not self._is_asked():
                steps.close()
                raise RuntimeError(_NOTHING_ELSE)
            try:
                go_on = partial(steps.send, (yield awaited))
            except BaseException as error:  # noqa: BLE001 - a cancellation too belongs to the coroutine
                go_on = partial(steps.throw, error)

"""Time without the moments in which this machine stood still: bounds of tests are about the program and not about what else a
machine has to do, which may let nothing of a test run for a second.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

_Test = TypeVar("_Test", bound=Callable[..., Any])
_LOOK_S = 0.01
_LATE_S = 0.02
"""A thread that is woken later than so much says that nothing ran."""
_TRIES = 6
_REST_S = 0.5
"""Before a test is made again: whatever the machine had to do may be over then."""


class _Watch:
    """Threads that do nothing but wake up, one on each core: a host may take away one of them only."""

    def __init__(self) -> None:
        self.stood: list[tuple[float, float]] = []
        """From when to when nothing ran on a core, monotonic seconds."""
        for core in _cores():
            threading.Thread(target=self._run, args=[core], name="stalls", daemon=True).start()

    def _run(self, core: int | None) -> None:
        if core is not None:
            # Of this thread alone.
            os.sched_setaffinity(0, {core})
        before = time.monotonic()
        while True:
            time.sleep(_LOOK_S)
            now = time.monotonic()
            if now - before > _LOOK_S + _LATE_S:
                self.stood.append((before + _LOOK_S, now))
            before = now

    def since(self, begun: float) -> list[tuple[float, float]]:
        """When it was so on any core, in order and apart from each other."""
        apart: list[tuple[float, float]] = []
        for begin, end in sorted((max(begin, begun), end) for begin, end in self.stood if end > begun):
            if apart and begin <= apart[-1][1]:
                apart[-1] = apart[-1][0], max(end, apart[-1][1])
            else:
                apart.append((begin, end))
        return apart


def _cores() -> list[int | None]:
    return [*os.sched_getaffinity(0)] if hasattr(os, "sched_setaffinity") else [None]


@functools.cache
def _watch() -> _Watch:
    return _Watch()


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._watch = _watch()
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """By the clock."""
        return time.monotonic() - self.begun

    @property
    def stood_s(self) -> float:
        """Seconds in which nothing ran on a core."""
        # The thread may be a moment late to say what this one has seen already.
        time.sleep(2 * _LOOK_S)
        return sum(end - begin for begin, end in self._watch.since(self.begun))

    @property
    def longest_s(self) -> float:
        """The longest time in one piece in which nothing ran on a core."""
        time.sleep(2 * _LOOK_S)
        return max((end - begin for begin, end in self._watch.since(self.begun)), default=0.0)

    @property
    def ran_s(self) -> float:
        """The others."""
        seconds = self.seconds
        return seconds - self.stood_s


def again_after_a_stall(longest_s: float, anew: Callable[..., None] | None = None) -> Callable[[_Test], _Test]:
    """For tests of a protocol whose times are short, and of what measures time: one that failed is made again when the machine
    stood still for so long meanwhile, because it then met an outage, or measured one, that it did not make. ``anew`` gets what
    the test got, before it is made again."""

    def is_no_matter(watch: Stopwatch, attempt: int, named: dict[str, Any]) -> bool:
        if attempt == _TRIES or watch.longest_s < longest_s:
            return False
        if anew is not None:
            anew(**named)
        return True

    def decorated(test: _Test) -> _Test:
        @functools.wraps(test)
        async def tried_in_a_loop(*given: Any, **named: Any) -> None:
            for attempt in range(1, _TRIES + 1):
                watch = Stopwatch()
                try:
                    await test(*given, **named)
                except (AssertionError, TimeoutError):
                    if not is_no_matter(watch, attempt, named):
                        raise
                    await asyncio.sleep(attempt * _REST_S)
                else:
                    return

        @functools.wraps(test)
        def tried(*given: Any, **named: Any) -> None:
            for attempt in range(1, _TRIES + 1):
                watch = Stopwatch()
                try:
                    test(*given, **named)
                except (AssertionError, TimeoutError):
                    if not is_no_matter(watch, attempt, named):
                        raise
                    time.sleep(attempt * _REST_S)
                else:
                    return

        return tried_in_a_loop if inspect.iscoroutinefunction(test) else tried  # type: ignore[return-value]

    return decorated

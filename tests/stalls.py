"""Time without the moments in which this machine stood still: bounds of tests are about the program and not about what else a
machine has to do, which may let nothing of a test run for a second.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec

_P = ParamSpec("_P")
_LOOK_S = 0.01
_LATE_S = 0.02
"""A thread that is woken later than so much says that nothing ran."""
_TRIES = 6


class _Watch:
    """A thread that does nothing but wake up."""

    def __init__(self) -> None:
        self.stood: list[tuple[float, float]] = []
        """From when to when nothing ran, monotonic seconds."""
        threading.Thread(target=self._run, name="stalls", daemon=True).start()

    def _run(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(_LOOK_S)
            now = time.monotonic()
            if now - before > _LOOK_S + _LATE_S:
                self.stood.append((before + _LOOK_S, now))
            before = now


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
        """Seconds in which nothing ran."""
        # The thread may be a moment late to say what this one has seen already.
        time.sleep(2 * _LOOK_S)
        return sum(end - max(begin, self.begun) for begin, end in self._watch.stood if end > self.begun)

    @property
    def longest_s(self) -> float:
        """The longest time in one piece in which nothing ran."""
        time.sleep(2 * _LOOK_S)
        return max((end - begin for begin, end in self._watch.stood if end > self.begun), default=0.0)

    @property
    def ran_s(self) -> float:
        """The others."""
        seconds = self.seconds
        return seconds - self.stood_s


def again_after_a_stall(
    longest_s: float,
) -> Callable[[Callable[_P, Awaitable[None]]], Callable[_P, Awaitable[None]]]:
    """For tests of a protocol whose times are short: one that failed is made again when the machine stood still for so long
    meanwhile, because it then met an outage that it did not make."""

    def decorated(test: Callable[_P, Awaitable[None]]) -> Callable[_P, Awaitable[None]]:
        @functools.wraps(test)
        async def tried(*given: _P.args, **named: _P.kwargs) -> None:
            for attempt in range(1, _TRIES + 1):
                watch = Stopwatch()
                try:
                    await test(*given, **named)
                except (AssertionError, TimeoutError):
                    if attempt == _TRIES or watch.longest_s < longest_s:
                        raise
                else:
                    return

        return tried

    return decorated

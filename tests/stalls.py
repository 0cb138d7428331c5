"""Time without the moments in which this machine stood still: bounds of tests are about the program and not about what else a
machine has to do, which may let nothing of a test run for a second.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.servers.proxy import Proxy
from tests.watchman import LOOK_S, READY

_Test = TypeVar("_Test", bound=Callable[..., Any])
_WATCHMAN = Path(__file__).with_name("watchman.py")
_READY_S = 60
_TOLD_S = 3 * LOOK_S
"""After which what ended just now has been told."""
_TRIES = 6
_REST_S = 0.5
"""Before a test is made again: whatever the machine had to do may be over then."""

Span = tuple[float, float]
"""From when to when, monotonic seconds."""


def standstills(by_core: Mapping[int, Sequence[Span]], begun: float, ended: float) -> list[Span]:
    """When at least half of the cores stood still between these moments, in order and apart from each other.

    Half of them: a host may take away one of two, and of many each is late at times. Those of one core are apart.
    """
    enough = (len(by_core) + 1) // 2
    clipped = [(max(begin, begun), min(end, ended)) for each in by_core.values() for begin, end in [*each]]
    spans = [(begin, end) for begin, end in clipped if begin < end]
    # At the same moment those that begin come first: what follows on another without a gap is one with it.
    edges = sorted([(begin, 0) for begin, _ in spans] + [(end, 1) for _, end in spans])
    found: list[Span] = []
    standing, since = 0, 0.0
    for at, ends in edges:
        standing += -1 if ends else 1
        if not ends and standing == enough:
            since = at
        elif ends and standing == enough - 1 and at > since:
            found.append((since, at))
    return found


class _Watch:
    """What the watchman told so far."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        self._stood: dict[int, list[Span]] = {core: [] for core in cores}
        ours, theirs = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WATCHMAN), str(os.getpid()), *map(str, cores)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # An interrupt from the terminal is for the tests. No session of its own: that would have its share of the machine.
            process_group=0,
        )
        os.close(theirs)
        atexit.register(self._end)
        self.pid = self._process.pid
        ready = threading.Event()
        # Not a file object, whose lock a thread that reads holds when the interpreter ends.
        self._listener = threading.Thread(target=self._listen, args=[ours, ready], name="stalls", daemon=True)
        self._listener.start()
        if not ready.wait(_READY_S):
            raise RuntimeError("nobody watches the machine")

    def since(self, begun: float) -> list[Span]:
        """When the machine stood still, until now."""
        now = time.monotonic()
        time.sleep(_TOLD_S)
        if not self._listener.is_alive():
            raise RuntimeError("nobody watches the machine any more")
        return standstills(self._stood, begun, now)

    def _listen(self, pipe: int, ready: threading.Event) -> None:
        rest = b""
        while data := os.read(pipe, 65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line == READY:
                    ready.set()
                    continue
                core, begin, end = line.split()
                self._stood[int(core)].append((float(begin), float(end)))

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


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
        return sum(end - begin for begin, end in self._watch.since(self.begun))

    @property
    def longest_s(self) -> float:
        """The longest time in one piece in which nothing ran."""
        return self.longest_since(self.begun)

    def longest_since(self, moment: float) -> float:
        """The same, from another moment on (monotonic seconds)."""
        return max((end - begin for begin, end in self._watch.since(moment)), default=0.0)

    @property
    def ran_s(self) -> float:
        """The others."""
        # In this order: the other one takes a moment.
        seconds = self.seconds
        return seconds - self.stood_s


class Started:
    """What a test starts by the fixtures that it gets as ``start`` or ``start_...``.

    It is ended before the test is made again: what goes on running makes each try slower than the one before.
    """

    def __init__(self, named: dict[str, Any]) -> None:
        self.made: list[Any] = []
        self.named = {name: self._noted(value) if _starts(name, value) else value for name, value in named.items()}
        """What to give to the test."""

    def end(self) -> None:
        """End all of it, the latest first, but proxies: what runs behind one ends at once when it is healed."""
        for made in self.made:
            if isinstance(made, Proxy):
                made.heal()
        while self.made:
            if not isinstance(made := self.made.pop(), Proxy):
                made.close()

    def _noted(self, start: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(start)
        def noted(*given: Any, **named: Any) -> Any:
            self.made.append(made := start(*given, **named))
            return made

        return noted


def _starts(name: str, value: Any) -> bool:
    return (name == "start" or name.startswith("start_")) and callable(value)


def again_after_a_stall(longest_s: float, anew: Callable[..., None] | None = None) -> Callable[[_Test], _Test]:
    """For tests of a protocol whose times are short, and of what measures time: one that failed is made again when the machine
    stood still for so long meanwhile, because it then met an outage, or measured one, that it did not make. What it started is
    ended first. ``anew`` gets what the test got, before it is made again."""

    def is_no_matter(watch: Stopwatch, attempt: int) -> bool:
        return attempt < _TRIES and watch.longest_s >= longest_s

    def clear(started: Started, named: dict[str, Any]) -> None:
        started.end()
        if anew is not None:
            anew(**named)

    def decorated(test: _Test) -> _Test:
        @functools.wraps(test)
        async def tried_in_a_loop(*given: Any, **named: Any) -> None:
            started = Started(named)
            for attempt in range(1, _TRIES + 1):
                watch = Stopwatch()
                try:
                    await test(*given, **started.named)
                except (AssertionError, TimeoutError):
                    if not is_no_matter(watch, attempt):
                        raise
                else:
                    return
                # Clients that the test left behind belong to this loop, and who ends waits for them.
                await asyncio.to_thread(clear, started, named)
                await asyncio.sleep(attempt * _REST_S)

        @functools.wraps(test)
        def tried(*given: Any, **named: Any) -> None:
            started = Started(named)
            for attempt in range(1, _TRIES + 1):
                watch = Stopwatch()
                try:
                    test(*given, **started.named)
                except (AssertionError, TimeoutError):
                    if not is_no_matter(watch, attempt):
                        raise
                else:
                    return
                clear(started, named)
                time.sleep(attempt * _REST_S)

        return tried_in_a_loop if inspect.iscoroutinefunction(test) else tried  # type: ignore[return-value]

    return decorated

"""Whether this process should get calls: it takes them, and what they cost can be written down.

Apart from the runtime because it follows two things that have nothing else in common: the life of the process (ready,
draining) and the health of accounting, which comes and goes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from penstock.engine import background

logger = logging.getLogger("penstock")

STORE_PATIENCE_S = 180.0
"""How long the store may fail before load balancers are told to go elsewhere. Every replica has the same store, so that there is
nowhere to go: known keys work meanwhile, and records wait in the journal and in the queue."""
_INTERVAL_S = 0.5


class ReadySwitch(Protocol):
    """The part of `penstock._core.Engine` that answers readiness on the public port."""

    def set_ready(self, ready: bool) -> None:
        """200 or 503."""


class StoreHealth:
    """Since when each user of the store has been failing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self.failures = 0
        """Attempts that failed since the process started."""

    def failed(self, user: str) -> None:
        """An attempt failed for an outside reason."""
        self.failures += 1
        self._since.setdefault(user, self._clock())

    def worked(self, user: str) -> None:
        """An attempt succeeded."""
        self._since.pop(user, None)

    def failing_s(self) -> float:
        """Seconds since the first attempt of those that have not succeeded again; 0: the store works."""
        return self._clock() - min(self._since.values()) if self._since else 0.0


class Readiness:
    """The one place that tells the data plane whether the process is ready. ``trouble`` says why it cannot be."""

    def __init__(self, engine: ReadySwitch, trouble: Callable[[], str | None]) -> None:
        self._engine = engine
        self._trouble = trouble
        self._is_serving = False
        self._was_lost = False
        self._task: asyncio.Task[None] | None = None
        self.is_ready = False
        """What readiness answers."""

    def begin(self) -> None:
        """Calls are taken from now on."""
        self._is_serving = True
        self.update()
        if self._task is None:
            self._task = background.start(self._watch(), "readiness")

    def end(self) -> None:
        """The process is on its way out; there is no way back."""
        self._is_serving = False
        self._set(False)
        if self._task is not None:
            self._task.cancel()

    def update(self) -> None:
        """Compare what is told with what is so."""
        if not self._is_serving:
            return
        trouble = self._trouble()
        if (trouble is None) == self.is_ready:
            return
        self._set(trouble is None)
        if trouble is not None:
            self._was_lost = True
            logger.critical("readiness answers 503", extra={"event": "readiness.lost", "reason": trouble})
        elif self._was_lost:
            logger.warning("readiness answers 200 again", extra={"event": "readiness.back"})

    def _set(self, is_ready: bool) -> None:
        self.is_ready = is_ready
        self._engine.set_ready(is_ready)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            self.update()

"""Tasks that run as long as the process: one that ends by itself is a defect, must not do so in silence, and is begun again.

Apart from those who start them because what a defect in one of them may cost is one decision: not the work of all others
until somebody restarts the process, and not a readiness that looks well while it happens again and again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

logger = logging.getLogger("penstock")

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0
_STEADY_S = 60.0
"""A task that has run for so long is well again."""
_TOLERATED = 2
"""So often in a row a task may end before it counts as trouble: a single odd answer must not take a whole fleet out of service."""


def start(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """Run ``work`` once on the loop; what makes it end, other than being cancelled, is logged as critical."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report_end)
    return task


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Kept:
    """Work without an end, which is begun again when it ends with an error."""

    def __init__(self, work: Callable[[], Coroutine[None, None, None]], name: str, tolerated: int = _TOLERATED) -> None:
        """Begins at once, on the running loop. ``tolerated``: ends in a row that are no trouble yet."""
        self._work = work
        self._name = name
        self._tolerated = tolerated
        self._ends = 0
        self._begun_at = time.monotonic()
        self._is_pausing = False
        self._is_over = asyncio.Event()
        self.task = start(self._run(), name)

    def trouble(self) -> str | None:
        """That it ends again and again; None: it runs."""
        return f"the {self._name} has ended" if self._ends > self._tolerated and not self._is_steady() else None

    def worked(self) -> None:
        """It did what it is for, so it is well again."""
        self._ends = 0

    async def finish(self) -> None:
        """Wait for work that was asked to come to its end; it is not begun again."""
        self._is_over.set()
        await asyncio.gather(self.task, return_exceptions=True)

    async def stop(self) -> None:
        """Cancel it."""
        await end(self.task)

    def _is_steady(self) -> bool:
        return not self._is_pausing and time.monotonic() - self._begun_at >= _STEADY_S

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._is_over.is_set():
            self._begun_at, self._is_pausing = time.monotonic(), False
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is: said, counted, and begun again
                if self._is_steady():
                    self._ends, pause = 0, _FIRST_PAUSE_S
                self._ends += 1
                _say(error, self._name)
            else:
                return
            self._is_pausing = True
            try:
                async with asyncio.timeout(pause):
                    await self._is_over.wait()
            except TimeoutError:
                pause = min(_LONGEST_PAUSE_S, pause * 2)


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _say(error, task.get_name())


def _say(error: BaseException, name: str) -> None:
    logger.critical("a background task ended", exc_info=error, extra={"event": "background.ended", "task": name})

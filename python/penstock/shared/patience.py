"""Deadlines of this process's own waiting, which leave out the time in which the process itself stood still.

Apart from the connection because of one mistake that a plain timeout makes: after a pause of this process (a throttled
container, a paused machine) the answer lies in the socket and the deadline has passed, and the deadline would win. A server
that answered in time must not be given up for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_STOOD_S: Final = 0.02
"""A timer that is so late says that nothing ran."""
_TIMES: Final = 2
"""So often a deadline is put off: a process that stands still again and again must not wait for ever."""


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` after so many seconds; when this process is late to notice, by as much later (at most twice, and each time by
    ``seconds`` at most), so that what came meanwhile is read first.
    """
    loop = asyncio.get_running_loop()
    due, put_off = loop.time() + seconds, 0
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as scope:

        def pass_by() -> None:
            nonlocal timer, due, put_off
            now = loop.time()
            late = now - due
            if late > _STOOD_S and put_off < _TIMES:
                put_off += 1
                due = now + min(late, seconds)
                timer = loop.call_at(due, pass_by)
            else:
                scope.reschedule(now)

        timer = loop.call_at(due, pass_by)
        try:
            yield
        finally:
            timer.cancel()

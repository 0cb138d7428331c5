"""Work that must come to its end although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def to_the_end(work: Awaitable[_T]) -> _T:
    """Await ``work``; a cancellation meanwhile is raised once the work is done.

    For steps that must not be torn apart, such as a commit and the note that it happened: a lock held around this is
    not released in between.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            # Looked at, so that a failure that nobody can be told of any more is not reported as forgotten.
            task.exception()
        raise cancelled
    return task.result()

"""Tasks that run as long as the process: one that ends by itself is a defect and must not do so in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

logger = logging.getLogger("penstock")


def start(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """Run ``work`` on the loop; what makes it end, other than being cancelled, is logged as critical."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report_end)
    return task


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical(
            "a background task ended", exc_info=error, extra={"event": "background.ended", "task": task.get_name()}
        )
